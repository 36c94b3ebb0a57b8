//! In which order an environment's slots are replaced, and how many of them at a time.

use serde::{Deserialize, Serialize};

/// So many of some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Of all of them, 0 to 100, rounded down.
    Percent(u32),
    /// So many.
    Count(u32),
}

impl Share {
    /// As a number, of so many.
    pub fn of(self, slots: u32) -> u32 {
        match self {
            Self::Percent(percent) => u32::try_from(u64::from(slots) * u64::from(percent) / 100).unwrap_or(u32::MAX),
            Self::Count(count) => count,
        }
    }

    /// As a number of slots that go together, of so many: never none, for then nothing would ever be replaced. 50 % of 3 is 1, as is 10 %.
    pub fn at_a_time(self, slots: u32) -> u32 {
        self.of(slots).max(1)
    }
}

/// In which order slots are replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One half out, replaced and checked; then in, in the same command that takes the other half out. Requests never meet two releases.
    #[default]
    Half,
    /// All out, replaced, checked and in again: nothing serves meanwhile, so that it has to be asked for each time.
    AllAtOnce,
    /// Each slot has a twin on the other [`Side`], and one side serves. The other one is replaced and checked; then it goes in, in the same command that takes the one that served
    /// out. That one runs on as it is, so that the way back is one command, too.
    BlueGreen,
    /// A few out, replaced, checked and in; then the next few. Requests meet both releases from the first to the last.
    Rolling {
        /// So many at a time, at least 1.
        batch: Share,
    },
    /// A few first, which are watched while the others serve the old release; if they are well, the others follow as in `Rolling`.
    Canary {
        /// So many first, at least 1.
        first: Share,
        /// So many at a time after them, at least 1.
        batch: Share,
    },
}

impl Strategy {
    /// Whether requests meet two releases by design.
    pub fn mixes(self) -> bool {
        matches!(self, Self::Rolling { .. } | Self::Canary { .. })
    }
}

/// One of the two sides of `bluegreen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one that a first deploy goes to.
    Blue,
    /// The other.
    Green,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_and_a_batch_is_never_empty() {
        let halves: Vec<u32> = (1..=5).map(|slots| Share::Percent(50).of(slots)).collect();
        assert_eq!(halves, [0, 1, 1, 2, 2]);
        assert_eq!((1..=5).map(|slots| Share::Percent(50).at_a_time(slots)).collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
        assert_eq!((Share::Count(3).of(2), Share::Count(0).at_a_time(2), Share::Percent(100).of(u32::MAX)), (3, 1, u32::MAX));
    }
}
