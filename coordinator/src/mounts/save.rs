//! From mounts into the store: of what is there, only what the store has not.
//!
//! Files that did not change since they were last saved from here are not read; of those that are read, bytes that the last saved state has are not put
//! again. So one new package moves about as much as it weighs. A file that is written to while it is read is left out.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use splitci_worker::protocol::mounts::{Answer, Kind, Order, Seen};

use super::errand::{Folder, Hello, Talk, Visitor, run, unexpected};
use super::manifest::{Bytes, Item, MOST_BYTES, MOST_ENTRIES, MOST_OF_A_MANIFEST, Manifest};
use super::pack::{Incoming, Packer};
use super::table::Table;
use super::{Found, Inner, MountError, Needs, Saved, chain, took};
use crate::content::Digest;
use crate::docker::Docker;
use crate::image::travel::{Journey, StepTimes, Stop};

/// Files that are asked for at a time.
const AT_A_TIME: usize = 64;

/// Saves what the steps of a build left in its mounts. What the user should know.
pub(super) async fn save(carrier: &Inner, journey: &Journey, times: &StepTimes, docker: &Arc<Docker>) -> Vec<String> {
    let worked = |stop: &&Stop| times.is_empty() || stop.steps.iter().any(|step| times.contains_key(step));
    let stops: Vec<&Stop> = journey.mounts.iter().filter(worked).collect();
    let engine = docker.endpoint().to_string();
    let mut saving = Saving { carrier, journey, stops: &stops, times, engine, notes: Vec::new() };
    if let Err(error) = run(&carrier.needs, journey, &stops, docker, &mut saving).await {
        saving.notes.push(format!("build mounts are not saved: {}", chain(&error)));
    }
    saving.notes
}

struct Saving<'a> {
    carrier: &'a Inner,
    journey: &'a Journey,
    stops: &'a [&'a Stop],
    times: &'a StepTimes,
    engine: String,
    notes: Vec<String>,
}

#[async_trait]
impl Visitor for Saving<'_> {
    async fn visit(&mut self, hello: Hello, talk: &mut Talk) -> Result<(), MountError> {
        let Some(stop) = self.stops.get(hello.number) else { return Ok(()) };
        if hello.empty || hello.unfinished {
            return Ok(());
        }
        // What is wrong with one is said of that one, and the others have their turn.
        if let Err(error) = self.save(stop, hello.now, talk).await {
            self.notes.push(format!("the build mount `{}` is not saved: {}", stop.mount.name(), chain(&error)));
        }
        Ok(())
    }
}

impl Saving<'_> {
    async fn save(&self, stop: &Stop, now: i64, talk: &mut Talk) -> Result<(), MountError> {
        let needs = &self.carrier.needs;
        let seen = list(talk).await?;
        let path = needs.state(&self.table_name(stop));
        let last = needs.recall(self.journey, stop).await;
        let places = places(needs, last.as_ref(), &seen).await;
        let (manifest, table) = Gathering { needs, talk, seen, places, table: Table::load(&path), now }.gather().await?;
        let bytes = manifest.encode()?;
        let digest = Digest::of(&bytes);
        let saved = self.saved(stop, &manifest, digest, last.as_ref());
        table.store(&path);
        if last.as_ref() == Some(&saved) {
            return Ok(());
        }
        needs.hold(&[digest]);
        needs.vault.store().put(digest, bytes.into()).await?;
        let blobs: Vec<_> = manifest.blobs().into_iter().chain([digest]).collect();
        needs.remember(self.journey, stop, &saved, &blobs).await
    }

    fn saved(&self, stop: &Stop, manifest: &Manifest, digest: Digest, last: Option<&Saved>) -> Saved {
        let found = self.carrier.found().get(&stop.mount.identity()).copied().unwrap_or(Found::Something);
        let took = took(stop, self.times);
        Saved {
            manifest: digest,
            bytes: manifest.bytes(),
            lock: Digest::from_bytes(stop.lock),
            empty_ms: took.filter(|_| found == Found::Nothing).or(last.and_then(|last| last.empty_ms)),
            filled_ms: took.filter(|_| matches!(found, Found::Brought { .. })).or(last.and_then(|last| last.filled_ms)),
        }
    }

    /// Another engine or another namespace has another mount.
    fn table_name(&self, stop: &Stop) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("splitci build mount table v1");
        for field in [&self.engine, &self.journey.space.1, &stop.mount.identity()] {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field.as_bytes());
        }
        format!("{}.json", &hasher.finalize().to_hex()[..24])
    }
}

async fn list(talk: &mut Talk) -> Result<Vec<Seen>, MountError> {
    talk.order(&Order::List, &[]).await?;
    let mut all: Vec<Seen> = Vec::new();
    loop {
        match talk.answer().await?.0 {
            Answer::Entries(entries) => all.extend(entries),
            Answer::Listed { .. } => break,
            other => return Err(unexpected(&other)),
        }
    }
    let length = |seen: &Seen| if let Kind::File { length } = seen.entry.kind { length } else { 0 };
    let bytes = all.iter().map(length).fold(0_u64, u64::saturating_add);
    if all.len() > MOST_ENTRIES || bytes > MOST_BYTES {
        return Err(MountError::TooMuch { entries: all.len(), bytes });
    }
    Ok(all)
}

/// Where bytes are that were saved last, by their hash. A pack that is mostly of what is gone is not used any more.
async fn places(needs: &Needs, last: Option<&Saved>, seen: &[Seen]) -> HashMap<Digest, Bytes> {
    let Some(last) = last else { return HashMap::new() };
    let read = async {
        let folder = Folder::make(needs.scratch.join(format!("p{}", ulid::Ulid::generate()))).ok()?;
        let file = folder.0.join("manifest");
        needs.hold(&[last.manifest]);
        let there = needs.vault.store().get_to(last.manifest, &file, MOST_OF_A_MANIFEST).await.ok()?;
        if there { Manifest::decode(&fs_err::tokio::read(&file).await.ok()?).ok() } else { None }
    };
    let Some(manifest) = read.await else { return HashMap::new() };
    let still: std::collections::HashSet<&str> = seen.iter().map(|seen| seen.entry.path.as_str()).collect();
    let mut use_of: HashMap<Digest, (u64, u64)> = HashMap::new();
    for item in &manifest.items {
        let Some(bytes) = item.bytes else { continue };
        let (size, used) = use_of.entry(bytes.blob).or_default();
        *size = (*size).max(bytes.offset.saturating_add(item.length()));
        *used += if still.contains(item.entry.path.as_str()) { item.length() } else { 0 };
    }
    let blobs = manifest.blobs();
    needs.hold(&blobs);
    let there = needs.vault.store().has(&blobs).await.unwrap_or_default();
    for (blob, _) in blobs.iter().zip(there.iter().chain(std::iter::repeat(&false))).filter(|(_, there)| !**there) {
        use_of.remove(blob);
    }
    let used = |blob: Digest| use_of.get(&blob).is_some_and(|(size, used)| used.saturating_mul(2) >= *size);
    let kept = manifest.items.iter().filter_map(|item| item.bytes).filter(|bytes| used(bytes.blob));
    kept.map(|bytes| (bytes.hash, bytes)).collect()
}

struct Gathering<'a> {
    needs: &'a Needs,
    talk: &'a mut Talk,
    seen: Vec<Seen>,
    places: HashMap<Digest, Bytes>,
    table: Table,
    now: i64,
}

impl Gathering<'_> {
    async fn gather(self) -> Result<(Manifest, Table), MountError> {
        let Self { needs, talk, seen, places, table, now } = self;
        let mut next = Table::default();
        let mut at: HashMap<usize, Bytes> = HashMap::new();
        let mut unread = Vec::new();
        for (number, one) in seen.iter().enumerate() {
            let Kind::File { length: 1.. } = one.entry.kind else { continue };
            match table.hash(one).and_then(|hash| places.get(&hash)) {
                Some(place) => {
                    next.remember(one, place.hash, now);
                    at.insert(number, *place);
                }
                None => unread.push(number),
            }
        }
        let folder = Folder::make(needs.scratch.join(format!("g{}", ulid::Ulid::generate())))?;
        let mut packer = Packer::new(needs);
        for numbers in unread.chunks(AT_A_TIME) {
            let paths = numbers.iter().map(|number| seen[*number].entry.path.clone()).collect();
            talk.order(&Order::Send { paths }, &[]).await?;
            for number in numbers {
                let one = &seen[*number];
                let place = folder.0.join(number.to_string());
                let Some(file) = receive(talk, one, place).await? else { continue };
                let known = |hash: Digest| places.get(&hash).copied();
                let hash = packer.add(*number, file, known).await?;
                next.remember(one, hash, now);
            }
        }
        packer.close().await?;
        at.extend(packer.placed);
        Ok((manifest(seen, &at), next))
    }
}

/// Nothing if somebody wrote to it meanwhile.
async fn receive(talk: &mut Talk, seen: &Seen, place: PathBuf) -> Result<Option<Incoming>, MountError> {
    let Kind::File { length } = seen.entry.kind else { return Ok(None) };
    let mut file = Incoming::of(length, place).await?;
    let mut came = 0_u64;
    loop {
        match talk.answer().await? {
            (Answer::Piece, bytes) => {
                came = came.saturating_add(bytes.len() as u64);
                file.take(&bytes, length).await?;
            }
            (Answer::Sent { whole }, _) => return Ok((whole && came == length && file.length() == length).then_some(file)),
            (other, _) => return Err(unexpected(&other)),
        }
    }
}

/// Everything whose bytes are somewhere.
fn manifest(seen: Vec<Seen>, at: &HashMap<usize, Bytes>) -> Manifest {
    let items = seen.into_iter().enumerate().map(|(number, seen)| Item { entry: seen.entry, bytes: at.get(&number).copied() });
    let whole = |item: &Item| !matches!(item.entry.kind, Kind::File { length: 1.. }) || item.bytes.is_some();
    Manifest::new(items.filter(whole).collect())
}
