//! `splitci repro`.

use super::run::OutputArgs;

const EXAMPLES: &str = "\
Examples:
  splitci repro last --shard 3
  splitci repro 01JD2 --test tests/test_cart.py::test_total
  splitci repro last --shard 3 --shell
  splitci repro last --test ID --tty --env PYTEST_ADDOPTS=--pdb";

/// Run again exactly what a run or one of its shards ran
///
/// The same image, the same units and tests in the order in which they ran, the same seed and environment, each session in a process of its own.
/// With --test, the session that ran the test is run up to and including it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReproArgs {
    /// The run: the beginning of its name, or `last`
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only this shard
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard: Option<u32>,
    /// Only the session of this test, up to and including it
    #[arg(long, value_name = "ID")]
    pub test: Option<String>,
    /// Open a shell where the tests ran, and run none
    #[arg(long, conflicts_with_all = ["keep", "junit", "json"])]
    pub shell: bool,
    /// Give the framework your terminal, for a debugger: no limits of time
    #[arg(long, conflicts_with_all = ["json", "shell"])]
    pub tty: bool,
    /// Set a variable for the tests: NAME=VALUE, or NAME to hand yours on; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Take variables for the tests from a file; repeatable
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Leave the shards for a look when the run is over
    #[arg(long)]
    pub keep: bool,
    /// What is written.
    #[command(flatten)]
    pub output: OutputArgs,
}
