//! From the gate's yes to the release repository, with real registries.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use splitci_coordinator::gate::statement::Answer;
use splitci_coordinator::gate::{Evidence, Identity, Mode, StoreKind};
use splitci_coordinator::promotion::{PromotionError, gather, identify, promote, recall};
use splitci_coordinator::registry::{Digest, Repository, Tag, Wanted};
use splitci_tests::attested::{Signer, put_config, repository};
use splitci_tests::registry::Registry;

fn at(registry: &Registry, path: &str) -> Repository {
    repository(&registry.host(), path)
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// A candidate with this much said about it: each answer so many milliseconds ago.
async fn candidate(signer: &Signer, repository: &Repository, said: &[(Answer, u64)]) -> Identity {
    let image = put_config(repository, br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#).await;
    for (answer, ago_ms) in said {
        signer.attest(repository, &image, *answer, *ago_ms).await;
    }
    image
}

#[tokio::test]
async fn what_passed_gets_its_name_and_is_found_there_again() {
    let (registry, signer) = (Registry::start(), Signer::default());
    let (from, to) = (at(&registry, "shop/candidate"), at(&registry, "shop/release"));
    let image = candidate(&signer, &from, &[(Answer::Passed, 5_000)]).await;
    let digest: Digest = image.manifest.into();
    assert_eq!(identify(&from, &digest.into(), StoreKind::Docker).await.expect("there"), image);

    let approval = signer.ask(image, Mode::Promote, &gather(image.manifest, Vec::new(), &[&from]).await).expect("approved");
    let (promotion, copied) = promote(&approval, (&from, &to), &[tag("v1")], &[tag("latest")]).await.expect("promoted");
    assert_eq!((promotion.manifest(), promotion.config(), promotion.environment()), (image.manifest, image.config, "production"));
    assert_eq!(promotion.reference(), format!("{}/shop/release@{}", registry.host(), image.manifest));
    assert_eq!((copied.statements, copied.tags.len()), (1, 2), "{copied:?}");
    let (_, again) = promote(&approval, (&from, &to), &[tag("v1")], &[tag("latest")]).await.expect("promoted");
    assert_eq!(again.writes, 0, "{again:?}");

    // Another process, which has nothing but the release repository.
    let evidence = gather(image.manifest, Vec::new(), &[&to]).await;
    let approval = signer.ask(image, Mode::Deploy, &evidence).expect("approved again");
    let recalled = recall(&approval, &to).await.expect("it is there");
    assert_eq!((recalled.reference(), recalled.mode()), (promotion.reference(), Mode::Deploy));
    let wrong = promote(&approval, (&from, &to), &[], &[]).await;
    assert!(matches!(wrong, Err(PromotionError::OtherMode { .. })), "{wrong:?}");
}

/// T17: a failure after a pass keeps the image from its name.
#[tokio::test]
async fn what_failed_last_stays_where_it_is() {
    let (registry, signer) = (Registry::start(), Signer::default());
    let from = at(&registry, "shop/candidate");
    let image = candidate(&signer, &from, &[(Answer::Passed, 60_000), (Answer::Failed, 5_000)]).await;
    let denial = signer.ask(image, Mode::Promote, &gather(image.manifest, Vec::new(), &[&from]).await).expect_err("denied");
    assert_eq!(denial.code(), "E_SUPERSEDED_BY_FAILURE");
    let nobody = Signer::default();
    let denial = nobody.ask(image, Mode::Promote, &gather(image.manifest, Vec::new(), &[&from]).await).expect_err("denied");
    assert_eq!(denial.code(), "E_NO_VALID_SIGNATURE", "another's word does not count");
}

/// T18: a registry that is away, or has lost a statement, is a no.
#[tokio::test]
async fn what_cannot_be_asked_is_no_yes() {
    let (registry, signer) = (Registry::start(), Signer::default());
    let (from, to) = (at(&registry, "shop/candidate"), at(&registry, "shop/release"));
    let image = candidate(&signer, &from, &[(Answer::Passed, 5_000)]).await;
    let approval = signer.ask(image, Mode::Deploy, &gather(image.manifest, Vec::new(), &[&from]).await).expect("approved");
    let missing = recall(&approval, &to).await;
    assert!(matches!(missing, Err(PromotionError::NotReleased { .. })), "{missing:?}");

    // Its statement's bytes are gone: it may have been the one that says no.
    let (blob, _) = registry.blobs().into_iter().find(|(path, _)| is_bundle(path)).expect("a bundle");
    fs_err::remove_file(blob).expect("removed");
    let evidence = gather(image.manifest, Vec::new(), &[&from]).await;
    assert!(matches!(evidence, Evidence::Unanswered { .. }), "{evidence:?}");
    assert_eq!(signer.ask(image, Mode::Promote, &evidence).expect_err("denied").code(), "E_EVIDENCE_UNAVAILABLE");

    drop(registry);
    let evidence = gather(image.manifest, Vec::new(), &[&from]).await;
    assert_eq!(signer.ask(image, Mode::Promote, &evidence).expect_err("denied").code(), "E_EVIDENCE_UNAVAILABLE");
}

fn is_bundle(path: &std::path::Path) -> bool {
    fs_err::read(path).is_ok_and(|bytes| bytes.windows(12).any(|window| window == b"dsseEnvelope"))
}

/// T1: what was approved is carried on by its digest, whatever the tag means by then.
#[tokio::test]
async fn a_tag_that_moves_after_the_gate_moves_nothing() {
    let (registry, signer) = (Registry::start(), Signer::default());
    let (from, to) = (at(&registry, "shop/candidate"), at(&registry, "shop/release"));
    let image = candidate(&signer, &from, &[(Answer::Passed, 5_000)]).await;
    let main = tag("main");
    let manifest = from.manifest(image.manifest.into()).await.expect("there");
    from.put_tag(&manifest, &main).await.expect("tagged");
    let named = identify(&from, &Wanted::from(&main), StoreKind::Docker).await.expect("there");
    let approval = signer.ask(named, Mode::Promote, &gather(named.manifest, Vec::new(), &[&from]).await).expect("approved");
    let other = put_config(&from, b"{\"architecture\":\"arm64\"}").await;
    let moved = from.manifest(other.manifest.into()).await.expect("there");
    from.put_tag(&moved, &main).await.expect("moved");
    promote(&approval, (&from, &to), &[], &[tag("latest")]).await.expect("promoted");
    assert_eq!(to.resolve(&(&tag("latest")).into()).await.expect("there"), image.manifest.into());
}
