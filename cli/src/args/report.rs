//! `splitci report`.

use clap::ValueEnum;

const EXAMPLES: &str = "\
Examples:
  splitci report last
  splitci report 01JD2 --format junit > junit.xml
  splitci report last --format code-quality > gl-code-quality-report.json";

/// Print a report of a run
///
/// Reports are computed from the record alone: the same today and in a year.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// The run: the beginning of its name, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    pub run: String,
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "summary")]
    pub format: Format,
}

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As at the end of a run.
    Summary,
    /// JUnit XML.
    Junit,
    /// One JSON object: verdict, counts, tests, shards (`splitci run --json` prints the events).
    Json,
    /// Markdown, for a page.
    Markdown,
    /// Code quality issues, for GitLab.
    CodeQuality,
}
