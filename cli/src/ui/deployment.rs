//! A deployment in words: its plan, its rows, what stands, and how it ended.

use std::fmt::Write as _;

use serde_json::{Value, json};
use splitci_coordinator::delivery::Permitted;
use splitci_coordinator::deployment::{
    Admin, ContainerState, Decision, Effect, Evidence, Journal, Outcome, Phase, Plan, Rotation, Row, Step, StepKind, Turn, World,
};
use splitci_coordinator::fleet::Held;
use splitci_coordinator::model::environment::{Environment, Role, SlotName};

use super::gate::ago;
use super::lanes::Lanes;

/// The first digits of a digest.
pub(crate) fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..12).unwrap_or(digits)
}

fn names(slots: &[SlotName]) -> String {
    slots.iter().map(|slot| slot.0.as_str()).collect::<Vec<_>>().join(" ")
}

/// A plan, step by step.
pub(crate) fn plan(plan: &Plan, world: &World) -> String {
    let course = &plan.course;
    let of = plan.environment.size();
    let mut out = format!("{} slots serve now, {} have to at any time\n", world.capacity(), course.floor);
    if let Some(network) = &plan.environment.network {
        let _written = writeln!(out, "containers join the network `{network}`, each at its slot's address, and publish no port");
    }
    if plan.steps.is_empty() {
        out += "nothing to do: the image serves at every slot\n";
    }
    if let Some(leg) = course.leg.as_ref().filter(|leg| leg.batch.is_some() && !leg.second.is_empty() && course.current.is_some()) {
        let _written = writeln!(out, "with {} in, requests meet both releases until the last is replaced", names(&leg.first));
    }
    for (number, step) in (1..).zip(&plan.steps) {
        let what = match step.kind {
            StepKind::Prefetch => "bring the image to",
            StepKind::Drain => "take out",
            StepKind::Replace => "replace and check",
            StepKind::Migrate => "run the migration, once",
            StepKind::Swap => "swap the halves, in one command",
            StepKind::Soak => "watch",
            StepKind::Ready => "let in",
        };
        let bar: String = (0..of).map(|slot| if slot < step.capacity { '■' } else { '·' }).collect();
        let slots = if step.kind == StepKind::Swap { String::new() } else { names(&step.slots) };
        // Writing into a string cannot fail.
        let _written = writeln!(out, "{number:>3}  {bar}  {} of {of} serve  {what} {slots}", step.capacity);
    }
    out
}

/// A plan for machines.
pub(crate) fn plan_json(plan: &Plan) -> String {
    format!(
        "{}\n",
        json!({
            "deploy": plan.deploy, "floor": plan.course.floor, "target": plan.course.target, "current": plan.course.current, "network": plan.environment.network,
            "steps": plan.steps, "exit": 0,
        })
    )
}

fn turned(turns: &[Turn]) -> String {
    let word = |admin| match admin {
        Admin::Ready => "in",
        Admin::Drain => "drained",
        Admin::Maint => "out",
    };
    turns.iter().map(|turn| format!("{} {}", turn.slot, word(turn.to))).collect::<Vec<_>>().join(", ")
}

/// What a row says, if it says something to people: that something is about to be done is followed by what came of it.
pub(crate) fn said(row: &Row) -> Option<String> {
    let text = match &row.step {
        Step::Decision(decision) => decided(decision),
        Step::Effect(_) if row.phase == Phase::Intent => return None,
        Step::Effect(effect) => done(effect),
    };
    Some(match &row.evidence {
        Evidence::Refused(why) => format!("{text}: refused: {why}"),
        Evidence::Failed(why) => format!("{text}: failed, and is tried again: {why}"),
        Evidence::Nothing | Evidence::Seen(_) => text,
    })
}

fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Began(course) => {
            let from = course.current.as_ref().map_or_else(|| "nothing".to_owned(), |release| short(&release.image).to_owned());
            format!("begins: {} instead of {from}, {} slots serve at any time", short(&course.target.image), course.floor)
        }
        Decision::Resumed => "goes on in another process".into(),
        Decision::AbortAsked { by } => format!("{by} wants it to end"),
        Decision::Quarantined { slot, sickness } => format!("{slot} failed and stays out: {sickness}"),
        Decision::Migrated => "the migration is done".into(),
        Decision::SoakBegan { half: 1, .. } => "the first ones serve, and are watched".into(),
        Decision::SoakBegan { .. } => "all serve, and are watched".into(),
        Decision::Soaked { half: 1 } => "the first ones are well".into(),
        Decision::Soaked { .. } => "all are well".into(),
        Decision::TurnedBack { cause, rule, .. } => format!("goes back ({}, {rule:?}): {cause}", cause.name()),
        Decision::Finished(outcome) => format!("ends: {}", outcome_said(outcome)),
    }
}

fn done(effect: &Effect) -> String {
    match effect {
        Effect::Prefetch { slot, .. } => format!("{slot} has the image"),
        Effect::Balance(turns) => turned(turns),
        Effect::Swap(turns) if turns.iter().all(|turn| turn.to == Admin::Ready) => turned(turns),
        Effect::Swap(turns) => format!("swapped: {}", turned(turns)),
        Effect::Stop { slot, .. } => format!("{slot} stopped"),
        Effect::SetAside { slot, .. } => format!("{slot} set aside"),
        Effect::TakeBack { slot, .. } => format!("{slot} taken back"),
        Effect::Create { slot, release } => format!("{slot} made from {}", short(&release.image)),
        Effect::Start { slot, .. } => format!("{slot} started"),
        Effect::Remove { slot, .. } => format!("{slot} tidied up"),
        Effect::CreateMigration { .. } => "the migration is made".into(),
        Effect::StartMigration { .. } => "the migration runs".into(),
    }
}

fn outcome_said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::Degraded(slots) => format!("done, without {}", names(slots)),
        Outcome::RolledBack { cause, out } => format!("went back: {cause}{}", without(out)),
        Outcome::MigrationFailed { status, out } => format!("the migration ended with status {status}; went back{}", without(out)),
        Outcome::Held(hold) => format!("held for a person: {hold}"),
        Outcome::Superseded => "another process goes on with it".into(),
        Outcome::LockLost => "the lock was taken away".into(),
    }
}

fn without(out: &[SlotName]) -> String {
    if out.is_empty() { String::new() } else { format!("; out: {}", names(out)) }
}

/// A row of a journal, a line.
pub(crate) fn row(row: &Row) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.time) * 1_000_000).ok()?;
    let at = at.format(time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).ok()?;
    said(row).map(|text| format!("{at}  {}  {}  {text}\n", row.deploy, row.actor))
}

/// How it ended.
pub(crate) fn ended(outcome: &Outcome, permitted: &Permitted, (environment, lanes): (&Environment, &Lanes)) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _written = writeln!(out, "{name:<11} {text}");
    };
    line("image", &permitted.promotion.reference());
    line("time", &format!("{:.1} s for {} slots", lanes.seconds(), environment.size()));
    for (slot, lines) in lanes.last_words() {
        line(&format!("{slot} said"), &lines.trim_end().replace('\n', "\n            "));
    }
    let (word, next) = match outcome {
        Outcome::Done => ("DONE", String::new()),
        Outcome::Degraded(_) => ("DEGRADED", format!("look at the slots that are out, then `splitci deploy {}`", environment.name)),
        Outcome::RolledBack { .. } => ("ROLLED BACK", "what was before serves; see what its slots said above".into()),
        Outcome::MigrationFailed { .. } => ("MIGRATION", "look at the database before anything else".into()),
        Outcome::Held(hold) => ("HELD", hold.hint().into()),
        Outcome::Superseded | Outcome::LockLost => ("LEFT", format!("see who is at work: `splitci status {}`", environment.name)),
    };
    line(word, &outcome_said(outcome));
    if !next.is_empty() {
        line("next", &next);
    }
    out
}

/// The same for machines.
pub(crate) fn ended_json(outcome: &Outcome, permitted: &Permitted) -> Value {
    json!({ "ended": outcome, "image": permitted.promotion.reference(), "said": outcome_said(outcome), "exit": outcome.exit_code() })
}

/// Where a slot stands, in a word.
pub(crate) fn rotation(rotation: Rotation) -> &'static str {
    match rotation {
        Rotation::Serving => "serves",
        Rotation::Partly => "comes",
        Rotation::Checked => "checked",
        Rotation::Draining => "drains",
        Rotation::Out => "out",
    }
}

/// An environment as it stands.
pub(crate) struct Standing {
    /// It.
    pub(crate) environment: Environment,
    /// What was seen.
    pub(crate) world: World,
    /// What does not answer.
    pub(crate) misses: Vec<String>,
    /// Its journal.
    pub(crate) journal: Journal,
    /// Who has its lock.
    pub(crate) held: Vec<Held>,
    /// Now.
    pub(crate) now_ms: u64,
}

/// A slot as it stands: image, container, rotation, requests on their way.
fn slot_of(world: &World, slot: &SlotName) -> (String, &'static str, &'static str, u32) {
    let running = world.running(slot).next();
    let image = running.map_or_else(|| "-".to_owned(), |container| short(&container.release.image).to_owned());
    let state = match (world.slot(slot), running) {
        (None, _) => "unreachable",
        (Some(_), Some(_)) => "runs",
        (Some(view), None) if view.containers.iter().any(|container| matches!(container.state, ContainerState::Exited(_))) => "ended",
        (Some(_), None) => "empty",
    };
    (image, state, rotation(world.rotation(slot)), world.in_flight(slot))
}

/// Where a slot is in the environment's network, if that has one.
fn address(environment: &Environment, slot: &SlotName) -> Option<String> {
    let slot = environment.slots.iter().find(|known| known.name == *slot)?;
    slot.address.map(|address| format!("{address}:{}", slot.port))
}

/// An environment as it stands, for people.
pub(crate) fn standing(standing: &Standing) -> String {
    let Standing { environment, world, misses, journal, held, now_ms } = standing;
    let mut out = format!("{}: {} of {} slots serve\n", environment.name, world.capacity(), environment.size());
    let workers = environment.of(Role::Worker);
    for slot in environment.names() {
        let (image, state, rotation, in_flight) = slot_of(world, &slot);
        let at = address(environment, &slot).map(|address| format!("  {address}")).unwrap_or_default();
        let does = if workers.contains(&slot) { "takes jobs".to_owned() } else { format!("{rotation:<8} {in_flight} requests{at}") };
        let _written = writeln!(out, "  {:<12} {image:<12} {state:<11} {does}", slot.0);
    }
    let mut line = |name: &str, text: &str| {
        let _written = writeln!(out, "  {name:<12} {text}");
    };
    if let Some(network) = &environment.network {
        line("network", &format!("{network}, no port is published"));
    }
    if let Some(stable) = journal.stable_course() {
        let proven = stable.proven.map(|at| format!(", tested {} ago", ago(now_ms.saturating_sub(at)))).unwrap_or_default();
        line("stable", &format!("{}{proven}", short(&stable.target.image)));
    }
    let last = journal.rows().iter().rev().find_map(|row| match &row.step {
        Step::Decision(Decision::Finished(outcome)) => Some((outcome, row.time)),
        _ => None,
    });
    if let Some((outcome, at)) = last {
        line("last", &format!("{}, {} ago", outcome_said(outcome), ago(now_ms.saturating_sub(at))));
    }
    if let Some(part) = held.first() {
        line("locked", held_by(part, *now_ms).as_str());
    }
    if let Some(deploy) = journal.unfinished() {
        line("unfinished", &format!("{deploy}: go on with `splitci resume {}`", environment.name));
    }
    for why in misses {
        line("silent", why);
    }
    out
}

/// The same for machines.
pub(crate) fn standing_json(standing: &Standing) -> Value {
    let Standing { environment, world, misses, journal, held, .. } = standing;
    let workers = environment.of(Role::Worker);
    let slots: Vec<_> = environment
        .names()
        .iter()
        .map(|slot| {
            let (image, state, rotation, in_flight) = slot_of(world, slot);
            let rotation = (!workers.contains(slot)).then_some(rotation);
            let address = address(environment, slot);
            json!({ "slot": slot, "image": image, "container": state, "rotation": rotation, "in_flight": in_flight, "address": address })
        })
        .collect();
    json!({
        "environment": environment.name, "network": environment.network, "serving": world.capacity(), "slots": slots, "stable": journal.stable(), "unfinished": journal.unfinished(),
        "locked_by": held.first().map(|part| json!({ "holder": part.holder, "deploy": part.deploy, "since_ms": part.since_ms, "message": part.message, "ended": part.ended })),
        "silent": misses,
    })
}

fn held_by(part: &Held, now_ms: u64) -> String {
    let gone = match part.ended {
        Some(true) => "; its process has ended",
        Some(false) => "; its process lives",
        None => "",
    };
    let why = if part.message.is_empty() { String::new() } else { format!(" ({})", part.message) };
    format!("by {} for {}{why}, deploy {}, fence {}{gone}", part.holder, ago(now_ms.saturating_sub(part.since_ms)), part.deploy, part.fence)
}

/// A part of a lock, a line.
pub(crate) fn held(part: &Held, now_ms: u64) -> String {
    format!("{}: held {}\n", part.engine, held_by(part, now_ms))
}
