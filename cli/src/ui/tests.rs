//! What people see of a run, wide and narrow, live and calm.

use splitci_coordinator::model::SuiteId;
use splitci_coordinator::model::event::{
    Cancelled, Close, Crash, EventKind, ImageSource, Proven, ProvenTest, RunEvent, SessionEnded, ShardLoss, TestFinished,
};
use splitci_coordinator::model::progress::{BuildStep, BuildStepState};
use splitci_coordinator::model::{
    Exit, Fence, ImageIdentity, Manifest, Outcome, Progress, RunId, SessionId, ShardId, Slot, Telling, TestKey, Unit, UnitId, UnitKind,
};

use super::rows::{Size, bytes, rows, span};
use super::teller::{Lines, Teller};
use super::terminal::Paint;

const WIDE: Size = Size { width: 110, height: 24 };
const NARROW: Size = Size { width: 48, height: 24 };

/// A run being told.
struct Told {
    teller: Teller,
    now: u64,
    lines: Lines,
}

impl Told {
    fn new() -> Self {
        Self { teller: Teller::new(Paint(false), false, None), now: 0, lines: Lines::default() }
    }

    fn hear(mut self, telling: &Telling) -> Self {
        self.now += 500;
        let said = self.teller.hear(telling, self.now);
        self.lines.always += &said.always;
        self.lines.calm += &said.calm;
        self
    }

    fn event(self, kind: EventKind) -> Self {
        self.hear(&Telling::Event(RunEvent { seq: 0, at_ms: 0, kind }))
    }

    fn progress(self, progress: Progress) -> Self {
        self.hear(&Telling::Progress(progress))
    }

    fn step(self, id: &str, name: &str, state: BuildStepState) -> Self {
        self.progress(Progress::BuildStep(BuildStep { id: id.into(), name: name.into(), state }))
    }

    fn plan(self, files: &[(&str, Option<u64>)]) -> Self {
        let unit = |(file, predicted_ms): &(&str, Option<u64>)| Unit {
            predicted_ms: *predicted_ms,
            ..Unit::new(SuiteId::default(), *file, UnitKind::File)
        };
        self.event(EventKind::PlanMade { manifest: Manifest { units: files.iter().map(unit).collect() }, hash: String::new() })
    }

    fn boot(self, shards: u32) -> Self {
        let started = |told: Self, n| told.event(EventKind::ShardStarted { shard: ShardId(n), restarts: 0, name: "x".into() });
        let ready = |told: Self, n| {
            let (framework, version) = ("pytest".to_owned(), "8.3.4".to_owned());
            let told = told.event(EventKind::ShardReady { shard: ShardId(n) });
            told.event(EventKind::SessionReady {
                suite: SuiteId::default(),
                session: session(n),
                framework,
                version,
                seed: 1,
                boot_ms: 1_230,
                list_hash: String::new(),
            })
        };
        (1..=shards).fold((1..=shards).fold(self, started), ready)
    }

    fn lease(self, unit: u32, shard: u32, ids: &[&str]) -> Self {
        let (unit, fence) = (UnitId(unit), Fence(unit.into()));
        let told = self.event(EventKind::UnitLeased { unit, fence, session: session(shard), from: 0, suspect: false });
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        told.event(EventKind::UnitDeclared { unit, fence, ids, selected: None })
    }

    fn test(self, unit: u32, ordinal: u32, outcome: Outcome) -> Self {
        let (file, line, message) = if outcome.is_bad() { ("tests/a.py".into(), 7, "assert 1 == 2".into()) } else { Default::default() };
        self.event(EventKind::TestFinished(Box::new(TestFinished {
            test: key(unit, ordinal),
            fence: Fence(unit.into()),
            outcome,
            micros: 20_000,
            file,
            line,
            message,
            output: String::new(),
            details: String::new(),
        })))
    }

    fn end(self, unit: u32) -> Self {
        self.event(EventKind::UnitFinished { unit: UnitId(unit), fence: Fence(unit.into()) })
    }

    fn rows(&self, size: Size) -> String {
        rows(&self.teller.board, self.now, size, Paint(false)).join("\n")
    }
}

fn session(shard: u32) -> SessionId {
    SessionId { shard: ShardId(shard), number: 1 }
}

fn key(unit: u32, ordinal: u32) -> TestKey {
    TestKey { unit: UnitId(unit), ordinal }
}

fn running() -> Told {
    let files =
        [("tests/test_cart.py", Some(2_000)), ("tests/test_checkout_with_a_rather_long_name.py", Some(4_000)), ("tests/c.py", Some(9_000))];
    let told = Told::new().boot(3).plan(&files);
    let told = told.lease(0, 1, &["tests/test_cart.py::test_a", "tests/test_cart.py::test_b"]);
    let told = told.lease(1, 2, &["tests/test_checkout_with_a_rather_long_name.py::test_of_something_long"]);
    let told = told.test(0, 0, Outcome::Passed).test(0, 1, Outcome::Failed).end(0);
    told.progress(Progress::Running { session: session(2), at: Slot::Test { unit: 1, ordinal: 0 }, for_ms: 61_000 })
}

#[test]
fn each_shard_has_a_line_and_the_whole_has_one() {
    insta::assert_snapshot!(running().rows(WIDE), @r"
    1  waiting for work                                                                     1 bad      2 tests
    2  tests/test_checkout_with_a_rather_long_name.py::test_of_something_long                0:09      0 tests
    3  waiting for work                                                                                0 tests
       [======>             ]  1/3 units  2 tests  1 failed  0:08, about 0:04 left
    ");
}

#[test]
fn a_narrow_terminal_gets_what_matters() {
    insta::assert_snapshot!(running().rows(NARROW), @r"
    1  waiting for work             1 bad      2
    2  tests/test_checkout_with_a_rather~      0
    3  waiting for work                        0
       1/3 units  2 tests  1 failed  0:08, about
    ");
}

#[test]
fn no_line_is_ever_wider_than_the_terminal() {
    for width in 1..120 {
        for line in rows(&running().teller.board, 10_000, Size { width, height: 10 }, Paint(true)) {
            assert!(console::measure_text_width(&line) < width.max(11), "{width}: {line}");
        }
    }
}

#[test]
fn more_shards_than_lines_are_counted() {
    let told = Told::new().boot(40).plan(&[("a.py", None)]);
    let shown = told.rows(Size { width: 80, height: 10 });
    assert_eq!(shown.lines().count(), 8);
    assert!(shown.contains("and 34 more"), "{shown}");
}

#[test]
fn a_build_shows_the_steps_that_run_and_keeps_those_that_are_done() {
    let told = Told::new().progress(Progress::Doing("looking for the image".into())).progress(Progress::ContextSent(3 << 20));
    let told =
        told.step("1", "[1/3] FROM python:3.12", BuildStepState::Started).step("1", "[1/3] FROM python:3.12", BuildStepState::Cached);
    let told = told.step("2", "[2/3] RUN pip install -r requirements.txt", BuildStepState::Started);
    let told = told.progress(Progress::BuildLog { step: "2".into(), text: "Collecting flask\nDownloading flask-3.0\n".into() });
    insta::assert_snapshot!(told.rows(WIDE), @r"
    [2/3] RUN pip install -r requirements.txt  Downloading flask-3.0                                   0:00
    building the image  context 3.0 MiB  0:01
    ");
    let identity = ImageIdentity { platform: "linux/amd64".into(), config: "sha256:1".into(), manifest: None };
    let told = told.step("2", "[2/3] RUN pip install -r requirements.txt", BuildStepState::Done(12_345));
    let told = told.event(EventKind::ImageReady {
        identity,
        reference: "splitci/shop:3f2a".into(),
        how: ImageSource::Built,
        key: None,
        took_ms: 0,
        saved_ms: 0,
        steps: None,
    });
    insta::assert_snapshot!(told.lines.always, @r"
    build [1/3] FROM python:3.12  cached
    build [2/3] RUN pip install -r requirements.txt  12.3 s
    image splitci/shop:3f2a, built in 2.50 s
    ");
    assert_eq!(told.lines.calm, "       looking for the image\n");
}

#[test]
fn what_is_not_run_is_told_when_it_is_known() {
    let known = |file: &str, tests: usize| {
        let test = |n| ProvenTest { id: format!("{file}::test_{n}"), outcome: Outcome::Passed, micros: 1 };
        let (of, key, at) = (RunId("01JA".into()), "5eed".into(), "2026-11-20T09:00:00Z".into());
        Box::new(Proven { suite: SuiteId::default(), file: file.into(), of, key, at, record: true, tests: (0..tests).map(test).collect() })
    };
    let told = Told::new().event(EventKind::FileReused(known("tests/a.py", 3))).event(EventKind::FileReused(known("tests/b.py", 1)));
    let told = told.event(EventKind::CanaryPlanned(known("tests/c.py", 1))).plan(&[("tests/c.py", None)]);
    assert_eq!(told.lines.always, "reused 4 tests in 2 files; 1 file run again to see\n");
}

#[test]
fn failures_and_losses_are_told_when_they_happen() {
    let crash = EventKind::TestCrashed { test: key(1, 0), id: "tests/b.py::test_x".into(), session: session(2), how: Crash::Signal(11) };
    let lost = EventKind::ShardLost { shard: ShardId(3), cause: ShardLoss::Killed, detail: "exit status 137".into() };
    let notice = || EventKind::Notice { session: Some(session(1)), text: "coverage threshold not checked".into() };
    let told = running().event(ended(Close::Dirty, Exit::Code(3), Slot::Closing, "conftest.py: boom")).event(crash).event(lost);
    let told = told.event(ended(Close::Lost, Exit::Signal(9), Slot::Test { unit: 1, ordinal: 0 }, ""));
    let told = told.event(notice()).event(notice()).event(EventKind::RunCancelled { reason: Cancelled::Interrupted });
    insta::assert_snapshot!(told.lines.always, @r"
     ready pytest 8.3.4 in 1.23 s

    FAILED tests/test_cart.py::test_b  (shard 1, 0.02 s)
      tests/a.py:7: assert 1 == 2

    ERROR session 1.1 exited with status 3  (while closing)
        conftest.py: boom

    CRASHED tests/b.py::test_x  (shard 2)
      the process was killed by signal 11 (SIGSEGV)
      note shard 3 was killed from outside: exit status 137
      note session 1.1 was killed by signal 9 (SIGKILL) in tests/test_checkout_with_a_rather_long_name.py::test_of_something_long; its unfinished work is taken up again
      note coverage threshold not checked
      note stopping, and cleaning up; once more to stop at once
    ");
}

fn ended(close: Close, how: Exit, at: Slot, errors: &str) -> EventKind {
    EventKind::SessionEnded(Box::new(SessionEnded {
        session: session(1),
        how,
        stopped: None,
        close,
        at,
        oom: false,
        peak_rss: 0,
        strays: 0,
        errors: errors.into(),
        tests: 0,
    }))
}

#[test]
fn results_that_were_overtaken_are_not_counted() {
    let told = running();
    assert_eq!((told.teller.board.tally.tests, told.teller.board.tally.bad), (2, 1));
    let interrupted = EventKind::UnitInterrupted { unit: UnitId(0), fence: Fence(0), final_below: 1, suspect: Some(1) };
    let told = told.event(interrupted);
    assert_eq!((told.teller.board.tally.tests, told.teller.board.tally.bad), (1, 0));
}

#[test]
fn what_is_left_is_guessed_only_when_there_is_something_to_go_by() {
    let told = Told::new().boot(2).plan(&[("a", Some(1_000)), ("b", Some(4_000)), ("c", Some(2_000))]);
    assert_eq!(told.teller.board.left(told.now), None);
    let told = told.lease(0, 1, &["a"]).test(0, 0, Outcome::Passed).end(0);
    assert_eq!(told.teller.board.left(told.now), Some(3_000));
}

#[test]
fn times_and_sizes_read_well() {
    assert_eq!([0, 1_234, 12_345, 125_000].map(span), ["0.00 s", "1.23 s", "12.3 s", "2 min 05 s"]);
    assert_eq!([0, 1023, 1024, 1536, 3 << 20, 5 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "3.0 MiB", "5.0 GiB"]);
}
