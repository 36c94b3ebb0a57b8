//! What a builder may ask for during a build, and why it could not be given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::docker::DockerError;
use crate::model::{BuildSecret, SecretSource, SshAgent};

/// What a builder may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The Dockerfile, as the builder is to see it; it need not be what stands on the disk.
    pub dockerfile: Vec<u8>,
    /// Where the context is.
    pub root: PathBuf,
    /// What is in it: in the order of a walk, names by their bytes, a directory before what it holds.
    pub context: Vec<SentEntry>,
    /// By which name the builder finds what it had of this context before: the same for the same directory of the same machine.
    pub shared_key: String,
    /// Secrets.
    pub secrets: Vec<BuildSecret>,
    /// SSH agents.
    pub ssh: Vec<SshAgent>,
}

/// Something of a context, as the builder is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentEntry {
    /// Path below the context.
    pub path: Vec<u8>,
    /// Path on the disk below the same directory, if it is another one.
    pub origin: Option<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// When it was changed, in nanoseconds since 1970. The builder takes a file of the same length and time for the same.
    pub modified: i64,
    /// Whether a step may judge by that time, so that a file of another time is another file.
    pub dated: bool,
    /// Its extended attributes. The builder does not see that they differ: a file of others needs another time.
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// What it is.
    pub kind: SentKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentKind {
    /// A directory.
    Directory,
    /// A file on the disk, of this length and this blake3. Nothing else is ever sent in its place.
    File {
        /// Bytes.
        length: u64,
        /// Of its content.
        hash: [u8; 32],
    },
    /// A file that is here.
    Text(Bytes),
    /// A symbolic link to there.
    Link(Vec<u8>),
    /// A named pipe.
    Pipe,
    /// A device.
    Device {
        /// Block device, not character device.
        block: bool,
        /// Its number.
        number: u64,
    },
}

/// Something that the builder asked for could not be given.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file is not any more what it was when it was hashed.
    #[error("`{}` changed while it was sent", .0.display())]
    Changed(PathBuf),
    /// A file cannot be read.
    #[error("cannot read a file of the build context")]
    Read(#[source] std::io::Error),
    /// A secret cannot be read.
    #[error("cannot read the build secret `{id}`")]
    Secret {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An SSH agent cannot be reached.
    #[error("cannot reach the SSH agent `{id}` at `{}`", .socket.display())]
    Agent {
        /// Its id.
        id: String,
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Credentials for a registry cannot be had.
    #[error(transparent)]
    Credentials(DockerError),
}

impl SourceError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Changed(_) => Some("stop what writes to the file while the image is built, or exclude the file in `.dockerignore`"),
            Self::Read(_) => Some("make it readable, or exclude it in `.dockerignore`"),
            Self::Secret { .. } => {
                Some("name a file of at most 500 KiB in `--secret id=ID,src=FILE` (key `image.secrets`), or a variable with `env=NAME`")
            }
            Self::Agent { .. } => {
                Some("start an agent and give it the key: `eval $(ssh-agent); ssh-add`; `--ssh ID=SOCKET` names another socket")
            }
            Self::Credentials(error) => error.hint(),
        }
    }
}

/// What is known on our side of a session while it goes on: what went wrong first, and how much has been sent.
#[derive(Debug, Clone)]
pub(super) struct Told {
    fault: Arc<Mutex<Option<SourceError>>>,
    sent: watch::Sender<u64>,
}

impl Told {
    pub(super) fn new() -> Self {
        Self { fault: Arc::default(), sent: watch::Sender::new(0) }
    }

    /// The builder tells of a failure on our side as of something that was cancelled: the first cause is kept here.
    pub(super) fn fail(&self, error: SourceError) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn take(&self) -> Option<SourceError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn count(&self, bytes: usize) {
        self.sent.send_modify(|sent| *sent += bytes as u64);
    }

    pub(super) fn sent(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }
}

impl Sources {
    /// What can be seen to be missing before the builder is bothered.
    pub(in crate::docker) fn check(&self) -> Result<(), SourceError> {
        for secret in &self.secrets {
            if let SecretSource::File(path) = &secret.source {
                let seen = fs_err::metadata(path);
                seen.map_err(|source| SourceError::Secret { id: secret.id.clone(), source })?;
            }
        }
        for agent in &self.ssh {
            let unreachable = |source| SourceError::Agent { id: agent.id.clone(), socket: agent.socket.clone(), source };
            std::os::unix::net::UnixStream::connect(&agent.socket).map_err(unreachable)?;
        }
        Ok(())
    }
}
