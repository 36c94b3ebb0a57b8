//! RSpec 3: recognised by `.rspec` or its spec files, driven by `splitci_rspec.rb` inside the user's own rspec.
//!
//! A unit is a spec file; a slice never cuts a top-level group. What the driver does with a suite stands in its own head.

use super::{Framework, LaunchRequest, ProjectFacts, ruby};
use crate::model::Launch;

#[cfg(test)]
mod tests;

/// The driver's text.
pub const DRIVER: &str = include_str!("splitci_rspec.rb");

/// Options that choose examples within files.
const PICKING: &[&str] = &["-e", "--example", "-E", "--example-matches", "-t", "--tag", "--only-failures", "-n", "--next-failure"];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rspec;

impl Framework for Rspec {
    fn name(&self) -> &'static str {
        "rspec"
    }

    fn looked_for(&self) -> &'static str {
        "`.rspec`, `spec/**/*_spec.rb` (rspec)"
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        &["Gemfile", "Gemfile.lock"]
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        let marked = facts.has(".rspec").then(|| "`.rspec`".to_owned());
        marked.or_else(|| facts.first(|path| path.starts_with("spec/") && path.ends_with("_spec.rb")))
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        ruby::command(facts, "rspec", Some("bin/rspec"), &["rspec"])
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        ruby::launch(request, "splitci_rspec.rb", DRIVER)
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        let place = |word: &str| word.contains(".rb:") || word.contains(".rb[");
        command
            .iter()
            .skip(1)
            .any(|word| place(word) || PICKING.iter().any(|option| word == option || word.starts_with(&format!("{option}="))))
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        Some(ruby::group)
    }
}
