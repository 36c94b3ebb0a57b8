//! Deployments of releases that are late, come and go, or listen elsewhere; of migrations that are killed, and that change a real database; and to a host whose disk is full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use splitci_coordinator::deployment::{Cause, Decision, Effect, Evidence, Outcome, Phase, Row, Sickness, Step};
use splitci_coordinator::docker::{self, Docker};
use splitci_coordinator::fleet::Fleet;
use splitci_coordinator::gate::StoreKind;
use splitci_coordinator::promotion::identify;
use splitci_coordinator::registry::{Tag, Wanted};
use splitci_coordinator::rollout::{carry_out, journal};
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::postgres::{self, Postgres};
use splitci_tests::rig::{Moment, Rig, Seen, actor, begin, expect_all_good, image, moment};
use splitci_tests::second::SecondEngine;

/// Whether a sickness is the one that is expected.
type Like = fn(&Sickness) -> bool;

/// I6: what is not well answers nobody, whatever is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_boots_too_long_flaps_or_listens_elsewhere_is_taken_back_and_a_late_one_is_waited_for() {
    let one = image("VERSION=1");
    let mut rig = Rig::new("boots", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    let load = rig.load(40);
    moment().await;
    rig.site.environment.health.boot_ms = 6_000;
    // Nothing that comes and goes is well for so long.
    rig.site.environment.health.min_healthy_ms = 3_000;
    // The engine may take connections for a port at which nothing listens, and close them.
    let never = |sickness: &Sickness| matches!(sickness, Sickness::NeverListened | Sickness::Status(0));
    let ended = |sickness: &Sickness| matches!(sickness, Sickness::Flapping | Sickness::Exited(_));
    let sick: [(&str, Like); 3] = [("VERSION=2 BOOT=60", never), ("VERSION=3 DIES_AFTER=1", ended), ("VERSION=4 PORT=9000", never)];
    for (arguments, expected) in sick {
        let outcome = rig.deploy(&image(arguments)).await.expect("an outcome");
        let Outcome::RolledBack { cause: Cause::FirstHalf { sickness, .. }, out } = &outcome else { panic!("{arguments}: {outcome:?}") };
        assert!(expected(sickness) && out.is_empty(), "{arguments}: {outcome:?}");
        assert!(rig.running().len() == 2 && rig.running().values().all(|image| *image == one), "{arguments}: {:?}", rig.running());
    }
    rig.site.environment.health.boot_ms = 60_000;
    let late = image("VERSION=5 BOOT=7");
    assert_eq!(rig.deploy(&late).await.expect("an outcome"), Outcome::Done);
    moment().await;
    let report = load.finish();
    expect_all_good(&report);
    assert_eq!(report.by_version().keys().copied().collect::<Vec<_>>(), ["1", "5"]);
}

/// I8: one that is killed has failed, and is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn i8_a_migration_that_is_killed_is_not_tried_again_and_the_old_release_serves() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let mut rig = Rig::new("killed", 2).await;
    assert_eq!(rig.deploy(&one).await.expect("deployed"), Outcome::Done);
    rig.migrate_with("/migrate.sh 600 0");
    rig.site.environment.migration.as_mut().expect("it has one").timeout_ms = 600_000;
    let load = rig.load(40);
    let filters = format!("--filter label={} --filter label=splitci.role=migration", rig.site.place.filter());
    let kills = std::thread::spawn(move || {
        let began = Instant::now();
        loop {
            let running = docker_says(&format!("ps --quiet {filters}"));
            if !running.is_empty() {
                return docker_says(&format!("kill {running}"));
            }
            assert!(began.elapsed() < Duration::from_mins(1), "it does not run");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let outcome = rig.deploy(&two).await.expect("an outcome");
    kills.join().expect("it was killed");
    assert_eq!(outcome, Outcome::MigrationFailed { status: 137, out: Vec::new() });
    assert_eq!((rig.migrations().len(), outcome.exit_code()), (1, 11));
    assert!(rig.running().len() == 2 && rig.running().values().all(|image| *image == one));
    expect_all_good(&load.finish());
}

fn effect(row: &Row, phase: Phase, like: fn(&Effect) -> bool) -> bool {
    row.phase == phase && matches!(&row.step, Step::Effect(effect) if like(effect))
}

/// I8: in a real database, whoever dies at whichever of its rows: a row each, no more and no less.
#[tokio::test(flavor = "multi_thread")]
async fn i8_a_migration_adds_its_row_to_a_database_once_whoever_dies() {
    let made = |effect: &Effect| matches!(effect, Effect::CreateMigration { .. });
    let started = |effect: &Effect| matches!(effect, Effect::StartMigration { .. });
    let moments: [(&str, Moment); 6] = [
        ("before it is made", Box::new(move |row| effect(row, Phase::Intent, made))),
        ("once it is made", Box::new(move |row| effect(row, Phase::Outcome, made))),
        ("before it is started", Box::new(move |row| effect(row, Phase::Intent, started))),
        ("while it runs", Box::new(move |row| effect(row, Phase::Outcome, started))),
        ("once it is known to be over", Box::new(|row| matches!(&row.step, Step::Decision(Decision::Migrated)))),
        ("at the swap", Box::new(|row| effect(row, Phase::Intent, |effect| matches!(effect, Effect::Swap(_))))),
    ];
    let database = Postgres::start();
    let of = |version: &str| image(&format!("BASE={} VERSION={version}", postgres::IMAGE));
    let images = [("1", of("1")), ("2", of("2"))];
    let mut rig = Rig::new("database", 2).await;
    assert_eq!(rig.deploy(&images[1].1).await.expect("deployed"), Outcome::Done);
    rig.migrate_with(&format!("/append.sh {} 1", database.address()));
    let load = rig.load(20);
    let mut expected = Vec::new();
    for (number, (what, moment)) in moments.into_iter().enumerate() {
        let (version, next) = &images[number % 2];
        let (outcome, died) = rig.deploy_and_die(next, moment).await;
        assert!(died && outcome == Outcome::Done, "{what}: {outcome:?}");
        expected.push((*version).to_owned());
        assert_eq!(database.migrated(), expected, "{what}");
    }
    expect_all_good(&load.finish());
}

/// A host whose disk is full takes no image: the deploy says so, and what serves goes on serving.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_disk_is_full_costs_no_request_and_is_named() {
    let (one, two) = (image("VERSION=1"), image(&format!("VERSION=full-{}", std::process::id())));
    // Enough for what keeps lock and journal, and not for an image.
    let second = SecondEngine::start_on(48);
    let mut rig = Rig::new("full", 2).await;
    rig.registry.beside(&second);
    let there: Arc<Docker> = Arc::new(docker::connect(Some(&second.address()), &BTreeMap::new()).await.expect("the second engine"));
    let here = Arc::clone(rig.site.fleet.engine("here").expect("known"));
    rig.site.fleet = Fleet::new([("here".to_owned(), here), ("there".to_owned(), there)]);
    rig.site.environment.slots[1].engine = "there".into();
    rig.site.environment.deadlines.step_ms = 5_000;
    // Of two hosts one serves; the other has never had a release.
    rig.site.environment.max_failed = 1;
    let outcome = rig.deploy(&one).await.expect("an outcome");
    assert!(matches!(&outcome, Outcome::Degraded(out) if out.len() == 1), "{outcome:?}");

    let (release, tagged) = (rig.release(), format!("{}/shop/release:full", rig.registry.host()));
    docker_says(&format!("tag {two} {tagged}"));
    docker_says(&format!("push --quiet {tagged}"));
    docker_says(&format!("rmi {tagged}"));
    let tag: Tag = "full".parse().expect("a tag");
    let identity = identify(&release, &Wanted::from(&tag), StoreKind::Docker).await.expect("pushed");
    let promotion = rig.approved(identity).await;
    rig.site.environment.max_failed = 0;
    let load = rig.load(40);
    moment().await;
    let outcome = carry_out(&rig.site, &promotion, begin(), &actor(), &Seen::default()).await.expect("an outcome");
    moment().await;
    expect_all_good(&load.finish());
    assert!(matches!(outcome.exit_code(), 8 | 9), "{outcome:?}");
    assert_eq!(rig.running().into_values().collect::<Vec<_>>(), [one]);
    let rows = journal(&rig.site).await.expect("a journal");
    let said: Vec<_> = rows.rows().iter().map(|row| &row.evidence).collect();
    let named = |evidence: &&Evidence| matches!(evidence, Evidence::Failed(why) | Evidence::Refused(why) if why.contains("no space left"));
    assert!(said.iter().any(named), "{said:?}");
    assert!(!docker(&format!("-H {} inspect {two}", second.address())).status.success());
}
