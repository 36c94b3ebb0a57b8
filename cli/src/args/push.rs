//! `splitci push`, and its options that `splitci run --push` takes, too.

use splitci_coordinator::config::Flags;

use super::project::one;

const EXAMPLES: &str = "\
Examples:
  splitci push last --to registry.example/shop/candidate
  splitci push 01JD2 --tag main        that name, too, in the repository of the key `registry.candidate.repository`
  splitci push last --json             digests of image and statement, for a script";

/// Push the image that a run tested, with a signed statement of what it showed
///
/// The image is the one that the run tested, whatever its name means now. A run that failed is attested as failed. An image that a run was given by digest is in its
/// registry already, and gets the statement there. The statement is signed with the key of `[trust]` or `SPLITCI_KEY`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArgs {
    /// The run: the beginning of its name, or `last`
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Where to, and as what.
    #[command(flatten)]
    pub pushing: PushOptions,
    /// Sign with the private key in FILE
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where an image is pushed to, and as what.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Push")]
pub(crate) struct PushOptions {
    /// The repository [default: the key `registry.candidate.repository`]
    #[arg(long, value_name = "REPOSITORY")]
    pub to: Option<String>,
    /// Name the image so in the repository, too; repeatable
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Attest an image of a tree with changes that no commit has; the statement says so
    #[arg(long)]
    pub allow_dirty: bool,
}

impl PushOptions {
    /// The first option that was given, if one was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let all = [(self.to.is_some(), "--to"), (!self.tag.is_empty(), "--tag"), (self.allow_dirty, "--allow-dirty")];
        all.into_iter().find(|(given, _)| *given).map(|(_, option)| option)
    }
}

impl PushArgs {
    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        one(flags, [("trust.key", "--key", self.key)]);
    }
}
