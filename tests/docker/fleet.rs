//! What a deployment leaves on engines, against real ones: locks that one of many gets, holders that outlive everybody, instances.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ground::{connect, unique};
use splitci_coordinator::docker::service::{HealthCheck, Phase};
use splitci_coordinator::docker::{self, Docker};
use splitci_coordinator::engine::WorkerBinaries;
use splitci_coordinator::fleet::instance::{self, InstanceSpec, Made};
use splitci_coordinator::fleet::{Claim, Fleet, Held, Holders, Lock, Place, Taken, lock, releases};
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::registry::Registry;
use splitci_tests::second::SecondEngine;

const BASE: &str = "debian:bookworm-slim";

fn workers() -> WorkerBinaries {
    WorkerBinaries::new([(std::env::consts::ARCH.to_owned(), splitci_tests::worker::program().to_vec())])
}

/// An environment that no other test has, gone from this machine's engine at the end.
struct Ground {
    place: Place,
}

impl Ground {
    fn new(name: &str) -> Self {
        Self { place: Place { app: unique(name), environment: "production".into() } }
    }

    fn claim(&self, deploy: &str, fence: u64) -> Claim {
        Claim {
            place: self.place.clone(),
            deploy: deploy.into(),
            fence,
            holder: "anna@laptop".into(),
            message: "release 4".into(),
            since_ms: 1_700_000_000_000,
        }
    }

    fn everything(&self) -> Vec<String> {
        let listed = docker_says(&format!("ps --all --quiet --filter label={}", self.place.filter()));
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for container in self.everything() {
            docker_says(&format!("rm --force --volumes {container}"));
        }
    }
}

async fn here() -> Fleet {
    Fleet::new([("here".to_owned(), connect().await)])
}

async fn two(second: &SecondEngine) -> Fleet {
    let there: Arc<Docker> = Arc::new(docker::connect(Some(&second.address()), &BTreeMap::new()).await.expect("the second engine"));
    Fleet::new([("b-there".to_owned(), there), ("a-here".to_owned(), connect().await)])
}

async fn take(fleet: &Fleet, claim: &Claim) -> Taken {
    lock::take(fleet, claim, &workers()).await.expect("an engine that answers")
}

fn ours(taken: Taken) -> Lock {
    match taken {
        Taken::Ours(lock) => lock,
        Taken::Theirs(held) => panic!("it is held: {held:?}"),
    }
}

fn theirs(taken: Taken) -> Held {
    match taken {
        Taken::Ours(_) => panic!("it was given"),
        Taken::Theirs(held) => held,
    }
}

/// I11: of twenty who ask for the lock at once one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_who_ask_at_once_one_gets_the_lock() {
    let (ground, fleet) = (Ground::new("twenty"), here().await);
    let mut askers = tokio::task::JoinSet::new();
    for asker in 0..20 {
        let (fleet, claim) = (fleet.clone(), ground.claim(&format!("deploy-{asker}"), asker));
        askers.spawn(async move { take(&fleet, &claim).await });
    }
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for taken in askers.join_all().await {
        match taken {
            Taken::Ours(lock) => won.push(lock),
            Taken::Theirs(held) => lost.push(held),
        }
    }
    assert_eq!((won.len(), lost.len()), (1, 19));
    let holder = lock::held_on(&fleet, &ground.place).await.expect("asked").remove(0);
    assert!(lost.iter().all(|held| *held == holder), "all were told the same: {holder:?}, {lost:?}");
    assert_eq!((holder.holder.as_str(), holder.message.as_str(), holder.since_ms), ("anna@laptop", "release 4", 1_700_000_000_000));
    assert_eq!(holder.ended, Some(false), "this process lives");
    won.remove(0).give_back().await.expect("given back");
    assert_eq!(ground.everything(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_one_engine_and_not_the_other_gives_it_back() {
    let (ground, second) = (Ground::new("half"), SecondEngine::start());
    let fleet = two(&second).await;
    let names: Vec<_> = fleet.engines().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["a-here", "b-there"], "one order for everybody");
    let there = Fleet::new([("b-there".to_owned(), Arc::clone(fleet.engine("b-there").expect("known")))]);
    let first = ours(take(&there, &ground.claim("other", 1)).await);
    let held = theirs(take(&fleet, &ground.claim("mine", 2)).await);
    assert_eq!((held.engine.as_str(), held.deploy.as_str(), held.fence), ("b-there", "other", 1));
    assert_eq!(ground.everything(), Vec::<String>::new(), "nothing is left on the first engine");
    first.give_back().await.expect("given back");
    let both = ours(take(&fleet, &ground.claim("mine", 2)).await);
    assert!(both.holds().await.expect("asked"));
    both.give_back().await.expect("given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_outlives_prunes_and_its_engine_s_death() {
    let (ground, mut second) = (Ground::new("prune"), SecondEngine::start());
    let there: Arc<Docker> = Arc::new(docker::connect(Some(&second.address()), &BTreeMap::new()).await.expect("the second engine"));
    let fleet = Fleet::new([("there".to_owned(), there)]);
    let held = ours(take(&fleet, &ground.claim("mine", 2)).await);
    second.says("system prune --all --force");
    assert!(held.holds().await.expect("asked"));
    second.kill();
    second.restart();
    assert!(held.holds().await.expect("asked"), "the engine knows the name still");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while second.says("ps --quiet").is_empty() {
        assert!(std::time::Instant::now() < deadline, "it does not run again: {}", second.says("ps --all"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    second.says("container prune --force");
    assert!(held.holds().await.expect("asked"), "what runs is not pruned");
    held.give_back().await.expect("given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_person_broke_is_another_s_and_the_late_holder_takes_nothing() {
    let (ground, fleet) = (Ground::new("broken"), here().await);
    let slow = ours(take(&fleet, &ground.claim("slow", 1)).await);
    let seen = lock::held_on(&fleet, &ground.place).await.expect("asked");
    lock::break_parts(&fleet, &seen).await.expect("broken");
    let next = ours(take(&fleet, &ground.claim("next", 2)).await);
    assert!(!slow.holds().await.expect("asked"));
    slow.give_back().await.expect("what is gone is given back");
    assert!(next.holds().await.expect("asked"), "the late holder took nothing of it");
    lock::break_parts(&fleet, &seen).await.expect("what was seen is gone");
    assert!(next.holds().await.expect("asked"), "breaking takes what was seen, and no other");
    next.give_back().await.expect("given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_deployment_takes_over_from_a_holder_that_ended() {
    let (ground, fleet) = (Ground::new("ended"), here().await);
    let left = ours(take(&fleet, &ground.claim("mine", 1)).await);
    drop(left);
    assert_eq!(theirs(take(&fleet, &ground.claim("mine", 2)).await).ended, Some(false), "it may still be at work");
    // What another process of this machine would have left, one that is no more, and one of another machine.
    let image = docker_says(&format!("inspect --format {{{{.Image}}}} {}", ground.place.lock()));
    for (owner, ended) in [(dead(), Some(true)), ("1.1@elsewhere/pid:[1]".to_owned(), None)] {
        docker_says(&format!("rm --force {}", ground.place.lock()));
        let labels = format!(
            "--label {} --label splitci.role=lock --label splitci.deploy=mine --label splitci.fence=1 --label splitci.owner={owner}",
            ground.place.filter()
        );
        docker_says(&format!("run --detach --name {} {labels} {image}", ground.place.lock()));
        assert_eq!(theirs(take(&fleet, &ground.claim("yours", 2)).await).ended, ended);
        match (take(&fleet, &ground.claim("mine", 2)).await, ended) {
            (Taken::Ours(lock), Some(true)) => drop(lock),
            (Taken::Theirs(held), None) => assert_eq!(held.ended, None),
            (taken, _) => panic!("{owner}: {taken:?}"),
        }
    }
}

/// The label of a process of this machine that has ended.
fn dead() -> String {
    let here = docker::owner::Owner::here().to_string();
    let (_, place) = here.split_once('@').expect("a place");
    format!("{}.1@{place}", u32::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_on_two_engines_and_outlive_the_death_of_one() {
    let (ground, mut second) = (Ground::new("rows"), SecondEngine::start());
    let fleet = two(&second).await;
    assert!(Holders::find(&fleet, &ground.place).await.expect("asked").read().await.is_empty(), "who looks makes nothing");
    let holders = Holders::ensure(&fleet, &ground.place, &workers()).await.expect("made");
    for row in 0..3 {
        let kept = holders.put(&[(format!("01A.{row:06}.7.json"), format!("row {row}"))]).await;
        assert!((kept.by, kept.refused.len()) == (2, 0), "{kept:?}");
    }
    second.kill();
    let kept = holders.put(&[("01A.000003.7.json".into(), "row 3".into())]).await;
    assert_eq!((kept.by, kept.refused.len()), (1, 1));
    second.restart();
    let again = Holders::ensure(&fleet, &ground.place, &workers()).await.expect("found");
    let copies: BTreeMap<_, _> = again.read().await.into_iter().map(|(name, rows)| (name, rows.expect("readable"))).collect();
    let named = |count: usize| (0..count).map(|row| (format!("01A.{row:06}.7.json"), format!("row {row}").into_bytes())).collect();
    assert_eq!(copies, BTreeMap::from([("a-here".to_owned(), named(4)), ("b-there".to_owned(), named(3))]), "both as they are");
    docker_says(&format!("rm --force {}", ground.place.holder()));
    let anew = Holders::ensure(&fleet, &ground.place, &workers()).await.expect("made again");
    let counts: Vec<_> = anew.read().await.into_iter().map(|(_, rows)| rows.expect("readable").len()).collect();
    assert_eq!(counts, [0, 3], "a holder that was deleted begins with nothing");
}

fn shown(ground: &Ground, deploy: &str, image: &str) -> InstanceSpec {
    InstanceSpec {
        command: None,
        place: ground.place.clone(),
        slot: "web1".into(),
        deploy: deploy.into(),
        fence: 3,
        release: "sha256:abc".into(),
        settings: "s1".into(),
        image: image.into(),
        env: vec!["GREETING=hello there".into()],
        publish: None,
        network: Some("none".into()),
        address: None,
        init: true,
    }
}

/// An image that starts this script.
fn scripted(script: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let dockerfile = format!("FROM {BASE}\nCMD [\"sh\", \"-c\", \"{script}\"]\n");
    fs_err::write(folder.path().join("Dockerfile"), dockerfile).expect("written");
    docker_says(&format!("build --quiet {}", folder.path().display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_made_once_and_told_of_as_the_engine_sees_it() {
    let (ground, docker) = (Ground::new("instance"), connect().await);
    let image = scripted("echo $GREETING; exec sleep 1000");
    let spec = shown(&ground, "01A", &image);
    let Made::Ours(id) = instance::make(&docker, &spec).await.expect("made") else { panic!("its name was free") };
    let Made::Ours(again) = instance::make(&docker, &spec).await.expect("found") else { panic!("it is of this deployment") };
    assert_eq!(id, again);
    let found = instance::all(&docker, &ground.place).await.expect("listed");
    assert_eq!(found.iter().map(|one| (one.phase, one.fence)).collect::<Vec<_>>(), [(Phase::Created, 3)]);
    docker.start_container(&id).await.expect("started");
    let one = instance::all(&docker, &ground.place).await.expect("listed").remove(0);
    assert_eq!((one.slot.as_str(), one.deploy.as_str(), one.release.as_str()), ("web1", "01A", "sha256:abc"));
    assert_eq!((one.phase, one.image, one.restarts, one.health), (Phase::Running, image, 0, HealthCheck::Absent));
    docker.stop_service(&id, Duration::from_secs(10)).await.expect("stopped");
    docker.stop_service(&id, Duration::from_secs(10)).await.expect("one that has ended is fine");
    let log = docker.log_tail(&id, 20).await.expect("a log");
    assert_eq!(log.trim(), "hello there");
    let policy = || docker_says(&format!("inspect --format {{{{.HostConfig.RestartPolicy.Name}}}} {id}"));
    assert_eq!(policy(), "always");
    instance::set_aside(&docker, &id, "01B").await.expect("set aside");
    instance::set_aside(&docker, &id, "01C").await.expect("it is aside");
    let aside = instance::all(&docker, &ground.place).await.expect("listed").remove(0);
    assert_eq!((aside.phase, aside.aside.as_deref()), (Phase::Exited(143), Some("01B")), "TERM ended it, and it stays");
    assert_eq!(policy(), "no", "an engine that starts does not start what is aside");
    let Made::Ours(new) = instance::make(&docker, &spec).await.expect("made") else { panic!("its name is free") };
    assert_ne!(new, id);
    docker.remove_container(&new).await.expect("removed");
    for _ in 0..2 {
        instance::take_back(&docker, &id).await.expect("taken back");
    }
    let back = instance::all(&docker, &ground.place).await.expect("listed").remove(0);
    assert_eq!((back.name, back.aside, policy().as_str()), (one.name, None, "always"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_listen_is_killed_and_one_that_ends_is_started_again() {
    let (ground, docker) = (Ground::new("deaf"), connect().await);
    let deaf = InstanceSpec { init: false, ..shown(&ground, "01A", &scripted("trap : TERM; while :; do sleep 1; done")) };
    let Made::Ours(id) = instance::make(&docker, &deaf).await.expect("made") else { panic!("its name was free") };
    docker.start_container(&id).await.expect("started");
    docker.stop_service(&id, Duration::from_secs(1)).await.expect("stopped");
    assert_eq!(instance::all(&docker, &ground.place).await.expect("listed").remove(0).phase, Phase::Exited(137));

    let crashes = InstanceSpec { slot: "web2".into(), ..shown(&ground, "01A", &scripted("exit 5")) };
    let Made::Ours(id) = instance::make(&docker, &crashes).await.expect("made") else { panic!("its name was free") };
    docker.start_container(&id).await.expect("started");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while docker.service(&id).await.expect("asked").expect("there").restarts < 2 {
        assert!(std::time::Instant::now() < deadline, "the engine does not start it again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_only_has_the_name_is_left_alone() {
    let (ground, docker) = (Ground::new("foreign"), connect().await);
    let name = ground.place.instance("web1", "01A");
    let foreign = docker_says(&format!("create --name {name} {BASE} true"));
    let image = docker_says(&format!("inspect --format {{{{.Image}}}} {foreign}"));
    let made = instance::make(&docker, &shown(&ground, "01A", &image)).await.expect("an answer");
    assert!(matches!(&made, Made::Foreign(found) if found.id == foreign), "{made:?}");
    docker_says(&format!("rm {foreign}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_nobody_goes_back_to_go_and_others_stay() {
    let (engine, registry) = (connect().await, Registry::start());
    let all: Vec<_> = (0..4).map(|_| registry.released("shop/release", &unique("release"))).collect();
    let container = docker_says(&format!("create {} true", all[1].1));
    docker_says(&format!("tag {} {}", all[3].1, unique("named")));
    let repository = format!("{}/shop/release", registry.host());
    let gone = releases::prune(&engine, &repository, &BTreeSet::from([all[2].1.clone()])).await.expect("pruned");
    assert_eq!(gone.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([all[0].0.clone(), all[3].0.clone()]));
    let there: Vec<_> = all.iter().map(|(_, id)| docker(&format!("inspect {id}")).status.success()).collect();
    assert_eq!(there, [false, true, true, true], "one that somebody named stays, too");
    docker_says(&format!("rm {container}"));
    let gone = releases::prune(&engine, &repository, &BTreeSet::new()).await.expect("pruned");
    assert_eq!(gone.len(), 2);
    docker_says(&format!("rmi {}", all[3].1));
}
