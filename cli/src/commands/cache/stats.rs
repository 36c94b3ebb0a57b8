//! `splitci cache stats`: what the cache was good for, run by run added up, and what is in it now.

use splitci_coordinator::content::local::Sweep;
use splitci_coordinator::tally;

use super::{Opened, unusable};
use crate::Context;
use crate::args::cache::LookArgs;
use crate::ui::caches::{Holds, stats as drawn};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;

/// Does it.
pub(super) fn stats(args: LookArgs, context: &Context) -> Result<Exit, Failure> {
    let opened = Opened::look(args.place, context)?;
    let limit = opened.limit()?;
    let looked = opened.runtime.block_on(opened.store.collect(limit, Sweep::DryRun)).map_err(|error| unusable(&error))?;
    let looked = looked.unwrap_or_default();
    let sum = tally::sum(&opened.dir).map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
    let holds = Holds {
        entries: looked.entries,
        bytes: looked.bytes,
        limit: limit.bytes,
        levels: looked.levels,
        coldest_seconds: looked.coldest.map(|age| age.as_secs()),
    };
    if args.json {
        let told = serde_json::json!({
            "directory": opened.dir, "entries": holds.entries, "bytes": holds.bytes, "limit": holds.limit,
            "levels": holds.levels, "coldest_seconds": holds.coldest_seconds, "used": sum,
        });
        printer::answer(&format!("{told}\n"))?;
    } else {
        printer::answer(&drawn(&opened.dir, &holds, &sum))?;
    }
    Ok(Exit::DONE)
}
