//! `ExUnit`: a unit is a file by Mix's own convention; a formatter of ours writes JUnit's XML, closed only when the suite ends in order.
//!
//! The command is `mix test` within `elixir`, which loads the formatter first. The seed goes in as a default, so that a project that sets its own keeps
//! it. Shards of one directory share `_build`, and Mix before 1.18 locks nothing: it is compiled beforehand. `--only`, where it fits no test
//! of a command's files, is a failure to Mix, and so it is here.

use super::files;
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Naming, Results};

/// See the module.
pub const EXUNIT: Preset = Preset {
    name: "exunit",
    looked_for: "`mix.exs` (exunit)",
    evidence: |facts| facts.has("mix.exs").then(|| "`mix.exs`".to_owned()),
    command: |_| COMMAND.iter().map(ToString::to_string).collect(),
    prepare: &["sh", "-c", "MIX_ENV=${MIX_ENV:-test} exec mix compile"],
    units: || files(&["test/**/*_test.exs", "apps/*/test/**/*_test.exs"]),
    results: Results::Junit,
    naming: Naming::File,
    nothing: Some((0, "splitci: no tests in {units}")),
    batch: 32,
    files: &[("splitci_exunit.exs", include_str!("splitci_exunit.exs"))],
    picking: &["--only", "--exclude", "--include", "--stale", "--failed"],
    ..GENERIC
};

const COMMAND: &[&str] = &[
    "elixir",
    "-r",
    "{run}/splitci_exunit.exs",
    "-e",
    "SplitciExUnit.begin(\"{reports}\",{seed})",
    "-S",
    "mix",
    "test",
    "--formatter",
    "SplitciExUnit",
    "--formatter",
    "ExUnit.CLIFormatter",
    "{units}",
];
