//! Small files travel together: a blob of a few megabytes for many of them, and a blob of its own for a large one.

use std::path::PathBuf;

use super::manifest::Bytes;
use super::{MountError, Needs};
use crate::content::Digest;

/// Files from this size on have a blob of their own.
const LARGE: u64 = 1 << 20;
/// From this size on they go over the disk.
const OVER_THE_DISK: u64 = 32 << 20;
/// A pack is full.
const FULL: usize = 8 << 20;

/// Puts files into a store. Each is named by the number that its owner gives it.
pub(super) struct Packer<'a> {
    needs: &'a Needs,
    pack: Vec<u8>,
    in_pack: Vec<(usize, Digest, u64)>,
    /// Where each file is, as far as its blob is in the store.
    pub(super) placed: Vec<(usize, Bytes)>,
}

/// A file that is coming in.
pub(super) enum Incoming {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file of ours.
    Disk(PathBuf, fs_err::tokio::File, u64),
}

impl Incoming {
    /// Of a file that is said to be so long.
    pub(super) async fn of(length: u64, path: PathBuf) -> Result<Self, MountError> {
        if length < OVER_THE_DISK {
            return Ok(Self::Memory(Vec::new()));
        }
        let file = fs_err::tokio::File::create(&path).await?;
        Ok(Self::Disk(path, file, 0))
    }

    /// Takes in some bytes; none beyond the length.
    pub(super) async fn take(&mut self, bytes: &[u8], most: u64) -> Result<(), MountError> {
        use tokio::io::AsyncWriteExt;
        if self.length().saturating_add(bytes.len() as u64) > most {
            return Ok(());
        }
        match self {
            Self::Memory(all) => all.extend_from_slice(bytes),
            Self::Disk(_, file, length) => {
                file.write_all(bytes).await?;
                *length += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// How much came.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(all) => all.len() as u64,
            Self::Disk(_, _, length) => *length,
        }
    }
}

impl<'a> Packer<'a> {
    pub(super) fn new(needs: &'a Needs) -> Self {
        Self { needs, pack: Vec::new(), in_pack: Vec::new(), placed: Vec::new() }
    }

    /// Takes a file in, unless `known` has its bytes somewhere already. Its hash.
    pub(super) async fn add(
        &mut self,
        number: usize,
        file: Incoming,
        known: impl Fn(Digest) -> Option<Bytes>,
    ) -> Result<Digest, MountError> {
        match file {
            Incoming::Disk(path, mut file, _) => {
                use tokio::io::AsyncWriteExt;
                file.flush().await?;
                let hash = self.needs.vault.store().put_file(&path).await?;
                self.needs.hold(&[hash]);
                fs_err::tokio::remove_file(&path).await.ok();
                self.placed.push((number, Bytes { hash, blob: hash, offset: 0 }));
                Ok(hash)
            }
            Incoming::Memory(bytes) => {
                let hash = Digest::of(&bytes);
                if let Some(place) = known(hash) {
                    self.placed.push((number, place));
                } else if bytes.len() as u64 >= LARGE {
                    self.put(hash, bytes).await?;
                    self.placed.push((number, Bytes { hash, blob: hash, offset: 0 }));
                } else {
                    self.in_pack.push((number, hash, self.pack.len() as u64));
                    self.pack.extend_from_slice(&bytes);
                    if self.pack.len() >= FULL {
                        self.close().await?;
                    }
                }
                Ok(hash)
            }
        }
    }

    async fn put(&self, blob: Digest, bytes: Vec<u8>) -> Result<(), MountError> {
        self.needs.hold(&[blob]);
        Ok(self.needs.vault.store().put(blob, bytes.into()).await?)
    }

    /// Puts the pack that is not full.
    pub(super) async fn close(&mut self) -> Result<(), MountError> {
        if self.in_pack.is_empty() {
            return Ok(());
        }
        let pack = std::mem::take(&mut self.pack);
        let blob = Digest::of(&pack);
        self.put(blob, pack).await?;
        self.placed.extend(self.in_pack.drain(..).map(|(number, hash, offset)| (number, Bytes { hash, blob, offset })));
        Ok(())
    }
}
