//! `splitci keys`.

use std::path::PathBuf;

use clap::Subcommand;

use super::cache::CachePlace;

const EXAMPLES: &str = "\
Examples:
  splitci keys new --out ~/main.pem > keys/main.pem
                                           a key for jobs of the default branch, and its public half
  splitci keys show --key ~/main.pem       its public half again, and what it is trusted as
  splitci keys new --out - | gh secret set SPLITCI_KEY --env main

In splitci.toml:
  [trust]
  protected = [\"keys/main.pem\"]
  pull = [\"keys/pull.pem\"]";

/// Make and show the keys that cache entries are signed with
///
/// A private key goes to the jobs of the CI system that are trusted alike, as the secret `SPLITCI_KEY`; its public half goes into splitci.toml, into the list of its
/// level. Without a key, this machine makes one of its own, which nobody else trusts.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// What there is to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair; print its public half
    New(NewKeyArgs),
    /// Print the public half of a key, its id, and what it is trusted as here
    Show(ShowKeyArgs),
}

/// Make a key pair; print its public half
///
/// ECDSA P-256, PKCS#8 PEM. A file that is there is never overwritten.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NewKeyArgs {
    /// Write the private key to FILE, or print it with `-` [default: a file in the state directory]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Encrypt it with a passphrase: that in `SPLITCI_KEY_PASSPHRASE`, or one that you are asked for
    #[arg(long)]
    pub passphrase: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Print the public half of a key, its id, and what it is trusted as here
///
/// The key is the one that a run here would write with; with --signer the one that signs what `push` says of its image, if a program has that.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ShowKeyArgs {
    /// The cache and the key.
    #[command(flatten)]
    pub place: CachePlace,
    /// Ask the program of `trust.signer` for its key
    #[arg(long, conflicts_with = "key")]
    pub signer: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
