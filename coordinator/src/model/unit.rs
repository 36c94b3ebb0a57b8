//! Units and the manifest: what a run has promised to run.

use serde::{Deserialize, Serialize};

use super::{Select, SuiteId, UnitId};

/// What is scheduled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Of which suite.
    #[serde(default, skip_serializing_if = "SuiteId::is_first")]
    pub suite: SuiteId,
    /// The file, as the run names it.
    pub file: String,
    /// Which part of it.
    pub kind: UnitKind,
    /// Predicted duration in milliseconds, loading included; absent when nothing is known.
    pub predicted_ms: Option<u64>,
}

/// Which part of a file a unit is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// All of it.
    File,
    /// A slice of a slow file. All slices of a file must see the same list of ids, or they are superseded by its fallback.
    Slice {
        /// Which tests.
        select: Select,
    },
    /// All of a sliced file, run only when its slices disagree.
    Fallback,
    /// What a reproduction or `--failed` runs of a file.
    Part {
        /// Which tests.
        select: Select,
        /// Lowest ordinal.
        from: u32,
        /// First ordinal that does not run.
        until: Option<u32>,
    },
}

impl Unit {
    /// A unit of which nothing is predicted.
    pub fn new(suite: SuiteId, file: impl Into<String>, kind: UnitKind) -> Self {
        Self { suite, file: file.into(), kind, predicted_ms: None }
    }

    /// Which tests of its file the unit has.
    pub fn select(&self) -> Select {
        match &self.kind {
            UnitKind::File | UnitKind::Fallback => Select::All,
            UnitKind::Slice { select } | UnitKind::Part { select, .. } => select.clone(),
        }
    }
}

/// The frozen list of a run's units. A unit's id is its place here; the order of dispatch is the queue's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The units, in the order in which they shall be dispatched.
    pub units: Vec<Unit>,
}

impl Manifest {
    /// The unit with this id.
    pub fn get(&self, id: UnitId) -> Option<&Unit> {
        self.units.get(usize::try_from(id.0).ok()?)
    }

    /// Units with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (UnitId, &Unit)> {
        (0..).map(UnitId).zip(&self.units)
    }
}

impl Manifest {
    /// blake3 of the manifest (hex): two runs with the same promised the same.
    ///
    /// # Panics
    /// Never: a manifest is plain data with string keys, which always serialises.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("splitci manifest v1");
        #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
        serde_json::to_writer(&mut hasher, self).expect("a manifest serialises");
        hasher.finalize().to_hex().to_string()
    }
}
