//! Minitest 5, and Rails' runner for it: recognised by its test files, driven by `splitci_minitest.rb` inside the user's own command.
//!
//! A project with `bin/rails` is run by that: it puts itself into the test environment, whatever the image says, and a test's helper asks for it.
//!
//! A unit is a test file; a slice never cuts a class. Minitest has no program of its own that finds files, so without a configured command the
//! driver does: `test/**/*_test.rb` and `test/**/test_*.rb`, system tests left out as `rails test` leaves them. What it does with a suite stands in its
//! own head.

use super::{Framework, LaunchRequest, ProjectFacts, ruby};
use crate::model::Launch;

/// The driver's text.
pub const DRIVER: &str = include_str!("splitci_minitest.rb");

/// Options that choose tests within files.
const PICKING: &[&str] = &["-n", "--name", "-i", "--include", "-e", "--exclude", "-x"];

/// What Ruby runs where there is no runner: the helper, and then nothing but Minitest's own end.
const WITH_HELPER: &str = "require \"test_helper\"; require \"minitest/autorun\"";
const WITHOUT_HELPER: &str = "require \"minitest/autorun\"";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minitest;

impl Framework for Minitest {
    fn name(&self) -> &'static str {
        "minitest"
    }

    fn looked_for(&self) -> &'static str {
        "`test/**/*_test.rb`, `test/**/test_*.rb` (minitest)"
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        &["Gemfile", "Gemfile.lock"]
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        facts.first(is_test_file)
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        if facts.has("bin/rails") {
            return ["bin/rails", "test"].map(str::to_owned).to_vec();
        }
        let script = if facts.has("test/test_helper.rb") { WITH_HELPER } else { WITHOUT_HELPER };
        // What follows is for Minitest, and not for Ruby.
        ruby::command(facts, "minitest", None, &["ruby", "-Ilib", "-Itest", "-e", script, "--"])
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        ruby::launch(request, "splitci_minitest.rb", DRIVER)
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        let own = command.iter().position(|word| word == "--").map_or(1, |at| at + 1);
        let place = |word: &str| word.contains(".rb:");
        let picks = |word: &str| PICKING.iter().any(|option| word == *option || word.starts_with(&format!("{option}=")));
        command.iter().skip(own).any(|word| place(word) || picks(word))
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        Some(class)
    }
}

/// From an id, its class: `test/a_test.rb::Shop::CartTest#test_total` must stay with all of `Shop::CartTest`.
fn class(id: &str) -> &str {
    let file = id.find("::").map_or(0, |at| at + 2);
    id[file..].find('#').map_or(id, |at| &id[..file + at])
}

fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_suffix(".rb").unwrap_or_default();
    path.starts_with("test/") && name != "test_helper.rb" && (stem.ends_with("_test") || stem.starts_with("test_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Place;

    fn facts(files: &[&str], gemfile: &str) -> ProjectFacts {
        let texts = [("Gemfile".to_owned(), gemfile.to_owned())].into();
        ProjectFacts { files: files.iter().map(ToString::to_string).collect(), texts, place: Place::Image }
    }

    #[test]
    fn a_project_is_recognised_by_its_test_files() {
        assert_eq!(
            Minitest.evidence(&facts(&["lib/a.rb", "test/test_helper.rb", "test/models/cart_test.rb"], "")).as_deref(),
            Some("`test/models/cart_test.rb`")
        );
        assert_eq!(Minitest.evidence(&facts(&["test/test_cart.rb"], "")).as_deref(), Some("`test/test_cart.rb`"));
        for foreign in ["test/test_helper.rb", "lib/cart_test.rb", "test/cart_test.py", "vendor/gem/test/cart_test.rb"] {
            assert_eq!(Minitest.evidence(&facts(&[foreign], "")), None, "{foreign}");
        }
    }

    #[test]
    fn it_is_called_as_the_project_would() {
        assert_eq!(Minitest.command(&facts(&["bin/rails", "Gemfile"], "")), ["bin/rails", "test"]);
        assert_eq!(Minitest.command(&facts(&["test/a_test.rb"], "")), ["ruby", "-Ilib", "-Itest", "-e", WITHOUT_HELPER, "--"]);
        let bundled = Minitest.command(&facts(&["Gemfile", "test/test_helper.rb"], "gem 'rake'\ngem \"minitest\", \"~> 5\"\n"));
        assert_eq!(bundled, ["bundle", "exec", "ruby", "-Ilib", "-Itest", "-e", WITH_HELPER, "--"]);
        assert!(!Minitest.picks_tests(&bundled), "`-e` is Ruby's");
        assert!(Minitest.picks_tests(&[bundled, vec!["-n".to_owned(), "/total/".to_owned()]].concat()));
    }

    #[test]
    fn a_class_stays_in_one_piece() {
        assert_eq!(class("test/a_test.rb::Shop::CartTest#test_total"), "test/a_test.rb::Shop::CartTest");
        assert_eq!(class("test/a_test.rb"), "test/a_test.rb");
    }
}
