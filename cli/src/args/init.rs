//! `splitci init`.

/// Write a splitci.toml from what is found here
///
/// The file says in comments what was found and which keys are changed most often. A file that exists is left alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct InitArgs {
    /// Print the reference, every key with its meaning and default, and write nothing
    #[arg(long)]
    pub reference: bool,
}
