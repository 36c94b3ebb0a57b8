//! Debian's docker-registry on loopback, ended by who started it; also on the loopback of a second engine, over the same storage. And what stands where a registry
//! should be: something that has had enough of us, or says nothing at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splitci_coordinator::content::S3Settings;

use crate::bucket::Bucket;
use crate::engine::docker_says;
use crate::second::SecondEngine;

/// A registry that runs.
#[derive(Debug)]
pub struct Registry {
    directory: tempfile::TempDir,
    port: u16,
    processes: Vec<Child>,
}

impl Registry {
    /// One that asks nobody for a name.
    pub fn start() -> Self {
        Self::with(tempfile::tempdir().expect("a folder"), "", "")
    }

    /// One that takes nothing.
    pub fn read_only() -> Self {
        Self::with(tempfile::tempdir().expect("a folder"), "  maintenance: {readonly: {enabled: true}}\n", "")
    }

    /// One for this user alone.
    pub fn for_user(name: &str, password: &str) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let file = directory.path().join("htpasswd");
        let made =
            Command::new("htpasswd").args(["-Bbn", name, password]).output().expect("htpasswd; on Debian: apt-get install apache2-utils");
        fs_err::write(&file, made.stdout).expect("written");
        Self::with(directory, "", &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display()))
    }

    /// One that deletes what it is told to, and what its garbage collection finds.
    pub fn that_deletes() -> Self {
        Self::with(tempfile::tempdir().expect("a folder"), "  delete: {enabled: true}\n", "")
    }

    /// One that speaks TLS, with `cert.pem` and `key.pem` of this directory.
    pub fn with_tls(certificates: &Path) -> Self {
        let (cert, key) = (certificates.join("cert.pem"), certificates.join("key.pem"));
        let tls = format!(", tls: {{certificate: {}, key: {}}}", cert.display(), key.display());
        Self::starting(tempfile::tempdir().expect("a folder"), "", &tls, "")
    }

    /// One that takes the tokens of whoever has the key of this certificate, and sends guests to `realm` for them.
    pub fn for_tokens(realm: &str, certificate: &Path) -> Self {
        let token = format!("realm: \"{realm}\", service: here, issuer: us, rootcertbundle: {}", certificate.display());
        Self::with(tempfile::tempdir().expect("a folder"), "", &format!("auth: {{token: {{{token}}}}}\n"))
    }

    /// One that keeps everything in a bucket.
    pub fn in_bucket(bucket: &Bucket) -> Self {
        let S3Settings { bucket, region, endpoint, key, .. } = bucket.settings();
        let ((id, secret), endpoint) = (key.expect("a key"), endpoint.expect("an address"));
        let storage = format!(
            "  s3: {{accesskey: {id}, secretkey: {secret}, region: {region}, regionendpoint: \"{endpoint}\", bucket: {bucket}, secure: false, v4auth: true}}\n  \
             redirect: {{disable: true}}\n"
        );
        Self::storing(tempfile::tempdir().expect("a folder"), &storage, "", "")
    }

    /// An image that the engine has by its digest in this repository alone, made for the occasion: `what` is nobody else's. Its name there, and its id.
    pub fn released(&self, repository: &str, what: &str) -> (String, String) {
        let name = format!("{}/{repository}:passing", self.host());
        let script = format!("printf 'FROM debian:bookworm-slim\\nLABEL of={what}\\n' | docker build --quiet --tag {name} -");
        let built = Command::new("sh").args(["-c", &script]).output().expect("start sh");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        docker_says(&format!("push --quiet {name}"));
        let digest = docker_says(&format!("inspect -f {{{{.RepoDigests}}}} {name}")).trim_matches(['[', ']']).to_owned();
        docker_says(&format!("rmi {name}"));
        docker_says(&format!("pull --quiet {digest}"));
        (digest, String::from_utf8_lossy(&built.stdout).trim().to_owned())
    }

    /// Collects garbage: manifests without tags too. What it says.
    pub fn collect_garbage(&self) -> String {
        let collect =
            Command::new("docker-registry").args(["garbage-collect", "-m"]).arg(self.directory.path().join("config.yml")).output();
        let collect = collect.expect("docker-registry runs");
        assert!(collect.status.success(), "{}", String::from_utf8_lossy(&collect.stderr));
        String::from_utf8_lossy(&collect.stdout).into_owned()
    }

    fn with(directory: tempfile::TempDir, of_storage: &str, more: &str) -> Self {
        Self::starting(directory, of_storage, "", more)
    }

    fn starting(directory: tempfile::TempDir, of_storage: &str, of_http: &str, more: &str) -> Self {
        let storage = directory.path().join("storage");
        fs_err::create_dir_all(&storage).expect("made");
        let storage = format!("  filesystem: {{rootdirectory: {}}}\n{of_storage}", storage.display());
        Self::storing(directory, &storage, of_http, more)
    }

    fn storing(directory: tempfile::TempDir, storage: &str, of_http: &str, more: &str) -> Self {
        let port = free_port();
        let text = format!("version: 0.1\nlog: {{level: error}}\nstorage:\n{storage}http: {{addr: 127.0.0.1:{port}{of_http}}}\n{more}");
        fs_err::write(directory.path().join("config.yml"), text).expect("written");
        let mut registry = Self { directory, port, processes: Vec::new() };
        registry.serve(Command::new("docker-registry"));
        wait(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// The same on the loopback of another engine's network.
    pub fn beside(&mut self, engine: &SecondEngine) {
        engine.inside("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        self.serve(engine.inside("docker-registry"));
        let reached =
            || engine.inside("bash").args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{}", self.port)]).stderr(Stdio::null()).status();
        wait(|| reached().is_ok_and(|status| status.success()));
    }

    fn serve(&mut self, mut command: Command) {
        // What this machine says of clouds is not about a bucket of ours.
        command.env_remove("AWS_CA_BUNDLE");
        command.arg("serve").arg(self.directory.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start docker-registry ({error}); on Debian: apt-get install docker-registry"));
        self.processes.push(process);
    }

    /// Ends it. Nobody answers there any more.
    pub fn stop(&mut self) {
        self.processes.drain(..).for_each(|mut process| crate::second::end(&mut process));
    }

    /// Its address, for names of images.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let tags = self.repository(repository).join("_manifests/tags");
        let Ok(entries) = fs_err::read_dir(tags) else { return Vec::new() };
        let mut tags: Vec<_> = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        tags.sort_unstable();
        tags
    }

    /// Uploads that were begun and are still open.
    pub fn uploads(&self) -> usize {
        let all = walkdir::WalkDir::new(self.storage()).into_iter().filter_map(Result::ok);
        // Of one that was given up it keeps an empty state of its hash.
        all.filter(|entry| entry.file_name() == "startedat").count()
    }

    /// The file that says what a tag means.
    pub fn link(&self, repository: &str, tag: &str) -> PathBuf {
        self.repository(repository).join("_manifests/tags").join(tag).join("current/link")
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.storage().join("repositories").join(name)
    }

    /// What it stores, with the size of each.
    pub fn blobs(&self) -> Vec<(PathBuf, u64)> {
        let files = walkdir::WalkDir::new(self.storage().join("blobs")).into_iter().map(|entry| entry.expect("readable"));
        let data = files.filter(|entry| entry.file_name() == "data");
        data.map(|entry| (entry.path().to_owned(), entry.metadata().expect("readable").len())).collect()
    }

    fn storage(&self) -> PathBuf {
        self.directory.path().join("storage/docker/registry/v2")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for process in &mut self.processes {
            crate::second::end(process);
        }
    }
}

/// How something treats those who take it for a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// It has had enough of them.
    TooMany,
    /// It takes them in and says nothing.
    Silence,
    /// It answers what is asked, has nothing, and never takes anything in.
    Greed,
    /// It asks for a token, and gives one for `cache-pull` alone.
    Rights,
    /// Nobody is there.
    Nobody,
}

/// Something that is taken for a registry. When it goes it hangs up on everybody: an engine has five places for uploads, and one that is held on to is
/// missing to all tests.
#[derive(Debug)]
pub struct StandIn {
    address: String,
    /// Those that wait; nothing once it is gone.
    kept: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

/// Starts one.
pub fn instead(how: Instead) -> StandIn {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let kept = Arc::new(Mutex::new(Some(Vec::new())));
    if how != Instead::Nobody {
        let kept = Arc::clone(&kept);
        std::thread::spawn(move || {
            for mut guest in listener.incoming().map_while(Result::ok) {
                let mut asked = [0; 4096];
                let read = if how == Instead::Silence { 0 } else { guest.read(&mut asked).unwrap_or(0) };
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                match (answer(how, &asked), kept.lock().expect("nobody panics here").as_mut()) {
                    (Some(answer), Some(_)) => drop(guest.write_all(answer.as_bytes())),
                    (None, Some(kept)) => kept.push(guest),
                    (_, None) => {}
                }
            }
        });
    }
    StandIn { address, kept }
}

impl StandIn {
    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.kept.lock().expect("nobody panics here").take());
    }
}

/// What a request gets, if it gets anything. Who speaks TLS is sent away.
fn answer(how: Instead, asked: &str) -> Option<String> {
    let unknown = "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}";
    let challenge;
    let (status, body) = match how {
        Instead::TooMany => ("429 Too Many Requests", "{}"),
        Instead::Rights if asked.starts_with("GET /token?") && asked.contains("cache-pull%3Apull%2Cpush") => {
            ("200 OK", "{\"token\":\"pull\"}")
        }
        Instead::Rights if asked.starts_with("GET /token?") => ("200 OK", "{\"token\":\"nothing\"}"),
        Instead::Rights if asked.starts_with("POST /v2/shop/cache-pull/") && asked.contains("Bearer pull\r\n") => {
            ("202 Accepted\r\nLocation: /v2/shop/cache-pull/blobs/uploads/1", "")
        }
        Instead::Rights if asked.starts_with("POST ") && asked.contains("Bearer ") => {
            ("403 Forbidden", "{\"errors\":[{\"code\":\"DENIED\"}]}")
        }
        Instead::Rights if asked.starts_with("POST ") => {
            let host = asked.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            challenge = format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"here\"");
            (challenge.as_str(), "{}")
        }
        Instead::Rights if asked.starts_with("DELETE ") => ("204 No Content", ""),
        Instead::Greed | Instead::Rights if asked.starts_with("GET /v2/ ") => ("200 OK", "{}"),
        Instead::Greed | Instead::Rights if asked.starts_with("GET ") => ("404 Not Found", unknown),
        Instead::Greed | Instead::Rights if asked.starts_with("HEAD ") => ("404 Not Found", ""),
        Instead::Rights => return Some(String::new()),
        Instead::Greed if !asked.starts_with("POST ") => return Some(String::new()),
        Instead::Greed | Instead::Silence | Instead::Nobody => return None,
    };
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn wait(ready: impl Fn() -> bool) {
    let up = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        ready()
    });
    assert!(up, "docker-registry does not answer");
}

/// A directory for `DOCKER_CONFIG` with a user's credentials for a registry.
pub fn credentials(directory: &Path, host: &str, base64_of_name_and_password: &str) {
    let text = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{base64_of_name_and_password}\"}}}}}}");
    fs_err::write(directory.join("config.json"), text).expect("written");
}
