//! `splitci runs`.

/// List the runs there are records of
///
/// The latest comes last. Older records are removed by the rules of `[record]` in splitci.toml.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RunsArgs {
    /// How many
    #[arg(short = 'l', long, value_name = "N", default_value = "20")]
    pub limit: usize,
    /// Print JSON, an object a line
    #[arg(long)]
    pub json: bool,
}
