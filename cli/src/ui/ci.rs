//! What CI systems understand: groups that fold, notes on a file's line, a page beside the job. Found by their own variables; nothing is to be set up.
//!
//! Pure but for `publish`, which hands the page over: to a file (GitHub) or to the system's own program (Buildkite). Jenkins and GitLab read
//! files that are asked for by name (`--junit`, `report --format code-quality`). What is written goes to stderr, so that stdout stays the answer.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use splitci_coordinator::report::findings::Finding;

use crate::variables::{
    BUILDKITE, BUILDKITE_CHECKOUT, CI_PROJECT_DIR, Env, GITHUB_ACTIONS, GITHUB_STEP_SUMMARY, GITHUB_WORKSPACE, GITLAB_CI, is_set,
};

/// GitHub shows ten errors of a step, and drops the rest without a word.
const MOST_ANNOTATIONS: usize = 10;
/// Characters of an annotation's text; the limit is 4,096.
const MOST_TEXT: usize = 2_000;

/// A CI system with a language of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ci {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Buildkite.
    Buildkite,
}

impl Ci {
    /// The one that this runs in.
    pub(crate) fn detect(env: &Env) -> Option<Self> {
        let says = |name| env.get(name).is_some_and(|value| value == "true");
        [(GITHUB_ACTIONS, Self::GitHub), (GITLAB_CI, Self::GitLab), (BUILDKITE, Self::Buildkite)]
            .into_iter()
            .find_map(|(name, ci)| says(name).then_some(ci))
    }

    /// The line that begins a group which is folded; `at` in seconds since 1970.
    pub(crate) fn group(self, name: &str, at: u64) -> String {
        match self {
            Self::GitHub => format!("::group::{name}\n"),
            Self::GitLab => format!("\x1b[0Ksection_start:{at}:{}[collapsed=true]\r\x1b[0K{name}\n", key(name)),
            Self::Buildkite => format!("--- {name}\n"),
        }
    }

    /// The line that ends it; Buildkite's ends where the next begins.
    pub(crate) fn end_group(self, name: &str, next: &str, at: u64) -> String {
        match self {
            Self::GitHub => "::endgroup::\n".to_owned(),
            Self::GitLab => format!("\x1b[0Ksection_end:{at}:{}\r\x1b[0K\n", key(name)),
            Self::Buildkite => format!("+++ {next}\n"),
        }
    }

    /// Text of tests as text: where a line can be an order to the CI system, theirs are none.
    pub(crate) fn verbatim(self, text: String) -> String {
        let is_order = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
        if self != Self::GitHub || !text.lines().any(is_order) {
            return text;
        }
        // Nobody can write the word that ends this who does not know it.
        let word = format!("splitci-{:016x}", std::collections::hash_map::RandomState::new().build_hasher().finish());
        format!("::stop-commands::{word}\n{text}::{word}::\n")
    }

    /// Notes on lines of files, for the system that has them.
    pub(crate) fn annotations(self, findings: &[Finding], project: &str) -> String {
        let mut out = String::new();
        if self != Self::GitHub {
            return out;
        }
        let shown = if findings.len() > MOST_ANNOTATIONS { MOST_ANNOTATIONS - 1 } else { findings.len() };
        for finding in &findings[..shown] {
            let text: String = format!("{}\n{}", finding.reason, finding.command).chars().take(MOST_TEXT).collect();
            let place = match (finding.file.is_empty(), finding.line) {
                (true, _) => String::new(),
                (false, 0) => format!("file={},", property(&format!("{project}{}", finding.file))),
                (false, line) => format!("file={},line={line},", property(&format!("{project}{}", finding.file))),
            };
            let _written = writeln!(
                out,
                "::{} {place}title={}::{}",
                if finding.mild { "warning" } else { "error" },
                property(&finding.what),
                data(text.trim_end())
            );
        }
        if findings.len() > shown {
            let kind = if findings[shown..].iter().all(|finding| finding.mild) { "warning" } else { "error" };
            let _written = writeln!(out, "::{kind} title=splitci::and {} more; the summary names them all", findings.len() - shown);
        }
        out
    }

    /// Puts the page beside the job. What cannot be is worth a note, and nothing else.
    pub(crate) fn publish(self, page: &str, green: bool, env: &Env) -> Result<(), String> {
        match self {
            Self::GitHub => match env.get(GITHUB_STEP_SUMMARY).filter(|path| !path.is_empty()) {
                Some(path) => {
                    let file = fs_err::OpenOptions::new().append(true).create(true).open(path);
                    file.and_then(|mut file| file.write_all(page.as_bytes())).map_err(|error| error.to_string())
                }
                None => Ok(()),
            },
            Self::Buildkite => annotate(page, green),
            Self::GitLab => Ok(()),
        }
    }
}

/// The project's directory as seen from the repository's root, with a slash at its end unless it is the root.
pub(crate) fn from_repository(project: &Path, env: &Env) -> String {
    let roots = [GITHUB_WORKSPACE, CI_PROJECT_DIR, BUILDKITE_CHECKOUT];
    let root = roots.into_iter().filter(|name| is_set(env, name)).find_map(|name| env.get(name));
    let below = root.and_then(|root| project.strip_prefix(root).ok()).map(|below| below.display().to_string()).unwrap_or_default();
    if below.is_empty() { below } else { below + "/" }
}

fn annotate(page: &str, green: bool) -> Result<(), String> {
    let style = if green { "success" } else { "error" };
    let mut agent =
        match Command::new("buildkite-agent").args(["annotate", "--style", style, "--context", "splitci"]).stdin(Stdio::piped()).spawn() {
            Ok(agent) => agent,
            // Not every step has the agent's program.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
    let written = agent.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(page.as_bytes()));
    let status = agent.wait().map_err(|error| error.to_string())?;
    written.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("buildkite-agent annotate: {status}")) }
}

/// A section's name in GitLab's words.
fn key(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// The text of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of one of its properties.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn finding(n: u32) -> Finding {
        Finding {
            what: format!("tests/test_a.py::test_{n}[a,b]"),
            file: "tests/test_a.py".into(),
            line: n,
            reason: "assert 100% == 1".into(),
            command: "splitci repro 01J --shard 1".into(),
            mild: false,
        }
    }

    #[test]
    fn a_system_is_known_by_its_own_variable() {
        assert_eq!(Ci::detect(&env(&[("GITHUB_ACTIONS", "true"), ("CI", "true")])), Some(Ci::GitHub));
        assert_eq!(Ci::detect(&env(&[("GITLAB_CI", "true")])), Some(Ci::GitLab));
        assert_eq!(Ci::detect(&env(&[("BUILDKITE", "true")])), Some(Ci::Buildkite));
        assert_eq!(Ci::detect(&env(&[("CI", "true"), ("GITHUB_ACTIONS", "false")])), None);
    }

    #[test]
    fn groups_are_written_as_each_system_reads_them() {
        let both = |ci: Ci| ci.group("build the image", 7) + &ci.end_group("build the image", "tests", 9);
        assert_eq!(both(Ci::GitHub), "::group::build the image\n::endgroup::\n");
        assert_eq!(
            both(Ci::GitLab),
            "\u{1b}[0Ksection_start:7:build_the_image[collapsed=true]\r\u{1b}[0Kbuild the image\n\u{1b}[0Ksection_end:9:build_the_image\r\u{1b}[0K\n"
        );
        assert_eq!(both(Ci::Buildkite), "--- build the image\n+++ tests\n");
    }

    #[test]
    fn what_tests_print_orders_nothing() {
        let text = Ci::GitHub.verbatim("  ::add-mask::x\n".into());
        let word = text.lines().next().and_then(|line| line.strip_prefix("::stop-commands::")).expect("commands are stopped");
        assert_eq!(text, format!("::stop-commands::{word}\n  ::add-mask::x\n::{word}::\n"));
        assert_ne!(text, Ci::GitHub.verbatim("  ::add-mask::x\n".into()), "each time another word");
        assert_eq!(Ci::GitHub.verbatim("plain\n".into()), "plain\n");
        assert_eq!(Ci::Buildkite.verbatim("::x".into()), "::x");
    }

    #[test]
    fn annotations_name_file_and_line_and_mean_nothing_else() {
        assert_eq!(
            Ci::GitHub.annotations(&[finding(3)], "services/shop/"),
            "::error file=services/shop/tests/test_a.py,line=3,title=tests/test_a.py%3A%3Atest_3[a%2Cb]::assert 100%25 == 1%0Asplitci repro 01J --shard 1\n"
        );
        let mild = Finding { mild: true, ..finding(3) };
        assert!(Ci::GitHub.annotations(&[mild], "").starts_with("::warning file=tests/test_a.py,line=3,"));
        assert_eq!(Ci::GitLab.annotations(&[finding(3)], ""), "");
    }

    #[test]
    fn no_more_annotations_than_are_shown() {
        let many: Vec<_> = (1..=30).map(finding).collect();
        let text = Ci::GitHub.annotations(&many, "");
        assert_eq!(text.lines().count(), 10);
        assert!(text.ends_with("::and 21 more; the summary names them all\n"));
        assert_eq!(Ci::GitHub.annotations(&many[..10], "").lines().count(), 10);
    }

    #[test]
    fn paths_are_seen_from_the_repository() {
        let here = env(&[("GITHUB_WORKSPACE", "/w/repo")]);
        assert_eq!(from_repository(Path::new("/w/repo/services/shop"), &here), "services/shop/");
        assert_eq!(from_repository(Path::new("/w/repo"), &here), "");
        assert_eq!(from_repository(Path::new("/elsewhere"), &here), "");
    }

    #[test]
    fn the_page_is_added_to_githubs_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("summary");
        let env = env(&[("GITHUB_STEP_SUMMARY", path.to_str().expect("a path"))]);
        for page in ["one\n", "two\n"] {
            Ci::GitHub.publish(page, true, &env).expect("written");
        }
        assert_eq!(fs_err::read_to_string(path).expect("read"), "one\ntwo\n");
        Ci::GitHub.publish("x", true, &Env::default()).expect("nothing to write to");
    }
}
