//! What running runs use, and nobody makes room of: a file per run with digests, locked for as long as its run lives.
//!
//! Lease first, then look: what is found after it was leased stays, for whoever makes room reads all leases again when he has put aside what should
//! go, and puts back what somebody leased meanwhile.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use super::{Access, LocalStore};
use crate::content::{Digest, StoreError};
use crate::model::RunId;

/// Where there are no locks, a lease ends after that time: no run takes so long.
const WITHOUT_LOCKS: Duration = Duration::from_hours(24);

/// A run's hold on what it uses. Ends when it is dropped, and when its process ends, however that happens.
#[derive(Debug)]
pub struct Lease(Option<Held>);

#[derive(Debug)]
struct Held {
    file: fs::File,
    path: PathBuf,
}

impl LocalStore {
    /// A lease for a run, on nothing yet. Who may only read makes no room and can keep nobody from it: then it holds nothing.
    pub async fn lease(&self, run: &RunId) -> Result<Lease, StoreError> {
        let run = run.clone();
        self.aside(move |files| match files.access() {
            Access::ReadOnly => Ok(Lease(None)),
            Access::ReadWrite => Ok(Lease(Some(hold(&files.leases(), &run)?))),
        })
        .await
    }
}

impl Lease {
    /// Holds these blobs, or records by their keys, and then what they name, too. A short write to a file.
    pub fn add(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let Some(held) = &self.0 else { return Ok(()) };
        let bytes: Vec<u8> = digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
        // In one go, at the end: a file that is read meanwhile has whole digests, or lacks the last ones.
        (&held.file).write_all(&bytes)?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            // Otherwise the next one to make room finds that nobody holds it.
            let _left = fs::remove_file(&held.path);
        }
    }
}

fn hold(leases: &Path, run: &RunId) -> std::io::Result<Held> {
    fs::create_dir_all(leases)?;
    loop {
        // A run may be resumed by another process while the first one is about to end.
        let path = leases.join(format!("{run}.{}", ulid::Ulid::generate()));
        let file = fs::OpenOptions::new().create_new(true).append(true).open(&path)?;
        let _lockless = file.lock();
        // Between making and locking it somebody may have taken it for a dead one's.
        if fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
            return Ok(Held { file, path });
        }
    }
}

/// Everything that is leased now. Leases of the dead are deleted on the way.
pub(super) fn leased(leases: &Path) -> std::io::Result<HashSet<Digest>> {
    let mut held = HashSet::new();
    for entry in fs::read_dir(leases)? {
        let path = entry?.path();
        let Ok(mut file) = fs::File::open(&path) else { continue };
        if !is_held(&file) {
            let _left = fs::remove_file(&path);
            continue;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        held.extend(bytes.chunks_exact(32).filter_map(|digest| digest.try_into().ok()).map(Digest::from_bytes));
    }
    Ok(held)
}

/// Whether somebody lives who locked the file.
pub(super) fn is_held(file: &fs::File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => false,
        Err(std::fs::TryLockError::WouldBlock) => true,
        Err(std::fs::TryLockError::Error(_)) => {
            let changed = file.metadata().and_then(|about| about.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < WITHOUT_LOCKS))
        }
    }
}
