//! What the builder is given of a project: its context as it was hashed, with the times of `times`, and what else it may ask for.

use std::path::{Path, PathBuf};

use super::context::{Attributes, ContextError, Entry, EntryKind};
use super::dockerfile::{Choices, Outside, outside};
use super::ensure::BuildFrom;
use super::error::ImageError;
use super::flight::{self, Turn};
use super::kept::Shelf;
use super::key::{ContextItem, ItemContent, Key};
use super::parts::{Edited, Parted, WORTH_IT, parted};
use super::prepare::Prepared;
use super::times::{Rule, Sent, constant};
use crate::docker::Docker;
use crate::docker::build::{SentEntry, SentKind, Sources};

/// What a builder is given.
pub(super) struct Given {
    /// Everything that it may ask for.
    pub(super) sources: Sources,
    /// The right to build it: where times are compared with those of earlier builds, one build of a directory comes after the other, since a second one
    /// would call what the first still works on older than it is.
    pub(super) _turn: Option<Turn>,
    /// What was edited lately is copied in a step of its own.
    pub(super) in_parts: bool,
    /// What the user should know.
    pub(super) note: Option<String>,
}

/// Gathers it. Where something has just `arrived` in a mount, nothing is older than this build.
pub(super) async fn given(from: &BuildFrom, prepared: &Prepared, docker: &Docker, arrived: bool) -> Result<Given, ImageError> {
    let Prepared { context, items, .. } = prepared;
    let outside = told(from, &prepared.dockerfile, docker).await?;
    let constant = if from.anew { None } else { constant_rule(&outside, docker).await? };
    let (rule, turn) = if let Some(rule) = constant {
        (rule, None)
    } else {
        let turn = turn(from).await;
        // After the wait: what the other build made is older than this.
        (Rule::SinceSent(docker.now().await?), turn)
    };
    let dated = matches!(rule, Rule::SinceSent(_));
    let times = times(from, items, rule, arrived)?;
    let mut sent = Vec::with_capacity(items.len());
    for ((entry, item), modified) in context.entries.iter().zip(items.iter()).zip(times) {
        let attributes = context.attributes(item)?;
        sent.push(SentEntry { attributes, ..sent_entry(entry, item, (modified, dated)) });
    }
    let mut note = None;
    let parts = in_parts(from, prepared, (&outside, &sent), &mut note);
    let in_parts = parts.is_some();
    let Parted { dockerfile, context: sent } = parts.unwrap_or_else(|| Parted { dockerfile: prepared.dockerfile.clone(), context: sent });
    let sources = Sources {
        dockerfile,
        root: context.root.clone(),
        context: sent,
        shared_key: shared_key(&context.root),
        secrets: from.secrets.clone(),
        ssh: from.ssh.clone(),
    };
    Ok(Given { sources, _turn: turn, in_parts, note })
}

/// What the Dockerfile takes that the builder sees.
async fn told(from: &BuildFrom, dockerfile: &[u8], docker: &Docker) -> Result<Outside, ImageError> {
    let platform = match &from.platform {
        Some(platform) => platform.clone(),
        None => docker.facts().await?.platform(),
    };
    Ok(outside(dockerfile, &Choices { target: from.target.as_deref(), args: from.args.clone(), platform: &platform }))
}

/// The same in parts, where that pays. A build of every step copies all files anyway.
fn in_parts(from: &BuildFrom, prepared: &Prepared, (outside, sent): (&Outside, &[SentEntry]), note: &mut Option<String>) -> Option<Parted> {
    let state = from.state.as_deref().filter(|_| from.split_copies && !from.anew && !from.no_cache && !prepared.may_trigger)?;
    if outside.copies.is_empty() || sent.len() < WORTH_IT {
        return None;
    }
    let table = place(state, "edited", &from.context);
    let mut edited = Edited::load(&table);
    if let Some(last) = Shelf::of(state, &from.project, from.target.as_deref()).last() {
        edited = edited.next(&last.inputs.context, &prepared.items);
        let said = |error| format!("which files were edited is not remembered, the next build may copy all of them: {error}");
        *note = edited.store(&table).err().map(said);
    }
    parted(&prepared.dockerfile, outside, (&prepared.items, sent), &edited)
}

async fn turn(from: &BuildFrom) -> Option<Turn> {
    let directory = Key::from_bytes(*blake3::hash(from.context.as_os_str().as_encoded_bytes()).as_bytes());
    flight::turn(from.state.as_deref()?, directory, &from.whom, |_| {}).await
}

/// The rule, if no step can find anything of an earlier build.
async fn constant_rule(outside: &Outside, docker: &Docker) -> Result<Option<Rule>, ImageError> {
    let mut bases = Vec::new();
    for base in &outside.images {
        bases.push(docker.image(&base.reference).await?);
    }
    let triggered = bases.iter().flatten().flat_map(|base| &base.triggers).any(|line| line.contains("--mount"));
    if outside.cache_mounts || triggered || !outside.unseen.is_empty() {
        return Ok(None);
    }
    Ok(Rule::upon(bases.iter().map(|base| base.as_ref()?.created)))
}

fn times(from: &BuildFrom, items: &[ContextItem], rule: Rule, arrived: bool) -> Result<Vec<i64>, ContextError> {
    let (now, table) = match rule {
        Rule::Constant(second) => return Ok(constant(second, items)),
        Rule::SinceSent(now) => (now, from.state.as_deref().map(|state| table(state, &from.context))),
    };
    let Some(table) = table else { return Ok(Sent::default().next(now, items).0) };
    let before = if arrived { Sent::default() } else { Sent::load(&table) };
    let before = if from.anew { before.of_nothing() } else { before };
    let (times, next) = before.next(now, items);
    next.store(&table).map_err(ContextError::Read)?;
    Ok(times)
}

/// Forgets when files were sent, before something comes into a mount that knows other times: whatever ends this build, the next one says *now*. Whether it is forgotten.
pub(super) fn forget_times(from: &BuildFrom) -> bool {
    let Some(table) = from.state.as_deref().map(|state| table(state, &from.context)) else { return true };
    match fs_err::remove_file(table) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn table(state: &Path, context: &Path) -> PathBuf {
    place(state, "sent", context)
}

/// Where something is kept of a context.
fn place(state: &Path, what: &str, context: &Path) -> PathBuf {
    let hash = blake3::hash(context.as_os_str().as_encoded_bytes()).to_hex();
    state.join(what).join(&hash[..16])
}

fn sent_entry(entry: &Entry, item: &ContextItem, (modified, dated): (i64, bool)) -> SentEntry {
    let kind = match (&entry.kind, &item.content) {
        (EntryKind::File(length), ItemContent::File(hash)) => SentKind::File { length: *length, hash: *hash },
        (EntryKind::Link(target), _) => SentKind::Link(target.clone()),
        (EntryKind::Pipe, _) => SentKind::Pipe,
        (EntryKind::Device { block, number }, _) => SentKind::Device { block: *block, number: *number },
        (EntryKind::Directory | EntryKind::File(_), _) => SentKind::Directory,
    };
    let dated = dated && matches!(kind, SentKind::File { .. });
    SentEntry { path: entry.path.clone(), origin: None, mode: entry.mode, modified, dated, attributes: Attributes::new(), kind }
}

/// The builder keeps one copy of a context for each of these: the same directory of the same machine has the same.
pub(super) fn shared_key(context: &Path) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("splitci shared context v1");
    // A machine without an id shares with others that have none; what is sent is right for all of them, only more.
    hasher.update(&fs_err::read("/etc/machine-id").unwrap_or_default());
    hasher.update(context.as_os_str().as_encoded_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}
