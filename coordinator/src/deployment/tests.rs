//! Plans for any number of slots, and journals that were tampered with. What deploys do in a world is tested from outside, in a simulated fleet.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::Fence;
use crate::model::environment::{
    BalancerAddress, Deadlines, DeployId, Environment, Health, Migration, MigrationClass, Release, Role, Share, Side, Slot, SlotName,
    Strategy as Order,
};
use crate::model::freeze::Freeze;

fn release(image: &str) -> Release {
    Release { image: image.to_owned(), settings: String::new() }
}

fn name(at: usize) -> SlotName {
    SlotName(format!("s{at:02}"))
}

fn environment(slots: usize) -> Environment {
    let slot = |at| Slot {
        name: name(at),
        engine: "unix:///run/docker.sock".into(),
        port: 8_000,
        zone: None,
        side: None,
        role: Role::Web,
        publish: None,
        address: None,
    };
    Environment {
        app: "shop".into(),
        name: "production".into(),
        slots: (0..slots).map(slot).collect(),
        network: None,
        balancers: vec![BalancerAddress { endpoint: "unix:///run/haproxy.sock".into(), backend: "web".into() }],
        strategy: Order::Half,
        health: Health::default(),
        drain_ms: 1_000,
        grace_ms: 1_000,
        floor: Share::Percent(50),
        soak_ms: 1_000,
        errors: None,
        migration: None,
        workers: None,
        max_failed: 0,
        freeze: Vec::new(),
        deadlines: Deadlines::default(),
    }
}

fn server(admin: Admin, up: bool) -> Server {
    let health = if up { 3 } else { 0 };
    let check = if up { CheckResult::Passed } else { CheckResult::Failed };
    Server { admin, checked: true, check, health, rise: 2, fall: 2, in_flight: 0, traffic: Traffic::default() }
}

/// Slots that serve this, or that are out.
fn world(slots: &[Option<&str>]) -> World {
    let view = |image: Option<&str>| {
        let container = image.map(|image| Container {
            id: ContainerId(image.to_owned()),
            release: release(image),
            deploy: DeployId("D0".into()),
            fence: Fence(1),
            state: ContainerState::Running,
            restarts: 0,
            aside: None,
        });
        SlotView { reachable: true, containers: container.into_iter().collect(), ..SlotView::default() }
    };
    let admin = |image: Option<&str>| server(if image.is_some() { Admin::Ready } else { Admin::Maint }, image.is_some());
    let servers = (0..).zip(slots).map(|(at, image)| (name(at), admin(*image))).collect();
    World {
        slots: (0..).zip(slots).map(|(at, image)| (name(at), view(*image))).collect(),
        balancers: vec![Balancer::Servers { servers, foreign: Vec::new() }],
        migration: MigrationView::Absent,
        lock: Lock::Free,
        fence: Fence(1),
        gate: Gate::default(),
    }
}

fn request() -> Request {
    let deploy = DeployId("D1".into());
    Request {
        deploy,
        target: release("new"),
        stable: None,
        rollback: false,
        allow_downtime: false,
        fix_forward: false,
        proven: None,
        manifest: String::new(),
        newest: None,
        frozen: None,
    }
}

fn refusal(environment: &Environment, world: &World, request: &Request) -> &'static str {
    Plan::of(environment, world, request).map_or_else(|refusal| refusal.code(), |_| "")
}

#[test]
fn four_slots_are_halved_and_the_plan_says_how_many_serve() {
    let plan = Plan::of(&environment(4), &world(&[Some("old"); 4]), &request()).unwrap();
    let told: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.slots.len(), step.capacity)).collect();
    let expected = [
        (StepKind::Prefetch, 4, 4),
        (StepKind::Drain, 2, 2),
        (StepKind::Replace, 2, 2),
        (StepKind::Swap, 4, 2),
        (StepKind::Soak, 2, 2),
        (StepKind::Replace, 2, 2),
        (StepKind::Ready, 2, 4),
        (StepKind::Soak, 4, 4),
    ];
    assert_eq!(told, expected);
    assert_eq!((plan.course.floor, plan.course.current), (2, Some(release("old"))));
}

#[test]
fn all_at_once_has_one_half_and_has_to_be_asked_for() {
    let (mut four, all) = (environment(4), world(&[Some("old"); 4]));
    four.strategy = Order::AllAtOnce;
    assert_eq!(refusal(&four, &all, &request()), "E_DOWNTIME");
    let plan = Plan::of(&four, &all, &Request { allow_downtime: true, ..request() }).unwrap();
    let told: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.slots.len(), step.capacity)).collect();
    let (drain, swap) = ((StepKind::Drain, 4, 0), (StepKind::Swap, 4, 4));
    assert_eq!(told, [(StepKind::Prefetch, 4, 4), drain, (StepKind::Replace, 4, 0), swap, (StepKind::Soak, 4, 4)]);
    assert_eq!(plan.course.floor, 0);
}

/// What a strategy plans for slots that serve this.
fn planned(strategy: Order, slots: &[Option<&str>]) -> Plan {
    let environment = Environment { strategy, floor: Share::Count(1), ..environment(slots.len()) };
    Plan::of(&environment, &world(slots), &request()).unwrap()
}

#[test]
fn rolling_plans_a_batch_after_the_other_and_says_how_many_serve() {
    let plan = planned(Order::Rolling { batch: Share::Count(2) }, &[Some("old"); 5]);
    let told: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.slots.len(), step.capacity)).collect();
    let batch = |slots, capacity| [(StepKind::Drain, slots, capacity), (StepKind::Replace, slots, capacity), (StepKind::Ready, slots, 5)];
    let expected =
        [&[(StepKind::Prefetch, 5, 5)][..], &batch(2, 3), &[(StepKind::Soak, 2, 5)], &batch(2, 3), &batch(1, 4), &[(StepKind::Soak, 5, 5)]];
    assert_eq!(told, expected.concat());
}

#[test]
fn a_canary_goes_first_and_what_is_out_already_is_one_of_them() {
    let leg = planned(Order::Canary { first: Share::Count(2), batch: Share::Count(1) }, &[Some("old"), Some("old"), Some("old"), None])
        .course
        .leg
        .unwrap();
    assert_eq!((leg.first.clone(), leg.batches().count()), (vec![name(3), name(0)], 2));
    // More are out than go at a time: taking another one out would cost capacity.
    let leg = planned(Order::Rolling { batch: Share::Count(1) }, &[None, Some("old"), None, Some("new")]).course.leg.unwrap();
    assert_eq!((leg.first, leg.second), (vec![name(3), name(0), name(2)], vec![name(1)]));
}

#[test]
fn a_batch_that_breaks_the_floor_is_refused() {
    let of = |strategy, floor| {
        refusal(&Environment { strategy, floor: Share::Count(floor), ..environment(4) }, &world(&[Some("old"); 4]), &request())
    };
    assert_eq!(
        [
            of(Order::Rolling { batch: Share::Count(1) }, 3),
            of(Order::Rolling { batch: Share::Count(2) }, 3),
            of(Order::Rolling { batch: Share::Count(4) }, 1)
        ],
        ["", "E_FLOOR", "E_DOWNTIME"]
    );
    assert_eq!(of(Order::Canary { first: Share::Count(1), batch: Share::Count(2) }, 3), "E_FLOOR", "those that follow count, too");
    // A part of the slots is rounded down, and never nothing.
    let part = |percent| of(Order::Rolling { batch: Share::Percent(percent) }, 3);
    assert_eq!([part(10), part(25), part(49), part(50), part(101), part(0)], ["", "", "", "E_FLOOR", "E_ENVIRONMENT", "E_ENVIRONMENT"]);
    assert_eq!(
        [of(Order::Rolling { batch: Share::Count(0) }, 1), of(Order::Canary { first: Share::Count(0), batch: Share::Count(1) }, 1)],
        ["E_ENVIRONMENT"; 2]
    );
}

/// An environment with a twin for each slot: those with even numbers are blue.
fn sides(slots: usize) -> Environment {
    let mut environment = Environment { strategy: Order::BlueGreen, floor: Share::Percent(100), ..environment(2 * slots) };
    let both = [Side::Blue, Side::Green].into_iter().cycle();
    environment.slots.iter_mut().zip(both).for_each(|(slot, side)| slot.side = Some(side));
    environment
}

#[test]
fn of_two_sides_the_idle_one_is_replaced_and_swapped_and_the_other_runs_on() {
    let (two, blue) = (sides(2), world(&[Some("old"), None, Some("old"), None]));
    let plan = Plan::of(&two, &blue, &request()).unwrap();
    let told: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.slots.len(), step.capacity)).collect();
    assert_eq!(told, [(StepKind::Prefetch, 2, 2), (StepKind::Replace, 2, 2), (StepKind::Swap, 4, 2), (StepKind::Soak, 2, 2)]);
    let leg = plan.course.leg.unwrap();
    assert_eq!((leg.first, leg.second, plan.course.floor), (vec![name(1), name(3)], vec![name(0), name(2)], 2));
    // Nothing is there yet: blue it is. What is half there is gone on with. Where the target serves and nothing else does, nothing is to be done.
    let first = |slots: &[Option<&str>]| Plan::of(&two, &world(slots), &request()).unwrap().course.leg.map(|leg| leg.first);
    assert_eq!(first(&[None; 4]), Some(vec![name(0), name(2)]));
    assert_eq!(first(&[Some("old"), Some("new"), Some("old"), None]), Some(vec![name(1), name(3)]));
    assert_eq!(first(&[None, Some("new"), None, Some("new")]), None);
    assert_eq!(first(&[Some("old"), Some("new"), None, Some("new")]), Some(vec![name(1), name(3)]), "the old one still gets requests");
    // One slot and its twin are enough to lose nothing.
    assert_eq!(refusal(&sides(1), &world(&[Some("old"), None]), &request()), "");
}

#[test]
fn sides_are_even_and_belong_to_bluegreen_alone() {
    let mut uneven = sides(2);
    uneven.slots.pop();
    let mut sideless = sides(2);
    sideless.slots[3].side = None;
    let needless = Environment { strategy: Order::Half, ..sides(2) };
    for wrong in [uneven, sideless, needless] {
        assert_eq!(refusal(&wrong, &world(&[Some("old"); 4]), &request()), "E_ENVIRONMENT", "{:?}", wrong.faults());
    }
}

/// I14: its plan is empty.
#[test]
fn what_already_serves_the_target_needs_nothing() {
    let plan = Plan::of(&environment(3), &world(&[Some("new"); 3]), &request()).unwrap();
    assert_eq!((plan.course.leg, plan.steps), (None, vec![]));
}

#[test]
fn a_refusal_has_a_code_that_stays() {
    let (four, all) = (environment(4), world(&[Some("old"); 4]));
    assert_eq!(refusal(&environment(1), &world(&[Some("old")]), &request()), "E_DOWNTIME");
    assert_eq!(refusal(&environment(1), &world(&[Some("old")]), &Request { allow_downtime: true, ..request() }), "");
    assert_eq!(refusal(&environment(0), &world(&[]), &request()), "E_ENVIRONMENT");
    assert_eq!(refusal(&Environment { floor: Share::Count(3), ..four.clone() }, &all, &request()), "E_FLOOR");
    // P7: two are down already, and the repair has to be asked for.
    let degraded = world(&[Some("old"), None, None, None]);
    assert_eq!(refusal(&four, &degraded, &request()), "E_FLOOR");
    assert_eq!(refusal(&four, &degraded, &Request { fix_forward: true, ..request() }), "");
    let mut revoked = all.clone();
    revoked.gate.target_revoked = true;
    assert_eq!(refusal(&four, &revoked, &request()), "E_REVOKED");
    let migration = Migration { command: vec!["migrate".into()], class: MigrationClass::Breaking, timeout_ms: 1 };
    let breaking = Environment { migration: Some(migration), ..four.clone() };
    assert_eq!(refusal(&breaking, &all, &request()), "E_BREAKING_MIGRATION");
    assert_eq!(refusal(&breaking, &all, &Request { rollback: true, ..request() }), "");
    let mut away = all.clone();
    away.slots.remove(&name(2));
    assert_eq!(refusal(&four, &away, &request()), "E_ENGINE_UNREACHABLE");
    let silent = World { balancers: vec![Balancer::Unreachable], ..all };
    assert_eq!(refusal(&four, &silent, &request()), "E_BALANCER_UNREACHABLE");
}

/// T20: what is older does not go live after what is newer.
/// I20: nothing is deployed while a window is open, but the way back.
#[test]
fn p4_p5_what_is_older_is_not_deployed_after_what_is_newer_and_nothing_while_nobody_deploys() {
    let (four, all) = (environment(4), world(&[Some("old"); 4]));
    let stable = Some(release("old"));
    let of = |proven, newest| refusal(&four, &all, &Request { proven, newest, stable: stable.clone(), ..request() });
    assert_eq!(of(Some(5), Some(6)), "E_OLDER");
    assert_eq!([of(Some(6), Some(6)), of(Some(7), Some(6)), of(Some(5), None), of(None, Some(6))], [""; 4]);
    // The same release once more, on its older evidence, is the repair of what serves.
    assert_eq!(refusal(&four, &all, &Request { proven: Some(5), newest: Some(6), stable: Some(release("new")), ..request() }), "");
    let frozen = Freeze::parse("00:00-24:00 UTC").and_then(|window| window.at(1));
    assert_eq!(refusal(&four, &all, &Request { frozen, ..request() }), "E_FROZEN");
    let planned = Plan::of(&four, &all, &Request { proven: Some(7), ..request() }).unwrap();
    assert_eq!(planned.course.proven, Some(7));
}

/// I17: an end has one status, and only what is done leaves with 0.
#[test]
fn i17_every_end_has_its_exit_status() {
    let cause = || Cause::Revoked;
    let ends = [
        (Outcome::Done, 0),
        (Outcome::Superseded, 7),
        (Outcome::LockLost, 7),
        (Outcome::RolledBack { cause: cause(), out: vec![] }, 8),
        (Outcome::Held(Hold::NoWayBack(cause())), 9),
        (Outcome::Held(Hold::Balancer), 9),
        (Outcome::Degraded(vec![name(0)]), 10),
        (Outcome::MigrationFailed { status: 0, out: vec![] }, 11),
    ];
    for (end, status) in ends {
        assert_eq!(end.exit_code(), status, "{end:?}");
    }
}

#[test]
fn a_balancer_that_cannot_express_it_is_named_with_what_it_lacks() {
    let lacks = |change: fn(&mut BTreeMap<SlotName, Server>, &mut Vec<String>)| {
        let mut world = world(&[Some("old"); 2]);
        if let [Balancer::Servers { servers, foreign }] = world.balancers.as_mut_slice() {
            change(servers, foreign);
        }
        match Plan::of(&environment(2), &world, &request()) {
            Err(Refusal::BalancerCannot { place: 0, lack }) => Some(lack),
            _ => None,
        }
    };
    assert_eq!(lacks(|_, foreign| foreign.push("other".into())), Some(Lack::Foreign("other".into())));
    assert_eq!(lacks(|servers, _| servers.retain(|name, _| name.0 != "s01")), Some(Lack::NoServer(name(1))));
    assert_eq!(lacks(|servers, _| servers.get_mut(&name(0)).unwrap().checked = false), Some(Lack::NotChecked(name(0))));
}

#[test]
fn one_of_each_zone_goes_first() {
    let mut zoned = environment(6);
    for (slot, zone) in zoned.slots.iter_mut().zip(["a", "a", "a", "b", "b", "c"]) {
        slot.zone = Some(zone.into());
    }
    let leg = Plan::of(&zoned, &world(&[Some("old"); 6]), &request()).unwrap().course.leg.unwrap();
    assert_eq!(leg.first, [name(0), name(3), name(5)]);
}

#[test]
fn what_is_out_already_goes_first_and_costs_nothing() {
    let leg = Plan::of(&environment(4), &world(&[Some("old"), Some("old"), Some("old"), None]), &request()).unwrap().course.leg.unwrap();
    assert_eq!(leg.first, [name(3), name(0)]);
}

proptest! {
    /// I1: no step of any plan has fewer slots that serve than have to.
    #[test]
    fn a_plan_exists_for_any_number_and_keeps_its_floor(kinds in prop::collection::vec(0_u8..8, 1..=16), percent in 0_u32..=100, order in 0_u8..3, count in 1_u32..=6, seed: u64) {
        let images: Vec<_> = kinds.iter().map(|kind| match kind { 0 => None, 1 => Some("new"), _ => Some("old") }).collect();
        let strategy = match order {
            0 => Order::Half,
            1 => Order::Rolling { batch: Share::Count(count) },
            _ => Order::Canary { first: Share::Count(1), batch: Share::Count(count) },
        };
        let mut asked = Environment { floor: Share::Percent(percent), strategy, ..environment(kinds.len()) };
        let world = world(&images);
        let request = Request { allow_downtime: seed.is_multiple_of(2), ..request() };
        let plan = Plan::of(&asked, &world, &request);
        let turn = usize::try_from(seed % kinds.len() as u64).unwrap();
        asked.slots.rotate_left(turn);
        let turned = Plan::of(&asked, &world, &request);
        prop_assert_eq!(plan.as_ref().map(|plan| &plan.steps), turned.as_ref().map(|plan| &plan.steps), "the order of the configuration changes nothing");
        match plan {
            Ok(plan) => {
                prop_assert!(plan.steps.iter().all(|step| step.capacity >= plan.course.floor));
                if let Some(leg) = plan.course.leg {
                    let mut all: Vec<_> = leg.first.iter().chain(&leg.second).cloned().collect();
                    all.sort();
                    prop_assert_eq!(all, asked.names());
                    prop_assert!(!leg.first.is_empty());
                }
            }
            Err(refusal) => prop_assert!(["E_FLOOR", "E_DOWNTIME"].contains(&refusal.code()), "{}", refusal),
        }
    }

    #[test]
    fn full_fleets_of_two_and_more_can_always_be_halved(size in 2_usize..=16) {
        let plan = Plan::of(&environment(size), &world(&vec![Some("old"); size]), &request()).unwrap();
        let floor = u32::try_from(size / 2).unwrap();
        prop_assert!(plan.steps.iter().all(|step| step.capacity >= floor));
    }
}

fn entry(fence: u64, step: Step) -> Entry {
    let (deploy, actor) = (DeployId("D1".into()), "somebody".to_owned());
    Entry { deploy, fence: Fence(fence), actor, step, phase: Phase::Outcome, evidence: Evidence::Seen("\"\n ä".to_owned()) }
}

fn written(rows: u64) -> Journal {
    let mut journal = Journal::default();
    for at in 0..rows {
        let effect = Effect::Balance(vec![Turn { slot: name(1), to: Admin::Drain }]);
        let step = if at % 2 == 0 { Step::Decision(Decision::Resumed) } else { Step::Effect(effect) };
        journal.append(1_000 + at, entry(1 + at / 3, step)).unwrap();
    }
    journal
}

#[test]
fn a_row_has_one_form() {
    let mut journal = Journal::default();
    let line = journal.append(7, entry(1, Step::Effect(Effect::Swap(vec![Turn { slot: name(1), to: Admin::Ready }])))).unwrap();
    let expected = r#"{"seq":0,"time":7,"deploy":"D1","fence":1,"actor":"somebody","step":{"effect":{"swap":[{"slot":"s01","to":"ready"}]}},"phase":"outcome","evidence":{"seen":"\"\n ä"},"previous":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
    assert_eq!(line, expected);
    assert_eq!(Journal::parse(&format!("{line}\n")), Ok(journal.clone()));
    for other in [
        line.replace("\"seq\":0", "\"seq\": 0"),
        line.replace("{\"seq\"", "{\"more\":1,\"seq\""),
        line.replace('ä', "\\u00e4"),
        format!(" {line}"),
    ] {
        let error = Journal::parse(&format!("{other}\n")).unwrap_err();
        assert_eq!((error.seq, error.fault), (0, RowFault::Malformed), "{other}");
    }
    assert_eq!(Journal::parse(&line).unwrap_err().fault, RowFault::CutOff);
    assert_eq!(Journal::parse("\n").unwrap_err().fault, RowFault::Malformed);
}

#[test]
fn time_and_fences_do_not_go_back() {
    let mut journal = written(4);
    journal.append(3, entry(2, Step::Decision(Decision::Migrated))).unwrap();
    assert_eq!(journal.rows().last().map(|row| row.time), Some(1_003));
    let refused = journal.append(5_000, entry(1, Step::Decision(Decision::Migrated))).unwrap_err();
    assert_eq!((refused.seq, refused.fault, journal.rows().len()), (5, RowFault::OldFence, 5));
}

#[test]
fn of_several_copies_the_longest_valid_one_counts() {
    let (long, short) = (written(6).text(), written(4).text());
    let torn = long.get(..long.len() - 10).unwrap().to_owned();
    let agreed = Journal::agree(&[short.clone(), long.clone(), torn, String::new()]);
    assert_eq!((agreed.journal.rows().len(), agreed.behind, agreed.forked), (6, vec![0, 2, 3], false));
    // A copy in which a row was changed counts up to there: what follows does not hold its hash.
    let changed = long.replace("1002", "1003");
    assert_eq!(Journal::longest_prefix(&changed).0.rows().len(), 3);
    assert_eq!(Journal::agree(&[changed, short.clone()]).journal.text(), short);
    let mut other = written(4);
    other.append(2_000, entry(9, Step::Decision(Decision::Migrated))).unwrap();
    let agreed = Journal::agree(&[other.text(), long]);
    assert_eq!((agreed.journal.rows().len(), agreed.forked), (6, true));
    let none: [&str; 0] = [];
    assert_eq!(Journal::agree(&none).journal, Journal::default());
}

proptest! {
    /// I18: a byte that was changed is found.
    #[test]
    fn i18_a_byte_that_was_changed_breaks_the_chain(rows in 2_u64..8, at: prop::sample::Index, bit in 0_u8..7) {
        let journal = written(rows);
        let text = journal.text();
        prop_assert_eq!(Journal::parse(&text), Ok(journal.clone()));
        // Bytes of ASCII, so that it stays a text; the last row has nothing after it that would hold its hash.
        let bytes: Vec<_> = (0..).zip(text.bytes()).filter(|(_, byte)| byte.is_ascii()).map(|(at, _): (usize, u8)| at).collect();
        let place = bytes[at.index(bytes.len())];
        let mut changed = text.clone().into_bytes();
        changed[place] ^= 1 << bit;
        let changed = String::from_utf8(changed).unwrap();
        let (prefix, error) = Journal::longest_prefix(&changed);
        let last_row = text.trim_end().rfind('\n').unwrap();
        let in_last = place > last_row;
        prop_assert!(error.is_some() || in_last && prefix.head() != journal.head());
        prop_assert!(prefix.rows().len() as u64 <= rows);
    }
}
