//! `splitci verify` and `splitci promote`.

use std::path::PathBuf;

use clap::ArgGroup;

const VERIFY: &str = "\
Examples:
  splitci verify sha256:1f0c... --policy production
  splitci verify registry.example/shop/candidate:main --policy production --json
  splitci verify v1.2 --policy policies.toml --environment staging

The policy is the `[policy.NAME]` of splitci.toml at the protected ref in git ([gate] protected), never that of the work tree; or of a file that is named.
Exit status: 0 it may go there, 6 it may not (with a code that does not change), 2 there is no such policy.";

const PROMOTE: &str = "\
Examples:
  splitci promote sha256:1f0c... production
  splitci promote main production --tag v1.2.3
  splitci promote main production --break-glass \"checkout is down, fix 4711 is in\" --key ~/anna.pem

The gate is asked first; if it says no, nothing is written. Then the same bytes are put into the release repository, with all that is signed about them. It gets the tags
`sha-COMMIT` and those of --tag, which never mean anything else, and `current-ENV`, which moves.";

/// Say whether an image may go to an environment, and by what
///
/// The gate: this very image, by digest, tested at the level that the policy asks for, by the newest of all statements about it. Anything that is missing, damaged or cannot be
/// asked is a no.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = VERIFY)]
pub(crate) struct VerifyArgs {
    /// The image: sha256:…, a tag of the candidate repository, or REPOSITORY@sha256:… or REPOSITORY:TAG
    pub reference: String,
    /// The policy's name, or the file that it is in
    #[arg(short, long, value_name = "NAME|FILE")]
    pub policy: String,
    /// The environment that it is to go to, if it is not the policy's name
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
    /// An envelope or bundle to look at too
    #[arg(long, value_name = "FILE")]
    pub bundle: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Give a tested image its name in the release repository
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = PROMOTE)]
pub(crate) struct PromoteArgs {
    /// The image: sha256:…, a tag of the candidate repository, or REPOSITORY@sha256:… or REPOSITORY:TAG
    pub reference: String,
    /// The environment that it is promoted for
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// A name that never means another image; may be given again
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Where the policy is from, and who gets past it.
    #[command(flatten)]
    pub gate: GateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const REVOKE: &str = "\
Examples:
  splitci revoke sha256:1f0c... --reason \"loses orders\"
  splitci revoke --commit 8d1c8f9... --reason \"loses orders\"

Whatever was revoked goes nowhere any more, and a deploy of it that is under way goes back. What runs already is left running.";

/// Print the entry of a policy that stops an image, a run, a commit or a key
///
/// Revocations are a part of the policy, so that nobody can take one away who may not change that: commit the entry, and have it reach the protected ref.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = REVOKE)]
#[command(group(ArgGroup::new("what").required(true).args(["image", "run", "commit", "revoked_key"])))]
pub(crate) struct RevokeArgs {
    /// The image, by the digest of its manifest or of its configuration
    pub image: Option<String>,
    /// A run, by its name
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// What was built of a commit, by its id in git
    #[arg(long, value_name = "ID")]
    pub commit: Option<String>,
    /// Whatever a key has signed, by its id
    #[arg(long = "key", id = "revoked_key", value_name = "ID")]
    pub key: Option<String>,
    /// Why, for those who are stopped by it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Where the policy is from, and who gets past it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct GateArgs {
    /// Take the policy from FILE, instead of the protected ref in git; also `SPLITCI_POLICY`
    #[arg(long, value_name = "FILE", help_heading = "Gate")]
    pub policy: Option<PathBuf>,
    /// Sign for it yourself, where the policy lets you: a reason that explains it
    #[arg(long, value_name = "REASON", requires = "glass_key", help_heading = "Gate")]
    pub break_glass: Option<String>,
    /// Your own private key, for --break-glass
    #[arg(long = "key", id = "glass_key", value_name = "FILE", help_heading = "Gate")]
    pub key: Option<PathBuf>,
}
