//! What the rest of the way promises: one environment or policy a name, defaults that are written once, strict ones for what is left out.

use std::path::{Path, PathBuf};

use super::delivery::delivery;
use super::*;
use crate::model::environment::{Deadlines, Environment, Health, MigrationClass, Role, Share, Side, SlotName, Strategy, Workers};
use crate::model::hook::{HookSettings, StatusTarget};
use crate::model::policy::{PolicySettings, ReusedRule, Revoked};
use crate::model::trust::{KeySource, Level};

const FILE: &str = "/src/shop/splitci.toml";

fn read_delivery(text: &str) -> Result<Delivery, ConfigError> {
    let (layer, faults) = read::file(Path::new(FILE), text);
    let bases = Bases { root: "/src/shop".into(), directory: "/src/shop".into() };
    let located = Where { bases, file: Some(FILE.into()), dockerfile: None };
    delivery(layer, &located, &[("HOME".to_owned(), "/home/ann".to_owned())].into(), faults.about(survey::OF_DELIVERY))
}

fn faults(error: &ConfigError) -> Vec<String> {
    let hint = |fault: &Fault| fault.kind.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    error.faults.iter().map(|fault| format!("{}: {}{}", fault.place, fault.kind, hint(fault))).collect()
}

const SMALL: &str =
    "[environment.staging]\nslots = [{ name = \"web1\", port = 18101 }]\nlb = [\"unix:///run/haproxy.sock\"]\nport = 8000\n";

#[test]
fn an_environment_needs_little_and_has_the_defaults_of_the_model() {
    let found = read_delivery(SMALL).expect("read");
    let staging = &found.environments["staging"];
    let Environment { app, name, slots, balancers, .. } = &staging.environment;
    assert_eq!((app.as_str(), name.as_str(), slots.len(), staging.port), ("shop", "staging", 1, 8000));
    assert_eq!((slots[0].engine.as_str(), &slots[0].name), ("unix:///var/run/docker.sock", &SlotName("web1".into())));
    assert_eq!((balancers[0].endpoint.as_str(), balancers[0].backend.as_str()), ("unix:///run/haproxy.sock", "shop"));
    let value = serde_json::json!({ "app": app, "name": name, "slots": slots, "balancers": balancers });
    assert_eq!(staging.environment, serde_json::from_value::<Environment>(value).expect("an environment"));
    assert_eq!((found.candidate, found.release, found.protected.as_str()), (None, None, "origin/HEAD"));
    let elsewhere = SMALL.replace("port = 18101", "port = 18101, publish = \"10.0.0.5\"");
    let slot = &read_delivery(&elsewhere).expect("read").environments["staging"].environment.slots[0];
    assert_eq!(slot.publish, Some([10, 0, 0, 5].into()));
    assert!(read_delivery(&elsewhere.replace("10.0.0.5", "web.example")).is_err());
}

#[test]
fn a_strategy_goes_by_the_counts_beside_it_or_by_one() {
    let of = |keys: &str| {
        let text = SMALL.replacen("[environment.staging]\n", &format!("[environment.staging]\n{keys}\n"), 1);
        read_delivery(&text).map(|found| found.environments["staging"].environment.strategy)
    };
    assert_eq!(of("").expect("read"), Strategy::Half);
    assert_eq!(of("strategy = \"rolling\"").expect("read"), Strategy::Rolling { batch: Share::Count(1) });
    assert_eq!(
        of("strategy = \"canary\"\ncanary = 2\nbatch = 3").expect("read"),
        Strategy::Canary { first: Share::Count(2), batch: Share::Count(3) }
    );
    let parts = of("strategy = \"canary\"\ncanary = \"10%\"\nbatch = \"25%\"").expect("read");
    assert_eq!(parts, Strategy::Canary { first: Share::Percent(10), batch: Share::Percent(25) });
    assert!(of("strategy = \"rolling\"\nbatch = 0").is_err() && of("strategy = \"rolling\"\nbatch = \"101%\"").is_err());
}

#[test]
fn slots_of_bluegreen_are_of_two_sides() {
    let sides = SMALL.replacen("[environment.staging]\n", "[environment.staging]\nstrategy = \"bluegreen\"\n", 1).replace(
        "slots = [{ name = \"web1\", port = 18101 }]",
        "slots = [{ name = \"web1\", port = 18101, side = \"blue\" }, { name = \"web2\", port = 18102, side = \"green\" }]",
    );
    let found = read_delivery(&sides).expect("read").environments["staging"].environment.clone();
    assert_eq!((found.strategy, found.size(), found.slots[1].side), (Strategy::BlueGreen, 1, Some(Side::Green)));
    for (from, to, said) in [
        ("side = \"green\"", "side = \"red\"", "a list of slots"),
        (", side = \"green\"", "", "slot `web2` is of no side"),
        ("side = \"green\"", "side = \"blue\"", "2 slots are blue and 0 are green"),
        ("\"bluegreen\"", "\"half\"", "slot `web1` is of a side, and belongs to none"),
    ] {
        let told = faults(&read_delivery(&sides.replace(from, to)).expect_err(said));
        assert!(told.iter().any(|fault| fault.contains(said)), "{told:?}");
    }
}

#[test]
fn workers_have_no_port_and_ten_minutes_for_their_jobs() {
    let workers = SMALL.replace("port = 18101 }]", "port = 18101 }, { name = \"jobs1\", role = \"worker\" }]");
    let of = |text: &str| read_delivery(text).map(|found| found.environments["staging"].environment.clone());
    let found = of(&workers).expect("read");
    assert_eq!((found.size(), found.of(Role::Worker)), (1, vec![SlotName("jobs1".into())]));
    assert_eq!(found.workers, Some(Workers { command: Vec::new(), grace_ms: 600_000 }));
    let asked = format!("{workers}[environment.staging.worker]\ncommand = [\"bin/worker\"]\ngrace = \"1h\"\n");
    assert_eq!(of(&asked).expect("read").workers, Some(Workers { command: vec!["bin/worker".into()], grace_ms: 3_600_000 }));
    for (from, to, said) in [
        ("role = \"worker\"", "role = \"worker\", port = 18102", "slot `jobs1` is a worker, and has a port or an address"),
        ("role = \"worker\"", "role = \"cron\"", "a list of slots"),
        (", { name = \"jobs1\", role = \"worker\" }", "", "it says how workers run, and has no slot of that role"),
        ("role = \"worker\"", "role = \"web\"", "slot `jobs1` has no port"),
        ("name = \"web1\", port = 18101", "name = \"web1\", role = \"worker\"", "it has no slots that serve"),
    ] {
        let told = faults(&read_delivery(&asked.replace(from, to)).expect_err(said));
        assert!(told.iter().any(|fault| fault.contains(said)), "{told:?}");
    }
}

#[test]
fn what_may_hide_an_environment_or_a_policy_is_never_passed_over() {
    let broken = faults(&read_delivery(&format!("{SMALL}backend = \"\\q\"\n")).expect_err("an escape that there is not"));
    assert!(broken.len() == 1 && broken[0].starts_with("/src/shop/splitci.toml:5: cannot read this as TOML"), "{broken:?}");
    let misspelt = faults(&read_delivery("[enviroment.staging]\nport = 8000\n").expect_err("no such section"));
    assert!(misspelt[0].contains("there is no key `enviroment"), "{misspelt:?}");
    for bad in ["[policy.production]\nrevoked = [\n", "[polcy.production]\nmin_tests = 300\n"] {
        assert!(policies(Path::new(FILE), bad).is_err(), "{bad}");
    }
    // What is wrong elsewhere keeps nobody from rolling back.
    let elsewhere = format!("{SMALL}[run]\nshards = \"many\"\n");
    assert!(read_delivery(&elsewhere).is_ok() && policies(Path::new(FILE), &elsewhere).is_ok());
}

#[test]
fn the_example_shows_the_defaults_of_environments_and_policies() {
    let key = |line: &&str| {
        line.starts_with("# [") && line.ends_with(']')
            || line.split_once(" = ").is_some_and(|(key, _)| key.starts_with("# ") && !key[2..].contains(' '))
    };
    // Slots that publish ports and slots of a network are two ways, of which an environment has one.
    let lines = EXAMPLE.lines().filter(|line| (key(line) || line.starts_with('[')) && !line.starts_with("# network = "));
    let text: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let text = text.join("\n");
    let settings = read_delivery(&text).expect("read").environments.remove("production").expect("there");
    assert_eq!(settings.hooks.timeout_ms, HookSettings::default().timeout_ms);
    let found = settings.environment;
    assert_eq!((&found.health, found.deadlines, found.floor), (&Health::default(), Deadlines::default(), Share::Percent(50)));
    assert_eq!((found.drain_ms, found.grace_ms, found.soak_ms, found.max_failed), (30_000, 30_000, 10_000, 0));
    assert_eq!(found.workers, Some(Workers { command: vec!["bin/worker".into()], grace_ms: 600_000 }));
    let gate = found.errors.expect("asked for");
    assert_eq!((gate.min_requests, gate.tolerance_permille), (100, 5));
    let migration = found.migration.expect("asked for");
    assert_eq!((migration.class, migration.timeout_ms), (MigrationClass::Breaking, 600_000));
    let shown = policies(Path::new(FILE), &text).expect("read").policies.remove("production").expect("there");
    let glass = shown.break_glass.clone().expect("asked for");
    assert_eq!((glass.ttl_ms, glass.min_reason), (4 * 3_600_000, 20));
    let (keys, revoked) = (Vec::new(), Vec::new());
    let image_level = None;
    let plain = PolicySettings { keys, revoked, image_level, repository: None, break_glass: None, ..shown };
    assert_eq!(plain, PolicySettings::named("production"));
}

#[test]
fn what_an_environment_cannot_be_without_is_told_at_once_with_line_and_key() {
    let text = "[environment.production]\nslot = []\nfloor = \"150%\"\n[environment.production.health]\npath = \"up\"\n\
                [environment.Big]\n[environment]\nx = 1\n[environment.a]\nslots = [{ name = \"w\", prot = 1 }]\n";
    let told = faults(&read_delivery(text).expect_err("faults"));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn slots_that_do_not_go_together_are_told() {
    let text = SMALL.replace("[{ name = \"web1\", port = 18101 }]", "[{ name = \"a\", port = 1 }, { name = \"a\", port = 2 }]");
    let told = faults(&read_delivery(&text).expect_err("faults"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("staging") && told[0].contains("`a`"), "{told:?}");
}

const NETWORKED: &str = "[environment.staging]\nnetwork = \"shop-net\"\nslots = [{ name = \"web1\", address = \"172.30.0.11\" }, { name = \"web2\", address = \"172.30.0.12\", port = 8000 }]\nlb = [\"unix:///run/haproxy.sock\"]\nport = 8000\n";

#[test]
fn a_slot_of_a_network_has_an_address_and_the_apps_own_port() {
    let found = read_delivery(NETWORKED).expect("read");
    let environment = &found.environments["staging"].environment;
    assert_eq!(environment.network.as_deref(), Some("shop-net"));
    let places: Vec<_> = environment.slots.iter().map(|slot| (slot.reached_at().to_string(), slot.port, slot.publish)).collect();
    assert_eq!(places, [("172.30.0.11".to_owned(), 8000, None), ("172.30.0.12".to_owned(), 8000, None)]);
    assert!(read_delivery(&SMALL.replace("port = 18101", "port = 0")).is_err());
}

#[test]
fn what_does_not_go_with_a_network_is_told_with_line_and_key() {
    let changes = [
        ("no network of its own", "\"shop-net\"", "\"host\""),
        ("an address in no network", "network = \"shop-net\"\n", ""),
        ("no address", ", address = \"172.30.0.12\"", ""),
        ("no IP address", "172.30.0.12", "web2.example"),
        ("an address of the wrong kind", "172.30.0.12", "fd00::12"),
        ("published, too", ", port = 8000", ", publish = \"10.0.0.5\""),
        ("another port", ", port = 8000", ", port = 18102"),
        ("one address", "172.30.0.12", "172.30.0.11"),
        (
            "one address on two engines",
            "{ name = \"web2\", address = \"172.30.0.12\"",
            "{ name = \"web2\", engine = \"ssh://b\", address = \"172.30.0.11\"",
        ),
    ];
    let told = changes.map(|(what, from, to)| {
        let text = NETWORKED.replacen(from, to, 1);
        assert_ne!(text, NETWORKED, "{what}");
        let found = faults(&read_delivery(&text).expect_err(what));
        format!("{what}\n  {}", found.join("\n  "))
    });
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn slots_without_a_port_or_a_network_are_told() {
    let told = faults(&read_delivery(&SMALL.replace(", port = 18101", "")).expect_err("faults"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("/src/shop/splitci.toml:2, key `environment.staging.slots`") && told[0].contains("`web1` has no port"),
        "{told:?}"
    );
}

#[test]
fn a_policy_is_strict_in_what_it_leaves_out_and_its_keys_are_beside_it() {
    let digest = "a".repeat(64);
    let text = format!(
        "[trust]\nprotected = [\"keys/main.pem\"]\n[policy.production]\nmin_tests = 300\nreused = \"protected\"\nimage_level = \"release\"\n\
         revoked = [{{ image = \"sha256:{digest}\", reason = \"loses orders\" }}]\n[policy.production.break_glass]\nkeys = [\"keys/anna.pem\"]\nttl = \"1h\"\n"
    );
    let found = policies(Path::new("/p/splitci.toml"), &text).expect("read");
    assert_eq!(found.trust.trusted[0].key, KeySource::File("/p/keys/main.pem".into()));
    let policy = &found.policies["production"];
    assert_eq!((policy.min_tests, policy.reused, policy.image_level), (300, ReusedRule::Protected, Some(Level::Release)));
    assert!(matches!(policy.revoked[0].what, Revoked::Image(image) if image.hex() == digest));
    let glass = policy.break_glass.as_ref().expect("asked for");
    assert_eq!((glass.ttl_ms, &glass.keys[..]), (3_600_000, &[KeySource::File("/p/keys/anna.pem".into())][..]));
    let strict = PolicySettings::named("production");
    assert_eq!((policy.level, policy.max_age_ms, policy.max_warned, policy.dirty), (strict.level, strict.max_age_ms, 0, false));
}

#[test]
fn what_is_wrong_elsewhere_in_a_policys_file_is_not_its_matter_and_what_is_wrong_in_it_is() {
    assert!(policies(Path::new(FILE), "[run]\nshrads = 3\n[policy.production]\n").is_ok());
    for bad in ["level = \"local\"", "max_age = \"soon\"", "min_test = 1", "revoked = [{ image = \"sha256:1\", reason = \"r\" }]"] {
        assert!(policies(Path::new(FILE), &format!("[policy.production]\n{bad}\n")).is_err(), "{bad}");
    }
    let two = "revoked = [{ run = \"a\", commit = \"b\", reason = \"r\" }]";
    assert!(policies(Path::new(FILE), &format!("[policy.production]\n{two}\n")).is_err());
}

#[test]
fn a_login_is_a_file_a_program_or_in_a_variable_itself() {
    let text = "[registry.release]\nrepository = \"registry.example/shop/release\"\nauth = \"file:login\"\n[registry.candidate]\nrepository = \"c/d\"\nauth = \"exec:pass show x\"\n";
    let found = read_delivery(text).expect("read");
    assert_eq!(found.release.expect("there").auth, Some(AuthSource::File(PathBuf::from("/src/shop/login"))));
    assert_eq!(found.candidate.expect("there").auth, Some(AuthSource::Exec("pass show x".into())));
    assert!(read_delivery("[registry.release]\nauth = \"ann:secret\"\n").is_err());
    let (layer, faults) = read::environment(&[("SPLITCI_REGISTRY_RELEASE_AUTH".to_owned(), "ann:secret".to_owned())].into());
    assert!(faults.is_empty());
    assert!(matches!(layer.release.auth.expect("there").value, AuthSource::Login(_)));
    let (_, faults) = read::environment(&[("SPLITCI_ENVIRONMENT_FLOOR".to_owned(), "1".to_owned())].into());
    assert!(!faults.is_empty(), "it does not say of which environment");
}

#[test]
fn hooks_are_programs_of_words_and_a_chats_address_is_not_shown() {
    let read = |lines: &str| {
        let read = read_delivery(&format!("{SMALL}[environment.staging.hooks]\n{lines}\n"));
        read.map(|found| found.environments["staging"].hooks.clone())
    };
    assert_eq!(read_delivery(SMALL).expect("read").environments["staging"].hooks, HookSettings::default());
    let hooks = read("before_deploy = [\"bin/ask\", \"a b\"]\nbefore_switch = \"bin/smoke now\"\nstatus = [\"tell\"]\ntimeout = \"5s\"")
        .expect("read");
    assert_eq!(
        (&hooks.before_deploy[..], &hooks.before_switch[..]),
        (&["bin/ask".into(), "a b".into()][..], &["bin/smoke".into(), "now".into()][..])
    );
    assert_eq!((hooks.status, hooks.timeout_ms), (Some(StatusTarget::Program(vec!["tell".into()])), 5_000));
    let status = |value: &str| read(&format!("status = \"{value}\"")).map(|hooks| hooks.status);
    assert_eq!(status("env:CHAT_URL").expect("read"), Some(StatusTarget::Variable("CHAT_URL".into())));
    for address in ["https://chat.example/in/hush", "http://127.0.0.1:1/hush", "http://localhost/hush"] {
        let found = status(address).expect("read");
        assert!(
            matches!(&found, Some(StatusTarget::Address(text)) if text.0 == address) && !format!("{found:?}").contains("hush"),
            "{found:?}"
        );
    }
    for plain in [
        "http://chat.example/in",
        "http://localhost.example/in",
        "http://127.0.0.1:1@chat.example/",
        "ftp://chat.example",
        "env:",
        "https://",
    ] {
        assert!(status(plain).is_err(), "{plain}");
    }
    for bad in ["before_deploy = []", "before_switch = [\"\"]", "before_deploy = \"  \"", "status = []", "timeout = 0", "after = \"x\""] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
