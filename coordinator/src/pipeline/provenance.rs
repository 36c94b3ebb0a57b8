//! What a run is of, for a statement about it later: the commit and whether the tree is that commit, what decides how tests are run, what leaves tests out, and how far
//! what was taken from elsewhere is trusted.
//!
//! What cannot be found out is the worse of its answers: a tree of which nobody knows has changes. Git is asked twice, while the tree is read for the build and once
//! more afterwards; a tree that changed in between is none that a commit has. Nothing here keeps a run from going on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::RunRequest;
use super::ground::{Ground, Origin};
use super::run::Job;
use crate::config::{ImageSettings, Project};
use crate::model::settings::EngineKind;
use crate::model::trust::Level;
use crate::model::{Provenance, Sha256};
use crate::trust::sha256;

/// How long git may take to look at a large tree.
const ANSWER: Duration = Duration::from_secs(30);
/// Variables of git that would have it look at another tree than the one that is built from.
const OF_GIT: &[&str] = &["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];
/// Variables of tests by which frameworks are told to leave some of them out.
pub const SELECTING: &[&str] = &["PYTEST_ADDOPTS", "SPEC_OPTS", "TESTOPTS"];
/// Variables of ours that say what is run begin like this.
const OF_SUITES: &[&str] = &["SPLITCI_SUITE_", "SPLITCI_RUN_SUITES"];

/// A tree, as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    commit: Option<String>,
    /// It is what the commit has, as far as anybody can tell.
    clean: bool,
    /// Digest of the configuration file, if there is one and it could be read.
    config: Option<Sha256>,
}

/// What leaves tests out of a run and stands in no file: what the command line says, and what variables say.
pub fn filters(request: &RunRequest, env: &BTreeMap<String, String>) -> Vec<String> {
    let said = env.iter().filter(|(name, value)| !value.is_empty() && OF_SUITES.iter().any(|ours| name.starts_with(ours)));
    let variables = said.map(|(name, value)| format!("{name}={value}"));
    // Their values are recorded nowhere.
    let handed_on = request.project.settings.env_names.iter().filter(|name| SELECTING.contains(&name.as_str()));
    request.filters.iter().cloned().chain(variables).chain(handed_on.cloned()).collect()
}

/// The tree that a run in containers is built from, now.
pub(super) async fn tree(job: &Job<'_>) -> Option<Tree> {
    if job.settings.engine != EngineKind::Docker {
        return None;
    }
    let file = job.project.file.as_ref();
    let config = file.and_then(|file| Some(sha256(&fs_err::read(file).ok()?)));
    let unread = file.is_some() && config.is_none();
    let (commit, clean) = standing(&job.project.root, &sources(job.project)).await;
    Some(Tree { commit, clean: clean && !unread, config })
}

/// Whether a project is built from what a commit has, for those who have to know before anything is built. What cannot be found out is a no.
pub async fn is_clean(project: &Project) -> bool {
    standing(&project.root, &sources(project)).await.1
}

/// All that a project is built from.
fn sources(project: &Project) -> Vec<PathBuf> {
    let mut sources = vec![project.root.clone()];
    if let Some(ImageSettings::Build(build)) = &project.image {
        sources.extend([build.context.clone(), build.dockerfile.clone()]);
    }
    sources
}

/// The commit that a tree stands at, and whether the tree is that commit. All that is built from must lie within.
async fn standing(root: &Path, roots: &[PathBuf]) -> (Option<String>, bool) {
    let line = ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=none"];
    let (top, status) = tokio::join!(git(root, &["rev-parse", "--show-toplevel"]), git(root, &line));
    let (Some(top), Some(status)) = (top, status) else { return (None, false) };
    let commit = status.lines().find_map(|line| line.strip_prefix("# branch.oid ")).filter(|oid| *oid != "(initial)");
    let changed = status.lines().any(|line| !line.starts_with("# "));
    let within = |path: &PathBuf| real(path).zip(real(Path::new(top.trim_end()))).is_some_and(|(path, top)| path.starts_with(top));
    let clean = commit.is_some() && !changed && roots.iter().all(within);
    (commit.map(str::to_owned), clean)
}

fn real(path: &Path) -> Option<PathBuf> {
    fs_err::canonicalize(path).ok()
}

/// What git prints; nothing if it cannot be asked or says no.
async fn git(root: &Path, line: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new("git");
    command.arg("--no-optional-locks").arg("-C").arg(root).args(line).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    for name in OF_GIT {
        command.env_remove(name);
    }
    let output = tokio::time::timeout(ANSWER, command.output()).await.ok()?.ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// What a run is of, now that its image is there; nothing for local processes.
pub(super) async fn of(job: &Job<'_>, ground: &Ground, before: Option<Tree>) -> Option<Provenance> {
    let (before, origin) = before.zip(ground.origin.as_ref())?;
    let after = tree(job).await?;
    let built = matches!(job.project.image, Some(ImageSettings::Build(_))) && job.image.is_none();
    Some(Provenance {
        // What was built somewhere else was built of who knows which commit.
        commit: before.commit.clone().filter(|_| built),
        dirty: before != after || !after.clean,
        configuration: configuration(job, origin, after.config),
        filters: job.filters.clone(),
        containerd: origin.containerd,
        level: job.level.unwrap_or(Level::Local),
        image_level: origin.level,
        reused_level: job.reused_level,
    })
}

fn configuration(job: &Job<'_>, origin: &Origin, config: Option<Sha256>) -> BTreeMap<String, Sha256> {
    let settings = &job.settings;
    let mut all: BTreeMap<String, Sha256> = config.map(|digest| ("config".to_owned(), digest)).into_iter().collect();
    // Plain data with text keys always serialises.
    let json = |value: Result<Vec<u8>, serde_json::Error>| sha256(&value.unwrap_or_default());
    all.insert("environment".to_owned(), json(serde_json::to_vec(&(&settings.env, &settings.env_names))));
    all.insert("container".to_owned(), json(serde_json::to_vec(&settings.container)));
    if let Some(made_of) = &origin.made_of {
        all.insert("dockerfile".to_owned(), sha256(&made_of.dockerfile));
        let known = made_of.bases.iter().filter_map(|(name, id)| Some((format!("base {}", name.trim_end()), Sha256::parse(id)?)));
        all.extend(known);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(root: &Path, line: &str) {
        let mut command = tokio::process::Command::new("git");
        command.arg("-C").arg(root).args(["-c", "user.name=ann", "-c", "user.email=ann@shop.example"]).args(line.split(' '));
        assert!(command.status().await.expect("git runs").success(), "git {line}");
    }

    #[tokio::test]
    async fn a_tree_is_a_commit_or_has_changes() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path();
        assert_eq!(standing(root, &[]).await, (None, false), "no repository");
        run(root, "init -q -b main").await;
        fs_err::write(root.join("a"), "1").expect("written");
        assert_eq!(standing(root, &[]).await, (None, false), "no commit");
        run(root, "add a").await;
        run(root, "commit -q -m one").await;
        let (commit, clean) = standing(root, &[root.to_owned()]).await;
        assert!(commit.is_some_and(|commit| commit.len() == 40) && clean);
        assert!(!standing(root, &["/usr".into()]).await.1, "built from elsewhere");
        for (file, text) in [("a", "2"), ("b", "new")] {
            fs_err::write(root.join(file), text).expect("written");
            assert!(!standing(root, &[]).await.1, "{file}");
            run(root, "add .").await;
            assert!(!standing(root, &[]).await.1, "{file} is only staged");
            run(root, "commit -q -m more").await;
            assert!(standing(root, &[]).await.1, "{file}");
        }
        fs_err::write(root.join(".gitignore"), "*.log\n").expect("written");
        run(root, "add .").await;
        run(root, "commit -q -m ignore").await;
        fs_err::write(root.join("x.log"), "1").expect("written");
        assert!(standing(root, &[]).await.1, "nobody wants to commit that");
        run(root, "config status.showUntrackedFiles no").await;
        fs_err::write(root.join("c"), "new").expect("written");
        assert!(!standing(root, &[]).await.1, "whatever git was told not to show");
    }
}
