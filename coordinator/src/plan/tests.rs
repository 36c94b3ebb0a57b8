//! A plan loses nothing, doubles nothing, and is the same each time; what is learnt moves towards what is measured.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Select, SuiteId};

/// Class of `file::Class::test`, else the whole id.
fn class(id: &str) -> &str {
    id.match_indices("::").nth(1).map_or(id, |(end, _)| &id[..end])
}

fn request(shards: u32) -> PlanRequest {
    PlanRequest { shards, order: Order::Scheduled, seed: 7, groups: vec![Some(class)] }
}

/// A file with its loading and its tests, in milliseconds.
type Past<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

fn learnt(files: &[Past<'_>]) -> Timings {
    let one = |&(file, load_ms, tests): &Past<'_>| FileRun {
        file: file.to_owned(),
        load_us: load_ms * 1_000,
        tests: tests.iter().map(|&(id, ms)| (id.to_owned(), ms * 1_000)).collect(),
        whole: true,
        unstable: false,
    };
    let mut timings = Timings::default();
    timings.learn(&files.iter().map(one).collect::<Vec<_>>());
    timings
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn order(manifest: &Manifest) -> Vec<(&str, Option<u64>)> {
    manifest.units.iter().map(|unit| (unit.file.as_str(), unit.predicted_ms)).collect()
}

#[test]
fn unknown_files_come_first_then_the_longest() {
    let timings = learnt(&[("a", 0, &[("1", 100)]), ("c", 1, &[("1", 300)]), ("e", 0, &[("1", 100)])]);
    let manifest = plan(&[names(&["a", "b", "c", "d", "e"])], &timings, &request(1));
    assert_eq!(order(&manifest), [("b", None), ("d", None), ("c", Some(301)), ("a", Some(100)), ("e", Some(100))]);
}

#[test]
fn the_defined_order_is_the_frameworks_and_the_random_one_the_seeds() {
    let files = names(&["a", "b", "c", "d", "e", "f"]);
    let of = |order, seed| plan(std::slice::from_ref(&files), &Timings::default(), &PlanRequest { order, seed, ..request(4) });
    let listed = |manifest: &Manifest| manifest.units.iter().map(|unit| unit.file.clone()).collect::<Vec<_>>();
    assert_eq!(listed(&of(Order::Defined, 1)), files);
    assert_eq!(of(Order::Random, 1), of(Order::Random, 1));
    assert_ne!(listed(&of(Order::Random, 1)), listed(&of(Order::Random, 2)));
}

#[test]
fn a_slow_file_is_cut_between_classes_and_its_fallback_is_the_last_unit() {
    let slow: &[(&str, u64)] = &[("s::a", 400), ("s::C::x", 300), ("s::C::y", 500), ("s::b", 700)];
    let timings = learnt(&[("s", 100, slow), ("q", 0, &[("q::a", 900)])]);
    let manifest = plan(&[names(&["q", "s"])], &timings, &request(2));
    let only = |ids: &[&str]| UnitKind::Slice { select: Select::Only(names(ids)) };
    let rest = UnitKind::Slice { select: Select::Except(names(&["s::a", "s::C::x", "s::C::y"])) };
    let unit = |file: &str, kind, ms| Unit { predicted_ms: Some(ms), ..Unit::new(SuiteId::default(), file, kind) };
    let expected = [
        unit("q", UnitKind::File, 900),
        unit("s", only(&["s::C::x", "s::C::y"]), 900),
        unit("s", rest, 800),
        unit("s", only(&["s::a"]), 500),
        unit("s", UnitKind::Fallback, 2_000),
    ];
    assert_eq!(manifest.units, expected);
}

#[test]
fn a_file_is_left_whole_if_it_cannot_or_need_not_be_cut() {
    let slow: &[(&str, u64)] = &[("s::a", 5_000), ("s::b", 5_000)];
    let of = |timings: &Timings, request: &PlanRequest| plan(&[names(&["s"])], timings, request).units.len();
    let timings = learnt(&[("s", 0, slow)]);
    assert_eq!(of(&timings, &request(2)), 3);
    assert_eq!(of(&timings, &request(1)), 1, "one shard");
    assert_eq!(of(&timings, &PlanRequest { groups: vec![None], ..request(2) }), 1, "framework without selection");
    assert_eq!(of(&timings, &PlanRequest { order: Order::Defined, ..request(2) }), 1, "as listed");
    assert_eq!(of(&learnt(&[("s", 0, &[("s::a", 400)])]), &request(2)), 1, "one test");
    assert_eq!(of(&learnt(&[("s", 0, &[("s::a", 200), ("s::b", 200)])]), &request(2)), 1, "nothing to win");
    assert_eq!(of(&learnt(&[("s", 90_000, slow)]), &request(2)), 1, "its loading is what takes long");
    let mut unstable = timings.clone();
    unstable.learn(&[FileRun { file: "s".to_owned(), unstable: true, ..FileRun::default() }]);
    assert_eq!(of(&unstable, &request(2)), 1, "its ids change");
    assert_eq!(unstable.predicted_ms("s"), Some(10_000));
}

#[test]
fn only_what_was_asked_for_is_planned_and_nothing_of_it_is_lost() {
    let asked = [("gone", vec!["gone::x"]), ("b", vec!["b::y"]), ("a", vec![]), ("b", vec!["b::x"])];
    let asked: Vec<_> = asked.iter().map(|(file, ids)| ((*file).to_owned(), names(ids))).collect();
    let manifest = plan_only(&[names(&["a", "b", "c"])], &asked, |_| SuiteId::default());
    let part = |ids: &[&str]| UnitKind::Part { select: Select::Only(names(ids)), from: 0, until: None };
    let kinds: Vec<_> = manifest.units.iter().map(|unit| (unit.file.as_str(), unit.kind.clone())).collect();
    assert_eq!(kinds, [("a", UnitKind::File), ("b", part(&["b::y", "b::x"])), ("gone", part(&["gone::x"]))]);
}

#[test]
fn what_is_learnt_moves_towards_what_is_measured_and_faster_after_a_pause() {
    let mut timings = learnt(&[("a", 0, &[("x", 1_000)])]);
    let run = FileRun { file: "a".to_owned(), load_us: 0, tests: vec![("x".to_owned(), 2_000_000)], whole: true, unstable: false };
    timings.learn(std::slice::from_ref(&run));
    assert_eq!(timings.predicted_ms("a"), Some(1_300));
    timings.learn(&[]);
    timings.learn(&[run]);
    assert_eq!(timings.predicted_ms("a"), Some(1_657), "two steps");
    assert_eq!(timings.file("a").map(|file| file.tests.clone()), Some(vec![("x".to_owned(), 1_657_000)]));
}

#[test]
fn a_partial_run_teaches_its_tests_alone() {
    let mut timings = learnt(&[("a", 10, &[("x", 1_000), ("y", 500)])]);
    timings.learn(&[FileRun { file: "a".to_owned(), tests: vec![("y".to_owned(), 1_500_000)], ..FileRun::default() }]);
    let file = timings.file("a").unwrap();
    assert_eq!((file.total_us, &file.tests), (1_510_000, &vec![("x".to_owned(), 1_000_000), ("y".to_owned(), 800_000)]));
}

#[test]
fn equal_ids_count_together() {
    let timings = learnt(&[("a", 0, &[("x", 1), ("x", 2), ("y", 4)])]);
    assert_eq!(timings.file("a").unwrap().tests, [("x".to_owned(), 3_000), ("y".to_owned(), 4_000)]);
}

#[test]
fn a_file_that_is_gone_is_forgotten_in_the_end() {
    let mut timings = learnt(&[("a", 0, &[("x", 1)])]);
    for _ in 0..200 {
        timings.learn(&[]);
    }
    assert!(timings.file("a").is_some());
    timings.learn(&[]);
    assert!(timings.file("a").is_none());
}

/// Files with loads and tests; a class now and then, an id twice now and then.
fn suites() -> impl Strategy<Value = Vec<(u64, Vec<(u8, u64)>)>> {
    prop::collection::vec((0_u64..800_000, prop::collection::vec((0_u8..40, 0_u64..3_000_000), 0..25)), 0..20)
}

fn id(file: usize, test: u8) -> String {
    if test < 10 { format!("f{file}::C{}::t{test}", test % 3) } else { format!("f{file}::t{test}") }
}

fn selected(select: &Select, id: &str) -> bool {
    match select {
        Select::All => true,
        Select::Only(ids) => ids.iter().any(|one| one == id),
        Select::Except(ids) => ids.iter().all(|one| one != id),
    }
}

proptest! {
    #[test]
    fn a_plan_loses_nothing_and_doubles_nothing(suite in suites(), shards in 1_u32..40, known in any::<u32>(), order in 0_u8..3, seed: u64) {
        let order = [Order::Scheduled, Order::Defined, Order::Random][usize::from(order)];
        let files: Vec<String> = (0..suite.len()).map(|file| format!("f{file}")).collect();
        let runs = suite.iter().enumerate().filter(|(file, _)| known >> (file % 32) & 1 == 1).map(|(file, (load_us, tests))| FileRun {
            file: files[file].clone(),
            load_us: *load_us,
            tests: tests.iter().map(|&(test, micros)| (id(file, test), micros)).collect(),
            whole: true,
            unstable: false,
        });
        let mut timings = Timings::default();
        timings.learn(&runs.collect::<Vec<_>>());
        let request = PlanRequest { order, seed, ..request(shards) };
        let manifest = plan(std::slice::from_ref(&files), &timings, &request);
        prop_assert_eq!(&manifest, &plan(std::slice::from_ref(&files), &timings, &request));
        for (number, file) in files.iter().enumerate() {
            let units: Vec<&Unit> = manifest.units.iter().filter(|unit| &unit.file == file).collect();
            let fallbacks = units.iter().filter(|unit| unit.kind == UnitKind::Fallback).count();
            let others: Vec<Select> = units.iter().filter(|unit| unit.kind != UnitKind::Fallback).map(|unit| unit.select()).collect();
            prop_assert_eq!(fallbacks, usize::from(others.len() > 1));
            // Every test that there may be, known or new, is in exactly one unit, and a class never in two.
            for test in (0..40).map(|test| id(number, test)).chain([format!("f{number}::new"), String::new()]) {
                prop_assert_eq!(others.iter().filter(|select| selected(select, &test)).count(), 1, "{}", test);
            }
            for class in 0..3 {
                let of_class: Vec<String> = suite[number].1.iter().filter(|(test, _)| *test < 10 && test % 3 == class).map(|(test, _)| id(number, *test)).collect();
                let homes: BTreeSet<_> = of_class.iter().map(|test| others.iter().position(|select| selected(select, test))).collect();
                prop_assert!(homes.len() <= 1);
            }
        }
        let fallbacks = manifest.units.iter().rev().take_while(|unit| unit.kind == UnitKind::Fallback).count();
        prop_assert_eq!(fallbacks, manifest.units.iter().filter(|unit| unit.kind == UnitKind::Fallback).count());
    }
}
