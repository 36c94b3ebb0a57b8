//! What is read and what is refused before anybody is asked. The rest is tested with real registries, in `tests/registry.rs`.

use bytes::Bytes;
use proptest::prelude::*;

use super::proof::{self, Challenge, Rights};
use super::*;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn part(name: &str) -> String {
    format!(r#"{{"mediaType":"application/x","digest":"{}","size":{}}}"#, Digest::of(name.as_bytes()), name.len())
}

fn read(told: Option<&str>, text: &str) -> Result<Manifest, Malformed> {
    Manifest::read(told, Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn a_name_has_a_host_and_neither_tag_nor_digest() {
    let name = |text: &str| text.parse::<Name>().map(|name| format!("{} {}", name.host, name.path)).ok();
    assert_eq!(name("registry.example:5000/shop/app").as_deref(), Some("registry.example:5000 shop/app"));
    assert_eq!(name("127.0.0.1:5000/app").as_deref(), Some("127.0.0.1:5000 app"));
    assert_eq!(name("shop/app").as_deref(), Some("index.docker.io shop/app"));
    let digest = format!("registry.example/app@{}", Digest::of(b""));
    for wrong in ["", "registry.example/app:1", "registry.example/", "registry.example/App", "registry.example/a/../b", &digest] {
        assert_eq!(name(wrong), None, "{wrong}");
    }
    let loopback = ["127.0.0.1:5000/a", "localhost/a", "localhost:1/a", "registry.example/a", "127.example/a"];
    let found = loopback.map(|text| text.parse::<Name>().is_ok_and(|name| name.is_on_loopback()));
    assert_eq!(found, [true, true, true, false, false]);
}

#[test]
fn a_tag_cannot_climb_out_of_its_address() {
    for right in ["v1.2.3", "_a", "sha-0123abc", &"a".repeat(128)] {
        assert!(right.parse::<Tag>().is_ok(), "{right}");
    }
    for wrong in ["", ".a", "-a", "a/b", "a?b", "a b", "ä", "a:b", "..", &"a".repeat(129)] {
        assert!(wrong.parse::<Tag>().is_err(), "{wrong}");
    }
    let own = Tag::of_statement(Digest::of(b"image"), Digest::of(b"artifact"));
    assert!(own.as_str().parse::<Tag>().is_ok(), "{own}");
    assert!(own.as_str().starts_with(&Tag::of_statements(Digest::of(b"image"))));
}

#[test]
fn an_image_and_an_index_are_read() {
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#, part("config"), part("layer"), part("layer"));
    let image = read(Some(IMAGE), &text).expect("an image");
    assert_eq!((image.is_index(), image.digest(), image.blobs().len()), (false, Digest::of(text.as_bytes()), 2));
    assert_eq!(image.config().map(|config| config.digest), Some(Digest::of(b"config")));
    assert_eq!(image.bytes().as_ref(), text.as_bytes());
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, part("child"));
    let index = read(None, &text).expect("an index");
    assert_eq!((index.is_index(), index.children().len(), index.blobs().len()), (true, 1, 0));
    assert!(read(Some(&format!("{INDEX}; charset=utf-8")), &text).is_ok());
}

#[test]
fn bytes_that_could_mean_two_things_are_refused() {
    let (config, layer) = (part("config"), part("layer"));
    let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"manifests":[{layer}]}}"#);
    assert!(matches!(read(Some(IMAGE), &both), Err(Malformed::Parts { .. })));
    assert!(matches!(read(Some(INDEX), &both), Err(Malformed::Parts { .. })));
    let image = format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"layers":[{layer}]}}"#);
    assert!(matches!(read(Some(INDEX), &image), Err(Malformed::Disagree { .. })));
    let silent = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
    assert!(matches!(read(Some(INDEX), &silent), Err(Malformed::Parts { .. })));
    assert!(matches!(read(None, &silent), Err(Malformed::Type { .. })));
    assert!(matches!(read(Some("application/json"), &silent), Err(Malformed::Type { .. })));
    assert!(matches!(read(Some(IMAGE), &silent.replace("sha256", "sha512")), Err(Malformed::Json(_))));
    assert!(matches!(read(Some(IMAGE), &silent.replace("\"schemaVersion\":2", "\"schemaVersion\":1")), Err(Malformed::Parts { .. })));
}

#[test]
fn layers_that_lie_elsewhere_are_not_carried() {
    let elsewhere = part("layer").replace('}', r#","urls":["https://elsewhere.example/layer"]}"#);
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{elsewhere}]}}"#, part("config"));
    assert_eq!(read(Some(IMAGE), &text).expect("an image").blobs().len(), 1);
}

#[test]
fn a_registry_says_whom_it_asks_and_a_token_is_preferred() {
    let headers = |texts: &[&'static str]| {
        let values = texts.iter().map(|text| (reqwest::header::WWW_AUTHENTICATE, reqwest::header::HeaderValue::from_static(text)));
        proof::challenge(&values.collect())
    };
    assert_eq!(headers(&["Basic realm=\"x\""]), Some(Challenge::Basic));
    let bearer = Challenge::Bearer { realm: "https://a.example/t".to_owned(), service: Some("r".to_owned()) };
    assert_eq!(headers(&["Basic realm=\"x\"", "Bearer realm=\"https://a.example/t\",service=\"r\",scope=\"a:b:c\""]), Some(bearer));
    assert_eq!(headers(&["Bearer service=\"x\""]), None);
    assert_eq!(headers(&["Negotiate"]), None);
    assert_eq!(headers(&[]), None);
}

#[test]
fn a_token_is_asked_for_in_safe_places_and_for_both_repositories() {
    let scopes = Rights::Mount { from: "shop/candidate".to_owned() }.scopes("shop/release");
    let place = proof::place("https://a.example/t?x=1", Some("r"), &scopes).expect("a place");
    let scope = "scope=repository%3Ashop%2Frelease%3Apull%2Cpush&scope=repository%3Ashop%2Fcandidate%3Apull";
    assert_eq!(place.as_str(), format!("https://a.example/t?x=1&service=r&{scope}"));
    assert!(proof::place("http://127.0.0.1:5001/t", None, &scopes).is_some());
    for wrong in ["http://a.example/t", "ftp://127.0.0.1/t", "/t", ""] {
        assert_eq!(proof::place(wrong, None, &scopes), None, "{wrong}");
    }
}

#[test]
fn what_is_no_password_is_exchanged_and_not_given() {
    let scopes = Rights::Mount { from: "a".to_owned() }.scopes("b");
    let place = proof::place("https://a.example/t", Some("r"), &scopes).expect("a place");
    let exchange = |user: &str| proof::exchange(&place, &proof::Proof::Password(user.to_owned(), "se cret".to_owned()));
    let form = "grant_type=refresh_token&client_id=splitci&refresh_token=se+cret&service=r&scope=repository%3Ab%3Apull%2Cpush+repository%3Aa%3Apull";
    assert_eq!(exchange("<token>").as_deref(), Some(form));
    assert_eq!(exchange("me"), None);
    assert_eq!(proof::exchange(&place, &proof::Proof::Nothing), None);
}

#[test]
fn plain_http_stays_on_this_machine() {
    let settings = |repository: &str| Settings {
        repository: repository.parse().expect("a name"),
        plain: true,
        login: Box::new(|| Box::pin(async { Ok(None) })),
        authorities: Vec::new(),
        patience: Patience::default(),
    };
    assert!(matches!(Repository::new(settings("registry.example/a")), Err(RegistryError::Plain { .. })));
}

proptest! {
    #[test]
    fn a_digest_is_read_as_it_is_written_and_in_no_other_way(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 7..71_usize) {
        let digest = Digest::of(&bytes);
        let text = digest.to_string();
        prop_assert_eq!(text.parse::<Digest>(), Ok(digest));
        prop_assert!(text[..at].parse::<Digest>().is_err());
        let mut other = text.clone();
        other.replace_range(at..=at, "G");
        prop_assert!(other.parse::<Digest>().is_err());
        prop_assert!(text.to_uppercase().parse::<Digest>().is_err());
    }

    #[test]
    fn what_is_no_manifest_is_refused_and_nothing_panics(text in ".{0,200}", told in proptest::option::of(".{0,40}")) {
        prop_assert!(read(told.as_deref(), &text).is_err());
    }
}
