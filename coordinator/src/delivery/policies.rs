//! The policy of an environment, with the keys that it goes by: from a file that somebody named, or from the protected ref in git.
//!
//! Never from the work tree: whoever can change what is tested could change there what is asked of it. Keys that are named by file are read from the same place as the policy, for
//! the same reason. It does not protect against who can move the protected ref, or read the release repository's credential.

use std::path::{Path, PathBuf};

use super::Outside;
use super::git::{Commit, GitFault};
use crate::config::{ConfigError, FILE_NAME, Policies, policies};
use crate::gate::Policy;
use crate::gate::policy::PolicyError;
use crate::model::trust::KeySource;
use crate::trust::{TrustError, public, trusted};

/// The largest file of policies, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where policies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A file that the invoker named.
    File(PathBuf),
    /// `splitci.toml` of a project as it is at a ref in git.
    Protected {
        /// The project's directory.
        root: PathBuf,
        /// The ref.
        name: String,
    },
}

impl std::fmt::Display for PolicySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Protected { name, .. } => write!(f, "{FILE_NAME} at `{name}`"),
        }
    }
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// The file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Git has no answer.
    #[error("cannot read `{name}`")]
    Git {
        /// The ref.
        name: String,
        /// Why.
        #[source]
        cause: GitFault,
    },
    /// There is nothing at the protected ref.
    #[error("`{name}` has no {FILE_NAME} for this project")]
    NoFile {
        /// The ref.
        name: String,
    },
    /// The file is wrong.
    #[error("{source} cannot be read: {first}", source = from, first = first(.cause))]
    Config {
        /// From where.
        from: String,
        /// Everything that is wrong.
        cause: ConfigError,
    },
    /// It has no such policy.
    #[error("{from} has no `[policy.{policy}]`")]
    NoPolicy {
        /// From where.
        from: String,
        /// Which policy.
        policy: String,
        /// The work tree's file has one, which does not count.
        in_tree: bool,
    },
    /// A key is not where the policy is.
    #[error("the key `{}` is not at `{name}`", .path.display())]
    KeyElsewhere {
        /// Its file.
        path: PathBuf,
        /// The ref.
        name: String,
    },
    /// A key of the list.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

fn first(error: &ConfigError) -> String {
    error.faults.first().map(|fault| format!("{} ({})", fault.kind, fault.place)).unwrap_or_default()
}

impl PolicyFault {
    /// What to do about it.
    pub(super) fn hint(&self, policy: &str) -> Option<String> {
        match self {
            Self::Git { .. } => Some("fetch it (`git fetch`, `git remote set-head origin --auto`), name another with `[gate] protected`, or a file with `--policy FILE`".into()),
            Self::NoFile { name } => Some(format!("a policy counts once it is at `{name}`; until then name a file with `--policy FILE`")),
            Self::NoPolicy { in_tree: true, .. } => Some("the one in the work tree does not count before it is at the protected ref; or name its file with `--policy FILE`".into()),
            Self::NoPolicy { .. } => Some(format!("write a `[policy.{policy}]`; without one nothing goes there; `splitci init --reference` explains its keys")),
            Self::KeyElsewhere { .. } => Some("commit the public key beside the policy, or write its PEM into the list".into()),
            Self::Config { cause, .. } => cause.faults.first().and_then(|fault| fault.kind.hint()),
            Self::Trust(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::File { .. } => None,
        }
    }
}

/// A policy, and where it is from.
#[derive(Debug)]
pub struct Known {
    /// The policy.
    pub policy: Policy,
    /// From where, for people: a file, or a file and a commit.
    pub from: String,
}

/// The policy of this name.
pub async fn known(source: &PolicySource, name: &str, outside: &Outside) -> Result<Known, PolicyFault> {
    match source {
        PolicySource::File(path) => {
            let text = read(path).await.map_err(|cause| PolicyFault::File { path: path.clone(), cause })?;
            let from = path.display().to_string();
            let found = parsed(path, &text, &from)?;
            chosen(found, name, from, false)
        }
        PolicySource::Protected { root, name: at } => {
            let git = |cause| PolicyFault::Git { name: at.clone(), cause };
            let commit = Commit::of(root, at, &outside.env).await.map_err(git)?;
            let path = root.join(FILE_NAME);
            let bytes = commit.file(&path).await.map_err(git)?.ok_or_else(|| PolicyFault::NoFile { name: at.clone() })?;
            let from = format!("{FILE_NAME} at `{at}` ({:.8})", commit.id);
            let mut found = parsed(&path, &String::from_utf8_lossy(&bytes), &from)?;
            keys_of(&mut found, &commit, at).await?;
            let in_tree = read(&path).await.ok().and_then(|text| policies(&path, &text).ok());
            chosen(found, name, from, in_tree.is_some_and(|tree| tree.policies.contains_key(name)))
        }
    }
}

fn parsed(path: &Path, text: &str, from: &str) -> Result<Policies, PolicyFault> {
    policies(path, text).map_err(|cause| PolicyFault::Config { from: from.to_owned(), cause })
}

fn chosen(mut found: Policies, name: &str, from: String, in_tree: bool) -> Result<Known, PolicyFault> {
    let Some(settings) = found.policies.remove(name) else {
        return Err(PolicyFault::NoPolicy { from, policy: name.to_owned(), in_tree });
    };
    Ok(Known { policy: Policy::new(settings, trusted(&found.trust)?, public)?, from })
}

/// Puts the text of every key file in its place, as the commit has it.
async fn keys_of(found: &mut Policies, commit: &Commit, at: &str) -> Result<(), PolicyFault> {
    let listed = found.trust.trusted.iter_mut().map(|trusted| &mut trusted.key);
    let named = found.policies.values_mut().flat_map(|policy| {
        let glass = policy.break_glass.iter_mut().flat_map(|rule| rule.keys.iter_mut());
        policy.keys.iter_mut().chain(glass)
    });
    for key in listed.chain(named) {
        let KeySource::File(path) = key else { continue };
        let bytes = commit.file(path).await.map_err(|cause| PolicyFault::Git { name: at.to_owned(), cause })?;
        let Some(bytes) = bytes else { return Err(PolicyFault::KeyElsewhere { path: path.clone(), name: at.to_owned() }) };
        *key = KeySource::Text(String::from_utf8_lossy(&bytes).into_owned());
    }
    // The private key of `[trust]` is nobody's business here, nor is who signs with another.
    found.trust.key = None;
    found.trust.signer = None;
    Ok(())
}

/// A file that is not larger than files of policies are.
async fn read(path: &Path) -> std::io::Result<String> {
    let length = tokio::fs::metadata(path).await?.len();
    if length > LARGEST {
        return Err(std::io::Error::other(format!("it has {length} bytes, and {LARGEST} are the most that are read")));
    }
    tokio::fs::read_to_string(path).await
}
