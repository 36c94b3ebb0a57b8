//! Deployments in a simulated fleet: containers that are slow, sick, crash and flap, engines and balancers that go away, balancers that forget, migrations that fail, and
//! processes that die at any row and any effect.
//!
//! The fleet knows the truth, the deploy sees what can be observed. What must hold is checked at every instant by [`judge`], who shares no code with the brain, and at the end by
//! what really runs. A schedule is made by one seed.

pub mod fleet;
pub mod judge;
pub mod prober;
pub mod shell;

use std::collections::BTreeMap;

use splitci_coordinator::deployment::{Admin, Hold, Outcome};
use splitci_coordinator::model::environment::{
    BalancerAddress, Deadlines, Environment, Health, Migration, MigrationClass, Release, Role, Share, Side, Slot, SlotName, Strategy,
    Workers,
};

use crate::schedules::dice::Dice;
use fleet::{Fate, Nature, Trouble};
use shell::{Deaths, Theatre};

/// A release of this number.
pub fn release(number: u32) -> Release {
    Release { image: format!("sha256:{number:064x}"), settings: String::new() }
}

/// The name of a slot.
pub fn slot(at: u32) -> SlotName {
    SlotName(format!("s{at:02}"))
}

/// An environment with short times.
pub fn environment(slots: u32, balancers: u32) -> Environment {
    let place = |at| Slot {
        name: slot(at),
        engine: format!("unix:///engine/{at}"),
        port: 8_000,
        zone: None,
        side: None,
        role: Role::Web,
        publish: None,
        address: None,
    };
    let balancer = |at| BalancerAddress { endpoint: format!("unix:///balancer/{at}"), backend: "web".to_owned() };
    Environment {
        app: "shop".to_owned(),
        name: "production".to_owned(),
        slots: (0..slots).map(place).collect(),
        network: None,
        balancers: (0..balancers).map(balancer).collect(),
        strategy: Strategy::Half,
        health: Health { path: "/".to_owned(), successes: 2, interval_ms: 200, boot_ms: 4_000, min_healthy_ms: 500 },
        drain_ms: 1_500,
        grace_ms: 1_000,
        floor: Share::Percent(50),
        soak_ms: 1_500,
        errors: None,
        migration: Some(Migration { command: vec!["migrate".to_owned()], class: MigrationClass::Compatible, timeout_ms: 4_000 }),
        workers: None,
        max_failed: 0,
        freeze: Vec::new(),
        deadlines: Deadlines { step_ms: 3_000, batch_ms: 40_000, total_ms: 120_000, mix_ms: 60_000 },
    }
}

/// An environment in which release 1 serves, and has settled in.
pub fn settled(environment: Environment) -> Theatre {
    let mut theatre = Theatre::new(environment);
    theatre.allow_downtime = true;
    assert_eq!(theatre.deploy(&release(1)), Ok(Outcome::Done), "{}", theatre.story());
    assert_eq!(theatre.judge.objection, None);
    theatre.fleet.runs = 0;
    theatre.points = 0;
    theatre
}

/// What is drawn for the strategy is not what is drawn for the rest.
const ORDER: u64 = 0x5af3_107a_4000_0001;

/// Whether there are two sides is drawn by itself, too.
const SIDES: u64 = 0x1c69_b3f7_4ac4_ae35;

/// And whether there are workers.
const CREW: u64 = 0x2545_f491_4f6c_dd1d;

/// What a schedule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its seed.
    pub seed: u64,
    /// What is wrong.
    pub objection: String,
    /// The end of the journal.
    pub story: String,
}

/// How deploys ended, by exit status, and what they went through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// By exit status.
    pub ends: BTreeMap<u8, u64>,
    /// Processes that died.
    pub died: u64,
    /// Effects that were carried out.
    pub effects: u64,
    /// Requests that were answered well.
    pub answered: u64,
    /// Requests that were not: all by what broke by itself.
    pub unanswered: u64,
}

/// So many schedules, from this seed on.
pub fn soak(count: u64, first: u64) -> Result<Stats, Violation> {
    let mut stats = Stats::default();
    for seed in first..first.saturating_add(count) {
        schedule(seed, &mut stats)?;
    }
    Ok(stats)
}

/// One schedule.
pub fn schedule(seed: u64, stats: &mut Stats) -> Result<(), Violation> {
    let mut dice = Dice::new(seed);
    let slots = 1 + dice.below(6);
    let mut environment = environment(slots, 1 + u32::from(dice.chance(250)));
    environment.max_failed = u32::from(dice.chance(300));
    if dice.chance(300) {
        environment.migration = None;
    }
    if dice.chance(200) {
        environment.slots.iter_mut().zip(0_u32..).for_each(|(slot, at)| slot.zone = Some(format!("z{}", at % 2)));
    }
    order(&mut environment, &mut Dice::new(seed ^ ORDER));
    let mut two_sides = Dice::new(seed ^ SIDES);
    if two_sides.chance(200) {
        environment = sides(environment);
        environment.floor = Share::Percent(two_sides.of(&[50, 100]).expect("one of them"));
    }
    let mut crew = Dice::new(seed ^ CREW);
    if crew.chance(250) {
        environment = with_workers(environment, 1 + crew.below(3));
    }
    let mut theatre = settled(environment);
    let troubled = trouble(&mut theatre, &mut dice);
    let outcome = match theatre.deploy(&release(2)) {
        Ok(outcome) => outcome,
        Err(refusal) => panic!("a settled environment can be deployed to: {refusal}"),
    };
    let objection = theatre.judge.objection.clone().or_else(|| at_the_end(&theatre, &outcome, troubled));
    if let Some(objection) = objection {
        return Err(Violation {
            seed,
            objection: format!("{outcome:?}: {objection}"),
            story: format!("{}\n{}\n{:?}", theatre.story(), theatre.end(), theatre.fleet.befell),
        });
    }
    *stats.ends.entry(outcome.exit_code()).or_default() += 1;
    stats.died += u64::from(theatre.died);
    stats.effects += u64::from(theatre.fleet.effects);
    stats.answered += theatre.judge.requests.0;
    stats.unanswered += theatre.judge.requests.1;
    Ok(())
}

/// Which strategy, by chance, and sometimes as many have to serve as it leaves at the most. From dice of its own, so that all else about a seed stays as it is.
fn order(environment: &mut Environment, dice: &mut Dice) {
    let size = environment.size();
    let most = size - size / 2;
    let (first, batch) = (Share::Count(1 + dice.below(most)), Share::Count(1 + dice.below(most)));
    environment.strategy = match dice.below(4) {
        0 => Strategy::Rolling { batch },
        1 => Strategy::Canary { first, batch },
        _ => Strategy::Half,
    };
    if environment.strategy.mixes() && dice.chance(500) {
        environment.floor = Share::Count(size - at_once(environment));
    }
}

/// So many slots at the most are out at one time, where batches go.
fn at_once(environment: &Environment) -> u32 {
    let size = environment.size();
    match environment.strategy {
        Strategy::Half | Strategy::AllAtOnce => u32::MAX,
        Strategy::BlueGreen => 0,
        Strategy::Rolling { batch } => batch.at_a_time(size),
        Strategy::Canary { first, batch } => first.at_a_time(size).max(batch.at_a_time(size)),
    }
}

/// The same with so many workers.
pub fn with_workers(mut environment: Environment, count: u32) -> Environment {
    let (first, number) = (environment.slots[0].clone(), u32::try_from(environment.slots.len()).expect("few"));
    let worker = |at: u32| Slot {
        name: SlotName(format!("w{at:02}")),
        role: Role::Worker,
        port: 0,
        side: None,
        engine: format!("unix:///engine/{}", number + at),
        ..first.clone()
    };
    environment.slots.extend((0..count).map(worker));
    environment.workers = Some(Workers { command: Vec::new(), grace_ms: 2_000 });
    environment
}

/// The same with a twin for each slot.
pub fn sides(mut environment: Environment) -> Environment {
    let size = environment.size();
    let twin = |place: &Slot| {
        let name = SlotName(format!("{}t", place.name));
        Slot { name, side: Some(Side::Green), ..place.clone() }
    };
    let twins: Vec<_> = environment.slots.iter().map(twin).collect();
    environment.slots.iter_mut().for_each(|place| place.side = Some(Side::Blue));
    environment.slots.extend(twins);
    environment.strategy = Strategy::BlueGreen;
    debug_assert_eq!(environment.size(), size);
    environment
}

/// What goes wrong, by chance. Whether anything does.
fn trouble(theatre: &mut Theatre, dice: &mut Dice) -> bool {
    let size = u32::try_from(theatre.fleet.names.len()).expect("few");
    let mut troubled = false;
    if dice.chance(500) {
        troubled = true;
        let natures = [
            Nature::Sick,
            Nature::Crashes(150),
            Nature::Crashes(2_500),
            Nature::Flaps(300),
            Nature::Sickens(3_000),
            Nature::Good(9_000),
            Nature::Refused,
        ];
        let nature = dice.of(&natures).expect("some");
        let (all, one) = (dice.chance(300), dice.below(size));
        for at in (0..size).filter(|at| all || *at == one) {
            theatre.fleet.natures.insert((release(2).image, slot(at)), nature);
        }
    }
    let fates = [Fate::Ends(300, 0), Fate::Ends(300, 0), Fate::Ends(300, 0), Fate::Ends(200, 3), Fate::Hangs];
    theatre.fleet.fate = dice.of(&fates).expect("some");
    troubled |= theatre.fleet.fate != Fate::Ends(300, 0);
    for _ in 0..dice.below(3) {
        troubled = true;
        let place = usize::try_from(dice.below(8)).expect("small");
        let long = if dice.chance(500) { 1_000 } else { 1_000_000 };
        let kinds = [
            Trouble::EngineAway(place, long),
            Trouble::BalancerAway(place, long),
            Trouble::Reload(place),
            Trouble::Dies(place),
            Trouble::Revoked,
            Trouble::Abort,
        ];
        let at = theatre.fleet.now + u64::from(dice.below(16_000));
        let kind = kinds.get(usize::try_from(dice.below(6)).expect("small")).expect("one of them").clone();
        theatre.fleet.troubles.push((at, kind));
    }
    if dice.chance(300) {
        // Deaths and lost answers alone change no end.
        theatre.deaths = Deaths::Chance(dice.clone(), 30, 6);
    }
    if dice.chance(200) {
        theatre.fleet.lost = 50;
        theatre.dice = dice.clone();
        troubled = true;
    }
    troubled
}

/// Whether the end is what it is said to be (I17), and what may be left.
pub fn at_the_end(theatre: &Theatre, outcome: &Outcome, troubled: bool) -> Option<String> {
    let fleet = &theatre.fleet;
    let serves = |name: &SlotName, number: u32| {
        let runs = fleet.runs_at(name).or_else(|| fleet.ended_unseen(name)).is_some_and(|unit| unit.seen.release == release(number));
        runs && fleet.desks.iter().all(|desk| desk.posts.get(name).is_some_and(|post| post.seen.admin == Admin::Ready))
    };
    let count = |number: u32| fleet.names.iter().filter(|name| serves(name, number)).count();
    let all = usize::try_from(theatre.environment.size()).expect("few");
    let two_sides = theatre.environment.strategy == Strategy::BlueGreen;
    let workers = theatre.environment.of(Role::Worker);
    // Of workers all that have not failed run what is to run. Nobody knows what became of one whose engine does not answer and that nothing was asked of.
    let work = |number: u32, failed: &[SlotName]| {
        let unknown = |name: &&SlotName| number == 1 && fleet.places.get(*name).is_some_and(|place| place.away_until > fleet.now);
        let runs = |name: &&SlotName| unknown(name) || fleet.runs_at(name).is_some_and(|unit| unit.seen.release == release(number));
        workers.iter().filter(|name| !failed.contains(name)).all(|name| runs(&name))
    };
    let unserved = |failed: &[SlotName]| failed.iter().filter(|name| !workers.contains(name)).count();
    // The side that went out runs on, if nothing else happens to it, and no request goes there.
    let warm = |number: u32, other: u32| {
        let runs = fleet.names.iter().filter_map(|name| fleet.runs_at(name)).filter(|unit| unit.seen.release == release(number));
        !two_sides || count(other) == 0 && (troubled || runs.count() == all)
    };
    let out = |name: &SlotName| {
        workers.contains(name)
            || fleet
                .desks
                .iter()
                .filter(|desk| desk.away_until <= fleet.now)
                .all(|desk| desk.posts.get(name).is_some_and(|post| post.seen.admin == Admin::Maint))
    };
    // What happened by itself within the last instants is not the deploy's.
    let known: std::collections::BTreeSet<_> =
        fleet.places.values().flat_map(|place| &place.units).map(|unit| unit.seen.release.clone()).collect();
    let checks = [
        (fleet.runs <= 1, "I8: the migration ran twice"),
        (known.iter().all(|seen| *seen == release(1) || *seen == release(2)), "I9: something else runs"),
        (troubled || theatre.judge.least >= theatre.environment.size().saturating_sub(at_once(&theatre.environment)), "too many are out"),
        (troubled || *outcome == Outcome::Done, "nothing went wrong, and it is not done"),
        (*outcome != Outcome::Superseded && *outcome != Outcome::LockLost, "nobody else was there"),
    ];
    if let Some((_, objection)) = checks.iter().find(|(holds, _)| !holds) {
        return Some((*objection).to_owned());
    }
    let migrated = theatre.environment.migration.is_none() || fleet.runs == 1 && fleet.fate == Fate::Ends(300, 0);
    let holds = match outcome {
        Outcome::Done => count(2) == all && migrated && warm(1, 1) && work(2, &[]),
        Outcome::Degraded(failed) => {
            failed.len() <= 1 && count(2) + unserved(failed) == all && failed.iter().all(out) && migrated && work(2, failed)
        }
        // I22: all that can serve does.
        Outcome::RolledBack { out: failed, .. } => {
            count(1) + unserved(failed) == all && failed.iter().all(out) && warm(2, 2) && work(1, failed)
        }
        Outcome::MigrationFailed { out: failed, .. } => {
            count(1) + unserved(failed) == all && failed.iter().all(out) && fleet.runs <= 1 && work(1, failed)
        }
        // Everything is left where it is: also what serves and cannot be reached, if the others are too few.
        Outcome::Held(Hold::RollbackFailed(failed)) => !failed.is_empty() && failed.iter().all(|name| out(name) || serves(name, 2)),
        Outcome::Held(_) => true,
        Outcome::Superseded | Outcome::LockLost => false,
    };
    (!holds).then(|| "I17: it is not what it says".to_owned())
}
