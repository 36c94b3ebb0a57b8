//! The docker engine against a real Docker: streams, ends, limits, and what is left behind. The worker is a stand-in that obeys lines.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod bench;
mod ground;

use std::time::{Duration, Instant};

use bench::{Bench, bench, bench_with, setup};
use ground::{connect, environment, unique};
use splitci_coordinator::docker::DockerError;
use splitci_coordinator::engine::docker::DockerEngine;
use splitci_coordinator::engine::{Engine, ShardSpec, WorkerBinaries};
use splitci_coordinator::model::ShardId;
use splitci_coordinator::model::settings::ContainerSettings;
use splitci_tests::engine::{Door, Manner, docker, docker_says, expect_no_containers};
use tokio::io::AsyncReadExt;

const BASE: &str = "debian:bookworm-slim";

fn plain() -> ContainerSettings {
    ContainerSettings::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_talks_over_its_streams_and_leaves_nothing() {
    let bench = bench(BASE, "talk", plain()).await;
    let mut shard = bench.start(1).await;
    assert_eq!(shard.ask("echo hello there").await, "hello there");
    shard.tell("complain something is odd").await;
    shard.tell("flood 5000000").await;
    assert_eq!(shard.line().await.len(), 5_000_000);
    assert_eq!(shard.ask("env SPLITCI_RUN_DIR").await, "/.splitci-run");
    assert_eq!(shard.ask("write /.splitci-run/x").await, "written");
    assert!(shard.ask("write /.splitci/worker").await.contains("Read-only file system"));
    shard.tell("exit 3").await;
    let end = bench.engine.end(&shard.handle).await;
    assert_eq!((end.status, end.oom, end.detail.as_str()), (Some(3), false, "something is odd"));
    expect_no_containers(&bench.run);
    assert_eq!(bench.engine.end(&shard.handle).await, end, "asking twice changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_streams_ends_the_shard() {
    let bench = bench(BASE, "drop", plain()).await;
    let shard = bench.start(1).await;
    drop((shard.input, shard.output));
    let end = bench.engine.end(&shard.handle).await;
    assert_eq!(end.status, Some(0));
    expect_no_containers(&bench.run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_does_not_listen_is_killed() {
    let bench = bench(BASE, "hang", plain()).await;
    let mut shard = bench.start(1).await;
    shard.tell("hang").await;
    let started = Instant::now();
    let end = bench.engine.end(&shard.handle).await;
    assert_eq!((end.status, end.oom), (Some(137), false));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    expect_no_containers(&bench.run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_from_outside_ends_its_streams() {
    let bench = bench(BASE, "outside", plain()).await;
    let mut shard = bench.start(1).await;
    docker_says(&format!("kill {}", shard.handle.name));
    let mut rest = Vec::new();
    let read = shard.output.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the stream ends").expect("readable");
    let end = bench.engine.end(&shard.handle).await;
    assert_eq!((end.status, end.oom), (Some(137), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_without_memory_says_so() {
    let bench = bench(BASE, "oom", ContainerSettings { memory: Some(32 << 20), ..plain() }).await;
    let mut shard = bench.start(1).await;
    shard.tell("eat 200000000").await;
    let mut rest = Vec::new();
    let _cut_off = shard.output.read_to_end(&mut rest).await;
    let end = bench.engine.end(&shard.handle).await;
    assert_eq!((end.status, end.oom), (Some(137), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_hardening_arrive() {
    let settings = ContainerSettings {
        memory: Some(64 << 20),
        cpus: Some(0.5),
        shm_size: Some(1 << 20),
        add_hosts: vec!["db.test:10.1.2.3".into()],
        network: Some("none".into()),
        read_only: true,
        pids_limit: Some(50),
        user: Some("1234:1234".into()),
        workdir: Some("/usr".into()),
        ..plain()
    };
    let bench = bench(BASE, "limits", settings).await;
    let mut shard = bench.start(1).await;
    assert!(shard.ask("write /x").await.contains("Read-only file system"));
    assert_eq!(shard.ask("write /.splitci-run/x").await, "written");
    assert_eq!(shard.ask("cwd").await, "/usr");
    let status = shard.ask("read /proc/self/status").await;
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Uid:\t1234\t1234"), "{status}");
    assert!(shard.ask("read /etc/hosts").await.contains("10.1.2.3\tdb.test"));
    assert!(!shard.ask("read /proc/net/dev").await.contains("eth0"));
    assert!(shard.ask("run df -B1 --output=size /dev/shm").await.contains("1048576"));
    let host = docker_says(&format!(
        "inspect -f {{{{.HostConfig.Memory}}}}/{{{{.HostConfig.MemorySwap}}}}/{{{{.HostConfig.NanoCpus}}}}/{{{{.HostConfig.PidsLimit}}}}/{{{{.HostConfig.LogConfig.Type}}}} {}",
        shard.handle.name
    ));
    assert_eq!(host, "67108864/67108864/500000000/50/none");
    bench.engine.end(&shard.handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_capabilities_are_reduced() {
    let bench = bench(BASE, "caps", plain()).await;
    let mut shard = bench.start(1).await;
    let status = shard.ask("read /proc/self/status").await;
    let bounding = status.split("CapBnd:\t").nth(1).and_then(|rest| rest.split('|').next()).expect("capabilities");
    let bounding = u64::from_str_radix(bounding, 16).expect("a number");
    for (name, bit) in [("NET_RAW", 13), ("MKNOD", 27), ("AUDIT_WRITE", 29)] {
        assert_eq!(bounding >> bit & 1, 0, "{name}");
    }
    assert_eq!(bounding & 1, 1, "CHOWN stays");
    bench.engine.end(&shard.handle).await;
}

/// An image with nothing in it but what its configuration says.
fn image(name: &str, changes: &[&str]) -> String {
    let tag = format!("splitci-test/{}", unique(name));
    let empty = splitci_tests::scratch().join("empty.tar");
    fs_err::write(&empty, [0_u8; 1024]).expect("written");
    let mut command = std::process::Command::new("docker");
    command.arg("import").args(changes.iter().flat_map(|change| ["--change", change])).arg(&empty).arg(&tag);
    let done = command.output().expect("start docker");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    tag
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_nothing_in_it_is_enough() {
    let image =
        image("scratch", &["USER 4321", "ENV PLACE=home", "WORKDIR /home/me", "ENTRYPOINT [\"/no/such/thing\"]", "HEALTHCHECK CMD false"]);
    let bench = bench(&image, "scratch", ContainerSettings { read_only: true, network: Some("none".into()), ..plain() }).await;
    let mut shard = bench.start(1).await;
    assert_eq!(shard.ask("env PLACE").await, "home");
    assert_eq!(shard.ask("cwd").await, "/home/me");
    assert!(shard.ask("read /proc/self/status").await.contains("Uid:\t4321"));
    assert_eq!(shard.ask("write /.splitci-run/x").await, "written");
    bench.engine.end(&shard.handle).await;
    docker(&format!("rmi {image}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_insists_on_being_first_is_first() {
    let bench = bench(
        BASE,
        "init",
        ContainerSettings {
            // Any program that runs its arguments will do for an init.
            entrypoint: Some(vec!["/usr/bin/env".into(), "INIT=yes".into()]),
            init_image: Some(true),
            ..plain()
        },
    )
    .await;
    let mut shard = bench.start(1).await;
    assert_eq!(shard.ask("env INIT").await, "yes");
    bench.engine.end(&shard.handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_refuses_what_it_cannot_keep() {
    let docker = connect().await;
    let mut wrong = setup(&docker, BASE, &unique("refuse"), plain(), false).await;
    wrong.workers = WorkerBinaries::new([("s390x".to_owned(), vec![])]);
    let error = DockerEngine::new(docker.clone(), wrong).await.err().expect("no worker");
    assert!(error.cause.to_string().contains("amd64") && error.cause.to_string().contains("s390x"), "{}", error.cause);
    let settings = ContainerSettings { security_opt: vec!["label=type:t".into()], ..plain() };
    let refused = setup(&docker, BASE, &unique("refuse"), settings, false).await;
    assert!(DockerEngine::new(docker, refused).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_emptied_is_filled_again() {
    let first = bench(BASE, "volume", plain()).await;
    let shard = first.start(1).await;
    let mounted = docker_says(&format!("inspect -f {{{{range.Mounts}}}}{{{{.Name}}}}{{{{end}}}} {}", shard.handle.name));
    first.engine.end(&shard.handle).await;
    docker_says(&format!("run --rm --user 0 -v {mounted}:/w {BASE} rm /w/worker"));
    let second = bench(BASE, "volume", plain()).await;
    let shard = second.start(1).await;
    second.engine.end(&shard.handle).await;
}

/// Runs that are the first ones of a version all want to fill its volume.
#[tokio::test(flavor = "multi_thread")]
async fn many_fill_a_volume_at_once() {
    let mut worker = fs_err::read(bench::stand_in()).expect("the stand-in");
    // A program that no volume holds yet; what follows an executable is not looked at.
    worker.extend(unique("volume").into_bytes());
    let runs = (0..6).map(|_| async {
        let docker = connect().await;
        let run = unique("fill");
        let mut setup = setup(&docker, BASE, &run, plain(), false).await;
        setup.workers = WorkerBinaries::new([(setup.arch.clone(), worker.clone())]);
        let bench = Bench { engine: DockerEngine::new(docker, setup).await.expect("an engine for shards"), run };
        let shard = bench.start(1).await;
        let volume = docker_says(&format!("inspect -f {{{{range.Mounts}}}}{{{{.Name}}}}{{{{end}}}} {}", shard.handle.name));
        bench.engine.end(&shard.handle).await;
        volume
    });
    let volumes = futures_util::future::join_all(runs).await;
    assert!(volumes.iter().all(|volume| *volume == volumes[0]), "{volumes:?}");
    docker_says(&format!("volume rm {}", volumes[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_or_is_dropped_leaves_nothing() {
    let bench = bench(BASE, "fail", ContainerSettings { user: Some("nobody-of-this-name".into()), ..plain() }).await;
    let spec = ShardSpec { run: bench.run.clone(), shard: ShardId(1), restarts: 0 };
    let error = bench.engine.start(&spec).await.err().expect("no such user");
    assert_eq!(error.to_string(), "cannot start shard 1");
    expect_no_containers(&bench.run);
    let bench = self::bench(BASE, "dropped", plain()).await;
    for pause in [1, 5, 20, 50, 100, 200] {
        let spec = ShardSpec { run: bench.run.clone(), shard: ShardId(pause), restarts: 0 };
        let _dropped = tokio::time::timeout(Duration::from_millis(pause.into()), bench.engine.start(&spec)).await;
    }
    bench.engine.close().await;
    expect_no_containers(&bench.run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_under_way_when_the_process_ends_leaves_nothing() {
    for pause in (0..400).step_by(25) {
        let bench = bench(BASE, &format!("ends{pause}"), plain()).await;
        let spec = ShardSpec { run: bench.run.clone(), shard: ShardId(1), restarts: 0 };
        drop(tokio::time::timeout(Duration::from_millis(pause), bench.engine.start(&spec)).await);
        bench.engine.close().await;
        let run = bench.run.clone();
        // All that goes on in it goes with it, as it does with a process.
        drop(bench);
        expect_no_containers(&run);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_coordinator_left_is_swept_and_nothing_else() {
    let bench = bench_with(BASE, "sweep", plain(), true).await;
    let mut shard = bench.start(1).await;
    let orphan = docker_says(&format!(
        "create --label splitci.run={} --label splitci.owner=4294967294.1@{} {BASE} true",
        bench.run,
        place(&shard.handle.name)
    ));
    let swept = bench.engine.sweep().await.expect("swept");
    assert!(swept.removed.iter().any(|what| what.starts_with("container")), "{swept:?}");
    assert!(!docker(&format!("inspect {orphan}")).status.success(), "the orphan is gone");
    assert_eq!(shard.ask("echo alive").await, "alive");
    bench.engine.end(&shard.handle).await;
    assert!(docker(&format!("inspect {}", shard.handle.name)).status.success(), "it was to be kept");
    docker_says(&format!("rm -f {}", shard.handle.name));
}

/// The place of this process, as it stands in a label of its containers.
fn place(container: &str) -> String {
    let owner = docker_says(&format!("inspect -f {{{{.Config.Labels}}}} {container}"));
    let owner = owner.split("splitci.owner:").nth(1).and_then(|rest| rest.split(' ').next()).expect("an owner");
    owner.split_once('@').expect("a place").1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_start_side_by_side() {
    let bench = std::sync::Arc::new(bench(BASE, "eight", plain()).await);
    let warm = bench.start(9).await;
    let started = Instant::now();
    let shards = futures_util::future::join_all((1..=8).map(|number| bench.start(number))).await;
    let hellos = started.elapsed();
    let ended = Instant::now();
    futures_util::future::join_all(shards.iter().chain([&warm]).map(|shard| bench.engine.end(&shard.handle))).await;
    println!("8 hellos after {hellos:?}, 9 ends after {:?}", ended.elapsed());
    expect_no_containers(&bench.run);
    assert!(hellos < Duration::from_secs(20), "{hellos:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_or_is_away_is_an_error_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = Door::open(folder.path());
    door.set(Manner::Silent);
    let started = Instant::now();
    let error = splitci_coordinator::docker::connect(Some(&door.address()), &environment()).await.expect_err("it does not answer");
    assert!(matches!(error, DockerError::Silent { .. }) && error.hint().is_some(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    door.set(Manner::Shut);
    let error = splitci_coordinator::docker::connect(Some(&door.address()), &environment()).await.expect_err("it sends us away");
    assert!(error.to_string().contains("engine"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_ends_the_shards() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = Door::open(folder.path());
    let docker = splitci_coordinator::docker::connect(Some(&door.address()), &environment()).await.expect("an engine");
    let run = unique("away");
    let docker = std::sync::Arc::new(docker);
    let setup = setup(&docker, BASE, &run, plain(), false).await;
    let bench = Bench { engine: DockerEngine::new(docker, setup).await.expect("an engine for shards"), run };
    let mut shard = bench.start(1).await;
    door.set(Manner::Shut);
    door.clear();
    let mut rest = Vec::new();
    let read = shard.output.read_to_end(&mut rest);
    let _broken = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the stream ends");
    let end = bench.engine.end(&shard.handle).await;
    assert!(end.detail.contains("engine"), "{end:?}");
    // The worker's stream is closed: it ends by itself, and nobody has to come and kill it.
    expect_no_containers(&bench.run);
}
