//! Images carried into another repository: the same bytes, all that is said about them, and the same end wherever it was cut off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use splitci_coordinator::registry::evidence::attach;
use splitci_coordinator::registry::transfer::{Copied, Order, copy};
use splitci_coordinator::registry::{Descriptor, Digest, Manifest, RegistryError, Repository};
use splitci_tests::between::{Between, Trick, only};
use splitci_tests::registry::Registry;

use crate::ground::{DOCKER_IMAGE, IMAGE, at, by_hand, image, image_of, impatient, index_of, said, statement, tag, word, written};

async fn promote(source: &Repository, target: &Repository, digest: Digest) -> Result<Copied, RegistryError> {
    copy(&Order { source, target, digest, once: &[tag("v1"), tag("sha-0123abc")], moving: &[tag("current-production")] }).await
}

/// What a repository has, as the registry itself has written it down: tags with what they mean.
fn written_down(registry: &Registry, path: &str) -> BTreeMap<String, String> {
    let tags = registry.tags(path).into_iter();
    tags.map(|tag| (tag.clone(), fs_err::read_to_string(registry.link(path, &tag)).expect("a tag"))).collect()
}

/// T4: promotion carries the same bytes.
#[tokio::test]
async fn an_image_goes_into_another_repository_by_mounting() {
    let registry = Registry::start();
    let between = Between::before(&registry.host(), |_, _| Trick::Pass);
    let (source, target) = (at(&between.host(), "shop/candidate"), at(&between.host(), "shop/release"));
    let image = image(&source, "one").await;
    attach(&source, image.digest(), &statement("passed")).await.expect("attached");
    between.forget();
    let copied = promote(&source, &target, image.digest()).await.expect("copied");
    assert_eq!((copied.manifests, copied.mounted, copied.sent, copied.statements), (1, 5, 0, 1));
    assert_eq!(copied.tags, [tag("v1"), tag("sha-0123abc"), tag("current-production")]);
    assert_eq!(copied.writes, between.writes().len() as u64, "{:?}", between.writes());
    assert!(between.heard().iter().all(|asked| asked.method != "PATCH"), "no blob is sent");
    let tags = written_down(&registry, "shop/release");
    for name in ["v1", "sha-0123abc", "current-production"] {
        assert_eq!(tags[name], image.digest().to_string());
    }
    let (_, body) = by_hand(&registry.host(), &format!("GET /v2/shop/release/manifests/v1 HTTP/1.1\r\nAccept: {IMAGE}"), b"");
    assert_eq!(body, image.bytes().as_ref());
    assert_eq!(said(&target, image.digest()).await, [word("passed")]);
    // By digest before by tag, and the tag that moves last.
    let puts: Vec<_> = between.writes().into_iter().filter(|write| write.starts_with("PUT /v2/shop/release/manifests/")).collect();
    assert!(
        puts[0].ends_with(&image.digest().to_string()) && puts.last().is_some_and(|put| put.ends_with("current-production")),
        "{puts:?}"
    );

    between.forget();
    let again = promote(&source, &target, image.digest()).await.expect("copied");
    assert_eq!((again.writes, again.manifests, again.mounted, again.sent, again.tags.len()), (0, 0, 0, 0, 0));
    assert_eq!(between.writes(), [""; 0], "all was there");
}

#[tokio::test]
async fn an_image_goes_into_another_registry_by_being_sent() {
    let (here, there) = (Registry::start(), Registry::start());
    let (source, target) = (at(&here.host(), "shop/candidate"), at(&there.host(), "shop/release"));
    let image = image_of(&source, "one", DOCKER_IMAGE).await;
    source.put_manifest(&image).await.expect("put");
    attach(&source, image.digest(), &statement("passed")).await.expect("attached");
    let copied = promote(&source, &target, image.digest()).await.expect("copied");
    let bytes: u64 = image.blobs().iter().map(|blob| blob.size).sum();
    assert_eq!((copied.mounted, copied.sent, copied.bytes), (0, 5, bytes + 2 + word("passed").len() as u64));
    assert_eq!(written_down(&there, "shop/release")["v1"], image.digest().to_string());
    assert_eq!(target.manifest(image.digest()).await.expect("there").media_type(), DOCKER_IMAGE);
    assert_eq!(said(&target, image.digest()).await, [word("passed")]);
    assert_eq!(promote(&source, &target, image.digest()).await.expect("copied").writes, 0);
    assert_eq!(there.uploads(), 0);
}

/// T1: nothing is read by its tag a second time.
#[tokio::test]
async fn a_tag_that_moves_in_between_moves_nothing_else() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/candidate");
    let (tested, other) = (image(&direct, "tested").await, image(&direct, "other").await);
    direct.put_tag(&tested, &tag("candidate")).await.expect("put");
    let digest = direct.resolve(&(&tag("candidate")).into()).await.expect("there");
    // While it is carried, the candidate's tag becomes another image.
    let (host, moved, body) = (registry.host(), AtomicBool::new(false), other.bytes().clone());
    let between = Between::before(&registry.host(), move |_, _| {
        if !moved.swap(true, Ordering::SeqCst) {
            by_hand(&host, &format!("PUT /v2/shop/candidate/manifests/candidate HTTP/1.1\r\nContent-Type: {IMAGE}"), &body);
        }
        Trick::Pass
    });
    let target = at(&between.host(), "shop/release");
    promote(&at(&between.host(), "shop/candidate"), &target, digest).await.expect("copied");
    assert_eq!(written_down(&registry, "shop/candidate")["candidate"], other.digest().to_string());
    assert_eq!(written_down(&registry, "shop/release")["v1"], tested.digest().to_string());
    assert!(target.find(&other.digest().into()).await.expect("asked").is_none());
}

#[tokio::test]
async fn a_tag_that_is_given_once_is_not_given_again() {
    let registry = Registry::start();
    let (source, target) = (at(&registry.host(), "shop/candidate"), at(&registry.host(), "shop/release"));
    let (one, two) = (image(&source, "one").await, image(&source, "two").await);
    promote(&source, &target, one.digest()).await.expect("copied");
    let before = (written_down(&registry, "shop/release"), target.writes());
    let taken = promote(&source, &target, two.digest()).await.expect_err("taken");
    assert!(
        matches!(&taken, RegistryError::Taken { tag, found, wanted, .. } if tag == "v1" && *found == one.digest() && *wanted == two.digest())
    );
    assert!(taken.hint().is_some());
    assert_eq!((written_down(&registry, "shop/release"), target.writes()), before, "nothing is written");
    // With tags of its own it goes, and only the tag that moves is another.
    let order = Order { source: &source, target: &target, digest: two.digest(), once: &[tag("v2")], moving: &[tag("current-production")] };
    copy(&order).await.expect("copied");
    let tags = written_down(&registry, "shop/release");
    assert_eq!((&tags["v1"], &tags["v2"]), (&one.digest().to_string(), &two.digest().to_string()));
    assert_eq!(tags["current-production"], two.digest().to_string());
}

#[tokio::test]
async fn a_tag_that_somebody_else_writes_meanwhile_is_noticed() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/release");
    let (one, other) = (image(&direct, "one").await, image(&direct, "other").await);
    // Before it is looked at for the second time, and after it was written.
    for (nth, expected) in [(2, "given once"), (3, "at the same time")] {
        let path = format!("shop/release-{nth}");
        image(&at(&registry.host(), &path), "other").await;
        let (host, seen, body) = (registry.host(), AtomicUsize::new(0), other.bytes().clone());
        let name = format!("/v2/{path}/manifests/v1");
        let between = Between::before(&registry.host(), move |_, asked| {
            if asked.method == "GET" && asked.path == name && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                let (status, _) = by_hand(&host, &format!("PUT {name} HTTP/1.1\r\nContent-Type: {IMAGE}"), &body);
                assert_eq!(status, 201);
            }
            Trick::Pass
        });
        let error = promote(&direct, &at(&between.host(), &path), one.digest()).await.expect_err("somebody was faster");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!registry.tags(&path).contains(&"current-production".to_owned()), "nothing goes on after that");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_spoil_nothing_but_a_tag_that_nobody_locked() {
    let registry = Registry::start();
    let source = at(&registry.host(), "shop/candidate");
    let images = [image(&source, "one").await, image(&source, "two").await];
    for image in &images {
        attach(&source, image.digest(), &statement("passed")).await.expect("attached");
    }
    let mut both = tokio::task::JoinSet::new();
    for image in &images {
        let (host, digest) = (registry.host(), image.digest());
        both.spawn(async move { (digest, promote(&at(&host, "shop/candidate"), &at(&host, "shop/release"), digest).await) });
    }
    let target = at(&registry.host(), "shop/release");
    let named = |name: &str| written_down(&registry, "shop/release")[name].parse::<Digest>().expect("a digest");
    let mut promoted = Vec::new();
    for (digest, ended) in both.join_all().await {
        match ended {
            Ok(_) => promoted.push(digest),
            // Who comes second sees that, or that the tag is another one than he wrote.
            Err(RegistryError::Taken { .. } | RegistryError::Raced { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(promoted.is_empty() || promoted.contains(&named("current-production")));
    for digest in promoted.into_iter().chain([named("v1")]) {
        assert_eq!(target.tree(digest).await.expect("whole").len(), 1);
        assert_eq!(said(&target, digest).await, [word("passed")]);
    }
}

#[tokio::test]
async fn an_index_goes_with_all_its_parts_or_not_at_all() {
    let registry = Registry::that_deletes();
    let (source, target) = (at(&registry.host(), "shop/candidate"), at(&registry.host(), "shop/release"));
    let (one, two) = (image(&source, "amd64").await, image(&source, "arm64").await);
    let index = index_of(&[&one, &two]);
    source.put_tag(&index, &tag("candidate")).await.expect("put");
    attach(&source, two.digest(), &statement("arm64 passed")).await.expect("attached");
    attach(&source, index.digest(), &statement("all passed")).await.expect("attached");
    let copied = promote(&source, &target, index.digest()).await.expect("copied");
    assert_eq!((copied.manifests, copied.statements), (3, 2));
    assert_eq!(target.tree(index.digest()).await.expect("whole").len(), 3);
    assert_eq!(said(&target, two.digest()).await, [word("arm64 passed")]);
    assert_eq!(said(&target, index.digest()).await, [word("all passed")]);
    assert_eq!(promote(&source, &target, index.digest()).await.expect("copied").writes, 0);
    // Debian's registry collects the parts of an index that have no tags.
    registry.collect_garbage();
    assert_eq!(target.tree(index.digest()).await.expect("whole").len(), 3);
    assert!(source.tree(index.digest()).await.is_err(), "where nobody looks after them, they are gone");
}

#[tokio::test]
async fn an_index_without_one_of_its_parts_is_refused_before_anything_is_written() {
    let registry = Registry::that_deletes();
    let (source, target) = (at(&registry.host(), "shop/candidate"), at(&registry.host(), "shop/release"));
    let (one, two) = (image(&source, "amd64").await, image(&source, "arm64").await);
    let index = index_of(&[&one, &two]);
    source.put_tag(&index, &tag("candidate")).await.expect("put");
    let (status, _) = by_hand(&registry.host(), &format!("DELETE /v2/shop/candidate/manifests/{} HTTP/1.1", two.digest()), b"");
    assert_eq!(status, 202);
    let missing = promote(&source, &target, index.digest()).await.expect_err("a part is missing");
    assert!(matches!(&missing, RegistryError::Missing { what } if what.contains(&two.digest().to_string())), "{missing}");
    assert_eq!((target.writes(), registry.tags("shop/release").len()), (0, 0));
}

#[tokio::test]
async fn an_image_without_one_of_its_blobs_gets_no_name() {
    let (here, there) = (Registry::that_deletes(), Registry::start());
    let (source, target) = (at(&here.host(), "shop/candidate"), at(&there.host(), "shop/release"));
    let image = image(&source, "one").await;
    let gone = image.layers()[1].digest;
    let (status, _) = by_hand(&here.host(), &format!("DELETE /v2/shop/candidate/blobs/{gone} HTTP/1.1"), b"");
    assert_eq!(status, 202);
    let missing = promote(&source, &target, image.digest()).await.expect_err("a blob is missing");
    assert!(matches!(&missing, RegistryError::Missing { what } if what.contains(&gone.to_string())), "{missing}");
    assert!(there.tags("shop/release").is_empty() && target.find(&image.digest().into()).await.expect("asked").is_none());
    assert_eq!(there.uploads(), 0);
}

#[tokio::test]
async fn a_blob_that_is_another_one_is_not_carried() {
    let (here, there) = (Registry::start(), Registry::start());
    let source = at(&here.host(), "shop/candidate");
    let image = image(&source, "one").await;
    let layer = image.layers()[0].clone();
    let lies = [vec![b'x'; usize::try_from(layer.size).expect("small")], vec![b'x'; 3], vec![b'x'; 5_000_000]];
    for (number, lie) in lies.into_iter().enumerate() {
        let path = format!("/blobs/{}", layer.digest);
        let liar = Between::before(
            &here.host(),
            only(
                move |asked| asked.method == "GET" && asked.path.ends_with(&path),
                move || Trick::Say("200 OK", String::new(), lie.clone()),
            ),
        );
        let release = format!("shop/release-{number}");
        let target = at(&there.host(), &release);
        let error = promote(&at(&liar.host(), "shop/candidate"), &target, image.digest()).await.expect_err("it is another one");
        assert!(matches!(error, RegistryError::Digest { .. } | RegistryError::Length { .. }), "{error}");
        assert!(there.tags(&release).is_empty() && !target.has_blob(layer.digest).await.expect("asked"));
        assert_eq!(there.uploads(), 0);
    }
}

#[tokio::test]
async fn what_is_said_about_an_image_must_be_known_before_it_goes() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/candidate");
    let image = image(&direct, "one").await;
    attach(&direct, image.digest(), &statement("failed")).await.expect("attached");
    let deaf = Between::before(
        &registry.host(),
        only(move |asked| asked.path.contains("/tags/list"), move || Trick::Say("500 Internal Server Error", String::new(), Vec::new())),
    );
    let target = at(&registry.host(), "shop/release");
    assert!(promote(&at(&deaf.host(), "shop/candidate"), &target, image.digest()).await.is_err());
    assert_eq!((target.writes(), registry.tags("shop/release").len()), (0, 0));
}

#[tokio::test]
async fn a_registry_that_is_not_well_for_a_moment_is_waited_for() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/candidate");
    let image = image(&direct, "one").await;
    // Every second answer is an error, whatever was asked.
    let (sick, count) = (AtomicBool::new(true), Arc::new(AtomicUsize::new(0)));
    let errors = Arc::clone(&count);
    let between = Between::before(&registry.host(), move |_, _| {
        if sick.fetch_xor(true, Ordering::SeqCst) {
            errors.fetch_add(1, Ordering::SeqCst);
            return Trick::Say("500 Internal Server Error", String::new(), Vec::new());
        }
        Trick::Pass
    });
    let mut tries = 0;
    let target = at(&between.host(), "shop/release");
    while let Err(error) = promote(&at(&between.host(), "shop/candidate"), &target, image.digest()).await {
        assert!(error.is_passing(), "{error}");
        tries += 1;
        assert!(tries < 20, "{error}");
    }
    assert!(count.load(Ordering::SeqCst) > 5);
    assert_eq!(written_down(&registry, "shop/release")["v1"], image.digest().to_string());
    // An error that stays is told, and then nothing has a name.
    let stays = Between::before(
        &registry.host(),
        only(
            move |asked| asked.method == "PUT" && asked.path.contains("/manifests/"),
            move || Trick::Say("500 Internal Server Error", String::new(), Vec::new()),
        ),
    );
    let error = promote(&direct, &at(&stays.host(), "shop/other"), image.digest()).await.expect_err("it stays");
    assert!(matches!(error, RegistryError::Answer { status: 500, .. }), "{error}");
    assert!(registry.tags("shop/other").is_empty());
    let copied = promote(&direct, &at(&registry.host(), "shop/other"), image.digest()).await.expect("copied");
    assert_eq!((copied.mounted + copied.sent, copied.manifests), (0, 1), "the blobs had arrived");
}

/// What carrying comes to, whichever way: tags and what they mean, and what is said.
async fn end(registry: &Registry, target: &Repository, digests: &[Digest]) -> (BTreeMap<String, String>, Vec<Vec<String>>) {
    let mut all = Vec::new();
    for digest in digests {
        target.tree(*digest).await.expect("whole");
        all.push(said(target, *digest).await);
    }
    let mut tags = written_down(registry, &target.name().path);
    // The order in which the index of statements was written differs.
    for (tag, means) in &mut tags {
        if tag.starts_with("sha256-") && !tag.contains('.') {
            "an index".clone_into(means);
        }
    }
    (tags, all)
}

/// So far apart are the questions at which it is cut off.
const APART: usize = 6;

/// Where it is cut off: before a question arrives, or after it was answered and the answer was lost.
type Cut = fn() -> Trick;

#[tokio::test]
async fn wherever_it_is_cut_off_the_next_one_comes_to_the_same_end() {
    let (here, there) = (Registry::start(), Registry::start());
    let source = at(&here.host(), "shop/candidate");
    let one = image(&source, "amd64").await;
    let index = index_of(&[&one]);
    source.put_manifest(&index).await.expect("put");
    attach(&source, index.digest(), &statement("passed")).await.expect("attached");
    let digests = [index.digest(), one.digest()];
    // Within one registry, where blobs are mounted, and into another one, where they are sent.
    for (registry, name) in [(&here, "mounted"), (&there, "sent")] {
        let whole = at(&registry.host(), &format!("{name}/whole"));
        promote(&source, &whole, index.digest()).await.expect("copied");
        let expected = end(registry, &whole, &digests).await;
        let cuts: [(Cut, &str); 2] = [(|| Trick::Cut, "before"), (|| Trick::CutAfterwards, "after")];
        for (cut, when) in cuts {
            // Some of them each time, and all of them in a few times.
            let mut points = usize::try_from(std::process::id()).expect("a number") % APART;
            loop {
                let target = at(&registry.host(), &format!("{name}/{when}-{points}"));
                if !cut_off((&here, registry), &target, index.digest(), (points, cut)).await {
                    break;
                }
                let copied = promote(&source, &target, index.digest()).await.expect("copied");
                assert_eq!(end(registry, &target, &digests).await, expected, "{}: {copied:?}", target.name());
                let again = promote(&source, &target, index.digest()).await.expect("copied");
                assert_eq!(again.writes, 0, "{}", target.name());
                points += APART;
            }
            println!("{name}, {when}: fewer than {points} questions");
            assert!(points > 30, "{points}");
        }
    }
}

/// Carries through something that dies at the nth question. Whether it came to that.
async fn cut_off((here, there): (&Registry, &Registry), target: &Repository, digest: Digest, (nth, cut): (usize, Cut)) -> bool {
    let between = Between::before(&there.host(), move |number, _| match number {
        _ if number == nth => cut(),
        _ if number > nth => Trick::Cut,
        _ => Trick::Pass,
    });
    // What is mounted is asked for on the same way.
    let source = if here.host() == there.host() { between.host() } else { here.host() };
    let ended = promote(&impatient(&source, "shop/candidate"), &impatient(&between.host(), &target.name().path), digest).await;
    for name in ["v1", "sha-0123abc", "current-production"] {
        if let Some(named) = target.find(&(&tag(name)).into()).await.expect("asked") {
            target.tree(named.digest()).await.expect("what has a name is whole");
            assert_eq!(said(target, digest).await, [word("passed")], "what has a name has its evidence");
        }
    }
    ended.is_err()
}

#[tokio::test]
async fn a_large_blob_is_never_in_memory() {
    const SIZE: u64 = 256 << 20;
    let (here, there) = (Registry::start(), Registry::start());
    let (source, target) = (at(&here.host(), "shop/candidate"), at(&there.host(), "shop/release"));
    let counted =
        std::process::Command::new("sh").args(["-c", &format!("head -c {SIZE} /dev/zero | sha256sum")]).output().expect("sha256sum");
    let digest = format!("sha256:{}", &String::from_utf8_lossy(&counted.stdout)[..64]).parse().expect("a digest");
    let blob = Descriptor { media_type: "application/x".to_owned(), digest, size: SIZE, artifact_type: None, urls: Vec::new() };
    let piece = Bytes::from(vec![0; 1 << 20]);
    source.put_blob(&blob, stream::iter((0..SIZE >> 20).map(|_| Ok(piece.clone())))).await.expect("put");
    let config = source.put_bytes("application/vnd.oci.image.config.v1+json", Bytes::from_static(b"{}")).await.expect("put");
    let image: Manifest = written(IMAGE, &config, &[blob]);
    source.put_manifest(&image).await.expect("put");
    fs_err::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
    let before = memory("VmRSS:");
    let copied = promote(&source, &target, image.digest()).await.expect("copied");
    assert_eq!((copied.sent, copied.bytes), (2, SIZE + 2));
    let more = memory("VmHWM:").saturating_sub(before);
    println!("{} MiB were sent with {more} KiB more memory", SIZE >> 20);
    assert!(more < 128 << 10, "{more} KiB");
}

/// Memory of this process, in KiB.
fn memory(what: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
