//! A run as one JSON document, for programs.
//!
//! Within a version (`splitci_report`) fields are added and never changed:
//!
//! | field | is |
//! |---|---|
//! | `splitci_report` | version of this document: 1 |
//! | `run`, `splitci`, `project`, `started`, `of`, `command`, `engine`, `seed` | the run and how it was asked for |
//! | `suites` | of a run of several: `name`, `framework`, `command`, `directory`, `counts`; `command` is then the first one's |
//! | `verdict`, `complete`, `exit` | `passed`, `failed`, `empty`, `none` or `interrupted`; whether everything is final; exit status or null |
//! | `counts` | tests by outcome |
//! | `wall_ms`, `shards_ms`, `test_ms` | the whole run; from the first shard's start; sum of all tests |
//! | `image` | name, identity and how it came, or null |
//! | `shards` | number, tests, time in tests, start of the framework, sessions, losses |
//! | `tests` | `id`, `file`, `outcome` (also `crashed`, `lost`, `missing`), `micros`, `shard`, `session`, `reason`, `place`, `output`, `details`, `attempts` that do not count, `flaky` if it passed only when it was tried again, `tries` with all results of one that was |
//! | `reused` | files that were not run since they were proven before: file, the run `of` that shows it, its time `at`, the `key`, whether its `record` was there, `tests` |
//! | `canaries` | files that could have been reused and were run: file, `of`, and `agrees`, `differs` or `unknown` |
//! | `session_errors`, `missing`, `faults`, `notices` | what else keeps it from being green, and what is to be known, in sentences |

use serde::Serialize;

use super::account::{Account, Texts};
use super::words::{crash, missing, outcome, session_error, shard_loss};
use crate::model::event::{ImageSource, Proven};
use crate::model::settings::EngineKind;
use crate::model::verdict::Verdict;
use crate::model::{ImageIdentity, SessionId};
use crate::proof::{Canary, Counts, Fault, TestResult, TestState, TestView};

/// Version of the document.
const VERSION: u16 = 1;

/// The document, with an end of line at its end.
///
/// # Panics
/// Never: the document is plain data with string keys, which always serialises.
pub fn render(account: &Account) -> String {
    #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
    let mut text = serde_json::to_string(&document(account)).expect("a report serialises");
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Document<'a> {
    splitci_report: u16,
    run: Option<&'a str>,
    splitci: Option<&'a str>,
    project: Option<&'a str>,
    started: Option<&'a str>,
    of: Option<&'a str>,
    command: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suites: Vec<Suite<'a>>,
    engine: Option<EngineKind>,
    seed: Option<u64>,
    verdict: &'static str,
    complete: bool,
    exit: Option<u8>,
    counts: Counts,
    wall_ms: u64,
    shards_ms: u64,
    test_ms: u64,
    image: Option<Image<'a>>,
    shards: Vec<Shard>,
    tests: Vec<Test<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reused: Vec<&'a Proven>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    canaries: Vec<CanaryRow<'a>>,
    session_errors: Vec<SessionError<'a>>,
    missing: Vec<String>,
    faults: Vec<String>,
    notices: Vec<Notice<'a>>,
}

#[derive(Serialize)]
struct Suite<'a> {
    name: &'a str,
    framework: &'a str,
    command: &'a [String],
    directory: &'a str,
    counts: Counts,
}

#[derive(Serialize)]
struct Image<'a> {
    reference: &'a str,
    identity: &'a ImageIdentity,
    how: ImageSource,
}

#[derive(Serialize)]
struct Shard {
    #[serde(rename = "shard")]
    number: u32,
    tests: usize,
    busy_ms: u64,
    boot_ms: Option<u64>,
    sessions: u32,
    sessions_lost: u32,
    lost: Vec<String>,
}

#[derive(Serialize)]
struct Test<'a> {
    id: &'a str,
    file: &'a str,
    outcome: &'static str,
    micros: Option<u64>,
    shard: Option<u32>,
    session: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    output: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    left_out: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
    #[serde(skip_serializing_if = "is_false")]
    flaky: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tries: Vec<Try<'a>>,
}

#[derive(Serialize)]
struct CanaryRow<'a> {
    file: &'a str,
    of: &'a str,
    shows: &'static str,
}

#[derive(Serialize)]
struct Try<'a> {
    session: String,
    outcome: &'static str,
    micros: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    output: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !b
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct Attempt {
    session: String,
    outcome: &'static str,
}

#[derive(Serialize)]
struct SessionError<'a> {
    session: String,
    reason: String,
    errors: &'a str,
}

#[derive(Serialize)]
struct Notice<'a> {
    session: Option<String>,
    text: &'a str,
}

fn document(account: &Account) -> Document<'_> {
    let (started, proof) = (account.started(), account.proof());
    let mut faults: Vec<_> = proof.faults().iter().map(Fault::to_string).collect();
    faults.extend(account.damage().map(str::to_owned));
    Document {
        splitci_report: VERSION,
        run: started.map(|started| &*started.run.0),
        splitci: started.map(|started| &*started.splitci),
        project: started.map(|started| &*started.project),
        started: started.map(|started| &*started.started),
        of: started.and_then(|started| started.of.as_ref()).map(|of| &*of.0),
        command: started.and_then(|started| Some(&started.settings.suites.first()?.command[..])).unwrap_or_default(),
        suites: suites(account),
        engine: started.map(|started| started.settings.engine),
        seed: started.map(|started| started.settings.seed),
        verdict: verdict(account.verdict()),
        complete: proof.is_finished() && proof.cancelled().is_none() && faults.is_empty() && proof.missing().next().is_none(),
        exit: account.exit(),
        counts: proof.counts(),
        wall_ms: account.wall_ms(),
        shards_ms: account.shards_ms(),
        test_ms: account.shards().values().fold(0, |sum: u64, shard| sum.saturating_add(shard.busy_us)) / 1_000,
        image: account.image().map(|image| Image { reference: &image.reference, identity: &image.identity, how: image.how }),
        shards: shards(account),
        tests: proof.tests().map(|view| test(account, &view)).collect(),
        reused: proof.reused().collect(),
        canaries: proof
            .canaries()
            .map(|(proven, canary)| CanaryRow { file: &proven.file, of: &proven.of.0, shows: shows(canary) })
            .collect(),
        session_errors: session_errors(account),
        missing: proof.missing().map(|what| missing(&what)).collect(),
        faults,
        notices: account.notices().iter().map(|(session, text)| Notice { session: session.map(name), text }).collect(),
    }
}

/// The suites, where there is more than one or the only one has a name.
fn suites(account: &Account) -> Vec<Suite<'_>> {
    let counts = account.proof().counts_by_suite();
    let all = account.started().into_iter().flat_map(|started| started.settings.suites());
    let named = all.filter(|(_, suite)| !suite.name.is_empty());
    named
        .map(|(id, suite)| Suite {
            name: &suite.name,
            framework: &suite.framework,
            command: &suite.command,
            directory: &suite.directory,
            counts: counts.get(&id).copied().unwrap_or_default(),
        })
        .collect()
}

fn shows(canary: Canary) -> &'static str {
    match canary {
        Canary::Agrees => "agrees",
        Canary::Differs => "differs",
        Canary::Unknown => "unknown",
    }
}

fn name(session: SessionId) -> String {
    session.to_string()
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed { .. } => "failed",
        Verdict::Empty => "empty",
        Verdict::None => "none",
        Verdict::Interrupted => "interrupted",
    }
}

fn shards(account: &Account) -> Vec<Shard> {
    let tests = account.proof().counts_by_shard();
    let row = |(shard, told): (&crate::model::ShardId, &super::Shard)| Shard {
        number: shard.0,
        tests: tests.get(shard).map_or(0, |counts| counts.total() - counts.lost),
        busy_ms: told.busy_us / 1_000,
        boot_ms: told.boot_ms,
        sessions: told.sessions,
        sessions_lost: told.sessions_lost,
        lost: told.lost.iter().map(|(cause, detail)| format!("{}: {detail}", shard_loss(*cause))).collect(),
    };
    account.shards().iter().map(row).collect()
}

fn test<'a>(account: &'a Account, view: &TestView<'a>) -> Test<'a> {
    let (word, session, micros) = match view.state {
        TestState::Final(result) => (outcome(result.outcome), Some(result.session), Some(result.micros)),
        TestState::Crashed(crashed) if crashed.is_bad() => ("crashed", Some(crashed.session), None),
        TestState::Crashed(crashed) => ("lost", Some(crashed.session), None),
        TestState::Missing => ("missing", None, None),
    };
    let (reason, texts) = match view.state {
        TestState::Final(result) => {
            let texts = account.texts(view.test, result.fence);
            (texts.map(|texts| texts.message.clone()).unwrap_or_default(), texts)
        }
        TestState::Crashed(crashed) => (crash(crashed.how), None),
        TestState::Missing => (String::new(), None),
    };
    let attempts =
        view.attempts.iter().map(|attempt| Attempt { session: name(attempt.session), outcome: attempt.outcome.map_or("lost", outcome) });
    Test {
        id: view.id,
        file: view.unit_file,
        outcome: word,
        micros,
        shard: session.map(|session| session.shard.0),
        session: session.map(name),
        reason,
        place: texts.filter(|texts| !texts.file.is_empty()).map(|texts| Place { file: &texts.file, line: texts.line }),
        output: texts.map(|texts: &Texts| &*texts.output).unwrap_or_default(),
        details: texts.map(|texts| &*texts.details).unwrap_or_default(),
        left_out: texts.is_some_and(|texts| texts.left_out),
        attempts: attempts.collect(),
        flaky: view.flaky,
        tries: tries(account, view),
    }
}

/// All results of a test that was tried again, first to last.
fn tries<'a>(account: &'a Account, view: &TestView<'a>) -> Vec<Try<'a>> {
    let all = account.proof().tries(view.test);
    let again = if all.len() > 1 { all } else { Vec::new() };
    let one = |result: &TestResult| {
        let texts = account.texts(view.test, result.fence);
        Try {
            session: name(result.session),
            outcome: outcome(result.outcome),
            micros: result.micros,
            reason: texts.map(|texts| &*texts.message).unwrap_or_default(),
            output: texts.map(|texts| &*texts.output).unwrap_or_default(),
            details: texts.map(|texts| &*texts.details).unwrap_or_default(),
        }
    };
    again.into_iter().map(one).collect()
}

fn session_errors(account: &Account) -> Vec<SessionError<'_>> {
    let errors = account.proof().session_errors().iter();
    errors.map(|ended| SessionError { session: name(ended.session), reason: session_error(ended), errors: &ended.errors }).collect()
}
