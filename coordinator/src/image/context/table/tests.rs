//! The table by itself: what it finds, and what it does not believe.

use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_000_000_000_000_000;

fn stamp(seed: u64) -> Stamp {
    Stamp { size: seed, mtime: NOW - 2 * AT_REST, ctime: NOW - 2 * AT_REST + 5, inode: 7 + seed, device: 3, mode: 0o100_644 }
}

fn known(seed: u8) -> Known {
    Known { hash: [seed; 32], read_at: NOW }
}

fn written(rows: &[(&[u8], Stamp, Known)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deep/table");
    let mut table = Rows::default();
    for (path, stamp, known) in rows {
        table.add(path, stamp, known);
    }
    table.save(&file, Path::new("/root")).expect("saved");
    (folder, file)
}

fn loaded(file: &Path) -> Table {
    Table::load(file, Path::new("/root"), NOW + 1)
}

#[test]
fn a_file_that_stands_still_is_known_again() {
    let (_folder, file) = written(&[(b"a", stamp(1), known(1)), (b"a/b", stamp(2), known(2)), (b"a-", stamp(3), known(3))]);
    let table = loaded(&file);
    assert_eq!(table.len(), 3);
    assert_eq!(table.at(b"").find(b"a/b", &stamp(2)), Some(known(2)));
    assert_eq!(table.at(b"a").find(b"a/b", &stamp(2)), Some(known(2)));
    assert_eq!(table.at(b"").find(b"a/c", &stamp(2)), None);
    for other in [
        Stamp { size: 9, ..stamp(2) },
        Stamp { mtime: 9, ..stamp(2) },
        Stamp { ctime: 9, ..stamp(2) },
        Stamp { inode: 99, ..stamp(2) },
        Stamp { device: 9, ..stamp(2) },
        Stamp { mode: 0o100_755, ..stamp(2) },
    ] {
        assert_eq!(table.at(b"").find(b"a/b", &other), None, "{other:?}");
    }
}

#[test]
fn a_file_that_had_just_changed_is_not_believed() {
    for (mtime, ctime, believed) in
        [(NOW - AT_REST - 1, NOW - AT_REST - 1, true), (NOW - AT_REST, 0, false), (0, NOW - AT_REST, false), (NOW + 1, 0, false)]
    {
        let young = Stamp { mtime, ctime, ..stamp(1) };
        let (_folder, file) = written(&[(b"a", young, known(1))]);
        assert_eq!(loaded(&file).len(), usize::from(believed), "{mtime} {ctime}");
    }
}

#[test]
fn rows_from_the_future_are_not_believed() {
    let (_folder, file) = written(&[(b"a", stamp(1), known(1))]);
    assert!(Table::load(&file, Path::new("/root"), NOW).at(b"").find(b"a", &stamp(1)).is_some());
    assert!(Table::load(&file, Path::new("/root"), NOW - 1).at(b"").find(b"a", &stamp(1)).is_none(), "the clock was set back");
}

#[test]
fn what_is_damaged_cut_off_or_of_others_is_no_table() {
    let (_folder, file) = written(&[(b"a", stamp(1), known(1)), (b"b", stamp(2), known(2))]);
    let whole = fs_err::read(&file).expect("there");
    assert_eq!(Table::load(&file, Path::new("/other"), NOW).len(), 0);
    for at in 0..whole.len() {
        fs_err::write(&file, &whole[..at]).expect("written");
        assert_eq!(loaded(&file).len(), 0, "cut at {at}");
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs_err::write(&file, &bytes).expect("written");
        assert_eq!(loaded(&file).len(), 0, "byte {at}");
    }
    fs_err::write(&file, [&whole[..], b"x"].concat()).expect("written");
    assert_eq!(loaded(&file).len(), 0, "longer");
    fs_err::remove_file(&file).expect("removed");
    assert_eq!(loaded(&file).len(), 0);
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec("[-a-c.\\x00-\\x1f]{1,3}", 1..4).prop_map(|parts| parts.join("/").into_bytes())
}

proptest! {
    #[test]
    fn the_order_is_that_of_names(a in path(), b in path()) {
        let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        prop_assert_eq!(in_order(&a, &b), parts(&a).cmp(&parts(&b)));
    }

    #[test]
    fn every_row_is_found_from_anywhere(paths in proptest::collection::btree_set(path(), 1..40), from in any::<prop::sample::Index>()) {
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort_by(|a, b| in_order(a, b));
        let rows: Vec<_> = paths.iter().zip(1_u8..).map(|(path, seed)| (path.as_slice(), stamp(seed.into()), known(seed))).collect();
        let (_folder, file) = written(&rows);
        let table = loaded(&file);
        let mut cursor = table.at(b"");
        for at in (0..rows.len()).map(|at| (at + from.index(rows.len())) % rows.len()) {
            prop_assert_eq!(cursor.find(rows[at].0, &rows[at].1), Some(rows[at].2));
        }
    }
}
