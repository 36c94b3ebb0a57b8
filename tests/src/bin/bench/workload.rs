//! The suites that are measured: trivial tests in many files, and files that sleep for very different times. The same bytes every time.

use std::path::{Path, PathBuf};

use crate::framework::Framework;

/// Tests in each file of a trivial suite.
pub(crate) const PER_FILE: usize = 20;
/// Files of the skewed suite.
const SKEW_FILES: usize = 200;
/// Seconds that the skewed suite sleeps in all.
const SKEW_TOTAL: f64 = 120.0;

/// Writes a suite of trivial tests, unless it is there.
pub(crate) fn trivial(framework: Framework, tests: usize) -> PathBuf {
    let project = place(framework, &format!("trivial-{tests}"));
    for file in 0..tests.div_ceil(PER_FILE) {
        let here = PER_FILE.min(tests - file * PER_FILE);
        put(&project.join(framework.path(file)), &framework.trivial(file, here));
    }
    project
}

/// Writes the skewed suite, unless it is there, with the durations that a rival would have recorded.
pub(crate) fn skewed(framework: Framework) -> (PathBuf, Vec<f64>) {
    let project = place(framework, "skewed");
    let durations = skewed_durations();
    for (file, seconds) in durations.iter().enumerate() {
        put(&project.join(framework.path(file)), &framework.sleeping(file, *seconds));
    }
    let (path, recorded) = framework.recorded(&durations);
    put(&project.join(path), &recorded);
    (project, durations)
}

/// Lognormal, 120 s in all, the longest about 6 s; the files are not sorted by them.
pub(crate) fn skewed_durations() -> Vec<f64> {
    for seed in 1.. {
        let mut numbers = Numbers(seed);
        let drawn: Vec<f64> = (0..SKEW_FILES).map(|_| numbers.normal().exp()).collect();
        let scale = SKEW_TOTAL / drawn.iter().sum::<f64>();
        let scaled: Vec<f64> = drawn.iter().map(|x| (x * scale * 1000.0).round() / 1000.0).collect();
        let longest = scaled.iter().copied().fold(0.0, f64::max);
        if (5.9..=6.1).contains(&longest) {
            return scaled;
        }
    }
    Vec::new()
}

/// Repeatable random numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    /// Uniform, above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        (f64::from(high) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// Normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn place(framework: Framework, name: &str) -> PathBuf {
    splitci_tests::scratch().join("bench").join(framework.name()).join(name)
}

fn put(path: &Path, content: &str) {
    if fs_err::read_to_string(path).is_ok_and(|there| there == content) {
        return;
    }
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
    fs_err::write(path, content).expect("write a file");
}
