//! A deployment whose process aborts, panics, falls asleep or has nineteen rivals; whose balancer is loaded anew or started anew; whose registry goes away. The real
//! program, containers behind a real HAProxy, requests all the time.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use splitci_coordinator::gate::statement::Answer;
use splitci_tests::desk::{Desk, MIGRATION, kind, standing};
use splitci_tests::rig::{expect_all_good, image, moment};
use splitci_tests::{Done, Running};

const WITHIN: Duration = Duration::from_mins(2);

/// Waits for it.
fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < WITHIN, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A desk at which version 1 serves, and version 2 is promoted. Both images.
async fn one_serves(name: &str, more: &str) -> (Desk, [String; 2]) {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new(name, 2).await;
    desk.write(more);
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    desk.rig.release_it(&two, Answer::Passed).await;
    (desk, [one, two])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_with_70_and_leaves_journal_and_lock_to_resume() {
    let (desk, [_, two]) = one_serves("panics", "").await;
    let load = desk.rig.load(40);
    let mut line = "deploy production";
    for place in ["intent start", "outcome swap"] {
        let died = desk.command(line).env("SPLITCI_FAULT", format!("panic@{place}")).run();
        died.expect_exit(70).expect_says("a bug in splitci").expect_says("go on with `splitci resume production`");
        assert_eq!(desk.rows().last().map(kind).as_deref(), Some(place), "{died}");
        desk.run("log production --verify").expect_exit(0);
        desk.run("lock production show").expect_exit(0).expect_says("its process has ended");
        desk.run("deploy production").expect_exit(7);
        line = "resume production";
    }
    desk.run(line).expect_exit(0);
    moment().await;
    expect_all_good(&load.finish());
    assert!(desk.serves(&two) && desk.run("lock production show").stdout.contains("nobody"));
}

/// I13: at a row of each kind, gone on with here and, every other time, from another machine.
/// I8: and its migration ran once.
#[tokio::test(flavor = "multi_thread")]
async fn i13_a_process_that_aborts_at_each_kind_of_row_is_followed_by_one_that_comes_to_the_same_end() {
    let (desk, [one, two]) = one_serves("aborts", MIGRATION).await;
    desk.run("deploy production").expect_exit(0);
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    let rows = desk.rows();
    let last = rows.last().map(|row| row["deploy"].clone()).expect("rows");
    let mut kinds: Vec<String> = Vec::new();
    for kind in rows.iter().filter(|row| row["deploy"] == last).map(kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let (end, migrated) = (standing(&desk.rig), desk.rig.migrations().len());
    assert!(kinds.len() > 20 && kinds.iter().any(|kind| kind == "outcome remove"), "{kinds:?}");

    desk.rig.release_it(&two, Answer::Passed).await;
    let load = desk.rig.load(20);
    for (number, kind) in kinds.iter().enumerate() {
        let fault = format!("abort@{kind}");
        let died = if number == 0 {
            desk.command("deploy production").env("SPLITCI_FAULT", fault).run()
        } else {
            desk.resume(number % 2 == 1, Some(&fault))
        };
        assert!(!matches!(died.code, Some(0..=70)), "it was to die at `{kind}`: {died}");
    }
    // Its end is written, and it died before it gave its lock back.
    desk.run("resume production").expect_exit(2);
    desk.run("lock production break --yes").expect_exit(0);
    expect_all_good(&load.finish());
    assert!(desk.serves(&two));
    assert_eq!((standing(&desk.rig), desk.rig.migrations().len()), (end, migrated + 1));
    desk.run("log production --verify").expect_exit(0);
    desk.run("deploy production").expect_exit(0);
}

fn is_stopped(running: &Running) -> bool {
    // Behind a name that may contain anything.
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// I12: a process that SIGSTOP held does nothing when it goes on, after its lock was broken and another machine has finished what it began.
#[tokio::test(flavor = "multi_thread")]
async fn i12_whoever_was_stopped_and_robbed_of_the_lock_does_nothing_when_it_goes_on() {
    let (desk, [_, two]) = one_serves("stopped", "").await;
    let load = desk.rig.load(40);
    let stopped = desk.command("deploy production").env("SPLITCI_FAULT", "stop@intent swap").start();
    wait_until("it stops", || is_stopped(&stopped));
    desk.run("resume production").expect_exit(7);
    desk.resume(true, None).expect_exit(0);
    let (rows, end) = (desk.rows(), standing(&desk.rig));
    stopped.signal(Signal::CONT);
    stopped.wait().expect_exit(7);
    assert_eq!((desk.rows(), standing(&desk.rig)), (rows, end), "it did nothing more");
    moment().await;
    expect_all_good(&load.finish());
    assert!(desk.serves(&two));
}

/// A hook at the switch that says that it was asked, and waits until it is let go.
const GATE: &str = "[environment.production.hooks]\nbefore_switch = [\"sh\", \"-c\", \"touch asked; until [ -e go ]; do sleep 0.1; done\"]\ntimeout = \"2m\"\n";

fn wait_at_the_gate(desk: &Desk) {
    wait_until("it is about to switch", || desk.sandbox.project().join("asked").exists());
}

fn let_go(desk: &Desk) {
    desk.sandbox.write("go", "");
}

/// I11: of twenty machines one deploys, and the others say who has the lock.
#[tokio::test(flavor = "multi_thread")]
async fn i11_of_twenty_machines_that_deploy_at_once_one_does() {
    let (desk, [_, two]) = one_serves("twenty", "").await;
    desk.write(GATE);
    let load = desk.rig.load(20);
    let start = |number: u32| desk.command_elsewhere(&format!("machine{number}"), "deploy production").start();
    let (mut left, mut locked): (Vec<Running>, Vec<Done>) = ((0..20).map(start).collect(), Vec::new());
    // Whoever got the lock waits for the others.
    wait_until("nineteen have found it locked", || {
        let (over, on) = left.drain(..).map(|mut running| (running.is_over(), running)).partition::<Vec<_>, _>(|(over, _)| *over);
        locked.extend(over.into_iter().map(|(_, running)| running.wait()));
        left = on.into_iter().map(|(_, running)| running).collect();
        locked.len() >= 19
    });
    for other in &locked {
        other.expect_exit(7).expect_says("is locked by");
    }
    let did = left.pop().expect("one is left");
    let_go(&desk);
    did.wait().expect_exit(0);
    moment().await;
    expect_all_good(&load.finish());
    let began = desk.rows().iter().filter(|row| kind(row).ends_with(" began")).count();
    assert!(desk.serves(&two) && began == 2, "{began}");
}

/// I7: a balancer that is loaded anew with its state, while a slot is out and its container is stopped, sends nothing there.
#[tokio::test(flavor = "multi_thread")]
async fn i7_a_balancer_that_is_loaded_anew_in_the_middle_of_a_deploy_loses_no_request() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let mut desk = Desk::new("reloads", 2).await;
    desk.rig.keep_state();
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    desk.rig.release_it(&two, Answer::Passed).await;
    let load = desk.rig.load(40);
    moment().await;
    let deploying = desk.command("deploy production").env("SPLITCI_FAULT", "stop@outcome stop").start();
    wait_until("a slot is out", || is_stopped(&deploying));
    let state = desk.rig.haproxy.tell("show servers state");
    desk.rig.haproxy.write_state(&state);
    desk.rig.haproxy.reload();
    moment().await;
    deploying.signal(Signal::CONT);
    deploying.wait().expect_exit(0);
    moment().await;
    expect_all_good(&load.finish());
    assert!(desk.serves(&two));
}

/// Without its state it takes every server in. At the switch both halves are well, and the deploy tells it again who is out.
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_forgets_or_is_started_anew_at_the_switch_is_told_again() {
    let (mut desk, [one, two]) = one_serves("forgets", "").await;
    desk.write(GATE);
    for (release, restarts) in [(&two, false), (&one, true)] {
        desk.rig.release_it(release, Answer::Passed).await;
        // What is on its way when a balancer is killed is lost, whoever deploys.
        let load = (!restarts).then(|| desk.rig.load(40));
        let deploying = desk.command("deploy production").start();
        wait_at_the_gate(&desk);
        if restarts {
            desk.rig.haproxy.restart();
        } else {
            desk.rig.haproxy.reload();
        }
        let load = load.unwrap_or_else(|| desk.rig.load(40));
        moment().await;
        let_go(&desk);
        deploying.wait().expect_exit(0);
        moment().await;
        expect_all_good(&load.finish());
        assert!(desk.serves(release));
        for file in ["asked", "go"] {
            fs_err::remove_file(desk.sandbox.project().join(file)).expect("it was there");
        }
    }
}

/// What was let through goes on: the images are where they are needed, and a gate that cannot be asked again has said yes.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_away_in_the_middle_of_a_deploy_stops_nothing_and_begins_nothing() {
    let (mut desk, [_, two]) = one_serves("unregistered", "").await;
    desk.write(GATE);
    let load = desk.rig.load(40);
    let deploying = desk.command("deploy production").start();
    wait_at_the_gate(&desk);
    desk.rig.registry.stop();
    let_go(&desk);
    deploying.wait().expect_exit(0);
    assert!(desk.serves(&two));
    let (rows, end) = (desk.rows(), standing(&desk.rig));
    desk.run("deploy production").expect_exit(6).expect_says("E_EVIDENCE_UNAVAILABLE");
    assert_eq!((desk.rows(), standing(&desk.rig)), (rows, end), "nothing was begun");
    expect_all_good(&load.finish());
}
