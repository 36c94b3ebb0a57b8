//! The worker's brain by tables: what happened, and what is to be done about it.
//!
//! `Bench` holds a machine and a clock that only the tests move. Each step prints its effects in one line, so that a test reads as a conversation.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::protocol::driver::{Finished, FromDriver, Outcome, ToDriver, Wire as _};
use crate::protocol::message::{Limits, RunUnit, Select};

const LIMITS: Limits = Limits { boot_ms: 1000, test_ms: 500, finish_ms: 300, grace_ms: 100, test_output: 64, session_output: 64 };

struct Bench {
    machine: Machine,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { machine: Machine::new(0, 60_000), now: 0 }
    }

    /// With a session that runs and a driver that dialled.
    fn dialled() -> Self {
        let mut bench = Self::new();
        bench.order(ToWorker::Start(start(1)));
        bench.does(Input::Started);
        assert_eq!(bench.does(Input::Dialled { pid: 7, descendant: true }), "accept");
        bench
    }

    /// With a driver that listed its units.
    fn ready() -> Self {
        let mut bench = Self::dialled();
        bench.says(&[hello(), FromDriver::Units(vec!["a".into()])]);
        bench
    }

    /// With unit 3 running.
    fn running() -> Self {
        let mut bench = Self::ready();
        bench.order(run(&[3]));
        bench.says(&[declared(3, 4)]);
        bench
    }

    fn does(&mut self, input: Input<'_>) -> String {
        show(&self.machine.handle(self.now, input))
    }

    fn order(&mut self, message: ToWorker) -> String {
        self.does(Input::Frame(Box::new(Frame { message, blob: Vec::new() })))
    }

    fn says(&mut self, messages: &[FromDriver]) -> String {
        let mut bytes = Vec::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        self.does(Input::Driver(&bytes))
    }

    fn at(&mut self, now: u64) -> String {
        self.now = now;
        self.does(Input::Tick)
    }

    fn exits(&mut self, code: i32) -> String {
        self.does(Input::Exited { how: Exit::Code(code), peak_rss: 9 })
    }

    fn swept(&mut self) -> String {
        self.does(Input::Swept { strays: 0, oom: false })
    }
}

fn start(session: SessionNumber) -> Start {
    Start {
        session,
        argv: vec!["x".into()],
        cwd: None,
        env: Vec::new(),
        env_prepend: Vec::new(),
        env_remove: Vec::new(),
        files: Vec::new(),
        dump_signal: Some(10),
        limits: LIMITS,
        terminal: None,
    }
}

fn run(units: &[u32]) -> ToWorker {
    let unit = |&unit: &u32| RunUnit {
        unit,
        fence: 50 + u64::from(unit),
        name: "f".into(),
        select: Select::All,
        from: 0,
        until: None,
        careful: false,
    };
    ToWorker::Run { session: 1, units: units.iter().map(unit).collect() }
}

fn hello() -> FromDriver {
    FromDriver::Hello { version: VERSION, pid: 7, seed: 0, framework: "fake".into(), framework_version: "1".into(), appetite: 1 }
}

fn declared(unit: u32, tests: u32) -> FromDriver {
    FromDriver::Declared { unit, ids: (0..tests).map(|n| n.to_string()).collect(), selected: None }
}

fn finished(unit: u32, ordinal: u32) -> FromDriver {
    FromDriver::Finished(Finished {
        unit,
        ordinal,
        outcome: Outcome::Passed,
        micros: 1,
        file: String::new(),
        line: 0,
        message: String::new(),
        output: b"o".to_vec(),
        details: Vec::new(),
    })
}

fn unit_end(unit: u32, count: u32) -> FromDriver {
    FromDriver::UnitEnd { unit, count }
}

fn bye(count: u64) -> FromDriver {
    FromDriver::Bye { count, status: 0, errors: String::new() }
}

/// Effects as words, joined by commas.
fn show(effects: &[Effect]) -> String {
    let words: Vec<String> = effects.iter().map(word).collect();
    words.join(", ")
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Send(message, _) => sent(message),
        Effect::Start(start, _) => format!("start {}", start.session),
        Effect::Accept => "accept".into(),
        Effect::Refuse => "refuse".into(),
        Effect::Write(bytes) => told(bytes),
        Effect::Type(keys) => format!("type {}", String::from_utf8_lossy(keys)),
        Effect::Resize(size) => format!("resize {}x{}", size.columns, size.rows),
        Effect::HangUp => "hang up".into(),
        Effect::Signal(Target::Framework, number) => format!("framework {number}"),
        Effect::Signal(Target::Group, number) => format!("group {number}"),
        Effect::KillAll => "kill all".into(),
        Effect::Sweep => "sweep".into(),
        Effect::Clean => "clean".into(),
        Effect::Exit(why) => format!("exit: {why}"),
    }
}

fn told(bytes: &[u8]) -> String {
    let mut decoder = crate::protocol::driver::Decoder::default();
    decoder.push(bytes);
    match decoder.next::<ToDriver>().expect("a message") {
        Some(ToDriver::Run(units)) => format!("run {}", units[0].unit),
        Some(ToDriver::Stop) => "stop".into(),
        None => "nothing".into(),
    }
}

fn sent(message: &FromWorker) -> String {
    let mut text = String::from("> ");
    let written = match message {
        FromWorker::Hello { .. } => write!(text, "hello"),
        FromWorker::Ready { boot_ms, .. } => write!(text, "ready after {boot_ms}"),
        FromWorker::Declared { unit, fence, ids, .. } => write!(text, "declared {unit}/{fence} of {}", ids.len()),
        FromWorker::Finished { tests, .. } => {
            let places: Vec<String> = tests.iter().map(|test| format!("{}/{}:{}", test.unit, test.fence, test.ordinal)).collect();
            write!(text, "finished {}", places.join(" "))
        }
        FromWorker::UnitEnd { unit, fence, count, .. } => write!(text, "end {unit}/{fence} of {count}"),
        FromWorker::Running { at, for_ms, .. } => write!(text, "running {at:?} for {for_ms}"),
        FromWorker::Output { at, .. } => write!(text, "output at {at:?}"),
        FromWorker::Beat { .. } => write!(text, "beat"),
        FromWorker::Notice { text: notice, .. } => write!(text, "notice {notice}"),
        FromWorker::Bye { count, .. } => write!(text, "bye {count}"),
        FromWorker::Ended(ended) => write!(text, "ended {} {:?} {:?}", ended.session, ended.how, ended.stopped),
        FromWorker::Fault { text: fault, .. } => write!(text, "fault {fault}"),
    };
    written.expect("memory");
    text
}

#[test]
fn a_session_from_start_to_end() {
    let mut bench = Bench::new();
    assert_eq!(bench.order(ToWorker::Start(start(1))), "start 1");
    assert_eq!(bench.does(Input::Started), "");
    assert_eq!(bench.does(Input::Dialled { pid: 7, descendant: true }), "accept");
    bench.now = 40;
    assert_eq!(bench.says(&[hello(), FromDriver::Units(vec!["a".into()])]), "> ready after 40");
    assert_eq!(bench.order(run(&[3, 4])), "run 3");
    assert_eq!(bench.says(&[declared(3, 2), finished(3, 0)]), "> declared 3/53 of 2, > finished 3/53:0");
    assert_eq!(bench.says(&[finished(3, 1), unit_end(3, 2)]), "> finished 3/53:1, > end 3/53 of 2, run 4");
    assert_eq!(bench.order(ToWorker::Finish { session: 1 }), "");
    assert_eq!(bench.says(&[declared(4, 0), unit_end(4, 0)]), "> declared 4/54 of 0, > end 4/54 of 0, stop");
    assert_eq!(bench.says(&[bye(2)]), "> bye 2");
    assert_eq!(bench.does(Input::DriverClosed), "");
    assert_eq!(bench.exits(0), "sweep");
    assert_eq!(bench.swept(), "> ended 1 Code(0) None, clean");
    assert_eq!(bench.order(ToWorker::Start(start(2))), "start 2");
}

#[test]
fn orders_that_come_before_the_driver_wait_for_it() {
    let mut bench = Bench::dialled();
    assert_eq!(bench.order(run(&[3])), "");
    assert_eq!(bench.order(ToWorker::Finish { session: 1 }), "");
    assert_eq!(bench.says(&[hello(), FromDriver::Units(Vec::new())]), "> ready after 0, run 3");
    assert_eq!(bench.says(&[declared(3, 0), unit_end(3, 0)]), "> declared 3/53 of 0, > end 3/53 of 0, stop");
}

#[test]
fn the_first_of_each_deadline_climbs_the_whole_ladder() {
    type Arrive = fn() -> Bench;
    let finishing: Arrive = || {
        let mut bench = Bench::ready();
        bench.order(ToWorker::Finish { session: 1 });
        bench
    };
    let rows: [(Arrive, u64, &str); 3] =
        [(Bench::dialled, 1000, "BootTimeout"), (Bench::running, 500, "TestTimeout"), (finishing, 300, "FinishTimeout")];
    for (arrive, due, why) in rows {
        let mut bench = arrive();
        assert_eq!(bench.machine.next_deadline(), due, "{why}");
        assert_eq!(bench.at(due - 1), "");
        assert_eq!(bench.at(due), "framework 10");
        assert_eq!(bench.at(due + 499), "");
        assert_eq!(bench.at(due + 500), "group 15, group 18");
        assert_eq!(bench.at(due + 600), "kill all");
        assert_eq!(bench.at(due + 1600), "kill all", "again and again until it is gone");
        assert_eq!(bench.does(Input::Exited { how: Exit::Signal(9), peak_rss: 0 }), "sweep");
        assert_eq!(bench.swept(), format!("> ended 1 Signal(9) Some({why}), clean"));
    }
}

#[test]
fn a_change_of_the_slot_sets_the_test_deadline_back() {
    let mut bench = Bench::running();
    bench.now = 400;
    bench.does(Input::Slot(Slot::Test { unit: 3, ordinal: 1 }, 1));
    assert_eq!(bench.machine.next_deadline(), 900);
    bench.now = 800;
    bench.does(Input::Slot(Slot::Test { unit: 3, ordinal: 1 }, 1));
    assert_eq!(bench.machine.next_deadline(), 900);
    bench.now = 899;
    bench.does(Input::Slot(Slot::Test { unit: 3, ordinal: 2 }, 2));
    assert_eq!(bench.machine.next_deadline(), 1399);
}

#[test]
fn time_in_which_the_agent_did_not_read_is_not_the_tests() {
    let mut bench = Bench::running();
    bench.now = 499;
    bench.does(Input::Resumed);
    assert_eq!(bench.machine.next_deadline(), 999);
}

#[test]
fn a_driver_without_work_has_no_deadline_but_the_agents_silence() {
    let bench = Bench::ready();
    assert_eq!(bench.machine.next_deadline(), 60_000);
}

#[test]
fn an_abort_during_a_stack_dump_does_not_wait_for_it() {
    let mut bench = Bench::running();
    assert_eq!(bench.at(500), "framework 10");
    assert_eq!(bench.order(ToWorker::Abort { session: 1 }), "group 15, group 18");
    assert_eq!(bench.order(ToWorker::Abort { session: 1 }), "");
    bench.exits(1);
    assert_eq!(bench.swept(), "> ended 1 Code(1) Some(TestTimeout), clean", "the first reason stays the reason");
}

#[test]
fn a_session_being_ended_is_heard_but_given_nothing_more() {
    let mut bench = Bench::running();
    bench.order(run(&[4]));
    assert_eq!(bench.order(ToWorker::Abort { session: 1 }), "group 15, group 18");
    assert_eq!(bench.says(&[finished(3, 0), unit_end(3, 1)]), "> finished 3/53:0, > end 3/53 of 1");
    assert_eq!(bench.order(run(&[5])), "");
    assert_eq!(bench.order(ToWorker::Finish { session: 1 }), "");
}

#[test]
fn a_violation_is_named_and_ends_the_conversation() {
    let mut bench = Bench::running();
    let effects = bench.says(&[finished(3, 1), finished(3, 0)]);
    let named = "> finished 3/53:1, > fault cannot go on with the driver: the driver finished test 0 of unit 3 after test 1";
    assert_eq!(effects, format!("{named}, hang up, group 15, group 18"));
    assert_eq!(bench.says(&[finished(3, 2)]), "");
    assert_eq!(bench.does(Input::DriverClosed), "");
}

#[test]
fn a_closed_connection_is_forgiven_if_the_process_ends_in_time() {
    let mut bench = Bench::running();
    assert_eq!(bench.does(Input::DriverClosed), "");
    assert_eq!(bench.exits(0), "sweep");
    assert_eq!(bench.swept(), "> ended 1 Code(0) None, clean");
    let mut bench = Bench::running();
    bench.does(Input::DriverClosed);
    assert_eq!(bench.at(100), "group 15, group 18", "no stacks: it did not hang");
}

#[test]
fn strangers_are_refused_and_only_the_first_are_told_of() {
    let mut bench = Bench::dialled();
    for n in 0..5 {
        let effects = bench.does(Input::Dialled { pid: 8, descendant: n == 0 });
        assert_eq!((effects.starts_with("refuse"), effects.contains("notice")), (true, n < 3));
    }
}

#[test]
fn what_cannot_start_is_named_and_makes_room() {
    let mut bench = Bench::new();
    bench.order(ToWorker::Start(start(1)));
    assert_eq!(bench.does(Input::NotStarted("cannot".into())), "> fault cannot, > ended 1 NotStarted None");
    assert_eq!(bench.order(ToWorker::Start(start(2))), "start 2");
}

#[test]
fn a_signal_ends_the_session_first_and_a_second_one_does_not_wait() {
    let mut bench = Bench::running();
    assert_eq!(bench.does(Input::Terminate), "group 15, group 18");
    bench.exits(0);
    assert_eq!(bench.swept(), "> ended 1 Code(0) Some(Aborted), clean, exit: terminated by a signal");
    let mut bench = Bench::running();
    bench.does(Input::Terminate);
    assert_eq!(bench.does(Input::Terminate), "exit: terminated by a signal");
    assert_eq!(Bench::new().does(Input::Terminate), "exit: terminated by a signal");
}

#[test]
fn every_frame_puts_off_the_end_by_silence() {
    let mut bench = Bench::new();
    bench.now = 59_999;
    assert_eq!(bench.order(ToWorker::Beat), "> beat");
    assert_eq!(bench.at(119_998), "");
    assert_eq!(bench.at(119_999), "exit: no frame came from the agent for too long");
}

#[test]
fn raw_output_is_kept_by_what_ran_and_capped() {
    let mut bench = Bench::running();
    bench.does(Input::Slot(Slot::Test { unit: 3, ordinal: 0 }, 1));
    let print = |bytes: &'static [u8]| Input::Output { stderr: true, bytes };
    assert_eq!(bench.does(print(&[b'x'; 20])), "> output at Test { unit: 3, ordinal: 0 }");
    assert_eq!(bench.does(print(&[b'x'; 100])), "> output at Test { unit: 3, ordinal: 0 }");
    assert_eq!(bench.does(print(&[b'x'; 100])), "");
    bench.exits(0);
    let effects = bench.machine.handle(0, Input::Swept { strays: 2, oom: true });
    let last = effects.iter().find_map(|effect| if let Effect::Send(FromWorker::Ended(ended), _) = effect { Some(ended) } else { None });
    let ended = last.expect("an end");
    assert_eq!((ended.strays, ended.oom, ended.dropped_output, ended.peak_rss), (2, true, 188, 9));
}

#[derive(Debug, Clone)]
enum Chance {
    Order(ToWorker),
    Driver(Vec<FromDriver>),
    Dialled(bool),
    Closed,
    Exited,
    Slot(u32, u64),
    Pass(u64),
}

fn chance() -> impl Strategy<Value = Chance> {
    let orders = prop::sample::select(vec![
        ToWorker::Start(start(1)),
        run(&[3]),
        run(&[4, 5]),
        ToWorker::Finish { session: 1 },
        ToWorker::Abort { session: 1 },
        ToWorker::Beat,
    ]);
    let words = prop::sample::select(vec![
        hello(),
        FromDriver::Units(vec!["a".into()]),
        declared(3, 2),
        finished(3, 0),
        finished(3, 1),
        unit_end(3, 1),
        unit_end(3, 2),
        bye(0),
        bye(2),
        FromDriver::Started { unit: 3, ordinal: 0 },
    ]);
    prop_oneof![
        3 => orders.prop_map(Chance::Order),
        6 => prop::collection::vec(words, 1..4).prop_map(Chance::Driver),
        2 => any::<bool>().prop_map(Chance::Dialled),
        1 => Just(Chance::Closed),
        1 => Just(Chance::Exited),
        1 => (0..3_u32, 0..5_u64).prop_map(|(ordinal, changes)| Chance::Slot(ordinal, changes)),
        3 => (0..700_u64).prop_map(Chance::Pass),
    ]
}

proptest! {
    /// Whatever happens in whatever order: each session that was started ends, exactly once, and nothing of it comes after its end.
    #[test]
    fn every_started_session_ends_once_and_last(chances in prop::collection::vec(chance(), 0..60)) {
        let mut bench = Bench::new();
        let mut living = false;
        for chance in chances {
            let effects = match chance {
                Chance::Order(order) => {
                    let effects = bench.machine.handle(bench.now, Input::Frame(Box::new(Frame { message: order, blob: Vec::new() })));
                    if effects.iter().any(|effect| matches!(effect, Effect::Start(..))) {
                        prop_assert!(!living);
                        living = true;
                        bench.does(Input::Started);
                    }
                    effects
                }
                Chance::Driver(words) => {
                    let mut bytes = Vec::new();
                    for word in &words {
                        word.encode(&mut bytes);
                    }
                    bench.machine.handle(bench.now, Input::Driver(&bytes))
                }
                Chance::Dialled(descendant) => bench.machine.handle(bench.now, Input::Dialled { pid: 7, descendant }),
                Chance::Closed => bench.machine.handle(bench.now, Input::DriverClosed),
                Chance::Slot(ordinal, changes) => bench.machine.handle(bench.now, Input::Slot(Slot::Test { unit: 3, ordinal }, changes)),
                Chance::Pass(ms) => {
                    bench.now += ms;
                    bench.machine.handle(bench.now, Input::Tick)
                }
                Chance::Exited if living => {
                    prop_assert_eq!(bench.exits(0).matches("sweep").count(), 1);
                    let effects = bench.machine.handle(bench.now, Input::Swept { strays: 0, oom: false });
                    prop_assert_eq!(show(&effects).matches("> ended").count(), 1);
                    living = false;
                    continue;
                }
                Chance::Exited => continue,
            };
            prop_assert!(!show(&effects).contains("> ended"));
            let of_a_session = |effect: &Effect| matches!(effect, Effect::Write(_) | Effect::Signal(..) | Effect::KillAll | Effect::Sweep);
            prop_assert!(living || !effects.iter().any(of_a_session), "{}", show(&effects));
        }
        if living {
            // Left alone, a living session is given up by a deadline or waits for orders; an abort always ends it.
            bench.order(ToWorker::Abort { session: 1 });
            bench.now += LIMITS.grace_ms + 1000;
            let killed = bench.does(Input::Tick);
            prop_assert!(killed.contains("kill all"), "{killed}");
        }
    }
}
