//! From run to run: what is kept, offered, chosen, and taken back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::key::Key;
use super::lessons::Lessons;
use super::offer::Offer;
use super::pack::{EXPIRES_MS, Entry, Pack};
use super::standing::{BARRED_FOR, Standings};
use crate::model::Outcome::{ExpectedFailure, Failed, Passed, Skipped, UnexpectedPass};
use crate::model::event::{Close, Crash};
use crate::model::settings::Flaky;
use crate::model::story::{Story, fallback, file, record_of, slice};
use crate::model::{Manifest, Outcome, RunId, SuiteId};
use crate::proof::Proof;

const KEY: Key = Key([9; 32]);
const NOW_MS: u64 = 1_764_000_000_000;

/// What is kept of a project, and the runs that change it.
#[derive(Default)]
struct Shop {
    pack: Pack,
    standings: Standings,
    runs: u64,
    key: Option<Key>,
}

impl Shop {
    fn new() -> Self {
        Self { key: Some(KEY), ..Self::default() }
    }

    /// A run happens. Returns the files of which something else was kept.
    fn learn(&mut self, story: &Story) -> Vec<String> {
        self.runs += 1;
        let mut proof = Proof::default();
        story.events().iter().for_each(|event| proof.apply(event));
        let run = RunId(format!("run {}", self.runs));
        let lessons = Lessons::of(&proof, &run, "2026-11-24T12:00:00Z", NOW_MS + self.runs);
        let keys: BTreeMap<_, _> = self.key.map(|key| (SuiteId(0), key)).into_iter().collect();
        let mut packs = BTreeMap::from([(SuiteId(0), std::mem::take(&mut self.pack))]);
        let contradicted = lessons.teach(&keys, &mut packs, &mut self.standings);
        self.pack = packs.remove(&SuiteId(0)).expect("the pack");
        contradicted
    }

    fn offered(&self) -> Vec<String> {
        let names = ["a.py", "b.py", "c.py"].map(str::to_owned).to_vec();
        let choice = self.offer().choose(&[names], &RunId("next".into()), 0);
        choice.reused.into_iter().map(|known| known.file).collect()
    }

    fn offer(&self) -> Offer {
        let mut offer = Offer::default();
        offer.add(SuiteId(0), (&self.pack, KEY), (&self.standings, NOW_MS), |_| true);
        offer
    }
}

/// A run in a shard, told by these words.
fn story(tell: impl FnOnce(&mut Story)) -> Story {
    let mut story = record_of("01JD2Q5T8Z0000000000000000", "2026-11-23T10:00:00Z");
    story.settle(|settings| (settings.reuse, settings.retries, settings.flaky) = (true, 2, Flaky::Pass));
    story.boot(1);
    tell(&mut story);
    story
}

/// A run of `a.py` alone.
fn a(outcomes: &[Outcome]) -> Story {
    story(|story| {
        story.plan(&[file("a.py")]).run(0, 1, outcomes).close(1, Close::Clean);
    })
}

#[test]
fn what_passed_at_once_is_offered_to_the_next_run() {
    let mut shop = Shop::new();
    assert_eq!(shop.learn(&a(&[Passed, Skipped])), [""; 0]);
    assert_eq!(shop.offered(), ["a.py"]);
    let choice = shop.offer().choose(&[vec!["a.py".into()]], &RunId("next".into()), 0);
    let evidence = &choice.reused[0];
    assert_eq!((&*evidence.of.0, &*evidence.at, evidence.key.as_str()), ("run 1", "2026-11-24T12:00:00Z", &*KEY.to_hex()));
    assert_eq!(evidence.tests.iter().map(|test| test.outcome).collect::<Vec<_>>(), [Passed, Skipped]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each kind of run")]
fn nothing_else_is_kept() {
    let cut = |tell: fn(&mut Story)| story(tell);
    let runs = [
        ("a failure", a(&[Passed, Failed])),
        ("an expected failure", a(&[Passed, ExpectedFailure])),
        ("an unexpected pass", a(&[Passed, UnexpectedPass])),
        ("nothing but skips", a(&[Skipped])),
        ("no test", a(&[])),
        (
            "a session that ended wrongly",
            cut(|story| {
                story.plan(&[file("a.py")]).run(0, 1, &[Passed]).close(1, Close::Dirty);
            }),
        ),
        (
            "a session that did not end",
            cut(|story| {
                story.plan(&[file("a.py")]).run(0, 1, &[Passed]);
            }),
        ),
        (
            "a session that was lost",
            cut(|story| {
                story.plan(&[file("a.py")]).run(0, 1, &[Passed]).close(1, Close::Lost);
            }),
        ),
        (
            "a file that was begun twice",
            cut(|story| {
                story.plan(&[file("a.py")]).lease(0, 1).declare(0, 1).interrupt(0, 0, Some(0)).close(1, Close::Lost).ready(1);
                story.run(0, 1, &[Passed]).close(1, Close::Clean);
            }),
        ),
        (
            "a crash",
            cut(|story| {
                story.plan(&[file("a.py")]).lease(0, 1).declare(0, 2).test(0, 0, Passed).interrupt(0, 1, Some(1));
                story.crash(0, 1, 1, Crash::Signal(11)).close(1, Close::Lost);
            }),
        ),
        (
            "half of a file",
            cut(|story| {
                story.plan(&[file("a.py")]).lease(0, 1).declare(0, 2).test(0, 0, Passed).close(1, Close::Clean);
            }),
        ),
        (
            "slices that disagree",
            cut(|story| {
                story.plan(&[slice("a.py", &[0]), slice("a.py", &[1]), fallback("a.py")]);
                story.lease(0, 1).declare_some(0, 2, Some(&[0])).test(0, 0, Passed).finish(0);
                story.lease(1, 1).declare_some(1, 3, Some(&[1, 2])).supersede(0).supersede(1).run(2, 1, &[Passed]).close(1, Close::Clean);
            }),
        ),
        (
            "a record that contradicts itself",
            cut(|story| {
                story.plan(&[file("a.py")]).run(0, 1, &[Passed]).finish(0).close(1, Close::Clean);
            }),
        ),
    ];
    for (what, run) in runs {
        let mut shop = Shop::new();
        shop.learn(&run);
        assert_eq!(shop.offered(), [""; 0], "{what}");
        assert!(shop.pack.files.is_empty(), "{what}");
    }
}

#[test]
fn a_sliced_file_is_kept_as_a_whole() {
    let mut shop = Shop::new();
    shop.learn(&story(|story| {
        story.plan(&[slice("a.py", &[0, 2]), slice("a.py", &[1]), fallback("a.py")]);
        story.lease(1, 1).declare_some(1, 3, Some(&[1])).test(1, 1, Skipped).finish(1);
        story.lease(0, 1).declare_some(0, 3, Some(&[0, 2])).test(0, 0, Passed).test(0, 2, Passed).finish(0).close(1, Close::Clean);
    }));
    let choice = shop.offer().choose(&[vec!["a.py".into()]], &RunId("next".into()), 0);
    let outcomes: Vec<_> = choice.reused[0].tests.iter().map(|test| (test.id.as_str(), test.outcome)).collect();
    assert_eq!(outcomes, [("a.py::test_0", Passed), ("a.py::test_1", Skipped), ("a.py::test_2", Passed)]);
}

fn made_good() -> Story {
    story(|story| {
        story.plan(&[file("a.py")]).run(0, 1, &[Failed]);
        let again = story.retry(0, 1, &[0]);
        story.lease(again, 1).declare_some(again, 1, Some(&[0])).test(again, 0, Passed).finish(again).close(1, Close::Clean);
    })
}

#[test]
fn a_flaky_file_is_run_in_its_next_twenty_runs() {
    let mut shop = Shop::new();
    shop.learn(&made_good());
    for run in 0..BARRED_FOR {
        assert_eq!(shop.offered(), [""; 0], "run {run}");
        shop.learn(&a(&[Passed]));
    }
    assert_eq!(shop.offered(), ["a.py"]);
}

#[test]
fn a_file_that_failed_and_passed_with_all_being_the_same_is_flaky() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Failed]));
    shop.learn(&a(&[Passed]));
    assert_eq!(shop.standings.of("a.py").map(super::standing::Standing::barred), Some(BARRED_FOR));
    // With something else in the image it may well have been mended.
    let mut other = Shop { key: Some(Key([1; 32])), ..Shop::new() };
    other.learn(&a(&[Failed]));
    other.key = Some(KEY);
    other.learn(&a(&[Passed]));
    assert_eq!(other.offered(), ["a.py"]);
}

fn canary(outcomes: &[Outcome]) -> Story {
    story(|story| {
        story.list(&["a.py"]).canary("a.py", &[Passed, Passed]).freeze(Manifest { units: vec![file("a.py")] });
        story.run(0, 1, outcomes).close(1, Close::Clean);
    })
}

#[test]
fn one_disagreement_takes_everything_back() {
    for now in [&[Passed, Failed][..], &[Passed, Skipped], &[Passed], &[Passed, Passed, Passed]] {
        let mut shop = Shop::new();
        shop.learn(&a(&[Passed, Passed]));
        assert_eq!(shop.offered(), ["a.py"]);
        assert_eq!(shop.learn(&canary(now)), ["a.py"], "{now:?}");
        for _ in 0..BARRED_FOR {
            assert_eq!(shop.offered(), [""; 0], "{now:?}");
            shop.learn(&a(&[Passed, Passed]));
        }
        assert_eq!(shop.offered(), ["a.py"]);
    }
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed, Passed]));
    shop.learn(&canary(&[Passed, Passed]));
    assert_eq!(shop.offered(), ["a.py"], "one that agrees changes nothing");
}

#[test]
fn what_is_run_anew_is_held_against_what_is_kept_too() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed]));
    assert_eq!(shop.learn(&a(&[Failed])), ["a.py"], "a fresh run");
    assert_eq!(shop.offered(), [""; 0]);
    shop.learn(&a(&[Passed]));
    assert_eq!(shop.offered(), [""; 0]);
}

#[test]
fn what_is_reused_keeps_its_evidence_and_its_standing() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed]));
    for _ in 0..300 {
        shop.learn(&story(|story| {
            {
                story.list(&["a.py"]).reuse("a.py", &[Passed]).freeze(Manifest { units: Vec::new() }).close(1, Close::Clean);
            };
        }));
    }
    let choice = shop.offer().choose(&[vec!["a.py".into()]], &RunId("next".into()), 0);
    assert_eq!(choice.reused[0].of.0, "run 1", "evidence is of a run that ran it");
}

#[test]
fn a_file_of_no_known_past_is_not_offered() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed]));
    shop.standings = Standings::default();
    assert_eq!(shop.offered(), [""; 0]);
    assert_eq!(shop.offer().withheld.unknown, 1);
}

#[test]
fn runs_without_a_key_only_remember_who_was_flaky() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed]));
    let pack = shop.pack.clone();
    shop.key = None;
    shop.learn(&made_good());
    shop.pack = pack;
    assert_eq!(shop.offered(), [""; 0]);
    assert_eq!(shop.standings.barred().collect::<Vec<_>>(), [("a.py", BARRED_FOR)]);
}

#[test]
fn results_expire_and_do_not_come_from_the_future() {
    let mut shop = Shop::new();
    shop.learn(&a(&[Passed]));
    let day = 24 * 3_600_000;
    let at = |now_ms: u64| {
        let mut offer = Offer::default();
        offer.add(SuiteId(0), (&shop.pack, KEY), (&shop.standings, now_ms), |_| true);
        offer.has("a.py")
    };
    assert!(at(NOW_MS) && at(NOW_MS + EXPIRES_MS) && at(NOW_MS - day + 10), "a clock may be a day off");
    assert!(!at(NOW_MS + EXPIRES_MS + 10) && !at(NOW_MS - day - 10));
}

fn entry(name: &str) -> Entry {
    let tests = crate::model::story::proven(name, &[Passed, Skipped]).tests;
    Entry::of(&RunId("01J".into()), "2026-11-24T12:00:00Z", NOW_MS, &tests).expect("an entry")
}

fn pack(files: usize) -> Pack {
    let names = (0..files).map(|n| format!("f{n:03}.py"));
    Pack { files: names.map(|name| (name.clone(), entry(&name))).collect(), ..Pack::default() }
}

#[test]
fn a_pack_comes_back_as_it_was_and_under_no_other_name() {
    let mut kept = pack(3);
    kept.take_back("f001.py", NOW_MS);
    let bytes = kept.write(KEY);
    assert_eq!(Pack::read(&bytes, KEY), Some(kept));
    assert_eq!(Pack::read(&bytes, Key([8; 32])), None, "a pack under another's name");
    assert!((0..bytes.len()).all(|at| Pack::read(&bytes[..at], KEY).is_none()), "cut off");
}

#[test]
fn what_several_machines_keep_is_put_together_and_what_one_took_back_stays_away() {
    let tests = crate::model::story::proven("t", &[Passed]).tests;
    let entry = |at_ms: u64| Entry::of(&RunId("r".into()), "x", at_ms, &tests).expect("sound");
    let with =
        |rows: &[(&str, u64)]| Pack { files: rows.iter().map(|(file, at)| ((*file).into(), entry(*at))).collect(), ..Pack::default() };
    let shown = |pack: &Pack| pack.files.iter().map(|(file, entry)| (file.clone(), entry.at_ms)).collect::<Vec<_>>();
    let mut near = with(&[("a", 10), ("b", 10)]);
    near.take_back("b", 20);
    let mut far = with(&[("a", 15), ("b", 10), ("c", 5)]);
    far.take_back("c", 5);
    let mut one = near.clone();
    one.join(far.clone());
    let mut other = far;
    other.join(near);
    assert_eq!(one, other, "whoever is asked first");
    assert_eq!(shown(&one), [("a".to_owned(), 15)], "the younger one; what was taken back does not come in again");
    one.join(with(&[("b", 21)]));
    assert_eq!(shown(&one), [("a".to_owned(), 15), ("b".to_owned(), 21)], "shown anew since");
    one.expire(21 + EXPIRES_MS);
    assert_eq!(shown(&one), [("b".to_owned(), 21)]);
}

#[test]
fn of_two_standings_the_worse_one_counts() {
    let key = Some(KEY);
    let mut near = Standings::default();
    (0..3).for_each(|_| near.next_run());
    near.passed("steady", key);
    near.passed("flaky", key);
    let mut far = Standings::default();
    far.next_run();
    far.bar("flaky");
    far.failed("broken", key);
    for (mut one, other) in [(near.clone(), far.clone()), (far, near)] {
        one.join(other);
        let barred = |file: &str| one.of(file).map(super::standing::Standing::barred);
        assert_eq!((barred("steady"), barred("flaky"), barred("unknown")), (Some(0), Some(BARRED_FOR), None));
        assert!(!one.clone().passed("broken", key), "it failed with all of this being the same");
    }
}

#[test]
fn a_pack_that_no_run_would_have_kept_is_none() {
    let body = |text: &str| Pack::read(text.as_bytes(), KEY);
    let key = KEY.to_hex();
    let file = |tests: &str| {
        format!(r#"{{"splitci-results":2,"key":"{key}","files":{{"a.py":{{"of":"01J","at":"x","at_ms":1,"tests":{tests}}}}},"gone":{{}}}}"#)
    };
    assert!(body(&file(r#"[["t",false,1]]"#)).is_some());
    assert!(body(&file("[]")).is_none(), "no test");
    assert!(body(&file(r#"[["t",true,1]]"#)).is_none(), "nothing but skips");
    assert!(body(&file(r#"[["t",false,1]]"#).replace(r#""of":"01J""#, r#""of":"""#)).is_none());
    assert!(body(&file(r#"[["t",false,1]]"#).replace("results\":2", "results\":3")).is_none(), "another version");
    assert!(body("").is_none() && body("{").is_none() && body("null").is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_no_pack(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Pack::read(&bytes, KEY), None);
        prop_assert_eq!(Standings::read(&bytes), None);
    }

    #[test]
    fn a_choice_loses_and_doubles_nothing_and_is_drawn_by_the_run(files in 0_usize..120, percent in 0_u32..=100, run in "[A-Z0-9]{4}") {
        let pack = pack(files);
        let mut standings = Standings::default();
        for file in pack.files.keys() {
        standings.passed(file, Some(KEY));
    }
        let mut offer = Offer::default();
        offer.add(SuiteId(0), (&pack, KEY), (&standings, NOW_MS), |_| false);
        let mut listed: Vec<String> = pack.files.keys().cloned().collect();
        listed.push("unknown.py".to_owned());
        let suites = [listed];
        let choice = offer.choose(&suites, &RunId(run.clone()), percent);
        let chosen: BTreeSet<_> = choice.reused.iter().chain(&choice.canaries).map(|known| known.file.clone()).collect();
        prop_assert_eq!(chosen.len(), choice.reused.len() + choice.canaries.len());
        prop_assert_eq!(chosen, pack.files.keys().cloned().collect::<BTreeSet<_>>());
        let wanted = usize::try_from(percent).expect("small");
        prop_assert_eq!(choice.canaries.len(), (files * wanted).div_ceil(100));
        prop_assert_eq!(&choice, &offer.choose(&suites, &RunId(run), percent), "the same run draws the same");
    }
}

#[test]
fn each_file_is_a_canary_sooner_or_later() {
    let pack = pack(100);
    let mut standings = Standings::default();
    for file in pack.files.keys() {
        standings.passed(file, Some(KEY));
    }
    let mut offer = Offer::default();
    offer.add(SuiteId(0), (&pack, KEY), (&standings, NOW_MS), |_| false);
    let suites = [pack.files.keys().cloned().collect::<Vec<_>>()];
    let mut seen = BTreeSet::new();
    for run in 0..500 {
        let choice = offer.choose(&suites, &RunId(format!("run {run}")), 2);
        assert_eq!(choice.canaries.len(), 2);
        seen.extend(choice.canaries.into_iter().map(|known| known.file));
    }
    // 98 % of 100 files are missed in each draw: all of them in 500 with a chance of 0.4 %, and these draws never change.
    assert_eq!(seen.len(), 100);
}
