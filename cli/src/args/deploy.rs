//! `splitci deploy`, `rollback`, `resume`, `status`, `lock` and `log`.

use std::time::Duration;

use clap::Subcommand;
use splitci_coordinator::config::duration;

use super::GateArgs;

const DEPLOY: &str = "\
Examples:
  splitci deploy production                what was promoted last for it
  splitci deploy production sha256:1f0c... --dry-run
  splitci deploy staging --wait 10m        after whoever is at work there; of several that wait, the newest
  splitci deploy staging v1.2 --message \"fix 4711\"

The gate is asked anew, about the digest. One half of the slots is taken out, replaced and checked; then the halves are swapped in one command of the balancer, so that requests
never meet two releases; then the other half follows (`strategy = \"half\"`; there are `bluegreen`, `rolling`, `canary` and `all-at-once`, too). What fails goes back by itself. Ctrl-C once: it goes back in order; twice: it is left as it is, for `splitci resume`.
Exit status: 0 done, 6 the gate says no, 7 locked, overtaken, frozen, older than what serves or stopped by a hook, 8 it went back, 9 it is held for a person, 10 done with slots missing, 11 the migration failed.";

const LOCK: &str = "\
Examples:
  splitci lock production show
  splitci lock production break --yes      when its holder is gone for good, and cannot give it back";

fn time(text: &str) -> Result<Duration, &'static str> {
    duration(text).ok_or("write 90, 30s or 10m")
}

/// Replace what runs in an environment by a promoted image, without a lost request
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = DEPLOY)]
pub(crate) struct DeployArgs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// The image in the release repository: sha256:…, or a tag [default: what was promoted last]
    #[arg(value_name = "REF")]
    pub reference: Option<String>,
    /// Say what would happen and how many slots would serve at each step, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the environment's migration out
    #[arg(long)]
    pub skip_migration: bool,
    /// Nothing may serve for a while
    #[arg(long)]
    pub allow_downtime: bool,
    /// Fewer slots may serve than have to, because fewer do already and this is the repair
    #[arg(long)]
    pub fix_forward: bool,
    /// Wait for so long if somebody else is at work there (30s, 10m); of those that wait the newest deploys
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub wait: Option<Duration>,
    /// Where the policy is from, and who gets past it.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: DeployOutput,
}

/// What is shown of a deploy, and why it is done.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DeployOutput {
    /// Why, for whoever finds the environment locked
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Print each row of the journal as JSON, and a last line with the exit status
    #[arg(long)]
    pub json: bool,
}

/// Put the release back that was stable before the one that is
///
/// Its evidence is looked at again, but for its age. The environment's migration is not run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Where the policy is from, and who gets past it.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: DeployOutput,
}

/// Go on with a deploy whose process has ended, from any machine
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Where the policy is from, and who gets past it.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: DeployOutput,
}

/// Show what runs in an environment, slot by slot, and what is under way
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatusArgs {
    /// The environment [default: all]
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Show who has an environment's lock, or take it away
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = LOCK)]
pub(crate) struct LockArgs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// What to do.
    #[command(subcommand)]
    pub command: LockCommand,
}

/// What there is to do with a lock.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LockCommand {
    /// Say who has it, since when and why
    Show,
    /// Take it away; whoever has it finds out before the next thing that it would do
    Break {
        /// Without this it is only said what would be done
        #[arg(long)]
        yes: bool,
    },
}

/// Print an environment's journal
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogArgs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Look whether its chain is whole and its copies agree; exit status 1 if not
    #[arg(long)]
    pub verify: bool,
    /// Print each row as JSON
    #[arg(long)]
    pub json: bool,
}
