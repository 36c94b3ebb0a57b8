//! From the store into mounts that have nothing.
//!
//! A mount that holds anything is left as it is: what a builder has of its own is newer, and tools may be at work in it. What is restored is looked over
//! before (`manifest`), and comes into place all at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use splitci_worker::protocol::mounts::{Answer, Entry, Order, PIECE};

use super::errand::{Folder, Hello, Talk, Visitor, run, unexpected};
use super::manifest::{Item, MOST_BYTES, MOST_OF_A_MANIFEST, Manifest};
use super::worth::{Speed, loss};
use super::{Found, Inner, MountError, Needs, Saved, chain, keep, milliseconds};
use crate::content::{Digest, MOST_IN_MEMORY};
use crate::docker::Docker;
use crate::image::travel::{Brought, Journey, Stop};
use crate::model::{Listener, Progress, Telling};

/// Blobs that are fetched at a time.
const AT_A_TIME: usize = 4;
/// Larger blobs go over the disk.
const IN_MEMORY: u64 = 32 << 20;
/// Where the speed is kept.
const SPEED: &str = "speed.json";

/// Restores what is known and pays.
pub(super) async fn bring(
    carrier: &Inner,
    journey: &Journey,
    (docker, listener): (&Arc<Docker>, &dyn Listener),
    forget: &(dyn Fn() -> bool + Send + Sync),
) -> Brought {
    let needs = &carrier.needs;
    let speed = speed(needs);
    let (mut wanted, mut brought) = (Vec::new(), Brought::default());
    for stop in &journey.mounts {
        let saved = needs.recall(journey, stop).await;
        // What nobody knows of was not made here either.
        carrier.found().insert(stop.mount.identity(), if saved.is_none() { Found::Nothing } else { Found::Something });
        let Some(saved) = saved else { continue };
        match loss(&speed, saved.bytes, saved.empty_ms, saved.filled_ms) {
            Some(loss) => brought.notes.push(does_not_pay(stop, &saved, loss)),
            None => wanted.push((stop, saved)),
        }
    }
    if wanted.is_empty() {
        return brought;
    }
    listener.hear(&Telling::Progress(Progress::Doing("looking into the build mounts".to_owned())));
    let stops: Vec<&Stop> = wanted.iter().map(|(stop, _)| *stop).collect();
    let mut bringing = Bringing { carrier, wanted: &wanted, listener, forget, speed, brought };
    if let Err(error) = run(needs, journey, &stops, docker, &mut bringing).await {
        bringing.brought.notes.push(format!("build mounts are not restored: {}", chain(&error)));
    }
    bringing.brought
}

fn does_not_pay(stop: &Stop, saved: &Saved, (cost, gain): (u64, u64)) -> String {
    let (name, bytes) = (stop.mount.name(), saved.bytes);
    format!("the build mount `{name}` is not restored: to bring {bytes} bytes takes {cost} ms and saves {gain} ms")
}

fn speed(needs: &Needs) -> Speed {
    fs_err::read(needs.state(SPEED)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

struct Bringing<'a> {
    carrier: &'a Inner,
    wanted: &'a [(&'a Stop, Saved)],
    listener: &'a dyn Listener,
    forget: &'a (dyn Fn() -> bool + Send + Sync),
    speed: Speed,
    brought: Brought,
}

#[async_trait]
impl Visitor for Bringing<'_> {
    async fn visit(&mut self, hello: Hello, talk: &mut Talk) -> Result<(), MountError> {
        let Some((stop, saved)) = self.wanted.get(hello.number) else { return Ok(()) };
        let identity = stop.mount.identity();
        if !hello.empty && !hello.unfinished {
            return Ok(());
        }
        self.carrier.found().insert(identity.clone(), Found::Nothing);
        if !(self.forget)() {
            return Err(std::io::Error::other("the times of what was sent cannot be forgotten").into());
        }
        self.brought.something = true;
        if hello.unfinished {
            talk.settle().await?;
            if holds_something(talk).await? {
                self.carrier.found().insert(identity, Found::Something);
                return Ok(());
            }
        }
        let name = stop.mount.name();
        let began = Instant::now();
        self.listener.hear(&Telling::Progress(Progress::Doing(format!("restoring the build mount {name}, {} bytes", saved.bytes))));
        // What is wrong with one is said of that one, and the others have their turn.
        match fill(&self.carrier.needs, saved, talk).await {
            Ok(()) => {
                self.carrier.found().insert(identity, Found::Brought { empty_ms: saved.empty_ms });
                self.speed.learn(saved.bytes, milliseconds(began));
                if let Ok(bytes) = serde_json::to_vec(&self.speed) {
                    keep(&self.carrier.needs.state(SPEED), &bytes);
                }
            }
            Err(error) => self.brought.notes.push(format!("the build mount `{name}` is not restored: {}", chain(&error))),
        }
        Ok(())
    }
}

async fn holds_something(talk: &mut Talk) -> Result<bool, MountError> {
    talk.order(&Order::List, &[]).await?;
    let mut something = false;
    loop {
        match talk.answer().await?.0 {
            Answer::Entries(entries) => something |= !entries.is_empty(),
            Answer::Listed { left_out } => return Ok(something || left_out > 0),
            other => return Err(unexpected(&other)),
        }
    }
}

async fn fill(needs: &Needs, saved: &Saved, talk: &mut Talk) -> Result<(), MountError> {
    let folder = Folder::make(needs.scratch.join(format!("r{}", ulid::Ulid::generate())))?;
    let file = folder.0.join("manifest");
    needs.hold(&[saved.manifest]);
    if !needs.vault.store().get_to(saved.manifest, &file, MOST_OF_A_MANIFEST).await? {
        return Err(MountError::Lost);
    }
    let manifest = Manifest::decode(&fs_err::tokio::read(&file).await?)?;
    let blobs = manifest.blobs();
    needs.hold(&blobs);
    // One question, before everything but the part that is lost has come.
    if needs.vault.store().has(&blobs).await?.contains(&false) {
        return Err(MountError::Lost);
    }
    talk.order(&Order::Begin, &[]).await?;
    let items = manifest.in_order();
    let groups: Vec<&[&Item]> = items.chunk_by(|a, b| a.bytes.map(|bytes| bytes.blob) == b.bytes.map(|bytes| bytes.blob)).collect();
    let wanted: Vec<_> = groups.iter().map(|group| blob_of(group)).collect();
    let fetched = stream::iter(wanted).map(|(blob, end)| {
        let (needs, folder) = (needs.clone(), folder.0.clone());
        async move {
            match blob {
                Some(blob) => fetch(&needs, blob, end, &folder).await,
                None => Ok(Blob::None),
            }
        }
    });
    let mut fetched = std::pin::pin!(fetched.buffered(AT_A_TIME));
    for group in groups {
        let blob = fetched.next().await.ok_or(MountError::Lost)??;
        for item in group {
            put(item, &blob, talk).await?;
        }
        blob.done();
    }
    talk.settle().await
}

/// The blob that these are in, if they have bytes, and how far they need it.
fn blob_of(group: &[&Item]) -> (Option<Digest>, u64) {
    let blob = group.first().and_then(|item| item.bytes).map(|bytes| bytes.blob);
    let end = group.iter().filter_map(|item| item.bytes?.offset.checked_add(item.length())).max();
    (blob, end.unwrap_or(0))
}

/// Where the bytes of a blob are.
enum Blob {
    None,
    Memory(bytes::Bytes),
    Disk(std::path::PathBuf),
}

impl Blob {
    fn done(self) {
        if let Self::Disk(path) = self {
            fs_err::remove_file(path).ok();
        }
    }
}

async fn fetch(needs: &Needs, blob: Digest, end: u64, folder: &Path) -> Result<Blob, MountError> {
    let store = needs.vault.store();
    if end <= IN_MEMORY {
        return store.get(blob).await?.map(Blob::Memory).ok_or(MountError::Lost);
    }
    let file = folder.join(blob.to_hex());
    let there = store.get_to(blob, &file, MOST_BYTES.max(MOST_IN_MEMORY as u64)).await?;
    if there { Ok(Blob::Disk(file)) } else { Err(MountError::Lost) }
}

async fn put(item: &Item, blob: &Blob, talk: &mut Talk) -> Result<(), MountError> {
    let Entry { path, .. } = &item.entry;
    talk.order(&Order::Put(item.entry.clone()), &[]).await?;
    let (Some(place), length) = (item.bytes, item.length()) else { return Ok(()) };
    let short = || MountError::Refused(format!("the bytes of `{}` are not where they should be", path.escape_debug()));
    match blob {
        Blob::None => {}
        Blob::Memory(bytes) => {
            let range = usize::try_from(place.offset).ok().zip(usize::try_from(place.offset.saturating_add(length)).ok());
            let bytes = range.and_then(|(begin, end)| bytes.get(begin..end)).ok_or_else(short)?;
            if Digest::of(bytes) != place.hash {
                return Err(short());
            }
            for piece in bytes.chunks(PIECE) {
                talk.order(&Order::Piece, piece).await?;
            }
        }
        Blob::Disk(file) => {
            use tokio::io::{AsyncReadExt, AsyncSeekExt};
            let mut file = fs_err::tokio::File::open(file).await?;
            file.seek(std::io::SeekFrom::Start(place.offset)).await?;
            let mut left = length;
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = file.read(&mut piece[..most]).await?;
                if read == 0 {
                    return Err(short());
                }
                talk.order(&Order::Piece, &piece[..read]).await?;
                left -= read as u64;
            }
        }
    }
    Ok(())
}
