//! `splitci cache why`.

use super::cache::CachePlace;
use super::project::ProjectArgs;

const EXAMPLES: &str = "\
Examples:
  splitci cache why                    what the next `splitci run` would do, and why
  splitci cache why --build-arg V=2    the same with another argument
  splitci cache why tests/test_a.py    whether a run that reuses results would run this file
  splitci cache why --json             for programs";

/// Say whether a run would build the image, and what changed
///
/// Compares what the image is made of now (Dockerfile, files, arguments, bases) with what earlier images were made of; for test files what their results depend on. Builds and
/// pulls nothing.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// Project, image, containers.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// The cache and the key.
    #[command(flatten)]
    pub place: CachePlace,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
