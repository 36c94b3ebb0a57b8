//! `splitci cache`.

use clap::Subcommand;

use super::why::WhyArgs;

/// See what is reused, and why not
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What there is to do with a cache.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CacheCommand {
    /// Say whether a run would build the image, and what changed
    Why(Box<WhyArgs>),
}
