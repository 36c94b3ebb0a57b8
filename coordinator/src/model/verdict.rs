//! The answer of a run. It has no constructor from errors: a fault of the system can never look like a pass or like a failing test.

use serde::{Deserialize, Serialize};

/// What a run proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every unit and every declared test is final and accepted, every session closed cleanly or its work was run again, and of each suite something
    /// ran or was proven before.
    Passed,
    /// A final bad outcome, or an error that test code caused. `complete` is false when other tests did not get to their end.
    Failed {
        /// Whether everything else is final.
        complete: bool,
    },
    /// Everything is final and nothing ran, or all was skipped.
    Empty,
    /// No proof: something is not final, or the record could not be written.
    None,
    /// Stopped by the user before the end, with nothing bad final until then.
    Interrupted,
}

impl Verdict {
    /// The exit status, by the precedence of the design: bad first, then missing, then empty.
    pub fn exit_code(self, allow_empty: bool) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed { .. } => 1,
            Self::Empty if allow_empty => 0,
            Self::Empty => 4,
            Self::None => 3,
            Self::Interrupted => 130,
        }
    }
}
