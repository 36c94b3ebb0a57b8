//! Deployments of real containers behind a real HAProxy, with requests coming all the time.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use splitci_coordinator::deployment::{Admin, Decision, Effect, Outcome, Phase, Plan, Row, Step, Waiting, World};
use splitci_coordinator::fleet::{Claim, Taken, lock};
use splitci_coordinator::gate::StoreKind;
use splitci_coordinator::model::environment::{DeployId, Role, Share, Side, Slot, SlotName, Strategy, Workers};
use splitci_coordinator::promotion::identify;
use splitci_coordinator::registry::{Tag, Wanted};
use splitci_coordinator::rollout::{Options, Order, RolloutError, Site, Watcher, carry_out, copies, journal};
use splitci_tests::attested::put_config;
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::redis::Redis;
use splitci_tests::rig::{Rig, Seen, actor, begin, expect_all_good, image, moment};

/// I2: no request is lost.
/// I3: half the capacity has a price, which is told and has an end.
/// I4: behind a real balancer.
/// I26: four slots take less than 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_release_loses_no_request_and_never_mixes() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let rig = Rig::new("healthy", 4).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    assert!(rig.running().values().all(|image| *image == one) && rig.running().len() == 4);
    let (_, older) = rig.registry.released("shop/release", &rig.site.place.app);
    let calm = rig.load(60);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calm = calm.finish().latency(99);
    let load = rig.load(60);
    moment().await;
    let began = std::time::Instant::now();
    let outcome = rig.deploy(&two).await.expect("deployed");
    let took = began.elapsed();
    moment().await;
    let report = load.finish();
    assert_eq!(outcome, Outcome::Done);
    expect_all_good(&report);
    let mixed = report.mixed_ms("1", "2").expect("both answered");
    let (most, longest) = (report.latency(99), report.latency(100));
    println!(
        "deployed in {took:.1?}, mixed for {mixed:.1} ms; 99 % answered within {calm:.0?} before and {most:.0?} meanwhile, longest {longest:.0?}"
    );
    assert!(longest < Duration::from_secs(10), "somebody waited for {longest:?}");
    // By the client's clock, on a machine that is busy: draining one half after the other would take seconds.
    assert!(mixed < 500.0 && took.as_secs() < 30, "deployed in {took:.1?}, mixed for {mixed:.1} ms");
    assert!(rig.running().values().all(|image| *image == two) && rig.running().len() == 4);
    assert_eq!(rig.deploy(&two).await.expect("nothing to do"), Outcome::Done);
    let rows = journal(&rig.site).await.expect("a journal");
    assert_eq!(rows.unfinished(), None);
    assert!(!docker(&format!("inspect {older}")).status.success(), "nobody goes back to it");
}

/// I6: a sick release answers nobody.
/// I19: the application's own variables are in its containers, and in no copy of the journal and no label.
#[tokio::test(flavor = "multi_thread")]
async fn a_sick_release_serves_nobody_and_is_taken_back() {
    let (one, sick) = (image("VERSION=1"), image("VERSION=2 UP=500"));
    let mut rig = Rig::new("sick", 4).await;
    rig.site.variables = vec![format!("PASSWORD={SECRET}")];
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    rig.expect_to_go_back(&sick, &one).await;
    expect_kept_secret(&rig.site).await;
}

/// What is written down nowhere.
const SECRET: &str = "correct-horse-4711";

async fn expect_kept_secret(site: &Site) {
    let filter = site.place.filter();
    let instances = docker_says(&format!("ps --all --quiet --filter label={filter} --filter label=splitci.role=instance"));
    let instances = instances.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(docker_says(&format!("inspect --format {{{{.Config.Env}}}} {instances}")).contains(SECRET), "containers have it");
    let labels = docker_says(&format!("ps --all --no-trunc --format {{{{.Names}}}}{{{{.Labels}}}} --filter label={filter}"));
    assert!(labels.contains("splitci.fence") && !labels.contains(SECRET), "{labels}");
    let copies = copies(site).await.expect("asked");
    let texts =
        copies.into_iter().map(|(_, text)| text.expect("readable")).chain([fs_err::read_to_string(&site.journal).expect("a copy here")]);
    let texts: Vec<_> = texts.collect();
    assert!(texts.len() >= 2 && texts.iter().all(|text| text.contains("quarantined") && !text.contains(SECRET)), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_replaces_one_after_the_other_and_loses_no_request() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let mut rig = Rig::new("rolling", 3).await;
    rig.site.environment.strategy = Strategy::Rolling { batch: Share::Count(1) };
    rig.site.environment.floor = Share::Count(2);
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let load = rig.load(40);
    moment().await;
    let outcome = rig.deploy(&two).await.expect("deployed");
    moment().await;
    let report = load.finish();
    assert_eq!(outcome, Outcome::Done);
    expect_all_good(&report);
    let mixed = report.mixed_ms("1", "2").expect("both answered");
    println!("mixed for {mixed:.0} ms");
    assert!(mixed > 0.0, "requests meet both, as is said");
    assert!(rig.running().values().all(|image| *image == two) && rig.running().len() == 3);
    let rows = journal(&rig.site).await.expect("a journal");
    let drains = |row: &&Row| effect(row, Phase::Intent, |effect| effect.turns().iter().filter(|turn| turn.to == Admin::Drain).count() > 1);
    assert_eq!(
        rows.rows().iter().rev().take_while(|row| !matches!(row.step, Step::Decision(Decision::Began(_)))).filter(drains).count(),
        0
    );
}

/// I4: behind a real balancer, in one command there and in one back.
/// I15: all that serve go on to.
#[tokio::test(flavor = "multi_thread")]
async fn with_two_sides_the_way_back_starts_nothing_and_no_request_is_lost() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let mut rig = Rig::new("sides", 4).await;
    rig.site.environment.strategy = Strategy::BlueGreen;
    rig.site.environment.floor = Share::Percent(100);
    let sides = [Side::Blue, Side::Blue, Side::Green, Side::Green];
    rig.site.environment.slots.iter_mut().zip(sides).for_each(|(slot, side)| slot.side = Some(side));
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    assert_eq!(rig.running().len(), 2);
    let load = rig.load(60);
    moment().await;
    assert_eq!(rig.deploy(&two).await.expect("deployed"), Outcome::Done);
    moment().await;
    let mixed = load.finish();
    expect_all_good(&mixed);
    let there = mixed.mixed_ms("1", "2").expect("both answered");
    let warm = rig.running();
    assert_eq!(warm.values().filter(|image| **image == one).count(), 2, "the old ones run on: {warm:?}");
    assert_eq!(warm.values().filter(|image| **image == two).count(), 2, "{warm:?}");
    let (load, ids) = (rig.load(60), rig.containers());
    moment().await;
    assert_eq!(rig.deploy(&one).await.expect("went back"), Outcome::Done);
    moment().await;
    let report = load.finish();
    expect_all_good(&report);
    let back = report.mixed_ms("2", "1").expect("both answered");
    println!("mixed for {there:.1} ms, and {back:.1} ms on the way back");
    assert!(there < 500.0 && back < 500.0, "mixed for {there:.1} ms, and {back:.1} ms on the way back");
    assert_eq!(rig.containers(), ids, "nothing was made, started or stopped");
}

/// I23: a worker is asked to stop once, and finishes what it has in hand.
#[tokio::test(flavor = "multi_thread")]
async fn i23_workers_lose_no_job_while_they_are_replaced() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let gateway = gateway(&one);
    let queue = Redis::start_at(&["127.0.0.1", &gateway], &["--protected-mode", "no"]);
    let mut rig = Rig::new("jobs", 2).await;
    let worker = |name: &str| Slot { name: SlotName(name.into()), role: Role::Worker, port: 0, ..rig.site.environment.slots[0].clone() };
    let workers = ["jobs1", "jobs2"].map(worker);
    rig.site.environment.slots.extend(workers);
    rig.site.environment.workers = Some(Workers { command: vec!["perl".into(), "/worker.pl".into()], grace_ms: 30_000 });
    rig.site.variables = vec![format!("QUEUE={gateway}:{}", queue.port())];
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    // Most jobs are short; some take longer than an engine is waited for.
    let jobs: Vec<_> = (0..JOBS).map(|number| format!("{number}:{}", if number % 4 == 0 { 3_000 } else { 200 })).collect();
    let push: Vec<_> = ["lpush", "jobs"].into_iter().chain(jobs.iter().map(String::as_str)).collect();
    let load = rig.load(40);
    queue.says(&push);
    moment().await;
    assert_eq!(rig.deploy(&two).await.expect("deployed"), Outcome::Done);
    expect_all_good(&load.finish());
    assert!(rig.running().len() == 4 && rig.running().values().all(|image| *image == two), "{:?}", rig.running());
    let done = || queue.says(&["lrange", "done", "0", "-1"]);
    for _ in 0..600 {
        if done().len() >= JOBS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let done = done();
    let mut numbers: Vec<usize> =
        done.iter().filter_map(|job| job.split_once(' ')).map(|(number, _)| number.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..JOBS).collect::<Vec<_>>(), "each once");
    assert_eq!(queue.says(&["llen", "taken"]), ["0"], "nothing was dropped");
    let by = |version: &str| done.iter().filter(|job| job.ends_with(version)).count();
    println!("{} jobs by the old release, {} by the new one", by(" 1"), by(" 2"));
    assert!(by(" 1") > 0 && by(" 2") > 0, "both worked: {done:?}");
}

/// The address of this machine as containers see it: their default route, in hex and from the back.
fn gateway(image: &str) -> String {
    let routes = docker_says(&format!("run --rm {image} cat /proc/net/route"));
    let default = routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| words.get(1) == Some(&"00000000"));
    let gateway = u32::from_str_radix(default.expect("a default route")[2], 16).expect("an address");
    std::net::Ipv4Addr::from(gateway.swap_bytes()).to_string()
}

/// So many.
const JOBS: usize = 48;

/// The moments of a test, by what they are.
type Moments<const N: usize> = [(&'static str, fn(&Row) -> bool); N];

fn effect(row: &Row, phase: Phase, like: fn(&Effect) -> bool) -> bool {
    row.phase == phase && matches!(&row.step, Step::Effect(effect) if like(effect))
}

/// I13: with real containers, at three moments.
#[tokio::test(flavor = "multi_thread")]
async fn i13_whoever_dies_is_followed_by_one_who_goes_on_and_no_request_is_lost() {
    let moments: Moments<3> = [
        ("before new ones are started", |row| effect(row, Phase::Intent, |effect| matches!(effect, Effect::Start { .. }))),
        ("before the swap", |row| effect(row, Phase::Intent, |effect| matches!(effect, Effect::Swap(_)))),
        ("after the swap", |row| effect(row, Phase::Outcome, |effect| matches!(effect, Effect::Swap(_)))),
    ];
    let images = [image("VERSION=1"), image("VERSION=2")];
    let rig = Rig::new("dies", 2).await;
    assert_eq!(rig.deploy(&images[1]).await.expect("deployed"), Outcome::Done);
    let load = rig.load(40);
    for (number, (what, moment)) in moments.into_iter().enumerate() {
        let next = &images[number % 2];
        let (outcome, died) = rig.deploy_and_die(next, Box::new(moment)).await;
        assert!(died, "{what}: there was no such moment");
        assert_eq!(outcome, Outcome::Done, "{what}");
        assert!(rig.running().len() == 2 && rig.running().values().all(|image| image == next), "{what}: {:?}", rig.running());
    }
    expect_all_good(&load.finish());
}

/// I8: whoever dies in the middle of it, it runs once.
#[tokio::test(flavor = "multi_thread")]
async fn i8_a_migration_runs_once_whoever_dies() {
    let moments: Moments<2> = [
        ("before it is started", |row| effect(row, Phase::Intent, |effect| matches!(effect, Effect::StartMigration { .. }))),
        ("while it runs", |row| effect(row, Phase::Outcome, |effect| matches!(effect, Effect::StartMigration { .. }))),
    ];
    let images = [image("VERSION=1"), image("VERSION=2")];
    let mut rig = Rig::new("migrates", 2).await;
    assert_eq!(rig.deploy(&images[1]).await.expect("deployed"), Outcome::Done);
    rig.migrate_with("/migrate.sh 1 0");
    for (number, (what, moment)) in moments.into_iter().enumerate() {
        let (outcome, died) = rig.deploy_and_die(&images[number % 2], Box::new(moment)).await;
        assert!(died && outcome == Outcome::Done, "{what}: {outcome:?}");
        assert_eq!(rig.migrations(), vec!["migrated\n".to_owned(); number + 1], "{what}");
    }
    rig.migrate_with("/migrate.sh 0 7");
    let outcome = rig.deploy(&images[0]).await.expect("an outcome");
    assert_eq!(outcome, Outcome::MigrationFailed { status: 7, out: Vec::new() });
    assert_eq!(rig.migrations().len(), 3, "one that failed is not tried again");
    assert!(rig.running().values().all(|image| *image == images[1]), "what served before serves again");
}

/// I11: of many at once one deploys.
#[tokio::test(flavor = "multi_thread")]
async fn i11_of_many_who_deploy_at_once_one_does() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let rig = Rig::new("many", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let promotion = rig.promoted(&two).await;
    let deploys = (0..8).map(|_| async { carry_out(&rig.site, &promotion, begin(), &actor(), &Seen::default()).await });
    let (mut did, mut locked) = (0, 0);
    for outcome in futures_util::future::join_all(deploys).await {
        match outcome {
            Ok(Outcome::Done) => did += 1,
            Err(RolloutError::Locked(_)) => locked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(did == 1 && locked == 7, "{did} did, {locked} found it locked");
}

/// I21: of those that wait for a lock the newest gets it, and the others never do.
#[tokio::test(flavor = "multi_thread")]
async fn i21_of_a_storm_of_deploys_that_wait_the_newest_goes_live_alone() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let rig = Rig::new("storm", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let promotion = rig.promoted(&two).await;
    let claim = Claim {
        place: rig.site.place.clone(),
        deploy: "00000000000000000000000000".into(),
        fence: 1_000,
        holder: "somebody@elsewhere".into(),
        message: String::new(),
        since_ms: 0,
    };
    let Taken::Ours(lock) = lock::take(&rig.site.fleet, &claim, &rig.site.workers).await.expect("asked") else { panic!("it was free") };
    let waiting = || docker_says(&format!("ps --quiet --filter label={} --filter label=splitci.role=waiter", rig.site.place.filter()));
    // Without being told to, nobody waits.
    let at_once = carry_out(&rig.site, &promotion, begin(), &actor(), &Seen::default()).await;
    assert!(matches!(at_once, Err(RolloutError::Locked(_))) && waiting().is_empty(), "{at_once:?}");
    let gone = AtomicUsize::new(0);
    let storm = async |number: u64| {
        tokio::time::sleep(Duration::from_millis(700 * number)).await;
        let Order::Begin { deploy, options } = begin() else { panic!("it begins") };
        let order = Order::Begin { deploy: deploy.clone(), options: Options { wait: Duration::from_mins(2), ..options } };
        let outcome = carry_out(&rig.site, &promotion, order, &actor(), &Seen::default()).await;
        gone.fetch_add(1, Ordering::SeqCst);
        (deploy, outcome)
    };
    let give_back = async {
        // Once all but one have found out that there is a newer one, that one waits.
        while gone.load(Ordering::SeqCst) != 4 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lock.give_back().await.expect("given back");
    };
    let (mut ended, ()) = tokio::join!(futures_util::future::join_all((0..5).map(storm)), give_back);
    let (newest, outcome) = ended.pop().expect("five");
    assert_eq!(outcome.expect("deployed"), Outcome::Done);
    assert!(ended.iter().all(|(deploy, outcome)| *deploy < newest && matches!(outcome, Err(RolloutError::Overtaken(_)))), "{ended:?}");
    let journal = journal(&rig.site).await.expect("a journal");
    let wrote = |deploy: &DeployId| journal.rows().iter().any(|row| row.deploy == *deploy);
    assert!(wrote(&newest) && !ended.iter().any(|(deploy, _)| wrote(deploy)));
    assert!(waiting().is_empty() && rig.running().values().all(|image| *image == two), "{:?}", rig.running());
}

/// Stops at a moment, as a process does that is stopped by a signal or whose machine sleeps, and goes on when it is told to.
struct Sleeper {
    falls: fn(&Row) -> bool,
    asleep: Mutex<Sender<()>>,
    wakes: Mutex<Receiver<()>>,
    written: Mutex<Vec<Row>>,
}

impl Watcher for Sleeper {
    fn sees(&self, _: &Plan, _: &World, _: Option<&Waiting>) {}

    fn reads(&self, row: &Row) {
        let mut written = self.written.lock().expect("no panic while locked");
        let first = !written.iter().any(self.falls);
        written.push(row.clone());
        if first && (self.falls)(row) {
            self.asleep.lock().expect("no panic while locked").send(()).expect("somebody waits");
            self.wakes.lock().expect("no panic while locked").recv().expect("somebody wakes it");
        }
    }

    fn stops(&self) -> Option<String> {
        None
    }
}

/// I12: a process that slept through it all does nothing when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn i12_whoever_slept_while_another_took_over_does_nothing_more() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let rig = Rig::new("sleeps", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let promotion = rig.promoted(&two).await;
    let load = rig.load(30);
    let ((asleep, falls_asleep), (wake, wakes)) = (channel(), channel());
    let falls = |row: &Row| effect(row, Phase::Intent, |effect| matches!(effect, Effect::Swap(_)));
    let sleeper = Sleeper { falls, asleep: Mutex::new(asleep), wakes: Mutex::new(wakes), written: Mutex::default() };
    let (site, mine) = (rig.elsewhere("sleeper").await, promotion.clone());
    // A thread of its own: it is all of a machine that stands still.
    let slept = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let outcome = runtime.block_on(carry_out(&site, &mine, begin(), &actor(), &sleeper)).expect("an outcome");
        (outcome, sleeper.written.into_inner().expect("no panic while locked"))
    });
    tokio::task::spawn_blocking(move || falls_asleep.recv()).await.expect("it ran").expect("it fell asleep");
    rig.break_lock().await;
    assert_eq!(carry_out(&rig.site, &promotion, Order::Resume, &actor(), &Seen::default()).await.expect("an outcome"), Outcome::Done);
    wake.send(()).expect("it sleeps");
    let (outcome, written) = slept.join().expect("no panic");
    assert!(matches!(outcome, Outcome::Superseded | Outcome::LockLost), "{outcome:?}");
    assert_eq!(outcome.exit_code(), 7);
    assert!(written.last().is_some_and(falls), "it wrote nothing after it woke: {written:?}");
    let journal = journal(&rig.site).await.expect("a journal");
    assert!(journal.unfinished().is_none() && journal.rows().windows(2).all(|rows| rows[0].fence <= rows[1].fence));
    expect_all_good(&load.finish());
    assert!(rig.running().values().all(|image| *image == two), "{:?}", rig.running());
}

/// T1: engines pull by digest.
/// T19: what was pulled is the image that was approved.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_the_image_fetches_it_by_its_digest() {
    let name = format!("pulled-{}", std::process::id());
    let image = image(&format!("VERSION={name}"));
    let rig = Rig::new("pulls", 1).await;
    let (release, tagged) = (rig.release(), format!("{}/shop/release:v1", rig.registry.host()));
    docker_says(&format!("tag {image} {tagged}"));
    docker_says(&format!("push --quiet {tagged}"));
    let tag: Tag = "v1".parse().expect("a tag");
    let identity = identify(&release, &Wanted::from(&tag), StoreKind::Docker).await.expect("pushed");
    assert_eq!(identity.config.to_string(), image, "the very image");
    let promotion = rig.approved(identity).await;
    // The tag moves to something else before anybody pulls.
    let other = put_config(&release, b"{\"architecture\":\"amd64\"}").await;
    let other = release.manifest(other.manifest.into()).await.expect("there");
    release.put_tag(&other, &tag).await.expect("moved");
    docker_says(&format!("rmi --force {image}"));
    let outcome = carry_out(&rig.site, &promotion, begin(), &actor(), &Seen::default()).await.expect("an outcome");
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(rig.running().into_values().collect::<Vec<_>>(), [image]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_for_another_environment_changes_nothing() {
    let mut rig = Rig::new("elsewhere", 2).await;
    let promotion = rig.promoted(&image("VERSION=1")).await;
    rig.site.environment.name = "staging".into();
    let refused = carry_out(&rig.site, &promotion, begin(), &actor(), &Seen::default()).await;
    assert!(matches!(refused, Err(RolloutError::OtherEnvironment { .. })), "{refused:?}");
    assert!(rig.running().is_empty());
}
