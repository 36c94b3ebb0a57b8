//! A directory store under test, with its vandal; what happens to its disk, and how room is made in it.

mod faults;
mod room;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use fs_err as fs;

use super::{Access, LocalStore};
use crate::content::contract::{Change, Vandal, noise};
use crate::content::{Digest, RecordKey, Store as _};

const HOUR: Duration = Duration::from_hours(1);

fn store(directory: &Path) -> LocalStore {
    LocalStore::open(directory, Access::ReadWrite).unwrap()
}

#[async_trait]
impl Vandal for LocalStore {
    async fn change_blob(&self, digest: Digest, change: Change<'_>) {
        rewrite(&self.files.blob(digest), change);
    }

    async fn change_record(&self, key: &RecordKey, change: Change<'_>) {
        rewrite(&self.files.record(key), change);
    }
}

fn rewrite(path: &Path, change: Change<'_>) {
    let changed = change(fs::read(path).unwrap());
    fs::remove_file(path).unwrap();
    if let Some(changed) = changed {
        fs::write(path, changed).unwrap();
    }
}

async fn put(store: &LocalStore, seed: u64, length: usize) -> Digest {
    let bytes = noise(seed, length);
    let digest = Digest::of(&bytes);
    store.put(digest, bytes).await.unwrap();
    digest
}

fn used(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_used(path: &Path, when: SystemTime) {
    fs::File::open(path).unwrap().set_modified(when).unwrap();
}

/// All files below a directory, with what is in them and when they were changed.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, SystemTime)> {
    let entries = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    entries.map(|path| (path.clone(), fs::read(&path).ok(), used(&path))).collect()
}
