//! What was edited lately becomes a layer of its own, so that a build after an edit copies a few files and not all of them.
//!
//! A builder does a `COPY` of a directory anew, file by file, when one of its files has changed. Told that the directory is two, each with some of its
//! files, it does the first part once and the second after each edit; what comes of it is the same tree, by one layer more. The parts never overlap and
//! each holds the files of this very build: nothing that was removed or replaced is in any layer. Before the first edit there is one part, at the same place, so
//! that no file has to be sent again because of where it is.
//!
//! Which files were edited is a guess from earlier builds, kept in the state directory: a wrong one costs time and changes no file. Where anything
//! else could see the difference (a trigger, a mount of the whole context, a pattern, a name that is taken), nothing is split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::dockerfile::{Outside, Reach, WholeCopy, copied_from, is_at_or_below as below};
use super::kept::replace;
use super::key::{ContextItem, ItemContent};
use crate::docker::build::{SentEntry, SentKind};

/// Where the builder is told that the parts are.
const STEADY: &[u8] = b".splitci-steady";
const EDITED: &[u8] = b".splitci-edited";
/// Fewer files are copied in no time.
pub(super) const WORTH_IT: usize = 1_000;
/// One of so many files may count as edited.
const SHARE: usize = 8;
/// Builds after which a file is not called edited any more.
const LATELY: u64 = 50;
/// Another number is no table.
const VERSION: u16 = 1;

/// Files that were edited lately, and in which build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Edited {
    #[serde(rename = "splitci-edited")]
    version: u16,
    /// How many builds there were.
    builds: u64,
    files: BTreeMap<String, u64>,
}

impl Edited {
    /// What is known of a context; nothing if that is lost.
    pub(super) fn load(path: &Path) -> Self {
        let read = fs_err::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        read.filter(|table| table.version == VERSION).unwrap_or_default()
    }

    /// Keeps it. One that cannot be kept costs the next build time.
    pub(super) fn store(&self, path: &Path) -> std::io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }

    /// With what changed since an earlier build. As long as only files change that are new or known to change, the others stay what they were.
    pub(super) fn next(self, last: &[ContextItem], items: &[ContextItem]) -> Self {
        let builds = self.builds + 1;
        let before: BTreeMap<&[u8], &ContextItem> = last.iter().map(|item| (item.path.as_slice(), item)).collect();
        let there: BTreeSet<&str> = items.iter().filter_map(name).collect();
        let mut files = self.files;
        files.retain(|file, _| there.contains(file.as_str()));
        let mut steady = true;
        let mut changed = Vec::new();
        for item in items.iter().filter(|item| !matches!(item.content, ItemContent::Directory)) {
            let known = before.get(item.path.as_slice());
            if known.is_some_and(|known| *known == item) {
                continue;
            }
            let Some(name) = name(item) else {
                // It has no name here, and stays where it is.
                steady = false;
                continue;
            };
            steady &= known.is_none() || files.contains_key(name);
            changed.push(name.to_owned());
        }
        if !steady {
            // The others are copied anew in any case.
            files.retain(|_, build| *build + LATELY >= builds);
        }
        files.extend(changed.into_iter().map(|name| (name, builds)));
        let most = items.len() / SHARE;
        if files.len() > most {
            let mut latest: Vec<_> = std::mem::take(&mut files).into_iter().collect();
            latest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            // More at once is no edit.
            latest.truncate(if latest.get(most).is_some_and(|(_, build)| *build == builds) { 0 } else { most });
            files = latest.into_iter().collect();
        }
        Self { version: VERSION, builds, files }
    }

    fn has(&self, path: &[u8]) -> bool {
        std::str::from_utf8(path).is_ok_and(|path| self.files.contains_key(path))
    }
}

fn name(item: &ContextItem) -> Option<&str> {
    std::str::from_utf8(&item.path).ok()
}

/// A Dockerfile and what it is built from, as a builder is told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parted {
    pub(super) dockerfile: Vec<u8>,
    pub(super) context: Vec<SentEntry>,
}

/// The same in parts; nothing where it is not worth it, or somebody could see the difference. `outside` is what the Dockerfile takes, and `items` what there is.
pub(super) fn parted(
    dockerfile: &[u8],
    outside: &Outside,
    (items, context): (&[ContextItem], &[SentEntry]),
    edited: &Edited,
) -> Option<Parted> {
    let is_taken = |entry: &SentEntry| [STEADY, EDITED].iter().any(|name| below(&entry.path, name));
    if context.iter().any(is_taken) {
        return None;
    }
    let mut copies = Vec::new();
    let mut beside = outside.beside.clone();
    for copy in &outside.copies {
        if pays(copy, context, edited) { copies.push(copy.clone()) } else { beside.add(copy.reach()) }
    }
    let beside = beside.within(items);
    if copies.is_empty() || beside == Reach::Everything {
        return None;
    }
    let in_parts = |entry: &&SentEntry| copies.iter().any(|copy| below(&entry.path, &copy.directory));
    let (files, folders): (Vec<_>, Vec<_>) = context.iter().filter(in_parts).partition(|entry| entry.kind != SentKind::Directory);
    let (new, old): (Vec<_>, Vec<_>) = files.into_iter().partition(|entry| edited.has(&entry.path));
    let (of_new, of_old) = (folders_of(&new), folders_of(&old));
    let mut told: Vec<SentEntry> = context.iter().filter(|entry| beside.touches(&entry.path)).cloned().collect();
    for (part, files) in [(STEADY, old), (EDITED, new)].into_iter().filter(|(part, files)| *part == STEADY || !files.is_empty()) {
        // A folder without a file of either part is nobody's edit.
        let is_here = |path: &[u8]| if part == EDITED { of_new.contains(path) } else { of_old.contains(path) || !of_new.contains(path) };
        let folders = folders.iter().copied().filter(|folder| is_here(&folder.path));
        told.push(root(part, context));
        told.extend(folders.chain(files).map(|entry| moved(entry, part)));
    }
    let above = parents(&told, context);
    told.extend(above);
    // In the order of a walk: what is in a folder comes right after it.
    told.sort_by_cached_key(|entry| entry.path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect::<Vec<u8>>());
    let place = |part: &[u8], copy: &WholeCopy| [part, b"/", copy.directory.as_slice()].concat();
    let is_in = |copy: &WholeCopy, part: &[u8]| {
        let rest = |entry: &SentEntry| entry.path.get(part.len() + 1..).is_some_and(|path| below(path, &copy.directory));
        told.iter().any(|entry| below(&entry.path, part) && rest(entry))
    };
    let from =
        |copy: &WholeCopy| [STEADY, EDITED].into_iter().filter(|part| is_in(copy, part)).map(|part| place(part, copy)).collect::<Vec<_>>();
    let copies: Vec<_> = copies.iter().map(|copy| (copy.clone(), from(copy))).collect();
    Some(Parted { dockerfile: copied_from(dockerfile, &copies), context: told })
}

/// Whether copying a few of its files alone is quicker.
fn pays(copy: &WholeCopy, context: &[SentEntry], edited: &Edited) -> bool {
    let is_folder =
        copy.directory.is_empty() || context.iter().any(|entry| entry.path == copy.directory && entry.kind == SentKind::Directory);
    let files = || context.iter().filter(|entry| entry.kind != SentKind::Directory && below(&entry.path, &copy.directory));
    is_folder && files().filter(|entry| !edited.has(&entry.path)).nth(WORTH_IT - 1).is_some()
}

/// The folders in which files are.
fn folders_of<'a>(files: &[&'a SentEntry]) -> BTreeSet<&'a [u8]> {
    let mut folders = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_slice();
        while let Some(end) = path.iter().rposition(|byte| *byte == b'/') {
            path = &path[..end];
            if !folders.insert(path) {
                break;
            }
        }
    }
    folders
}

/// The folder that a part is.
fn root(part: &[u8], context: &[SentEntry]) -> SentEntry {
    let modified = context.iter().find(|entry| entry.kind == SentKind::Directory).map_or(0, |folder| folder.modified);
    SentEntry {
        path: part.to_vec(),
        origin: None,
        mode: 0o755,
        modified,
        dated: false,
        attributes: BTreeMap::new(),
        kind: SentKind::Directory,
    }
}

fn moved(entry: &SentEntry, part: &[u8]) -> SentEntry {
    SentEntry { path: [part, b"/", &entry.path].concat(), origin: Some(entry.path.clone()), ..entry.clone() }
}

/// Folders above what is told of that are in no part themselves, since only what is in them is copied.
fn parents(told: &[SentEntry], context: &[SentEntry]) -> Vec<SentEntry> {
    let there: BTreeSet<&[u8]> = told.iter().map(|entry| entry.path.as_slice()).collect();
    let all: Vec<&SentEntry> = told.iter().collect();
    let folders: BTreeMap<&[u8], &SentEntry> = context.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    let above = folders_of(&all).into_iter().filter(|folder| !there.contains(folder));
    let made = above.filter_map(|path| {
        let of_part = [STEADY, EDITED].into_iter().find(|part| below(path, part));
        let plain = of_part.map_or(path, |part| path.get(part.len() + 1..).unwrap_or_default());
        let folder = folders.get(plain)?;
        Some(of_part.map_or_else(|| (*folder).clone(), |part| moved(folder, part)))
    });
    made.collect()
}

#[cfg(test)]
mod tests;
