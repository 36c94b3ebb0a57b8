//! What is read of a balancer's answers, what it is told, and in which order: held by captured answers, by answers that are bent, and by a balancer of
//! a few lines that lies in the ways in which the real one was seen to.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::server::{Admin, Check, CheckResult, CheckState, Load, Operation, Thresholds};
use super::*;

const CAPTURED: [(&str, &str); 3] = [
    // Captured from HAProxy 2.6.12; the other two are written after it: fewer columns, and more of them.
    ("2.6", include_str!("captures/observation-2.6.txt")),
    ("2.4", include_str!("captures/observation-2.4.txt")),
    ("3.0", include_str!("captures/observation-3.0.txt")),
];
const STATE: &str = include_str!("captures/state-2.6.txt");
const NO_BACKEND: &str = include_str!("captures/no-backend-2.6.txt");
const COMPLAINTS: &str = include_str!("captures/complaints-2.6.txt");

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn place(server: &str) -> Place {
    Place { backend: name("app"), server: name(server) }
}

fn read(text: &str) -> Result<Observation, AnswerError> {
    answer::observation(&answer::blocks(text, 4)?)
}

fn captured() -> Observation {
    read(CAPTURED[0].1).expect("a captured answer")
}

#[test]
fn a_backend_is_read_by_its_numbers() {
    let observation = captured();
    assert_eq!(
        (observation.process.version.as_str(), observation.process.pid, observation.process.uptime_seconds),
        ("2.6.12-1+deb12u4", 662, 3)
    );
    let rotation: Vec<_> = observation.in_rotation().map(|server| server.place.to_string()).collect();
    assert_eq!(rotation, ["app/web1", "app/web5"], "one is drained, one in maintenance, one down");
    let web1 = observation.server(&name("web1")).expect("there");
    assert_eq!((web1.address.as_str(), web1.port, web1.weight, web1.backup), ("127.0.0.1", 28101, 1, false));
    assert_eq!((web1.operation, web1.check.result, web1.check.health), (Operation::Running, CheckResult::Passed, 4));
    assert_eq!(web1.check.thresholds, Some(Thresholds { rise: 2, fall: 3 }));
    assert_eq!(web1.load, Load { in_flight: 2, queued: 0, connections: 2, rate: 2, total: 2, ..Load::default() });
    assert!(web1.is_healthy());
    let web2 = observation.server(&name("web2")).expect("there");
    assert!(web2.admin.is_drain() && !web2.admin.is_maintenance() && web2.is_healthy() && !web2.takes_requests());
    let web3 = observation.server(&name("web3")).expect("there");
    assert!(web3.admin.is_forced_maintenance() && web3.admin.is_configured_maintenance() && !web3.check.state.is_on());
    assert_eq!(web3.check.thresholds, None, "in maintenance they are not told");
    let web4 = observation.server(&name("web4")).expect("there");
    assert_eq!((web4.operation, web4.check.result, web4.check.health), (Operation::Stopped, CheckResult::Failed, 0));
    assert_eq!(web4.check.says, "L4CON Connection refused");
    assert!(observation.servers.iter().all(|server| !server.sticky));
    let stuck = read(&CAPTURED[0].1.replace("127.0.0.1:28102,,http", "127.0.0.1:28102,two,http")).expect("with a cookie");
    assert_eq!(stuck.servers.iter().filter(|server| server.sticky).map(|server| server.port).collect::<Vec<_>>(), [28102]);
    let web5 = observation.server(&name("web5")).expect("there");
    assert!(web5.backup && !web5.check.state.is_configured() && !web5.is_healthy());
}

#[test]
fn columns_are_found_by_name_in_every_version() {
    for (version, text) in CAPTURED {
        let observation = read(text).expect(version);
        assert!(observation.process.version.starts_with(version));
        let mut servers = observation.servers;
        for server in &mut servers {
            // Bits of checks that only some versions have.
            server.check.state = CheckState(server.check.state.0 & 0x1f);
        }
        assert_eq!(servers, captured().servers, "{version}");
    }
}

#[test]
fn an_answer_that_is_bent_is_refused() {
    let text = CAPTURED[0].1;
    let bend = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        read(&text.replacen(from, to, 1)).expect_err(to)
    };
    assert!(matches!(bend("1\n# be_id", "2\n# be_id"), AnswerError::Header { table: "show servers state", .. }));
    assert!(matches!(bend(" srv_admin_state", " srv_admin"), AnswerError::Column { column: "srv_admin_state", .. }));
    assert!(matches!(bend(" used_cur", " used"), AnswerError::Column { column: "used_cur", .. }));
    assert!(matches!(bend(",scur,", ",cur,"), AnswerError::Column { column: "scur", .. }));
    assert!(matches!(bend("web1 127.0.0.1 2 0 1", "web1 127.0.0.1 4 0 1"), AnswerError::Value { column: "srv_op_state", .. }));
    assert!(matches!(bend("web1 127.0.0.1 2 0 1", "web1 127.0.0.1 2 128 1"), AnswerError::Value { column: "srv_admin_state", .. }));
    assert!(matches!(bend("web1 127.0.0.1 2 0 1", "web1 127.0.0.1 2 up 1"), AnswerError::Value { column: "srv_admin_state", .. }));
    assert!(matches!(bend("2 15 3 4 6 0 0 0 - 28101", "2 15 5 4 6 0 0 0 - 28101"), AnswerError::Value { column: "srv_check_result", .. }));
    assert!(matches!(bend("web1 127.0.0.1 2 0 1", "web1 127.0.0.1"), AnswerError::Row { .. }));
    assert!(matches!(bend("app/web4 ", "app/web9 "), AnswerError::Servers { table: "show servers conn", .. }));
    assert!(matches!(bend("app,web4,", "app,web3,"), AnswerError::Servers { table: "show stat", .. }));
    assert!(matches!(bend("Pid: ", "Process: "), AnswerError::Column { column: "Pid", .. }));
    assert!(matches!(bend("Connection refused", "\"Connection refused"), AnswerError::Row { .. }));
}

#[test]
fn every_answer_of_a_line_has_to_be_there_and_whole() {
    let text = CAPTURED[0].1;
    for cut in 0..text.len() {
        assert!(read(&text[..cut]).is_err(), "cut after {cut} bytes");
    }
    assert!(read(&format!("{text}\n")).is_err());
    assert_eq!(answer::blocks("\n\n", 2), Ok(vec!["", ""]));
    assert_eq!(answer::blocks("No such server.\n\n\n", 2), Ok(vec!["No such server.\n", ""]));
    assert_eq!(answer::blocks("", 1), Err(AnswerError::Blocks { found: 0, commands: 1 }));
}

#[test]
fn what_a_balancer_complains_of_is_told_apart() {
    let commands = ["ready", "no server", "no backend", "no state", "drain"];
    let blocks = answer::blocks(COMPLAINTS, 5).expect("five answers");
    let found: Vec<_> = commands.iter().zip(blocks).filter_map(|(command, said)| Complaint::of(command, said)).collect();
    let reasons: Vec<_> = found.iter().map(|complaint| (complaint.command.as_str(), complaint.reason)).collect();
    assert_eq!(reasons, [("no server", Reason::NoServer), ("no backend", Reason::NoBackend), ("no state", Reason::Other)]);
    let reasons = answer::blocks(NO_BACKEND, 4).expect("four answers");
    let reasons: Vec<_> =
        reasons.into_iter().map(|said| (answer::is_table(said), Complaint::of("show", said).map(|said| said.reason))).collect();
    assert_eq!(reasons[..3], [(false, Some(Reason::NoBackend)); 3]);
    assert!(reasons[3].0);
    for (said, reason) in [
        ("Permission denied\n", Reason::Level),
        ("Unknown command. Please enter one of the following commands only:\n  help\n", Reason::NotKnown),
        ("Something else.\n", Reason::Other),
    ] {
        assert_eq!(Complaint::of("show", said).expect("a complaint").reason, reason);
    }
    answer::is_state(answer::blocks(STATE, 1).expect("one answer")[0]).expect("the state of all servers");
}

#[test]
fn a_name_cannot_end_a_command() {
    for good in ["app", "web-1", "a_b.c:9"] {
        assert_eq!(name(good).to_string(), good);
    }
    for bad in ["", "a b", "a;shutdown", "a\nb", "a/b", "ä", "a\\", "<<"] {
        assert!(matches!(bad.parse::<Name>(), Err(BalancerError::Name { .. })), "{bad:?}");
    }
}

#[test]
fn only_this_machine_is_spoken_to() {
    for good in ["unix:///run/haproxy/admin.sock", "tcp://127.0.0.1:9999", "tcp://127.8.0.1:1", "tcp://[::1]:9999"] {
        assert_eq!(good.parse::<Endpoint>().expect("an address").to_string(), good);
    }
    for elsewhere in ["tcp://10.0.0.1:9999", "tcp://0.0.0.0:9999", "tcp://[::]:9999", "tcp://[2001:db8::1]:9999"] {
        let error = elsewhere.parse::<Endpoint>().expect_err(elsewhere);
        assert!(matches!(error, BalancerError::Elsewhere { .. }) && error.hint().is_some());
    }
    for wrong in ["", "unix://admin.sock", "/run/admin.sock", "tcp://localhost", "tcp://127.0.0.1", "http://127.0.0.1:80"] {
        assert!(matches!(wrong.parse::<Endpoint>(), Err(BalancerError::Address { .. })), "{wrong}");
    }
    for good in ["ssh://web1/run/haproxy/admin.sock", "ssh://deploy@web1.example.com:2222/run/haproxy/admin.sock"] {
        assert_eq!(good.parse::<Endpoint>().expect("an address").to_string(), good);
    }
    for wrong in [
        "ssh://",
        "ssh://web1",
        "ssh://web1/",
        "ssh:///run/x",
        "ssh://-oProxyCommand=x/run/x",
        "ssh://a@-b/x",
        "ssh://a:b/x",
        "ssh://a/x:y",
    ] {
        assert!(matches!(wrong.parse::<Endpoint>(), Err(BalancerError::Address { .. })), "{wrong}");
    }
}

#[test]
fn a_backend_that_is_not_this_environments_is_refused_for_every_reason() {
    let mut observation = captured();
    let slots = |names: &[&str]| names.iter().map(|one| name(one)).collect::<BTreeSet<_>>();
    let refused = observation.expresses(&name("app"), &slots(&["web1", "web2", "web3", "web9"])).expect_err("it is not");
    let expected = [
        Misfit::Missing(name("web9")),
        Misfit::Foreign(name("web4")),
        Misfit::Foreign(name("web5")),
        Misfit::Unchecked(name("web5")),
        Misfit::Backup(name("web5")),
    ];
    assert_eq!(refused.misfits, expected);
    assert!(refused.hint().is_some_and(|hint| hint.contains("server web9")));
    observation.servers.truncate(4);
    let all = slots(&["web1", "web2", "web3", "web4"]);
    assert_eq!(observation.expresses(&name("app"), &all), Ok(()));
    observation.servers[0].weight = 0;
    observation.servers[1].check.thresholds = Some(Thresholds { rise: 2, fall: 1 });
    observation.servers[2].port = observation.servers[1].port;
    observation.servers[3].check.thresholds = None;
    let refused = observation.expresses(&name("app"), &all).expect_err("it is not");
    let expected = [
        Misfit::Weightless(name("web1")),
        Misfit::Hasty { server: name("web2"), fall: 1 },
        Misfit::Twins(name("web2"), name("web3")),
        Misfit::Unread(name("web4")),
    ];
    assert_eq!(refused.misfits, expected);
    observation.servers.clear();
    assert_eq!(observation.expresses(&name("app"), &all).expect_err("empty").misfits.len(), 4);
}

/// A server of a balancer: what it is told it does, and its checks tell of an instance that is well or not. What it gives out of maintenance is given,
/// and the last result stays from whoever was there before.
#[derive(Debug, Clone)]
struct Model {
    target: Target,
    well: bool,
    result: CheckResult,
    health: u32,
    thresholds: Thresholds,
    in_flight: u32,
    /// Health out of maintenance, if it is not `rise`.
    given: Option<u32>,
}

impl Model {
    fn new(rise: u32, fall: u32) -> Self {
        let thresholds = Thresholds { rise, fall };
        Self {
            target: Target::Ready,
            well: true,
            result: CheckResult::Passed,
            health: thresholds.full(),
            thresholds,
            in_flight: 0,
            given: None,
        }
    }

    fn tell(&mut self, change: &Change) {
        if self.target == Target::Maint && change.to() != Target::Maint {
            self.health = self.given.unwrap_or(self.thresholds.rise);
        }
        self.target = change.to();
    }

    fn check(&mut self) {
        let Thresholds { rise, .. } = self.thresholds;
        let up = self.health + 1;
        match (self.target == Target::Maint, self.well) {
            (true, _) => {}
            (false, true) => (self.result, self.health) = (CheckResult::Passed, if up < rise { up } else { self.thresholds.full() }),
            (false, false) => {
                let down = self.health.saturating_sub(1);
                (self.result, self.health) = (CheckResult::Failed, if down < rise { 0 } else { down });
            }
        }
    }

    fn seen(&self) -> Server {
        let (admin, state) = match self.target {
            Target::Ready => (0, 6),
            Target::Drain => (8, 6),
            Target::Maint => (1, 14),
        };
        Server {
            place: place("web1"),
            address: "127.0.0.1".to_owned(),
            port: 80,
            admin: Admin::of(admin).expect("known"),
            operation: if self.health >= self.thresholds.rise { Operation::Running } else { Operation::Stopped },
            check: Check {
                state: CheckState(state),
                result: self.result,
                health: if self.target == Target::Maint { 0 } else { self.health },
                thresholds: (self.target != Target::Maint).then_some(self.thresholds),
                says: "L7STS".to_owned(),
            },
            weight: 1,
            backup: false,
            sticky: false,
            load: Load { in_flight: self.in_flight, ..Load::default() },
        }
    }
}

/// Looks and tells until the walk ends; before each look, so many checks are made.
fn go(walk: &mut dyn Walk, model: &mut Model, checks: &[u32]) -> Step {
    for (now, checks) in checks.iter().enumerate() {
        (0..*checks).for_each(|_| model.check());
        match walk.step(now as u64, Some(&model.seen())) {
            Step::Send(change) => model.tell(&change),
            Step::Wait => {}
            end => return end,
        }
    }
    Step::Wait
}

#[test]
fn a_server_comes_in_through_maintenance_and_drain_by_a_check_that_passed() {
    let mut model = Model::new(2, 2);
    let mut entrance = Entrance::replaced(place("web1"), 100);
    assert_eq!(go(&mut entrance, &mut model, &[0, 0]), Step::Wait);
    assert_eq!(model.target, Target::Drain, "first maintenance, then drain");
    assert_eq!(go(&mut entrance, &mut model, &[0, 0, 0]), Step::Wait, "what it was given and the old result are no proof");
    assert_eq!(entrance.proof(), None);
    assert_eq!(go(&mut entrance, &mut model, &[1]), Step::Done);
    let changes = swap(vec![entrance.proof().expect("proven")], &[place("web2")]);
    let commands: Vec<_> = changes.iter().map(Change::command).collect();
    assert_eq!(commands, ["set server app/web1 state ready", "set server app/web2 state drain"]);
}

#[test]
fn a_sick_server_does_not_come_in() {
    let mut model = Model { well: false, ..Model::new(2, 2) };
    let mut entrance = Entrance::replaced(place("web1"), 20);
    let end = go(&mut entrance, &mut model, &[1; 30]);
    assert_eq!(end, Step::Halt(Halt::Sick { place: place("web1"), health: 0, says: "L7STS".to_owned() }));
    assert_eq!((model.target, entrance.proof()), (Target::Drain, None));
}

#[test]
fn who_is_full_at_once_is_not_believed() {
    for mut model in [Model { well: false, ..Model::new(2, 1) }, Model { given: Some(3), well: false, ..Model::new(2, 2) }] {
        let mut entrance = Entrance::replaced(place("web1"), 100);
        let end = go(&mut entrance, &mut model, &[0; 30]);
        assert_eq!(end, Step::Halt(Halt::Unprovable { place: place("web1") }));
        assert_ne!(model.target, Target::Ready);
    }
}

#[test]
fn a_look_that_comes_late_costs_another_round_and_no_more() {
    let mut model = Model::new(2, 2);
    let mut entrance = Entrance::replaced(place("web1"), 100);
    // The third look comes after a check already; the next time it does not.
    assert_eq!(go(&mut entrance, &mut model, &[0, 0, 1, 0, 0, 1]), Step::Done);
}

#[test]
fn who_was_never_replaced_needs_no_maintenance() {
    let mut model = Model::new(2, 2);
    assert_eq!(go(&mut Entrance::kept(place("web1"), 100), &mut model, &[0]), Step::Done);
    model.target = Target::Drain;
    assert_eq!(go(&mut Entrance::kept(place("web1"), 100), &mut model, &[0]), Step::Done);
    model.target = Target::Maint;
    let mut entrance = Entrance::kept(place("web1"), 100);
    assert_eq!(go(&mut entrance, &mut model, &[0, 0, 0]), Step::Wait, "in maintenance nobody watched it");
    assert_eq!(go(&mut entrance, &mut model, &[1]), Step::Done);
}

#[test]
fn who_forgets_a_drain_begins_again() {
    let mut model = Model::new(2, 2);
    let mut entrance = Entrance::replaced(place("web1"), 100);
    assert_eq!(go(&mut entrance, &mut model, &[0, 0, 0]), Step::Wait);
    (model.target, model.health) = (Target::Ready, 3);
    assert_eq!(go(&mut entrance, &mut model, &[0]), Step::Wait);
    assert_eq!(model.target, Target::Maint, "it was ready for a moment, by no word of ours");
    let mut exit = Exit::new(place("web1"), 100);
    model = Model { in_flight: 1, ..Model::new(2, 2) };
    go(&mut exit, &mut model, &[0, 0]);
    model.target = Target::Ready;
    assert_eq!(go(&mut exit, &mut model, &[0, 0]), Step::Wait);
    assert_eq!(model.target, Target::Drain);
}

#[test]
fn a_server_goes_out_when_nothing_is_in_flight_or_it_is_too_late() {
    let mut model = Model { in_flight: 3, ..Model::new(2, 2) };
    let mut exit = Exit::new(place("web1"), 1000);
    assert_eq!(go(&mut exit, &mut model, &[0; 5]), Step::Wait);
    assert_eq!(model.target, Target::Drain);
    model.in_flight = 0;
    assert_eq!(go(&mut exit, &mut model, &[0, 0]), Step::Done);
    assert_eq!((model.target, exit.left()), (Target::Maint, 0));
    let mut model = Model { in_flight: 3, ..Model::new(2, 2) };
    let mut exit = Exit::new(place("web1"), 4);
    assert_eq!(go(&mut exit, &mut model, &[0; 10]), Step::Done);
    assert_eq!((model.target, exit.left()), (Target::Maint, 3));
    let gone = Step::Halt(Halt::Gone { place: place("web1") });
    assert_eq!(Exit::new(place("web1"), 1).step(0, None), gone);
    assert_eq!(Entrance::kept(place("web1"), 1).step(0, None), gone);
}

proptest! {
    /// Whatever its thresholds, its checks, their times and the balancer's forgetting: a proof means that the instance that is there passed a check
    /// since it was replaced.
    #[test]
    fn a_proof_is_a_check_that_passed(
        thresholds in (1_u32..4, 1_u32..4),
        given in proptest::option::of(0_u32..6),
        rounds in proptest::collection::vec((0_u32..3, any::<bool>(), 0_u32..20), 1..60),
    ) {
        let (rise, fall) = thresholds;
        let full = rise + fall - 1;
        let mut model = Model { given: given.map(|given| given.min(full)), ..Model::new(rise, fall) };
        let mut entrance = Entrance::replaced(place("web1"), 1000);
        // The instance is replaced while it is in maintenance: nobody has checked the new one yet.
        let mut passed = false;
        for (now, (checks, well, event)) in rounds.into_iter().enumerate() {
            model.well = well;
            for _ in 0..checks {
                model.check();
                passed |= model.well && model.target != Target::Maint;
            }
            if event == 0 {
                // A reload without a state file.
                (model.target, model.health) = (Target::Ready, rise);
            }
            let seen = model.seen();
            match entrance.step(now as u64, Some(&seen)) {
                Step::Send(change) => {
                    prop_assert_ne!(change.to(), Target::Ready);
                    passed &= change.to() != Target::Maint;
                    model.tell(&change);
                }
                Step::Done => {
                    prop_assert!(passed && seen.is_healthy());
                    prop_assert!(entrance.proof().is_some());
                    break;
                }
                Step::Wait | Step::Halt(_) => prop_assert_eq!(entrance.proof(), None),
            }
        }
    }

    /// A server that is well comes in, however late it is looked at now and then.
    #[test]
    fn a_server_that_is_well_comes_in(rise in 1_u32..4, fall in 2_u32..4, late in proptest::collection::vec(any::<bool>(), 3)) {
        let mut model = Model::new(rise, fall);
        let mut entrance = Entrance::replaced(place("web1"), 1000);
        let (mut late, mut just_drained, mut end) = (late.into_iter(), false, Step::Wait);
        for now in 0..60 {
            if !just_drained || late.next().unwrap_or_default() {
                model.check();
            }
            end = entrance.step(now, Some(&model.seen()));
            just_drained = false;
            match &end {
                Step::Send(change) => {
                    just_drained = change.to() == Target::Drain;
                    model.tell(change);
                }
                Step::Wait => {}
                Step::Done | Step::Halt(_) => break,
            }
        }
        prop_assert_eq!(end, Step::Done);
    }

    /// No bytes make the reader fail in another way than by saying so.
    #[test]
    fn nothing_that_is_answered_is_more_than_an_error(text in ".{0,200}", cut in 0_usize..4000) {
        let captured = CAPTURED[0].1;
        let at = (0..=cut.min(captured.len())).rev().find(|at| captured.is_char_boundary(*at)).unwrap_or_default();
        let bent = format!("{}{text}{}", &captured[..at], &captured[at..]);
        for text in [text, bent] {
            if let Ok(observation) = read(&text) {
                prop_assert_eq!(observation.servers.len(), 5);
            }
        }
    }
}

/// Somebody at a socket who reads a line and does this.
fn somebody(says: Option<Vec<u8>>) -> (tempfile::TempDir, tokio::task::JoinSet<()>, Balancer) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bound");
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody");
        let mut line = [0_u8; 4096];
        assert!(stream.read(&mut line).await.expect("a line") > 0);
        match says {
            Some(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    });
    (directory, task, Balancer::new(Endpoint::Unix(path)).with_patience(Duration::from_millis(200)))
}

#[tokio::test]
async fn who_answers_nothing_or_nonsense_is_an_error_in_time() {
    let (_directory, _task, balancer) = somebody(None);
    assert!(matches!(balancer.observe(&name("app")).await, Err(BalancerError::Silent { .. })));
    for nonsense in [&b""[..], b"HTTP/1.0 400 Bad request\r\n\r\n", b"\n", b"\n\n\n\n", b"\xff\xfe\n\n\n\n\n"] {
        let (_directory, _task, balancer) = somebody(Some(nonsense.to_vec()));
        let error = balancer.observe(&name("app")).await.expect_err("nonsense");
        assert!(matches!(error, BalancerError::Garbled { .. } | BalancerError::Refused { .. }), "{error:?}");
        let (_directory, _task, balancer) = somebody(Some(nonsense.to_vec()));
        let told = balancer.apply(&[Change::drain(place("web1")), Change::drain(place("web2")), Change::drain(place("web3"))]).await;
        assert!(told.is_err(), "{nonsense:?}");
    }
    let (_directory, _task, balancer) = somebody(Some(vec![b'a'; 9 << 20]));
    let error = balancer.with_patience(Duration::from_secs(20)).dump_state().await.expect_err("too much");
    assert!(matches!(error, BalancerError::TooMuch { .. }), "{error:?}");
}

#[test]
fn a_socket_that_is_not_ours_is_an_error_with_a_way_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // For this thread alone.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).expect("this test needs root");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let error = runtime.block_on(Balancer::new(Endpoint::Unix(path.clone())).dump_state()).expect_err("it is not ours");
            assert!(matches!(error, BalancerError::Forbidden { .. }), "{error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("group")));
        });
    });
}

#[tokio::test]
async fn a_line_that_is_too_long_is_not_sent() {
    let balancer = Balancer::new("unix:///nowhere/admin.sock".parse().expect("an address"));
    let many: Vec<_> = (0..1000).map(|number| Change::drain(place(&format!("web{number}")))).collect();
    assert!(matches!(balancer.apply(&many).await, Err(BalancerError::TooLong { .. })));
    assert!(balancer.apply(&[]).await.is_ok());
    let error = balancer.apply(&many[..1]).await.expect_err("nobody is there");
    assert!(matches!(error, BalancerError::NoSocket { .. }) && error.hint().is_some());
}
