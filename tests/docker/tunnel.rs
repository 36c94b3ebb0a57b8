//! Engines and balancers on other machines, by a real SSH server: a shard's streams, a whole run, a way that breaks, a key that is not let in.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

#[expect(dead_code, reason = "shards here are on an engine that is reached otherwise")]
mod bench;
mod ground;

use std::sync::Arc;

use bench::{Bench, setup};
use ground::{environment, unique};
use splitci_coordinator::balancer::Balancer;
use splitci_coordinator::docker::{Docker, DockerError, connect_over};
use splitci_coordinator::engine::Engine;
use splitci_coordinator::engine::docker::DockerEngine;
use splitci_coordinator::model::chain;
use splitci_coordinator::model::settings::ContainerSettings;
use splitci_coordinator::tunnel::{Ssh, TunnelError};
use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::haproxy::{Haproxy, Setup};
use splitci_tests::sandbox::Sandbox;
use splitci_tests::sshd::Sshd;

fn of(sshd: &Sshd) -> Ssh {
    Ssh { program: sshd.program(), ..Ssh::default() }
}

async fn engine(sshd: &Sshd) -> Arc<Docker> {
    require();
    let address = format!("ssh://{}", sshd.host());
    Arc::new(connect_over(&of(sshd), Some(&address), &environment()).await.expect("an engine"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_on_another_machine_talks_and_leaves_nothing() {
    let sshd = Sshd::start();
    let docker = engine(&sshd).await;
    assert!(!docker.endpoint().is_local(), "its files are not ours");
    let run = unique("ssh");
    let setup = setup(&docker, "debian:bookworm-slim", &run, ContainerSettings::default(), false).await;
    let bench = Bench { engine: DockerEngine::new(docker, setup).await.expect("an engine for shards"), run };
    let mut shard = bench.start(1).await;
    assert_eq!(shard.ask("echo hello there").await, "hello there");
    shard.tell("flood 5000000").await;
    assert_eq!(shard.line().await.len(), 5_000_000);
    shard.tell("exit 3").await;
    assert_eq!(bench.engine.end(&shard.handle).await.status, Some(3));
    expect_no_containers(&bench.run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_broke_is_opened_again() {
    let mut sshd = Sshd::start();
    let docker = engine(&sshd).await;
    docker.containers_labelled("nobody.has.it").await.expect("it answers");
    sshd.cut();
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(docker.containers_labelled("nobody.has.it").await.is_ok());
        if answers.ends_with(&[true]) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it is not reached again: {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_what_ssh_says() {
    let sshd = Sshd::start();
    let address = format!("ssh://{}", sshd.host());
    let stranger = Ssh { program: sshd.strangers_program(), ..Ssh::default() };
    let error = connect_over(&stranger, Some(&address), &environment()).await.expect_err("the key is not known");
    assert!(matches!(error, DockerError::Tunnel(TunnelError::Away { .. })) && error.hint().is_some(), "{error:?}");
    assert!(chain(&error).contains("Permission denied"), "{}", chain(&error));
    let nowhere = format!("{address}/nowhere/docker.sock");
    let error = connect_over(&of(&sshd), Some(&nowhere), &environment()).await.expect_err("there is no engine");
    assert!(chain(&error).contains("open failed"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_on_another_machine_is_spoken_to() {
    let sshd = Sshd::start();
    let haproxy = Haproxy::start(&Setup::of(&[1]));
    let address = format!("ssh://{}{}", sshd.host(), haproxy.socket().display());
    let balancer = Balancer::over(address.parse().expect("an address"), &of(&sshd));
    let seen = balancer.observe(&"app".parse().expect("a name")).await.expect("it answers");
    assert_eq!(seen.servers.len(), 1);
}

#[test]
fn a_whole_run_goes_to_an_engine_on_another_machine() {
    require();
    let sshd = Sshd::start();
    let sandbox = Sandbox::empty().dockerfile();
    sandbox.write("tests/test_one.py", "def test_one():\n    pass\n");
    let host = format!("ssh://{}", sshd.host());
    let done = sandbox.splitci("run --engine docker --shards 2").env("DOCKER_HOST", &host).path_first(&sshd.bin()).run();
    done.expect_exit(0).expect_says("1 passed");
}
