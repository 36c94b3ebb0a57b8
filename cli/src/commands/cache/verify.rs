//! `splitci cache verify` and `gc`: what is damaged, and what goes when there is no room.

use splitci_coordinator::config::Flags;
use splitci_coordinator::content::local::{Entry, Repair, Sweep, Verified, Why};

use super::entries::count_entries;
use super::{Opened, images, settings, unusable};
use crate::args::cache::{GcArgs, VerifyArgs};
use crate::ui::caches::name;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::bytes;
use crate::{Context, project};

/// Reads everything.
pub(super) fn verify(args: VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let opened = if args.repair { Opened::change(settings(args.look.place, context)?)? } else { Opened::look(args.look.place, context)? };
    let repair = if args.repair { Repair::Delete } else { Repair::No };
    let found = opened.runtime.block_on(opened.store.verify(repair)).map_err(|error| unusable(&error))?;
    let wrong: Vec<(&Entry, &str)> = of_no_use(&found).collect();
    if args.look.json {
        let list: Vec<_> = wrong.iter().map(|(entry, why)| told(entry, why)).collect();
        let all = serde_json::json!({
            "whole": found.whole, "wrong": list, "deleted": args.repair, "other_version": found.other_version,
            "unreadable": found.unreadable, "first_error": found.first_error,
        });
        printer::answer(&format!("{all}\n"))?;
    } else {
        let lines: Vec<String> = wrong.iter().map(|(entry, why)| format!("{why:<14} {}\n", name(entry))).collect();
        printer::answer(&lines.concat())?;
        printer::tell(&words(&found, wrong.len(), args.repair));
    }
    // What is left is for somebody to look at; the cache itself serves none of it.
    let left = found.unreadable > 0 || !wrong.is_empty() && !args.repair;
    Ok(if left { Exit::NO_VERDICT } else { Exit::DONE })
}

fn of_no_use(found: &Verified) -> impl Iterator<Item = (&Entry, &'static str)> {
    let damaged = found.damaged.iter().map(|entry| (entry, "damaged"));
    damaged.chain(found.without_blobs.iter().map(|entry| (entry, "without blobs")))
}

fn words(found: &Verified, wrong: usize, deleted: bool) -> String {
    let mut parts = vec![format!("{} whole", count_entries(found.whole))];
    parts.push(match (wrong, deleted) {
        (0, _) => "nothing damaged".into(),
        (wrong, true) => format!("{} of no use deleted", count_entries(wrong)),
        (wrong, false) => format!("{} of no use: `--repair` deletes them", count_entries(wrong)),
    });
    if found.other_version > 0 {
        parts.push(format!("{} of another version of splitci, left alone", count_entries(found.other_version)));
    }
    if let Some(error) = &found.first_error {
        parts.push(format!("{} that cannot be read: {error}", count_entries(found.unreadable)));
    }
    parts.join("; ") + "\n"
}

fn told(entry: &Entry, why: &str) -> serde_json::Value {
    serde_json::json!({ "name": entry.digest().to_string(), "layer": entry.layer(), "space": entry.space(), "bytes": entry.bytes, "why": why })
}

/// Makes room.
pub(super) fn collect(args: GcArgs, context: &Context) -> Result<Exit, Failure> {
    let (dry, json) = (args.dry_run, args.look.json);
    let mut flags = Flags::default();
    args.into_flags(&mut flags);
    let caches = project::caches(context, flags)?;
    let opened = if dry { Opened::open(caches, super::Access::ReadOnly)? } else { Opened::change(caches)? };
    let sweep = if dry { Sweep::DryRun } else { Sweep::Delete };
    let limit = opened.limit()?;
    let collected = opened.runtime.block_on(opened.store.collect(limit, sweep)).map_err(|error| unusable(&error))?;
    let Some(collected) = collected else {
        printer::tell("somebody else is making room already\n");
        return Ok(Exit::DONE);
    };
    let surplus = images::collect(&opened, dry, context);
    let why = |why: Why| match why {
        Why::Room => "room",
        Why::WithoutBlobs => "without blobs",
    };
    if json {
        let gone: Vec<_> = collected.gone.iter().map(|(entry, reason)| told(entry, why(*reason))).collect();
        let all = serde_json::json!({
            "entries": collected.entries, "bytes": collected.bytes, "limit": limit.bytes, "dry_run": dry, "gone": gone, "freed": collected.freed,
            "images": surplus.iter().map(images::told).collect::<Vec<_>>(),
        });
        printer::answer(&format!("{all}\n"))?;
        return Ok(Exit::DONE);
    }
    if dry {
        let lines: Vec<String> = collected.gone.iter().map(|(entry, reason)| format!("{:<14} {}\n", why(*reason), name(entry))).collect();
        let images = surplus.iter().map(|image| format!("{:<14} {}\n", "image", image.name));
        printer::answer(&lines.into_iter().chain(images).collect::<String>())?;
    }
    let (was, may) = (bytes(collected.bytes), bytes(limit.bytes));
    let verb = if dry { "would go" } else { "went" };
    printer::tell(&format!("{was} of {may} were taken; {} {verb}, {}\n", count_entries(collected.gone.len()), bytes(collected.freed)));
    if !surplus.is_empty() {
        let all: u64 = surplus.iter().map(|image| image.bytes).sum();
        printer::tell(&format!("{} {verb} from the engine, up to {}\n", images::count(surplus.len()), bytes(all)));
    }
    Ok(Exit::DONE)
}
