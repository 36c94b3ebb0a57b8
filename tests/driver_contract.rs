//! The contract of the drivers, pytest's under every pytest it is made for: a driven run is a plain run, and test code cannot make it lie.
//!
//! A driver is Python inside pytest, unittest or Django, or Ruby inside RSpec or Minitest. The harness is Python for all (`tests/driver/`, standard library only): it plays
//! the worker, runs a corpus of small projects plainly and driven, and does to the driver what test code does by accident. Read
//! `tests/driver/contract.py`, `unittest_contract.py` and `ruby_contract.py` for the differences from a plain run that are meant. Python's environments are made once,
//! below `target/tests`; Ruby and its libraries are the machine's.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::process::Command;
use std::sync::Mutex;

use splitci_tests::python::Python;

/// Each suite keeps every core busy: one after the other, so that no deadline of theirs is missed for want of a processor.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn holds(script: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut arguments = Vec::new();
    for major in ["9", "8", "7"] {
        let python = Python::named(&format!("pytest{major}")).bin().join("python");
        arguments.extend(["--python".to_owned(), format!("{major}={}", python.display())]);
    }
    ends_well(script, &arguments);
}

/// The environment with Django, and the libraries that broke runners.
fn holds_in_unittest(script: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let python = Python::named("pytest9").bin().join("python");
    ends_well(script, &["--python".to_owned(), python.display().to_string()]);
}

fn holds_in_ruby(script: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let there = Command::new("ruby").args(["-e", "gem('rspec'); gem('minitest')"]).output().is_ok_and(|output| output.status.success());
    assert!(there, "Ruby, RSpec or Minitest is missing: `fixtures/machine.sh ruby`");
    ends_well(script, &[]);
}

fn ends_well(script: &str, arguments: &[String]) {
    let mut command = Command::new("python3");
    command.arg(splitci_tests::root().join("tests/driver").join(script)).args(arguments);
    let output = command.output().expect("start python3");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script} failed\n{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_driven_run_is_a_plain_run() {
    holds("contract.py");
}

#[test]
fn what_test_code_does_by_accident_is_answered() {
    holds("faults.py");
}

#[test]
fn a_driven_run_of_unittest_or_django_is_a_plain_run() {
    holds_in_unittest("unittest_contract.py");
}

#[test]
fn what_unittests_and_django_do_by_accident_is_answered() {
    holds_in_unittest("unittest_faults.py");
}

#[test]
fn a_driven_run_in_ruby_is_a_plain_run() {
    holds_in_ruby("ruby_contract.py");
}

#[test]
fn what_ruby_test_code_does_by_accident_is_answered() {
    holds_in_ruby("ruby_faults.py");
}
