//! Reports of made-up runs. If one of these is wrong, a person or a CI system is told something else than what happened.

use std::path::Path;

use proptest::prelude::*;

use super::failed::{FailedFile, failed};
use super::*;
use crate::history::History;
use crate::model::Outcome::{Errored, ExpectedFailure, Failed, Passed, Skipped, UnexpectedPass};
use crate::model::event::{Cancelled, Close, Crash, EventKind, ImageSource, Proven, ShardLoss};
use crate::model::settings::Flaky;
use crate::model::story::{RUN, Story, fallback, file, id, proven, record, record_with_retries, record_with_reuse, slice};
use crate::model::verdict::Verdict;
use crate::model::{Exit, Manifest, RunId};

const WIDTH: usize = 100;

fn account_of(events: &[RunEvent]) -> Account {
    let mut account = Account::new(Depth::Outputs);
    for event in events {
        account.apply(event);
    }
    account
}

/// Everything green, in three files and two shards.
fn green() -> Story {
    let mut story = record();
    story.wait(4_000).image(ImageSource::Found).boot(1).plan(&[file("tests/test_a.py"), file("tests/test_b.py"), file("tests/test_c.py")]);
    story.boot(2).run(0, 1, &[Passed, Passed, Skipped]).lease(1, 2).declare(1, 2).wait(2_000);
    story.test_with(1, 0, Passed, |test| test.micros = 2_345_000).test_with(1, 1, Passed, |test| test.micros = 1_200_000);
    story.finish(1).run(2, 1, &[ExpectedFailure, UnexpectedPass]);
    story.notice("coverage threshold not checked: a shard sees only a part of the suite");
    story.notice("coverage threshold not checked: a shard sees only a part of the suite");
    story.close(1, Close::Clean).close(2, Close::Clean).end(Verdict::Passed);
    story
}

/// A test that passes at its third attempt, in a run that is green.
fn flaky() -> Story {
    let mut story = record_with_retries(2, Flaky::Pass);
    story.boot(1).plan(&[file("tests/test_a.py")]).boot(2).lease(0, 1).declare(0, 2).test(0, 0, Passed);
    story.test_with(0, 1, Failed, |test| "said at first\n".clone_into(&mut test.output)).finish(0);
    for (attempt, outcome) in [(1, Errored), (2, Passed)] {
        let unit = story.retry(0, attempt, &[1]);
        story.lease(unit, 2).declare_some(unit, 2, Some(&[1])).test(unit, 1, outcome).finish(unit);
    }
    story.close(1, Close::Clean).close(2, Close::Clean).end(Verdict::Passed);
    story
}

#[test]
fn a_flaky_test_is_green_and_named_everywhere() {
    let account = account_of(&flaky().events());
    let summary = summary::render(&account, WIDTH);
    assert!(
        summary.starts_with("FLAKY   tests/test_a.py::test_1\n        tests/test_a.py:11: AssertionError: assert 1 == 2\n"),
        "{summary}"
    );
    assert!(
        summary.contains("failed in session 1.1, passed in session 2.1") && summary.ends_with("2 passed, 1 of them flaky\n"),
        "{summary}"
    );
    let junit = junit::render(&account).expect("a report");
    assert!(junit.contains("tests=\"2\" skipped=\"0\" failures=\"0\" errors=\"0\""), "{junit}");
    assert!(junit.contains("<flakyFailure") && junit.contains("<flakyError") && junit.contains("said at first"), "{junit}");
    let found = findings::findings(&account);
    assert_eq!(found.iter().map(|finding| (finding.mild, finding.line)).collect::<Vec<_>>(), [(true, 11)]);
    assert!(code_quality::render(&account, "").contains("\"severity\": \"minor\""));
    let json: serde_json::Value = serde_json::from_str(&json::render(&account)).expect("a document");
    let tries = json["tests"][1]["tries"].as_array().expect("tries").iter().map(|one| one["outcome"].clone());
    assert_eq!(tries.collect::<Vec<_>>(), ["failed", "errored", "passed"]);
    assert_eq!((&json["tests"][0]["tries"], failed(account.proof()).len()), (&serde_json::Value::Null, 0));
}

/// Two files that are not run, one of a run whose record is gone; a canary that agrees, and one that does not and is green all the same.
fn reusing() -> Story {
    let mut story = record_with_reuse();
    let files = ["tests/test_a.py", "tests/test_b.py", "tests/test_c.py", "tests/test_d.py"];
    let gone = Proven { of: RunId("01JAAAAAAA0000000000000000".to_owned()), record: false, ..proven(files[1], &[Passed]) };
    story.wait(4_000).image(ImageSource::Found).boot(1).list(&files).reuse(files[0], &[Passed, Skipped]);
    story.say(EventKind::FileReused(Box::new(gone))).canary(files[2], &[Passed]).canary(files[3], &[Passed, Passed]);
    story.freeze(Manifest { units: vec![file(files[2]), file(files[3])] });
    story.run(0, 1, &[Passed]).run(1, 1, &[Passed, Skipped]).close(1, Close::Clean).end(Verdict::Passed);
    story
}

#[test]
fn what_was_not_run_is_told_apart_and_by_what_it_is_proven() {
    insta::assert_snapshot!(summary::render(&account_of(&reusing().events()), WIDTH));
}

#[test]
fn junit_of_files_that_were_not_run() {
    insta::assert_snapshot!(junit::render(&account_of(&reusing().events())).expect("a document"));
}

#[test]
fn programs_and_pages_are_told_what_was_not_run() {
    let account = account_of(&reusing().events());
    let json: serde_json::Value = serde_json::from_str(&json::render(&account)).expect("a document");
    assert_eq!(
        (json["counts"]["reused"].as_u64(), json["counts"]["passed"].as_u64(), json["tests"].as_array().map(Vec::len)),
        (Some(3), Some(2), Some(3))
    );
    assert_eq!((&json["reused"][1]["of"], &json["reused"][1]["record"]), (&"01JAAAAAAA0000000000000000".into(), &false.into()));
    let shown: Vec<_> = json["canaries"].as_array().expect("canaries").iter().map(|canary| canary["shows"].clone()).collect();
    assert_eq!(shown, ["agrees", "differs"]);
    let found = findings::findings(&account);
    assert_eq!(found.iter().map(|finding| (&*finding.what, finding.mild)).collect::<Vec<_>>(), [("tests/test_d.py", true)]);
    let page = markdown::render(&account);
    assert!(page.starts_with("### PASSED  6 tests: 3 reused, 2 passed, 1 skipped\n") && page.contains("does not do what it did"), "{page}");
}

/// Everything that can go wrong and still leaves a verdict.
fn red() -> Story {
    let mut story = record();
    story.wait(41_200).image(ImageSource::Built).boot(1);
    story.plan(&[
        file("tests/test_a.py"),
        file("tests/test_b.py"),
        slice("tests/test_s.py", &[0, 1]),
        slice("tests/test_s.py", &[2]),
        fallback("tests/test_s.py"),
        file("tests/test_broken.py"),
    ]);
    story.boot(2).lease(0, 1).declare(0, 4).test(0, 0, Passed);
    story.test_with(0, 1, Failed, |test| {
        test.message =
            "\u{1b}[31mAssertionError\u{1b}[0m: assert 'expected' == 'got', which is a very long sentence that will not fit on any line"
                .to_owned();
        test.output = "captured \u{0} ]]> <out>\n".to_owned();
        test.details = "def test_1():\n>   assert 'expected' == 'got'\nE   AssertionError\n".to_owned();
    });
    story.test_with(0, 2, Skipped, |test| test.message = "needs a network".to_owned());
    story.interrupt(0, 3, Some(3)).close_with(1, Close::Lost, |ended| ended.how = Exit::Signal(11)).ready(1);
    story.lease_from(0, 1, 3).declare(0, 4).interrupt(0, 3, Some(3)).crash(0, 3, 1, Crash::Signal(11)).close(1, Close::Lost);
    story.ready(1).lease(1, 2).declare_ids(1, vec![id("tests/test_b.py", 0), "tests/test_b.py::TestX::test_it's[a::b]".to_owned()], None);
    story.interrupt(1, 0, Some(0)).lose(2, ShardLoss::Killed).boot(2).run(1, 2, &[Passed, Errored]);
    story.lease(2, 1).declare_some(2, 3, Some(&[0, 1])).test(2, 0, Passed).test(2, 1, Passed).finish(2);
    story.lease(3, 2).declare_some(3, 4, Some(&[3])).supersede(2).supersede(3).run(4, 1, &[Passed, Passed, Passed]);
    story.lease(5, 2).declare_ids(5, vec!["tests/test_broken.py".to_owned()], None);
    story.test_with(5, 0, Errored, |test| test.message = "ModuleNotFoundError: No module named 'nope'".to_owned()).finish(5);
    story.close_with(1, Close::Clean, |ended| ended.strays = 3);
    story.close_with(2, Close::Dirty, |ended| {
        ended.how = Exit::Code(3);
        ended.errors = "Traceback (most recent call last):\n  File \"conftest.py\", line 9\nRuntimeError: after the last test\n".to_owned();
    });
    story.end(Verdict::Failed { complete: true });
    story
}

/// Killed in the middle.
fn killed() -> Story {
    let mut story = record();
    story.boot(1).plan(&[file("tests/test_a.py"), file("tests/test_b.py")]).lease(0, 1).declare(0, 2).test(0, 0, Passed);
    story
}

fn interrupted() -> Story {
    let mut story = killed();
    story.cancel(Cancelled::Interrupted).interrupt(0, 1, None).close(1, Close::Lost).end(Verdict::Interrupted);
    story
}

fn lost() -> Story {
    let mut story = killed();
    story.interrupt(0, 1, Some(1)).lose(1, ShardLoss::Gone).crash(0, 1, 1, Crash::ShardLost).boot(1).run(1, 1, &[Passed]);
    story.close(1, Close::Clean).end(Verdict::None);
    story
}

#[test]
fn a_green_run_ends_with_its_counts() {
    insta::assert_snapshot!(summary::render(&account_of(&green().events()), WIDTH));
}

#[test]
fn a_red_run_names_every_failure_and_how_to_reproduce_it() {
    insta::assert_snapshot!(summary::render(&account_of(&red().events()), WIDTH));
}

#[test]
fn pages_of_a_red_and_of_a_green_run() {
    insta::assert_snapshot!(markdown::render(&account_of(&red().events())));
    insta::assert_snapshot!(markdown::render(&account_of(&green().events())));
}

#[test]
fn code_quality_of_a_red_run() {
    insta::assert_snapshot!(code_quality::render(&account_of(&red().events()), ""));
    assert_eq!(code_quality::render(&account_of(&green().events()), ""), "[]\n");
}

#[test]
fn only_a_green_run_has_no_findings() {
    assert_eq!(findings::findings(&account_of(&green().events())), []);
    for story in [red(), killed(), interrupted(), lost(), Story::default()] {
        assert_ne!(findings::findings(&account_of(&story.events())), []);
    }
}

#[test]
fn a_killed_run_has_no_verdict_and_says_so() {
    insta::assert_snapshot!(summary::render(&account_of(&killed().events()), WIDTH));
}

#[test]
fn an_interrupted_run_says_so() {
    insta::assert_snapshot!(summary::render(&account_of(&interrupted().events()), WIDTH));
}

#[test]
fn a_run_whose_shards_were_lost_names_what_is_not_proven() {
    insta::assert_snapshot!(summary::render(&account_of(&lost().events()), WIDTH));
}

#[test]
fn a_record_of_nothing_has_a_summary() {
    insta::assert_snapshot!(summary::render(&Account::new(Depth::Messages), WIDTH));
}

#[test]
fn reasons_errors_and_notes_fit_the_width() {
    let text = summary::render(&account_of(&red().events()), 60);
    let fitted = text.lines().filter(|line| line.starts_with("  ") && !line.contains("splitci repro"));
    let long: Vec<_> = fitted.filter(|line| line.chars().count() > 60).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn a_suite_that_fails_altogether_has_a_summary_that_can_be_read() {
    let mut story = record();
    story.boot(1).plan(&[file("a.py")]).run(0, 1, &[Failed; 150]).close(1, Close::Clean).end(Verdict::Failed { complete: true });
    let text = summary::render(&account_of(&story.events()), WIDTH);
    assert_eq!(text.matches("FAILED  a.py").count(), 100);
    assert!(text.contains("and 50 more failures"));
}

#[test]
fn junit_of_a_red_run() {
    insta::assert_snapshot!(junit::render(&account_of(&red().events())).expect("a document"));
}

#[test]
fn junit_of_a_green_run() {
    insta::assert_snapshot!(junit::render(&account_of(&green().events())).expect("a document"));
}

#[test]
fn junit_never_looks_green_when_the_run_is_not() {
    for story in [red(), killed(), interrupted(), lost(), record()] {
        let text = junit::render(&account_of(&story.events())).expect("a document");
        let report = quick_junit::Report::deserialize_from_str(&text).expect("valid XML");
        assert!(report.errors + report.failures > 0, "{text}");
    }
}

#[test]
fn json_of_a_red_run() {
    insta::assert_snapshot!(pretty(&json::render(&account_of(&red().events()))));
}

#[test]
fn json_of_a_green_run() {
    insta::assert_snapshot!(pretty(&json::render(&account_of(&green().events()))));
}

fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("valid JSON");
    serde_json::to_string_pretty(&value).expect("pretty JSON")
}

/// A difference here is a change of the record's format: it takes a new version, and old records have to be read still.
#[test]
fn the_lines_of_a_record_do_not_change() {
    let events = red().events().into_iter().chain(interrupted().cancel(Cancelled::Deadline).notice("n").events());
    let lines: Vec<_> = events.flat_map(|event| event_line(&event)).collect();
    insta::assert_snapshot!(String::from_utf8(lines).expect("lines are text"));
}

#[test]
fn a_replayed_record_gives_the_same_bytes_as_the_run_did() {
    for story in [green(), red(), killed(), interrupted(), lost(), reusing(), record()] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let history = History::open(directory.path()).expect("a history");
        let run = RunId(RUN.to_owned());
        let writer = history.begin(&run).expect("a writer");
        let mut live = Account::new(Depth::Outputs);
        for event in story.events() {
            writer.add(&event);
            live.apply(&event);
        }
        writer.finish().expect("a record");
        let replayed = Account::replay(&mut history.read(&run).expect("a record"), Depth::Outputs).expect("an account");
        assert_eq!(summary::render(&live, WIDTH), summary::render(&replayed, WIDTH));
        assert_eq!(junit::render(&live).expect("a document"), junit::render(&replayed).expect("a document"));
        assert_eq!(json::render(&live), json::render(&replayed));
    }
}

#[test]
fn a_damaged_record_is_reported_as_far_as_it_goes_and_has_no_verdict() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let history = History::open(directory.path()).expect("a history");
    let run = RunId(RUN.to_owned());
    let writer = history.begin(&run).expect("a writer");
    for event in green().events() {
        writer.add(&event);
        writer.flush().expect("flushed");
    }
    writer.finish().expect("a record");
    damage_the_end(&history.record(&run));
    let account = Account::replay(&mut history.read(&run).expect("a record"), Depth::Outputs).expect("an account");
    assert_eq!(account.verdict(), Verdict::None);
    assert!(account.damage().expect("damage").contains("damaged"));
    assert!(summary::render(&account, WIDTH).contains("is damaged"));
}

fn damage_the_end(path: &Path) {
    let mut bytes = fs_err::read(path).expect("a record");
    let at = bytes.len() - 8;
    bytes[at] ^= 0xff;
    fs_err::write(path, bytes).expect("written");
}

#[test]
fn the_failed_tests_of_a_run_can_be_run_again() {
    let account = account_of(&red().events());
    let expected = [
        ("tests/test_a.py", vec![id("tests/test_a.py", 1), id("tests/test_a.py", 3)]),
        ("tests/test_b.py", vec![id("tests/test_b.py", 1)]),
        ("tests/test_broken.py", vec![]),
    ];
    let expected = expected.map(|(file, ids)| FailedFile { file: file.to_owned(), ids });
    assert_eq!(failed(account.proof()), expected);
}

#[test]
fn a_row_says_how_a_run_went() {
    let row = row::of(&account_of(&red().events())).expect("a row");
    assert_eq!((row.verdict, row.exit, row.counts.total()), (Verdict::Failed { complete: true }, Some(1), 10));
    assert_eq!(row::of(&Account::new(Depth::Messages)), None);
}

#[test]
fn outputs_beyond_the_limit_are_left_out_and_said_to_be() {
    let mut story = record();
    story.boot(1).plan(&[file("a.py")]).lease(0, 1).declare(0, 3);
    for ordinal in 0..3 {
        story.test_with(0, ordinal, Failed, |test| test.output = "x".repeat(700));
    }
    story.finish(0).close(1, Close::Clean).end(Verdict::Failed { complete: true });
    let mut account = Account::with_room(Depth::Outputs, 1_600);
    for event in story.events() {
        account.apply(&event);
    }
    let xml = junit::render(&account).expect("a document");
    assert_eq!(xml.matches("left out: the outputs").count(), 1);
    assert_eq!(json::render(&account).matches("\"left_out\":true").count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_evidence_gives_valid_documents(name in any::<String>(), control in "[\\x00-\\x20\u{fffe}\u{ffff}\u{7f}-\u{9f}<>&'\"\\]]{0,30}") {
        let mut story = record_with_reuse();
        let known = proven(&format!("{control}{name}"), &[Passed, Skipped]);
        let known = Proven { of: RunId(format!("01{control}")), key: format!("k{control}"), at: format!("t{control}"), ..known };
        story.boot(1).list(&[&known.file]).say(EventKind::FileReused(Box::new(known.clone()))).freeze(Manifest { units: Vec::new() });
        let account = account_of(&story.close(1, Close::Clean).end(Verdict::Passed).events());
        let xml = junit::render(&account).expect("a document");
        let report = quick_junit::Report::deserialize_from_str(&xml).expect("valid XML");
        prop_assert_eq!((report.tests, report.failures, report.skipped), (2, 0, 1));
        let text = summary::render(&account, WIDTH);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
    }

    #[test]
    fn any_text_gives_valid_documents(id in any::<String>(), message in any::<String>(), output in any::<String>(), control in "[\\x00-\\x20\u{fffe}\u{ffff}\u{7f}-\u{9f}<>&'\"\\]]{0,30}") {
        let mut story = record();
        let ids = vec![format!("{id}{control}"), control.clone()];
        story.boot(1).plan(&[file(&format!("{control}{id}"))]).lease(0, 1).declare_ids(0, ids, None);
        story.test_with(0, 0, Failed, |test| {
            test.message = format!("{message}{control}");
            test.output = format!("{control}{output}");
            test.details = format!("{output}{control}");
            test.file = id.clone();
        });
        story.test_with(0, 1, Skipped, |test| test.message.clone_from(&control)).finish(0);
        story.close_with(1, Close::Dirty, |ended| ended.errors = format!("{control}{output}"));
        story.say(EventKind::Notice { session: None, text: control.clone() }).end(Verdict::Failed { complete: true });
        let account = account_of(&story.events());
        let xml = junit::render(&account).expect("a document");
        prop_assert!(xml.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)), "{:?}", xml);
        let report = quick_junit::Report::deserialize_from_str(&xml).expect("valid XML");
        prop_assert_eq!((report.tests, report.failures, report.skipped), (3, 1, 1));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json::render(&account)).is_ok());
        let text = summary::render(&account, WIDTH);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
    }
}
