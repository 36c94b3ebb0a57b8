//! A mount is a folder here, and the stream a pair of sockets.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::protocol::mounts::{Entry, Kind};

struct Talk {
    stream: UnixStream,
    decoder: Decoder,
}

impl Talk {
    fn with(root: &Path) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let server = Server { root: root.to_owned(), stream: theirs, out: Vec::new(), restoring: None };
        std::thread::spawn(move || server.run(3).expect("served"));
        Self { stream: ours, decoder: Decoder::default() }
    }

    fn order(&mut self, order: &Order, blob: &[u8]) {
        let mut out = Vec::new();
        encode(order, blob, &mut out);
        self.stream.write_all(&out).expect("written");
    }

    fn heard(&mut self) -> (Answer, Vec<u8>) {
        loop {
            if let Some(frame) = self.decoder.next().expect("frames") {
                return (frame.message, frame.blob);
            }
            let mut bytes = [0; 1000];
            let read = self.stream.read(&mut bytes).expect("read");
            assert!(read > 0, "the worker ended");
            self.decoder.push(&bytes[..read]);
        }
    }

    fn state(&mut self) -> (bool, bool) {
        match self.heard().0 {
            Answer::Hello { number: 3, empty, unfinished, .. } => (empty, unfinished),
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self) -> (Vec<Entry>, u64) {
        self.order(&Order::List, &[]);
        let mut all = Vec::new();
        loop {
            match self.heard().0 {
                Answer::Entries(entries) => all.extend(entries.into_iter().map(|seen| seen.entry)),
                Answer::Listed { left_out } => return (all, left_out),
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(&mut self) -> Answer {
        self.order(&Order::Settle, &[]);
        self.heard().0
    }
}

fn entry(path: &str, mode: u32, kind: Kind) -> Entry {
    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    Entry { path: path.into(), mode, uid: own, gid: group, modified: 1_600_000_000_123_456_789, kind }
}

fn file(path: &str, length: u64) -> Entry {
    entry(path, 0o640, Kind::File { length })
}

fn tree() -> Vec<Entry> {
    let link = Kind::Link { to: "../top".into() };
    vec![entry("sub", 0o1750, Kind::Directory), file("top", 3), file("sub/empty", 0), entry("sub/link", 0o777, link)]
}

fn put_tree(talk: &mut Talk) {
    talk.order(&Order::Begin, &[]);
    for one in tree() {
        let bytes: &[u8] = if one.path == "top" { b"abc" } else { b"" };
        talk.order(&Order::Put(one), &[]);
        if !bytes.is_empty() {
            talk.order(&Order::Piece, bytes);
        }
    }
}

#[test]
fn what_was_put_is_there_with_its_times_and_modes_and_is_told_again() {
    let mount = tempfile::tempdir().expect("a folder");
    let mut talk = Talk::with(mount.path());
    assert_eq!(talk.state(), (true, false));
    put_tree(&mut talk);
    assert_eq!(talk.settle(), Answer::Settled);
    let (mut listed, left_out) = talk.list();
    let mut expected = tree();
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!((listed, left_out), (expected, 0));
    talk.order(&Order::Send { paths: vec!["top".into(), "../etc/passwd".into(), "sub/link".into(), "sub/empty".into()] }, &[]);
    assert_eq!(talk.heard(), (Answer::Piece, b"abc".to_vec()));
    for whole in [true, false, false, true] {
        assert_eq!(talk.heard().0, Answer::Sent { whole });
    }
    assert_eq!(Talk::with(mount.path()).state(), (false, false));
}

#[test]
fn what_must_not_be_restored_leaves_the_mount_as_it_was() {
    let wrong = [
        file("../out", 0),
        file("/abs", 0),
        file("a/../../b", 0),
        entry("setuid", 0o4755, Kind::File { length: 0 }),
        entry("setgid", 0o2755, Kind::Directory),
        entry("link", 0o777, Kind::Link { to: "/etc/passwd".into() }),
        entry("link", 0o777, Kind::Link { to: "../x".into() }),
        file("top", 3),
        file("short", 9),
        file("no/such/parent", 0),
        file("sub/link", 0),
    ];
    for one in wrong {
        let mount = tempfile::tempdir().expect("a folder");
        let mut talk = Talk::with(mount.path());
        talk.state();
        put_tree(&mut talk);
        talk.order(&Order::Put(one.clone()), &[]);
        assert!(matches!(talk.settle(), Answer::Failed { .. }), "{one:?}");
        assert_eq!(fs::read_dir(mount.path()).expect("read").count(), 0, "{one:?}");
    }
}

#[test]
fn more_bytes_than_were_told_are_refused() {
    let mount = tempfile::tempdir().expect("a folder");
    let mut talk = Talk::with(mount.path());
    talk.state();
    talk.order(&Order::Begin, &[]);
    talk.order(&Order::Put(file("bomb", 3)), &[]);
    talk.order(&Order::Piece, b"four");
    assert!(matches!(talk.settle(), Answer::Failed { .. }));
}

#[test]
fn an_end_in_the_middle_leaves_nothing_half_done() {
    let mount = tempfile::tempdir().expect("a folder");
    let mut talk = Talk::with(mount.path());
    talk.state();
    put_tree(&mut talk);
    // The answer to a list means that all before it is done.
    talk.list();
    drop(talk);
    let mut next = Talk::with(mount.path());
    assert_eq!(next.state(), (true, true));
    assert_eq!(next.settle(), Answer::Settled);
    assert_eq!(next.list(), (vec![], 0), "what was not complete is gone");
    // Everything was there, and half of it in place.
    fs::create_dir_all(mount.path().join(ASIDE).join("tree/b")).expect("made");
    fs::write(mount.path().join(ASIDE).join("tree/c"), "theirs").expect("written");
    fs::write(mount.path().join(ASIDE).join("complete"), "").expect("written");
    fs::write(mount.path().join("c"), "a step's own").expect("written");
    let mut last = Talk::with(mount.path());
    assert_eq!(last.state(), (false, true));
    assert_eq!(last.settle(), Answer::Settled);
    assert!(mount.path().join("b").is_dir() && !mount.path().join(ASIDE).exists());
    assert_eq!(fs::read_to_string(mount.path().join("c")).expect("read"), "a step's own");
}

#[test]
fn what_cannot_travel_is_left_out_and_counted() {
    let mount = tempfile::tempdir().expect("a folder");
    let at = |name: &str| mount.path().join(name);
    fs::write(at("good"), "x").expect("written");
    fs::write(at(".netrc"), "machine x password y").expect("written");
    fs::write(at("su"), "x").expect("written");
    fs::set_permissions(at("su"), std::fs::Permissions::from_mode(0o4755)).expect("set");
    fs::os::unix::fs::symlink("/etc/passwd", at("out")).expect("linked");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("made");
    let mut talk = Talk::with(mount.path());
    talk.state();
    let (listed, left_out) = talk.list();
    assert_eq!((listed.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), left_out), (vec!["good"], 5));
}

#[test]
fn nothing_comes_from_the_future() {
    let mount = tempfile::tempdir().expect("a folder");
    let mut talk = Talk::with(mount.path());
    talk.state();
    talk.order(&Order::Begin, &[]);
    talk.order(&Order::Put(Entry { modified: i64::MAX, ..file("late", 0) }), &[]);
    assert_eq!(talk.settle(), Answer::Settled);
    let found = fs::metadata(mount.path().join("late")).expect("there");
    assert!(found.mtime() <= now() / 1_000_000_000);
}

use rustix::fs::CWD;
