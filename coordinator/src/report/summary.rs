//! The summary: what a person wants to see when a run is over, as plain text.
//!
//! From the detail to the answer, so that the last line on the screen is the verdict: failures with their commands, what is not proven, slowest
//! tests, shards, notices, verdict. It never colours; who draws may. Reasons, errors and notes are fitted to the width; what may be pasted or is
//! needed whole (commands, ids, the closing lines) is never cut.

mod tables;

use std::fmt::Write;

use super::account::{Account, Texts};
use super::words::{clip, count, crash, duration, harmless, headline, missing, number, one_line, repro, session_error, shard_loss};
use crate::model::SessionId;
use crate::model::event::{Cancelled, Crash, ImageSource};
use crate::model::verdict::Verdict;
use crate::proof::{Canary, Counts, Failing, Failure, Fault, TestState, TestView};

/// Failures that are shown in full.
const MOST_FAILURES: usize = 100;
/// Sentences of other lists that are shown.
const MOST_SENTENCES: usize = 10;
/// Lines of a session's errors that are shown.
const MOST_ERROR_LINES: usize = 12;

/// The summary, fitted to this many columns, with an end of line at its end.
pub fn render(account: &Account, width: usize) -> String {
    let mut summary = Summary { account, width: width.max(40), text: String::new() };
    summary.failures();
    summary.flaky();
    summary.differing();
    summary.session_errors();
    summary.unproven();
    summary.slowest();
    summary.shards();
    summary.notices();
    summary.verdict();
    summary.text
}

struct Summary<'a> {
    account: &'a Account,
    width: usize,
    text: String,
}

impl Summary<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn run(&self) -> &str {
        self.account.started().map_or("RUN", |started| &started.run.0)
    }

    fn failures(&mut self) {
        let account = self.account;
        for failure in account.proof().failures().take(MOST_FAILURES) {
            self.failure(&failure);
        }
        let more = account.proof().failures().skip(MOST_FAILURES).count();
        if more > 0 {
            let line = format!("and {}: splitci report {} --format json\n", count(more, "more failure"), self.run());
            self.line(&line);
        }
    }

    fn failure(&mut self, failure: &Failure<'_>) {
        let _infallible = writeln!(self.text, "{:<8}{}", headline(failure.how), harmless(failure.id));
        let reason = match failure.how {
            Failing::Crash(Crash::TimedOut) => self.account.started().map(|started| {
                format!("it took longer than {}, its limit (`run.timeout.test`)", duration(started.settings.timeouts.test_ms))
            }),
            Failing::Crash(how) => Some(crash(how)),
            Failing::Outcome(_) => self.reason(failure),
        };
        if let Some(reason) = reason {
            self.line(&format!("        {reason}"));
        }
        if failure.flaky {
            self.line("        it passed when it was tried again (`run.flaky` is \"fail\")");
        }
        let command = repro(self.run(), failure.session, Some(failure.id));
        self.line(&format!("        {command}\n"));
    }

    /// Tests that passed only when they were tried again: what they failed with at first.
    fn flaky(&mut self) {
        let account = self.account;
        let flaky: Vec<_> = account.proof().tests().filter(|view| view.flaky && !is_bad(view)).collect();
        for view in flaky.iter().take(MOST_FAILURES) {
            let tries = account.proof().tries(view.test);
            let (Some(first), Some(last)) = (tries.first(), tries.last()) else { continue };
            let _infallible = writeln!(self.text, "{:<8}{}", "FLAKY", harmless(view.id));
            let texts = account.texts(view.test, first.fence);
            let place = texts.filter(|texts| !texts.file.is_empty()).map(|texts| (&*texts.file, texts.line));
            if let Some(reason) = self.fitted(place, texts) {
                self.line(&format!("        {reason}"));
            }
            let line = format!("        failed in session {}, passed in session {} when it was tried again", first.session, last.session);
            self.line(&line);
            let command = repro(self.run(), first.session, Some(view.id));
            self.line(&format!("        {command}\n"));
        }
        let more = flaky.len().saturating_sub(MOST_FAILURES);
        if more > 0 {
            let line = format!("and {}: splitci report {} --format json\n", count(more, "more flaky test"), self.run());
            self.line(&line);
        }
    }

    /// Files that do not do what they were proven to do on the very same image.
    fn differing(&mut self) {
        let account = self.account;
        let differing: Vec<_> = account.proof().canaries().filter(|(_, canary)| *canary == Canary::Differs).collect();
        for (proven, _) in differing {
            let _infallible = writeln!(self.text, "{:<8}{}", "DIFFERS", harmless(&proven.file));
            let (shown, of) = (count(proven.tests.len(), "test"), harmless(&proven.of.0));
            self.line(&format!(
                "        {shown} passed or skipped themselves in run {of}, on the same image, command and environment, and not now"
            ));
            self.line("        what was kept of it is thrown away, and it is run in each of its next 20 runs\n");
        }
    }

    /// Place and message, as far as known.
    fn reason(&self, failure: &Failure<'_>) -> Option<String> {
        let texts = failure.fence.and_then(|fence| self.account.texts(failure.test, fence));
        self.fitted(failure.place, texts)
    }

    fn fitted(&self, place: Option<(&str, u32)>, texts: Option<&Texts>) -> Option<String> {
        let message = texts.map(|texts| one_line(&texts.message, self.width)).unwrap_or_default();
        let place = place.map(|(file, line)| match line {
            0 => harmless(file),
            line => format!("{}:{line}", harmless(file)),
        });
        let reason = match (place, message) {
            (None, message) if message.is_empty() => return None,
            (None, message) => message,
            (Some(place), message) if message.is_empty() => place,
            (Some(place), message) => format!("{place}: {message}"),
        };
        Some(clip(&reason, self.width.saturating_sub(8)))
    }

    fn session_errors(&mut self) {
        let account = self.account;
        for ended in account.proof().session_errors() {
            let _infallible = writeln!(self.text, "{:<8}session {}: {}", "ERROR", ended.session, session_error(ended));
            let said = if ended.errors.is_empty() { account.tail(ended.session).unwrap_or_default() } else { &ended.errors };
            self.last_lines(said);
            let command = repro(self.run(), ended.session, None);
            self.line(&format!("        {command}\n"));
        }
    }

    /// The end of a text, where the reason usually is.
    fn last_lines(&mut self, text: &str) {
        let text = harmless(text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in &lines[lines.len().saturating_sub(MOST_ERROR_LINES)..] {
            let line = clip(line, self.width.saturating_sub(8));
            self.line(&format!("        {line}"));
        }
    }

    fn unproven(&mut self) {
        let proof = self.account.proof();
        let mut sentences: Vec<_> = proof.missing().map(|what| missing(&what)).collect();
        sentences.extend(self.account.damage().map(harmless));
        let silent = sentences.is_empty() && proof.faults().is_empty();
        if silent {
            return;
        }
        sentences.extend(proof.faults().iter().map(Fault::to_string));
        self.line("not proven");
        self.sentences(&sentences, proof.more_faults());
        self.line("");
    }

    fn sentences(&mut self, sentences: &[String], beyond: usize) {
        for sentence in sentences.iter().take(MOST_SENTENCES) {
            let sentence = clip(sentence, self.width.saturating_sub(2));
            self.line(&format!("  {sentence}"));
        }
        let more = sentences.len().saturating_sub(MOST_SENTENCES) + beyond;
        if more > 0 {
            self.line(&format!("  and {} more", number(more)));
        }
    }

    fn slowest(&mut self) {
        let table = tables::slowest(self.account);
        if !table.is_empty() {
            self.line("slowest tests");
            self.line(&table);
        }
    }

    fn shards(&mut self) {
        let table = tables::shards(self.account);
        self.text.push_str(&table);
        if !table.is_empty() {
            self.line("");
        }
    }

    fn notices(&mut self) {
        let mut sentences = noticed(self.account);
        sentences.extend(mishaps(self.account));
        if sentences.is_empty() {
            return;
        }
        self.line("notes");
        self.sentences(&sentences, 0);
        self.line("");
    }

    fn verdict(&mut self) {
        let account = self.account;
        if let Some(image) = account.image() {
            let how = match image.how {
                ImageSource::Built => {
                    let layers = image.steps.map(|steps| format!(", layers {}/{} reused", steps.cached, steps.all)).unwrap_or_default();
                    format!("built in {}{layers}", duration(image.took_ms))
                }
                ImageSource::Found if image.saved_ms > 0 => format!("reused, saved {}", duration(image.saved_ms)),
                ImageSource::Found => "reused, not built again".to_owned(),
                ImageSource::Given => "as given".to_owned(),
            };
            self.line(&format!("image   {} ({how})", harmless(&image.reference)));
        }
        if let Some(line) = tables::reused(account) {
            self.line(&line);
        }
        if let Some(line) = tables::cache(account) {
            self.line(&line);
        }
        let counts = account.proof().counts_by_suite();
        for (id, suite) in account.started().into_iter().flat_map(|started| started.settings.suites()) {
            if !suite.name.is_empty() {
                self.line(&format!("suite   {}: {}", suite.name, tally(&counts.get(&id).copied().unwrap_or_default())));
            }
        }
        let time = tables::time(account);
        self.line(&format!("time    {time}"));
        let run = format!("run     {}", self.run());
        self.line(&run);
        let verdict = last_line(account);
        self.line(&verdict);
    }
}

fn is_bad(view: &TestView<'_>) -> bool {
    matches!(view.state, TestState::Final(result) if result.outcome.is_bad())
}

/// What the sessions said, each sentence once.
fn noticed(account: &Account) -> Vec<String> {
    let mut said: Vec<(&str, Vec<SessionId>)> = Vec::new();
    for (session, text) in account.notices() {
        let sessions = session.iter().copied();
        match said.iter_mut().find(|(known, _)| known == text) {
            Some((_, known)) => known.extend(sessions),
            None => said.push((text, sessions.collect())),
        }
    }
    let sentence = |(text, sessions): (&str, Vec<SessionId>)| match &sessions[..] {
        [one] => format!("{} (session {one})", one_line(text, usize::MAX)),
        _ => one_line(text, usize::MAX),
    };
    said.into_iter().map(sentence).collect()
}

/// What went wrong on the way and was made good, or was not worth a failure.
fn mishaps(account: &Account) -> Vec<String> {
    let mut sentences = Vec::new();
    for (shard, told) in account.shards() {
        for (cause, detail) in &told.lost {
            let detail = one_line(detail, usize::MAX);
            let colon = if detail.is_empty() { "" } else { ": " };
            sentences.push(format!("shard {shard} {}{colon}{detail}", shard_loss(*cause)));
        }
    }
    let silent = account.proof().silent_sessions();
    sentences.extend(silent.map(|session| format!("session {session} never said hello; its work was left to others")));
    for file in account.unstable_files() {
        sentences.push(format!("the tests of {} change from one load to the next; it was run again from the start", harmless(file)));
    }
    for view in account.proof().tests() {
        let TestState::Final(result) = view.state else { continue };
        for attempt in view.attempts {
            let id = harmless(view.id);
            match attempt.outcome {
                None => sentences.push(format!("{id} was lost with session {} and run again", attempt.session)),
                Some(before) if before != result.outcome => {
                    let before = super::words::outcome(before).replace('_', " ");
                    sentences.push(format!("{id} was run twice: it {before} in session {} first", attempt.session));
                }
                Some(_) => (),
            }
        }
    }
    for (session, strays) in account.strays() {
        let (processes, were) = (count(*strays as usize, "process"), if *strays == 1 { "was" } else { "were" });
        sentences.push(format!("{processes} outlived session {session} and {were} killed"));
    }
    sentences
}

/// The last line.
pub(super) fn last_line(account: &Account) -> String {
    let counts = account.proof().counts();
    let tests = tally(&counts);
    let stopped = match account.proof().cancelled() {
        Some(Cancelled::FailFast) => ", stopped at the first failure",
        Some(Cancelled::Interrupted) => ", interrupted",
        Some(Cancelled::Deadline) => ", stopped at the run's deadline",
        Some(Cancelled::NoShards) => ", stopped because no shard could be kept alive",
        None if !account.proof().is_finished() => ", and the record ends before the run's end",
        None => "",
    };
    match account.verdict() {
        Verdict::Passed => format!("PASSED  {tests}"),
        Verdict::Failed { complete: true } => format!("FAILED  {tests}"),
        Verdict::Failed { complete: false } => format!("FAILED  {tests}; incomplete{stopped}"),
        Verdict::Empty => format!("EMPTY   no test{} ran: {tests}", of_empty_suites(account)),
        Verdict::None => format!("NO VERDICT  {tests}; not everything is proven{stopped}"),
        Verdict::Interrupted => format!("INTERRUPTED  {tests}; nothing had failed until then"),
    }
}

/// Which suites are empty, where there are several.
fn of_empty_suites(account: &Account) -> String {
    let counts = account.proof().counts_by_suite();
    let all = account.started().into_iter().flat_map(|started| started.settings.suites());
    let empty: Vec<&str> = all
        .filter(|(id, suite)| !suite.name.is_empty() && counts.get(id).is_none_or(|counts| counts.shown() == 0))
        .map(|(_, suite)| &*suite.name)
        .collect();
    if empty.is_empty() { String::new() } else { format!(" of {}", empty.join(", ")) }
}

/// "12 tests: 10 passed, 2 failed".
fn tally(counts: &Counts) -> String {
    let parts = [
        (counts.reused, "reused"),
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.crashed, "crashed"),
        (counts.skipped, "skipped"),
        (counts.expected_failures, "failed as expected"),
        (counts.unexpected_passes, "passed unexpectedly"),
        (counts.lost, "lost"),
        (counts.missing, "not run"),
        (counts.flaky, "of them flaky"),
    ];
    let named: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", number(*n))).collect();
    let tests = count(counts.total(), "test");
    if named.is_empty() { tests } else { format!("{tests}: {}", named.join(", ")) }
}
