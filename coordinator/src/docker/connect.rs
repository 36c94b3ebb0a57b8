//! Finds the engine as the docker client does, and connects to it.
//!
//! In order: an address given by the caller, `DOCKER_HOST`, `DOCKER_CONTEXT`, the context chosen by `docker context use`, `/var/run/docker.sock`,
//! the rootless socket `$XDG_RUNTIME_DIR/docker.sock`. The environment comes in as a map. The socket of an
//! engine at `ssh://user@host[:port][/path]` is brought here by a tunnel that lives as long as the connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{ClientConfig, Docker, DockerError, SIGN_OF_LIFE};
use crate::tunnel::{Remote, Ssh, Tunnel};

const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// `host:port`, in the clear.
    Tcp(String),
    /// `host:port` with TLS; the folder holds `ca.pem`, `cert.pem` and `key.pem`.
    Tls {
        /// `host:port`.
        address: String,
        /// Folder of the certificates.
        certificates: PathBuf,
    },
    /// A socket on another machine.
    Ssh(Remote),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls { address, .. } => write!(f, "tcp://{address}"),
            Self::Ssh(remote) => write!(f, "{remote}"),
        }
    }
}

impl Endpoint {
    /// Whether the engine may be expected to see this machine's files.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// Connects to the engine that `host` or the environment names, and asks whether it is there.
pub async fn connect(host: Option<&str>, env: &BTreeMap<String, String>) -> Result<Docker, DockerError> {
    connect_over(&Ssh::default(), host, env).await
}

/// The same, and other machines are reached like this.
pub async fn connect_over(ssh: &Ssh, host: Option<&str>, env: &BTreeMap<String, String>) -> Result<Docker, DockerError> {
    let config = ClientConfig::read(env)?;
    let endpoint = find(host, env, &config)?;
    let tunnel = match &endpoint {
        Endpoint::Ssh(remote) => Some(Tunnel::new(ssh.clone(), remote.clone())),
        Endpoint::Unix(_) | Endpoint::Tcp(_) | Endpoint::Tls { .. } => None,
    };
    let near = match &tunnel {
        Some(tunnel) => Endpoint::Unix(tunnel.open().await?),
        None => endpoint.clone(),
    };
    let client = client(&near)?;
    let docker = Docker { client, endpoint, near, tunnel, config, facts: OnceCell::new() };
    let sign = docker.call(|| "ask the engine for a sign of life".to_owned(), SIGN_OF_LIFE, docker.client.ping()).await;
    match (sign, docker.tunnel.as_ref().map(Tunnel::broken)) {
        (Ok(_), _) => Ok(docker),
        // What is wrong at the other end is not said here, but there.
        (Err(DockerError::Broken { .. } | DockerError::Unreachable { .. }), Some(broken)) => Err(broken.into()),
        // Whoever hangs up at the first word is no engine that can be used.
        (Err(DockerError::Broken { source, .. }), None) => Err(DockerError::Unreachable { endpoint: docker.endpoint.to_string(), source }),
        (Err(error), _) => Err(error),
    }
}

/// A client of an engine that can be dialled from here.
fn client(endpoint: &Endpoint) -> Result<bollard::Docker, DockerError> {
    // The head of an answer may take as long as a context's upload; the deadlines of `Docker::call` are the ones that matter.
    let day = 24 * 60 * 60;
    let version = bollard::API_DEFAULT_VERSION;
    let made = match endpoint {
        Endpoint::Unix(path) => bollard::Docker::connect_with_unix(&path.display().to_string(), day, version),
        Endpoint::Tcp(address) => bollard::Docker::connect_with_http(&format!("tcp://{address}"), day, version),
        Endpoint::Tls { address, certificates } => {
            let file = |name| certificates.join(name);
            let (key, cert, ca) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
            bollard::Docker::connect_with_ssl(&format!("tcp://{address}"), &key, &cert, &ca, day, version)
        }
        Endpoint::Ssh(remote) => return Err(DockerError::Address { address: remote.to_string() }),
    };
    made.map_err(|error| DockerError::of(format!("connect to the engine at `{endpoint}`"), error, endpoint))
}

/// Decides where the engine is.
pub fn find(host: Option<&str>, env: &BTreeMap<String, String>, config: &ClientConfig) -> Result<Endpoint, DockerError> {
    let set = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(address) = host.or_else(|| set("DOCKER_HOST")) {
        let tls = set("DOCKER_TLS_VERIFY").or_else(|| set("DOCKER_TLS")).map(|_| match set("DOCKER_CERT_PATH") {
            Some(path) => PathBuf::from(path),
            None => config.folder.clone(),
        });
        return parse(address, tls);
    }
    let chosen = set("DOCKER_CONTEXT").filter(|name| *name != "default").or_else(|| config.current_context());
    if let Some(name) = chosen {
        return of_context(name, config);
    }
    let rootless = set("XDG_RUNTIME_DIR").map(|folder| Path::new(folder).join("docker.sock"));
    match rootless {
        Some(socket) if !Path::new(SYSTEM_SOCKET).exists() && socket.exists() => Ok(Endpoint::Unix(socket)),
        _ => Ok(Endpoint::Unix(PathBuf::from(SYSTEM_SOCKET))),
    }
}

fn parse(address: &str, tls: Option<PathBuf>) -> Result<Endpoint, DockerError> {
    let unreadable = || DockerError::Address { address: address.to_owned() };
    let (scheme, rest) = address.split_once("://").unwrap_or(("tcp", address));
    let rest = rest.trim_end_matches('/');
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Endpoint::Unix(PathBuf::from(rest))),
        "ssh" => Remote::read(rest, Some(SYSTEM_SOCKET)).map(Endpoint::Ssh).ok_or_else(unreadable),
        "tcp" | "http" | "https" if !rest.is_empty() && !rest.contains('/') => {
            let port = if tls.is_some() { 2376 } else { 2375 };
            let with_port = if has_port(rest) { rest.to_owned() } else { format!("{rest}:{port}") };
            Ok(match tls {
                Some(certificates) => Endpoint::Tls { address: with_port, certificates },
                None => Endpoint::Tcp(with_port),
            })
        }
        _ => Err(unreadable()),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `meta.json` of a docker context.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextMeta {
    name: String,
    #[serde(default)]
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct ContextEndpoint {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// Looks through the stored contexts for one of this name: their folders are named by a hash that need not be computed for that.
fn of_context(name: &str, config: &ClientConfig) -> Result<Endpoint, DockerError> {
    let folder = config.folder.join("contexts").join("meta");
    let missing = || DockerError::NoContext { name: name.to_owned(), folder: folder.clone() };
    for entry in fs_err::read_dir(&folder).map_err(|_| missing())? {
        let entry = entry.map_err(DockerError::ConfigFile)?;
        let path = entry.path().join("meta.json");
        let Ok(text) = fs_err::read(&path) else { continue };
        let meta: ContextMeta = serde_json::from_slice(&text).map_err(|source| DockerError::ConfigText { path, source })?;
        if meta.name != name {
            continue;
        }
        let endpoint = meta.endpoints.get("docker").ok_or_else(missing)?;
        if endpoint.skip_tls_verify {
            return Err(DockerError::Unverified { name: name.to_owned() });
        }
        let certificates = config.folder.join("contexts").join("tls").join(entry.file_name()).join("docker");
        return parse(&endpoint.host, certificates.join("ca.pem").exists().then_some(certificates));
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(pairs: &[(&str, &str)]) -> Result<Endpoint, DockerError> {
        let env = env(pairs);
        let config = ClientConfig::read(&env).expect("a configuration");
        find(None, &env, &config)
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        assert_eq!(found(&[("DOCKER_HOST", "unix:///run/x.sock")]).expect("unix"), Endpoint::Unix("/run/x.sock".into()));
        assert_eq!(found(&[("DOCKER_HOST", "tcp://ci:2375/")]).expect("tcp"), Endpoint::Tcp("ci:2375".into()));
        let tls = found(&[("DOCKER_HOST", "tcp://ci"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/certs")]).expect("tls");
        assert_eq!(tls, Endpoint::Tls { address: "ci:2376".into(), certificates: "/certs".into() });
        let ssh = found(&[("DOCKER_HOST", "ssh://me@ci")]).expect("ssh");
        assert_eq!(ssh.to_string(), "ssh://me@ci/var/run/docker.sock");
        assert!(matches!(found(&[("DOCKER_HOST", "ssh://-oProxyCommand=x")]), Err(DockerError::Address { .. })));
        assert!(matches!(found(&[("DOCKER_HOST", "unix://relative")]), Err(DockerError::Address { .. })));
        assert!(matches!(found(&[("DOCKER_HOST", "npipe:////./pipe/x")]), Err(DockerError::Address { .. })));
    }

    #[test]
    fn the_chosen_context_is_found_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let meta = folder.path().join("contexts/meta/5f2e");
        fs_err::create_dir_all(&meta).expect("made");
        let text = r#"{"Name":"ci","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://ci:2376","SkipTLSVerify":false}}}"#;
        fs_err::write(meta.join("meta.json"), text).expect("written");
        let tls = folder.path().join("contexts/tls/5f2e/docker");
        fs_err::create_dir_all(&tls).expect("made");
        fs_err::write(tls.join("ca.pem"), "x").expect("written");
        fs_err::write(folder.path().join("config.json"), r#"{"currentContext":"ci"}"#).expect("written");

        let home = folder.path().display().to_string();
        let chosen = found(&[("DOCKER_CONFIG", &home)]).expect("the context");
        assert_eq!(chosen, Endpoint::Tls { address: "ci:2376".into(), certificates: tls });
        let host = found(&[("DOCKER_CONFIG", &home), ("DOCKER_HOST", "unix:///run/x.sock")]).expect("the host");
        assert_eq!(host, Endpoint::Unix("/run/x.sock".into()), "DOCKER_HOST comes before the context");
        let wrong = found(&[("DOCKER_CONFIG", &home), ("DOCKER_CONTEXT", "cj")]);
        assert!(matches!(wrong, Err(DockerError::NoContext { .. })));
    }

    #[test]
    fn the_rootless_socket_is_used_where_there_is_no_other() {
        let runtime = tempfile::tempdir().expect("a folder");
        fs_err::write(runtime.path().join("docker.sock"), "").expect("written");
        let endpoint = found(&[("XDG_RUNTIME_DIR", &runtime.path().display().to_string())]).expect("a socket");
        let expected = if Path::new(SYSTEM_SOCKET).exists() { PathBuf::from(SYSTEM_SOCKET) } else { runtime.path().join("docker.sock") };
        assert_eq!(endpoint, Endpoint::Unix(expected));
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_with_a_way_out() {
        let error = connect(Some("unix:///nowhere/docker.sock"), &BTreeMap::new()).await.expect_err("nobody is there");
        assert!(matches!(error, DockerError::Unreachable { .. }));
        assert!(error.hint().expect("a hint").contains("--engine process"));
    }
}
