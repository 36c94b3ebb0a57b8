//! What is shown of a test that went wrong, the moment it does: name, place, reason, trace, output. Long traces and outputs are cut in the
//! middle; the record has them whole.

use std::fmt::Write as _;

use splitci_coordinator::model::event::{Crash, SessionEnded, TestFinished};
use splitci_coordinator::model::{Exit, Outcome, ShardId, Slot, Stopped};
use splitci_coordinator::report::signal;

use super::rows::span;
use super::terminal::{Paint, tame};

/// Lines shown of a trace or an output.
const LINES: usize = 60;
/// Characters shown of one of them.
const COLUMNS: usize = 300;

/// A failed test.
pub(crate) fn test(test: &TestFinished, id: &str, shard: Option<ShardId>, paint: Paint) -> String {
    let word = if test.outcome == Outcome::Errored { "ERROR" } else { "FAILED" };
    let shard = shard.map(|shard| format!("shard {shard}, ")).unwrap_or_default();
    let mut out = head(word, id, &format!("{shard}{}", span(test.micros / 1000)), paint);
    let place = if test.line > 0 { format!("{}:{}: ", test.file, test.line) } else { String::new() };
    let reason = tame(&test.message);
    if !(place.is_empty() && reason.is_empty()) {
        let _written = writeln!(out, "  {}", paint.strong(&format!("{place}{}", reason.trim())));
    }
    block(&mut out, &test.details);
    if !test.output.trim().is_empty() {
        let _written = writeln!(out, "  {}", paint.faint("output:"));
        block(&mut out, &test.output);
    }
    out
}

/// A test that took its session with it: how, and what its process printed last.
pub(crate) fn crash(id: &str, (how, limit_ms): (Crash, u64), shard: ShardId, last_words: &str, paint: Paint) -> String {
    let mut out = head("CRASHED", id, &format!("shard {shard}"), paint) + &format!("  {}\n", crashed(how, limit_ms));
    if !last_words.trim().is_empty() {
        let _written = writeln!(out, "  {}", paint.faint("its process printed last:"));
        block(&mut out, last_words);
    }
    out
}

fn crashed(how: Crash, limit_ms: u64) -> String {
    match how {
        Crash::Exited(status) => format!("the process exited with status {status} in the middle of the test"),
        Crash::Signal(number) => format!("the process was killed by {}", signal(number)),
        Crash::OutOfMemory => "memory ran out; `--memory` (key `shard.memory`) sets the limit".into(),
        Crash::TimedOut => format!("it took longer than {}; `--timeout` (key `run.timeout.test`) sets the limit", span(limit_ms)),
        Crash::ShardLost => "its shard was lost, twice".into(),
        Crash::DriverLost => "it broke the connection between the framework and splitci".into(),
    }
}

/// A session whose end is an error of its own.
pub(crate) fn session(ended: &SessionEnded, doing: &str, paint: Paint) -> String {
    let mut out = head("ERROR", &format!("session {} {}", ended.session, how(ended)), doing, paint);
    block(&mut out, &ended.errors);
    out
}

/// How a session ended, in words.
pub(crate) fn how(ended: &SessionEnded) -> String {
    let oom = if ended.oom { ", out of memory" } else { "" };
    match (ended.stopped, ended.how) {
        (Some(Stopped::BootTimeout), _) => "had no list of tests in time (key `run.timeout.boot`)".into(),
        (Some(Stopped::TestTimeout), _) => "was stopped, since a test took too long".into(),
        (Some(Stopped::FinishTimeout), _) => "was stopped, since it did not close in time".into(),
        (Some(Stopped::Aborted), _) => "was stopped by us".into(),
        (Some(Stopped::DriverLost), _) => "was stopped, since its driver fell silent".into(),
        (None, Exit::Code(status)) => format!("exited with status {status}{oom}"),
        (None, Exit::Signal(number)) => format!("was killed by {}{oom}", signal(number)),
        (None, Exit::NotStarted) => "could not be started".into(),
    }
}

/// What a session was at, in words; empty when idle.
pub(crate) fn doing(at: Slot, name: impl Fn(Slot) -> String) -> String {
    match at {
        Slot::Idle => String::new(),
        Slot::Closing => "while closing".into(),
        Slot::Loading { .. } => format!("while loading {}", name(at)),
        Slot::Test { .. } => format!("in {}", name(at)),
    }
}

/// A step of a build that failed, with the end of what it printed.
pub(crate) fn step(name: &str, log: &str, paint: Paint) -> String {
    let mut out = head("FAILED", &tame(name), "", paint);
    if log.trim().is_empty() {
        out.push_str("    it printed nothing\n");
    }
    block(&mut out, log);
    out + "\n"
}

fn head(word: &str, what: &str, rest: &str, paint: Paint) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!("  {}", paint.faint(&format!("({rest})"))) };
    format!("\n{} {}{rest}\n", paint.bad(word), paint.strong(what))
}

/// Indented text, cut in the middle.
fn block(out: &mut String, text: &str) {
    let text = tame(text);
    let lines: Vec<&str> = text.trim_matches('\n').lines().collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        return;
    }
    let shown = if lines.len() > LINES { LINES / 2 } else { lines.len() };
    for line in &lines[..shown] {
        row(out, line);
    }
    if lines.len() > LINES {
        let _written = writeln!(out, "    ... {} lines that only the record shows ...", lines.len() - LINES);
        for line in &lines[lines.len() - LINES / 2..] {
            row(out, line);
        }
    }
}

fn row(out: &mut String, line: &str) {
    let line = line.trim_end();
    let _written = match line.char_indices().nth(COLUMNS) {
        Some((end, _)) => writeln!(out, "    {}…", &line[..end]),
        None => writeln!(out, "    {line}"),
    };
}

#[cfg(test)]
mod tests {
    use splitci_coordinator::model::{Fence, TestKey, UnitId};

    use super::*;

    fn failed() -> TestFinished {
        TestFinished {
            test: TestKey { unit: UnitId(0), ordinal: 0 },
            fence: Fence(1),
            outcome: Outcome::Failed,
            micros: 123_456,
            file: "tests/test_cart.py".into(),
            line: 41,
            message: "AssertionError: assert 3 == 4".into(),
            output: "\x1b[31mcaptured\x1b[0m\n".into(),
            details: "def test_total():\n>   assert total() == 4\nE   assert 3 == 4\n".into(),
        }
    }

    #[test]
    fn a_failure_shows_place_reason_trace_and_output() {
        insta::assert_snapshot!(test(&failed(), "tests/test_cart.py::test_total", Some(ShardId(3)), Paint(false)), @r"

        FAILED tests/test_cart.py::test_total  (shard 3, 0.12 s)
          tests/test_cart.py:41: AssertionError: assert 3 == 4
            def test_total():
            >   assert total() == 4
            E   assert 3 == 4
          output:
            captured
        ");
    }

    #[test]
    fn a_flood_is_cut_in_the_middle() {
        let output = (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let shown = test(&TestFinished { output, ..failed() }, "x", None, Paint(false));
        assert!(shown.contains("    line 29\n    ... 940 lines that only the record shows ...\n    line 970\n"), "{shown}");
    }
}
