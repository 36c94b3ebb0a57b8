//! The history on a real disk. If one of these is wrong, a run's record is lost, wrong, or deleted under a running run.

use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::model::Outcome::Passed;
use crate::model::event::{Close, EventKind, RunEvent};
use crate::model::story::{RUN, file, record, record_of};
use crate::model::verdict::Verdict;

struct Place {
    _directory: tempfile::TempDir,
    history: History,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let history = History::open(&directory.path().join("state")).expect("a history");
    Place { _directory: directory, history }
}

fn run_id() -> RunId {
    RunId(RUN.to_owned())
}

fn events() -> Vec<RunEvent> {
    let mut story = record();
    story.boot(1).plan(&[file("a.py")]).run(0, 1, &[Passed, Passed]).close(1, Close::Clean).end(Verdict::Passed);
    story.events()
}

fn write(history: &History, run: &RunId, events: &[RunEvent]) {
    let writer = history.begin(run).expect("a writer");
    for event in events {
        writer.add(event);
    }
    writer.finish().expect("a written record");
}

fn read(bytes: &[u8]) -> (Vec<RunEvent>, Option<HistoryError>, bool) {
    let mut reader = match RecordReader::new(Path::new("x.splitci"), Cursor::new(bytes)) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error), false),
    };
    let mut events = Vec::new();
    let mut error = None;
    for event in &mut reader {
        match event {
            Ok(event) => events.push(event),
            Err(wrong) => error = Some(wrong),
        }
    }
    (events, error, reader.is_cut_off())
}

fn frames(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| zstd::bulk::compress(part, 3).expect("a frame")).collect()
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let place = place();
    write(&place.history, &run_id(), &events());
    let read: Result<Vec<_>, _> = place.history.read(&run_id()).expect("a record").collect();
    assert_eq!(read.expect("good events"), events());
}

#[test]
fn a_run_that_is_killed_leaves_what_was_flushed() {
    let place = place();
    let writer = place.history.begin(&run_id()).expect("a writer");
    writer.add(&events()[0]);
    writer.flush().expect("flushed");
    let mut reader = place.history.read(&run_id()).expect("a record of a running run");
    assert_eq!(reader.next().expect("an event").expect("a good one"), events()[0]);
    assert!(reader.next().is_none());
    assert!(!reader.is_cut_off(), "frames are written whole");
}

#[test]
fn a_record_cut_anywhere_gives_its_whole_frames() {
    let events = events();
    let mut parts = vec![format::header()];
    for event in &events {
        let mut line = Vec::new();
        format::put_event(event, &mut line);
        parts.push(line);
    }
    let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
    let whole = frames(&parts);
    let mut ends: Vec<_> = parts
        .iter()
        .scan(0, |end, part| {
            *end += frames(&[part]).len();
            Some(*end)
        })
        .collect();
    ends.insert(0, 0);
    for cut in 0..whole.len() {
        let (read, error, cut_off) = read(&whole[..cut]);
        let frames_before = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(read, events[..frames_before.saturating_sub(1)], "cut at {cut}");
        assert!(error.is_none(), "cut at {cut}: {error:?}");
        assert_eq!(cut_off, !ends.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn a_full_disk_is_told_to_whoever_asks() {
    let place = place();
    let path = place.history.record(&run_id());
    let writer = RecordWriter::create(path.clone()).expect("a writer");
    let full = RecordWriter::on(fs::OpenOptions::new().write(true).open("/dev/full").expect("the full device"), path);
    assert!(matches!(full, Err(HistoryError::Write { .. })), "the header is written at once");
    drop(writer);
    assert!(matches!(RecordWriter::create(place.history.record(&run_id())), Err(HistoryError::Write { .. })), "never written over");
}

#[test]
fn a_writer_that_fails_later_keeps_its_error_and_blocks_nobody() {
    // The reading end of a pipe takes the header and is closed.
    let (reading, writing) = std::io::pipe().expect("a pipe");
    let file = fs::File::from_parts(std::fs::File::from(std::os::fd::OwnedFd::from(writing)), "pipe");
    let writer = RecordWriter::on(file, PathBuf::from("pipe")).expect("a writer");
    drop(reading);
    let mut event = events()[0].clone();
    event.kind = EventKind::Notice { session: None, text: "x".repeat(1 << 20) };
    for _ in 0..40 {
        writer.add(&event);
    }
    assert!(matches!(writer.flush(), Err(HistoryError::Write { .. })));
    assert!(writer.error().is_some());
    assert!(matches!(writer.finish(), Err(HistoryError::Write { .. })));
}

#[test]
fn what_is_not_a_record_is_refused() {
    for bytes in [&b"hello"[..], &frames(&[b"{}\n"]), &frames(&[b"\xff\xfe\n"])] {
        assert!(matches!(read(bytes).1, Some(HistoryError::NotARecord(_))));
    }
    let other = frames(&[b"{\"splitci-record\":{\"major\":3,\"minor\":0}}\n"]);
    assert!(matches!(read(&other).1, Some(HistoryError::OtherVersion { .. })));
}

#[test]
fn additions_of_a_newer_minor_are_skipped_and_told() {
    let bytes = frames(&[
        b"{\"splitci-record\":{\"major\":2,\"minor\":7},\"more\":1}\n",
        b"{\"seq\":0,\"at_ms\":5,\"event\":{\"moon_rose\":{\"over\":\"sea\"}}}\n",
        b"{\"seq\":1,\"at_ms\":6,\"event\":{\"notice\":{\"session\":null,\"text\":\"hi\",\"new\":1}},\"new\":2}\n",
    ]);
    let (events, error, _) = read(&bytes);
    assert!(error.is_none());
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1]);
    assert!(matches!(&events[0].kind, EventKind::Notice { text, .. } if text.contains("2.7")));
}

#[test]
fn an_unknown_event_of_a_known_version_is_an_error() {
    let bytes = frames(&[&format::header(), b"{\"seq\":0,\"at_ms\":5,\"event\":{\"moon_rose\":1}}\n"]);
    assert!(matches!(read(&bytes).1, Some(HistoryError::BadEvent { line: 2, .. })));
}

#[test]
fn a_frame_that_would_fill_the_memory_is_refused() {
    let header = frames(&[&format::header()]);
    let mut encoder = zstd::stream::Encoder::new(header, 1).expect("an encoder");
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), format::MAX_FRAME as u64 + 10), &mut encoder).expect("compressed");
    let bytes = encoder.finish().expect("a frame");
    assert!(matches!(read(&bytes).1, Some(HistoryError::HugeFrame { frame: 1, .. })));
}

proptest! {
    #[test]
    fn damage_is_an_error_or_a_shorter_record_and_never_another_one(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let place = place();
        write(&place.history, &run_id(), &events());
        let mut bytes = fs::read(place.history.record(&run_id())).expect("a record");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (read, error, cut_off) = read(&bytes);
        prop_assert!(events().starts_with(&read));
        prop_assert!(error.is_some() || cut_off || read == events());
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _unused = read(&bytes);
        let mut after_header = frames(&[&format::header()]);
        after_header.extend(bytes);
        let _unused = read(&after_header);
    }
}

/// Three ended runs, oldest first, and the newest still going on.
fn four_runs(history: &History) -> (Vec<RunId>, RecordWriter) {
    let ids: Vec<_> = ["01JD1A", "01JD1B", "01JD2C", "01JD3D"].map(|name| RunId(name.to_owned())).into();
    for id in &ids[..3] {
        write(history, id, &record_of(&id.0, "2026-11-23T10:00:00Z").events());
    }
    let running = history.begin(&ids[3]).expect("a writer");
    (ids, running)
}

#[test]
fn runs_are_listed_newest_first_and_running_ones_are_known() {
    let place = place();
    let (mut ids, running) = four_runs(&place.history);
    ids.reverse();
    let entries = place.history.entries().expect("entries");
    assert_eq!(entries.iter().map(|entry| entry.run.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(entries.iter().map(|entry| entry.running).collect::<Vec<_>>(), [true, false, false, false]);
    drop(running);
    assert!(!place.history.entries().expect("entries")[0].running);
}

#[test]
fn a_run_is_meant_by_its_name_its_beginning_or_last() {
    let place = place();
    assert!(matches!(place.history.resolve("last"), Err(HistoryError::NoRuns)));
    let (ids, _running) = four_runs(&place.history);
    assert_eq!(place.history.resolve("last").expect("a run"), ids[2]);
    assert_eq!(place.history.resolve("01JD3D").expect("a run"), ids[3]);
    assert_eq!(place.history.resolve("01jd2").expect("a run"), ids[2]);
    assert!(matches!(place.history.resolve("01JD1"), Err(HistoryError::AmbiguousRun { runs, .. }) if runs.len() == 2));
    assert!(matches!(place.history.resolve("nope"), Err(HistoryError::NoSuchRun(_))));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Length(usize);

#[test]
fn rows_are_worked_out_once() {
    let place = place();
    let (ids, _running) = four_runs(&place.history);
    let folds = std::cell::Cell::new(0);
    let length = |record: &mut RecordFile| {
        folds.set(folds.get() + 1);
        Ok(Length(record.count()))
    };
    let first = place.history.list(10, length).expect("rows");
    assert_eq!(first.iter().map(|row| row.row.as_ref().expect("a row").0).collect::<Vec<_>>(), [0, 1, 1, 1]);
    place.history.list(10, length).expect("rows");
    assert_eq!(folds.get(), 5, "four at first, and the running one again");
    fs::write(place.history.row(&ids[0]), "damaged").expect("written");
    place.history.list(10, length).expect("rows");
    assert_eq!(folds.get(), 7);
    assert_eq!(place.history.list(2, length).expect("rows").len(), 2);
}

#[test]
fn retention_deletes_the_oldest_and_never_a_running_run() {
    let place = place();
    let (ids, _running) = four_runs(&place.history);
    assert_eq!(place.history.retain(Keep::default()).expect("retained"), []);
    assert_eq!(place.history.retain(Keep { records: 3, bytes: 1 << 30 }).expect("retained"), [ids[0].clone()]);
    let older = RunId("01JD0Z".to_owned());
    let _running_too = place.history.begin(&older).expect("a writer");
    assert_eq!(place.history.retain(Keep { records: 1, bytes: 1 }).expect("retained"), [ids[2].clone(), ids[1].clone()]);
    let left = place.history.entries().expect("entries");
    assert_eq!(left.iter().map(|entry| entry.run.clone()).collect::<Vec<_>>(), [ids[3].clone(), older]);
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fake {
    runs: u32,
}

#[test]
fn timings_are_kept_between_runs() {
    let place = place();
    let timings = place.history.timings();
    assert_eq!(timings.load::<Fake>(), Kept { timings: Fake::default(), notice: None });
    timings.update(|fake: &mut Fake| fake.runs += 1).expect("updated");
    assert_eq!(timings.load::<Fake>().timings, Fake { runs: 1 });
}

#[test]
fn damaged_timings_are_started_anew_and_the_user_is_told() {
    let place = place();
    let timings = place.history.timings();
    for (damage, why) in [("{", "damaged"), ("{\"splitci-timings\":9,\"timings\":{\"runs\":4}}", "another version")] {
        fs::write(timings.path(), damage).expect("written");
        let kept = timings.load::<Fake>();
        assert_eq!(kept.timings, Fake::default());
        assert!(kept.notice.expect("a notice").contains(why));
    }
    timings.update(|fake: &mut Fake| fake.runs += 1).expect("updated");
    assert_eq!(timings.load::<Fake>(), Kept { timings: Fake { runs: 1 }, notice: None });
}

#[test]
fn two_runs_that_end_together_both_have_their_say() {
    let place = place();
    let history = Arc::new(place.history.clone());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let history = Arc::clone(&history);
            std::thread::spawn(move || {
                for _ in 0..25 {
                    history.timings().update(|fake: &mut Fake| fake.runs += 1).expect("updated");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(place.history.timings().load::<Fake>().timings, Fake { runs: 100 });
}
