//! Reading real trees: what is believed, what is found all the same, and what is refused.

use super::*;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::AtomicBool;

/// A little longer than a file must have stood still.
const TO_REST: Duration = Duration::from_millis(2_200);

struct Tree {
    root: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Tree {
    /// Files with names of all kinds.
    fn new() -> Self {
        let tree = Self { root: tempfile::tempdir().expect("a folder"), state: tempfile::tempdir().expect("a folder") };
        tree.write(b"Dockerfile", "FROM a");
        tree.write(b"plain", "one");
        tree.write(b"with blanks and\nlines", "two");
        tree.write(b"\xff\xfe not text", "three");
        tree.write(&[b"deep/", "n".repeat(255).as_bytes(), b"/x"].concat(), "four");
        tree.write("näme/é".as_bytes(), "five");
        tree
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        self.root.path().join(OsStr::from_bytes(path))
    }

    fn write(&self, path: &[u8], text: &str) {
        let place = self.place(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, text).expect("written");
    }

    fn table(&self) -> PathBuf {
        self.state.path().join("stat/x")
    }

    fn read(&self, sampled: bool) -> Result<Reading, ContextError> {
        read_sampling(self.root.path(), &self.root.path().join("Dockerfile"), Some(&self.table()), &|_| sampled)
    }

    fn rows(&self) -> usize {
        Table::load(&self.table(), self.root.path(), now()).len()
    }
}

fn hash_in(reading: &Reading, path: &[u8]) -> [u8; 32] {
    match reading.items.iter().find(|item| item.path == path).map(|item| &item.content) {
        Some(ItemContent::File(hash)) => *hash,
        other => panic!("{other:?}"),
    }
}

fn hash(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// Says of every file in the table that it holds something else.
fn falsify(tree: &Tree) {
    let context = tree.read(false).expect("readable").context;
    let mut rows = Rows::default();
    for (entry, seen) in context.entries.iter().zip(&context.seen) {
        if let Some(known) = seen.known {
            rows.add(&entry.path, &seen.stamp, &Known { hash: [9; 32], ..known });
        }
    }
    rows.save(&tree.table(), tree.root.path()).expect("saved");
}

#[test]
fn what_stands_still_is_not_read_again_and_what_moved_is() {
    let tree = Tree::new();
    let first = tree.read(false).expect("readable");
    assert_eq!(hash_in(&first, b"plain"), hash("one"));
    assert_eq!(hash_in(&first, b"\xff\xfe not text"), hash("three"));
    assert_eq!(tree.rows(), 0, "everything has just been written");
    std::thread::sleep(TO_REST);
    let second = tree.read(false).expect("readable");
    assert_eq!((&second.items, tree.rows()), (&first.items, 6));
    assert!(second.notes.is_empty(), "{:?}", second.notes);

    falsify(&tree);
    assert_eq!(hash_in(&tree.read(false).expect("readable"), b"plain"), [9; 32], "it is believed");

    // The same length, the old time put back: docker's own builder takes this for the old file.
    let place = tree.place(b"plain");
    let before = fs_err::metadata(&place).expect("there").modified().expect("a time");
    tree.write(b"plain", "eno");
    fs_err::File::options().append(true).open(&place).expect("there").file().set_modified(before).expect("set");
    assert_eq!(fs_err::metadata(&place).expect("there").modified().expect("a time"), before);
    let third = tree.read(false).expect("readable");
    assert_eq!(hash_in(&third, b"plain"), hash("eno"));
    assert_eq!(hash_in(&third, "näme/é".as_bytes()), [9; 32], "the others are believed still");
    assert_eq!(tree.rows(), 5, "what has just changed is not remembered");

    // One lie, and nothing is believed any more.
    let fourth = tree.read(true).expect("readable");
    assert_eq!(hash_in(&fourth, "näme/é".as_bytes()), hash("five"));
    assert_eq!(fourth.notes.len(), 1, "{:?}", fourth.notes);
    assert!(fourth.notes[0].contains("does not hold what was remembered of it"), "{:?}", fourth.notes);
    let fifth = tree.read(true).expect("readable");
    assert_eq!((fifth.notes.len(), fifth.items), (0, fourth.items));

    // Another file under the name, as old and as long.
    fs_err::rename(tree.place(b"with blanks and\nlines"), tree.place(b"plain")).expect("renamed");
    let sixth = tree.read(false).expect("readable");
    assert_eq!(hash_in(&sixth, b"plain"), hash("two"));
    assert_eq!(tree.rows(), 4, "what is gone is forgotten");
}

#[test]
fn attributes_count_and_are_never_remembered() {
    let tree = Tree::new();
    let first = tree.read(false).expect("readable");
    let set = |path: &[u8], value: &[u8]| {
        rustix::fs::lsetxattr(tree.place(path), "user.splitci", value, rustix::fs::XattrFlags::empty())
            .expect("a file system with attributes");
    };
    set(b"plain", b"1");
    let second = tree.read(false).expect("readable");
    assert_ne!(first.items, second.items);
    set(b"plain", b"2");
    let third = tree.read(false).expect("readable");
    assert_ne!(second.items, third.items);
    set("näme".as_bytes(), b"1");
    assert_eq!(third.items, tree.read(false).expect("readable").items, "those of directories do not");
    std::thread::sleep(TO_REST);
    tree.read(false).expect("readable");
    assert_eq!(tree.rows(), 5, "all but the one with attributes");
}

/// Bytes of the file that moves.
const MOVING: usize = 1 << 20;

/// All contents that it ever has: its end is written after its beginning.
fn moments() -> Vec<[u8; 32]> {
    let mut bytes = vec![0; MOVING];
    let mut all = Vec::new();
    for seed in 0..=u8::MAX {
        bytes[0] = seed;
        all.push(*blake3::hash(&bytes).as_bytes());
        bytes[MOVING - 1] = seed;
        all.push(*blake3::hash(&bytes).as_bytes());
    }
    bytes[0] = 0;
    all.push(*blake3::hash(&bytes).as_bytes());
    all
}

/// Writes to the beginning and the end of a file of this length until it is told to stop, and does something meanwhile.
fn while_it_moves<T>(place: &Path, length: usize, meanwhile: impl FnOnce() -> T) -> T {
    fs_err::write(place, vec![0; length]).expect("written");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs_err::OpenOptions::new().write(true).open(place).expect("there");
            for seed in (0..=u8::MAX).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                for at in [0, length - 1] {
                    std::os::unix::fs::FileExt::write_all_at(file.file(), &[seed], at as u64).expect("written");
                }
            }
        });
        let done = meanwhile();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn no_content_is_taken_that_a_file_never_had() {
    let tree = Tree::new();
    let place = tree.place(b"moving");
    let (moments, deadline) = (moments(), std::time::Instant::now() + Duration::from_secs(30));
    let (mut refused, mut taken) = (0, Vec::new());
    while_it_moves(&place, MOVING, || {
        let mut piece = vec![0; PIECE];
        while (refused < 20 || taken.len() < 20) && std::time::Instant::now() < deadline {
            let stamp = rustix::fs::statat(CWD, &place, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Stamp::of(&stat));
            match hash_at_rest(&place, stamp.unwrap_or_default(), 0, &mut piece) {
                Ok(hashed) => taken.push(hashed.hash),
                Err(_) => refused += 1,
            }
        }
    });
    assert!(refused > 0, "{} times it was taken", taken.len());
    assert!(taken.iter().all(|hash| moments.contains(hash)), "a content that the file never had");
}

#[test]
fn a_file_that_does_not_stand_still_is_refused_by_its_name() {
    let tree = Tree::new();
    let place = tree.place(b"moving");
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    let mut read = tree.read(false);
    // A busy machine may stop the writer for as long as a read takes; then the file stands still, and is what it is.
    while_it_moves(&place, 64 << 20, || {
        while read.is_ok() && std::time::Instant::now() < deadline {
            read = tree.read(false);
        }
    });
    assert!(matches!(&read, Err(ContextError::Changed(path)) if *path == place), "{read:?}");
    assert_eq!(hash_in(&tree.read(false).expect("it stands still"), b"plain"), hash("one"));
}

#[test]
fn a_file_that_moved_once_is_taken_as_it_is_then() {
    let tree = Tree::new();
    let mut context = Context::walk(tree.root.path(), &tree.place(b"Dockerfile")).expect("walkable");
    tree.write(b"plain", "longer than before");
    take_in(&mut context, now(), &|_| false).expect("it stands still now");
    let at = context.entries.iter().position(|entry| entry.path == b"plain").expect("there");
    assert_eq!(context.entries[at].kind, EntryKind::File(18));
    assert_eq!(context.seen[at].known.map(|known| known.hash), Some(hash("longer than before")));
    fs_err::remove_file(tree.place(b"plain")).expect("removed");
    let mut context = Context { seen: context.seen.iter().map(|seen| Seen { known: None, ..seen.clone() }).collect(), ..context };
    let error = take_in(&mut context, now(), &|_| false).expect_err("it is gone");
    assert!(matches!(&error, ContextError::Changed(path) if path.ends_with("plain")), "{error}");
}

#[test]
fn a_pipe_in_the_place_of_a_file_keeps_nobody_waiting() {
    let tree = Tree::new();
    let mut context = Context::walk(tree.root.path(), &tree.place(b"Dockerfile")).expect("walkable");
    let place = tree.place(b"plain");
    fs_err::remove_file(&place).expect("removed");
    rustix::fs::mknodat(CWD, &place, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    assert!(matches!(take_in(&mut context, now(), &|_| false), Err(ContextError::Changed(_))));
}

#[test]
fn a_table_that_cannot_be_written_costs_time_and_nothing_else() {
    let tree = Tree::new();
    std::thread::sleep(TO_REST);
    let table = Path::new("/proc/nowhere/stat");
    let dockerfile = tree.place(b"Dockerfile");
    let reading = read_sampling(tree.root.path(), &dockerfile, Some(table), &|_| false).expect("readable");
    assert_eq!(hash_in(&reading, b"plain"), hash("one"));
    assert!(reading.notes[0].contains("is not remembered"), "{:?}", reading.notes);
}

#[test]
fn many_files_of_all_sizes_are_hashed_as_one_by_one() {
    let tree = Tree::new();
    for number in 0..300_usize {
        let place = tree.root.path().join(format!("{}/{number}", number % 7));
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, vec![u8::try_from(number % 251).expect("small"); number * number * 17 % 70_000]).expect("written");
    }
    fs_err::write(tree.root.path().join("large"), vec![3; 3 << 20]).expect("written");
    let reading = tree.read(false).expect("readable");
    assert_eq!(reading.items, reading.context.items().expect("readable"));
    for item in &reading.items {
        let place = tree.root.path().join(std::ffi::OsString::from_vec(item.path.clone()));
        if let ItemContent::File(hash) = item.content {
            assert_eq!(hash, *blake3::hash(&fs_err::read(place).expect("there")).as_bytes());
        }
    }
}
