//! What a build is given by its session, with a real BuildKit: only what changed, never what was not hashed, secrets that stay secret, and what is left
//! in the engine.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
mod project;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ground::{connect, environment, unique};
use project::{Ears, Project, cat};
use splitci_coordinator::docker::build::{BuildFailure, BuildRequest, SentEntry, SentKind, SourceError, Sources};
use splitci_coordinator::docker::{self, Docker, DockerError};
use splitci_coordinator::image::{BuildFrom, ImageError, ImageRequest, ReadyImage, ensure_image};
use splitci_coordinator::model::event::ImageSource;
use splitci_coordinator::model::{BuildSecret, Progress, SecretSource, SecretText, SshAgent};
use splitci_tests::engine::{Door, docker_says};
use splitci_tests::second::SecondEngine;

/// Builds although the image may be there, and says how many bytes of files were sent.
async fn rebuilt(project: &Project, from: BuildFrom) -> (ReadyImage, u64) {
    for image in project.docker.tags_of(&format!("splitci/{}", project.name)).await.expect("tags") {
        project.docker.untag(&image.reference).await.expect("untagged");
    }
    let (image, heard) = project.ensure(from).await;
    let image = image.expect("an image");
    assert_eq!(image.how, ImageSource::Built);
    let told = heard.iter().filter_map(|news| if let Progress::ContextSent(bytes) = news { Some(*bytes) } else { None });
    (image, told.max().unwrap_or(0))
}

fn date(path: &Path, how: &str) {
    let touched = Command::new("touch").args(["--date", how]).arg(path).status().expect("start touch");
    assert!(touched.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = Door::open(folder.path());
    splitci_tests::engine::require();
    let docker = Arc::new(docker::connect(Some(&door.address()), &environment()).await.expect("an engine"));
    let project = Project::on(docker, "changed", "FROM scratch\nCOPY . /app/\n");
    let files = 2000;
    for number in 0..files {
        project.write(&format!("src/{}/{number}", number % 50), format!("{number}\n").repeat(200));
    }
    let (_, first) = rebuilt(&project, project.from()).await;
    assert!(first > 1 << 20, "{first} bytes");

    let (_, nothing) = rebuilt(&project, project.from()).await;
    assert_eq!(nothing, 0, "nothing changed");
    date(&project.root.path().join("src"), "2001-01-01");
    date(&project.root.path().join("src/7/7"), "2001-01-01");
    let (_, touched) = rebuilt(&project, project.from()).await;
    assert_eq!(touched, 0, "a file that was only touched");

    let changed = vec![b'x'; 100_000];
    project.write("src/7/7", &changed);
    let before = door.carried();
    let (image, sent) = rebuilt(&project, project.from()).await;
    assert_eq!(sent, 100_000);
    let carried = door.carried() - before;
    println!("{carried} bytes on the wire for {} that changed and {files} files told of", changed.len());
    assert!(carried <= 100_000 + 100 * files);
    assert_eq!(docker_says(&format!("image inspect --format {{{{.Id}}}} {}", image.reference)), image.identity.config);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_hides_behind_length_and_time_is_found() {
    for dockerfile in [
        "FROM debian:bookworm-slim\nCOPY file /file\n",
        "FROM debian:bookworm-slim\nCOPY file /file\nRUN --mount=type=cache,target=/c true\n",
    ] {
        let project = Project::new("hidden", dockerfile).await;
        let state = tempfile::tempdir().expect("a folder");
        let from = BuildFrom { state: Some(state.path().to_owned()), ..project.from() };
        let file = project.root.path().join("file");
        for (round, text) in ["one", "two", "one"].into_iter().enumerate() {
            project.write("file", text);
            date(&file, "2020-02-02 12:00");
            let (image, sent) = rebuilt(&project, from.clone()).await;
            assert_eq!(cat(&image.reference, "/file"), text);
            assert!(round == 0 || sent == 3, "{sent} bytes for round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_arrive_and_neither_umask_nor_place_nor_time_of_a_checkout_makes_another_image() {
    let mut seen = Vec::new();
    let dockerfile = "FROM debian:bookworm-slim\nCOPY . /ctx\nRUN cd /ctx && find . -printf '%p %m %U:%G|' > /list\n";
    for (umask, when) in [(0o022, "2020-01-01 00:00:01"), (0o002, "2024-06-30 13:13:13"), (0o000, "now")] {
        let project = Project::new("checkout", dockerfile).await;
        let files = [("plain", 0o666), ("program", 0o777), ("secret", 0o600), ("below/secret", 0o600)];
        for (path, mode) in files {
            project.write(path, path);
            let place = project.root.path().join(path);
            let mode = if mode == 0o600 { mode } else { mode & !umask };
            fs_err::set_permissions(&place, std::fs::Permissions::from_mode(mode)).expect("set");
            date(&place, when);
        }
        let below = std::fs::Permissions::from_mode(0o777 & !umask);
        fs_err::set_permissions(project.root.path().join("below"), below).expect("set");
        let image = project.built().await;
        seen.push((image.identity.config.clone(), image.key.clone(), cat(&image.reference, "/list")));
    }
    let list = &seen[0].2;
    for row in ["./plain 644 0:0", "./program 755 0:0", "./secret 600 0:0", "./below/secret 600 0:0", "./below 755 0:0"] {
        assert!(list.contains(row), "{row} in {list}");
    }
    // The label with the key is the same, and so is the image, although each project has another name.
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
}

/// What the layers hold is the same without any help of a cache: built on two engines. Old ones date directories themselves.
#[tokio::test(flavor = "multi_thread")]
async fn two_machines_make_the_same_layers() {
    let second = SecondEngine::start();
    let there = Arc::new(docker::connect(Some(&second.address()), &environment()).await.expect("an engine"));
    let mut seen = Vec::new();
    for (docker, when) in [(connect().await, "2020-01-01"), (there, "2024-06-30 13:13:13")] {
        let project = Project::on(Arc::clone(&docker), "machines", "FROM scratch\nCOPY . /\n");
        for path in ["a", "b", "c"] {
            project.write(path, path);
            date(&project.root.path().join(path), when);
        }
        let image = project.built().await;
        let inspect = format!("-H {} image inspect --format {{{{.RootFS.Layers}}}} {}", docker.endpoint(), image.reference);
        seen.push(docker_says(&inspect));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_build_cache_grows_by_what_changed_alone() {
    let second = SecondEngine::start();
    let docker = Arc::new(docker::connect(Some(&second.address()), &environment()).await.expect("an engine"));
    let project = Project::on(docker, "growth", "FROM scratch\nCOPY big /big\nCOPY small /small\n");
    project.write("big", vec![7; 5 << 20]);
    project.write("small", vec![0; 10_000]);
    rebuilt(&project, project.from()).await;
    let before = second.build_cache();
    for _ in 0..20 {
        rebuilt(&project, project.from()).await;
    }
    assert_eq!(second.build_cache(), before, "20 builds with nothing changed");
    for round in 1..=20 {
        project.write("small", vec![round; 10_000]);
        rebuilt(&project, project.from()).await;
    }
    let grown = second.build_cache() - before;
    println!("{before} bytes, and {grown} more after 20 builds with 10000 bytes changed");
    assert!((190_000..=400_000).contains(&grown), "{grown} bytes");
}

/// Tools that judge by time, each with its work in a cache mount.
const JUDGES: &str = "\
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends cargo make python3-minimal >/dev/null
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/made make -s && cp /made/out /out.make
RUN --mount=type=cache,target=/pyc PYTHONPYCACHEPREFIX=/pyc python3 run.py > /out.python
RUN --mount=type=cache,target=/target CARGO_TARGET_DIR=/target cargo run -q --offline > /out.cargo
";

#[tokio::test(flavor = "multi_thread")]
async fn new_code_is_tested_behind_a_cache_mount() {
    let project = Project::new("judges", JUDGES).await;
    let state = tempfile::tempdir().expect("a folder");
    let from = BuildFrom { state: Some(state.path().to_owned()), ..project.from() };
    project.write("Makefile", "/made/out: source; @cp source /made/out\n");
    project.write("run.py", "import module\nprint(module.VALUE)\n");
    project.write("Cargo.toml", "[package]\nname = \"judged\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    // Forth and back, and to the same content twice, with times that would have every one of them taken for old.
    for (round, value) in [1, 2, 1, 3, 3, 1].into_iter().enumerate() {
        project.write("source", format!("{value}\n"));
        project.write("module.py", format!("VALUE = {value}\n"));
        project.write("src/main.rs", format!("fn main() {{ println!(\"{value}\"); }}\n"));
        project.write("unrelated", format!("{round}"));
        for path in ["source", "module.py", "src/main.rs"] {
            date(&project.root.path().join(path), "2020-01-01");
        }
        let (image, _) = rebuilt(&project, from.clone()).await;
        for tool in ["make", "python", "cargo"] {
            assert_eq!(cat(&image.reference, &format!("/out.{tool}")), value.to_string(), "{tool}, round {round}");
        }
        if round == 4 {
            // A table that is lost makes everything new.
            fs_err::remove_dir_all(state.path().join("sent")).expect("removed");
        }
    }
}

/// Layers of content that was built before are remembered with the times of then. A step that runs anew behind them must not take them for old.
#[tokio::test(flavor = "multi_thread")]
async fn remembered_layers_do_not_pass_for_old_code() {
    let dockerfile = "FROM debian:bookworm-slim\nARG WITH\nCOPY source /source\nRUN --mount=type=cache,target=/m \
                      if [ ! -e /m/out ] || [ /source -nt /m/out ]; then cp /source /m/out; fi; cp /m/out /out; echo $WITH\n";
    let project = Project::new("remembered", dockerfile).await;
    let state = tempfile::tempdir().expect("a folder");
    let mark = unique("mark");
    for (round, (value, with)) in [(1, "a"), (2, "a"), (1, "b"), (2, "b"), (2, "c"), (1, "c")].into_iter().enumerate() {
        if round == 4 {
            fs_err::remove_dir_all(state.path().join("sent")).expect("the table is lost");
        }
        project.write("source", format!("{mark} {value}"));
        let args = [("WITH".to_owned(), with.to_owned())].into();
        let (image, _) = rebuilt(&project, BuildFrom { state: Some(state.path().to_owned()), args, ..project.from() }).await;
        assert_eq!(cat(&image.reference, "/out"), format!("{mark} {value}"), "round {round}");
    }
}

/// The second is sent while the first still works, and comes to the mount after it.
#[tokio::test(flavor = "multi_thread")]
async fn two_builds_of_a_directory_do_not_pass_for_each_other() {
    let dockerfile = "FROM debian:bookworm-slim\nCOPY source /source\nRUN --mount=type=cache,target=/m \
                      sleep 3; if [ ! -e /m/out ] || [ /source -nt /m/out ]; then cp /source /m/out; fi; cp /m/out /out\n";
    let project = Project::new("overtaken", dockerfile).await;
    let state = tempfile::tempdir().expect("a folder");
    let from = BuildFrom { state: Some(state.path().to_owned()), ..project.from() };
    let mark = unique("mark");
    project.write("source", format!("{mark} 1"));
    let first = project.ensure(from.clone());
    let second = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        project.write("source", format!("{mark} 2"));
        project.ensure(from.clone()).await
    };
    let (first, second) = tokio::join!(first, second);
    for (image, value) in [(first.0, 1), (second.0, 2)] {
        assert_eq!(cat(&image.expect("an image").reference, "/out"), format!("{mark} {value}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_mounts_are_a_projects_own() {
    let dockerfile =
        "FROM debian:bookworm-slim\nCOPY who /\nRUN --mount=type=cache,id=shared,target=/c cat /who >> /c/all; cp /c/all /all\n";
    for name in ["one", "two"] {
        let project = Project::new(name, dockerfile).await;
        project.write("who", name);
        assert_eq!(cat(&project.built().await.reference, "/all"), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_its_step_and_nothing_else() {
    let said = unique("secrets");
    let dockerfile = format!(
        "FROM debian:bookworm-slim\nRUN --mount=type=secret,id=file --mount=type=secret,id=text --mount=type=secret,id=none \
         echo {said}; cat /run/secrets/file /run/secrets/text | md5sum > /sum; ls /run/secrets > /list\n"
    );
    let project = Project::new("secrets", &dockerfile).await;
    let (in_file, in_text) = (unique("hidden-in-a-file"), unique("hidden-in-a-variable"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    fs_err::write(&file, &in_file).expect("written");
    let secrets = vec![
        BuildSecret { id: "file".into(), source: SecretSource::File(file.clone()) },
        BuildSecret { id: "text".into(), source: SecretSource::Text(SecretText(in_text.clone())) },
    ];
    let from = BuildFrom { secrets, ..project.from() };
    let (image, heard) = project.ensure(from.clone()).await;
    let image = image.expect("an image");
    let sum = format!("printf %s {in_file}{in_text} | md5sum");
    let sum = Command::new("sh").args(["-c", &sum]).output().expect("start sh");
    assert_eq!(cat(&image.reference, "/sum").trim(), String::from_utf8_lossy(&sum.stdout).trim());
    assert_eq!(cat(&image.reference, "/list"), "file\ntext", "one that was not given is not there");

    let saved = Command::new("sh").args(["-c", &format!("docker save {} | grep -ac -e {in_file} -e {in_text}", image.reference)]).output();
    assert_eq!(String::from_utf8_lossy(&saved.expect("start sh").stdout).trim(), "0", "in the image");
    let history = docker_says(&format!("history --no-trunc {}", image.reference));
    let told = format!("{heard:?} {image:?} {from:?} {history}");
    assert!(!told.contains(&in_file) && !told.contains(&in_text));

    // Another value is no other image; another id is.
    fs_err::write(&file, "other").expect("written");
    assert_eq!(project.ensure(from.clone()).await.0.expect("an image").how, ImageSource::Found);
    let fewer = BuildFrom { secrets: from.secrets[..1].to_vec(), ..from.clone() };
    assert_ne!(project.ensure(fewer).await.0.expect("an image").key, image.key);

    fs_err::remove_file(&file).expect("removed");
    let error = project.ensure(BuildFrom { no_cache: true, ..from }).await.0.expect_err("the secret is gone");
    assert!(matches!(&error, ImageError::Source(SourceError::Secret { id, .. }) if id == "file") && error.exit_code() == 2, "{error:?}");
    assert!(error.hint().is_some());
}

/// An `ssh-agent`, ended with this value.
struct Agent {
    folder: tempfile::TempDir,
    process: std::process::Child,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("agent");
        let process = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()).spawn();
        let agent = Self { folder, process: process.expect("start ssh-agent; on Debian: apt-get install openssh-client") };
        let started = Instant::now();
        while !socket.exists() {
            assert!(started.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("agent")
    }

    /// Makes a key and gives it to the agent; says its public half.
    fn key(&self) -> String {
        let key = self.folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().expect("start ssh-keygen");
        let added = Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", self.socket()).output().expect("start ssh-add");
        assert!(made.success() && added.status.success());
        let public = fs_err::read_to_string(key.with_extension("pub")).expect("a key");
        public.split(' ').nth(1).expect("a key").to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_talks_to_the_ssh_agent() {
    let said = unique("agent");
    let dockerfile = format!(
        "FROM debian:bookworm-slim\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends openssh-client >/dev/null\n\
         RUN --mount=type=ssh echo {said}; ssh-add -L > /keys; echo $SSH_AUTH_SOCK > /socket\n"
    );
    let project = Project::new("agent", &dockerfile).await;
    let agent = Agent::start();
    let public = agent.key();
    let from = BuildFrom { ssh: vec![SshAgent { id: "default".into(), socket: agent.socket() }], ..project.from() };
    let image = project.ensure(from.clone()).await.0.expect("an image");
    assert!(cat(&image.reference, "/keys").contains(&public));
    assert_eq!(docker_says(&format!("run --rm {} find / -xdev -type s", image.reference)), "", "the socket is no part of the image");

    drop(agent);
    let error = project.ensure(BuildFrom { no_cache: true, ..from }).await.0.expect_err("nobody is there");
    assert!(matches!(&error, ImageError::Source(SourceError::Agent { .. })) && error.exit_code() == 2, "{error:?}");
}

/// An authority, a server of it and a client of it, with the names that docker gives them.
const CERTIFICATES: &str = r#"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
sign() {
  openssl req -new -key "$1" -subj "/CN=$2" -out request.pem
  printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=%s' "$3" > extensions
  openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out "$4"
}
key ca-key.pem; key server-key.pem; key key.pem
openssl req -x509 -new -key ca-key.pem -subj /CN=authority -days 2 -out ca.pem
sign server-key.pem server serverAuth server.pem
sign key.pem client clientAuth cert.pem
"#;

/// An address on the loopback that carries to this machine's engine; with TLS for those who show a certificate of the authority in this folder.
async fn carry(certificates: Option<&Path>) -> String {
    let tls = certificates.map(|folder| tokio_rustls::TlsAcceptor::from(Arc::new(server(folder))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    tokio::runtime::Handle::current().spawn(async move {
        let mut guests = tokio::task::JoinSet::new();
        while let Ok((mut guest, _)) = listener.accept().await {
            let tls = tls.clone();
            guests.spawn(async move {
                let mut host = tokio::net::UnixStream::connect("/var/run/docker.sock").await?;
                match tls {
                    None => tokio::io::copy_bidirectional(&mut guest, &mut host).await,
                    Some(tls) => tokio::io::copy_bidirectional(&mut tls.accept(guest).await?, &mut host).await,
                }
            });
        }
    });
    address
}

fn server(folder: &Path) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = |name: &str| CertificateDer::from_pem_file(folder.join(name)).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).expect("an authority");
    let clients = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
    let key = PrivateKeyDer::from_pem_file(folder.join("server-key.pem")).expect("a key");
    let server = rustls::ServerConfig::builder().with_client_cert_verifier(clients);
    server.with_single_cert(vec![certificate("server.pem")], key).expect("a server")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_an_engine_carries_a_session() {
    splitci_tests::engine::require();
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new("sh").args(["-e", "-c", CERTIFICATES]).current_dir(folder.path()).output().expect("start sh");
    assert!(made.status.success(), "certificates: {}", String::from_utf8_lossy(&made.stderr));
    let (plain, tls) = (carry(None).await, carry(Some(folder.path())).await);
    let mut with_certificates = environment();
    with_certificates.insert("DOCKER_TLS_VERIFY".into(), "1".into());
    with_certificates.insert("DOCKER_CERT_PATH".into(), folder.path().display().to_string());
    for (address, env) in [(plain, environment()), (tls, with_certificates)] {
        let docker = Arc::new(docker::connect(Some(&address), &env).await.expect("an engine"));
        // A cache mount, so that the engine is asked for its time as well.
        let project = Project::on(docker, "ways", "FROM debian:bookworm-slim\nCOPY . /\nRUN --mount=type=cache,target=/c true\n");
        project.write("file", vec![b'x'; 3 << 20]);
        let (_, sent) = rebuilt(&project, project.from()).await;
        assert!(sent > 3 << 20, "{address}");
    }
}

/// A build below everything that walks and hashes: what the session is given is what it sends.
async fn build(docker: &Arc<Docker>, dockerfile: &str, sources: Sources) -> Result<String, BuildFailure> {
    let request = BuildRequest { id: unique("build"), dockerfile: "Dockerfile".into(), ..BuildRequest::default() };
    docker.build(&request, Sources { dockerfile: dockerfile.into(), ..sources }, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_hashed_makes_no_image() {
    let docker = connect().await;
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("file"), "one").expect("written");
    let kind = SentKind::File { length: 3, hash: [1; 32] };
    let entry = SentEntry {
        path: b"file".to_vec(),
        origin: None,
        mode: 0o644,
        modified: 1_000_000_000_000_000_007,
        dated: false,
        attributes: BTreeMap::new(),
        kind,
    };
    let sources = Sources { root: folder.path().to_owned(), context: vec![entry], shared_key: unique("key"), ..Sources::default() };
    let error = build(&docker, "FROM scratch\nCOPY file /\n", sources).await.expect_err("it is another file");
    assert!(matches!(&error, BuildFailure::Source(SourceError::Changed(path)) if path.ends_with("file")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_under_a_build_is_said_to_have_gone() {
    let mut second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    for way in ["killed", "cut off"] {
        let folder = tempfile::tempdir().expect("a folder");
        let door = Door::before(Path::new(second.address().trim_start_matches("unix://")), folder.path());
        let docker = Arc::new(docker::connect(Some(&door.address()), &environment()).await.expect("an engine"));
        let project = Project::on(docker, "dies", "FROM debian:bookworm-slim\nRUN sleep 601\n");
        let request = ImageRequest::Build(BuildFrom { network: Some("none".into()), ..project.from() });
        let ears = Ears::default();
        let building = Box::pin(ensure_image(&request, &project.docker, &ears));
        let dying = async {
            until_running(&ears, "sleep 601").await;
            if way == "killed" { second.kill() } else { door.clear() }
        };
        let (built, ()) =
            Box::pin(tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(building, dying) })).await.expect("it ends");
        let error = built.expect_err("the engine is gone");
        assert_eq!(error.exit_code(), 3, "{way}: {error:?}");
        assert!(matches!(&error, ImageError::Docker(DockerError::Broken { .. })), "{way}: {error:?}");
        if way == "killed" {
            second.restart();
        }
    }
}

async fn until_running(ears: &Ears, step: &str) {
    let started = Instant::now();
    while !ears.heard().iter().any(|news| matches!(news, Progress::BuildStep(one) if one.name.contains(step))) {
        assert!(started.elapsed() < Duration::from_mins(1), "the step does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A registry that asks who is there, ended with this value.
struct Registry {
    folder: tempfile::TempDir,
    process: std::process::Child,
    address: String,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let htpasswd = Command::new("htpasswd").args(["-Bbn", "me", "pass:word"]).output();
        let htpasswd = htpasswd.expect("start htpasswd; on Debian: apt-get install apache2-utils");
        fs_err::write(folder.path().join("htpasswd"), htpasswd.stdout).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let address = format!("127.0.0.1:{port}");
        let path = folder.path().display();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\nhttp: {{addr: '{address}'}}\n\
             auth: {{htpasswd: {{realm: tests, path: {path}/htpasswd}}}}\n"
        );
        fs_err::write(folder.path().join("config.yml"), config).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml")).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let process = command.spawn().expect("start docker-registry; on Debian: apt-get install docker-registry");
        let started = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, process, address }
    }

    /// A client's configuration that knows the password, or another.
    fn client(&self, password: &str) -> BTreeMap<String, String> {
        use std::io::Write;
        let folder = self.folder.path().join(format!("client-{}", password.len()));
        fs_err::create_dir_all(&folder).expect("made");
        let mut encode =
            Command::new("base64").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("start base64");
        encode.stdin.take().expect("piped").write_all(format!("me:{password}").as_bytes()).expect("written");
        let encoded = String::from_utf8(encode.wait_with_output().expect("encoded").stdout).expect("text");
        let config = serde_json::json!({ "auths": { &self.address: { "auth": encoded.trim() } } });
        fs_err::write(folder.join("config.json"), config.to_string()).expect("written");
        let mut env = environment();
        env.insert("DOCKER_CONFIG".into(), folder.display().to_string());
        env
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_behind_a_password_is_fetched_by_the_builder() {
    let registry = Registry::start();
    let env = registry.client("pass:word");
    let base = format!("{}/{}:1", registry.address, unique("base"));
    let project = Project::new("pushed", "FROM scratch\nCOPY file /base\n").await;
    project.write("file", unique("base"));
    let image = project.built().await;
    docker_says(&format!("tag {} {base}", image.identity.config));
    docker_says(&format!("--config {} push -q {base}", env["DOCKER_CONFIG"]));
    docker_says(&format!("rmi {base}"));

    let dockerfile = format!("FROM {base}\nLABEL said={}\n", unique("label"));
    let knows = Arc::new(docker::connect(None, &env).await.expect("an engine"));
    let built = build(&knows, &dockerfile, Sources::default()).await.expect("an image");
    docker_says(&format!("rmi {built}"));

    let other = format!("FROM {base}\nLABEL said={}\n", unique("label"));
    let dockerfile = other.replace(&base, &format!("{}/never/pulled:1", registry.address));
    let guesses = Arc::new(docker::connect(None, &registry.client("guess")).await.expect("an engine"));
    let error = build(&guesses, &dockerfile, Sources::default()).await.expect_err("the password is wrong");
    assert!(matches!(&error, BuildFailure::Failed { error, .. } if error.contains("401") || error.contains("authoriz")), "{error:?}");
}
