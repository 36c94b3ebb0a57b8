//! How long runs take that are planned by `plan` and fed by `queue`, against the lower bound: `max(longest unit, sum / shards)`.
//!
//! A discrete-event simulation with imagined suites: durations differ from their history by noise (a coefficient of variation of 0.3), a tenth of the files has none,
//! and each question to the queue costs 5 ms. Only the order, the batches and the slices are measured; nothing dies.
//! `cargo test --test plan_makespan -- --nocapture` prints the figures.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are for people")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use splitci_coordinator::model::settings::Order;
use splitci_coordinator::model::{Manifest, Select, SessionId, ShardId, UnitKind};
use splitci_coordinator::plan::{FileRun, PlanRequest, Timings, plan};
use splitci_coordinator::queue::{End, Epoch, Lease, Listing, Policy, Queue, QueueUnit, Remaining, Step, UnitResult};
use splitci_tests::schedules::dice::Dice;

const SUITES: u64 = 200;
/// A question and its answer, in microseconds.
const ASKING_US: u64 = 5_000;

/// A file as it will really be, and what is remembered of it.
struct File {
    name: String,
    load_us: u64,
    tests: Vec<(String, u64)>,
    remembered: Option<FileRun>,
}

/// A kind of suite.
#[derive(Clone, Copy)]
struct Kind {
    files: u32,
    tests_of_a_file: u32,
    /// Median of a file's duration.
    median_us: f64,
    sigma: f64,
    /// Part of a file's duration that is its loading.
    loading: f64,
    /// Files without history, in a thousand.
    unknown: u32,
    /// One file more, as long as all the others together times this.
    giant: f64,
}

const FILES: Kind = Kind { files: 200, tests_of_a_file: 10, median_us: 1e6, sigma: 1.2, loading: 0.05, unknown: 100, giant: 0.0 };
const TESTS: Kind = Kind { files: 2_000, tests_of_a_file: 1, median_us: 5e4, sigma: 1.2, ..FILES };
const GIANT: Kind = Kind { tests_of_a_file: 2, giant: 0.67, ..FILES };

fn normal(dice: &mut Dice) -> f64 {
    (-2.0 * (1.0 - dice.unit() * 0.999_999).ln()).sqrt() * (std::f64::consts::TAU * dice.unit()).cos()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive duration far below 2^52 us")]
fn micros(duration: f64) -> u64 {
    duration.max(1.0) as u64
}

/// A factor of mean 1 with a coefficient of variation of 0.3.
fn noise(dice: &mut Dice) -> f64 {
    let variance = 1.09_f64.ln();
    (variance.sqrt() * normal(dice) - variance / 2.0).exp()
}

impl File {
    fn imagine(dice: &mut Dice, kind: Kind, number: u32, duration_us: f64) -> Self {
        let name = format!("file{number}");
        let load_us = duration_us * kind.loading;
        let each = (duration_us - load_us) / f64::from(kind.tests_of_a_file);
        let of_file = noise(dice);
        let (mut tests, mut past) = (Vec::new(), Vec::new());
        for test in 0..kind.tests_of_a_file {
            let (id, long) = (format!("{name}::t{test}"), each * (0.5 + dice.unit()));
            tests.push((id.clone(), micros(long)));
            past.push((id, micros(long * of_file)));
        }
        let past = FileRun { file: name.clone(), load_us: micros(load_us * of_file), tests: past, whole: true, unstable: false };
        let remembered = (!dice.chance(kind.unknown)).then_some(past);
        Self { name, load_us: micros(load_us), tests, remembered }
    }

    fn micros(&self, select: &Select) -> u64 {
        let (Select::Only(ids) | Select::Except(ids)) = select else {
            return self.load_us + self.tests.iter().map(|(_, micros)| micros).sum::<u64>();
        };
        let (named, only): (BTreeSet<&String>, _) = (ids.iter().collect(), matches!(select, Select::Only(_)));
        let selected = |id: &String| named.contains(id) == only;
        self.load_us + self.tests.iter().filter(|(id, _)| selected(id)).map(|(_, micros)| micros).sum::<u64>()
    }
}

fn suite(dice: &mut Dice, kind: Kind) -> Vec<File> {
    let durations: Vec<f64> = (0..kind.files).map(|_| kind.median_us * (kind.sigma * normal(dice)).exp()).collect();
    let sum: f64 = durations.iter().sum();
    let mut files: Vec<File> = (0..).zip(durations).map(|(number, duration)| File::imagine(dice, kind, number, duration)).collect();
    if kind.giant > 0.0 {
        let known = Kind { unknown: 0, loading: 0.01, tests_of_a_file: 50, ..kind };
        files.push(File::imagine(dice, known, kind.files, sum * kind.giant));
    }
    files
}

fn planned(files: &[File], shards: u32, group: Option<fn(&str) -> &str>) -> Manifest {
    let mut timings = Timings::default();
    timings.learn(&files.iter().filter_map(|file| file.remembered.clone()).collect::<Vec<_>>());
    let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    plan(&[names], &timings, &PlanRequest { shards, order: Order::Scheduled, seed: 1, groups: vec![group] })
}

/// Really needed durations of the units, by id.
fn durations(files: &[File], manifest: &Manifest) -> Vec<u64> {
    let files: BTreeMap<&String, &File> = files.iter().map(|file| (&file.name, file)).collect();
    manifest.units.iter().map(|unit| files[&unit.file].micros(&unit.select())).collect()
}

/// A session in simulated time.
struct Session {
    id: SessionId,
    seq: u64,
    held: VecDeque<Lease>,
    done: Vec<UnitResult>,
}

/// From the first question to the last result, in microseconds.
fn simulate(manifest: &Manifest, durations: &[u64], shards: u32) -> u64 {
    let epoch = Epoch(1);
    let policy = Policy { lease_ms: u64::MAX / 4, ..Policy::for_shards(shards) };
    let mut queue = Queue::new(epoch, QueueUnit::of(manifest), policy).unwrap();
    let session = |number| Session { id: SessionId { shard: ShardId(number), number: 1 }, seq: 0, held: VecDeque::new(), done: Vec::new() };
    let mut sessions: Vec<Session> = (0..shards).map(session).collect();
    let mut agenda: BinaryHeap<_> = (0..sessions.len()).map(|number| Reverse((0_u64, number))).collect();
    let mut end = 0;
    while let Some(Reverse((now, number))) = agenda.pop() {
        let session = &mut sessions[number];
        if session.held.is_empty() {
            session.seq += 1;
            let results = std::mem::take(&mut session.done);
            let step = Step { results, want: u32::MAX, ..Step::new(epoch, session.id, session.seq) };
            session.held.extend(queue.step(now / 1_000, &step).unwrap().leases);
            if !session.held.is_empty() {
                agenda.push(Reverse((now + ASKING_US, number)));
            }
            end = end.max(now);
        } else if let Some(lease) = session.held.pop_front() {
            let listing = Listing { hash: [0; 16], count: u32::MAX };
            session.done.push(UnitResult { unit: lease.unit, fence: lease.fence, end: End::Complete(listing) });
            agenda.push(Reverse((now + durations[usize::try_from(lease.unit.0).unwrap()], number)));
        }
    }
    assert_eq!(queue.remaining(), Remaining::default());
    end
}

/// The same order, each unit given to whoever is free first, nothing asked.
fn one_by_one(durations: &[u64], shards: u32) -> u64 {
    let mut free: BinaryHeap<_> = (0..shards).map(|_| Reverse(0_u64)).collect();
    for duration in durations {
        let Reverse(now) = free.pop().unwrap();
        free.push(Reverse(now + ASKING_US + duration));
    }
    free.into_iter().map(|Reverse(end)| end).max().unwrap()
}

fn bound(durations: &[u64], shards: u32) -> u64 {
    durations.iter().copied().max().unwrap().max(durations.iter().sum::<u64>() / u64::from(shards))
}

#[expect(clippy::cast_precision_loss, reason = "durations far below 2^52 us")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Mean, 95th percentile and maximum over the suites.
fn figures(name: &str, one: impl Fn(&mut Dice) -> f64) -> (f64, f64, f64) {
    let mut ratios: Vec<f64> = (0..SUITES).map(|seed| one(&mut Dice::new(seed))).collect();
    ratios.sort_by(f64::total_cmp);
    let number = u32::try_from(ratios.len()).unwrap();
    let mean = ratios.iter().sum::<f64>() / f64::from(number);
    let (p95, max) = (ratios[ratios.len() * 95 / 100], ratios[ratios.len() - 1]);
    println!("{name}: mean {mean:.3}, p95 {p95:.3}, max {max:.3}");
    (mean, p95, max)
}

fn against_the_bound(kind: Kind, shards: u32) -> impl Fn(&mut Dice) -> f64 {
    move |dice| {
        let files = suite(dice, kind);
        let manifest = planned(&files, shards, None);
        let durations = durations(&files, &manifest);
        ratio(simulate(&manifest, &durations, shards), bound(&durations, shards))
    }
}

#[test]
fn files_with_history_take_hardly_longer_than_they_must() {
    for shards in [2, 8, 32] {
        let (mean, p95, _) = figures(&format!("200 files on {shards}"), against_the_bound(FILES, shards));
        assert!(mean <= 1.03 && p95 <= 1.05, "{mean} {p95}");
    }
}

#[test]
fn single_tests_with_history_take_hardly_longer_than_they_must() {
    let (mean, p95, _) = figures("2,000 tests on 8", against_the_bound(TESTS, 8));
    assert!(mean <= 1.03 && p95 <= 1.05, "{mean} {p95}");
}

#[test]
fn files_without_history_run_in_the_frameworks_order_without_a_loss() {
    for shards in [2, 8, 32] {
        let (_, _, max) = figures(&format!("200 files on {shards}, no history, against one by one"), |dice| {
            let files = suite(dice, Kind { unknown: 1_000, ..FILES });
            let manifest = planned(&files, shards, None);
            let listed: Vec<&String> = files.iter().map(|file| &file.name).collect();
            assert_eq!(manifest.units.iter().map(|unit| &unit.file).collect::<Vec<_>>(), listed);
            let durations = durations(&files, &manifest);
            ratio(simulate(&manifest, &durations, shards), one_by_one(&durations, shards))
        });
        assert!(max <= 1.02, "{max}");
    }
}

#[test]
fn a_file_longer_than_the_others_share_is_cut_until_it_does_not_matter() {
    for shards in [4, 8, 16] {
        let of = |group: Option<fn(&str) -> &str>| {
            move |dice: &mut Dice| {
                let files = suite(dice, GIANT);
                let manifest = planned(&files, shards, group);
                let whole = planned(&files, shards, None);
                let work: u64 = durations(&files, &whole).iter().sum();
                let mut units = durations(&files, &manifest);
                let longest = files.iter().flat_map(|file| file.tests.iter().map(|(_, micros)| *micros)).max().unwrap();
                for (duration, unit) in units.iter_mut().zip(&manifest.units) {
                    if unit.kind == UnitKind::Fallback {
                        *duration = 0;
                    }
                }
                ratio(simulate(&manifest, &units, shards), longest.max(work / u64::from(shards)))
            }
        };
        let (whole, _, _) = figures(&format!("a file with 40 % of the time, whole, on {shards}, against the ideal"), of(None));
        let (cut, p95, _) = figures(&format!("a file with 40 % of the time, cut, on {shards}, against the ideal"), of(Some(|id| id)));
        assert!(cut <= 1.08 && p95 <= 1.15 && whole > 1.4, "{whole} {cut} {p95}");
    }
}
