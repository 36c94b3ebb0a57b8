//! A repository is read and written, and believed in nothing that can be counted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use splitci_coordinator::registry::{Descriptor, Digest, Mounted, RegistryError, Repository};
use splitci_tests::between::{Between, Trick};
use splitci_tests::registry::Registry;

use crate::ground::{DOCKER_IMAGE, IMAGE, at, by_hand, image, image_of, impatient, index_of, nobody, settings, tag, written};

#[tokio::test]
async fn what_is_put_is_found_byte_by_byte() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let put = image(&repository, "one").await;
    repository.put_tag(&put, &tag("v1")).await.expect("put");
    let found = repository.find(&(&tag("v1")).into()).await.expect("asked").expect("there");
    assert_eq!((found.bytes(), found.digest(), found.media_type()), (put.bytes(), put.digest(), IMAGE));
    assert_eq!(repository.resolve(&put.digest().into()).await.expect("there"), put.digest());
    // What the registry itself has written down.
    let link = fs_err::read_to_string(registry.link("shop/app", "v1")).expect("a tag");
    assert_eq!(link, put.digest().to_string());
    let (status, body) = by_hand(&registry.host(), &format!("GET /v2/shop/app/manifests/v1 HTTP/1.1\r\nAccept: {IMAGE}"), b"");
    assert_eq!((status, Digest::of(&body)), (200, put.digest()));
    let config = put.config().expect("a config");
    assert!(repository.has_blob(config.digest).await.expect("asked"));
    assert!(String::from_utf8_lossy(&repository.read_blob(config, 1000).await.expect("read")).contains("\"one\""));
    assert_eq!(repository.tags().await.expect("listed"), ["v1"]);
}

#[tokio::test]
async fn older_images_and_indexes_are_taken_apart() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let (one, two) = (image(&repository, "one").await, image_of(&repository, "two", DOCKER_IMAGE).await);
    repository.put_manifest(&two).await.expect("put");
    let index = index_of(&[&one, &two]);
    repository.put_manifest(&index).await.expect("put");
    let tree = repository.tree(index.digest()).await.expect("whole");
    let digests: Vec<_> = tree.iter().map(splitci_coordinator::registry::Manifest::digest).collect();
    assert_eq!(digests, [one.digest(), two.digest(), index.digest()]);
}

#[tokio::test]
async fn nothing_is_another_answer_than_no_answer() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let digest = Digest::of(b"something");
    assert!(repository.find(&digest.into()).await.expect("asked").is_none());
    assert!(!repository.has_blob(digest).await.expect("asked"));
    assert_eq!(repository.tags().await.expect("asked"), [""; 0]);
    assert!(matches!(repository.manifest(digest).await, Err(RegistryError::Missing { .. })));
    // A registry that is not well, and one that is not there.
    let sick = Between::alone(|_, _| Trick::Say("503 Service Unavailable", String::new(), Vec::new()));
    let gone = Between::alone(|_, _| Trick::Cut);
    for broken in [&sick, &gone] {
        let repository = at(&broken.host(), "shop/app");
        let error = repository.find(&digest.into()).await.expect_err("no answer");
        assert!(error.is_passing(), "{error}");
        assert!(repository.has_blob(digest).await.is_err() && repository.tags().await.is_err());
        assert!(broken.heard().len() == 9, "three questions, each asked three times: {:?}", broken.heard());
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_is_asked_again() {
    let stand_in = Between::alone(|number, asked| match asked.method.as_str() {
        "GET" if number < 2 => Trick::Say("502 Bad Gateway", String::new(), Vec::new()),
        "GET" => Trick::Say("404 Not Found", String::new(), Vec::new()),
        _ => Trick::Say("500 Internal Server Error", String::new(), Vec::new()),
    });
    let repository = at(&stand_in.host(), "shop/app");
    assert!(repository.find(&Digest::of(b"x").into()).await.expect("at the third time").is_none());
    assert_eq!(stand_in.heard().len(), 3);
    stand_in.forget();
    repository.begin().await.expect_err("an upload that was perhaps begun is not begun again");
    assert_eq!(stand_in.heard().len(), 1);
}

#[tokio::test]
async fn a_registry_that_asks_for_a_pause_gets_it() {
    let stand_in = Between::alone(|number, _| match number {
        0 => Trick::Say("429 Too Many Requests", "Retry-After: 1\r\n".to_owned(), Vec::new()),
        _ => Trick::Say("404 Not Found", String::new(), Vec::new()),
    });
    let began = Instant::now();
    assert!(at(&stand_in.host(), "shop/app").find(&Digest::of(b"x").into()).await.expect("asked").is_none());
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_registry_that_lies_about_a_manifest_is_found_out() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/app");
    let (good, bad) = (image(&direct, "good").await, image(&direct, "bad").await);
    let (from, to) = (good.digest().to_string(), bad.digest().to_string());
    let liar = Between::before(&registry.host(), move |_, asked| Trick::Elsewhere(asked.path.replace(&from, &to)));
    let repository = at(&liar.host(), "shop/app");
    let error = repository.manifest(good.digest()).await.expect_err("other bytes");
    assert!(matches!(error, RegistryError::Digest { wanted, found, .. } if wanted == good.digest() && found == bad.digest()), "{error}");
    // A tag has no digest to be held against, but the header that comes with the bytes.
    let body = good.bytes().to_vec();
    let (kind, other) = (format!("Content-Type: {IMAGE}\r\n"), bad.digest());
    let liar = Between::alone(move |_, _| Trick::Say("200 OK", format!("{kind}Docker-Content-Digest: {other}\r\n"), body.clone()));
    assert!(matches!(at(&liar.host(), "shop/app").resolve(&(&tag("v1")).into()).await, Err(RegistryError::Digest { .. })));
    // The right bytes, called an index.
    let (body, index) = (good.bytes().to_vec(), format!("Content-Type: {}\r\n", crate::ground::INDEX));
    let liar = Between::alone(move |_, _| Trick::Say("200 OK", index.clone(), body.clone()));
    assert!(matches!(at(&liar.host(), "shop/app").manifest(good.digest()).await, Err(RegistryError::Manifest { .. })));
}

#[tokio::test]
async fn a_registry_that_takes_something_else_is_found_out() {
    let other = Digest::of(b"other");
    let liar = Between::alone(move |_, _| Trick::Say("201 Created", format!("Docker-Content-Digest: {other}\r\n"), Vec::new()));
    let part = Descriptor { media_type: "application/x".to_owned(), digest: other, size: 5, artifact_type: None, urls: Vec::new() };
    let manifest = written(IMAGE, &part, &[]);
    assert!(matches!(at(&liar.host(), "shop/app").put_manifest(&manifest).await, Err(RegistryError::Digest { .. })));
    // One that says nothing is looked after.
    let forgetful = Between::alone(|_, asked| match asked.method.as_str() {
        "PUT" => Trick::Say("201 Created", String::new(), Vec::new()),
        _ => Trick::Say("404 Not Found", String::new(), Vec::new()),
    });
    assert!(matches!(at(&forgetful.host(), "shop/app").put_manifest(&manifest).await, Err(RegistryError::Missing { .. })));
}

#[tokio::test]
async fn answers_without_end_are_not_read() {
    let said = Between::alone(|_, _| Trick::Say("200 OK", format!("Content-Type: {IMAGE}\r\nContent-Length: 99999999999\r\n"), Vec::new()));
    let endless = Between::alone(|_, _| Trick::Endless("Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"));
    let blob =
        Descriptor { media_type: "application/x".to_owned(), digest: Digest::of(b"x"), size: 1, artifact_type: None, urls: Vec::new() };
    for registry in [said, endless] {
        let repository = at(&registry.host(), "shop/app");
        assert!(matches!(repository.manifest(Digest::of(b"x")).await, Err(RegistryError::TooLarge { .. })));
        assert!(matches!(repository.tags().await, Err(RegistryError::TooLarge { .. })));
        assert!(matches!(repository.read_blob(&blob, 1000).await, Err(RegistryError::TooLarge { .. })));
        assert!(matches!(repository.read_blob(&blob, 0).await, Err(RegistryError::TooLarge { .. })));
    }
}

#[tokio::test]
async fn lists_without_end_are_not_read() {
    let next = "Content-Type: application/json\r\nLink: </v2/shop/app/tags/list?last=a>; rel=\"next\"\r\n".to_owned();
    let endless = Between::alone(move |_, _| Trick::Say("200 OK", next.clone(), b"{\"tags\":[\"a\"]}".to_vec()));
    assert!(matches!(at(&endless.host(), "shop/app").tags().await, Err(RegistryError::TooMany { .. })));
    let pages = Between::alone(|number, _| match number {
        0 => {
            Trick::Say("200 OK", "Link: </v2/shop/app/tags/list?last=b>; rel=\"next\"\r\n".to_owned(), b"{\"tags\":[\"a\",\"b\"]}".to_vec())
        }
        _ => Trick::Say("200 OK", String::new(), b"{\"tags\":[\"c\"]}".to_vec()),
    });
    assert_eq!(at(&pages.host(), "shop/app").tags().await.expect("listed"), ["a", "b", "c"]);
    let page = Between::alone(|_, _| Trick::Say("200 OK", String::new(), b"<html>sign in</html>".to_vec()));
    assert!(matches!(at(&page.host(), "shop/app").tags().await, Err(RegistryError::Strange { .. })));
    let away =
        Between::alone(|_, _| Trick::Say("200 OK", "Link: <http://127.0.0.1:9/x>; rel=\"next\"\r\n".to_owned(), b"{\"tags\":[]}".to_vec()));
    assert!(matches!(at(&away.host(), "shop/app").tags().await, Err(RegistryError::Strange { .. })));
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_not_waited_for() {
    let silent = Between::alone(|_, _| Trick::Hang);
    let mut settings = settings(&silent.host(), "shop/app", nobody());
    settings.patience.answer = Duration::from_millis(300);
    settings.patience.part = Duration::from_millis(300);
    let repository = Repository::new(settings).expect("a repository");
    let began = Instant::now();
    assert!(matches!(repository.manifest(Digest::of(b"x")).await, Err(RegistryError::Late { .. })));
    assert!(matches!(repository.has_blob(Digest::of(b"x")).await, Err(RegistryError::Late { .. })));
    assert!(matches!(repository.begin().await, Err(RegistryError::Late { .. })));
    assert!(began.elapsed() < Duration::from_secs(10));
    // Whichever of its times is over first, it is not given that time again.
    let mut settings = crate::ground::settings(&silent.host(), "shop/app", nobody());
    settings.patience.silence = Duration::from_millis(300);
    let repository = Repository::new(settings).expect("a repository");
    silent.forget();
    assert!(matches!(repository.manifest(Digest::of(b"x")).await, Err(RegistryError::Unreachable { .. })));
    assert_eq!(silent.heard().len(), 1);
}

#[tokio::test]
async fn large_blobs_go_in_parts_and_wrong_ones_leave_nothing() {
    let registry = Registry::start();
    let between = Between::before(&registry.host(), |_, _| Trick::Pass);
    let repository = at(&between.host(), "shop/app");
    // Three parts, which do not end where pieces do.
    let pieces: Vec<Bytes> = (0..29_u8).map(|number| Bytes::from(vec![number; 700_001])).collect();
    let whole: Vec<u8> = pieces.concat();
    let mut blob = Descriptor {
        media_type: "application/x".to_owned(),
        digest: Digest::of(&whole),
        size: whole.len() as u64,
        artifact_type: None,
        urls: Vec::new(),
    };
    let content = |pieces: &[Bytes]| stream::iter(pieces.iter().cloned().map(Ok).collect::<Vec<_>>());
    repository.put_blob(&blob, content(&pieces)).await.expect("put");
    assert!(repository.read_blob(&blob, blob.size).await.expect("read") == whole);
    let parts: Vec<_> = between.heard().iter().filter(|asked| asked.method == "PATCH").map(|asked| asked.length).collect();
    assert_eq!((parts.len(), parts.iter().sum::<usize>()), (3, whole.len()));
    assert!(parts.iter().all(|part| *part <= 8 << 20));
    // Too short, too long, something else.
    let short = repository.put_blob(&blob, content(&pieces[1..])).await;
    assert!(matches!(short, Err(RegistryError::Length { .. })));
    let long: Vec<Bytes> = pieces.iter().chain(&pieces).cloned().collect();
    assert!(matches!(repository.put_blob(&blob, content(&long)).await, Err(RegistryError::Length { .. })));
    blob.digest = Digest::of(b"something else");
    assert!(matches!(repository.put_blob(&blob, content(&pieces)).await, Err(RegistryError::Digest { .. })));
    assert!(!repository.has_blob(blob.digest).await.expect("asked"));
    assert_eq!(registry.uploads(), 0);
}

#[tokio::test]
async fn an_upload_that_a_mount_began_is_used_or_given_up() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let nowhere = format!("{}/shop/nothing", registry.host()).parse().expect("a name");
    let digest = Digest::of(b"content");
    let Mounted::No(upload) = repository.mount_blob(digest, &nowhere).await.expect("asked") else { panic!("there is nothing to mount") };
    assert_eq!(registry.uploads(), 1);
    repository.give_up(upload).await;
    assert_eq!(registry.uploads(), 0);
    let Mounted::No(upload) = repository.mount_blob(digest, &nowhere).await.expect("asked") else { panic!("there is nothing to mount") };
    let blob = Descriptor { media_type: "application/x".to_owned(), digest, size: 7, artifact_type: None, urls: Vec::new() };
    repository.fill(upload, &blob, stream::iter([Ok(Bytes::from_static(b"content"))])).await.expect("sent");
    assert!(repository.has_blob(digest).await.expect("asked"));
    assert_eq!(registry.uploads(), 0);
}

#[tokio::test]
async fn refusals_are_told_in_the_registrys_words() {
    let registry = Registry::read_only();
    let error = impatient(&registry.host(), "shop/app").begin().await.expect_err("it takes nothing");
    assert!(matches!(error, RegistryError::Answer { status: 405, .. }), "{error}");
    let body = br#"{"errors":[{"code":"DENIED","message":"not \u001b[31m you"}]}"#;
    let rude = Between::alone(|_, _| Trick::Say("403 Forbidden", String::new(), body.to_vec()));
    let error = impatient(&rude.host(), "shop/app").begin().await.expect_err("it refuses");
    assert!(error.to_string().contains("403: not \\u{1b}[31m you"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("docker login 127.0.0.1")));
}
