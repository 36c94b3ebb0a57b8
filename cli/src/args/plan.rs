//! `splitci plan`.

use super::project::ProjectArgs;

const EXAMPLES: &str = "\
Examples:
  splitci plan             what `splitci run` would do
  splitci plan -n 8 -- -m slow";

/// List what would run, without running it
///
/// Builds the image if it is not there yet and asks the framework in it for its files, then prints the units in the order of dispatch, with the
/// predicted time of each where one is known.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// Project, image, containers.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
