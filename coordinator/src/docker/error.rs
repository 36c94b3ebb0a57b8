//! Why the engine did not do what it was asked. One enum for the room; what a caller may treat differently is a variant.

use std::path::PathBuf;

use super::Endpoint;
use crate::tunnel::TunnelError;

/// The engine cannot be reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The address cannot be understood.
    #[error("cannot read the engine's address `{address}`: a unix:// or tcp:// address is needed")]
    Address {
        /// As it was given.
        address: String,
    },
    /// The engine's machine is not reached.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The named docker context does not exist.
    #[error("cannot find the docker context `{name}` in `{}`", .folder.display())]
    NoContext {
        /// Its name.
        name: String,
        /// Where contexts are.
        folder: PathBuf,
    },
    /// A docker context skips the verification of certificates.
    #[error("cannot use the docker context `{name}`: it skips the verification of the engine's certificate")]
    Unverified {
        /// Its name.
        name: String,
    },
    /// A file of the docker client's configuration cannot be read.
    #[error("cannot read the docker client's configuration")]
    ConfigFile(#[source] std::io::Error),
    /// A file of the docker client's configuration is not what it should be.
    #[error("cannot understand the docker client's configuration in `{}`", .path.display())]
    ConfigText {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A credential helper failed.
    #[error("cannot get credentials for `{registry}` from `{helper}`: {said}")]
    Credentials {
        /// For which registry.
        registry: String,
        /// Which program.
        helper: String,
        /// What it printed.
        said: String,
    },
    /// Nobody answers.
    #[error("cannot reach a Docker engine at `{endpoint}`")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// Why not.
        #[source]
        source: Box<bollard::errors::Error>,
    },
    /// The engine did not answer in time.
    #[error("cannot {attempt}: the engine at `{endpoint}` has not answered for {seconds} s")]
    Silent {
        /// What was attempted.
        attempt: String,
        /// How long it was waited.
        seconds: u64,
        /// Which engine.
        endpoint: String,
    },
    /// What was named does not exist.
    #[error("cannot {attempt}: {}", spoken(.message))]
    Missing {
        /// What was attempted.
        attempt: String,
        /// The engine's words.
        message: String,
    },
    /// It clashes with what is there.
    #[error("cannot {attempt}: {message}")]
    Conflict {
        /// What was attempted.
        attempt: String,
        /// The engine's words.
        message: String,
    },
    /// The engine said no.
    #[error("cannot {attempt}: the engine says: {message}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// We stopped before it was through.
    #[error("cannot {attempt}: it was given up")]
    GivenUp {
        /// What was attempted.
        attempt: String,
    },
    /// The conversation broke.
    #[error("cannot {attempt}: the conversation with the engine broke off")]
    Broken {
        /// What was attempted.
        attempt: String,
        /// Why.
        #[source]
        source: Box<bollard::errors::Error>,
    },
}

/// Whether these words of an engine or its builder mean that files of an image, which only the engine itself may touch, are gone. A project can hardly make
/// it say so: a build's error holds no output of steps.
pub fn tells_damage(words: &str) -> bool {
    const STORES: [&str; 5] = ["/overlay2/", "/fuse-overlayfs/", "/btrfs/subvolumes/", "/imagedb/", "/layerdb/"];
    const LOST: [&str; 5] =
        ["no such file or directory", "not a directory", "invalid argument", "input/output error", "structure needs cleaning"];
    let of_a_store = STORES.iter().any(|store| words.contains(store)) && LOST.iter().any(|lost| words.contains(lost));
    of_a_store || words.contains("layer does not exist")
}

/// An answer without words comes from something that stands between us and an engine.
fn spoken(message: &str) -> &str {
    if message.trim().is_empty() { "what answers there does not speak as an engine does" } else { message }
}

impl DockerError {
    pub(super) fn of(attempt: String, error: bollard::errors::Error, endpoint: &Endpoint) -> Self {
        use bollard::errors::Error as Cause;
        match error {
            Cause::DockerResponseServerError { status_code: 404, message } => Self::Missing { attempt, message },
            Cause::DockerResponseServerError { status_code: 409, message } => Self::Conflict { attempt, message },
            Cause::DockerResponseServerError { status_code, message } => Self::Refused { attempt, status: status_code, message },
            Cause::DockerStreamError { error } => Self::Refused { attempt, status: 200, message: error },
            Cause::SocketNotFoundError(_) => Self::Unreachable { endpoint: endpoint.to_string(), source: Box::new(error) },
            Cause::HyperLegacyError { ref err } if err.is_connect() => {
                Self::Unreachable { endpoint: endpoint.to_string(), source: Box::new(error) }
            }
            other => Self::Broken { attempt, source: Box::new(other) },
        }
    }

    /// Whether what was named does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Whether the engine calls the request itself wrong: an option that it cannot keep, a network that does not exist.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == 400,
            Self::Missing { message, .. } => message.contains("network"),
            _ => false,
        }
    }

    /// Whether the engine's own copy of an image is not whole.
    pub fn is_damage(&self) -> bool {
        self.engine_message().is_some_and(tells_damage)
    }

    /// The engine's own words, where it spoke.
    pub fn engine_message(&self) -> Option<&str> {
        match self {
            Self::Missing { message, .. } | Self::Conflict { message, .. } | Self::Refused { message, .. } => Some(message),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { source, .. } if format!("{source:?}").contains("PermissionDenied") => {
                Some("this user may not use the engine's socket: become a member of the group that owns it (`docker`, mostly), or use sudo")
            }
            Self::Unreachable { .. } => {
                Some("start the Docker engine, or set DOCKER_HOST, or run the tests as local processes with `--engine process`")
            }
            Self::Tunnel(TunnelError::Program { .. }) => Some("install an SSH client: `apt-get install openssh-client`"),
            Self::Tunnel(TunnelError::Away { .. }) => Some(
                "try `ssh USER@HOST docker version`: it has to work without a question, with a key that has no passphrase or an agent that holds it, \
                 and that user has to be a member of the group that owns the engine's socket (`docker`, mostly)",
            ),
            Self::Address { .. } => {
                Some("set DOCKER_HOST to an address such as `unix:///var/run/docker.sock`, `tcp://host:2376` or `ssh://user@host`")
            }
            Self::NoContext { .. } => Some("list the contexts with `docker context ls`, or unset DOCKER_CONTEXT"),
            Self::Unverified { .. } => Some("give the context a CA certificate with `docker context update NAME --docker ca=FILE`"),
            _ if self.is_damage() => Some(
                "files of the engine's own are gone: remove what it has of the image and of builds with `docker rmi -f IMAGE` and \
                 `docker builder prune -af`, and pull or build it again",
            ),
            Self::Silent { .. } => Some("look at the engine with `docker info` and at its log; restart it if it hangs"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tells_damage;

    #[test]
    fn files_of_an_engine_that_are_gone_are_damage_and_those_of_a_project_are_not() {
        for words in [
            "stat /var/lib/docker/overlay2/4uzog: no such file or directory",
            "open /data/docker/overlay2/4uzog/committed: no such file or directory",
            "error creating overlay mount to /var/lib/docker/overlay2/8e24-init/merged: no such file or directory",
            "failed to solve with frontend dockerfile.v0: layer does not exist",
        ] {
            assert!(tells_damage(words), "{words}");
        }
        for words in [
            "failed to compute cache key: \"/overlay2/a\" not found: not found",
            "executor failed running [/bin/sh -c cat /x]: exit code: 1",
            "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"/x\": stat /x: no such file or directory",
            "No such image: sha256:00",
        ] {
            assert!(!tells_damage(words), "{words}");
        }
    }
}
