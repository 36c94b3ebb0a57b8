//! When the files of a context are said to have been changed. Nothing of it is taken from the disk.
//!
//! Two readers judge by these times. The builder takes a file of the same length and time for the one that it has; tools in a build (cargo, make,
//! Python) take what is older than their own work, or as old as they remember, for what they worked on. So there are two rules:
//!
//! - where no step can find anything of an earlier build, a second that follows from the base images, with nanoseconds off the content: two checkouts
//!   of the same content give the same layers, and every change is seen. It is a second after the youngest base, since a base may hold work, too;
//! - where a step has a cache mount, *now* for a file whose content was not sent last time, and what was said then for the others.
//!
//! By the second rule a time counts like content (an attribute of the file says it): a layer that the builder remembers holds the times of when it was
//! made, and before a step that runs anew, for whatever reason, an old content that comes back would look older than the work on what replaced it.
//!
//! The second rule has a memory, the `Sent` table, one file for a context in the state directory. It is on the disk before the builder is told
//! anything, so that work of a build that failed is never younger than what is said later, nor work that outlives a loss of power. A table that is lost or cannot be read makes everything *now*.
//! So does a mount that came from another machine: what is in it was judged by times that were said there.

use std::collections::BTreeMap;
use std::path::Path;

use super::kept::replace;
use super::key::{ContextItem, ItemContent};
use crate::docker::build::nanoseconds;

/// Names the format of the table; another meaning of any of it is another name.
const FORMAT: &[u8] = b"splitci sent v1\n";
const HASH: usize = 32;
const SECOND: i64 = 1_000_000_000;
/// The earliest second that is said: old formats of archives know none before 1980.
const EARLIEST: i64 = 1_000_000_000;

/// How times are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// This second, in seconds since 1970, with nanoseconds off the content.
    Constant(i64),
    /// Now, in nanoseconds since 1970, for what was not sent last time.
    SinceSent(i64),
}

impl Rule {
    /// The constant rule upon bases that were made then. Without a date of each there is none.
    pub(super) fn upon(bases: impl IntoIterator<Item = Option<i64>>) -> Option<Self> {
        let youngest = bases.into_iter().try_fold(EARLIEST - 1, |youngest, made| {
            // A date that stands for none says nothing of the files.
            made.filter(|made| *made >= EARLIEST).map(|made| youngest.max(made))
        })?;
        Some(Self::Constant(youngest + 1))
    }
}

/// What was sent last: content and time of each file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sent(BTreeMap<Vec<u8>, ([u8; HASH], i64)>);

/// All that a file is: the builder does not compare extended attributes, so that a file of others needs another time as well.
fn whole(item: &ContextItem, content: &[u8; HASH]) -> [u8; HASH] {
    let Some(attributes) = &item.attributes else { return *content };
    let mut hasher = blake3::Hasher::new_derive_key("splitci content and attributes v1");
    hasher.update(content);
    hasher.update(attributes);
    *hasher.finalize().as_bytes()
}

/// The time of each item, under the constant rule.
pub(super) fn constant(second: i64, items: &[ContextItem]) -> Vec<i64> {
    let time = |item: &ContextItem| match &item.content {
        ItemContent::File(hash) => second * SECOND + nanoseconds(&whole(item, hash)),
        _ => second * SECOND,
    };
    items.iter().map(time).collect()
}

impl Sent {
    /// The time of each item, and the table for the next build.
    pub(super) fn next(&self, now: i64, items: &[ContextItem]) -> (Vec<i64>, Self) {
        // A clock that was set back must not make a change older than what it changed, and tools that count in seconds (Python) must see it, too.
        let now = self.0.values().map(|(_, sent)| sent.saturating_add(SECOND)).max().map_or(now, |latest| latest.max(now));
        let mut next = BTreeMap::new();
        let time = |item: &ContextItem| {
            let ItemContent::File(hash) = &item.content else { return EARLIEST * SECOND };
            let hash = whole(item, hash);
            let known = self.0.get(&item.path).filter(|(sent, _)| *sent == hash);
            let time = known.map_or(now, |(_, time)| *time);
            next.insert(item.path.clone(), (hash, time));
            time
        };
        let times = items.iter().map(time).collect();
        (times, Self(next))
    }

    /// The same times, of contents that no file has: everything is new then, and newer than all of them.
    pub(super) fn of_nothing(self) -> Self {
        Self(self.0.into_iter().map(|(path, (_, time))| (path, ([0; HASH], time))).collect())
    }

    /// The table of a context; an empty one if it is lost.
    pub(super) fn load(path: &Path) -> Self {
        fs_err::read(path).ok().and_then(|bytes| Self::decode(&bytes)).unwrap_or_default()
    }

    /// Keeps the table. One that cannot be kept must not leave an older one behind: that would call changed files unchanged.
    pub(super) fn store(&self, path: &Path) -> std::io::Result<()> {
        if replace(path, &self.encode()).is_ok() {
            return Ok(());
        }
        match fs_err::remove_file(path) {
            Err(error) if fs_err::symlink_metadata(path).is_ok() => Err(error),
            _ => Ok(()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = FORMAT.to_vec();
        for (path, (hash, time)) in &self.0 {
            let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(path);
            out.extend_from_slice(hash);
            out.extend_from_slice(&time.to_le_bytes());
        }
        let sum = blake3::hash(&out);
        out.extend_from_slice(sum.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let mut rest = body.strip_prefix(FORMAT)?;
        let mut table = BTreeMap::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(take(&mut rest)?);
            let (path, more) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = more;
            let hash = take::<HASH>(&mut rest)?;
            table.insert(path.to_vec(), (hash, i64::from_le_bytes(take(&mut rest)?)));
        }
        Some(Self(table))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, content: u8) -> ContextItem {
        ContextItem { path: path.into(), mode: 0o644, attributes: None, content: ItemContent::File([content; 32]) }
    }

    #[test]
    fn what_changed_since_it_was_last_sent_is_new_and_the_rest_is_not() {
        let at = |second: i64| second * SECOND;
        let (times, sent) = Sent::default().next(at(100), &[file("a", 1), file("b", 1)]);
        assert_eq!(times, [at(100), at(100)]);
        let (times, sent) = sent.next(at(200), &[file("a", 1), file("b", 2)]);
        assert_eq!(times, [at(100), at(200)]);
        let (times, sent) = sent.next(at(300), &[file("a", 1), file("b", 1)]);
        assert_eq!(times, [at(100), at(300)], "an old content that comes back is newer than what was made of the other one");
        let (times, sent) = sent.next(at(400), &[file("b", 1)]);
        assert_eq!(times, [at(300)]);
        let (times, sent) = sent.next(at(500), &[file("a", 1), file("b", 1)]);
        assert_eq!(times, [at(500), at(300)], "what was gone is new");
        let (times, sent) = sent.next(at(50), &[file("a", 9), file("b", 1)]);
        assert_eq!(times, [at(501), at(300)], "a clock that was set back");
        let (times, _) = sent.clone().of_nothing().next(at(50), &[file("a", 9), file("b", 1)]);
        assert_eq!(times, [at(502), at(502)], "nothing is believed");
        let (times, _) = sent.next(at(501) + 7, &[file("a", 8), file("b", 1)]);
        assert_eq!(times, [at(502), at(300)], "in the same second");
    }

    #[test]
    fn constant_times_differ_by_content_alone() {
        let [one, same, other] = [file("a", 1), file("b", 1), file("a", 2)].map(|item| constant(1_700_000_000, &[item])[0]);
        assert_eq!(one, same);
        assert_ne!(one, other);
        let marked = ContextItem { attributes: Some([7; 32]), ..file("a", 1) };
        assert_ne!(constant(1_700_000_000, &[marked])[0], one, "its attributes differ");
        assert!([one, other].iter().all(|time| time / SECOND == 1_700_000_000));
    }

    #[test]
    fn the_second_is_after_every_base() {
        assert_eq!(Rule::upon([]), Some(Rule::Constant(EARLIEST)));
        assert_eq!(Rule::upon([Some(1_700_000_000), Some(1_600_000_000)]), Some(Rule::Constant(1_700_000_001)));
        assert_eq!(Rule::upon([Some(1_700_000_000), None]), None);
        assert_eq!(Rule::upon([Some(0)]), None, "a base without a true date");
    }

    #[test]
    fn a_table_that_is_lost_broken_or_foreign_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sent/table");
        assert_eq!(Sent::load(&path), Sent::default());
        let (_, sent) = Sent::default().next(7, &[file("a", 1), file("b/c", 2)]);
        sent.store(&path).expect("stored");
        assert_eq!(Sent::load(&path), sent);
        let whole = fs_err::read(&path).expect("a table");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(Sent::decode(&flipped), None, "byte {at}");
            assert_eq!(Sent::decode(&whole[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_table_that_cannot_be_kept_takes_the_old_one_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("table");
        Sent::default().store(&path).expect("stored");
        // What is written first has a directory in its place.
        fs_err::create_dir(folder.path().join(format!("table.{}.new", std::process::id()))).expect("made");
        Sent::default().next(7, &[file("a", 1)]).1.store(&path).expect("everything is new next time");
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn a_table_can_be_read_back(rows in proptest::collection::btree_map(any::<Vec<u8>>(), any::<([u8; 32], i64)>(), 0..8)) {
            let sent = Sent(rows);
            prop_assert_eq!(Sent::decode(&sent.encode()), Some(sent));
        }
    }
}
