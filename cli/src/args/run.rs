//! `splitci run`.

use std::path::PathBuf;

use splitci_coordinator::config::Flags;

use super::cache::CachePlace;
use super::project::{ProjectArgs, one};
use super::push::PushOptions;

const EXAMPLES: &str = "\
Examples:
  splitci run                          everything, a shard for each CPU
  splitci run -n 8 tests/api           eight shards, one directory
  splitci run -- -k login -m 'not slow'
                                       what follows -- goes to the framework
  splitci run --failed                 what failed in the last run
  splitci run --image shop:candidate   an image that exists
  splitci run --engine process -n 4    no container at all
  splitci run --junit junit.xml        a report for the CI system
  splitci run --push --to registry.example/shop/candidate
                                       and the image with a signed statement into a registry";

/// Build the image, run its tests in N shards, give a verdict
///
/// Finds the Dockerfile and the test framework by itself; splitci.toml (see `splitci init`) and the options below say otherwise.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that is given or not")]
pub(crate) struct RunArgs {
    /// Project, image, containers.
    #[command(flatten)]
    pub project: ProjectArgs,

    /// Run only the tests that failed in the last run
    #[arg(long, help_heading = "Run")]
    pub failed: bool,
    /// Try a failed test again, up to N times
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub retries: Option<String>,
    /// A test that passes only when it is tried again: pass or fail [default: pass]
    #[arg(long, value_name = "WORTH", help_heading = "Run")]
    pub flaky: Option<String>,
    /// Do not run files again that passed before on the same image, command and environment
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        hide_possible_values = true,
        help_heading = "Run"
    )]
    pub reuse: Option<String>,
    /// Run everything, whatever was proven before
    #[arg(long, help_heading = "Run")]
    pub fresh: bool,
    /// Stop at the first failure
    #[arg(
        short = 'x',
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        hide_possible_values = true,
        help_heading = "Run"
    )]
    pub fail_fast: Option<String>,
    /// Exit with 0 when no test ran
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        hide_possible_values = true,
        help_heading = "Run"
    )]
    pub allow_empty: Option<String>,
    /// Longest time for one test, such as 90s or 10m [default: 10m]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    pub timeout: Option<String>,
    /// Longest time for the whole run, without the build [default: 60m]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    pub run_timeout: Option<String>,
    /// Longest time for the framework's start [default: 5m]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    pub boot_timeout: Option<String>,
    /// Give the framework your terminal, for a debugger: one shard, and no limits of time
    #[arg(long, help_heading = "Run", conflicts_with = "json")]
    pub tty: bool,
    /// Leave the shards for a look when the run is over
    #[arg(long, help_heading = "Run")]
    pub keep: bool,

    /// Push the image, whether its tests passed or failed, with a signed statement of that
    #[arg(long, help_heading = "Push", conflicts_with_all = ["failed", "tty"])]
    pub push: bool,
    /// Where to, and as what.
    #[command(flatten)]
    pub pushing: PushOptions,

    /// Where it remembers.
    #[command(flatten)]
    pub cache: CachePlace,
    /// What is written.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a run writes besides its record.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write a JUnit report to FILE
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the run's events to stdout, a JSON object a line, instead of the summary
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// What of all this leaves tests out, as it was given. `selecting` are variables of tests that do.
    pub(crate) fn filters(&self, selecting: &[&str]) -> Vec<String> {
        let chosen = self.project.suite.iter().map(|suite| format!("--suite {suite}"));
        let chooses = |variable: &&String| selecting.contains(&variable.split('=').next().unwrap_or_default());
        let variables = self.project.env.iter().filter(chooses).map(|variable| format!("--env {variable}"));
        let failed = self.failed.then(|| "--failed".to_owned());
        let paths = self.project.paths.iter().cloned();
        failed.into_iter().chain(chosen).chain(variables).chain(paths).chain(self.project.framework_args.iter().cloned()).collect()
    }

    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        self.project.into_flags(flags);
        self.cache.into_flags(flags);
        let rows = [
            ("run.retries", "--retries", self.retries),
            ("run.flaky", "--flaky", self.flaky),
            ("cache.results", "--reuse", self.reuse),
            ("run.fail_fast", "--fail-fast", self.fail_fast),
            ("run.allow_empty", "--allow-empty", self.allow_empty),
            ("run.timeout.test", "--timeout", self.timeout),
            ("run.timeout.run", "--run-timeout", self.run_timeout),
            ("run.timeout.boot", "--boot-timeout", self.boot_timeout),
        ];
        one(flags, rows);
    }
}
