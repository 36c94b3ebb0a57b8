//! What the builder is given of a project: its context as it was hashed, with the times of `times`, and what else it may ask for.

use std::path::Path;

use super::context::{Attributes, Context, ContextError, Entry, EntryKind};
use super::dockerfile::{Choices, outside};
use super::ensure::BuildFrom;
use super::error::ImageError;
use super::flight::{self, Turn};
use super::key::{ContextItem, ItemContent, Key};
use super::times::{Rule, Sent, constant};
use crate::docker::Docker;
use crate::docker::build::{SentEntry, SentKind, Sources};

/// Everything that a build of this context may ask for, and the right to build it: where times are compared with those of earlier builds, one build of a
/// directory comes after the other, since a second one would call what the first still works on older than it is. `dockerfile` is what the builder sees. Where a mount has just `arrived`,
/// nothing is older than this build.
pub(super) async fn sources(
    from: &BuildFrom,
    (context, items): (&Context, &[ContextItem]),
    dockerfile: Vec<u8>,
    docker: &Docker,
    arrived: bool,
) -> Result<(Sources, Option<Turn>), ImageError> {
    let constant = if from.anew { None } else { constant_rule(from, &dockerfile, docker).await? };
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
    for ((entry, item), modified) in context.entries.iter().zip(items).zip(times) {
        let attributes = context.attributes(item)?;
        sent.push(SentEntry { attributes, ..sent_entry(entry, item, (modified, dated)) });
    }
    let sources = Sources {
        dockerfile,
        root: context.root.clone(),
        context: sent,
        shared_key: shared_key(&context.root),
        secrets: from.secrets.clone(),
        ssh: from.ssh.clone(),
    };
    Ok((sources, turn))
}

async fn turn(from: &BuildFrom) -> Option<Turn> {
    let directory = Key::from_bytes(*blake3::hash(from.context.as_os_str().as_encoded_bytes()).as_bytes());
    flight::turn(from.state.as_deref()?, directory, &from.whom, |_| {}).await
}

/// The rule, if no step can find anything of an earlier build.
async fn constant_rule(from: &BuildFrom, dockerfile: &[u8], docker: &Docker) -> Result<Option<Rule>, ImageError> {
    let platform = match &from.platform {
        Some(platform) => platform.clone(),
        None => docker.facts().await?.platform(),
    };
    let outside = outside(dockerfile, &Choices { target: from.target.as_deref(), args: from.args.clone(), platform: &platform });
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

fn table(state: &Path, context: &Path) -> std::path::PathBuf {
    let hash = blake3::hash(context.as_os_str().as_encoded_bytes()).to_hex();
    state.join("sent").join(&hash[..16])
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
    SentEntry { path: entry.path.clone(), mode: entry.mode, modified, dated, attributes: Attributes::new(), kind }
}

/// The builder keeps one copy of a context for each of these: the same directory of the same machine has the same.
pub(super) fn shared_key(context: &Path) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("splitci shared context v1");
    // A machine without an id shares with others that have none; what is sent is right for all of them, only more.
    hasher.update(&fs_err::read("/etc/machine-id").unwrap_or_default());
    hasher.update(context.as_os_str().as_encoded_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}
