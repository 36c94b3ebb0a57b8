//! `splitci cache`, and the options about the cache that other commands take, too.

use std::path::PathBuf;

use clap::Subcommand;
use splitci_coordinator::config::Flags;

use super::project::{ProjectArgs, one};
use super::why::WhyArgs;

/// Where the cache is, and who writes to it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CachePlace {
    /// Keep the cache in DIR [default: the cache directory of the user]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<String>,
    /// Only read the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub cache_read_only: Option<String>,
    /// Sign what is written with the private key in FILE [default: that in `SPLITCI_KEY`, else one of this machine]
    // A key itself begins with hyphens: refused by its own rules, which do not show it.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub key: Option<String>,
}

impl CachePlace {
    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        let rows = [
            ("cache.dir", "--cache-dir", self.cache_dir),
            ("cache.read_only", "--cache-read-only", self.cache_read_only),
            ("trust.key", "--key", self.key),
        ];
        one(flags, rows);
    }
}

const EXAMPLES: &str = "\
Examples:
  splitci cache why                         whether a run would build the image, and what changed
  splitci cache warm                        have the image ready before anybody runs tests
  splitci cache stats                       what it was good for, and what is in it
  splitci cache ls --level protected        records of the default branch
  splitci cache gc --dry-run --size 5GiB    what would go if there were 5 GiB
  splitci cache verify --repair             read everything, delete what is damaged
  splitci cache export ci.cache             all of it, as one file
  splitci cache doctor                      what keeps it from being of use";

/// Look at the cache, make room in it, carry it elsewhere
///
/// It is a directory that may be deleted, or saved and restored by a CI system's own cache, at any moment: that costs time and nothing else.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What there is to do with a cache.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CacheCommand {
    /// Tell what it was good for, and what is in it
    Stats(LookArgs),
    /// List its records
    Ls(CacheLsArgs),
    /// Delete entries
    Rm(CacheRmArgs),
    /// Read every entry and tell what is damaged
    Verify(VerifyArgs),
    /// Make room
    Gc(GcArgs),
    /// Write all of it into one file
    Export(ArchiveArgs),
    /// Take in what an export wrote
    Import(ArchiveArgs),
    /// Check what keeps it from being of use
    Doctor(LookArgs),
    /// Have the image ready for the next run: found, fetched or built
    Warm(Box<WarmArgs>),
    /// Say whether a run would build the image, and what changed
    Why(Box<WhyArgs>),
}

/// Have the image ready for the next run: found, fetched or built
///
/// What a run does before its tests, and no more: for the image of a CI runner, or for the night.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WarmArgs {
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

/// The cache, and how to tell.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct LookArgs {
    /// The cache and the key.
    #[command(flatten)]
    pub place: CachePlace,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// List its records
///
/// Blobs are what records stand for: the files, packs and lists themselves.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CacheLsArgs {
    /// The cache.
    #[command(flatten)]
    pub look: LookArgs,
    /// Which of them.
    #[command(flatten)]
    pub which: WhichArgs,
    /// List blobs as well
    #[arg(long)]
    pub blobs: bool,
}

/// Delete entries
///
/// By the beginning of their names, as `splitci cache ls --blobs` prints them, or by what they are. Room that only they took is free at once or, for blobs of
/// records, with the next `splitci cache gc`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CacheRmArgs {
    /// The cache.
    #[command(flatten)]
    pub look: LookArgs,
    /// Beginnings of names, of 8 digits or more
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Which of them.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Everything
    #[arg(long, conflicts_with_all = ["names", "layer", "level"])]
    pub all: bool,
}

/// Which records.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WhichArgs {
    /// Of this layer only: image, results, suite ...
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<String>,
    /// Of this level only: release, protected, branch, pull, fork, local
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
}

/// Read every entry and tell what is damaged
///
/// Reading verifies anyway, whenever something is used; this does it for all at once.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The cache.
    #[command(flatten)]
    pub look: LookArgs,
    /// Delete what is damaged
    #[arg(long)]
    pub repair: bool,
}

/// Make room
///
/// What was used longest ago goes first, but no level takes the room of another, and what running runs use stays. Nothing does it by itself yet.
/// Images that splitci built are counted as well (`images` in `[cache]`); those go after every build, too.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct GcArgs {
    /// The cache.
    #[command(flatten)]
    pub look: LookArgs,
    /// Only tell what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Most that may stay [default: 10 GB or a tenth of the disk, whichever is less]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
}

/// A cache as one file
///
/// Of what comes in, records count whose signature is trusted here (see `splitci keys`); nothing that is there is replaced.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ArchiveArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The cache.
    #[command(flatten)]
    pub look: LookArgs,
}

impl GcArgs {
    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        self.look.place.into_flags(flags);
        one(flags, [("cache.size", "--size", self.size)]);
    }
}
