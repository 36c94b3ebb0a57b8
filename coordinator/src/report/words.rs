//! How facts read in English: numbers, durations, causes, and commands that can be pasted into a shell.
//!
//! What test code wrote is made harmless here before it comes near a terminal.

use std::fmt::Write;

use crate::model::event::SessionEnded;
use crate::model::event::{Crash, ShardLoss};
use crate::model::{Exit, Outcome, SessionId, Stopped};
use crate::proof::{Failing, Missing};

/// "1 test", "2 tests", "12,345 tests".
pub(super) fn count(n: usize, noun: &str) -> String {
    let ending = match noun {
        _ if n == 1 => "",
        "process" | "pass" | "crash" => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", number(n))
}

/// "12,345".
pub(super) fn number(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// "420 ms", "12.3 s", "4 min 05 s", "1 h 02 min".
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// "6.5", from two durations.
pub(super) fn times(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(10).checked_div(whole).unwrap_or(0);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Text that does nothing to a terminal: escape sequences are taken out, other control characters become spaces. Lines stay.
pub(super) fn harmless(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            '\n' => kept.push('\n'),
            '\r' if chars.peek() == Some(&'\n') => (),
            c if c.is_control() => kept.push(' '),
            // Direction marks can make a line read as another one.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => (),
            c => kept.push(c),
        }
    }
    kept
}

/// The first line of a text, harmless, at most this wide.
pub(super) fn one_line(text: &str, width: usize) -> String {
    let text = harmless(text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    clip(line, width)
}

/// At most this many characters.
pub(super) fn clip(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A word of a shell command, in quotes. What cannot be printed is written as escapes, which bash, zsh and ksh understand.
pub(super) fn quoted(word: &str) -> String {
    if word.chars().any(char::is_control) {
        let mut quoted = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => {
                    quoted.push('\\');
                    quoted.push(c);
                }
                c if c.is_ascii_control() => {
                    let _infallible = write!(quoted, "\\x{:02x}", u32::from(c));
                }
                c if c.is_control() => {
                    let _infallible = write!(quoted, "\\u{:04x}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('\'');
        return quoted;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a shell command needs to reproduce a session, or a test of it.
pub(super) fn repro(run: &str, session: SessionId, test: Option<&str>) -> String {
    let shard = session.shard;
    match test {
        Some(id) => format!("splitci repro {run} --shard {shard} --test {}", quoted(id)),
        None => format!("splitci repro {run} --shard {shard}"),
    }
}

/// A test's outcome in one word.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Errored => "errored",
        Outcome::Skipped => "skipped",
        Outcome::ExpectedFailure => "expected_failure",
        Outcome::UnexpectedPass => "unexpected_pass",
    }
}

/// The first word of a failure's paragraph.
pub(super) fn headline(how: Failing) -> &'static str {
    match how {
        Failing::Outcome(Outcome::Errored) => "ERROR",
        Failing::Outcome(_) => "FAILED",
        Failing::Crash(_) => "CRASHED",
    }
}

/// What a crash was.
pub(super) fn crash(how: Crash) -> String {
    match how {
        Crash::Exited(status) => format!("the process exited with status {status} in the middle of it"),
        Crash::Signal(number) => format!("the process was killed by {}", signal(number)),
        Crash::OutOfMemory => "memory ran out".to_owned(),
        Crash::TimedOut => "it took longer than its limit".to_owned(),
        Crash::ShardLost => "its shard was lost from outside, more than once".to_owned(),
        Crash::DriverLost => "the driver's protocol was broken in the middle of it".to_owned(),
    }
}

/// A signal by number and, where everybody knows it, by name.
pub fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    format!("signal {number} ({name})")
}

/// How a session ended wrongly.
pub(super) fn session_error(ended: &SessionEnded) -> String {
    let because = match ended.stopped {
        Some(Stopped::BootTimeout) => return "it did not list its files before the boot deadline".to_owned(),
        Some(Stopped::TestTimeout) => return "a test took longer than its limit".to_owned(),
        Some(Stopped::FinishTimeout) => return "it did not end in time after its last test".to_owned(),
        Some(Stopped::DriverLost) => return "the driver's protocol was broken".to_owned(),
        Some(Stopped::Aborted) => ", after it was told to end",
        None if ended.oom => ", and memory had run out",
        None => "",
    };
    match ended.how {
        Exit::Code(0) if !ended.errors.is_empty() => format!("it had errors outside of its tests{because}"),
        Exit::Code(0) => format!("it ended without saying goodbye, or its count of tests does not match{because}"),
        Exit::Code(status) => format!("it exited with status {status}, which none of its tests explains{because}"),
        Exit::Signal(number) => format!("it was killed by {}{because}", signal(number)),
        Exit::NotStarted => "its command could not be started".to_owned(),
    }
}

/// Why a shard was lost.
pub(super) fn shard_loss(cause: ShardLoss) -> &'static str {
    match cause {
        ShardLoss::NotStarted => "could not be started",
        ShardLoss::Killed => "was killed from outside",
        ShardLoss::OutOfMemory => "ran out of memory",
        ShardLoss::Gone => "was lost: its stream ended or fell silent",
        ShardLoss::Garbled => "was lost: its stream carried something else than the protocol",
    }
}

/// What is not proven.
pub(super) fn missing(missing: &Missing<'_>) -> String {
    match missing {
        Missing::Plan => "no plan was made".to_owned(),
        Missing::Hello => "no framework said hello in any shard".to_owned(),
        Missing::Unit { file, .. } => format!("{} was not run to its end", harmless(file)),
        Missing::Test { id, lost: false, .. } => format!("{} was not run to its end", harmless(id)),
        Missing::Test { id, lost: true, .. } => format!("{} was lost with its shard, more than once", harmless(id)),
        Missing::UnitEnd { file, .. } => format!("{} was not said to be through", harmless(file)),
        Missing::Slices { file } => format!("the slices of {} do not make up the whole file", harmless(file)),
        Missing::SessionEnd(session) => format!("session {session} has not ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plural_forms_and_groups_of_digits_are_right() {
        let words: Vec<_> = [0, 1, 2, 999, 1_000, 1_234_567].iter().map(|n| count(*n, "test")).collect();
        assert_eq!(words, ["0 tests", "1 test", "2 tests", "999 tests", "1,000 tests", "1,234,567 tests"]);
        assert_eq!(count(2, "process"), "2 processes");
    }

    #[test]
    fn durations_are_short() {
        let words: Vec<_> = [0, 999, 1_000, 59_999, 60_000, 245_000, 3_720_000].iter().map(|ms| duration(*ms)).collect();
        assert_eq!(words, ["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min 00 s", "4 min 05 s", "1 h 02 min"]);
        assert_eq!(times(65, 10), "6.5");
        assert_eq!(times(65, 0), "0.0");
    }

    #[test]
    fn what_tests_wrote_does_nothing_to_a_terminal() {
        assert_eq!(harmless("\u{1b}[31mred\u{1b}[0m\u{7}\u{1b}]0;title\u{7}\r\nnext\u{202e}"), "red  ]0;title \nnext");
        assert_eq!(one_line("\n  first\nsecond", 80), "first");
        assert_eq!(one_line("äöüäöü", 4), "äöü…");
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(quoted("a.py::t[it's $x]"), r"'a.py::t[it'\''s $x]'");
        assert_eq!(quoted("a\n'b\\"), r"$'a\x0a\'b\\'");
    }
}
