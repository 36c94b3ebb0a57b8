//! The balancer's rules, each with a real HAProxy, real instances behind it, and requests at a steady rate through it. What is held: nobody who asks for
//! something during a change gets less than the answer.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use splitci_coordinator::balancer::server::CheckResult;
use splitci_coordinator::balancer::{
    Balancer, BalancerError, Change, Endpoint, Entrance, Exit, Halt, Misfit, Name, Place, Proven, Reason, Server, Walk, swap,
};
use splitci_coordinator::tunnel::{Ssh, TunnelError};
use splitci_tests::app::{App, Switches};
use splitci_tests::haproxy::{Haproxy, Setup, free_port};
use splitci_tests::load::{Connections, Load, Plan};
use tokio::task::JoinSet;

/// How often a walk looks.
const EVERY: Duration = Duration::from_millis(20);

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn place(server: &str) -> Place {
    Place { backend: name("app"), server: name(server) }
}

/// A balancer and where its servers listen. Nobody listens there yet.
struct Rig {
    haproxy: Haproxy,
    ports: Vec<u16>,
    balancer: Balancer,
}

impl Rig {
    fn of(servers: usize, change: impl FnOnce(&mut Setup)) -> Self {
        let ports: Vec<_> = (0..servers).map(|_| free_port()).collect();
        let mut setup = Setup::of(&ports);
        change(&mut setup);
        let haproxy = Haproxy::start(&setup);
        let balancer = Balancer::new(Endpoint::Unix(haproxy.socket()));
        Self { haproxy, ports, balancer }
    }

    fn app(&self, number: usize, switches: Switches) -> App {
        App::start(*self.ports.get(number - 1).expect("one of its servers"), switches)
    }

    fn load(&self, per_second: u32) -> Load {
        Load::start(Plan::new(self.haproxy.address(), per_second))
    }

    /// What it says of a server.
    async fn server(&self, server: &str) -> Server {
        let observation = self.balancer.observe(&name("app")).await.expect("it answers");
        observation.server(&name(server)).expect("it is there").clone()
    }

    /// Waits until a server is as it should be.
    async fn until(&self, server: &str, is: impl Fn(&Server) -> bool) {
        let began = Instant::now();
        loop {
            let seen = self.server(server).await;
            if is(&seen) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not come to that: {seen:?}");
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn walk<W: Walk>(&self, walks: &mut [W]) -> Result<(), BalancerError> {
        self.balancer.walk(&name("app"), walks, EVERY).await
    }

    /// Servers out, waiting so many milliseconds for what is in flight. How much was left.
    async fn take_out(&self, servers: &[&str], within_ms: u64) -> u32 {
        let mut exits: Vec<_> = servers.iter().map(|server| Exit::new(place(server), within_ms)).collect();
        self.walk(&mut exits).await.expect("they go out");
        exits.iter().map(Exit::left).sum()
    }

    /// Proofs of servers that were replaced.
    async fn prove(&self, servers: &[&str]) -> Vec<Proven> {
        let mut entrances: Vec<_> = servers.iter().map(|server| Entrance::replaced(place(server), 20_000)).collect();
        self.walk(&mut entrances).await.expect("they are well");
        entrances.iter().filter_map(Entrance::proof).collect()
    }
}

/// Looks at a balancer all the time: how few servers were in rotation.
struct Sampler {
    looks: JoinSet<usize>,
    over: Arc<AtomicBool>,
}

impl Sampler {
    fn start(rig: &Rig) -> Self {
        let (balancer, over) = (rig.balancer.clone(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let mut looks = JoinSet::new();
        looks.spawn(async move {
            let mut lowest = usize::MAX;
            while !is_over.load(Ordering::SeqCst) {
                let observation = balancer.observe(&name("app")).await.expect("it answers");
                lowest = lowest.min(observation.in_rotation().count());
                tokio::time::sleep(EVERY).await;
            }
            lowest
        });
        Self { looks, over }
    }

    async fn finish(mut self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.looks.join_next().await.expect("one task").expect("it looked until the end")
    }
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// I6: on its way in a sick server is checked before it is asked.
#[tokio::test]
async fn a_sick_server_is_never_asked_on_its_way_in() {
    let rig = Rig::of(2, |_| ());
    let _well = rig.app(1, Switches::of("v1"));
    let _sick = rig.app(2, Switches { sick: true, ..Switches::of("v2") });
    rig.until("web1", Server::is_healthy).await;
    rig.take_out(&["web2"], 1000).await;
    let load = rig.load(200);
    let mut entrance = [Entrance::replaced(place("web2"), 1500)];
    let error = rig.walk(&mut entrance).await.expect_err("it is sick");
    assert!(matches!(error, BalancerError::Halted { cause: Halt::Sick { .. }, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("app/web2")));
    let report = load.finish();
    assert!(report.failed().is_empty(), "{report}");
    assert_eq!(report.by_version().into_keys().collect::<Vec<_>>(), ["v1"]);
    assert!(report.requests.len() > 200, "{report}");
}

/// Why there is that order: past it, the same server is asked until a check fails.
#[tokio::test]
async fn a_server_made_ready_out_of_maintenance_is_asked_before_it_is_checked() {
    let rig = Rig::of(2, |setup| setup.every_server = "check inter 1s fastinter 1s rise 2 fall 2".to_owned());
    let _well = rig.app(1, Switches::of("v1"));
    let _sick = rig.app(2, Switches { sick: true, ..Switches::of("v2") });
    rig.until("web1", Server::is_healthy).await;
    rig.haproxy.tell("set server app/web2 state maint");
    let load = rig.load(200);
    for _ in 0..3 {
        rig.haproxy.tell("set server app/web2 state ready");
        rig.until("web2", |server| !server.takes_requests()).await;
        rig.haproxy.tell("set server app/web2 state maint");
    }
    let report = load.finish();
    println!("from maintenance to ready at once: {report}");
    assert!(!report.failed().is_empty(), "it is asked");
}

/// With `fall 1`, the health that is given is all that there can be, and the result is that of whoever was there before.
#[tokio::test]
async fn nobody_is_believed_whom_nobody_checked() {
    let rig = Rig::of(1, |setup| setup.every_server = "check inter 3s fastinter 3s rise 2 fall 1".to_owned());
    let well = rig.app(1, Switches::of("v1"));
    rig.until("web1", Server::is_healthy).await;
    rig.take_out(&["web1"], 1000).await;
    well.kill();
    rig.haproxy.tell("set server app/web1 state drain");
    let dead = rig.server("web1").await;
    assert!(dead.is_healthy() && dead.check.result == CheckResult::Passed, "the balancer says that the dead is well: {dead:?}");
    let error = rig.walk(&mut [Entrance::replaced(place("web1"), 20_000)]).await.expect_err("it is dead");
    assert!(matches!(error, BalancerError::Halted { cause: Halt::Unprovable { .. } | Halt::Sick { .. }, .. }), "{error}");
    let observation = rig.balancer.observe(&name("app")).await.expect("it answers");
    let refused = observation.expresses(&name("app"), &BTreeSet::from([name("web1")])).expect_err("fall 1");
    assert_eq!(refused.misfits, [Misfit::Hasty { server: name("web1"), fall: 1 }]);
}

#[tokio::test]
async fn drain_waits_for_what_is_in_flight() {
    let rig = Rig::of(2, |_| ());
    let slow = rig.app(1, Switches { slow: Duration::from_millis(700), ..Switches::of("v1") });
    let _fast = rig.app(2, Switches::of("v1"));
    rig.until("web1", Server::is_healthy).await;
    rig.until("web2", Server::is_healthy).await;
    let load = rig.load(40);
    pause(300).await;
    assert!(rig.server("web1").await.load.in_flight > 0);
    let left = rig.take_out(&["web1"], 10_000).await;
    // Whatever it still had would be cut now.
    slow.kill();
    pause(300).await;
    let report = load.finish();
    assert_eq!(left, 0);
    assert!(report.failed().is_empty(), "{report}");
    assert!(report.latency(100) >= Duration::from_millis(700), "somebody was waited for: {report}");
}

#[tokio::test]
async fn maintenance_after_a_drain_that_took_too_long_cuts_nothing() {
    let rig = Rig::of(2, |_| ());
    let slow = rig.app(1, Switches { slow: Duration::from_millis(1500), ..Switches::of("v1") });
    let _fast = rig.app(2, Switches::of("v1"));
    rig.until("web1", Server::is_healthy).await;
    rig.until("web2", Server::is_healthy).await;
    let load = rig.load(40);
    pause(200).await;
    let left = rig.take_out(&["web1"], 300).await;
    assert!(left > 0, "it works longer than that");
    // It is asked to stop, and finishes what it has.
    slow.stop();
    let report = load.finish();
    println!("{left} left in flight: {report}");
    assert!(report.failed().is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_half_goes_in_as_the_other_goes_out() {
    let rig = Rig::of(4, |_| ());
    let old = [rig.app(1, Switches::of("v1")), rig.app(2, Switches::of("v1"))];
    for server in ["web1", "web2"] {
        rig.until(server, Server::is_healthy).await;
    }
    rig.take_out(&["web3", "web4"], 1000).await;
    let load = rig.load(300);
    let sampler = Sampler::start(&rig);
    pause(200).await;
    // One of the new ones takes its time to boot.
    let new = [rig.app(3, Switches { boot: Duration::from_millis(700), ..Switches::of("v2") }), rig.app(4, Switches::of("v2"))];
    let coming = rig.prove(&["web3", "web4"]).await;
    assert_eq!(new.iter().map(App::served).sum::<u64>(), 0, "nobody asked them so far");
    rig.balancer.apply(&swap(coming, &[place("web1"), place("web2")])).await.expect("a swap");
    assert_eq!(rig.take_out(&["web1", "web2"], 10_000).await, 0);
    old.into_iter().for_each(App::kill);
    pause(500).await;
    let lowest = sampler.finish().await;
    let report = load.finish();
    let mixed = report.mixed_ms("v1", "v2").expect("both answered");
    println!("half for half in one line: mixed for {mixed:.1} ms; {report}");
    assert!(report.failed().is_empty(), "{report}");
    assert!(mixed <= 250.0, "mixed for {mixed:.1} ms");
    assert!(lowest >= 2, "never less than a half");
}

#[tokio::test]
async fn a_reload_forgets_a_drain_unless_it_loads_what_was_written_down() {
    for state_file in [false, true] {
        let mut rig = Rig::of(2, |setup| setup.state_file = state_file);
        let _apps = [rig.app(1, Switches::of("v1")), rig.app(2, Switches::of("v1"))];
        rig.until("web1", Server::is_healthy).await;
        rig.balancer.apply(&[Change::drain(place("web1")), Change::maint(place("web2"))]).await.expect("told");
        let before = rig.balancer.observe(&name("app")).await.expect("it answers");
        rig.haproxy.write_state(&rig.balancer.dump_state().await.expect("its state"));
        rig.haproxy.reload();
        let after = rig.balancer.observe(&name("app")).await.expect("it answers");
        assert_ne!(before.process.pid, after.process.pid, "whoever compares sees that there was a reload");
        let kept = |server: &str| after.server(&name(server)).map(|server| (server.admin.is_drain(), server.admin.is_maintenance()));
        let expected = if state_file { [Some((true, false)), Some((false, true))] } else { [Some((false, false)); 2] };
        assert_eq!([kept("web1"), kept("web2")], expected, "with a state file: {state_file}");
        // Either way the same words lead out.
        assert_eq!(rig.take_out(&["web1", "web2"], 5000).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_lose_no_request() {
    for connections in [Connections::Fresh, Connections::Kept] {
        let mut rig = Rig::of(2, |_| ());
        let _apps = [rig.app(1, Switches::of("v1")), rig.app(2, Switches::of("v1"))];
        rig.until("web1", Server::is_healthy).await;
        rig.until("web2", Server::is_healthy).await;
        let load = Load::start(Plan { connections, ..Plan::new(rig.haproxy.address(), 200) });
        for _ in 0..3 {
            pause(300).await;
            rig.haproxy.reload();
        }
        pause(300).await;
        let report = load.finish();
        println!("three reloads, {connections:?} connections: {report}");
        assert!(report.failed().is_empty(), "{report}");
    }
}

#[tokio::test]
async fn what_the_balancer_refuses_is_named_and_the_rest_is_done() {
    let rig = Rig::of(2, |_| ());
    let told = rig.balancer.apply(&[Change::drain(place("web1")), Change::drain(place("web7")), Change::maint(place("web2"))]).await;
    let error = told.expect_err("there is no web7");
    assert!(error.is_refused_for(Reason::NoServer) && !error.is_refused_for(Reason::NoBackend), "{error}");
    assert!(error.to_string().contains("`set server app/web7 state drain`: No such server"), "{error}");
    assert!(error.hint().is_some());
    assert!(rig.server("web1").await.admin.is_drain() && rig.server("web2").await.admin.is_maintenance());
    let error = rig.balancer.observe(&name("shop")).await.expect_err("there is no such backend");
    assert!(error.is_refused_for(Reason::NoBackend), "{error}");
    // Looking is allowed to operators, telling is not.
    let operator = Balancer::new(Endpoint::Unix(rig.haproxy.operator_socket()));
    operator.observe(&name("app")).await.expect("it looks");
    let error = operator.apply(&[Change::drain(place("web1"))]).await.expect_err("it may not");
    assert!(error.is_refused_for(Reason::Level) && error.hint().is_some_and(|hint| hint.contains("level admin")), "{error}");
    let error = rig.walk(&mut [Exit::new(place("web9"), 1000)]).await.expect_err("there is no web9");
    assert!(matches!(error, BalancerError::Halted { cause: Halt::Gone { .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_backend_of_others_or_without_checks_is_refused() {
    let slots: BTreeSet<_> = ["web1", "web2"].map(name).into();
    let rig = Rig::of(2, |_| ());
    let seen = rig.balancer.observe(&name("app")).await.expect("it answers");
    assert_eq!(seen.expresses(&name("app"), &slots), Ok(()));
    rig.haproxy.tell("set server app/web1 state maint");
    let seen = rig.balancer.observe(&name("app")).await.expect("it answers");
    assert_eq!(seen.expresses(&name("app"), &slots), Ok(()), "in maintenance, too");
    let rig = Rig::of(2, |setup| {
        setup.servers.push(("legacy".to_owned(), ([127, 0, 0, 1], free_port()).into()));
        setup.servers.retain(|(server, _)| server != "web2");
    });
    let seen = rig.balancer.observe(&name("app")).await.expect("it answers");
    let refused = seen.expresses(&name("app"), &slots).expect_err("it is not ours");
    assert_eq!(refused.misfits, [Misfit::Missing(name("web2")), Misfit::Foreign(name("legacy"))]);
    let rig = Rig::of(2, |setup| setup.every_server = "weight 10".to_owned());
    let seen = rig.balancer.observe(&name("app")).await.expect("it answers");
    let refused = seen.expresses(&name("app"), &slots).expect_err("nobody checks them");
    assert_eq!(refused.misfits, [Misfit::Unchecked(name("web1")), Misfit::Unchecked(name("web2"))]);
}

#[tokio::test]
async fn a_port_of_loopback_is_as_good_and_another_service_is_not_believed() {
    let rig = Rig::of(1, |_| ());
    let endpoint: Endpoint = format!("tcp://127.0.0.1:{}", rig.haproxy.runtime_port()).parse().expect("an address");
    Balancer::new(endpoint).apply(&[Change::drain(place("web1"))]).await.expect("told");
    assert!(rig.server("web1").await.admin.is_drain());
    // Where browsers go, somebody answers, and not in the words of a balancer.
    let web = Balancer::new(Endpoint::Tcp(rig.haproxy.address()));
    let error = web.observe(&name("app")).await.expect_err("that is no runtime socket");
    assert!(matches!(error, BalancerError::Garbled { .. }) && error.hint().is_some(), "{error}");
}

/// What stands for `ssh` and the machine that it goes to: it takes the same words, asks nobody, and leads to a socket of this machine.
const STANDS_FOR_SSH: &str = r#"#!/usr/bin/env python3
import os, signal, socket, sys, threading
words = sys.argv[1:]
assert words[-2] == "--" and "-N" in words and "BatchMode=yes" in words, words
if words[-1] == "nobody@nowhere":
    sys.exit("nobody@nowhere: Permission denied (publickey).")
here, there = words[words.index("-L") + 1].split(":")
listener = socket.socket(socket.AF_UNIX)
listener.bind(here)
listener.listen()
def pour(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    finally:
        sink.shutdown(socket.SHUT_WR)
# The first connection only asks whether the way is open.
for number in range(1000):
    if number == 2 and words[-1].startswith("once@"):
        [thread.join() for thread in threads]
        sys.exit("Connection closed by remote host.")
    near, far = listener.accept()[0], socket.socket(socket.AF_UNIX)
    try:
        far.connect(there)
    except OSError as error:
        print(f"channel 2: open failed: connect failed: {error}", file=sys.stderr, flush=True)
        near.close()
        continue
    threads = [threading.Thread(target=pour, args=ends, daemon=True) for ends in ((near, far), (far, near))]
    [thread.start() for thread in threads]
"#;

#[tokio::test]
async fn another_machine_is_spoken_to_by_ssh() {
    let mut rig = Rig::of(1, |_| ());
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("ssh");
    fs_err::write(&program, STANDS_FOR_SSH).expect("written");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("made a program");
    let ssh = Ssh { program, directory: directory.path().to_owned() };
    let over = |address: &str| Balancer::over(address.parse().expect("an address"), &ssh);
    let balancer = over(&format!("ssh://deploy@web1{}", rig.haproxy.socket().display()));
    balancer.apply(&[Change::drain(place("web1"))]).await.expect("told");
    let seen = balancer.observe(&name("app")).await.expect("it answers");
    assert!(seen.server(&name("web1")).is_some_and(|server| server.admin.is_drain()));
    let error = over("ssh://nobody@nowhere/run/admin.sock").observe(&name("app")).await.expect_err("it is not let in");
    assert!(error.to_string().contains("Permission denied (publickey)") && error.hint().is_some(), "{error}");
    // A way that broke is opened again.
    let once = over(&format!("ssh://once@web1{}", rig.haproxy.socket().display()));
    for _ in 0..3 {
        once.observe(&name("app")).await.expect("it answers");
        pause(300).await;
    }
    // The way is open, and nobody is at the end of it.
    rig.haproxy.kill();
    let error = balancer.observe(&name("app")).await.expect_err("it is dead");
    assert!(matches!(error, BalancerError::Tunnel(TunnelError::Away { .. })) && error.to_string().contains("open failed"), "{error:?}");
    let nothing = Ssh { program: "/nowhere/ssh".into(), directory: directory.path().to_owned() };
    let error =
        Balancer::over("ssh://web1/run/admin.sock".parse().expect("an address"), &nothing).dump_state().await.expect_err("no program");
    assert!(matches!(error, BalancerError::Tunnel(TunnelError::Program { .. })) && error.hint().is_some(), "{error:?}");
    drop((balancer, once));
    let left = fs_err::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 1, "only the program is left");
}

#[tokio::test]
async fn a_balancer_that_is_away_or_hangs_is_an_error_in_time() {
    let mut rig = Rig::of(1, |_| ());
    let endpoint = format!("tcp://127.0.0.1:{}", rig.haproxy.runtime_port()).parse().expect("an address");
    rig.haproxy.kill();
    // A socket without a process behind it, and a port.
    for balancer in [rig.balancer.clone(), Balancer::new(endpoint)] {
        let error = balancer.observe(&name("app")).await.expect_err("it is dead");
        assert!(matches!(error, BalancerError::Unreachable { .. }), "{error:?}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = Balancer::new(Endpoint::Unix(directory.path().join("nowhere")));
    assert!(matches!(nowhere.dump_state().await, Err(BalancerError::NoSocket { .. })));
    // It takes the line and says nothing.
    let path = directory.path().join("hanging");
    let _listener = UnixListener::bind(&path).expect("bound");
    let began = Instant::now();
    let hanging = Balancer::new(Endpoint::Unix(path)).with_patience(Duration::from_millis(300));
    let error = hanging.apply(&[Change::drain(place("web1"))]).await.expect_err("nobody answers");
    assert!(matches!(error, BalancerError::Silent { .. }) && error.to_string().contains("web1"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_load_client_tells_good_answers_from_bad_ones() {
    let app = App::start(0, Switches { slow: Duration::from_millis(30), ..Switches::of("v1") });
    let plan = Plan { most: 60, connections: Connections::Kept, ..Plan::new(([127, 0, 0, 1], app.port()).into(), 200) };
    let report = Load::start(plan.clone()).whole();
    assert!(report.failed().is_empty() && report.requests.len() == 60, "{report}");
    assert!(report.latency(50) >= Duration::from_millis(30), "{report}");
    assert_eq!((report.by_version().get("v1"), report.mixed_ms("v1", "v2")), (Some(&60), None));
    app.change(|switches| switches.sick = true);
    assert_eq!(Load::start(plan.clone()).whole().failed().len(), 60);
    app.change(|switches| *switches = Switches { rude: true, ..Switches::of("v1") });
    assert_eq!(Load::start(plan.clone()).whole().failed().len(), 60);
    app.stop();
    assert_eq!(Load::start(plan).whole().failed().len(), 60);
}

#[test]
fn the_application_is_a_program_that_finishes_what_it_has() {
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_app"));
    let mut program = command.args([&port.to_string(), "v3", "boot=100", "slow=400"]).spawn().expect("start it");
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not listen");
        std::thread::sleep(EVERY);
    }
    let load = Load::start(Plan { most: 20, ..Plan::new(([127, 0, 0, 1], port).into(), 200) });
    std::thread::sleep(Duration::from_millis(250));
    kill_process(Pid::from_child(&program), Signal::TERM).expect("it runs");
    let report = load.whole();
    assert_eq!((report.failed().len(), report.by_version().get("v3")), (0, Some(&20)), "{report}");
    assert!(program.wait().expect("it ends").success());
}

#[test]
#[should_panic(expected = "loads are for loopback alone")]
fn the_load_client_goes_nowhere_else() {
    Load::start(Plan::new(([192, 0, 2, 1], 80).into(), 1));
}
