//! Each clause by itself: one thing alone is wrong with what is signed, or just right. What several clauses refuse shows of none that it does.

use super::*;
use crate::gate::denial::{Gap, Reason};
use crate::gate::statement::{EarlierRun, MOST_RUNS, Reused};
use crate::model::policy::{BreakGlassRule, ReusedRule};

const MINUTE: u64 = 60_000;

fn reason(gate: &Gate, statement: &Statement<TestResult>) -> Reason {
    *gate.ask(&[protected(statement)]).expect_err("denied").reason
}

#[test]
fn a_failure_that_is_counted_is_one_whatever_the_answer_says() {
    let passed = bent(|result| {
        result.failed_tests.extend(result.passed_tests.pop());
        (result.splitci.counts.passed, result.splitci.counts.failed) = (2, 1);
    });
    // Its own word is the pass that was before.
    assert_eq!(gate().code(&[protected(&passed)]), "E_SUPERSEDED_BY_FAILURE");
}

#[test]
fn a_test_without_a_result_is_missing_even_where_all_else_adds_up() {
    let missing = bent(|result| {
        result.passed_tests.pop();
        (result.splitci.counts.passed, result.splitci.counts.missing) = (2, 1);
    });
    assert_eq!(reason(&gate(), &missing), Reason::Incomplete(Gap::Missing { missing: 1 }));
}

#[test]
fn a_test_that_passed_when_it_was_tried_again_did_run() {
    let warned = bent(|result| {
        result.result = Answer::Warned;
        result.warned_tests = result.passed_tests.split_off(2);
        (result.splitci.counts.passed, result.splitci.counts.warned, result.splitci.counts.retried) = (2, 1, 1);
    });
    let least = |min_tests| gate().with(|settings| (settings.max_warned, settings.min_tests) = (1, min_tests));
    assert_eq!(least(3).code(&[protected(&warned)]), "");
    assert_eq!(reason(&least(4), &warned), Reason::Incomplete(Gap::TooFew { ran: 3, least: 4 }));
}

#[test]
fn a_configuration_of_another_image_is_another_image_whatever_its_shards_say() {
    let other = bent(|result| result.splitci.image.config = sha256(b"another configuration"));
    assert_eq!(reason(&gate(), &other), Reason::Incomplete(Gap::OtherImage));
}

#[test]
fn a_policy_that_lists_no_configuration_takes_any() {
    let other = bent(|result| result.configuration.retain(|one| one.name != CONFIG));
    assert_eq!(gate().code(&[protected(&other)]), "E_CONFIG");
    assert_eq!(gate().with(|settings| settings.configs.clear()).code(&[protected(&other)]), "");
}

#[test]
fn a_run_may_end_in_the_millisecond_in_which_it_began() {
    assert_eq!(gate().code(&[protected(&bent(|result| result.splitci.started_on = result.splitci.finished_on))]), "");
}

/// A run that rests on earlier ones, each with so many tests.
fn reusing(tests: u64, runs: &[u64], oldest: Moment) -> Statement<TestResult> {
    let run = |(number, tests): (usize, &u64)| EarlierRun { run: format!("{number}"), tests: *tests, record: true, sha256: config() };
    bent(|result| {
        let runs = runs.iter().enumerate().map(run).collect();
        result.splitci.reused = Reused { tests, files: 1, oldest: Some(oldest), level: Some(Level::Protected), runs };
        result.splitci.counts.planned += tests;
    })
}

fn lenient() -> Gate {
    gate().with(|settings| settings.reused = ReusedRule::Protected)
}

#[test]
fn a_run_is_as_old_as_it_is_though_what_it_rests_on_says_to_be_newer() {
    let finished = green().predicate.splitci.finished_on;
    let mut late = lenient();
    late.now = finished.ms() + 7 * DAY + 1;
    assert!(matches!(reason(&late, &reusing(7, &[7], finished.plus_ms(DAY))), Reason::Stale { oldest, .. } if oldest == finished));
    late.now -= 1;
    assert_eq!(late.code(&[protected(&reusing(7, &[7], finished.plus_ms(DAY)))]), "");
}

#[test]
fn only_a_list_of_earlier_runs_that_is_full_may_show_less_than_there_is() {
    let oldest = green().predicate.splitci.started_on;
    let code = |tests: u64, runs: &[u64]| lenient().code(&[protected(&reusing(tests, runs, oldest))]);
    let full = vec![1; MOST_RUNS];
    assert_eq!(code(1_000, &full), "");
    assert_eq!(code(1_001, &full), "", "the others have no room");
    assert_eq!(code(999, &full), "E_INCOMPLETE", "more than there is");
    assert_eq!(code(1_001, &full[1..]), "E_INCOMPLETE", "there was room");
}

#[test]
fn a_yes_names_every_statement_that_it_rests_on_and_a_no_how_many_there_were() {
    let soaked =
        |at| Claim { name: "soaked".to_owned(), result: Answer::Passed, made_on: Moment::of_ms(at) }.about("shop", identity().manifest);
    let gate = gate().with(|settings| settings.require = vec!["soaked".to_owned()]);
    let claim = soaked(now());
    let approval = gate.ask(&[protected(&green()), protected(&claim)]).expect("approved");
    assert_eq!(approval.statements(), [sha256(&green().to_bytes()), sha256(&claim.to_bytes())]);
    // A claim is as little from the future as a run.
    assert_eq!(gate.code(&[protected(&green()), protected(&soaked(now() + 5 * MINUTE))]), "");
    assert_eq!(gate.code(&[protected(&green()), protected(&soaked(now() + 5 * MINUTE + 1))]), "E_MISSING_SOAKED");
    let unsigned = Found { envelope: Vec::new(), at: "elsewhere".to_owned() };
    let denial = gate.ask(&[signed(&TEAM.stranger, &green()), unsigned]).expect_err("denied");
    assert_eq!(*denial.reason, Reason::NoSignature { looked: 2 });
}

#[test]
fn a_reason_to_break_the_glass_is_as_long_as_the_policy_says_without_its_blanks_and_the_last_to_expire_counts() {
    let rule = BreakGlassRule::of(vec![source(&TEAM.person)]);
    let (least, longest) = (rule.min_reason, rule.ttl_ms);
    let gate = gate().with(|settings| settings.break_glass = Some(rule));
    let word = |reason: String, lasts: u64| {
        let made_on = Moment::of_ms(now());
        let (environment, actor) = ("production".to_owned(), "ada".to_owned());
        let word = BreakGlass { environment, reason, actor, made_on, expires: made_on.plus_ms(lasts) };
        signed(&TEAM.person, &word.about("shop", identity().manifest))
    };
    assert_eq!(gate.code(&[word("x".repeat(least), longest)]), "");
    assert_eq!(gate.code(&[word("x".repeat(least - 1), longest)]), "E_BREAK_GLASS");
    assert_eq!(gate.code(&[word(format!("{0}x{0}", " ".repeat(least)), longest)]), "E_BREAK_GLASS");
    let both = [MINUTE, longest].map(|lasts| word("x".repeat(least), lasts));
    let expires = gate.ask(&both).expect("approved").glass().map(|broken| broken.expires.ms());
    assert_eq!(expires, Some(now() + longest));
}

#[test]
fn what_is_no_statement_of_the_one_form_is_none() {
    let other = String::from_utf8(green().to_bytes()).expect("text").replace("/Statement/v1", "/Statement/v0.1");
    assert_eq!(gate().code(&[signed_bytes(&TEAM.protected, other.as_bytes())]), "E_NO_VALID_SIGNATURE");
}

/// Who may speak may have said no; a word that nobody understands opens nothing, and closes nothing.
#[test]
fn a_claim_that_cannot_be_read_may_be_a_no_and_a_broken_word_of_a_person_is_nothing() {
    let without = |statement: String, field: &str| statement.replace(field, "\"other\"");
    let claim =
        Claim { name: "soaked".to_owned(), result: Answer::Passed, made_on: Moment::of_ms(now()) }.about("shop", identity().manifest);
    let claim = without(String::from_utf8(claim.to_bytes()).expect("text"), "\"result\"");
    assert_eq!(gate().code(&[protected(&green()), signed_bytes(&TEAM.protected, claim.as_bytes())]), "E_INCOMPLETE");
    let (made_on, reason) = (Moment::of_ms(now()), "x".repeat(20));
    let word =
        BreakGlass { environment: "production".to_owned(), reason, actor: "ada".to_owned(), made_on, expires: made_on.plus_ms(MINUTE) };
    let word = without(String::from_utf8(word.about("shop", identity().manifest).to_bytes()).expect("text"), "\"actor\"");
    let gate = gate().with(|settings| settings.break_glass = Some(BreakGlassRule::of(vec![source(&TEAM.person)])));
    assert_eq!(gate.code(&[protected(&green()), signed_bytes(&TEAM.person, word.as_bytes())]), "");
    assert_eq!(gate.code(&[protected(&red()), signed_bytes(&TEAM.person, word.as_bytes())]), "E_RESULT");
}
