//! Where a checkout stands among its branches: what the CI system says, else what git says, else nothing.
//!
//! It decides which layers are looked at first and nothing else, so that nothing here fails: without git, without a repository, in a shallow clone, less is known.
//! Names of branches carry no authority.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::image::layers::Branches;
use crate::model::trust::Partition;

/// How long git may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Commits of the default branch that are worth asking for: not each of them was built, or was worth sending.
const ANCESTORS: &str = "5";
/// Variables with the branch that is built; a request's own branch before the one that a system makes of it.
const OWN: &[&str] = &[
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_BRANCH",
    "BUILDKITE_BRANCH",
    "CHANGE_BRANCH",
    "BRANCH_NAME",
];
/// Variables with the branch that it is to be merged into, or the default one.
const INTO: &[&str] = &[
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
    "CHANGE_TARGET",
    "CI_DEFAULT_BRANCH",
    "BUILDKITE_PIPELINE_DEFAULT_BRANCH",
];
/// What default branches are called where nobody says.
const USUAL: [&str; 2] = ["main", "master"];

/// Finds it out. A partition that was asked for is the branch.
pub(super) async fn branches(root: &Path, env: &BTreeMap<String, String>, partition: Option<&Partition>) -> Branches {
    let (head, commit, remote) = tokio::join!(
        git(root, &["symbolic-ref", "--short", "--quiet", "HEAD"]),
        git(root, &["rev-parse", "--verify", "--quiet", "HEAD"]),
        git(root, &["symbolic-ref", "--short", "--quiet", "refs/remotes/origin/HEAD"]),
    );
    let own = partition.map(|partition| partition.name().to_owned()).or_else(|| said(env, OWN).next()).or(head);
    let mut default: Vec<_> = said(env, INTO).collect();
    default.extend(remote.and_then(|name| Some(name.strip_prefix("origin/")?.to_owned())));
    if default.is_empty() {
        default = USUAL.map(str::to_owned).into();
    }
    default.sort_unstable();
    default.dedup();
    let ancestors = match commit {
        Some(_) => ancestors(root, &default).await,
        None => Vec::new(),
    };
    Branches { own, default, commit, ancestors }
}

fn said(env: &BTreeMap<String, String>, names: &[&'static str]) -> impl Iterator<Item = String> {
    names.iter().filter_map(|name| env.get(*name)).filter(|value| !value.is_empty()).cloned()
}

/// Where this commit comes from on the first of these branches that there is.
async fn ancestors(root: &Path, default: &[String]) -> Vec<String> {
    for branch in default {
        for place in ["refs/remotes/origin", "refs/heads"] {
            let Some(base) = git(root, &["merge-base", "HEAD", &format!("{place}/{branch}")]).await else { continue };
            let list = git(root, &["rev-list", "--first-parent", "--max-count", ANCESTORS, &base]).await;
            return list.unwrap_or(base).lines().map(str::to_owned).collect();
        }
    }
    Vec::new()
}

/// What git prints, if it has an answer.
async fn git(root: &Path, line: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new("git");
    command.arg("-C").arg(root).args(line).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    async fn run(root: &Path, line: &str) {
        let mut command = tokio::process::Command::new("git");
        command.arg("-C").arg(root).args(["-c", "user.name=ann", "-c", "user.email=ann@shop.example"]).args(line.split(' '));
        assert!(command.status().await.expect("git runs").success(), "git {line}");
    }

    #[tokio::test]
    async fn a_branch_knows_where_it_comes_from() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path();
        let nothing = branches(root, &BTreeMap::new(), None).await;
        assert_eq!(nothing, Branches { default: USUAL.map(str::to_owned).into(), ..Branches::default() }, "no repository");
        for line in ["init -q -b main", "commit -q --allow-empty -m one", "commit -q --allow-empty -m two", "checkout -q -b topic/x"] {
            run(root, line).await;
        }
        let base = git(root, &["rev-parse", "HEAD"]).await.expect("a commit");
        for line in ["commit -q --allow-empty -m three", "checkout -q main", "commit -q --allow-empty -m four", "checkout -q topic/x"] {
            run(root, line).await;
        }
        let found = branches(root, &BTreeMap::new(), None).await;
        assert_eq!((found.own.as_deref(), found.ancestors.len()), (Some("topic/x"), 2));
        assert_eq!(found.ancestors[0], base);
        assert_eq!(branches(root, &BTreeMap::new(), Partition::new("17").as_ref()).await.own.as_deref(), Some("17"));
        run(root, "checkout -q --detach").await;
        assert_eq!(branches(root, &BTreeMap::new(), None).await.own, None, "no branch");
    }

    #[tokio::test]
    async fn what_the_ci_system_says_comes_first() {
        let place = tempfile::tempdir().expect("a folder");
        let github = variables(&[("GITHUB_HEAD_REF", "topic"), ("GITHUB_REF_NAME", "17/merge"), ("GITHUB_BASE_REF", "develop")]);
        let found = branches(place.path(), &github, None).await;
        assert_eq!((found.own.as_deref(), found.default), (Some("topic"), vec!["develop".to_owned()]));
        let gitlab =
            variables(&[("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", ""), ("CI_COMMIT_BRANCH", "trunk"), ("CI_DEFAULT_BRANCH", "trunk")]);
        let found = branches(place.path(), &gitlab, None).await;
        assert_eq!((found.own.as_deref(), found.default), (Some("trunk"), vec!["trunk".to_owned()]));
    }
}
