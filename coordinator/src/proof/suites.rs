//! Runs of several suites: what must be listed, who may run what, and that none may be empty.

use crate::model::Outcome::{Failed, Passed, Skipped};
use crate::model::event::{Close, EventKind};
use crate::model::settings::SuiteSettings;
use crate::model::story::{Story, file, record};
use crate::model::verdict::Verdict;
use crate::model::{Manifest, Outcome, SessionId, ShardId, SuiteId, Unit};
use crate::proof::{Fault, Proof};

/// A run of two suites, `a` in shard 1 and `b` in shard 2, with a file each.
fn begun() -> Story {
    let mut story = record();
    story.settle(|settings| {
        settings.suites = ["a", "b"].map(|name| SuiteSettings { name: name.to_owned(), ..SuiteSettings::default() }).to_vec();
    });
    story.boot(1);
    story.boot_for(2, SuiteId(1));
    story
}

fn listed(story: &mut Story, suite: u32) -> &mut Story {
    let files = vec![["a:t.py", "b:t.py"][suite as usize].to_owned()];
    story.say(EventKind::SuiteListed { suite: SuiteId(suite), files, list_hash: String::new(), of: None })
}

fn planned(story: &mut Story) -> &mut Story {
    let units = vec![file("a:t.py"), Unit { suite: SuiteId(1), ..file("b:t.py") }];
    story.freeze(Manifest { units })
}

fn whole(of_a: &[Outcome], of_b: &[Outcome]) -> Story {
    let mut story = begun();
    listed(&mut story, 0);
    listed(&mut story, 1);
    planned(&mut story).run(0, 1, of_a).run(1, 2, of_b);
    story.close(1, Close::Clean).close(2, Close::Clean);
    story
}

fn proof(story: &Story) -> Proof {
    let mut proof = Proof::default();
    story.events().iter().for_each(|event| proof.apply(event));
    proof
}

#[test]
fn all_suites_are_one_verdict() {
    let green = proof(&whole(&[Passed], &[Passed, Skipped]));
    assert_eq!((green.verdict(), green.faults()), (Verdict::Passed, &[][..]));
    let ran: Vec<_> = green.counts_by_suite().into_values().map(|counts| counts.ran()).collect();
    assert_eq!(ran, [1, 1]);
    assert_eq!(proof(&whole(&[Passed], &[Failed])).verdict(), Verdict::Failed { complete: true });
}

#[test]
fn a_suite_of_which_nothing_ran_is_empty_whatever_the_others_did() {
    for (of_a, of_b) in [(&[Passed][..], &[Skipped][..]), (&[], &[Passed]), (&[Passed], &[])] {
        assert_eq!(proof(&whole(of_a, of_b)).verdict(), Verdict::Empty, "{of_a:?} {of_b:?}");
    }
    assert_eq!(proof(&whole(&[Failed], &[])).verdict(), Verdict::Failed { complete: true }, "a failure is worse");
}

#[test]
fn a_plan_that_was_made_before_all_suites_were_listed_proves_nothing() {
    let mut story = begun();
    listed(&mut story, 0);
    story.freeze(Manifest { units: vec![file("a:t.py")] }).run(0, 1, &[Passed]).close(1, Close::Clean).close(2, Close::Clean);
    let early = proof(&story);
    assert_eq!((early.verdict(), early.faults()), (Verdict::None, &[Fault::Unlisted(SuiteId(1))][..]));
    let mut story = begun();
    listed(&mut story, 0);
    listed(&mut story, 1);
    listed(&mut story, 1);
    planned(&mut story);
    assert_eq!(proof(&story).faults(), [Fault::ListedTwice(SuiteId(1))]);
}

#[test]
fn a_unit_that_a_session_of_another_suite_ran_proves_nothing() {
    let mut story = begun();
    listed(&mut story, 0);
    listed(&mut story, 1);
    planned(&mut story).run(0, 1, &[Passed]).run(1, 1, &[Passed]).close(1, Close::Clean).close(2, Close::Clean);
    let mixed = proof(&story);
    let session = SessionId { shard: ShardId(1), number: 1 };
    let fault = Fault::LeasedToAnother { unit: crate::model::UnitId(1), session };
    assert_eq!((mixed.verdict(), mixed.faults()), (Verdict::None, &[fault][..]));
}
