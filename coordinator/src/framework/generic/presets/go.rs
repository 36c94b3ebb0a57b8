//! Go: a unit is a package with test files; the events of `go test -json` name package and test, so several packages go into one command.
//!
//! `-count=1`: Go would take results from its own cache, which is not what ran here.

use super::words;
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Listing, Naming, Results};

/// See the module.
pub const GO: Preset = Preset {
    name: "go",
    looked_for: "`go.mod` (go)",
    evidence: |facts| facts.has("go.mod").then(|| "`go.mod`".to_owned()),
    command: |_| words("go test -json -count=1 {units}"),
    units: || {
        let with_tests = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}";
        Listing::Lines(["go", "list", "-f", with_tests, "./..."].map(str::to_owned).to_vec())
    },
    results: Results::Go,
    naming: Naming::Group,
    batch: 8,
    picking: &["-run", "-skip"],
    ..GENERIC
};
