//! What the Python frameworks have in common: the line to the worker, how a driver gets in, and whose tests a project's are.
//!
//! Drivers are modules in the session's private directory, which is put before the module path: nothing is installed, and each driver takes the
//! directory off the path and out of the environment before tests run. They need the standard library and their framework, and nothing else.

use super::{LaunchRequest, Place, ProjectFacts, shard_environment};
use crate::model::Launch;
use crate::model::settings::EngineKind;

mod style;

pub(super) use style::{REQUIREMENTS, Style, samples, style, unittests};

/// What all drivers say to the worker, and how.
pub(super) const WIRE: &str = include_str!("splitci_wire.py");

/// The signal at which a driver prints the stacks of all threads: a real-time signal that nothing is known to use. `DUMP_SIGNAL` in the wire.
pub(super) const DUMP_SIGNAL: i32 = 50;

/// Starts the user's command with these modules in reach.
pub(super) fn launch(request: &LaunchRequest<'_>, modules: &[(&str, &str)]) -> Launch {
    let files = [("splitci_wire.py", WIRE)].into_iter().chain(modules.iter().copied());
    Launch {
        argv: request.suite.command.clone(),
        cwd: request.cwd.map(str::to_owned),
        env: environment(request),
        env_prepend: vec![("PYTHONPATH".into(), "{run}".into(), ":".into())],
        env_remove: Vec::new(),
        files: files.map(|(file, text)| (file.to_owned(), text.as_bytes().to_vec())).collect(),
        dump_signal: Some(DUMP_SIGNAL),
    }
}

/// The interpreter that the project would be run with here.
pub(super) fn interpreter(facts: &ProjectFacts) -> &'static str {
    match &facts.place {
        Place::Here { activated: false, .. } if facts.has(".venv/bin/python") => ".venv/bin/python",
        Place::Here { activated: false, .. } if facts.has("venv/bin/python") => "venv/bin/python",
        Place::Here { programs, .. } if !programs.contains("python3") && programs.contains("python") => "python",
        Place::Here { .. } | Place::Image => "python3",
    }
}

fn environment(request: &LaunchRequest<'_>) -> Vec<(String, String)> {
    let shard = request.session.shard.0;
    let mut env = shard_environment(request);
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    if request.suite.whole {
        set("SPLITCI_PYTHON_WHOLE", "1".into());
    }
    if request.settings.engine == EngineKind::Process {
        // Its shards have one directory: what a framework keeps there must not be written by all of them.
        set("SPLITCI_PYTHON_SHARED", "1".into());
    }
    if request.variable("PYTHONHASHSEED").is_none() {
        // Ids made from sets must be the same in every shard.
        set("PYTHONHASHSEED", (request.settings.seed % (1 << 32)).to_string());
    }
    if request.shards > 1 {
        let data = request.variable("COVERAGE_FILE").unwrap_or(".coverage");
        set("COVERAGE_FILE", format!("{data}.{shard}.{}", request.session.number));
    }
    env
}
