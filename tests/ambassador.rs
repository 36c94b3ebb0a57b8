//! Ambassador mode: slots publish no port, a HAProxy in their network is the only way to them, and a switch is a matter of its servers.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use splitci_coordinator::deployment::{Cause, Outcome, Sickness};
use splitci_coordinator::docker::connect_over;
use splitci_coordinator::fleet::Fleet;
use splitci_coordinator::model::environment::{Side, Strategy};
use splitci_coordinator::rollout::{NetworkFault, RolloutError, journal};
use splitci_coordinator::tunnel::Ssh;
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::haproxy;
use splitci_tests::rig::{INSIDE, Rig, expect_all_good, image, moment};
use splitci_tests::second::SecondEngine;
use splitci_tests::sshd::Sshd;

/// How long something may take to show.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);

/// An image whose app listens at the port of networks.
fn inside(arguments: &str) -> String {
    image(&format!("{arguments} PORT={INSIDE}"))
}

/// Every slot runs this image, at its address, and nothing of it is given out.
fn expect_inside(rig: &Rig, image: &str) {
    let slots = &rig.site.environment.slots;
    assert!(rig.running().len() == slots.len() && rig.running().values().all(|other| other == image), "{:?}", rig.running());
    let network = &rig.network.as_ref().expect("a network").name;
    let mut addresses = Vec::new();
    for container in rig.of_role("instance") {
        let told: serde_json::Value = serde_json::from_str(&rig.docker_says(&format!("inspect {container}"))).expect("JSON");
        let (host, settings) = (&told[0]["HostConfig"], &told[0]["NetworkSettings"]);
        assert!(host["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty), "{host}");
        let bound = settings["Ports"].as_object().is_some_and(|ports| ports.values().any(|bound| !bound.is_null()));
        assert!(!bound && settings["Networks"].as_object().expect("networks").keys().eq([network]), "{settings}");
        addresses.extend(settings["Networks"][network]["IPAddress"].as_str().filter(|address| !address.is_empty()).map(str::to_owned));
    }
    addresses.sort();
    assert_eq!(addresses, slots.iter().map(|slot| slot.address.expect("an address").to_string()).collect::<Vec<_>>());
}

/// I2: no request is lost, whoever publishes ports.
/// I4: behind a balancer in the app's network.
/// I14: by way of the network, too.
#[tokio::test(flavor = "multi_thread")]
async fn slots_publish_nothing_and_a_healthy_release_loses_no_request() {
    let (one, two) = (inside("VERSION=1"), inside("VERSION=2"));
    let rig = Rig::networked("inside", 4).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    expect_inside(&rig, &one);
    // Nobody listens on this machine but the proxy.
    assert!(TcpStream::connect(("127.0.0.1", INSIDE)).is_err(), "something listens at the app's port");
    // What somebody who was killed left before it was started.
    rig.docker_says(&format!("create --label {} --label splitci.role=asker --label splitci.fence=0 {one}", rig.site.place.filter()));
    let load = rig.load(60);
    moment().await;
    assert_eq!(rig.deploy(&two).await.expect("deployed"), Outcome::Done);
    moment().await;
    let report = load.finish();
    expect_all_good(&report);
    let mixed = report.mixed_ms("1", "2").expect("both answered");
    println!("mixed for {mixed:.1} ms");
    // By the client's clock, on a machine that is busy: draining one half after the other would take seconds.
    assert!(mixed < 500.0, "mixed for {mixed:.1} ms");
    expect_inside(&rig, &two);
    assert_eq!(rig.deploy(&two).await.expect("nothing to do"), Outcome::Done);
    assert_eq!(journal(&rig.site).await.expect("a journal").unfinished(), None);
    expect_no_asker(&rig).await;
}

/// What asked from inside goes with whoever asked.
async fn expect_no_asker(rig: &Rig) {
    let began = Instant::now();
    while !rig.of_role("asker").is_empty() {
        assert!(began.elapsed() < SHOWS_WITHIN, "it stays: {:?}", rig.of_role("asker"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// I6: a sick release answers nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_sick_release_serves_nobody_and_the_old_one_comes_back_at_its_addresses() {
    let (one, sick) = (inside("VERSION=1"), inside("VERSION=2 UP=500"));
    let mut rig = Rig::networked("insidesick", 4).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let before = rig.of_role("instance");
    rig.expect_to_go_back(&sick, &one).await;
    let after = rig.of_role("instance");
    assert!(before.iter().all(|container| after.contains(container)), "what was stopped is started again, and not made anew");
}

/// I4: with both releases running, a switch there and back is one command each.
#[tokio::test(flavor = "multi_thread")]
async fn with_two_sides_the_old_release_stays_warm_in_the_network_and_the_way_back_starts_nothing() {
    let (one, two) = (inside("VERSION=1"), inside("VERSION=2"));
    let mut rig = Rig::networked("insidesides", 4).await;
    rig.site.environment.strategy = Strategy::BlueGreen;
    let sides = [Side::Blue, Side::Blue, Side::Green, Side::Green];
    rig.site.environment.slots.iter_mut().zip(sides).for_each(|(slot, side)| slot.side = Some(side));
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let load = rig.load(60);
    moment().await;
    assert_eq!(rig.deploy(&two).await.expect("deployed"), Outcome::Done);
    let warm = rig.running();
    assert_eq!(warm.values().filter(|image| **image == one).count(), 2, "the old ones run on: {warm:?}");
    assert_eq!(warm.values().filter(|image| **image == two).count(), 2, "{warm:?}");
    let ids = rig.containers();
    assert_eq!(rig.deploy(&one).await.expect("went back"), Outcome::Done);
    moment().await;
    expect_all_good(&load.finish());
    assert_eq!(rig.containers(), ids, "nothing was made, started or stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_from_inside_is_replaced_when_it_is_killed() {
    let (one, two) = (inside("VERSION=1"), inside("VERSION=2"));
    let mut rig = Rig::networked("insidekilled", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    expect_no_asker(&rig).await;
    // Long enough for another to come before it is over.
    rig.site.environment.health.min_healthy_ms = 5_000;
    let another = async {
        let (began, mut killed) = (Instant::now(), None);
        loop {
            let there = rig.of_role("asker");
            match (&killed, there.first()) {
                // One that was made and not started yet cannot be killed yet.
                (None, Some(asker)) => killed = docker(&format!("kill {asker}")).status.success().then(|| asker.clone()),
                (Some(killed), Some(_)) if !there.contains(killed) => return,
                _ => assert!(began.elapsed() < SHOWS_WITHIN, "killed {killed:?}, there is {there:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (outcome, ()) = tokio::join!(rig.deploy(&two), another);
    assert_eq!(outcome.expect("deployed"), Outcome::Done);
    expect_inside(&rig, &two);
}

/// The first line of what an app says that is asked from here, if it says anything.
fn answer(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    BufReader::new(stream).lines().next()?.ok()
}

/// An engine on another machine, behind `ssh`, whose networks cannot be reached from here.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_network_is_out_of_reach_is_asked_from_inside() {
    let (one, two, sick) = (inside("VERSION=1"), inside("VERSION=2"), inside("VERSION=3 UP=500"));
    let (second, sshd) = (SecondEngine::start(), Sshd::start());
    // The proxy's port is published on loopback.
    second.inside("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
    for image in [&one, &two, &sick, &haproxy::image()] {
        second.load(image);
    }
    let mut rig = Rig::networked_at("insideremote", 2, &format!("-H {}", second.address())).await;
    let ssh = Ssh { program: sshd.program(), ..Ssh::default() };
    let there = format!("ssh://{}{}", sshd.host(), second.socket().display());
    let engine = connect_over(&ssh, Some(&there), &BTreeMap::new()).await.expect("the engine there");
    rig.site.fleet = Fleet::new([("here".to_owned(), Arc::new(engine))]);
    rig.site.environment.health.boot_ms = 8_000;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let slot = SocketAddr::from((rig.site.environment.slots[0].reached_at(), INSIDE));
    // A network may have something that answers to every address; the app it is not.
    assert_ne!(answer(slot).as_deref(), Some("HTTP/1.1 200 It"), "it can be reached from here");
    assert_eq!(rig.deploy(&two).await.expect("deployed"), Outcome::Done);
    expect_inside(&rig, &two);
    let outcome = rig.deploy(&sick).await.expect("an outcome");
    assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::FirstHalf { sickness: Sickness::Status(500), .. }, .. }), "{outcome:?}");
    assert!(rig.running().values().all(|image| *image == two), "{:?}", rig.running());
    // What is asked for there, at the proxy's published port, is answered.
    let port = rig.haproxy.address().port();
    let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let told = second.inside("bash").args(["-c", &ask]).output().expect("start nsenter");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.starts_with("HTTP/1.1 200") && told.trim_end().ends_with('2'), "{told}");
}

/// I10: what a network is not fit for touches nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_does_not_fit_is_told_before_anything_is_changed() {
    let (one, two) = (inside("VERSION=1"), inside("VERSION=2"));
    let mut rig = Rig::networked("insideunfit", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let before = (rig.of_role("instance"), journal(&rig.site).await.expect("a journal").rows().len());
    let good = rig.site.environment.clone();
    let network = good.network.clone().expect("a network");

    rig.site.environment.network = Some("splitci-test-nowhere".into());
    expect_refused(&rig, &two, "E_NETWORK_MISSING").await;
    rig.site.environment = good.clone();
    rig.site.environment.slots[0].address = Some([192, 0, 2, 1].into());
    expect_refused(&rig, &two, "E_NETWORK_ADDRESS").await;
    // One that the engine gives to others, and one that somebody else has.
    let stranger = format!("{network}-stranger");
    docker_says(&format!(
        "run --detach --rm --init --name {stranger} --network {network} --ip {} {one}",
        rig.network.as_ref().expect("a network").address(77)
    ));
    rig.site.environment.slots[0].address = Some(rig.network.as_ref().expect("a network").address(77));
    let taken = expect_refused(&rig, &two, "E_NETWORK_ADDRESS").await;
    docker_says(&format!("rm --force {stranger}"));
    assert!(matches!(&taken, NetworkFault::Taken { holder, .. } if *holder == stranger), "{taken}");
    rig.site.environment.slots[0].address = Some(rig.network.as_ref().expect("a network").address(120));
    assert!(matches!(expect_refused(&rig, &two, "E_NETWORK_ADDRESS").await, NetworkFault::GivenOut { .. }));
    // A slot that was moved, and not in the balancer.
    rig.site.environment.slots[0].address = Some(rig.network.as_ref().expect("a network").address(78));
    expect_refused(&rig, &two, "E_BALANCER_ELSEWHERE").await;

    rig.site.environment = good;
    assert_eq!(before, (rig.of_role("instance"), journal(&rig.site).await.expect("a journal").rows().len()));
    assert!(rig.running().values().all(|image| *image == one));
}

async fn expect_refused(rig: &Rig, image: &str, code: &str) -> NetworkFault {
    match rig.deploy(image).await {
        Err(RolloutError::Network(fault)) if fault.code() == code => fault,
        other => panic!("{code} was expected: {other:?}"),
    }
}
