//! What is attested of a run, and what is not.

use super::*;
use crate::gate::statement::{Counts, Origin};
use crate::model::Outcome::{ExpectedFailure, Failed};
use crate::model::event::{Cancelled, Crash, RunEvent, ShardLoss};
use crate::model::settings::{EngineKind, Flaky};
use crate::model::story::id;
use crate::model::{Exit, SessionId, ShardId, Volume};

const STARTED: &str = "2026-11-23T10:00:00Z";

fn of(story: &Story) -> Result<Statement<TestResult>, Unattestable> {
    attest(&story.events(), &facts())
}

fn ended(mut story: Story, verdict: Verdict) -> Story {
    story.close(1, Close::Clean).close(2, Close::Clean).end(verdict);
    story
}

/// Another beginning of the same story.
fn begun_as(story: &Story, change: impl Fn(&mut crate::model::event::RunStarted)) -> Vec<RunEvent> {
    let mut events = story.events();
    for event in &mut events {
        if let EventKind::RunStarted(started) = &mut event.kind {
            change(started);
        }
    }
    events
}

#[test]
fn a_green_run_is_attested_with_everything_that_counts() {
    let statement = green();
    let result = &statement.predicate;
    assert_eq!(result.result, Answer::Passed);
    let names: Vec<_> = [("a.py", 0), ("b.py", 0), ("b.py", 1)].map(|(file, n)| id(file, n)).to_vec();
    assert_eq!((&result.passed_tests, result.warned_tests.len(), result.failed_tests.len()), (&names, 0, 0));
    let counts = Counts { planned: 4, executed: 4, passed: 3, skipped: 1, ..Counts::default() };
    assert_eq!(result.splitci.counts, counts);
    let shards: Vec<_> = result.splitci.shards.iter().map(|shard| (shard.index, shard.tests, shard.exit)).collect();
    assert_eq!(shards, [(1, 2, Some(0)), (2, 2, Some(0))]);
    assert_eq!(result.splitci.finished_on.to_string(), "2026-11-23T10:00:00.22Z");
    assert_eq!((result.splitci.image.how, result.splitci.image.level), (Origin::Built, Some(Level::Protected)));
    let configuration: Vec<_> = result.configuration.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(configuration, ["config", "suites", "plan"]);
    let subjects: Vec<_> = statement.subject.iter().map(|subject| (subject.name.as_str(), subject.digest.sha256)).collect();
    assert_eq!(subjects, [("registry.example/shop/candidate", Some(identity().manifest)), ("source", None)]);
}

#[test]
fn a_red_run_is_attested_as_failed_even_if_it_was_stopped() {
    let statement = red();
    assert_eq!((statement.predicate.result, statement.predicate.failed_tests), (Answer::Failed, vec![id("b.py", 1)]));
    let mut stopped = begun(RUN, STARTED);
    stopped.run(0, 1, &[Failed]).cancel(Cancelled::FailFast);
    let statement = of(&ended(stopped, Verdict::Failed { complete: false })).expect("attested");
    assert_eq!(statement.predicate.result, Answer::Failed);
    let mut dirty = begun(RUN, STARTED);
    dirty.run(0, 1, &[Passed]).run(1, 2, &[Passed]).close(1, Close::Dirty).close(2, Close::Clean).end(Verdict::Failed { complete: true });
    let statement = of(&dirty).expect("attested");
    assert_eq!((statement.predicate.result, statement.predicate.splitci.counts.failed), (Answer::Failed, 0), "no test, and red");
    let mut crashed = begun(RUN, STARTED);
    crashed.run(0, 1, &[ExpectedFailure]).lease(1, 2).declare(1, 1).interrupt(1, 0, Some(0)).close(2, Close::Lost);
    crashed.ready(2).crash(1, 0, 2, Crash::Signal(11)).close(2, Close::Lost).close(1, Close::Clean).end(Verdict::Failed { complete: true });
    assert_eq!(of(&crashed).expect("attested").predicate.failed_tests, [id("b.py", 0)]);
}

#[test]
fn a_test_that_was_tried_again_is_a_warning() {
    let mut story = begun(RUN, STARTED);
    story.settle(|settings| (settings.retries, settings.flaky) = (1, Flaky::Pass));
    story.run(0, 1, &[Passed]).run(1, 2, &[Failed, Passed]);
    let again = story.retry(1, 1, &[0]);
    story.lease(again, 1).declare_some(again, 2, Some(&[0])).test(again, 0, Passed).finish(again);
    let statement = of(&ended(story, Verdict::Passed)).expect("attested");
    let counts = Counts { planned: 3, executed: 3, passed: 2, warned: 1, retried: 1, ..Counts::default() };
    assert_eq!((statement.predicate.result, statement.predicate.splitci.counts), (Answer::Warned, counts));
    assert_eq!(statement.predicate.warned_tests, [id("b.py", 0)]);
    let allowing = gate().with(|settings| settings.max_warned = 1);
    assert_eq!((gate().code(&[protected(&statement)]).as_str(), allowing.code(&[protected(&statement)]).as_str()), ("E_RESULT", ""));
}

#[test]
fn a_test_whose_session_was_lost_under_it_is_a_warning_unless_somebody_killed_the_shard() {
    let lost = |cause: Option<ShardLoss>| {
        let mut story = begun(RUN, STARTED);
        story.run(0, 1, &[Passed]).lease(1, 2).declare(1, 1).interrupt(1, 0, Some(0));
        match cause {
            Some(cause) => story.lose(2, cause).boot(2),
            None => story.close(2, Close::Lost).ready(2),
        };
        story.run(1, 2, &[Passed]);
        of(&ended(story, Verdict::Passed)).expect("attested").predicate
    };
    for cause in [None, Some(ShardLoss::Gone), Some(ShardLoss::OutOfMemory)] {
        let result = lost(cause);
        let counts = result.splitci.counts;
        assert_eq!((result.result, counts.warned, counts.retried), (Answer::Warned, 1, 1), "{cause:?}");
        // It stays so, though its next session ended well.
        assert_eq!(result.splitci.shards[1].oom_killed, cause == Some(ShardLoss::OutOfMemory), "{cause:?}");
    }
    let killed = lost(Some(ShardLoss::Killed));
    assert_eq!((killed.result, killed.splitci.counts.retried, killed.splitci.shards[1].lost), (Answer::Passed, 0, 1));
}

#[test]
fn how_a_shard_ended_is_told_as_shells_tell_it() {
    let told = |how: Exit, oom: bool| {
        let mut events = whole(RUN, STARTED, &[Passed]).events();
        for event in &mut events {
            if let EventKind::SessionEnded(ended) = &mut event.kind {
                (ended.how, ended.oom) = (how, oom);
            }
        }
        let shards = attest(&events, &facts()).expect("attested").predicate.splitci.shards;
        (shards[1].exit, shards[1].oom_killed)
    };
    assert_eq!((told(Exit::Code(1), false), told(Exit::Signal(9), true)), ((Some(1), false), (Some(137), true)));
    assert_eq!(told(Exit::NotStarted, false).0, None);
}

#[test]
fn what_shows_nothing_is_not_attested() {
    let green = whole(RUN, STARTED, &[Passed]);
    let refused = |events: &[RunEvent], change: fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        let reason = attest(events, &facts).expect_err("not attested");
        assert!(!reason.hint().is_empty());
        reason
    };
    let as_it_was = |story: &Story| refused(&story.events(), |_| ());
    let partial = begun_as(&green, |started| started.of = Some(RunId("earlier".to_owned())));
    assert_eq!(refused(&partial, |_| ()), Unattestable::Partial);
    let repeated = begun_as(&green, |started| started.repeats = Some(SessionId { shard: ShardId(1), number: 1 }));
    assert_eq!(refused(&repeated, |_| ()), Unattestable::Partial);
    let process = begun_as(&green, |started| started.settings.engine = EngineKind::Process);
    assert_eq!(refused(&process, |_| ()), Unattestable::ProcessEngine);
    let mounted = begun_as(&green, |started| started.settings.container.volumes = vec![Volume("/home/ada/shop:/app".to_owned())]);
    assert_eq!(refused(&mounted, |_| ()), Unattestable::Mounted);
    let undated = begun_as(&green, |started| started.started.clear());
    assert_eq!(refused(&undated, |_| ()), Unattestable::BadTime { text: String::new() });
    let filters = vec!["tests/unit".to_owned()];
    assert_eq!(refused(&green.events(), |facts| facts.filters = vec!["tests/unit".to_owned()]), Unattestable::Filtered { filters });
    assert_eq!(refused(&green.events(), |facts| facts.dirty = true), Unattestable::Dirty);
    let other = refused(&green.events(), |facts| facts.identity.config = sha256(b"another"));
    assert!(matches!(other, Unattestable::OtherImage { .. }), "{other}");
    // A run that had another image before had not all of it in this one.
    let mut before = green.events();
    let ready = before.iter().find(|event| matches!(event.kind, EventKind::ImageReady { .. })).expect("an image");
    let (at, mut earlier) = (before.iter().position(|event| event == ready).expect("there"), ready.clone());
    if let EventKind::ImageReady { identity, .. } = &mut earlier.kind {
        identity.config = sha256(b"another").to_string();
    }
    before.insert(at, earlier);
    assert!(matches!(refused(&before, |_| ()), Unattestable::OtherImage { .. }));
    assert_eq!(as_it_was(&Story::default()), Unattestable::NotBegun);
    let mut imageless = record_of(RUN, STARTED);
    imageless.boot(1).plan(&[file("a.py")]).run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
    assert_eq!(as_it_was(&imageless), Unattestable::NoImage);
    let mut nothing = begun(RUN, STARTED);
    nothing.run(0, 1, &[Skipped]).run(1, 2, &[]);
    assert_eq!(as_it_was(&ended(nothing, Verdict::Empty)), Unattestable::NoTests);
    let mut interrupted = begun(RUN, STARTED);
    interrupted.run(0, 1, &[Passed]).cancel(Cancelled::Interrupted);
    assert_eq!(as_it_was(&ended(interrupted, Verdict::Interrupted)), Unattestable::Interrupted);
    let mut lost = begun(RUN, STARTED);
    lost.run(0, 1, &[Passed]);
    assert_eq!(as_it_was(&ended(lost, Verdict::None)), Unattestable::NoVerdict);
    let mut vain = begun(RUN, STARTED);
    vain.run(0, 1, &[Passed]);
    assert_eq!(as_it_was(&ended(vain, Verdict::Passed)), Unattestable::NoVerdict, "what a run says of itself is not taken");
}

/// T8: what did not come back is not green.
#[test]
fn a_record_that_is_cut_off_anywhere_is_never_attested_as_passed() {
    let events = whole(RUN, STARTED, &[Passed, Passed]).events();
    for cut in 0..events.len() {
        assert!(attest(&events[..cut], &facts()).is_err(), "up to event {cut}");
    }
}

#[test]
fn a_dirty_tree_that_is_allowed_names_no_commit() {
    let events = whole(RUN, STARTED, &[Passed]).events();
    let statement = attest(&events, &Facts { dirty: true, allow_dirty: true, ..facts() }).expect("attested");
    assert_eq!((statement.subject.len(), statement.predicate.splitci.dirty), (1, true));
}

#[test]
fn what_was_reused_is_told_apart() {
    let mut story = record_of(RUN, STARTED);
    story.settle(|settings| settings.reuse = true);
    let identity = ImageIdentity { platform: "linux/amd64".to_owned(), config: identity().config.to_string(), manifest: None };
    story.say(EventKind::ImageReady {
        identity,
        reference: String::new(),
        how: ImageSource::Found,
        key: None,
        took_ms: 0,
        saved_ms: 0,
        steps: None,
    });
    story
        .boot(1)
        .list(&["a.py", "b.py"])
        .reuse("b.py", &[Passed, Passed, Skipped])
        .freeze(crate::model::Manifest { units: vec![file("a.py")] });
    story.run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
    let facts = Facts { reused_level: Some(Level::Protected), image_level: Some(Level::Branch), ..facts() };
    let result = attest(&story.events(), &facts).expect("attested").predicate;
    let counts = Counts { planned: 4, executed: 1, passed: 1, ..Counts::default() };
    assert_eq!((result.splitci.counts, result.splitci.image.level), (counts, Some(Level::Branch)));
    let reused = &result.splitci.reused;
    assert_eq!((reused.tests, reused.files, reused.oldest), (3, 1, Moment::parse("2026-11-20T09:00:00Z")));
    assert_eq!((reused.runs.len(), reused.runs[0].tests, reused.level), (1, 3, Some(Level::Protected)));
    let statement = attest(&story.events(), &facts).expect("attested");
    let takes = gate().with(|settings| settings.reused = crate::model::policy::ReusedRule::Protected);
    assert_eq!((gate().code(&[protected(&statement)]).as_str(), takes.code(&[protected(&statement)]).as_str()), ("E_REUSED", ""));
}

#[test]
fn of_what_was_reused_the_oldest_is_told_and_nothing_is_where_nothing_was() {
    let mut story = record_of(RUN, STARTED);
    story.settle(|settings| settings.reuse = true);
    let identity = ImageIdentity { platform: "linux/amd64".to_owned(), config: identity().config.to_string(), manifest: None };
    let (how, reference) = (ImageSource::Found, String::new());
    story.say(EventKind::ImageReady { identity, reference, how, key: None, took_ms: 0, saved_ms: 0, steps: None });
    story.boot(1).list(&["a.py", "b.py", "c.py"]).reuse("b.py", &[Passed]).reuse("c.py", &[Passed]);
    story.freeze(crate::model::Manifest { units: vec![file("a.py")] });
    story.run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
    let mut events = story.events();
    let times = ["2026-11-21T09:00:00Z", "2026-11-19T09:00:00Z"];
    let proven =
        events.iter_mut().filter_map(|event| if let EventKind::FileReused(proven) = &mut event.kind { Some(proven) } else { None });
    for ((proven, at), record) in proven.zip(times).zip([true, false]) {
        (proven.at, proven.record) = (at.to_owned(), record);
    }
    let facts = Facts { reused_level: Some(Level::Protected), ..facts() };
    let reused = attest(&events, &facts).expect("attested").predicate.splitci.reused;
    assert_eq!((reused.files, reused.oldest, reused.runs[0].record), (2, Moment::parse(times[1]), false));
    let green = attest(&whole(RUN, STARTED, &[Passed]).events(), &facts).expect("attested");
    assert_eq!(green.predicate.splitci.reused.level, None);
}

#[test]
fn a_test_that_failed_again_was_tried_again() {
    let mut story = begun(RUN, STARTED);
    story.settle(|settings| settings.retries = 1);
    story.run(0, 1, &[Passed]).run(1, 2, &[Failed]);
    let again = story.retry(1, 1, &[0]);
    story.lease(again, 1).declare_some(again, 1, Some(&[0])).test(again, 0, Failed).finish(again);
    let result = of(&ended(story, Verdict::Failed { complete: true })).expect("attested").predicate;
    assert_eq!((result.splitci.counts.failed, result.splitci.counts.retried, result.result), (1, 1, Answer::Failed));
}

#[test]
fn an_error_is_a_failure() {
    let errored = of(&whole(RUN, STARTED, &[Passed, Outcome::Errored])).expect("attested").predicate;
    assert_eq!((errored.result, errored.splitci.counts.failed, errored.failed_tests), (Answer::Failed, 1, vec![id("b.py", 1)]));
}

#[test]
fn names_beyond_the_limit_are_counted() {
    let mut story = begun(RUN, STARTED);
    story.run(0, 1, &vec![Passed; 10_003]).run(1, 2, &[Passed]);
    let statement = of(&ended(story, Verdict::Passed)).expect("attested");
    let result = &statement.predicate;
    assert_eq!((result.passed_tests.len(), result.splitci.names_left_out, result.splitci.counts.passed), (10_000, 4, 10_004));
    assert_eq!(gate().code(&[protected(&statement)]), "");
}
