//! Numbers that survive: several at once, cut off in the middle, from another version, and too many.

use super::*;

fn tally(run: &str, hits: u64) -> Tally {
    let stats = StoreStats {
        records: BTreeMap::from([("image".into(), Lookups { hits, absent: 1, ..Lookups::default() })]),
        ..StoreStats::default()
    };
    Tally {
        at: format!("2026-11-0{run}T00:00:00Z"),
        run: run.into(),
        tiers: BTreeMap::from([("local".into(), stats)]),
        layers: BTreeMap::from([("image".into(), Worth { reused: hits, saved_ms: 1000 * hits, cost_ms: 10 })]),
        refused: BTreeMap::from([("stranger".into(), 1)]),
        ..Tally::default()
    }
}

#[test]
fn runs_are_added_up() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(sum(directory.path()).expect("nothing yet"), Sum::default());
    note(directory.path(), &tally("1", 2)).expect("noted");
    note(directory.path(), &tally("2", 3)).expect("noted");
    let sum = sum(directory.path()).expect("read");
    assert_eq!((sum.runs, sum.since.as_deref()), (2, Some("2026-11-01T00:00:00Z")));
    let lookups = sum.tiers["local"].records["image"];
    assert_eq!((lookups.hits, lookups.absent, lookups.misses()), (5, 2, 2));
    assert_eq!((sum.layers["image"].net_ms(), sum.refused["stranger"]), (4980, 2));
}

#[test]
fn what_costs_more_than_it_saves_shows() {
    assert_eq!(Worth { reused: 1, saved_ms: 100, cost_ms: 350 }.net_ms(), -250);
}

#[test]
fn a_line_that_was_cut_off_loses_itself_only() {
    let directory = tempfile::tempdir().expect("a directory");
    note(directory.path(), &tally("1", 1)).expect("noted");
    let whole = fs::read(place(directory.path())).expect("read");
    for length in 1..whole.len() - 1 {
        fs::write(place(directory.path()), &whole[..length]).expect("written");
        note(directory.path(), &tally("2", 1)).expect("noted");
        assert_eq!(sum(directory.path()).expect("read").runs, 1, "{length} of {} bytes", whole.len());
    }
    fs::write(place(directory.path()), b"\xff\xfe{}\n{\"version\":9}\n\n").expect("written");
    note(directory.path(), &tally("3", 1)).expect("noted");
    assert_eq!(sum(directory.path()).expect("read").runs, 1);
}

#[test]
fn those_who_note_at_once_do_not_lose_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| note(directory.path(), &tally("1", 1)).expect("noted")));
        }
    });
    assert_eq!(sum(directory.path()).expect("read").runs, 160);
}

#[test]
fn many_runs_do_not_take_more_and_more_room() {
    let directory = tempfile::tempdir().expect("a directory");
    note(directory.path(), &tally("1", 1)).expect("noted");
    let line = fs::read(place(directory.path())).expect("read");
    let many = usize::try_from(MOST_BYTES).expect("small") / line.len() + 2;
    fs::write(place(directory.path()), line.repeat(many)).expect("written");
    note(directory.path(), &tally("2", 1)).expect("noted");
    let sum = sum(directory.path()).expect("read");
    assert!(sum.runs > many / 3 && sum.runs < many / 2 + 3, "{} of {many}", sum.runs);
}
