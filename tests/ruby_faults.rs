//! What Ruby test code does by accident, line by line, in real runs of RSpec and of Minitest: the verdict is right, the culprit is named, and nothing is left.
//!
//! `tests/driver/ruby_faults.py` has the same and more at the drivers' own line; here it goes through the whole of splitci, with two shards.

use std::time::Duration;

use splitci_tests::{Done, Sandbox};

/// A framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Rspec,
    Minitest,
}

use Tool::{Minitest, Rspec};

const BOTH: [Tool; 2] = [Rspec, Minitest];

impl Tool {
    fn helper(self) -> &'static str {
        if self == Rspec { "spec/spec_helper.rb" } else { "test/test_helper.rb" }
    }

    fn file(self, name: &str) -> String {
        if self == Rspec { format!("spec/{name}_spec.rb") } else { format!("test/{name}_test.rb") }
    }

    /// A test of a file that [`Tool::tests`] made.
    fn id(self, name: &str, test: &str) -> String {
        let file = self.file(name);
        if self == Rspec { format!("{file}::{name}::{test}") } else { format!("{file}::{}Test#test_{test}", name.to_uppercase()) }
    }

    /// A file with these tests, which run in this order.
    fn tests(self, name: &str, head: &str, tests: &[(&str, &str)]) -> String {
        let all: Vec<String> = match self {
            Rspec => tests.iter().map(|(test, body)| format!("  it('{test}') do\n    {body}\n  end\n")).collect(),
            Minitest => tests.iter().map(|(test, body)| format!("  def test_{test}\n    {body}\n  end\n")).collect(),
        };
        let all = all.concat();
        match self {
            Rspec => format!("require 'spec_helper'\n{head}\nRSpec.describe('{name}') do\n{all}end\n"),
            Minitest => format!("require 'test_helper'\n{head}\nclass {}Test < Minitest::Test\n{all}end\n", name.to_uppercase()),
        }
    }

    /// What a test that raises is, and what fails one.
    fn raised(self) -> &'static str {
        if self == Rspec { "failed" } else { "errored" }
    }
}

/// A project of two files: in the first one test before and one after what is to happen. `helper` is the helper's text.
fn project(tool: Tool, helper: &str, head: &str, body: &str) -> Sandbox {
    let helper = if tool == Rspec { helper.to_owned() } else { format!("require 'minitest/autorun'\n{helper}") };
    Sandbox::empty()
        .file(tool.helper(), &helper)
        .file(&tool.file("a"), &tool.tests("a", head, &[("before", ""), ("culprit", body), ("later", "")]))
        .file(&tool.file("b"), &tool.tests("b", "", &[("second", "")]))
}

/// Runs it. Exit status, the tests that did not pass, and how many did.
fn run(sandbox: &Sandbox, more: &str, exit: i32, bad: &[String], passed: usize) -> Done {
    let done = sandbox.splitci(&format!("run --engine process --shards 2 --json{more}")).patience(Duration::from_mins(3)).run();
    done.expect_exit(exit);
    let facts = done.facts();
    assert_eq!(facts.exceptions(), bad, "tests that did not pass, of {done}");
    assert_eq!(facts.count("passed"), passed, "tests that passed, of {done}");
    sandbox.expect_no_processes();
    sandbox.expect_no_private_directories();
    done
}

/// The words of the summary.
fn says(sandbox: &Sandbox, words: &[&str]) {
    let summary = sandbox.splitci("report last --format summary").run();
    for word in words {
        assert!(summary.stdout.contains(word), "expected {word:?} in {summary}");
    }
}

/// What happens in a test is that test's, and nobody else's.
fn of_the_culprit(tool: Tool, body: &str, outcome: &str, words: &[&str]) {
    let sandbox = project(tool, "", "", body);
    run(&sandbox, "", 1, &[format!("{}: {outcome}", tool.id("a", "culprit"))], 3);
    says(&sandbox, words);
}

fn green(tool: Tool, helper: &str, body: &str) -> Done {
    run(&project(tool, helper, "", body), "", 0, &[], 4)
}

#[test]
fn a_test_that_takes_the_process_with_it_is_named() {
    for tool in BOTH {
        of_the_culprit(tool, "exit!(0)", "crashed: exit 0", &["culprit"]);
        of_the_culprit(tool, "Process.daemon(true, true); sleep 60", "crashed: exit 0", &["culprit"]);
        of_the_culprit(tool, "Process.kill(:SEGV, $$); sleep 5", "crashed: signal 6", &["culprit", "signal 6"]);
    }
}

#[test]
fn a_test_that_ends_its_run_in_order_is_named() {
    for tool in BOTH {
        of_the_culprit(tool, "abort 'no more'", "errored", &["`exit` was called, with status 1: no more"]);
        of_the_culprit(tool, "raise SystemExit", "errored", &["`exit` was called, with status 0"]);
        of_the_culprit(tool, "throw :nothing", tool.raised(), &["uncaught throw :nothing"]);
        of_the_culprit(tool, "f = ->(n) { f.call(n + 1) + 1 }; f.call(0)", tool.raised(), &["stack level too deep"]);
    }
}

#[test]
fn an_exit_0_at_the_end_makes_no_red_run_green() {
    for tool in BOTH {
        green(tool, "at_exit { exit 0 }", "");
        let fails = if tool == Rspec { "raise 'it fails'" } else { "flunk 'it fails'" };
        let sandbox = project(tool, "at_exit { exit 0 }", "at_exit { exit 0 }", &format!("at_exit {{ exit 0 }}; {fails}"));
        run(&sandbox, "", 1, &[format!("{}: failed", tool.id("a", "culprit"))], 3);
        says(&sandbox, &["it fails"]);
    }
}

#[test]
fn threads_forks_chance_and_time_change_nothing() {
    for tool in BOTH {
        green(tool, "", "Thread.new { sleep }");
        let fork = "pid = fork; Process.wait(pid) if pid; File.write('marks', 'x', mode: 'a')";
        let sandbox = project(tool, "", "", fork);
        let done = run(&sandbox, "", 0, &[], 4);
        let summaries = done.facts().output.lines().filter(|line| line.contains(" examples, ") || line.contains(" runs, ")).count();
        assert!(summaries <= 2, "a summary for each of two shards at most: {done}");
        let marks = fs_err::read_to_string(sandbox.project().join("marks")).unwrap_or_default();
        assert_eq!(marks, "xx", "the fork ends with its test");
        green(tool, "", "srand(1); Kernel.srand(2); Random.srand(3)");
        green(tool, "require 'timecop'", "Timecop.freeze(Time.at(0))");
        green(tool, "require 'timecop'\nTimecop.travel(Time.at(0))\n", "Timecop.scale(1_000_000)");
    }
}

#[test]
fn a_helper_or_a_hook_of_the_suite_that_fails_is_red() {
    for tool in BOTH {
        let sandbox = project(tool, "raise 'in the helper'\n", "", "");
        let sandbox = if tool == Rspec { with_rspec_file(sandbox) } else { sandbox };
        run(&sandbox, "", 1, &[], 0);
        says(&sandbox, &["in the helper"]);
    }
    let hook = |when: &str| format!("RSpec.configure {{ |config| config.{when}(:suite) {{ raise 'in the hook' }} }}\n");
    let sandbox = with_rspec_file(project(Rspec, &hook("before"), "", ""));
    run(&sandbox, "", 1, &[], 0);
    says(&sandbox, &["before(:suite)", "in the hook"]);
    // Without `.rspec` the helper comes with the first file of each shard.
    let sandbox = project(Rspec, &hook("before"), "", "");
    let bad = ["a", "b"].map(|name| format!("{}: errored", Rspec.file(name)));
    run(&sandbox, "", 1, &bad, 0);
    says(&sandbox, &["before(:suite)", "in the hook"]);
    for sandbox in [project(Rspec, &hook("after"), "", ""), with_rspec_file(project(Rspec, &hook("after"), "", ""))] {
        run(&sandbox, "", 1, &[], 4);
        says(&sandbox, &["after(:suite)", "in the hook"]);
    }
    let sandbox = project(Minitest, "Minitest.after_run { raise 'after all' }\n", "", "");
    run(&sandbox, "", 1, &[], 4);
    says(&sandbox, &["after all"]);
}

/// With the file that has the helper loaded before anything else.
fn with_rspec_file(sandbox: Sandbox) -> Sandbox {
    sandbox.file(".rspec", "--require spec_helper\n")
}

#[test]
fn files_without_tests_that_exit_or_share_a_name_are_told_apart() {
    for tool in BOTH {
        run(&project(tool, "", "", "").file(&tool.file("c"), "# nothing\n"), "", 0, &[], 4);
        let nothing = Sandbox::empty()
            .file(tool.helper(), "require 'minitest/autorun' unless defined?(RSpec)\n")
            .file(&tool.file("c"), "# nothing\n");
        run(&nothing, "", 4, &[], 0);
        let sandbox = project(tool, "", "", "").file(&tool.file("c"), "exit 0\n");
        run(&sandbox, "", 1, &[format!("{}: errored", tool.file("c"))], 4);
        says(&sandbox, &["`exit` was called while the file was loaded, with status 0"]);
        let twice = if tool == Rspec { "RSpec.describe('twice') { it('is') {} }\n" } else { "describe('twice') { it('is') { pass } }\n" };
        let sandbox = project(tool, "", "", "").file(&tool.file("c"), &twice.repeat(2)).file(&tool.file("d"), twice);
        run(&sandbox, "", 0, &[], 7);
    }
}

#[test]
fn a_gemfile_may_pin_what_ruby_ships() {
    let spec =
        "Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors, s.files = 'json', '99.0', 'x', ['x'], ['lib/json.rb'] }\n";
    for tool in BOTH {
        let (gem, pinned) = if tool == Rspec { ("rspec", "") } else { ("minitest", ", '5.15.0'") };
        let version = if tool == Rspec { "" } else { "; raise Minitest::VERSION if Minitest::VERSION != '5.15.0'" };
        let sandbox = project(tool, "", "", &format!("require 'json'; raise JSON::VERSION if JSON::VERSION != '99.0'{version}"))
            .file("Gemfile", &format!("gem 'json', path: 'vendor/json'\ngem '{gem}'{pinned}\n"))
            .file("vendor/json/json.gemspec", spec)
            .file("vendor/json/lib/json.rb", "module JSON; VERSION = '99.0'; end\n");
        run(&sandbox, "", 0, &[], 4);
    }
}

#[test]
fn a_minimum_of_coverage_is_no_shard_s_business() {
    for tool in BOTH {
        let helper = "require 'simplecov'\nSimpleCov.start { minimum_coverage 100 }\n";
        let sandbox = project(tool, "", "require_relative '../lib/code'", "code(true)")
            .file("lib/code.rb", "def code(one)\n  return 1 if one\n\n  2\nend\n")
            .file(tool.helper(), &format!("{helper}{}", if tool == Rspec { "" } else { "require 'minitest/autorun'\n" }));
        let done = run(&sandbox, "", 0, &[], 4);
        assert!(done.facts().notices.iter().any(|notice| notice.contains("coverage threshold not checked")), "a notice of {done}");
    }
}

#[test]
fn rspec_s_own_state_files_and_bisection_are_answered() {
    let helper = "RSpec.configure { |config| config.example_status_persistence_file_path = 'status.txt' }\n";
    let sandbox = with_rspec_file(project(Rspec, helper, "", "raise 'it fails'"));
    let bad = [format!("{}: failed", Rspec.id("a", "culprit"))];
    run(&sandbox, "", 1, &bad, 3);
    run(&sandbox, " -- --only-failures", 1, &bad, 0);
    run(&sandbox, " -- --next-failure", 1, &bad, 0);
    let done = sandbox.splitci("run --engine process --shards 2 --json -- --bisect").run();
    assert!(done.code != Some(0), "a bisection is no run: {done}");
    done.expect_says("--bisect is no way to run a shard");
    sandbox.expect_no_processes();
}
