//! `rails test`, all the way through, on the application in `fixtures/rails`: always within its image, so that no machine needs Rails.
//!
//! What a plain `bin/rails test` says in the same image is what splitci is held to.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use splitci_coordinator::model::event::EventKind;
use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Done, Facts, Sandbox, program};

/// Says where a test runs: in which shard, on which database, and whether in the process that was booted, with others below it.
const PLACE: &str = "require \"test_helper\"\n\nclass PlaceNTest < ActiveSupport::TestCase\n  test \"is known\" do\n    \
                     children = File.read(\"/proc/#{$$}/task/#{$$}/children\").split.size\n    \
                     puts \"PLACE \" + [ENV[\"SPLITCI_SHARD\"], Rails.env, ActiveRecord::Base.connection_db_config.database, \
                     $$ == $booted ? \"booted\" : \"forked\", children].join(\" \")\n    \
                     Book.create!(title: \"Found in place\")\n    sleep 3\n    assert_equal 3, Book.count\n  end\nend\n";
const PLACES: usize = 6;

/// What an application does in each of Rails' workers.
const WORKER: &str = "\nclass ActiveSupport::TestCase\n  parallelize_setup { |worker| puts \"WORKER #{worker} begins\" }\n  \
                      parallelize_teardown { |worker| puts \"WORKER #{worker} ends\" }\nend\n";

const RED: &str = "require \"test_helper\"\n\nclass RedTest < ActiveSupport::TestCase\n  test \"fails\" do\n    assert_equal 3, Book.count\n  end\n\n  \
                   test \"errors\" do\n    Book.create!(copies: 1)\n  end\n\n  test \"passes\" do\n    assert_equal 2, Book.count\n  end\nend\n\n\
                   class RedPageTest < ActionDispatch::IntegrationTest\n  test \"has no way\" do\n    get \"/nowhere\"\n  end\n\n  \
                   test \"is not missing\" do\n    get \"/books\"\n    assert_response :missing\n  end\nend\n";

const LEAVING: &str = "require \"test_helper\"\n\nclass LeavingTest < ActiveSupport::TestCase\n  test \"before\" do\n  end\n\n  \
                       test \"leaves\" do\n    exit!(0)\n  end\n\n  test \"says goodbye\" do\n    exit 0\n  end\nend\n";

fn library() -> Sandbox {
    require();
    Sandbox::of("rails")
}

/// The application with tests that say where they run, in files of their own.
fn places() -> Sandbox {
    let sandbox = library();
    let helper = fs_err::read_to_string(sandbox.project().join("test/test_helper.rb")).expect("a helper");
    sandbox.write("test/test_helper.rb", &format!("{helper}\n$booted = $$\nputs \"BOOTED #{{ENV[\"SPLITCI_SHARD\"]}}\"\n"));
    for n in 1..=PLACES {
        sandbox.write(&format!("test/models/place_{n}_test.rb"), &PLACE.replace("PlaceN", &format!("Place{n}")));
    }
    sandbox
}

fn run(sandbox: &Sandbox, line: &str, exit: i32) -> Done {
    // Of one project's images the last few are kept; each test needs its own until it has ended.
    let test = std::thread::current().name().expect("a test has a name").to_owned();
    let done = sandbox.splitci(line).env("SPLITCI_PROJECT_NAME", format!("rails-{test}")).patience(Duration::from_mins(10)).run();
    done.expect_exit(exit);
    done
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    let facts = run(sandbox, &format!("{line} --json"), exit).facts();
    expect_no_containers(&facts.run);
    facts
}

/// The image of a run, by its id.
fn image(done: &Done) -> String {
    let ready = |kind| if let EventKind::ImageReady { identity, .. } = kind { Some(identity.config) } else { None };
    done.events().into_iter().find_map(|event| ready(event.kind)).expect("an image")
}

/// What a command of this image prints, with its exit status. One that hangs is ended, and fails the test.
fn within(image: &str, options: &[&str], command: &[&str]) -> (i32, String) {
    let bounded = [&["timeout", "300", "docker", "run", "--rm"], options, &[image, "timeout", "--kill-after=5", "240"], command].concat();
    let output = Command::new(bounded[0]).args(&bounded[1..]).output().expect("start docker");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = output.status.code().expect("an exit status");
    assert!(![124, 125, 137].contains(&status), "{bounded:?}: {status}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    (status, said)
}

/// Outcomes that `rails test --verbose` prints: a line for each test, `Class#method = 0.01 s = .`.
fn plain(said: &str) -> BTreeMap<String, Vec<String>> {
    let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in said.lines() {
        let parts: Vec<_> = line.split(" = ").collect();
        let &[name, took, code] = &*parts else { continue };
        if !name.contains('#') || !took.ends_with(" s") {
            continue;
        }
        let outcome = match code {
            "." => "passed",
            "F" => "failed",
            "E" => "errored",
            "S" => "skipped",
            other => panic!("what is {other:?}, in {line:?}"),
        };
        outcomes.entry(name.to_owned()).or_default().push(outcome.to_owned());
    }
    outcomes
}

/// A run's outcomes without the files, which Rails does not name.
fn named(facts: &Facts) -> BTreeMap<String, Vec<String>> {
    let name = |id: &String| id.split_once("::").expect("a file and a test").1.to_owned();
    facts.outcomes.iter().map(|(id, outcomes)| (name(id), outcomes.clone())).collect()
}

/// What the tests said of the places where they ran, sorted, and without repetition.
fn said_places(said: &str) -> Vec<String> {
    let mut places: Vec<_> = said.lines().filter_map(|line| line.split_once("PLACE ")).map(|(_, place)| place.to_owned()).collect();
    assert_eq!(places.len(), PLACES, "every place once: {said}");
    places.sort();
    places.dedup();
    places
}

#[test]
fn an_application_runs_as_it_does_by_itself() {
    let sandbox = places();
    let done = run(&sandbox, "run --shards 3 --json", 0);
    let green = done.facts();
    assert_eq!((green.count("passed"), green.count("skipped"), green.total()), (12 + PLACES, 1, 13 + PLACES));
    assert_eq!(green.tests_of_shard.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);

    // One boot each, in an environment and with a database of its own, and nobody else at work on the tests.
    assert_eq!((green.sessions.len(), green.output.matches("BOOTED").count()), (3, 3));
    let places = said_places(&green.output);
    assert_eq!(places, ["1 test db/test.sqlite3 booted 0", "2 test db/test2.sqlite3 booted 0", "3 test db/test3.sqlite3 booted 0"]);

    // The same tests with the same outcomes; by itself, in two processes.
    let (status, said) = within(&image(&done), &["--env", "PARALLEL_WORKERS=2"], &["bin/rails", "test", "--verbose"]);
    assert_eq!((status, plain(&said)), (0, named(&green)), "{said}");
    let forked = said_places(&said);
    assert!(forked.iter().all(|place| place.contains("forked")) && forked.len() == 2, "{forked:?}");
    expect_no_containers(&green.run);
}

#[test]
fn failures_are_those_of_rails_with_their_places_and_can_be_reproduced() {
    let sandbox = library().file("test/models/red_test.rb", RED);
    let done = run(&sandbox, "run --shards 2 --json", 1);
    let red = done.facts();
    let (status, said) = within(&image(&done), &["--env", "PARALLEL_WORKERS=1"], &["bin/rails", "test", "--verbose"]);
    assert_eq!((status, plain(&said)), (1, named(&red)), "{said}");
    assert_eq!((red.count("failed"), red.count("errored"), red.total()), (2, 2, 18));

    let told = run(&sandbox, &format!("report {}", red.run), 0);
    told.expect_says("test/models/red_test.rb:5: Expected: 3  Actual: 2");
    told.expect_says("test/models/red_test.rb:9: ActiveRecord::RecordInvalid: Validation failed: Title can't be blank");
    told.expect_says("test/models/red_test.rb:19: ActionController::RoutingError: No route matches [GET] \"/nowhere\"");
    told.expect_says("test/models/red_test.rb:24: Expected response to be a <404: missing>, but was a <200: OK>");

    let id = "test/models/red_test.rb::RedTest#test_fails";
    told.expect_says(&format!("splitci repro {}", red.run)).expect_says(&format!("--test '{id}'"));
    let again = facts(&sandbox, &format!("repro {} --test {id}", red.run), 1);
    assert_eq!(again.outcomes.get(id), Some(&vec!["failed".to_owned()]));
    assert!(again.told.iter().any(|(told, text)| told == id && text.contains("test/models/red_test.rb:5")), "{:?}", again.told);
    let failed = facts(&sandbox, "run --shards 2 --failed", 1);
    assert_eq!((failed.total(), failed.count("passed")), (4, 0));
}

#[test]
fn a_test_that_ends_its_process_is_red() {
    let sandbox = library().file("test/models/leaving_test.rb", LEAVING);
    let red = facts(&sandbox, "run --shards 2", 1);
    let file = "test/models/leaving_test.rb::LeavingTest";
    let skipped = "test/models/loan_test.rb::LoanTest#test_can_be_renewed: skipped".to_owned();
    let expected = [format!("{file}#test_leaves: crashed: exit 0"), format!("{file}#test_says_goodbye: errored"), skipped];
    assert_eq!((red.exceptions(), red.count("passed")), (expected.to_vec(), 13));
}

#[test]
fn lines_and_names_choose_what_they_choose_by_themselves() {
    let sandbox = library();
    for (paths, options) in [
        ("test/models/book_test.rb:12", ""),
        ("test/models/book_test.rb:4:8 test/models/loan_test.rb", ""),
        ("test/models", "-n /fixtures/"),
        ("test/models/book_test.rb:12", "-n /title/"),
        ("test/integration", ""),
    ] {
        let done = run(&sandbox, &format!("run --shards 2 --json {paths} -- {options}"), 0);
        let words: Vec<_> = paths.split(' ').chain(options.split(' ')).filter(|word| !word.is_empty()).collect();
        let (status, said) = within(&image(&done), &[], &[&["bin/rails", "test", "--verbose"], &*words].concat());
        assert_eq!((status, plain(&said)), (0, named(&done.facts())), "{paths} {options}");
        assert!(done.facts().total() > 0, "{paths} {options}");
    }
}

#[test]
fn what_goes_wrong_before_the_first_test_is_red_and_said() {
    let migration = "class AddPages < ActiveRecord::Migration[6.1]\n  def change\n    add_column :books, :pages, :integer\n  end\nend\n";
    let pending = library().file("db/migrate/20240103000000_add_pages.rb", migration);
    let said = "ActiveRecord::PendingMigrationError: Migrations are pending.";
    run(&pending, "run --shards 2", 1).expect_says(said).expect_says("FAILED  0 tests");

    let unprepared = library();
    let helper = fs_err::read_to_string(unprepared.project().join("test/test_helper.rb")).expect("a helper");
    let hook = "\nclass ActiveSupport::TestCase\n  parallelize_setup { |worker| raise \"no index for #{worker}\" }\nend\n";
    unprepared.write("test/test_helper.rb", &(helper + hook));
    let done = run(&unprepared, "run --shards 2", 1);
    done.expect_says("RuntimeError: no index for 0").expect_says("RuntimeError: no index for 1").expect_says("FAILED  0 tests");
    assert!(!done.stdout.contains("at_exit"), "told as what it is: {done}");
}

/// A run in three local processes, inside of the application's image.
fn in_processes(image: &str) -> Facts {
    let mount = format!("{}:/usr/local/bin/splitci:ro", program::binary().display());
    let (status, said) =
        within(image, &["--init", "--volume", &mount], &["splitci", "run", "--engine", "process", "--shards", "3", "--json"]);
    let events: Vec<_> = said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let green = Facts::of(&events);
    assert_eq!((status, green.count("passed"), green.total()), (0, 12 + PLACES, 13 + PLACES), "{said}");
    green
}

#[test]
fn processes_have_the_databases_that_the_application_gives_them() {
    let sandbox = places();
    let image = image(&run(&sandbox, "run --shards 1 --json test/integration", 0));
    let places = said_places(&in_processes(&image).output);
    assert_eq!(places, ["1 test db/test.sqlite3 booted 0", "2 test db/test2.sqlite3 booted 0", "3 test db/test3.sqlite3 booted 0"]);
}

#[test]
fn an_application_that_knows_nothing_of_shards_has_databases_as_the_workers_of_rails_have() {
    let sandbox = places();
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let text = fs_err::read_to_string(sandbox.project().join(file)).expect("a file of the application");
        sandbox.write(file, &change(text));
    };
    edit("config/database.yml", &|text| text.replace("<%= ENV[\"TEST_ENV_NUMBER\"] %>", ""));
    edit("test/test_helper.rb", &|text| text + WORKER);
    let image = image(&run(&sandbox, "run --shards 1 --json test/integration", 0));
    let workers = |said: &str| {
        let mut lines: Vec<_> = said.lines().filter_map(|line| line.find("WORKER ").map(|at| line[at..].to_owned())).collect();
        lines.sort();
        lines
    };
    let (status, said) = within(&image, &["--env", "PARALLEL_WORKERS=3"], &["bin/rails", "test", "--verbose"]);
    let green = in_processes(&image);
    assert_eq!((status, plain(&said)), (0, named(&green)), "{said}");
    assert_eq!((workers(&green.output).len(), workers(&green.output)), (6, workers(&said)));
    let places = said_places(&green.output);
    assert_eq!(places, ["1 test db/test.sqlite3-0 booted 0", "2 test db/test.sqlite3-1 booted 0", "3 test db/test.sqlite3-2 booted 0"]);
}
