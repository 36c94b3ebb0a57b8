//! Reads all that is there, to say what is damaged. Nobody has to: whoever reads an entry verifies it.

use std::collections::HashSet;

use super::files::{Files, look, read_kept};
use super::{Entry, Kept, LocalStore, gc};
use crate::content::envelope::{self, Opened};
use crate::content::frames::{self, Unreadable};
use crate::content::{Digest, StoreError};

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// What is damaged is deleted, so that it is made again.
    Delete,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that are whole.
    pub whole: usize,
    /// Entries that are damaged.
    pub damaged: Vec<Entry>,
    /// Records that name blobs that are not there.
    pub without_blobs: Vec<Entry>,
    /// Records that another version of splitci wrote.
    pub other_version: usize,
    /// Entries that could not be read, and the first reason.
    pub unreadable: usize,
    /// Why the first of them could not be read.
    pub first_error: Option<String>,
}

/// How one entry is.
enum State {
    Whole,
    Gone,
    Damaged,
    WithoutBlobs,
    OtherVersion,
}

impl LocalStore {
    /// Reads and verifies every entry.
    pub async fn verify(&self, repair: Repair) -> Result<Verified, StoreError> {
        self.aside(move |files| verify(files, repair)).await
    }
}

fn verify(files: &Files, repair: Repair) -> Result<Verified, StoreError> {
    let mut entries = gc::walk(files.root())?;
    // Blobs first: a record that names a damaged one is of no use either.
    entries.sort_by_key(|entry| matches!(entry.what, Kept::Record { .. }));
    let mut blobs: HashSet<Digest> =
        entries.iter().filter_map(|entry| if let Kept::Blob(digest) = entry.what { Some(digest) } else { None }).collect();
    let mut verified = Verified::default();
    for entry in entries {
        match state(files, &entry, &blobs, repair) {
            Ok(State::Whole) => verified.whole += 1,
            Ok(State::Gone) => {}
            Ok(State::Damaged) => {
                if let Kept::Blob(digest) = entry.what {
                    blobs.remove(&digest);
                }
                verified.damaged.push(entry);
            }
            Ok(State::WithoutBlobs) => verified.without_blobs.push(entry),
            Ok(State::OtherVersion) => verified.other_version += 1,
            Err(error) => {
                verified.unreadable += 1;
                verified.first_error.get_or_insert(error.to_string());
            }
        }
    }
    Ok(verified)
}

fn state(files: &Files, entry: &Entry, blobs: &HashSet<Digest>, repair: Repair) -> std::io::Result<State> {
    let path = gc::path(files.root(), &entry.what);
    let Some((file, about)) = look(&path)? else { return Ok(State::Gone) };
    let state = match &entry.what {
        Kept::Blob(digest) if about.is_file() => match frames::check(&file, about.len()) {
            Ok(found) if found == *digest => State::Whole,
            Err(Unreadable::Files(error)) => return Err(error),
            Ok(_) | Err(Unreadable::Damaged | Unreadable::TooLarge { .. }) => State::Damaged,
        },
        Kept::Blob(_) => State::Damaged,
        Kept::Record { layer, space, key, .. } => {
            let (kept, ..) = read_kept((file, about.clone()))?;
            match envelope::open_at((layer, space, key.as_bytes()), &kept) {
                Opened::Whole(record) if record.blobs.iter().all(|digest| blobs.contains(digest)) => State::Whole,
                Opened::Whole(_) => State::WithoutBlobs,
                Opened::OtherVersion => State::OtherVersion,
                Opened::Damaged => State::Damaged,
            }
        }
    };
    if repair == Repair::Delete && matches!(state, State::Damaged | State::WithoutBlobs) {
        files.discard(&path, &about);
    }
    Ok(state)
}
