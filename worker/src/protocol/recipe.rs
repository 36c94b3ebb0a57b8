//! How a tool without a driver of ours is run: what the coordinator writes into a session's `recipe.json`, and the worker's `generic` program reads.
//!
//! A recipe is data and knows no tool by name. The command is not in it: its words, with their placeholders (`generic::template`), are the arguments of
//! that program.

use serde::{Deserialize, Serialize};

/// Name of the file in a session's private directory.
pub const FILE: &str = "recipe.json";
/// The variable that names it.
pub const VARIABLE: &str = "SPLITCI_DRIVER_RECIPE";

/// A tool, its units and its results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// What the tool is called in reports.
    pub tool: String,
    /// A command that makes ready what the shards of one directory share, before units are listed; none if empty. Older records have none.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// Where the units come from.
    pub units: Listing,
    /// Only units at or below these; all if empty.
    pub only: Vec<String>,
    /// How results are read.
    pub results: Results,
    /// Where the tool writes its report, if the command does not say: a path or a pattern. Without either it is what the command prints.
    pub report: Option<String>,
    /// How the tool says that a unit has no tests, if it does.
    #[serde(default)]
    pub nothing: Option<Nothing>,
    /// How many units go into one command at most; at least 1.
    pub batch: u32,
    /// How a result says which unit it is of.
    pub naming: Naming,
}

/// How a tool ends, and what it prints, when the one unit that it was given has no tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {
    /// Its exit status.
    pub status: i32,
    /// Words that it prints then and else never; `{units}` stands for the unit.
    pub words: String,
}

/// Where units come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listing {
    /// Files below the working directory that match one of these patterns.
    Files(Vec<String>),
    /// What this command prints, a line each.
    Lines(Vec<String>),
    /// Tests in what `ctest --show-only=json-v1` prints; this is that command.
    Ctest(Vec<String>),
    /// Targets with tests in what `cargo metadata --no-deps` prints; this is that command.
    Cargo(Vec<String>),
}

/// How results are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Results {
    /// A unit is one test, and passes if the command exits with 0.
    Exit,
    /// JUnit's XML.
    Junit,
    /// TAP 13 or 14.
    Tap,
    /// The JSON that Jest and its kin write.
    Json,
    /// The events of `go test -json`.
    Go,
    /// The text of Rust's test harness.
    Libtest,
}

impl Results {
    /// All of them, as configuration spells them.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("exit", Self::Exit),
        ("junit", Self::Junit),
        ("tap", Self::Tap),
        ("jest", Self::Json),
        ("go", Self::Go),
        ("libtest", Self::Libtest),
    ];

    /// How results of this kind name their unit, as far as the kind says.
    pub fn naming(self) -> Naming {
        match self {
            Self::Exit | Self::Tap | Self::Libtest => Naming::Alone,
            Self::Junit | Self::Json => Naming::File,
            Self::Go => Naming::Group,
        }
    }
}

/// How a result says which unit it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// By the file it names. One that names none belongs to the unit that ran alone.
    File,
    /// By its class, which is the file's path as a name.
    Class,
    /// By its class, which is the unit.
    Group,
    /// By its name, which is the unit.
    Test,
    /// Not at all: units run alone.
    Alone,
}
