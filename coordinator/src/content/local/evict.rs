//! What has to go when there is no room: worked out from what is there, what is leased, and a limit. Pure.
//!
//! Least recently used goes first, but every level has a share of the room that the others cannot take: a flood of entries from pull requests pushes out
//! entries of pull requests. A blob belongs to the levels of all records that name it, and goes only if each of them has more than its share. What
//! is leased stays, even beyond the limit; what was used just now goes last.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::content::{Digest, name};

/// Room is made down to that part of the limit, so that there is some for a while.
const DOWN_TO: (u64, u64) = (9, 10);

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes on the disk.
    pub bytes: u64,
    /// What was used within this time goes only if nothing else can.
    pub grace: Duration,
}

/// An entry of a directory store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub what: Kept,
    /// Room that it takes on the disk.
    pub bytes: u64,
    /// When it was last used, to the hour.
    pub used: SystemTime,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// A blob.
    Blob(Digest),
    /// A record.
    Record {
        /// Its layer.
        layer: String,
        /// Its space, as it is written in the path.
        space: String,
        /// Its key.
        key: Digest,
        /// The blobs that it names.
        blobs: Vec<Digest>,
    },
}

impl Kept {
    /// The space of a record as its writer named it; of a very long one only the level, and a hash.
    pub fn space(&self) -> Option<String> {
        match self {
            Self::Blob(_) => None,
            Self::Record { space, .. } => Some(name::read(space)),
        }
    }
}

/// What goes, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no room for it.
    Room,
    /// It names a blob that is not there, or goes.
    WithoutBlobs,
}

/// Places of the entries that go: records before blobs.
pub(super) fn plan(entries: &[Entry], leased: &HashSet<Digest>, limit: Limit, now: SystemTime) -> Vec<(usize, Why)> {
    let mut room = Room::of(entries, limit.bytes);
    let mut going: BTreeMap<usize, Why> = room.orphans().into_iter().map(|at| (at, Why::WithoutBlobs)).collect();
    for at in going.keys() {
        room.leave(*at);
    }
    if room.total > limit.bytes {
        let mut by_use: Vec<usize> = (0..entries.len()).filter(|at| !going.contains_key(at) && !is_leased(&entries[*at], leased)).collect();
        by_use.sort_by_key(|at| entries[*at].used.min(now));
        let (young, old): (Vec<_>, Vec<_>) = by_use.into_iter().partition(|at| is_young(&entries[*at], limit.grace, now));
        for at in old.into_iter().chain(young) {
            if room.total <= room.target {
                break;
            }
            if !going.contains_key(&at) && room.may_leave(at) {
                going.insert(at, Why::Room);
                room.leave(at);
                for record in room.naming(at) {
                    if going.insert(record, Why::WithoutBlobs).is_none() {
                        room.leave(record);
                    }
                }
            }
        }
    }
    let (records, blobs): (Vec<_>, Vec<_>) = going.into_iter().partition(|(at, _)| matches!(entries[*at].what, Kept::Record { .. }));
    records.into_iter().chain(blobs).collect()
}

/// How much room each level takes; blobs that no record names are of the level without a name.
pub(super) fn by_level(entries: &[Entry]) -> BTreeMap<String, u64> {
    Room::of(entries, u64::MAX).taken.into_iter().map(|(level, bytes)| (level.to_owned(), bytes)).collect()
}

fn is_leased(entry: &Entry, leased: &HashSet<Digest>) -> bool {
    match &entry.what {
        Kept::Blob(digest) => leased.contains(digest),
        Kept::Record { key, blobs, .. } => leased.contains(key) || blobs.iter().any(|digest| leased.contains(digest)),
    }
}

/// A little ahead of now is a clock that was set back; far ahead says nothing.
fn is_young(entry: &Entry, grace: Duration, now: SystemTime) -> bool {
    let apart = now.duration_since(entry.used).unwrap_or_else(|ahead| ahead.duration());
    apart < grace
}

/// Who takes how much.
struct Room<'a> {
    entries: &'a [Entry],
    /// Levels of each entry.
    owners: Vec<BTreeSet<&'a str>>,
    /// Records that name a blob.
    naming: HashMap<Digest, Vec<usize>>,
    taken: BTreeMap<&'a str, u64>,
    total: u64,
    target: u64,
    share: u64,
}

impl<'a> Room<'a> {
    fn of(entries: &'a [Entry], limit: u64) -> Self {
        let mut naming: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            if let Kept::Record { blobs, .. } = &entry.what {
                for digest in blobs {
                    naming.entry(*digest).or_default().push(at);
                }
            }
        }
        let owners: Vec<BTreeSet<&str>> = entries.iter().map(|entry| owners(entries, entry, &naming)).collect();
        let mut taken = BTreeMap::new();
        for (entry, owners) in entries.iter().zip(&owners) {
            for level in owners {
                *taken.entry(*level).or_default() += entry.bytes;
            }
        }
        let target = limit / DOWN_TO.1 * DOWN_TO.0;
        let share = target / (taken.len() as u64).max(1);
        Self { entries, owners, naming, taken, total: entries.iter().map(|entry| entry.bytes).sum(), target, share }
    }

    /// Records that name a blob that is not there.
    fn orphans(&self) -> Vec<usize> {
        let there: HashSet<Digest> = self.entries.iter().filter_map(blob).collect();
        let gone = self.naming.iter().filter(|(digest, _)| !there.contains(digest));
        let orphans: BTreeSet<usize> = gone.flat_map(|(_, records)| records.iter().copied()).collect();
        orphans.into_iter().collect()
    }

    fn may_leave(&self, at: usize) -> bool {
        self.owners[at].iter().all(|level| self.taken.get(level).is_some_and(|taken| *taken > self.share))
    }

    fn leave(&mut self, at: usize) {
        let bytes = self.entries[at].bytes;
        self.total -= bytes;
        for level in &self.owners[at] {
            if let Some(taken) = self.taken.get_mut(level) {
                *taken -= bytes;
            }
        }
    }

    fn naming(&self, at: usize) -> Vec<usize> {
        blob(&self.entries[at]).and_then(|digest| self.naming.get(&digest)).cloned().unwrap_or_default()
    }
}

fn blob(entry: &Entry) -> Option<Digest> {
    match &entry.what {
        Kept::Blob(digest) => Some(*digest),
        Kept::Record { .. } => None,
    }
}

fn owners<'a>(entries: &'a [Entry], entry: &'a Entry, naming: &HashMap<Digest, Vec<usize>>) -> BTreeSet<&'a str> {
    let level = |entry: &'a Entry| match &entry.what {
        Kept::Record { space, .. } => name::written_level(space),
        Kept::Blob(_) => "",
    };
    let records = blob(entry).and_then(|digest| naming.get(&digest));
    records.map_or_else(|| BTreeSet::from([level(entry)]), |records| records.iter().map(|at| level(&entries[*at])).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_hours(1);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn blob(number: u32, bytes: u64, hours: u64) -> Entry {
        Entry { what: Kept::Blob(digest(number)), bytes, used: now() - GRACE * u32::try_from(hours).unwrap() }
    }

    fn record(space: &str, number: u32, blobs: &[u32], hours: u64) -> Entry {
        let blobs = blobs.iter().map(|number| digest(*number)).collect();
        let what = Kept::Record { layer: "image".into(), space: space.into(), key: digest(number + 1_000_000), blobs };
        Entry { what, ..blob(0, 1, hours) }
    }

    fn planned(entries: &[Entry], leased: &[u32], bytes: u64) -> Vec<usize> {
        let leased = leased.iter().map(|number| digest(*number)).collect();
        plan(entries, &leased, Limit { bytes, grace: GRACE }, now()).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn nothing_goes_while_there_is_room() {
        assert_eq!(planned(&[blob(1, 50, 900), blob(2, 50, 2)], &[], 100), [0; 0]);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_just_as_much_as_needed() {
        let entries = [blob(1, 40, 5), blob(2, 40, 9), blob(3, 40, 7), blob(4, 40, 6)];
        assert_eq!(planned(&entries, &[], 159), [1]);
        assert_eq!(planned(&entries, &[], 100), [1, 2]);
    }

    #[test]
    fn records_go_before_the_blobs_that_they_name() {
        let entries = [blob(1, 100, 9), blob(2, 10, 3), record("local", 1, &[1, 2], 1)];
        assert_eq!(planned(&entries, &[], 100), [2, 0]);
        assert_eq!(plan(&entries[1..], &HashSet::new(), Limit { bytes: 1000, grace: GRACE }, now()), [(1, Why::WithoutBlobs)]);
    }

    #[test]
    fn what_is_leased_stays_even_beyond_the_limit() {
        let entries = [blob(1, 100, 9), record("local", 1, &[1], 9), blob(2, 100, 1)];
        assert_eq!(planned(&entries, &[1], 150), [2]);
        assert_eq!(planned(&entries, &[1, 2], 150), [0; 0]);
    }

    #[test]
    fn a_flood_of_one_level_pushes_out_its_own() {
        let mut entries = vec![blob(0, 30, 900), record("protected", 0, &[0], 900)];
        for number in 1..100 {
            entries.push(blob(number, 10, 0));
            // They are of many partitions, and name what is protected, too.
            entries.push(record(&format!("pull%2f{number}"), number, &[0, number], 0));
        }
        let gone = planned(&entries, &[], 200);
        assert!(!gone.contains(&0) && !gone.contains(&1), "{gone:?}");
        let left: u64 = entries.iter().map(|entry| entry.bytes).sum::<u64>() - gone.iter().map(|at| entries[*at].bytes).sum::<u64>();
        assert!((150..=180).contains(&left), "{left}");
    }

    #[test]
    fn a_wrong_clock_neither_keeps_nor_loses_more_than_others() {
        let ahead = |number, hours: u32| Entry { used: now() + GRACE * hours, ..blob(number, 50, 0) };
        // A day ahead: as good as used now, but not spared.
        assert_eq!(planned(&[ahead(1, 24), blob(2, 50, 3)], &[], 60), [1]);
        assert_eq!(planned(&[ahead(1, 24), blob(2, 50, 0)], &[], 60), [0]);
        // The other way round: everything is a day old, and the order is what it was.
        assert_eq!(planned(&[blob(1, 50, 24), blob(2, 50, 25)], &[], 60), [1]);
    }

    prop_compose! {
        fn any_entries()(
            blobs in prop::collection::vec((1..50_u64, 0..48_u64), 0..30),
            records in prop::collection::vec((0..4_usize, prop::collection::vec(0..32_u32, 0..3), 0..48_u64), 0..30),
        ) -> Vec<Entry> {
            let levels = ["protected", "pull%2f1", "pull%2f2", "local"];
            let blobs = (0..).zip(blobs).map(|(number, (bytes, hours))| blob(number, bytes, hours));
            let records = (0..).zip(records).map(|(number, (level, named, hours))| record(levels[level], number, &named, hours));
            blobs.chain(records).collect()
        }
    }

    proptest! {
        #[test]
        fn whatever_is_there_the_plan_keeps_its_promises(
            entries in any_entries(), leased in prop::collection::vec(0..32_u32, 0..4), bytes in 1..600_u64
        ) {
            let gone: BTreeSet<usize> = planned(&entries, &leased, bytes).into_iter().collect();
            let leased: HashSet<Digest> = leased.iter().map(|number| digest(*number)).collect();
            let stays: Vec<Entry> = (0..entries.len()).filter(|at| !gone.contains(at)).map(|at| entries[at].clone()).collect();
            // No record outlives its blobs.
            let there: HashSet<Digest> = stays.iter().filter_map(super::blob).collect();
            for entry in &stays {
                if let Kept::Record { blobs, .. } = &entry.what {
                    prop_assert!(blobs.iter().all(|digest| there.contains(digest)));
                }
            }
            // No leased blob goes.
            prop_assert!(gone.iter().all(|at| super::blob(&entries[*at]).is_none_or(|digest| !leased.contains(&digest))));
            // What is not leased fits.
            let total = |entries: &[Entry]| entries.iter().map(|entry| entry.bytes).sum::<u64>();
            if leased.is_empty() {
                prop_assert!(total(&stays) <= bytes, "{} of {bytes}", total(&stays));
            }
            // A level that had no more than its share loses no blob.
            let levels = by_level(&entries);
            let share = bytes / 10 * 9 / (levels.len() as u64).max(1);
            let room = Room::of(&entries, bytes);
            for at in gone.iter().filter(|at| super::blob(&entries[**at]).is_some()) {
                prop_assert!(room.owners[*at].iter().all(|level| levels[*level] > share));
            }
        }
    }
}
