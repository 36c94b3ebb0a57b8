//! One run, measured: wall time, processor time of all its processes, and what others took meanwhile; medians; bars.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks of the kernel's process times: 100 a second on every Linux that we run on.
const TICKS: f64 = 100.0;
/// A machine is idle if others take less than this share of a core.
const IDLE: f64 = 0.06;
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a run took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Took {
    /// Seconds.
    pub(crate) wall: f64,
    /// Processor seconds of the process and all its waited-for descendants.
    pub(crate) cpu: f64,
    /// Cores that others took meanwhile.
    pub(crate) foreign: f64,
    /// What it printed.
    pub(crate) stdout: String,
}

/// Runs commands side by side to their end, as one measurement.
pub(crate) fn run(commands: &mut [Command]) -> Took {
    wait_for_idle();
    let (busy, cpu, started) = (busy(), children(), Instant::now());
    let spawn = |command: &mut Command| command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let running: Vec<_> =
        commands.iter_mut().map(|command| spawn(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))).collect();
    let readers: Vec<_> = running.into_iter().map(|child| std::thread::spawn(|| child.wait_with_output())).collect();
    let outputs: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("a thread").expect("its output")).collect();
    let wall = started.elapsed().as_secs_f64();
    let cpu = children() - cpu;
    for (output, command) in outputs.iter().zip(commands.iter()) {
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{}\n{shown}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    let stdout = outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout)).collect::<Vec<_>>().join("\n");
    let foreign = ((self::busy() - busy - cpu) / wall).max(0.0);
    Took { wall, cpu, foreign, stdout }
}

/// Processor seconds of waited-for children, by the kernel's account.
fn children() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").expect("read our own times");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / TICKS
}

/// Processor seconds of the whole machine.
fn busy() -> f64 {
    let stat = fs_err::read_to_string("/proc/stat").expect("read the machine's times");
    let fields: Vec<f64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum::<f64>() / TICKS
}

/// Waits until others leave the machine alone, but not for long.
pub(crate) fn wait_for_idle() {
    let started = Instant::now();
    let mut quiet = 0;
    while quiet < 2 && started.elapsed() < PATIENCE {
        let (before, at) = (busy(), Instant::now());
        std::thread::sleep(Duration::from_millis(250));
        quiet = if (busy() - before) / at.elapsed().as_secs_f64() < IDLE { quiet + 1 } else { 0 };
    }
}

/// The middle of some numbers, and their ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Median {
    /// The middle one.
    pub(crate) value: f64,
    low: f64,
    high: f64,
}

/// Of at least one number.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Median {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let value = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    Median { value, low: sorted[0], high: sorted[sorted.len() - 1] }
}

impl fmt::Display for Median {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2}-{:.2}]", self.value, self.low, self.high)
    }
}

/// Something that was to be reached.
#[derive(Debug)]
pub(crate) struct Bar {
    what: String,
    wanted: String,
    measured: String,
    reached: bool,
}

impl Bar {
    /// Reached if the number is not above the limit.
    pub(crate) fn at_most(what: &str, limit: f64, measured: f64, unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            wanted: format!("at most {limit} {unit}"),
            measured: format!("{measured:.3} {unit}"),
            reached: measured <= limit,
        }
    }

    /// Reached if the number is not below the limit.
    pub(crate) fn at_least(what: &str, limit: f64, measured: f64, unit: &str) -> Self {
        let wanted = format!("at least {limit} {unit}");
        Self { what: what.to_owned(), wanted, measured: format!("{measured:.3} {unit}"), reached: measured >= limit }
    }

    /// Reached if ours is below the best of the others.
    pub(crate) fn ahead_of(what: &str, ours: f64, others: &[(String, f64)]) -> Self {
        let best = others.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("a rival");
        let wanted = format!("ahead of {} with {:.2} s", best.0, best.1);
        Self { what: what.to_owned(), wanted, measured: format!("{ours:.2} s"), reached: ours < best.1 }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, wanted, measured, reached } = self;
        write!(f, "| {what} | {wanted} | {measured} | {} |", if *reached { "reached" } else { "MISSED" })
    }
}
