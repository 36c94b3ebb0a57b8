//! `splitci cache ls` and `rm`.

use std::time::SystemTime;

use splitci_coordinator::content::local::Entry;
use splitci_coordinator::model::trust::Level;

use super::{Opened, settings, unusable};
use crate::Context;
use crate::args::cache::{CacheLsArgs, CacheRmArgs, WhichArgs};
use crate::ui::caches::entry as drawn;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::bytes;

/// Shortest beginning of a name that means one thing.
const SHORTEST: usize = 8;

/// Lists.
pub(super) fn list(args: CacheLsArgs, context: &Context) -> Result<Exit, Failure> {
    check(&args.which)?;
    let opened = Opened::look(args.look.place, context)?;
    let mut entries = entries(&opened)?;
    entries.retain(|entry| if entry.layer().is_some() { matches(entry, &args.which) } else { args.blobs && is_any(&args.which) });
    entries.sort_by_key(|entry| (entry.layer().map(str::to_owned), entry.space(), entry.used));
    let now = SystemTime::now();
    let json = args.look.json;
    let lines: Vec<String> = entries.iter().map(|entry| if json { as_json(entry, now) } else { drawn(entry, now) }).collect();
    if lines.is_empty() {
        printer::tell("nothing there\n");
    }
    printer::answer(&lines.concat())?;
    Ok(Exit::DONE)
}

fn as_json(entry: &Entry, now: SystemTime) -> String {
    let used = now.duration_since(entry.used).map_or(0, |age| age.as_secs());
    let told = serde_json::json!({
        "kind": if entry.layer().is_some() { "record" } else { "blob" }, "name": entry.digest().to_string(), "layer": entry.layer(),
        "space": entry.space(), "level": entry.level(), "bytes": entry.bytes, "used_seconds_ago": used,
    });
    format!("{told}\n")
}

/// Deletes.
pub(super) fn remove(args: CacheRmArgs, context: &Context) -> Result<Exit, Failure> {
    check(&args.which)?;
    if !args.all && args.names.is_empty() && is_any(&args.which) {
        return Err(Failure::plain(Exit::USAGE, "nothing says what to delete", "give names, `--layer`, `--level`, or `--all`"));
    }
    if let Some(short) = args.names.iter().find(|name| name.len() < SHORTEST || !name.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let what = format!("`{}` is not the beginning of a name", short.escape_debug());
        return Err(Failure::plain(Exit::USAGE, &what, "names are those of `splitci cache ls --blobs`, at least 8 digits of one"));
    }
    let opened = Opened::change(settings(args.look.place, context)?)?;
    let mut going = entries(&opened)?;
    going.retain(|entry| args.all || is_named(entry, &args.names, &args.which));
    let freed: u64 = going.iter().map(|entry| entry.bytes).sum();
    let gone = opened.runtime.block_on(opened.store.forget(going)).map_err(|error| unusable(&error))?;
    if args.look.json {
        printer::answer(&format!("{}\n", serde_json::json!({ "deleted": gone, "bytes": freed })))?;
    } else {
        printer::tell(&format!("deleted {}, {}\n", count_entries(gone), bytes(freed)));
    }
    Ok(Exit::DONE)
}

fn is_named(entry: &Entry, names: &[String], which: &WhichArgs) -> bool {
    let name = entry.digest().to_string();
    let meant = names.is_empty() || names.iter().any(|start| name.starts_with(&start.to_ascii_lowercase()));
    meant && (is_any(which) || entry.layer().is_some() && matches(entry, which))
}

fn entries(opened: &Opened) -> Result<Vec<Entry>, Failure> {
    opened.runtime.block_on(opened.store.entries()).map_err(|error| unusable(&error))
}

fn matches(entry: &Entry, which: &WhichArgs) -> bool {
    let fits = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| Some(wanted) == found);
    fits(&which.layer, entry.layer()) && fits(&which.level, entry.level())
}

fn is_any(which: &WhichArgs) -> bool {
    which.layer.is_none() && which.level.is_none()
}

/// A level that is none selects nothing, which would look like an empty cache.
fn check(which: &WhichArgs) -> Result<(), Failure> {
    match which.level.as_deref().filter(|level| Level::of_word(level).is_none()) {
        None => Ok(()),
        Some(level) => {
            let what = format!("there is no level `{}`", level.escape_debug());
            Err(Failure::plain(Exit::USAGE, &what, &format!("there are: {}", Level::ALL.map(Level::word).join(", "))))
        }
    }
}

/// So many entries, in words.
pub(super) fn count_entries(n: usize) -> String {
    if n == 1 { "1 entry".into() } else { format!("{n} entries") }
}
