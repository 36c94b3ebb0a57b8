//! `splitci cache`: a file for each thing to do. What is shown is drawn in `ui::caches`.
//!
//! Whoever only looks opens the store for reading only: a look changes nothing, not even when something was last used.

mod archive;
mod doctor;
mod entries;
mod images;
mod stats;
mod verify;
mod warm;
mod why;
mod why_test;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use splitci_coordinator::config::{Caches, Flags};
use splitci_coordinator::content::StoreError;
use splitci_coordinator::content::local::{Access, Limit, LocalStore};
use tokio::runtime::Runtime;

use crate::args::cache::{CacheArgs, CacheCommand, CachePlace};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::{Context, project};

/// Does it.
pub(crate) fn cache(args: CacheArgs, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        CacheCommand::Stats(args) => stats::stats(args, context),
        CacheCommand::Ls(args) => entries::list(args, context),
        CacheCommand::Rm(args) => entries::remove(args, context),
        CacheCommand::Verify(args) => verify::verify(args, context),
        CacheCommand::Gc(args) => verify::collect(args, context),
        CacheCommand::Export(args) => archive::export(args, context),
        CacheCommand::Import(args) => archive::import(args, context),
        CacheCommand::Doctor(args) => doctor::doctor(args, context),
        CacheCommand::Warm(args) => warm::warm(*args, context),
        CacheCommand::Why(args) => why::why(*args, context),
    }
}

/// A cache that is open.
struct Opened {
    store: LocalStore,
    dir: PathBuf,
    caches: Caches,
    runtime: Runtime,
}

impl Opened {
    /// For a look.
    fn look(place: CachePlace, context: &Context) -> Result<Self, Failure> {
        Self::open(settings(place, context)?, Access::ReadOnly)
    }

    /// For a change; refused where only reading is allowed.
    fn change(caches: Caches) -> Result<Self, Failure> {
        if caches.cache.read_only {
            return Err(Failure::plain(
                Exit::USAGE,
                "this changes the cache, and the cache is only to be read",
                "drop `--cache-read-only` (key `cache.read_only`)",
            ));
        }
        Self::open(caches, Access::ReadWrite)
    }

    fn open(caches: Caches, access: Access) -> Result<Self, Failure> {
        let dir = directory(&caches)?;
        let store = LocalStore::open(&dir, access).map_err(|error| unusable(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
        Ok(Self { store, dir, caches, runtime })
    }

    /// How much it may hold.
    fn limit(&self) -> Result<Limit, Failure> {
        match self.caches.cache.size {
            Some(bytes) => Ok(Limit::of(bytes)),
            None => Limit::for_disk(&self.dir).map_err(|error| unusable(&error)),
        }
    }
}

fn settings(place: CachePlace, context: &Context) -> Result<Caches, Failure> {
    let mut flags = Flags::default();
    place.into_flags(&mut flags);
    project::caches(context, flags)
}

fn directory(caches: &Caches) -> Result<PathBuf, Failure> {
    caches.cache.dir.clone().ok_or_else(|| {
        Failure::plain(
            Exit::USAGE,
            "there is no place for a cache: neither `--cache-dir`, `SPLITCI_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` is set",
            "name a directory with `--cache-dir DIR`",
        )
    })
}

fn unusable(error: &StoreError) -> Failure {
    Failure::new(Exit::NO_VERDICT, error, error.hint())
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
