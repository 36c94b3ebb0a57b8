//! Who asks: nobody, somebody with a password, somebody with a token; through TLS; and to whom that is never told.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use splitci_coordinator::registry::transfer::{Order, copy};
use splitci_coordinator::registry::{Descriptor, Digest, RegistryError, Repository};
use splitci_tests::between::{Between, Trick};
use splitci_tests::registry::Registry;
use splitci_tests::tokens::{certificates, token_server};

use crate::ground::{at, image, nobody, said, settings, statement, tag, user, word};

#[tokio::test]
async fn a_password_is_given_to_a_registry_that_asks_for_it() {
    let registry = Registry::for_user("me", "secret:1");
    let as_user =
        |name: &str, password: &str| Repository::new(settings(&registry.host(), "shop/app", user(name, password))).expect("a repository");
    let repository = as_user("me", "secret:1");
    let put = image(&repository, "one").await;
    assert_eq!(repository.manifest(put.digest()).await.expect("there").digest(), put.digest());
    for stranger in [as_user("me", "other"), as_user("you", "secret:1"), at(&registry.host(), "shop/app")] {
        let error = stranger.find(&put.digest().into()).await.expect_err("refused");
        assert!(matches!(error, RegistryError::Refused { status: 401, .. }) && !error.is_passing(), "{error}");
        assert!(matches!(stranger.has_blob(Digest::of(b"x")).await, Err(RegistryError::Refused { .. })));
    }
}

#[tokio::test]
async fn a_login_is_looked_up_once_and_not_without_need() {
    let (open, closed) = (Registry::start(), Registry::for_user("me", "secret"));
    for (registry, times) in [(&open, 0), (&closed, 1)] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let login = move || -> futures_util::future::BoxFuture<'static, _> {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(Some(("me".to_owned(), "secret".to_owned()))) })
        };
        let repository = Repository::new(settings(&registry.host(), "shop/app", Box::new(login))).expect("a repository");
        image(&repository, "one").await;
        assert_eq!(count.load(Ordering::Relaxed), times);
    }
    let broken = Box::new(|| -> futures_util::future::BoxFuture<'static, _> { Box::pin(async { Err("no helper".into()) }) });
    let repository = Repository::new(settings(&closed.host(), "shop/app", broken)).expect("a repository");
    assert!(matches!(repository.tags().await, Err(RegistryError::Login { .. })));
}

#[tokio::test]
async fn one_token_has_rights_in_both_repositories_and_so_blobs_are_mounted() {
    let directory = tempfile::tempdir().expect("a folder");
    certificates(directory.path());
    let all = |name, password| (name, password, vec![("shop/candidate", "pull,push"), ("shop/release", "pull,push")]);
    let gate = ("gate", "2", vec![("shop/candidate", "pull"), ("shop/release", "pull,push")]);
    let blind = ("blind", "3", vec![("shop/release", "pull,push")]);
    let reader = ("", "", vec![("shop/candidate", "pull"), ("shop/release", "pull")]);
    let tokens = token_server(directory.path(), vec![all("run", "1"), gate, blind, reader]);
    let registry = Registry::for_tokens(&format!("http://{}/token", tokens.host()), &directory.path().join("ca.pem"));
    let repository = |path: &str, login| Repository::new(settings(&registry.host(), path, login)).expect("a repository");

    let candidate = repository("shop/candidate", user("run", "1"));
    let one = image(&candidate, "one").await;
    splitci_coordinator::registry::evidence::attach(&candidate, one.digest(), &statement("passed")).await.expect("attached");
    let (source, target) = (repository("shop/candidate", user("gate", "2")), repository("shop/release", user("gate", "2")));
    tokens.forget();
    let order = Order { source: &source, target: &target, digest: one.digest(), once: &[tag("v1")], moving: &[] };
    let copied = copy(&order).await.expect("copied");
    assert_eq!((copied.mounted, copied.sent, copied.statements), (5, 0, 1));
    assert_eq!(said(&repository("shop/release", nobody()), one.digest()).await, [word("passed")]);
    // One token a kind of rights, not one a question.
    let asked = tokens.heard().len();
    assert!(asked <= 8, "{asked} tokens");

    // Who may write here and not read there gets nothing by a mount, but what another login reads can be sent.
    let two = image(&candidate, "two").await;
    let target = repository("shop/release", user("blind", "3"));
    let copied = copy(&Order { target: &target, digest: two.digest(), once: &[tag("v2")], ..order }).await.expect("copied");
    assert_eq!((copied.mounted, copied.sent), (0, 3));
    assert_eq!(registry.uploads(), 0);

    // Who may only read does not write, and who is not known gets no token.
    let target = repository("shop/release", nobody());
    let three = image(&candidate, "three").await;
    let refused = copy(&Order { target: &target, digest: three.digest(), once: &[tag("v3")], ..order }).await;
    assert!(matches!(refused, Err(RegistryError::Refused { .. })), "{refused:?}");
    let stranger = repository("shop/release", user("gate", "wrong"));
    assert!(matches!(stranger.tags().await, Err(RegistryError::Refused { .. })));
    assert_eq!(registry.tags("shop/release").iter().filter(|tag| tag.starts_with('v')).collect::<Vec<_>>(), ["v1", "v2"]);
}

#[tokio::test]
async fn a_token_that_is_too_old_is_asked_for_anew() {
    // The registry gives out tokens itself, each good for the very next question.
    let place = Arc::new(OnceLock::<String>::new());
    let realm = Arc::clone(&place);
    let registry = Between::alone(move |number, asked| {
        if asked.path.starts_with("/token") {
            return Trick::Say("200 OK", String::new(), format!("{{\"access_token\":\"{number}\"}}").into_bytes());
        }
        let good = number < 8 && asked.authorization == Some(format!("Bearer {}", number.wrapping_sub(1)));
        let realm = realm.get().expect("set");
        let ask = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"here\"\r\n");
        if good { Trick::Say("404 Not Found", String::new(), Vec::new()) } else { Trick::Say("401 Unauthorized", ask, Vec::new()) }
    });
    place.set(registry.host()).expect("not set yet");
    let repository = at(&registry.host(), "shop/app");
    for _ in 0..2 {
        assert!(!repository.has_blob(Digest::of(b"x")).await.expect("asked"));
    }
    assert_eq!(registry.heard().len(), 6);
    // One that is never good is not asked for for ever.
    assert!(matches!(repository.has_blob(Digest::of(b"x")).await, Err(RegistryError::Refused { .. })));
    assert_eq!(registry.heard().len(), 9);
}

#[tokio::test]
async fn what_is_exchanged_for_tokens_is_never_given_as_a_password() {
    let place = Arc::new(OnceLock::<String>::new());
    let realm = Arc::clone(&place);
    let registry = Between::alone(move |_, asked| match (asked.path.as_str(), asked.authorization.as_deref()) {
        ("/token", None) if asked.method == "POST" && asked.length > 0 => {
            Trick::Say("200 OK", String::new(), b"{\"token\":\"x\"}".to_vec())
        }
        (_, Some("Bearer x")) => Trick::Say("404 Not Found", String::new(), Vec::new()),
        _ => {
            let ask = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"here\"\r\n", realm.get().expect("set"));
            Trick::Say("401 Unauthorized", ask, Vec::new())
        }
    });
    place.set(registry.host()).expect("not set yet");
    let repository = Repository::new(settings(&registry.host(), "shop/app", user("<token>", "refresh"))).expect("a repository");
    assert!(!repository.has_blob(Digest::of(b"x")).await.expect("asked"));
    assert!(registry.heard().iter().all(|asked| asked.authorization.as_deref().is_none_or(|who| who == "Bearer x")));
}

#[tokio::test]
async fn a_registry_behind_tls_is_believed_by_its_certificate() {
    let (directory, others) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    certificates(directory.path());
    certificates(others.path());
    let registry = Registry::with_tls(directory.path());
    let repository = |authority: &Path| {
        let mut settings = settings(&registry.host(), "shop/app", nobody());
        settings.plain = false;
        settings.authorities = fs_err::read(authority.join("ca.pem")).expect("an authority");
        Repository::new(settings).expect("a repository")
    };
    let believed = repository(directory.path());
    let put = image(&believed, "one").await;
    assert_eq!(believed.manifest(put.digest()).await.expect("there").digest(), put.digest());
    for other in [repository(others.path()), at(&registry.host(), "shop/app")] {
        let error = other.manifest(put.digest()).await.expect_err("not believed");
        assert!(matches!(error, RegistryError::Unreachable { .. } | RegistryError::Answer { status: 400, .. }), "{error}");
    }
}

#[tokio::test]
async fn who_asks_is_not_told_to_those_a_registry_sends_us_to() {
    let content = b"content";
    let storage = Between::alone(move |_, _| Trick::Say("200 OK", String::new(), content.to_vec()));
    let blob =
        Descriptor { media_type: "application/x".to_owned(), digest: Digest::of(content), size: 7, artifact_type: None, urls: Vec::new() };
    let away = storage.host();
    let registry = Between::alone(move |_, asked| match (asked.authorization.as_deref(), asked.method.as_str()) {
        (None, _) => Trick::Say("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), Vec::new()),
        (_, "GET") => Trick::Say("307 Temporary Redirect", format!("Location: http://{away}/signed?x=1\r\n"), Vec::new()),
        _ => Trick::Say("202 Accepted", format!("Location: http://{away}/upload?y=2\r\n"), Vec::new()),
    });
    let repository = Repository::new(settings(&registry.host(), "shop/app", user("me", "secret"))).expect("a repository");
    assert_eq!(repository.read_blob(&blob, 100).await.expect("read").as_ref(), content);
    let _refused = repository.put_blob(&blob, futures_util::stream::iter([Ok(bytes::Bytes::from_static(content))])).await;
    let told = storage.heard();
    assert!(told.len() >= 2 && told.iter().all(|asked| asked.authorization.is_none()), "{told:?}");
    assert!(told.iter().any(|asked| asked.path.starts_with("/upload?y=2&digest=sha256")), "{told:?}");
    assert!(registry.heard().iter().any(|asked| asked.authorization.is_some()));
    // Storage that asks for a password gets none either.
    let greedy = Between::alone(|_, _| Trick::Say("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), Vec::new()));
    let away = greedy.host();
    let registry = Between::alone(move |_, _| Trick::Say("307 Temporary Redirect", format!("Location: http://{away}/\r\n"), Vec::new()));
    let repository = Repository::new(settings(&registry.host(), "shop/app", user("me", "secret"))).expect("a repository");
    assert!(matches!(repository.read_blob(&blob, 100).await, Err(RegistryError::Refused { .. })));
    assert!(greedy.heard().iter().all(|asked| asked.authorization.is_none()));
    // And nobody is sent around for ever.
    let round = Between::alone(|number, _| Trick::Say("307 Temporary Redirect", format!("Location: /{number}\r\n"), Vec::new()));
    assert!(crate::ground::impatient(&round.host(), "shop/app").read_blob(&blob, 100).await.is_err());
    assert!(round.heard().len() <= 7, "{}", round.heard().len());
}
