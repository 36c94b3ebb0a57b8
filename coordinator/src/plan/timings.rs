//! What is known of the past: how long files and their tests took, smoothed over runs.
//!
//! Plain data, for whoever keeps it between runs; it may be lost at any moment with no harm but time. Smoothing is exponential with gain 0.3. That is the optimal gain
//! (Muth: "Optimal properties of exponentially weighted forecasts", JASA 1960) for a duration that drifts by a tenth per run and is measured with an
//! error of three tenths, as on shared machines: `q = (0.1 / 0.3)²`, gain `(√(q² + 4q) - q) / 2 = 0.28`. What was not seen for some runs has
//! drifted for as many, so the gain is applied once for each; what was not seen for long is forgotten.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The gain, in tenths.
const GAIN_TENTHS: u64 = 3;
/// The gain is as good as 1 after so many runs.
const MOST_STEPS: u64 = 12;
/// A file that was not in so many learnt runs is forgotten. Far above the number of branches that take turns.
const FORGET_AFTER: u64 = 200;

/// How long things take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Runs learnt from.
    pub runs: u64,
    /// By file.
    pub files: BTreeMap<String, FileTiming>,
}

/// How long a file takes, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTiming {
    /// The run that last had it.
    pub seen: u64,
    /// All of it, loading included.
    pub total_us: u64,
    /// Its loading.
    pub load_us: u64,
    /// Its tests in the order of the file; empty when only the total is known. Equal ids are one entry.
    pub tests: Vec<(String, u64)>,
    /// Its ids change from load to load: never to be cut.
    #[serde(default)]
    pub unstable: bool,
}

/// What a run showed of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRun {
    /// Which.
    pub file: String,
    /// Its loading in microseconds; the mean, if slices loaded it several times.
    pub load_us: u64,
    /// Its tests with their microseconds, in the order of the file.
    pub tests: Vec<(String, u64)>,
    /// Every test of it ran to its end. Otherwise only the tests named are learnt.
    pub whole: bool,
    /// Its slices, or two loads of it, listed different ids.
    pub unstable: bool,
}

impl Timings {
    /// What is known of a file.
    pub fn file(&self, file: &str) -> Option<&FileTiming> {
        self.files.get(file)
    }

    /// How long a file will take in milliseconds, loading included.
    pub fn predicted_ms(&self, file: &str) -> Option<u64> {
        let total_us = self.file(file)?.total_us;
        (total_us > 0).then(|| total_us.div_ceil(1_000))
    }

    /// Takes in a run.
    pub fn learn(&mut self, run: &[FileRun]) {
        self.runs += 1;
        for seen in run {
            let known = self.files.entry(seen.file.clone()).or_default();
            known.learn(seen, self.runs);
        }
        let runs = self.runs;
        self.files.retain(|_, file| runs - file.seen.min(runs) <= FORGET_AFTER);
    }
}

impl FileTiming {
    fn learn(&mut self, run: &FileRun, now: u64) {
        self.unstable |= run.unstable;
        let steps = now.saturating_sub(self.seen).clamp(1, MOST_STEPS);
        let measured = merge_equal_ids(&run.tests);
        if run.whole {
            let total_us = run.load_us + measured.iter().map(|&(_, micros)| micros).sum::<u64>();
            self.total_us = if self.total_us == 0 { total_us } else { smooth(self.total_us, total_us, steps) };
            self.load_us = if self.load_us == 0 { run.load_us } else { smooth(self.load_us, run.load_us, steps) };
            self.tests = self.smoothed(measured, steps);
        } else {
            let measured: BTreeMap<_, _> = measured.into_iter().collect();
            for (id, known) in &mut self.tests {
                *known = measured.get(id.as_str()).map_or(*known, |&micros| smooth(*known, micros, steps));
            }
        }
        self.seen = now;
    }

    /// The tests of a whole run; those known already with their past in them.
    fn smoothed(&self, measured: Vec<(&str, u64)>, steps: u64) -> Vec<(String, u64)> {
        let known: BTreeMap<&str, u64> = self.tests.iter().map(|(id, micros)| (id.as_str(), *micros)).collect();
        let one = |(id, micros): (&str, u64)| (id.to_owned(), known.get(id).map_or(micros, |&old| smooth(old, micros, steps)));
        measured.into_iter().map(one).collect()
    }
}

/// Equal ids are told apart by nobody who cuts, so they count together.
fn merge_equal_ids(tests: &[(String, u64)]) -> Vec<(&str, u64)> {
    let mut places = BTreeMap::new();
    let mut merged: Vec<(&str, u64)> = Vec::with_capacity(tests.len());
    for (id, micros) in tests {
        let place = *places.entry(id.as_str()).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(known) => known.1 += micros,
            None => merged.push((id, *micros)),
        }
    }
    merged
}

/// In whole microseconds, so that every machine gets the same. A value moves by at least one until it arrives.
fn smooth(old: u64, new: u64, steps: u64) -> u64 {
    (0..steps).fold(old, |old, _| {
        let step = (old.abs_diff(new) * GAIN_TENTHS).div_ceil(10);
        if new > old { old + step } else { old - step }
    })
}
