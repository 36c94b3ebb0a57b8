//! What is proven by which report, and what leaves a doubt.

use std::time::Duration;

use super::*;
use crate::protocol::recipe::{Listing, Nothing};

fn recipe(results: Results, naming: Naming) -> Recipe {
    let (units, nothing) = (Listing::Files(Vec::new()), Nothing { status: 0, words: "nothing in {units}".into() });
    Recipe {
        tool: "tool".into(),
        prepare: Vec::new(),
        units,
        only: Vec::new(),
        results,
        report: None,
        nothing: Some(nothing),
        batch: 8,
        naming,
    }
}

fn ran(end: End, reports: Result<&str, &str>) -> Ran {
    let reports = reports.map(|text| vec![text.to_owned()]).map_err(str::to_owned);
    Ran { command: "tool a".into(), end, reports, said: "said".into(), took: Duration::from_millis(10) }
}

/// Outcomes of each unit, with a mark of interrogation for a doubt.
fn judged(naming: Naming, units: &[&str], ran: &Ran) -> Vec<String> {
    let listed: Vec<String> = ["a.js", "b.js", "c.js"].map(str::to_owned).to_vec();
    let show = |judged: Judged| {
        let outcomes = judged.cases.iter().map(|case| format!("{:?}", case.outcome)).collect::<Vec<_>>().join(" ");
        if judged.doubt { format!("{outcomes}?") } else { outcomes }
    };
    judge(&recipe(Results::Junit, naming), units, &listed, ran).into_iter().map(show).collect()
}

const BOTH: &str = r#"<testsuites><testsuite name="x" file="./a.js"><testcase name="one"/></testsuite>
    <testsuite name="y" file="b.js"><testcase name="two"><failure/></testcase></testsuite></testsuites>"#;
const A: &str = r#"<testsuite name="x" file="a.js"><testcase name="one"/></testsuite>"#;
const NOBODY: &str = r#"<testsuite name="x"><testcase name="one"/></testsuite>"#;
const EMPTY: &str = r#"<testsuite name="x" tests="0"></testsuite>"#;

#[test]
fn a_case_goes_to_the_unit_whose_file_it_names() {
    assert_eq!(judged(Naming::File, &["a.js", "b.js"], &ran(End::Status(1), Ok(BOTH))), ["Passed", "Failed"]);
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(0), Ok(NOBODY))), ["Passed"]);
}

#[test]
fn a_status_of_its_own_is_no_pass() {
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(3), Ok(A))), ["Passed Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Signal(9), Ok(A))), ["Passed Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::NotStarted("x".into()), Ok(A))), ["Errored?"]);
}

#[test]
fn a_report_that_is_missing_cut_off_or_silent_is_no_pass() {
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(0), Err("it wrote no report"))), ["Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(0), Ok(&A[..30]))), ["Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(0), Ok(EMPTY))), ["Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js", "c.js"], &ran(End::Status(0), Ok(A))), ["Passed", "Errored?"]);
    assert_eq!(judged(Naming::File, &["a.js", "c.js"], &ran(End::Status(0), Ok(NOBODY))), ["Errored?", "Errored?"]);
}

#[test]
fn a_tool_that_says_that_there_are_no_tests_is_believed() {
    let said = |said: &str, ran: Ran| judged(Naming::File, &["a.js"], &Ran { said: said.into(), ..ran });
    let silent = |status| ran(End::Status(status), Err("it wrote no report"));
    assert_eq!(said("there is nothing in a.js\n", silent(0)), [""]);
    assert_eq!(said("there is nothing in a.js\n", ran(End::Status(0), Ok(EMPTY))), [""]);
    assert_eq!(said("there is nothing in b.js\n", silent(0)), ["Errored?"]);
    assert_eq!(said("there is nothing in a.js\n", silent(1)), ["Errored?"]);
    assert_eq!(said("there is nothing in a.js\n", ran(End::Status(0), Ok(&A[..30]))), ["Errored?"]);
    assert_eq!(said("there is nothing in a.js\n", ran(End::Status(0), Ok(A))), ["Passed"]);
    assert_eq!(said("", silent(0)), ["Errored?"]);
    let both = Ran { said: "nothing in a.js, nothing in b.js".into(), ..silent(0) };
    assert_eq!(judged(Naming::File, &["a.js", "b.js"], &both), ["Errored?", "Errored?"]);
}

#[test]
fn a_unit_that_was_not_asked_for_spoils_the_command() {
    assert_eq!(judged(Naming::File, &["a.js"], &ran(End::Status(1), Ok(BOTH))), ["Passed Errored Errored?"]);
    assert_eq!(judged(Naming::Test, &["a.js"], &ran(End::Status(0), Ok(A))), ["Errored?"]);
}

#[test]
fn classes_and_groups_name_units() {
    let java = r#"<testsuite name="s"><testcase name="t" classname="shop.CartTest$Inner"/></testsuite>"#;
    assert_eq!(judged(Naming::Class, &["src/test/java/shop/CartTest.java"], &ran(End::Status(0), Ok(java))), ["Passed"]);
    let group = r#"<testsuite name="s"><testcase name="t" classname="a.js"/></testsuite>"#;
    assert_eq!(judged(Naming::Group, &["a.js", "b.js"], &ran(End::Status(0), Ok(group))), ["Passed", "Errored?"]);
}

#[test]
fn a_trouble_is_its_units_or_everybodys() {
    let own = r#"<testsuites><testsuite name="x" file="a.js"><testcase name="one"/><error message="hook"/></testsuite>
        <testsuite name="y" file="b.js"><testcase name="two"/></testsuite></testsuites>"#;
    assert_eq!(judged(Naming::File, &["a.js", "b.js"], &ran(End::Status(1), Ok(own))), ["Passed Errored?", "Passed"]);
}

#[test]
fn the_start_of_a_command_is_not_what_its_tests_take() {
    let took = |batch| {
        let recipe = Recipe { batch, ..recipe(Results::Junit, Naming::File) };
        judge(&recipe, &["a.js"], &[], &ran(End::Status(0), Ok(A)))[0].cases[0].micros
    };
    assert_eq!((took(1), took(8)), (10_000, 1_000));
}

#[test]
fn a_status_is_a_test_where_there_is_no_report() {
    let by_exit = |end, units: &[&str]| judge(&recipe(Results::Exit, Naming::Alone), units, &[], &ran(end, Ok("")));
    assert_eq!(by_exit(End::Status(0), &["a"])[0].cases[0].outcome, Outcome::Passed);
    let red = by_exit(End::Status(2), &["a", "b"]);
    assert!(red.iter().all(|unit| unit.doubt && !unit.is_bad() && unit.cases[0].outcome == Outcome::Failed));
}
