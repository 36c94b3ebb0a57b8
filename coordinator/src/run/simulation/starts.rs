//! Which shards and frameworks a run starts, and when: never more than are of use.

use splitci_worker::protocol::VERSION;
use splitci_worker::protocol::message::{FromWorker, ToWorker};

use super::brief;
use crate::model::{Manifest, ShardId, SuiteId, Unit, UnitKind};
use crate::run::brief::SuiteBrief;
use crate::run::machine::Run;
use crate::run::words::{Effect, Input};

fn hello(shard: ShardId) -> Input {
    Input::Frame { shard, message: FromWorker::Hello { version: VERSION, pid: 1, memory_limit: None }, blob: Vec::new() }
}

/// The first session of a shard is up, and has found so many files.
fn ready(shard: ShardId, files: usize) -> Input {
    let units = (0..files).map(|n| format!("f{n}")).collect();
    let (framework, version) = ("fake".to_owned(), "1".to_owned());
    Input::Frame {
        shard,
        message: FromWorker::Ready { session: 1, framework, version, seed: 0, pid: 2, boot_ms: 1, units },
        blob: Vec::new(),
    }
}

/// How many shards are started.
fn shards_of(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::StartShard(_))).count()
}

/// The shards in which a framework is started.
fn sessions(effects: &[Effect]) -> Vec<u32> {
    let start = |effect: &Effect| match effect {
        Effect::Send { shard, message: ToWorker::Start(_), .. } => Some(shard.0),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

#[test]
fn there_are_never_more_shards_than_units() {
    let unit = |n: usize| Unit::new(SuiteId::default(), format!("f{n}"), UnitKind::File);
    for (shards, units, first, in_all) in [(1_000, 3, 16, 16), (1_000, 40, 16, 40), (8, 40, 8, 8), (4, 2, 4, 4)] {
        let mut run = Run::new(brief(shards, 1, Manifest { units: (0..units).map(unit).collect() }));
        let ended = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::EndShard(_))).count();
        let before = shards_of(&run.handle(0, Input::Begin));
        assert_eq!(before, first, "{shards} shards, {units} units");
        // The last of those that were started is the first to list.
        let last = ShardId(u32::try_from(first).expect("small"));
        run.handle(1, Input::ShardStarted { shard: last, name: "x".to_owned() });
        run.handle(2, hello(last));
        let effects = run.handle(3, ready(last, units));
        assert_eq!((before + shards_of(&effects), ended(&effects)), (in_all, 0), "{shards} shards, {units} units");
        // Those that nobody needs go as soon as they are there.
        let surplus = first.saturating_sub(units);
        let gone = (1..=surplus + 1).map(|n| ShardId(u32::try_from(first - n).expect("small"))).filter(|id| id.0 > 0);
        let gone = gone.filter(|id| ended(&run.handle(4, Input::ShardStarted { shard: *id, name: "x".to_owned() })) == 1).count();
        assert_eq!(gone, surplus, "{shards} shards, {units} units");
    }
}

/// A run whose suite took so long before, and how many shards it has started by then and then.
fn started(expected_ms: u64, predicted_ms: Option<u64>) -> [usize; 3] {
    let units = (0..20).map(|n| Unit { predicted_ms, ..Unit::new(SuiteId::default(), format!("f{n}"), UnitKind::File) }).collect();
    let mut brief = brief(8, 1, Manifest { units });
    brief.suites = vec![SuiteBrief { usage_status: None, expected_ms }];
    let mut run = Run::new(brief);
    let before = shards_of(&run.handle(0, Input::Begin));
    run.handle(1, Input::ShardStarted { shard: ShardId(1), name: "x".to_owned() });
    run.handle(2, hello(ShardId(1)));
    let planned = run.handle(3, ready(ShardId(1), 20));
    let later = (1..=2).flat_map(|second| run.handle(second * 1_000, Input::Tick)).collect::<Vec<_>>();
    [before, before + shards_of(&planned), before + shards_of(&planned) + shards_of(&later)]
}

#[test]
fn no_shard_is_started_for_less_work_than_it_takes_to_start() {
    assert_eq!(started(0, None), [8, 8, 8], "nothing is known");
    assert_eq!(started(10_000, Some(500)), [8, 8, 8], "there is much to do");
    assert_eq!(started(100, Some(5)), [1, 1, 8], "one does it all, unless it does not");
    assert_eq!(started(2_500, Some(125)), [3, 3, 8]);
    assert_eq!(started(100, Some(500)), [1, 8, 8], "there is more than there was");
    assert_eq!(started(100, None), [1, 8, 8], "files that nobody knows may hold anything");
}

#[test]
fn frameworks_start_as_many_at_a_time_as_there_are_processors() {
    let unit = |n: usize| Unit::new(SuiteId::default(), format!("f{n}"), UnitKind::File);
    let mut brief = brief(4, 1, Manifest { units: (0..20).map(unit).collect() });
    brief.boots_at_a_time = Some(2);
    let mut run = Run::new(brief);
    run.handle(0, Input::Begin);
    let mut at_once = Vec::new();
    for shard in (1..=4).map(ShardId) {
        run.handle(1, Input::ShardStarted { shard, name: "x".to_owned() });
        at_once.extend(sessions(&run.handle(2, hello(shard))));
    }
    assert_eq!(at_once, [1, 2]);
    let next = run.handle(10, ready(ShardId(2), 20));
    assert_eq!(sessions(&next), [3], "one is ready");
    let due = run.next_deadline();
    assert!(sessions(&run.handle(due - 1, Input::Tick)).is_empty());
    assert_eq!(sessions(&run.handle(due, Input::Tick)), [4], "one that takes long may be waiting for something");
    assert!(run.next_deadline() > due, "nothing waits any more");
}

#[test]
fn where_the_only_shard_cannot_be_kept_alive_the_others_are_tried() {
    let mut brief = brief(8, 1, Manifest { units: Vec::new() });
    brief.suites = vec![SuiteBrief { usage_status: None, expected_ms: 100 }];
    let mut run = Run::new(brief);
    let lost = || Input::ShardNotStarted { shard: ShardId(1), detail: String::new(), refused: false };
    assert_eq!(shards_of(&run.handle(0, Input::Begin)), 1);
    let starts: Vec<_> = (1..=3).map(|at| shards_of(&run.handle(at, lost()))).collect();
    assert_eq!(starts, [1, 1, 7]);
}
