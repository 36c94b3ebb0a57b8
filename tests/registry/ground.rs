//! What the tests of registries stand on: repositories, and images that are made of a few words.

use std::time::Duration;

use bytes::Bytes;
use splitci_coordinator::registry::evidence::Statement;
use splitci_coordinator::registry::{Descriptor, Digest, Login, Manifest, Patience, Repository, Settings, Tag};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Asks as nobody.
pub(crate) fn nobody() -> Login {
    Box::new(|| Box::pin(async { Ok(None) }))
}

/// Asks as somebody.
pub(crate) fn user(name: &str, password: &str) -> Login {
    let login = (name.to_owned(), password.to_owned());
    Box::new(move || {
        let login = login.clone();
        Box::pin(async move { Ok(Some(login)) })
    })
}

/// Patience of a test: three tries, close to one another.
pub(crate) fn patience() -> Patience {
    let pauses = vec![Duration::from_millis(5), Duration::from_millis(10)];
    Patience { pauses, ..Patience::default() }
}

/// Settings for a repository on loopback without TLS.
pub(crate) fn settings(host: &str, path: &str, login: Login) -> Settings {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let repository = format!("{host}/{path}").parse().expect("a name");
    Settings { repository, plain: true, login, authorities: Vec::new(), patience: patience() }
}

/// A repository that asks nobody for a name.
pub(crate) fn at(host: &str, path: &str) -> Repository {
    Repository::new(settings(host, path, nobody())).expect("a repository")
}

/// The same, with a registry that is asked only once.
pub(crate) fn impatient(host: &str, path: &str) -> Repository {
    let mut settings = settings(host, path, nobody());
    settings.patience.pauses.clear();
    Repository::new(settings).expect("a repository")
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// A manifest as one would write it by hand, blanks and all: whoever writes it anew gets another digest.
pub(crate) fn written(media_type: &str, config: &Descriptor, layers: &[Descriptor]) -> Manifest {
    let part =
        |part: &Descriptor| format!("{{\"size\": {}, \"digest\": \"{}\", \"mediaType\": \"{}\"}}", part.size, part.digest, part.media_type);
    let layers: Vec<_> = layers.iter().map(part).collect();
    let text = format!(
        "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{media_type}\",\n   \"layers\": [{}],\n   \"config\": {}\n}}",
        layers.join(", "),
        part(config)
    );
    Manifest::read(Some(media_type), Bytes::from(text)).expect("a manifest")
}

/// Puts an image of two layers, made of a word.
pub(crate) async fn image(repository: &Repository, word: &str) -> Manifest {
    let manifest = image_of(repository, word, IMAGE).await;
    repository.put_manifest(&manifest).await.expect("put");
    manifest
}

/// The blobs of an image, and its manifest, which is not put.
pub(crate) async fn image_of(repository: &Repository, word: &str, media_type: &str) -> Manifest {
    let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"word\":\"{word}\"}}");
    let config = repository.put_bytes(CONFIG, Bytes::from(config)).await.expect("put");
    let mut layers = Vec::new();
    for number in 1..=2 {
        layers.push(repository.put_bytes(LAYER, Bytes::from(format!("layer {number} of {word}"))).await.expect("put"));
    }
    written(media_type, &config, &layers)
}

/// An index of these.
pub(crate) fn index_of(children: &[&Manifest]) -> Manifest {
    let entry = |child: &&Manifest| {
        format!("{{\"mediaType\": \"{}\", \"digest\": \"{}\", \"size\": {}}}", child.media_type(), child.digest(), child.bytes().len())
    };
    let entries: Vec<_> = children.iter().map(entry).collect();
    let text = format!("{{\"schemaVersion\": 2, \"mediaType\": \"{INDEX}\", \"manifests\": [ {} ]}}", entries.join(", "));
    Manifest::read(Some(INDEX), Bytes::from(text)).expect("an index")
}

pub(crate) fn statement(word: &str) -> Statement {
    Statement {
        predicate_type: "https://in-toto.io/attestation/test-result/v0.1".to_owned(),
        created_at: 1_700_000_000_123,
        bundle: Bytes::from(format!("{{\"statement\":\"{word}\"}}")),
    }
}

/// The statements beside an image, by their words.
pub(crate) async fn said(repository: &Repository, subject: Digest) -> Vec<String> {
    let evidence = splitci_coordinator::registry::evidence::list(repository, subject).await.expect("it can be asked");
    let mut said: Vec<_> = evidence.found.iter().map(|found| String::from_utf8_lossy(&found.bundle).into_owned()).collect();
    said.sort();
    said
}

/// As `said` tells one.
pub(crate) fn word(word: &str) -> String {
    format!("{{\"statement\":\"{word}\"}}")
}

/// Asks a registry by hand, with nothing of ours. Status and body.
pub(crate) fn by_hand(host: &str, request: &str, body: &[u8]) -> (u16, Vec<u8>) {
    use std::io::{Read as _, Write as _};
    let mut line = std::net::TcpStream::connect(host).expect("a registry");
    let head = format!("{request}\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    line.write_all(head.as_bytes()).expect("asked");
    line.write_all(body).expect("asked");
    let mut answer = Vec::new();
    line.read_to_end(&mut answer).expect("answered");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
    let status = String::from_utf8_lossy(&answer[9..12]).parse().expect("a status");
    (status, answer[end + 4..].to_vec())
}
