//! `splitci cache export` and `import`. What comes in is believed as far as its signatures go, and no further.

use splitci_coordinator::content::local::{ArchiveError, Candidate};
use splitci_coordinator::model::trust::Space;
use splitci_coordinator::trust::{Address, Keys, Seal, identify};
use zeroize::Zeroizing;

use super::entries::count_entries;
use super::{Opened, now, settings};
use crate::Context;
use crate::args::cache::ArchiveArgs;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::bytes;
use crate::variables::KEY_PASSPHRASE;

fn unusable(error: &ArchiveError) -> Failure {
    let exit = if matches!(error, ArchiveError::Store(_)) { Exit::NO_VERDICT } else { Exit::USAGE };
    Failure::new(exit, error, error.hint())
}

/// Carries out.
pub(super) fn export(args: ArchiveArgs, context: &Context) -> Result<Exit, Failure> {
    let opened = Opened::look(args.look.place, context)?;
    let file = context.directory.join(&args.file);
    let done = opened.runtime.block_on(opened.store.export(&file)).map_err(|error| unusable(&error))?;
    if args.look.json {
        let told = serde_json::json!({ "entries": done.entries, "bytes": done.bytes, "file": file });
        printer::answer(&format!("{told}\n"))?;
        return Ok(Exit::DONE);
    }
    printer::tell(&format!("{}, {}, are in {}\n", count_entries(done.entries), bytes(done.bytes), file.display()));
    Ok(Exit::DONE)
}

/// Brings in.
pub(super) fn import(args: ArchiveArgs, context: &Context) -> Result<Exit, Failure> {
    let opened = Opened::change(settings(args.look.place, context)?)?;
    let passphrase = context.env.get(KEY_PASSPHRASE).cloned().map(Zeroizing::new);
    let keys = Keys { settings: &opened.caches.trust, passphrase, home: &opened.caches.machine };
    let seal = identify(&keys).map_err(|error| Failure::new(Exit::USAGE, &error, error.hint()))?.seal;
    let (now, most) = (now(), opened.limit()?.bytes);
    let judge = move |record: &Candidate<'_>| believed(&seal, record, now);
    let file = context.directory.join(&args.file);
    let done = opened.runtime.block_on(opened.store.import(&file, most, Box::new(judge))).map_err(|error| unusable(&error))?;
    if args.look.json {
        let refused: Vec<_> = done.refused.iter().map(|(space, why)| serde_json::json!({ "space": space, "why": why })).collect();
        let told = serde_json::json!({
            "new": done.new, "known": done.known, "bytes": done.bytes, "refused": refused, "other_version": done.other_version
        });
        printer::answer(&format!("{told}\n"))?;
        return Ok(Exit::DONE);
    }
    printer::tell(&format!("{} came in, {}; {} were here\n", count_entries(done.new), bytes(done.bytes), count_entries(done.known)));
    if let Some((space, why)) = done.refused.first() {
        let text = format!("{} not believed here; the first, of `{}`: {why}\n", count_entries(done.refused.len()), space.escape_debug());
        printer::tell(&text);
    }
    Ok(Exit::DONE)
}

/// Whether a record may be read here, by anybody at this run's level or above; as a look-up would ask.
fn believed(seal: &Seal, record: &Candidate<'_>, now: u64) -> Result<(), String> {
    let space = Space::of_name(&record.space).ok_or_else(|| "it is of no level".to_owned())?;
    let at = Address { layer: record.layer, key: record.key, space };
    seal.open(&at, record.payload, now).map(|_| ()).map_err(|refusal| refusal.to_string())
}
