//! What the Ruby frameworks have in common: the line to the worker, how a driver gets in, and how a project's own `rspec` or `ruby` is called.
//!
//! A driver is a file named in `RUBYOPT` that lies in the session's private directory: nothing is installed, and the driver takes itself out of the
//! environment before tests run. It requires `socket` and nothing else, so that a Gemfile may pin any library.

use super::{LaunchRequest, Place, ProjectFacts, shard_environment};
use crate::model::Launch;

/// What all drivers say to the worker, and how.
pub(super) const WIRE: &str = include_str!("splitci_wire.rb");

/// The signal at which a driver prints the stacks of all threads. `DUMP_SIGNAL` in the drivers.
pub(super) const DUMP_SIGNAL: i32 = 50;

/// Starts the user's command with this driver in it.
pub(super) fn launch(request: &LaunchRequest<'_>, name: &str, driver: &str) -> Launch {
    let mut env = shard_environment(request);
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
    // Spring runs tests in a server that is no child of ours.
    set("DISABLE_SPRING", "1");
    // Rails splits a suite over processes or threads; here that is done already.
    set("PARALLEL_WORKERS", "1");
    if request.suite.whole {
        set("SPLITCI_RUBY_WHOLE", "1");
    }
    let files = [("splitci_wire.rb", WIRE), (name, driver)].map(|(file, text)| (file.to_owned(), text.as_bytes().to_vec()));
    Launch {
        argv: request.suite.command.clone(),
        cwd: request.cwd.map(str::to_owned),
        env,
        env_prepend: vec![("RUBYOPT".into(), format!("-r{{run}}/{name}"), " ".into())],
        env_remove: Vec::new(),
        files: files.to_vec(),
        dump_signal: Some(DUMP_SIGNAL),
    }
}

/// Whether the project's Gemfile, or what it was resolved to, names a gem, or one whose name begins with it and a dash.
pub(super) fn bundles(facts: &ProjectFacts, gem: &str) -> bool {
    let is_it = |name: &str| name.strip_prefix(gem).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let lines = |file: &str| facts.texts.get(file).into_iter().flat_map(|text| text.lines()).map(str::trim);
    let asked = |line: &str| {
        let rest = line.strip_prefix("gem")?.trim_start_matches(['(', ' ']).strip_prefix(['"', '\''])?;
        rest.split(['"', '\'']).next().map(is_it)
    };
    lines("Gemfile").any(|line| asked(line) == Some(true)) || lines("Gemfile.lock").any(|line| line.split(' ').next().is_some_and(is_it))
}

/// A Ruby command as the project would call it: through its binstub, through Bundler, or as it is.
pub(super) fn command(facts: &ProjectFacts, gem: &str, binstub: Option<&str>, plain: &[&str]) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let here = |program: &str| match &facts.place {
        Place::Image => true,
        Place::Here { programs, .. } => programs.contains(program),
    };
    match binstub.filter(|binstub| facts.has(binstub)) {
        Some(binstub) => words(&[binstub]),
        None if facts.has("Gemfile") && bundles(facts, gem) && here("bundle") => words(&[&["bundle", "exec"], plain].concat()),
        None => words(plain),
    }
}

/// From an id of the form `file::group::rest`, what must stay together: the top-level group. A group whose own name has two colons is taken for its
/// first part, which keeps more together than need be, and never less.
pub(super) fn group(id: &str) -> &str {
    let Some(file) = id.find("::").map(|at| at + 2) else { return id };
    id[file..].find("::").map_or(id, |at| &id[..file + at])
}
