//! Statements beside an image: found on every way, gone on none, and never taken for what they are not.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use splitci_coordinator::registry::evidence::{BUNDLE, Evidence, attach, list};
use splitci_coordinator::registry::{Digest, Manifest, RegistryError, Repository, Wanted};
use splitci_tests::between::{Between, Trick, only};
use splitci_tests::registry::Registry;

use crate::ground::{DOCKER_IMAGE, IMAGE, INDEX, at, by_hand, image, image_of, impatient, said, statement, tag, word};

/// The tag under which other tools look.
fn fallback(subject: Digest) -> String {
    format!("sha256-{}", subject.hex())
}

#[tokio::test]
async fn a_statement_lies_where_tools_look_and_under_a_tag_of_its_own() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let image = image(&repository, "one").await;
    assert!(list(&repository, image.digest()).await.expect("asked").found.is_empty());
    let artifact = attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    let evidence = list(&repository, image.digest()).await.expect("asked");
    let [found] = evidence.found.as_slice() else { panic!("{evidence:?}") };
    assert_eq!((found.bundle.as_ref(), found.artifact.digest()), (word("passed").as_bytes(), artifact));
    assert_eq!(found.predicate_type.as_deref(), Some("https://in-toto.io/attestation/test-result/v0.1"));
    assert!(evidence.spoiled.is_empty());

    // Looked at with nothing of ours.
    let get = |name: &str, accept: &str| {
        let (status, body) = by_hand(&registry.host(), &format!("GET /v2/shop/app/manifests/{name} HTTP/1.1\r\nAccept: {accept}"), b"");
        assert_eq!(status, 200, "{name}");
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")
    };
    let index = get(&fallback(image.digest()), INDEX);
    assert_eq!(index["mediaType"], INDEX);
    assert_eq!(index["manifests"][0]["digest"], artifact.to_string());
    assert_eq!(index["manifests"][0]["artifactType"], BUNDLE);
    let own = format!("{}.splitci.{}", fallback(image.digest()), &artifact.hex()[..32]);
    let manifest = get(&own, IMAGE);
    assert_eq!(manifest, get(&artifact.to_string(), IMAGE));
    assert_eq!(manifest["artifactType"], BUNDLE);
    assert_eq!(manifest["subject"]["digest"], image.digest().to_string());
    assert_eq!(manifest["subject"]["size"], image.bytes().len());
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], BUNDLE);
    let remarks = serde_json::json!({
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "org.opencontainers.image.created": "2023-11-14T22:13:20.123Z",
    });
    assert_eq!(manifest["annotations"], remarks);
    assert_eq!(index["manifests"][0]["annotations"], remarks);
}

#[tokio::test]
async fn a_statement_is_written_once_and_others_come_beside_it() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    // An image of the older form has statements as well.
    let image = image_of(&repository, "one", DOCKER_IMAGE).await;
    repository.put_manifest(&image).await.expect("put");
    let first = attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    let writes = repository.writes();
    assert_eq!(attach(&repository, image.digest(), &statement("passed")).await.expect("attached"), first);
    assert_eq!(repository.writes(), writes, "what is there is not written");
    for number in 0..10 {
        attach(&repository, image.digest(), &statement(&format!("{number}"))).await.expect("attached");
    }
    assert_eq!(said(&repository, image.digest()).await.len(), 11);
    let missing = attach(&repository, Digest::of(b"no image"), &statement("passed")).await;
    assert!(matches!(missing, Err(RegistryError::Missing { .. })), "{missing:?}");
    let mut large = statement("large");
    large.bundle = Bytes::from(vec![b' '; (4 << 20) + 1]);
    assert!(matches!(attach(&repository, image.digest(), &large).await, Err(RegistryError::TooLarge { .. })));
}

/// T18: a registry that fails is never taken for one that has nothing.
#[tokio::test]
async fn that_it_could_not_be_asked_is_never_nothing() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/app");
    let image = image(&direct, "one").await;
    attach(&direct, image.digest(), &statement("failed")).await.expect("attached");
    // Each of the questions fails in each of the ways, one at a time.
    let path = fallback(image.digest());
    let places =
        ["/referrers/".to_owned(), format!("/manifests/{path}"), "/tags/list".to_owned(), "/blobs/".to_owned(), format!("{path}.splitci.")];
    for place in places {
        let statuses = ["500 Internal Server Error", "403 Forbidden", "429 Too Many Requests", "418 I'm a teapot", "204 No Content"];
        for status in statuses.into_iter().map(Some).chain([None]) {
            let broken = place.clone();
            let between = Between::before(&registry.host(), move |_, asked| match status {
                _ if !asked.path.contains(&broken) => Trick::Pass,
                Some(status) => Trick::Say(status, String::new(), Vec::new()),
                None => Trick::Cut,
            });
            let answer = list(&impatient(&between.host(), "shop/app"), image.digest()).await;
            assert!(answer.is_err(), "{place} {status:?}: {answer:?}");
            assert!(between.heard().iter().any(|asked| asked.path.contains(&place)), "{place} was never asked");
        }
    }
    // A page that is no list.
    let between = Between::before(
        &registry.host(),
        only(
            move |asked| asked.path.contains("/referrers/"),
            move || Trick::Say("200 OK", "Content-Type: text/html\r\n".to_owned(), b"<html>sign in</html>".to_vec()),
        ),
    );
    assert!(list(&at(&between.host(), "shop/app"), image.digest()).await.is_err());
}

#[tokio::test]
async fn either_way_to_a_statement_is_enough() {
    let registry = Registry::that_deletes();
    let repository = at(&registry.host(), "shop/app");
    let image = image(&repository, "one").await;
    let artifact = attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    let names = [fallback(image.digest()), format!("{}.splitci.{}", fallback(image.digest()), &artifact.hex()[..32])];
    for name in &names {
        let name = format!("/manifests/{name}");
        let between = Between::before(
            &registry.host(),
            only(move |asked| asked.path.ends_with(&name), move || Trick::Say("404 Not Found", String::new(), Vec::new())),
        );
        assert_eq!(said(&at(&between.host(), "shop/app"), image.digest()).await, [word("passed")]);
    }
    // Without the artifact it is named, and not there.
    let (status, _) = by_hand(&registry.host(), &format!("DELETE /v2/shop/app/manifests/{artifact} HTTP/1.1"), b"");
    assert_eq!(status, 202);
    let evidence = list(&repository, image.digest()).await.expect("asked");
    let Evidence { found, spoiled } = &evidence;
    assert!(found.is_empty() && spoiled.len() == 1 && spoiled[0].artifact == artifact, "{evidence:?}");
    assert!(matches!(spoiled[0].cause, RegistryError::Missing { .. }), "{evidence:?}");
}

#[tokio::test]
async fn what_is_not_what_it_is_called_is_told_and_hides_nothing() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/app");
    let image = image(&direct, "one").await;
    attach(&direct, image.digest(), &statement("passed")).await.expect("attached");
    let second = attach(&direct, image.digest(), &statement("failed")).await.expect("attached");
    let bundle = format!("/blobs/{}", Digest::of(word("failed").as_bytes()));
    let bad = word("passed");
    let liar = Between::before(
        &registry.host(),
        only(move |asked| asked.path.ends_with(&bundle), move || Trick::Say("200 OK", String::new(), bad.clone().into_bytes())),
    );
    let evidence = list(&at(&liar.host(), "shop/app"), image.digest()).await.expect("asked");
    assert_eq!((evidence.found.len(), evidence.spoiled.len()), (1, 1), "{evidence:?}");
    assert_eq!(evidence.spoiled[0].artifact, second);
    assert!(matches!(evidence.spoiled[0].cause, RegistryError::Digest { .. }), "{evidence:?}");
}

/// T13: where a statement lies does not count.
#[tokio::test]
async fn statements_about_other_images_are_not_about_this_one() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let (one, two) = (image(&repository, "one").await, image(&repository, "two").await);
    let about_two = attach(&repository, two.digest(), &statement("passed")).await.expect("attached");
    // Somebody gives the statement about the other one the tags of this one.
    let artifact = repository.manifest(about_two).await.expect("there");
    repository.put_tag(&artifact, &tag(&format!("{}.splitci.0", fallback(one.digest())))).await.expect("put");
    let index = crate::ground::index_of(&[&artifact, &one]);
    repository.put_tag(&index, &tag(&fallback(one.digest()))).await.expect("put");
    assert_eq!(said(&repository, one.digest()).await, [""; 0]);
    // And puts something else than an index where the index is looked for.
    repository.put_tag(&one, &tag(&fallback(one.digest()))).await.expect("put");
    assert!(list(&repository, one.digest()).await.is_err(), "there may have been an index");
}

#[tokio::test]
async fn what_others_wrote_into_the_index_stays_there() {
    let registry = Registry::start();
    let repository = at(&registry.host(), "shop/app");
    let (one, other) = (image(&repository, "one").await, image(&repository, "other").await);
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{IMAGE}","digest":"{}","size":{},"artifactType":"application/sbom","annotations":{{"a":"b"}},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
        other.digest(),
        other.bytes().len()
    );
    let before = Manifest::read(Some(INDEX), Bytes::from(text)).expect("an index");
    repository.put_tag(&before, &tag(&fallback(one.digest()))).await.expect("put");
    attach(&repository, one.digest(), &statement("passed")).await.expect("attached");
    let after = repository.find(&Wanted::Tag(tag(&fallback(one.digest())))).await.expect("asked").expect("there");
    let entries = |manifest: &Manifest| serde_json::from_slice::<serde_json::Value>(manifest.bytes()).expect("JSON")["manifests"].clone();
    assert_eq!(entries(&after)[0], entries(&before)[0]);
    assert_eq!(entries(&after).as_array().map(Vec::len), Some(2));
    assert_eq!(said(&repository, one.digest()).await, [word("passed")]);
}

#[tokio::test]
async fn an_index_that_somebody_else_overwrites_loses_no_statement() {
    let registry = Registry::start();
    let direct = at(&registry.host(), "shop/app");
    let (one, other) = (image(&direct, "one").await, image(&direct, "other").await);
    let host = registry.host();
    let (path, overwritten) = (format!("/v2/shop/app/manifests/{}", fallback(one.digest())), Arc::new(Mutex::new(0)));
    let theirs = crate::ground::index_of(&[&other]);
    let (count, name, body) = (Arc::clone(&overwritten), path.clone(), theirs.bytes().clone());
    // After our index is put and before we look again, another one is put, twice.
    let between = Between::before(&registry.host(), move |number, asked| {
        let mut count = count.lock().expect("nobody panics here");
        if asked.method == "GET" && asked.path == name && number > 0 && *count < 3 {
            *count += 1;
            if *count > 1 {
                let (status, _) = by_hand(&host, &format!("PUT {name} HTTP/1.1\r\nContent-Type: {INDEX}"), &body);
                assert_eq!(status, 201);
            }
        }
        Trick::Pass
    });
    attach(&at(&between.host(), "shop/app"), one.digest(), &statement("passed")).await.expect("attached");
    assert_eq!(*overwritten.lock().expect("nobody panics here"), 3);
    let (_, body) = by_hand(&registry.host(), &format!("GET {path} HTTP/1.1\r\nAccept: {INDEX}"), b"");
    assert!(String::from_utf8_lossy(&body).contains(BUNDLE) && String::from_utf8_lossy(&body).contains(&other.digest().to_string()));
    // Where it never ends, the statement is found all the same.
    let (host, name, body) = (registry.host(), path.clone(), theirs.bytes().clone());
    let between = Between::before(&registry.host(), move |_, asked| {
        if asked.method == "GET" && asked.path == name {
            by_hand(&host, &format!("PUT {name} HTTP/1.1\r\nContent-Type: {INDEX}"), &body);
        }
        Trick::Pass
    });
    let raced = attach(&at(&between.host(), "shop/app"), one.digest(), &statement("again")).await;
    assert!(matches!(raced, Err(RegistryError::Raced { .. })), "{raced:?}");
    assert_eq!(said(&direct, one.digest()).await, [word("again"), word("passed")]);
}

/// Stands before a registry, and can be asked what refers to something, as newer ones can.
fn that_knows_referrers(registry: &str) -> Between {
    let (put, host): (Mutex<Vec<String>>, _) = (Mutex::default(), registry.to_owned());
    let entry = move |path: &String| {
        let (_, body) = by_hand(&host, &format!("GET {path} HTTP/1.1\r\nAccept: {IMAGE}"), b"");
        let manifest = serde_json::from_slice::<serde_json::Value>(&body).ok()?;
        let digest = Digest::of(&body).to_string();
        manifest.get("subject")?;
        Some(serde_json::json!({"mediaType": IMAGE, "digest": digest, "size": body.len(), "artifactType": manifest["artifactType"]}))
    };
    Between::before(registry, move |_, asked| {
        let mut put = put.lock().expect("nobody panics here");
        if asked.path.contains("/referrers/") {
            let all: Vec<_> = put.iter().filter_map(&entry).collect();
            let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
            return Trick::Say("200 OK", format!("Content-Type: {INDEX}\r\n"), index.to_string().into_bytes());
        }
        if asked.method == "PUT" && asked.path.contains("/manifests/sha256:") {
            put.push(asked.path.clone());
        }
        Trick::Pass
    })
}

#[tokio::test]
async fn a_registry_that_knows_what_refers_to_an_image_needs_no_tags() {
    let registry = Registry::start();
    let newer = that_knows_referrers(&registry.host());
    let repository = at(&newer.host(), "shop/app");
    let image = image(&repository, "one").await;
    attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    let writes = repository.writes();
    attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    assert_eq!((repository.writes(), registry.tags("shop/app").len()), (writes, 0));
    assert_eq!(said(&repository, image.digest()).await, [word("passed")]);
    // An empty list is an answer, and what lies under tags counts all the same.
    let older = at(&registry.host(), "shop/app");
    attach(&older, image.digest(), &statement("again")).await.expect("attached");
    assert_eq!(said(&repository, image.digest()).await, [word("again"), word("passed")]);
}

/// T24: a garbage collection leaves statements where they are.
#[tokio::test]
async fn statements_survive_a_garbage_collection_and_what_does_not_is_forgotten() {
    let registry = Registry::that_deletes();
    let repository: Repository = at(&registry.host(), "shop/app");
    let image = image(&repository, "one").await;
    repository.put_tag(&image, &tag("v1")).await.expect("put");
    let artifact = attach(&repository, image.digest(), &statement("passed")).await.expect("attached");
    // Another tool's artifact, which has no tag of its own.
    let (index, foreign) = (fallback(image.digest()), crate::ground::image(&repository, "foreign").await);
    let ours = repository.manifest(artifact).await.expect("there");
    repository.put_tag(&crate::ground::index_of(&[&ours, &foreign]), &tag(&index)).await.expect("put");

    let said_of_it = registry.collect_garbage();
    assert!(said_of_it.contains(&format!("manifest eligible for deletion: {}", foreign.digest())), "{said_of_it}");
    assert!(repository.find(&foreign.digest().into()).await.expect("asked").is_none());
    assert_eq!(said(&repository, image.digest()).await, [word("passed")]);
    assert_eq!(repository.tree(image.digest()).await.expect("whole").len(), 1);
    for blob in image.blobs() {
        assert!(repository.has_blob(blob.digest).await.expect("asked"));
    }
    // The registry takes no index that names what it has collected.
    attach(&repository, image.digest(), &statement("again")).await.expect("attached");
    registry.collect_garbage();
    assert_eq!(said(&repository, image.digest()).await, [word("again"), word("passed")]);
}
