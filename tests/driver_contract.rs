//! The contract of the pytest driver, under every pytest it is made for: a driven run is a plain run, and test code cannot make it lie.
//!
//! The driver is Python inside pytest, so the harness is Python too (`tests/driver/`, standard library only): it plays the worker, runs a corpus
//! of small projects plainly and driven, and does to the driver what test code does by accident. Read `tests/driver/contract.py` for the
//! differences from a plain run that are meant. The environments are made once, below `target/tests`.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::process::Command;
use std::sync::Mutex;

use splitci_tests::python::Python;

/// Both suites keep every core busy: one after the other, so that no deadline of theirs is missed for want of a processor.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn holds(script: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = Command::new("python3");
    command.arg(splitci_tests::root().join("tests/driver").join(script));
    for major in ["9", "8", "7"] {
        let python = Python::named(&format!("pytest{major}")).bin().join("python");
        command.arg("--python").arg(format!("{major}={}", python.display()));
    }
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
