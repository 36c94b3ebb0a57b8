//! One test for each way in that the gate itself can close, by the numbers of the list of threats. Who may push, what a webhook is worth and which deploy comes
//! last are decided elsewhere (T5, T12, T20 in part, T21, T22).

use super::*;
use crate::gate::statement::{EarlierRun, Origin, Reused};
use crate::model::policy::{BreakGlassRule, ReusedRule, Revocation, Revoked};

fn revoke(what: Revoked) -> impl FnOnce(&mut PolicySettings) {
    |settings| settings.revoked = vec![Revocation { what, reason: "it sells other people's lunch".to_owned() }]
}

fn glass(change: impl FnOnce(&mut BreakGlass)) -> Statement<BreakGlass> {
    let made_on = Moment::of_ms(now() - 60_000);
    let mut word = BreakGlass {
        environment: "production".to_owned(),
        reason: "the payment provider changed its certificate, nobody can pay".to_owned(),
        actor: "ada".to_owned(),
        made_on,
        expires: made_on.plus_ms(DAY / 6),
    };
    change(&mut word);
    word.about("registry.example/shop/candidate", identity().manifest)
}

fn with_glass() -> Gate {
    gate().with(|settings| settings.break_glass = Some(BreakGlassRule::of(vec![source(&TEAM.person)])))
}

fn claim(name: &str, result: Answer, before_ms: u64) -> Statement<Claim> {
    Claim { name: name.to_owned(), result, made_on: Moment::of_ms(now() - before_ms) }.about("shop", identity().manifest)
}

/// T1: a tag that was moved after the tests leads to another digest.
#[test]
fn t01_a_tag_is_no_image_and_the_digest_decides() {
    let found = [protected(&green())];
    let mut moved = gate();
    moved.question.identity = Identity { manifest: sha256(b"what the tag leads to now"), ..identity() };
    assert_eq!(moved.code(&found), "E_WRONG_SUBJECT");
    assert_eq!(Denial::unresolved("shop:latest", "production", "404").code(), "E_RESOLVE");
}

/// T2: an image that somebody pushed has no statement.
#[test]
fn t02_another_image_that_was_pushed_has_nothing_that_speaks_for_it() {
    let mut pushed = gate();
    pushed.question.identity = Identity { manifest: sha256(b"pushed by hand"), config: sha256(b"built by hand"), ..identity() };
    assert_eq!(pushed.code(&[protected(&green())]), "E_WRONG_SUBJECT");
    assert_eq!(pushed.code(&[]), "E_NO_VALID_SIGNATURE");
}

/// T3: the same commit, built again, is another image.
#[test]
fn t03_the_commit_alone_is_never_enough() {
    let mut statement = green();
    statement.subject.retain(|subject| subject.digest.git_commit.is_some());
    assert_eq!(gate().code(&[protected(&statement)]), "E_WRONG_SUBJECT");
    // Nor is a digest that stands in the wrong place.
    statement.subject[0].digest.git_commit = Some(identity().manifest.hex());
    assert_eq!(gate().code(&[protected(&statement)]), "E_WRONG_SUBJECT");
    let mut rebuilt = gate();
    rebuilt.question.identity.manifest = sha256(b"the same commit, built again");
    assert_eq!(rebuilt.code(&[protected(&green())]), "E_WRONG_SUBJECT");
}

/// T4: a converted image has other digests.
#[test]
fn t04_a_converted_image_is_another_one() {
    let mut converted = gate();
    converted.question.identity.config = sha256(b"the same layers, written down differently");
    assert_eq!(converted.code(&[protected(&green())]), "E_INCOMPLETE", "even under the same manifest's digest");
    converted.question.identity.manifest = sha256(b"the manifest of that");
    assert_eq!(converted.code(&[protected(&green())]), "E_WRONG_SUBJECT");
}

/// T5: only the word of a person whom the policy names gets past the gate.
#[test]
fn t05_there_is_no_way_around_but_the_one_that_is_signed() {
    assert_eq!(with_glass().code(&[signed(&TEAM.protected, &glass(|_| ()))]), "E_NO_VALID_SIGNATURE", "a run's key opens no other door");
    assert_eq!(gate().code(&[signed(&TEAM.person, &glass(|_| ()))]), "E_NO_VALID_SIGNATURE", "nor does a person whom nobody named");
}

/// T6: a rollback is no exemption.
#[test]
fn t06_a_rollback_needs_a_green_run_and_only_its_age_is_forgiven() {
    let mut rollback = gate();
    rollback.now += 365 * DAY;
    assert_eq!(rollback.code(&[protected(&green())]), "E_STALE");
    rollback.question.mode = Mode::Rollback;
    assert_eq!(rollback.code(&[protected(&green())]), "");
    assert_eq!(rollback.code(&[]), "E_NO_VALID_SIGNATURE");
    assert_eq!(rollback.code(&[protected(&green()), protected(&red())]), "E_SUPERSEDED_BY_FAILURE");
    assert_eq!(rollback.code(&[signed(&TEAM.pull, &green())]), "E_LEVEL");
    assert_eq!(rollback.with(revoke(Revoked::Run(RUN.to_owned()))).code(&[protected(&green())]), "E_REVOKED");
}

/// T7: no tests, or fewer than the policy asks for, are a no.
#[test]
fn t07_nothing_ran_is_not_green() {
    let none = bent(|result| {
        result.passed_tests.clear();
        let details = &mut result.splitci;
        details.counts = statement::Counts::default();
        details.shards.iter_mut().for_each(|shard| shard.tests = 0);
    });
    assert_eq!(gate().with(|settings| settings.min_tests = 0).code(&[protected(&none)]), "E_INCOMPLETE");
    assert_eq!(gate().with(|settings| settings.min_tests = 3).code(&[protected(&green())]), "");
    assert_eq!(gate().with(|settings| settings.min_tests = 4).code(&[protected(&green())]), "E_INCOMPLETE", "what was skipped did not run");
}

/// T8: a statement in which a shard or a test is missing is a no.
#[test]
fn t08_a_lost_shard_is_not_green() {
    let lost = bent(|result| {
        result.splitci.shards.pop();
    });
    assert_eq!(gate().code(&[protected(&lost)]), "E_INCOMPLETE");
    let missing = bent(|result| (result.splitci.counts.passed, result.splitci.counts.missing) = (2, 1));
    assert_eq!(gate().code(&[protected(&missing)]), "E_INCOMPLETE");
    let fewer = bent(|result| result.splitci.counts.executed -= 1);
    assert_eq!(gate().code(&[protected(&fewer)]), "E_INCOMPLETE");
}

/// T9: no other word than PASSED, or WARNED within the policy, is a yes.
#[test]
fn t09_there_are_three_answers_and_no_fourth() {
    let payload = String::from_utf8(green().to_bytes()).expect("text");
    for answer in ["UNSTABLE", "SKIPPED", "NEUTRAL", "passed", "", "PASSED "] {
        let other = payload.replace("\"result\":\"PASSED\"", &format!("\"result\":\"{answer}\""));
        assert_eq!(gate().code(&[signed_bytes(&TEAM.protected, other.as_bytes())]), "E_INCOMPLETE", "{answer}");
    }
    let warned = payload.replace("\"result\":\"PASSED\"", "\"result\":\"WARNED\"");
    assert_eq!(gate().code(&[signed_bytes(&TEAM.protected, warned.as_bytes())]), "E_INCOMPLETE", "of what, it does not say");
    let failed = payload.replace("\"result\":\"PASSED\"", "\"result\":\"FAILED\"");
    assert_eq!(gate().code(&[signed_bytes(&TEAM.protected, failed.as_bytes())]), "E_RESULT");
    let all = gate().with(|settings| settings.max_warned = u64::MAX);
    assert_eq!(all.code(&[protected(&red())]), "E_RESULT", "no policy takes a failure");
}

/// T10: the code under test has no key that counts.
#[test]
fn t10_a_report_that_nobody_known_signed_says_nothing() {
    let payload = green().to_bytes();
    let unsigned = Found { envelope: payload.clone(), at: "a file in the image".to_owned() };
    let own = signed_bytes(&TEAM.stranger, &payload);
    assert_eq!(gate().code(&[unsigned, own]), "E_NO_VALID_SIGNATURE");
}

/// T11: a configuration other than those that the policy lists is a no.
#[test]
fn t11_a_configuration_that_the_policy_does_not_list_does_not_count() {
    let other = |digest: Option<Sha256>| {
        bent(|result| {
            result.configuration.retain(|one| one.name != CONFIG);
            result.configuration.extend(digest.map(|digest| Subject::of_bytes(CONFIG, digest)));
        })
    };
    assert_eq!(gate().code(&[protected(&other(Some(sha256(b"fewer tests"))))]), "E_CONFIG");
    assert_eq!(gate().code(&[protected(&other(None))]), "E_CONFIG");
    let both = bent(|result| result.configuration.push(Subject::of_bytes(CONFIG, sha256(b"fewer tests"))));
    assert_eq!(gate().code(&[protected(&both)]), "E_CONFIG");
    let renamed = bent(|result| result.configuration.iter_mut().for_each(|one| one.name.push('2')));
    assert_eq!(gate().code(&[protected(&renamed)]), "E_CONFIG");
    let filtered = bent(|result| result.splitci.filters.push("tests/unit".to_owned()));
    assert_eq!(gate().code(&[protected(&filtered)]), "E_INCOMPLETE");
}

/// T12: a shard of another image or outside of containers, or one that is counted twice, is a no.
#[test]
fn t12_a_shard_that_ran_another_image_shows_nothing() {
    let other = bent(|result| result.splitci.shards[1].image_id = sha256(b"an easier image"));
    assert_eq!(gate().code(&[protected(&other)]), "E_INCOMPLETE");
    let twice = bent(|result| result.splitci.shards[1].index = 1);
    assert_eq!(gate().code(&[protected(&twice)]), "E_INCOMPLETE");
    let process = bent(|result| result.splitci.engine = "process".to_owned());
    assert_eq!(gate().code(&[protected(&process)]), "E_INCOMPLETE");
}

/// T13: the image is named inside of what is signed.
#[test]
fn t13_a_verdict_beside_another_image_is_of_no_use_there() {
    // It was attached to the image in question, and speaks of its own.
    let mut of_another = green();
    of_another.subject[0].digest.sha256 = Some(sha256(b"another manifest"));
    assert_eq!(gate().code(&[protected(&of_another)]), "E_WRONG_SUBJECT");
    // What is about both counts for both; its shards say which one ran.
    of_another.subject.push(Subject::of_bytes("", identity().manifest));
    assert_eq!(gate().code(&[protected(&of_another)]), "");
}

/// T14: keys and repositories count as the policy says.
#[test]
fn t14_the_wrong_key_or_another_app_does_not_count() {
    let named = |key: &SecretKey| {
        let source = source(key);
        gate().with(|settings| (settings.keys, settings.level) = (vec![source], Level::Pull))
    };
    assert_eq!(gate().code(&[signed(&TEAM.pull, &green())]), "E_LEVEL");
    assert_eq!(named(&TEAM.pull).code(&[signed(&TEAM.pull, &green())]), "");
    assert_eq!(named(&TEAM.pull).code(&[protected(&green())]), "E_LEVEL", "a better key that the policy does not name");
    let low = bent(|result| result.splitci.level = Level::Pull);
    assert_eq!(gate().code(&[protected(&low)]), "E_LEVEL", "a good key under a run that was not");
    let of = |name: &str| gate().with(|settings| settings.repository = Some(name.to_owned()));
    assert_eq!(of("registry.example/shop/candidate").code(&[protected(&green())]), "");
    assert_eq!(of("registry.example/other/candidate").code(&[protected(&green())]), "E_WRONG_SUBJECT");
}

/// T15: evidence grows old and can be revoked.
#[test]
fn t15_old_evidence_and_revoked_evidence_does_not_count() {
    let mut late = gate();
    let finished = green().predicate.splitci.finished_on.ms();
    late.now = finished + 7 * DAY;
    assert_eq!(late.code(&[protected(&green())]), "");
    late.now += 1;
    assert_eq!(late.code(&[protected(&green())]), "E_STALE");
    let mut early = gate();
    early.now = finished - 5 * 60_000;
    assert_eq!(early.code(&[protected(&green())]), "", "clocks may differ a little");
    early.now -= 1;
    assert_eq!(early.code(&[protected(&green())]), "E_FUTURE");
    let key = Sha256::from_bytes(*TEAM.protected.id().bytes());
    let commit = facts().commit.expect("a commit");
    let all = [
        Revoked::Image(identity().manifest),
        Revoked::Image(identity().config),
        Revoked::Run(RUN.to_owned()),
        Revoked::Key(key),
        Revoked::Commit(commit),
    ];
    for what in all {
        let denial = gate().with(revoke(what.clone())).ask(&[protected(&green())]).expect_err("revoked");
        assert_eq!(denial.code(), "E_REVOKED", "{what:?}");
        assert!(denial.reason.to_string().ends_with("other people's lunch"), "{}", denial.reason);
    }
    assert_eq!(gate().with(revoke(Revoked::Run("another".to_owned()))).code(&[protected(&green())]), "");
}

/// T16: without a statement there is no yes.
#[test]
fn t16_a_failure_that_somebody_removed_leaves_nothing_behind() {
    assert_eq!(gate().code(&[protected(&red())]), "E_RESULT");
    assert_eq!(gate().code(&[]), "E_NO_VALID_SIGNATURE");
}

/// T17: the newest run decides, each time anew.
#[test]
fn t17_the_newest_run_decides_and_nothing_is_remembered() {
    let (pass, fail) = (protected(&green()), protected(&red()));
    assert_eq!(gate().code(&[pass.clone(), fail.clone()]), "E_SUPERSEDED_BY_FAILURE");
    assert_eq!(gate().code(&[fail.clone(), pass.clone()]), "E_SUPERSEDED_BY_FAILURE");
    let again =
        attest(&whole("01JD2Q5T8Z0000000000000002", "2026-11-23T14:00:00Z", &[Passed, Passed]).events(), &facts()).expect("attested");
    assert_eq!(gate().code(&[pass.clone(), fail.clone(), protected(&again)]), "", "it was run again");
    // In the same millisecond the worse one counts.
    let mut tie = red();
    tie.predicate.splitci.finished_on = green().predicate.splitci.finished_on;
    tie.predicate.splitci.started_on = green().predicate.splitci.started_on;
    assert_eq!(gate().code(&[pass.clone(), protected(&tie)]), "E_SUPERSEDED_BY_FAILURE");
    // One that cannot be read may be it.
    let unreadable = signed_bytes(&TEAM.protected, br#"{"_type":"https://in-toto.io/Statement/v1"}"#);
    assert_eq!(gate().code(&[pass.clone(), unreadable]), "E_INCOMPLETE");
    // Those who may not say that it is good may not say that it is bad.
    assert_eq!(gate().code(&[pass.clone(), signed(&TEAM.pull, &red()), signed(&TEAM.stranger, &red())]), "");
}

/// T18: no answer is a no.
#[test]
fn t18_who_cannot_be_asked_has_not_said_that_there_is_nothing() {
    let gate = gate();
    let unanswered = |given| Evidence::Unanswered { place: "registry.example".to_owned(), why: "502".to_owned(), given };
    for given in [Vec::new(), vec![protected(&green())]] {
        let denial = decide(&gate.question, &gate.policy(), &unanswered(given), gate.now).expect_err("denied");
        assert_eq!(denial.code(), "E_EVIDENCE_UNAVAILABLE");
    }
    let flood = vec![protected(&green()); 1_001];
    assert_eq!(gate.code(&flood), "E_EVIDENCE_UNAVAILABLE", "nothing is left out");
    assert_eq!(gate.code(&flood[..1_000]), "");
    // With a word of a person and what is at hand it goes, for that is what it is for.
    let local = vec![signed(&TEAM.person, &glass(|_| ()))];
    let gate = with_glass();
    assert!(decide(&gate.question, &gate.policy(), &unanswered(local), gate.now).is_ok());
}

/// T19: an approval names its image and is asked for again.
#[test]
fn t19_a_yes_is_for_one_image_and_is_not_kept() {
    let found = [protected(&green())];
    let approval = gate().ask(&found).expect("approved");
    assert_eq!(approval.manifest(), identity().manifest, "what is pulled is compared with this");
    // The same question a week later, or after a revocation, is another one.
    let mut later = gate();
    later.now += 8 * DAY;
    assert_eq!(later.code(&found), "E_STALE");
    assert_eq!(gate().with(revoke(Revoked::Image(identity().manifest))).code(&found), "E_REVOKED");
}

/// T20: releases have an order.
#[test]
fn t20_an_approval_says_when_its_runs_ended_so_that_there_is_an_order() {
    let older = gate().ask(&[protected(&green())]).expect("approved");
    let later = attest(&whole(LATER, "2026-11-23T12:00:00Z", &[Passed, Passed]).events(), &facts()).expect("attested");
    let newer = gate().ask(&[protected(&green()), protected(&later)]).expect("approved");
    assert!(older.finished() < newer.finished() && older.finished().is_some());
    assert_eq!(newer.runs(), [LATER]);
}

/// T23: whoever gets past the gate signs why, and not for long.
#[test]
fn t23_a_broken_glass_is_signed_explained_and_over_soon() {
    let word = |change: fn(&mut BreakGlass)| [protected(&red()), signed(&TEAM.person, &glass(change))];
    let approval = with_glass().ask(&word(|_| ())).expect("approved");
    let broken = approval.glass().expect("and it says so");
    assert_eq!((broken.actor.as_str(), broken.key, broken.instead_of.code().as_str()), ("ada", TEAM.person.id(), "E_RESULT"));
    assert!(approval.runs().is_empty() && approval.finished().is_none());
    assert_eq!(with_glass().code(&word(|word| word.reason = "   it is urgent   ".to_owned())), "E_BREAK_GLASS");
    assert_eq!(with_glass().code(&word(|word| word.actor = " ".to_owned())), "E_BREAK_GLASS");
    assert_eq!(with_glass().code(&word(|word| word.expires = word.expires.plus_ms(1))), "E_BREAK_GLASS");
    assert_eq!(
        with_glass().code(&word(|word| (word.made_on, word.expires) = (word.made_on.plus_ms(DAY), word.expires.plus_ms(DAY)))),
        "E_BREAK_GLASS"
    );
    assert_eq!(with_glass().code(&word(|word| word.environment = "staging".to_owned())), "E_RESULT", "it is about another place");
    assert_eq!(with_glass().code(&word(|word| word.expires = Moment::of_ms(now()))), "E_RESULT", "it is over");
    let mut elsewhere = with_glass();
    elsewhere.question.identity.manifest = sha256(b"another image");
    assert_eq!(elsewhere.code(&word(|_| ())), "E_WRONG_SUBJECT");
    // There is no way around a revocation of the image, nor with a key that was revoked.
    assert_eq!(with_glass().with(revoke(Revoked::Image(identity().manifest))).code(&word(|_| ())), "E_REVOKED");
    let lost = Revoked::Key(Sha256::from_bytes(*TEAM.person.id().bytes()));
    assert_eq!(with_glass().with(revoke(lost)).code(&word(|_| ())), "E_RESULT");
    // Where nothing has to be broken, nothing is.
    let both = [protected(&green()), signed(&TEAM.person, &glass(|_| ()))];
    assert!(with_glass().ask(&both).expect("approved").glass().is_none());
}

/// T24: evidence that is gone is a no with a way out.
#[test]
fn t24_evidence_that_is_gone_is_a_no_that_says_how_to_get_it_again() {
    let denial = gate().ask(&[]).expect_err("denied");
    assert_eq!(denial.code(), "E_NO_VALID_SIGNATURE");
    assert!(denial.hint().contains("splitci push RUN") && denial.hint().contains("splitci run --image"), "{}", denial.hint());
}

/// T25: the algorithm is that of the key.
#[test]
fn t25_an_envelope_cannot_choose_how_it_is_checked() {
    let good = String::from_utf8(protected(&green()).envelope).expect("text");
    let found = |envelope: String| [Found { envelope: envelope.into_bytes(), at: String::new() }];
    assert_eq!(gate().code(&found(good.clone())), "");
    let keyid = TEAM.protected.id().to_string();
    let (payload, rest) = good.split_once(',').expect("fields");
    let signature = good.split_once("\"signatures\":[").expect("signatures").1.trim_end_matches("]}");
    let bad = [
        good.replace(&keyid, ""),
        good.replace(&keyid, &keyid.to_uppercase()),
        good.replace(&keyid, &TEAM.pull.id().to_string()),
        good.replace("\"sig\":", "\"alg\":\"none\",\"sig\":"),
        good.replace("\"sig\":", "\"sig\":\"\",\"sig\":"),
        good.replace("application/vnd.in-toto+json", "application/json"),
        good.replace(signature, ""),
        good.replace(signature, &format!("{signature},{signature}")),
        format!("{payload},{},{rest}", &payload[1..]),
        format!("{good}\n{good}"),
        good.replace("\"payload\":\"", "\"payload\":\"="),
        good[..good.len() - 1].to_owned(),
        format!("{}{good}", " ".repeat(dsse::MOST_BYTES)),
    ];
    for envelope in bad {
        assert_ne!(envelope, good);
        assert_eq!(gate().code(&found(envelope.clone())), "E_NO_VALID_SIGNATURE", "{}", &envelope[envelope.len().saturating_sub(300)..]);
    }
}

#[test]
fn what_was_reused_and_who_built_the_image_is_as_the_policy_wants_it() {
    let reused = |level: Option<Level>, oldest: &str| {
        let runs = vec![EarlierRun { run: "earlier".to_owned(), tests: 7, record: true, sha256: sha256(b"evidence") }];
        bent(|result| {
            result.splitci.reused = Reused { tests: 7, files: 1, oldest: Moment::parse(oldest), level, runs };
            result.splitci.counts.planned += 7;
        })
    };
    let yesterday = "2026-11-22T10:00:00Z";
    let takes = || gate().with(|settings| settings.reused = ReusedRule::Protected);
    let good = [protected(&reused(Some(Level::Protected), yesterday))];
    assert_eq!((gate().code(&good).as_str(), takes().code(&good).as_str()), ("E_REUSED", ""));
    assert_eq!(takes().code(&[protected(&reused(Some(Level::Pull), yesterday))]), "E_REUSED");
    assert_eq!(takes().code(&[protected(&reused(None, yesterday))]), "E_REUSED");
    assert_eq!(takes().code(&[protected(&reused(Some(Level::Release), "2026-11-01T10:00:00Z"))]), "E_STALE", "as old as the oldest");
    assert_eq!(takes().code(&[protected(&reused(Some(Level::Release), ""))]), "E_INCOMPLETE");
    assert_eq!(takes().with(|settings| settings.min_tests = 4).code(&good), "E_INCOMPLETE", "what is reused did not run");
    assert_eq!(takes().with(revoke(Revoked::Run("earlier".to_owned()))).code(&good), "E_REVOKED");

    let image = |how, level| [protected(&bent(|result| (result.splitci.image.how, result.splitci.image.level) = (how, level)))];
    let wants = |level| gate().with(|settings| settings.image_level = Some(level));
    assert_eq!(wants(Level::Protected).code(&image(Origin::Built, Some(Level::Protected))), "");
    assert_eq!(wants(Level::Protected).code(&image(Origin::Reused, Some(Level::Branch))), "E_IMAGE_LEVEL");
    assert_eq!(wants(Level::Protected).code(&image(Origin::Given, None)), "E_IMAGE_LEVEL");
    assert_eq!(wants(Level::Release).code(&image(Origin::Built, Some(Level::Release))), "E_IMAGE_LEVEL", "its key cannot say that");
}

#[test]
fn numbers_that_contradict_each_other_show_nothing() {
    let bends: [fn(&mut TestResult); 14] = [
        |result| result.splitci.counts.planned += 1,
        |result| result.splitci.counts.executed += 1,
        |result| result.splitci.counts.skipped += 1,
        |result| result.splitci.counts.passed -= 1,
        |result| (result.splitci.counts.passed, result.splitci.counts.warned) = (2, 1),
        |result| result.result = Answer::Warned,
        |result| result.passed_tests.push("another".to_owned()),
        |result| result.warned_tests = vec![result.passed_tests.remove(0)],
        |result| result.splitci.names_left_out = 1,
        |result| result.splitci.suites.clear(),
        |result| result.splitci.reused.files = 1,
        |result| result.splitci.reused.oldest = Some(result.splitci.started_on),
        |result| result.splitci.reused.runs.push(EarlierRun { run: String::new(), tests: 1, record: true, sha256: config() }),
        |result| result.splitci.started_on = result.splitci.finished_on.plus_ms(1),
    ];
    let lenient = || gate().with(|settings| (settings.max_warned, settings.reused) = (9, ReusedRule::Protected));
    for (number, bend) in bends.into_iter().enumerate() {
        assert_eq!(lenient().code(&[protected(&bent(bend))]), "E_INCOMPLETE", "{number}");
    }
    let again = |retried| {
        bent(|result| {
            result.result = Answer::Warned;
            result.warned_tests = result.passed_tests.split_off(2);
            (result.splitci.counts.passed, result.splitci.counts.warned, result.splitci.counts.retried) = (2, 1, retried);
        })
    };
    assert_eq!((lenient().code(&[protected(&again(1))]).as_str(), lenient().code(&[protected(&again(0))]).as_str()), ("", "E_INCOMPLETE"));
}

#[test]
fn a_dirty_tree_and_a_missing_claim_are_seen() {
    let dirty = [protected(&bent(|result| result.splitci.dirty = true))];
    assert_eq!(gate().code(&dirty), "E_DIRTY");
    assert_eq!(gate().with(|settings| settings.dirty = true).code(&dirty), "");

    let gate = gate().with(|settings| settings.require = vec!["tests".to_owned(), "soaked:staging".to_owned()]);
    let with = |claims: &[Statement<Claim>]| {
        let found: Vec<_> = [protected(&green())].into_iter().chain(claims.iter().map(protected)).collect();
        gate.code(&found)
    };
    let soaked = |result, before| claim("soaked:staging", result, before);
    assert_eq!(with(&[]), "E_MISSING_SOAKED_STAGING");
    assert_eq!(with(&[soaked(Answer::Passed, 9)]), "");
    assert_eq!(with(&[soaked(Answer::Warned, 9)]), "E_MISSING_SOAKED_STAGING");
    assert_eq!(with(&[claim("soaked", Answer::Passed, 9)]), "E_MISSING_SOAKED_STAGING");
    assert_eq!(with(&[soaked(Answer::Passed, 8 * DAY)]), "E_MISSING_SOAKED_STAGING");
    assert_eq!(with(&[soaked(Answer::Passed, 9), soaked(Answer::Failed, 8)]), "E_MISSING_SOAKED_STAGING");
    assert_eq!(with(&[soaked(Answer::Failed, 9), soaked(Answer::Passed, 8)]), "");
    assert_eq!(with(&[soaked(Answer::Failed, 9), soaked(Answer::Passed, 9)]), "E_MISSING_SOAKED_STAGING");
    let low = [protected(&green()), signed(&TEAM.pull, &soaked(Answer::Passed, 9))];
    assert_eq!(gate.code(&low), "E_MISSING_SOAKED_STAGING");
}
