//! Tools without a driver: run from outside, believed as far as their reports prove something, and never green by accident.
//!
//! The tool is a script that does what its test files say, as a real process. The presets' tools are in `presets`.

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Facts, Sandbox};

const TOOL: &str = include_str!("../fixtures/generic/tool/tool.py");

fn configured(files: &[(&str, &str)], more: &str) -> Sandbox {
    let config = format!(
        "[suite]\nframework = \"generic\"\ncommand = \"python3 tool.py {{report}} {{units}}\"\nfiles = [\"test/**/*.t\"]\nresults = \"junit\"\n{more}\n"
    );
    let sandbox = Sandbox::empty().file("tool.py", TOOL).file("splitci.toml", &config);
    files.iter().fold(sandbox, |sandbox, (name, text)| sandbox.file(&format!("test/{name}.t"), text))
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    let done = sandbox.splitci(&format!("{line} --json")).run();
    done.expect_exit(exit);
    sandbox.expect_no_processes();
    done.facts()
}

/// A run of one bad file between two good ones: what does not pass, and what was said of it.
fn bad(text: &str, more: &str) -> (Vec<String>, String) {
    let sandbox = configured(&[("a", "pass"), ("bad", text), ("z", "pass one two")], more);
    let red = facts(&sandbox, "run --shards 2", 1);
    assert!(red.count("passed") >= 3, "the others run all the same: {:?}", red.outcomes);
    (red.exceptions(), red.told.into_iter().filter(|(id, _)| id.starts_with("test/bad.t")).map(|(_, told)| told).collect())
}

#[test]
fn a_suite_is_listed_split_and_reproduced() {
    let sandbox = configured(&[("a", "pass one two"), ("b", "fail"), ("deep/c", "pass")], "");
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!((red.exceptions(), red.total()), (vec!["test/b.t::fails: failed".to_owned()], 5));
    assert!(red.told.iter().any(|(_, told)| told.contains("3 is not 4") && told.contains("line 9")), "{:?}", red.told);
    let again = facts(&sandbox, &format!("repro {} --test test/b.t::fails", red.run), 1);
    assert_eq!(again.exceptions(), ["test/b.t::fails: failed"]);
    assert_eq!(facts(&sandbox, "run --failed", 1).exceptions(), ["test/b.t::fails: failed"]);
    assert_eq!(facts(&sandbox, "run test/deep", 0).total(), 1);
    assert_eq!(facts(&sandbox, "run test/none", 4).total(), 0);
    sandbox.write("test/b.t", "pass");
    assert_eq!(facts(&sandbox, "run --shards 2", 0).total(), 4);
    sandbox.expect_no_private_directories();
}

#[test]
fn several_units_go_into_one_command_and_a_doubtful_one_runs_alone() {
    let files = ["a", "c", "d", "e", "f", "g"].map(|name| (name, "pass"));
    let sandbox = configured(&files, "batch = 8").file("test/b.t", "fail");
    // What is known of the files decides how many travel together; the first run knows nothing.
    facts(&sandbox, "run --shards 1", 1);
    sandbox.write("test/a.t", "silent");
    let red = facts(&sandbox, "run --shards 1 --order defined", 1);
    assert_eq!((red.exceptions(), red.count("passed")), (vec!["test/a.t: errored".to_owned(), "test/b.t::fails: failed".to_owned()], 6));
    let times = |file: &str| red.output.matches(&format!("running {file}")).count();
    assert_eq!((times("test/a.t"), times("test/b.t"), times("test/c.t")), (2, 1, 1), "{}", red.output);
}

#[test]
fn a_tool_that_leaves_with_0_is_red() {
    let (red, told) = bad("leave", "");
    assert_eq!(red, ["test/bad.t: errored"]);
    assert!(told.contains("ended with status 0; it wrote no report"), "{told}");
}

#[test]
fn half_a_report_is_red() {
    let (red, told) = bad("half", "");
    assert_eq!(red, ["test/bad.t: errored"]);
    assert!(told.contains("its report"), "{told}");
}

#[test]
fn a_report_that_comes_after_the_tools_end_is_red_or_waited_for() {
    let (red, told) = bad("later", "");
    assert_eq!(red, ["test/bad.t: errored"]);
    assert!(told.contains("it wrote no report"), "{told}");
    facts(&configured(&[("late", "late")], ""), "run", 0);
}

#[test]
fn a_unit_that_was_not_asked_for_is_red() {
    // Asked for nowhere, the file is of another suite; listed, it is one of ours that somebody else runs.
    let sandbox = configured(&[("bad", "other"), ("other", "pass")], "");
    let red = facts(&sandbox, "run --shards 1", 1);
    assert_eq!(red.exceptions(), ["test/bad.t: errored"]);
    assert!(red.told.iter().any(|(_, told)| told.contains("`test/other.t`, which was not asked for")), "{:?}", red.told);
}

/// T7: neither has a tool that ran nothing and leaves with 0.
#[test]
fn no_tests_and_status_0_is_red() {
    let (red, told) = bad("none", "");
    assert_eq!(red, ["test/bad.t: errored"]);
    assert!(told.contains("its report says nothing of this unit"), "{told}");
    assert_eq!(bad("silent", "").0, ["test/bad.t: errored"]);
}

#[test]
fn names_that_are_others_each_time_prove_what_they_name() {
    let sandbox = configured(&[("named", "named")], "");
    facts(&sandbox, "run", 0);
    sandbox.write("test/named.t", "named fail");
    facts(&sandbox, "run", 1);
    // The test that failed is not there any more, so nothing of what was asked for ran.
    let gone = sandbox.splitci("run --failed").run();
    gone.expect_exit(4).expect_says("asked for, and not there any more");
}

#[test]
fn a_status_of_its_own_is_red() {
    let (red, told) = bad("status 3", "");
    assert_eq!(red, ["test/bad.t: errored"]);
    assert!(told.contains("ended with status 3; no test of its report failed"), "{told}");
}

#[test]
fn a_report_of_an_earlier_run_is_red() {
    let stale = "<testsuites><testsuite name='tool' file='test/bad.t' tests='1'><testcase name='works'/></testsuite></testsuites>";
    let config = "report = \"out/report.xml\"";
    let sandbox = configured(&[("bad", "leave")], config).file("out/report.xml", stale);
    sandbox.write(
        "splitci.toml",
        &fs_err::read_to_string(sandbox.project().join("splitci.toml")).expect("written").replace("{report} ", "out/report.xml "),
    );
    let red = facts(&sandbox, "run", 1);
    assert!(red.told.iter().any(|(_, told)| told.contains("what is there is from an earlier run")), "{:?}", red.told);
    sandbox.write("test/bad.t", "pass");
    facts(&sandbox, "run", 0);
}

#[test]
fn a_tool_that_is_killed_is_tried_again_alone_and_then_named() {
    let sandbox = configured(&[("a", "pass"), ("bad", "kill 11"), ("z", "pass")], "");
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!((red.exceptions(), red.count("passed")), (vec!["test/bad.t: crashed: signal 11".to_owned()], 2));
    let sandbox = configured(&[("a", "pass"), ("once", "kill-once ../was-here"), ("z", "pass")], "");
    let green = facts(&sandbox, "run --shards 2", 0);
    assert_eq!((green.total(), green.suspects), (3, 1), "a loss costs nothing but time");
}

#[test]
fn a_unit_that_never_ends_is_ended_and_named() {
    let sandbox = configured(&[("a", "pass"), ("bad", "sleep 600")], "\n[run.timeout]\ntest = \"2s\"");
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!(red.exceptions(), ["test/bad.t: crashed: timed out"]);
}

#[test]
fn a_status_alone_is_a_result_where_that_is_asked_for() {
    let config = "[suite]\nframework = \"generic\"\ncommand = \"sh {units}\"\nfiles = [\"*.sh\"]\n";
    let sandbox = Sandbox::empty().file("splitci.toml", config).file("a.sh", "exit 0\n").file("b.sh", "echo no; exit 7\n");
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!((red.exceptions(), red.count("passed")), (vec!["b.sh: failed".to_owned()], 1));
    assert!(red.told.iter().any(|(_, told)| told.contains("ended with status 7") && told.contains("no")), "{:?}", red.told);
}

#[test]
fn a_command_lists_the_units_and_its_failure_is_red() {
    let config =
        |list: &str| format!("[suite]\nframework = \"generic\"\ncommand = \"test ok = {{units}}\"\nlist = [\"sh\", \"-c\", \"{list}\"]\n");
    let sandbox = Sandbox::empty().file("splitci.toml", &config("echo ok; echo other"));
    assert_eq!(facts(&sandbox, "run --shards 2", 1).exceptions(), ["other: failed"]);
    sandbox.write("splitci.toml", &config("echo broken >&2; exit 9"));
    let red = sandbox.splitci("run").run();
    red.expect_exit(1).expect_says("broken");
    sandbox.write("splitci.toml", &config("true"));
    facts(&sandbox, "run", 4);
}

#[test]
fn bad_configuration_is_told_at_once() {
    let config = "[suite]\nframework = \"generic\"\nresults = \"tap\"\nbatch = 3\nfiles = [\"a{\"]\nlist = \"true\"\ncommand = \"prove\"\n";
    let done = Sandbox::empty().file("splitci.toml", config).splitci("run").run();
    done.expect_exit(2).expect_says("does not say where the units go").expect_says("is not a pattern");
    done.expect_says("either files that match a pattern, or what a command lists").expect_says("only one goes into a command");
    let pytest = Sandbox::empty().file("splitci.toml", "[suite]\nframework = \"pytest\"\nresults = \"tap\"\n").splitci("run").run();
    pytest.expect_exit(2).expect_says("`pytest` has a driver");
}

#[test]
fn it_runs_in_a_container_whose_user_is_not_root() {
    require();
    let dockerfile = "FROM debian:bookworm-slim\nRUN useradd -m ann\nUSER ann\nWORKDIR /home/ann\nCOPY . .\n";
    let tool = "#!/bin/sh\nprintf 'TAP version 13\\n1..1\\n'; . \"$1\"\n";
    let config = "[suite]\nframework = \"generic\"\ncommand = \"sh tool.sh {units}\"\nfiles = [\"test/*.t\"]\nresults = \"tap\"\n";
    let sandbox = Sandbox::empty().file("Dockerfile", dockerfile).file("tool.sh", tool).file("splitci.toml", config);
    let sandbox = sandbox.file("test/a.t", "echo ok 1 - adds\n").file("test/b.t", "exit 0\n").file("test/c.t", "kill -9 $$\n");
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!(
        (red.exceptions(), red.count("passed")),
        (vec!["test/b.t: errored".to_owned(), "test/c.t: crashed: signal 9".to_owned()], 1)
    );
    expect_no_containers(&red.run);
}
