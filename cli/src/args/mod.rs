//! The command line, as structs: one file per subcommand, with its help. The only place that knows clap.
//!
//! No decisions here. Options that are also keys of `splitci.toml` stay texts: they are parsed by the key's own rules (`config`), so that a
//! value means the same wherever it is given and all faults are told at once.

pub(crate) mod cache;
mod deploy;
mod doctor;
mod gate;
pub(crate) mod generate;
mod init;
mod keys;
mod plan;
mod project;
mod push;
mod report;
mod repro;
mod run;
mod runs;
#[cfg(test)]
mod tests;
mod why;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use cache::CacheArgs;
pub(crate) use deploy::{DeployArgs, DeployOutput, LockArgs, LockCommand, LogArgs, ResumeArgs, RollbackArgs, StatusArgs};
pub(crate) use doctor::DoctorArgs;
pub(crate) use gate::{GateArgs, PromoteArgs, RevokeArgs, VerifyArgs};
pub(crate) use generate::{CompletionsArgs, ManArgs};
pub(crate) use init::InitArgs;
pub(crate) use keys::{KeysArgs, KeysCommand, NewKeyArgs, ShowKeyArgs};
pub(crate) use plan::PlanArgs;
pub(crate) use push::{PushArgs, PushOptions};
pub(crate) use report::{Format, ReportArgs};
pub(crate) use repro::ReproArgs;
pub(crate) use run::{OutputArgs, RunArgs};
pub(crate) use runs::RunsArgs;
pub(crate) use why::WhyArgs;

const AFTER: &str = "\
Exit status: 0 passed, 1 tests failed, 2 usage or configuration, 3 no verdict (infrastructure), 4 no tests ran, 5 the image did not build, \
6 the gate says no, 7 locked, frozen or too old, 8 the deploy went back, 9 it is held for a person, 10 deployed with slots missing, 11 the migration failed, \
70 a bug of splitci, 129 hung up, 130 interrupted, 143 terminated.

stdout has the answer, stderr the telling.";

/// Build an image once, split its tests over N instances of it, trust the verdict
#[derive(Debug, Parser)]
#[command(name = "splitci", version, after_help = AFTER, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What applies everywhere.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Everywhere {
    /// Run as if started in DIR
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub directory: Option<PathBuf>,
    /// Keep records in DIR instead of the state directory of the user
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub state: Option<String>,
    /// Use colour and live progress: when a terminal is there, or as said
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = "Everywhere")]
    pub color: ColorWhen,
    /// Tell failures and the summary only
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the image, run its tests in N shards, give a verdict
    Run(Box<RunArgs>),
    /// List what would run, without running it
    Plan(Box<PlanArgs>),
    /// Push the image that a run tested, with a signed statement of what it showed
    Push(PushArgs),
    /// Run again exactly what a run or one of its shards ran
    Repro(ReproArgs),
    /// Print a report of a run
    Report(ReportArgs),
    /// List the runs there are records of
    Runs(RunsArgs),
    /// Say why an image is built; look at the cache, make room in it, carry it elsewhere
    Cache(CacheArgs),
    /// Make and show the keys that cache entries are signed with
    Keys(KeysArgs),
    /// Say whether an image may go to an environment, and by what
    Verify(VerifyArgs),
    /// Give a tested image its name in the release repository
    Promote(PromoteArgs),
    /// Print the entry of a policy that stops an image, a run, a commit or a key
    Revoke(RevokeArgs),
    /// Replace what runs in an environment by a promoted image, without a lost request
    Deploy(DeployArgs),
    /// Put the release back that was stable before the one that is
    Rollback(RollbackArgs),
    /// Go on with a deploy whose process has ended, from any machine
    Resume(ResumeArgs),
    /// Show what runs in an environment, slot by slot, and what is under way
    Status(StatusArgs),
    /// Show who has an environment's lock, or take it away
    Lock(LockArgs),
    /// Print an environment's journal
    Log(LogArgs),
    /// Write a splitci.toml from what is found here
    Init(InitArgs),
    /// Check this machine, the Dockerfile and the configuration
    Doctor(Box<DoctorArgs>),
    /// Print what makes a shell complete splitci's options
    Completions(CompletionsArgs),
    /// Write man pages, one for each command
    Man(ManArgs),
}
