//! What a commit holds, from git, read so that the work tree and its configuration have no say: no replaced objects, no filters, no hooks, no other repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// How long git may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest file that is read from it, in bytes.
const LARGEST: usize = 1 << 20;

/// Git has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitFault {
    /// It cannot be asked.
    #[error("cannot ask git")]
    Start(#[source] std::io::Error),
    /// It does not answer.
    #[error("git gave no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It says no.
    #[error("git says: {0}")]
    Said(String),
    /// More than is read.
    #[error("`{0}` is larger than 1 MiB")]
    TooLarge(String),
}

/// The caller's variables that git gets.
const NEEDED: &[&str] = &["PATH", "HOME", "XDG_CONFIG_HOME"];

type Env = BTreeMap<String, String>;

/// A commit of a repository, with the place of a project in it.
#[derive(Debug)]
pub(super) struct Commit {
    top: PathBuf,
    /// Its id.
    pub(super) id: String,
    env: Env,
}

impl Commit {
    /// The commit that a ref means now, in the repository of a directory.
    ///
    /// The name is taken as [`full`] says, and not as git would guess: git looks for a tag first, so that whoever may push tags could push one called `origin/HEAD`.
    pub(super) async fn of(directory: &Path, name: &str, env: &Env) -> Result<Self, GitFault> {
        let git = async |directory: &Path, line: &[&str]| git(directory, line, env).await;
        let top = text(&git(directory, &["rev-parse", "--show-toplevel"]).await?);
        let exact = full(name);
        let missing = |fault| match fault {
            GitFault::Said(_) => GitFault::Said(format!("there is no `{exact}`")),
            other => other,
        };
        let object = if is_id(name) {
            name.to_owned()
        } else {
            text(&git(directory, &["show-ref", "--verify", "--hash", &exact]).await.map_err(missing)?)
        };
        let id = git(directory, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{object}^{{commit}}")]).await;
        let id = id.map_err(missing)?;
        Ok(Self { top: top.into(), id: text(&id), env: env.clone() })
    }

    /// The bytes of a file by its path on disk; nothing if the commit has none there. A path outside of the repository is in no commit.
    pub(super) async fn file(&self, path: &Path) -> Result<Option<Vec<u8>>, GitFault> {
        let Some(inside) = self.inside(path) else { return Ok(None) };
        let object = format!("{}:{inside}", self.id);
        let git = async |line: &[&str]| git(&self.top, line, &self.env).await;
        match git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &object]).await {
            Err(GitFault::Said(_)) => return Ok(None),
            Err(fault) => return Err(fault),
            Ok(_) => {}
        }
        // What is not read is not in memory either.
        let size: usize = text(&git(&["cat-file", "-s", &object]).await?).parse().unwrap_or(usize::MAX);
        if size > LARGEST {
            return Err(GitFault::TooLarge(inside));
        }
        git(&["cat-file", "blob", &object]).await.map(Some)
    }

    fn inside(&self, path: &Path) -> Option<String> {
        let plain = plain(path)?;
        plain.strip_prefix(&self.top).ok()?.to_str().map(str::to_owned)
    }
}

/// The one ref that a name means: what begins with `refs/` is meant as it stands, what has a slash is a remote's branch, what has none is a branch here. Tags are named in full.
fn full(name: &str) -> String {
    if name.starts_with("refs/") || name == "HEAD" || is_id(name) {
        name.to_owned()
    } else if name.contains('/') {
        format!("refs/remotes/{name}")
    } else {
        format!("refs/heads/{name}")
    }
}

/// Whether this is a commit's id, in full.
fn is_id(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path without `.` and `..`, as it is written: links on disk are not followed, because a commit does not follow them either.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    Some(out)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// What git prints. Of the caller's variables it gets those that it cannot do without, and none of its own: they could lead it to another repository, or to other objects.
async fn git(directory: &Path, line: &[&str], env: &Env) -> Result<Vec<u8>, GitFault> {
    let mut command = tokio::process::Command::new("git");
    command.env_clear().envs(env.iter().filter(|(name, _)| NEEDED.contains(&name.as_str())));
    command.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command.arg("-C").arg(directory).args(line).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| GitFault::Silent)?.map_err(GitFault::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = text(&output.stderr);
    Err(GitFault::Said(said.lines().last().map_or_else(|| "nothing".to_owned(), str::to_owned)))
}
