//! Whether it pays to restore a mount: what the way costs, by what it cost before, against what steps take without it.
//!
//! Pure. What is not known is not held against it: the first restore is how it becomes known.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::took;
use crate::image::travel::{StepTimes, Stop};

/// What a restore costs that moves nothing, in milliseconds: a build of one step.
const FIXED_MS: u64 = 400;
/// Bytes a millisecond, until it was measured here.
const UNMEASURED: f64 = 100_000.0;
/// How much the latest measurement counts.
const LATEST: f64 = 0.5;

/// How fast mounts are restored on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Bytes a millisecond.
    bytes_per_ms: Option<f64>,
}

impl Speed {
    /// A restore of so many bytes took so long. Small ones tell nothing.
    pub fn learn(&mut self, bytes: u64, took_ms: u64) {
        if bytes < 1 << 20 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a speed need not be exact")]
        let now = bytes as f64 / took_ms.saturating_sub(FIXED_MS).max(1) as f64;
        self.bytes_per_ms = Some(self.bytes_per_ms.map_or(now, |before| before * (1.0 - LATEST) + now * LATEST));
    }

    /// How long a restore takes, in milliseconds.
    pub fn cost_ms(&self, bytes: u64) -> u64 {
        let speed = self.bytes_per_ms.filter(|speed| *speed > 0.0).unwrap_or(UNMEASURED);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a guess need not be exact"
        )]
        let moving = (bytes as f64 / speed) as u64;
        FIXED_MS.saturating_add(moving)
    }
}

/// What a restore would cost and save, in milliseconds, if it does not pay.
pub fn loss(speed: &Speed, bytes: u64, empty_ms: Option<u64>, filled_ms: Option<u64>) -> Option<(u64, u64)> {
    let saved = empty_ms?.saturating_sub(filled_ms.unwrap_or(0));
    let cost = speed.cost_ms(bytes);
    (cost >= saved).then_some((cost, saved))
}

/// How much less steps took with what was brought than with nothing, in milliseconds. A step that has several mounts counts once, and one that was not done
/// needed none.
pub fn gain(brought: &[(&Stop, Option<u64>)], times: &StepTimes) -> u64 {
    let mut counted = BTreeSet::new();
    let mut all = 0_u64;
    for (stop, empty_ms) in brought {
        let (Some(empty), Some(took)) = (empty_ms, took(stop, times)) else { continue };
        if stop.steps.iter().filter(|step| counted.insert(*step)).count() == stop.steps.len() {
            all = all.saturating_add(empty.saturating_sub(took));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::dockerfile::CacheMount;

    #[test]
    fn a_step_with_two_mounts_is_saved_once() {
        let stop = |target: &str, steps: &[&str]| {
            let mount = CacheMount { target: target.into(), id: None, options: Vec::new(), step: String::new(), base: None };
            let steps = steps.iter().map(|&step| step.to_owned()).collect();
            Stop { mount, base: String::new(), steps, lock: [0; 32] }
        };
        let [registry, target, npm] = [stop("/registry", &["cargo"]), stop("/target", &["cargo", "test"]), stop("/npm", &["npm"])];
        let times = StepTimes::from([("cargo".into(), 1_000), ("test".into(), 500), ("npm".into(), 2_000)]);
        assert_eq!(gain(&[(&registry, Some(9_000)), (&target, Some(9_500)), (&npm, Some(3_000))], &times), 9_000);
        assert_eq!(gain(&[(&registry, None), (&npm, Some(1_500))], &times), 0, "unknown, and slower than before");
        assert_eq!(gain(&[(&registry, Some(9_000))], &StepTimes::new()), 0, "the builder had the step");
    }

    #[test]
    fn what_is_not_known_is_tried() {
        assert_eq!(loss(&Speed::default(), 1 << 40, None, None), None);
    }

    #[test]
    fn a_slow_way_to_a_fast_step_does_not_pay() {
        let mut speed = Speed::default();
        assert_eq!(loss(&speed, 100_000_000, Some(10_000), Some(2_000)), None, "a second and a half for eight");
        assert_eq!(loss(&speed, 100_000_000, Some(1_900), Some(600)), Some((1_400, 1_300)));
        assert_eq!(loss(&speed, 10, Some(300), None), Some((400, 300)), "a step that takes nothing");
        speed.learn(100_000_000, 100_400);
        assert_eq!(speed.cost_ms(100_000_000), 100_400);
        assert_eq!(loss(&speed, 100_000_000, Some(10_000), Some(2_000)), Some((100_400, 8_000)));
        speed.learn(10, 1_000_000);
        assert_eq!(speed.cost_ms(100_000_000), 100_400, "a few bytes tell nothing of a speed");
    }
}
