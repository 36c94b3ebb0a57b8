//! The command line as people see it and say it.

use std::collections::BTreeMap;

use clap::{CommandFactory as _, Parser as _};
use splitci_coordinator::config::{Bases, Candidate, Facts, Flags, ImageSettings, KEYS, Project, resolve};
use splitci_coordinator::model::settings::{EngineKind, Order};

use super::{Cli, Command};

fn help(path: &[&str]) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let found = path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).expect("a subcommand"));
    found.render_help().to_string()
}

#[test]
fn the_help_names_every_command() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn the_help_of_run_has_every_option() {
    insta::assert_snapshot!(help(&["run"]));
}

#[test]
fn the_help_of_the_others_is_short() {
    let all = ["push", "repro", "report", "runs", "init", "keys", "cache"].map(|command| help(&[command]));
    insta::assert_snapshot!(all.join("\n----\n"));
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    Cli::command().debug_assert();
}

/// The project that a `splitci run` command line means, in `/src/shop` with nothing there.
fn project(line: &[&str]) -> Project {
    let cli = Cli::try_parse_from(["splitci", "run"].iter().chain(line)).expect("parses");
    let Command::Run(args) = cli.command else { panic!("not run") };
    let mut flags = Flags::default();
    args.into_flags(&mut flags);
    let (layer, faults) = flags.finish();
    let pytest = Candidate {
        name: "pytest".into(),
        in_image: vec!["pytest".into()],
        here: vec!["pytest".into()],
        evidence: Some("x".into()),
        looked_for: String::new(),
        recipe: None,
    };
    let facts = Facts {
        bases: Bases { root: "/src/shop".into(), directory: "/src/shop".into() },
        file: None,
        dockerfile: None,
        env_files: Vec::new(),
        frameworks: vec![pytest],
        elsewhere: BTreeMap::new(),
        env: [("HOME", "/home/ann")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        cpus: 2,
        seed: 1,
    };
    resolve(layer, facts, faults).expect("resolves")
}

#[test]
fn options_of_a_run_reach_their_keys() {
    let line = "-n 8 --engine process --order random --seed 9 --retries 2 -x --allow-empty --timeout 90s --run-timeout 1h --boot-timeout 7 --whole \
                -e A=1 tests/a.py tests/b.py -- -k slow -x";
    let settings = project(&line.split_whitespace().collect::<Vec<_>>()).settings;
    assert_eq!(
        (settings.shards, settings.engine, settings.order, settings.seed, settings.retries),
        (8, EngineKind::Process, Order::Random, 9, 2)
    );
    assert!(settings.fail_fast && settings.allow_empty && settings.suites[0].whole);
    assert_eq!((settings.timeouts.test_ms, settings.timeouts.run_ms, settings.timeouts.boot_ms), (90_000, 3_600_000, 7_000));
    assert_eq!(settings.suites[0].command, ["pytest", "-k", "slow", "-x", "tests/a.py", "tests/b.py"]);
    assert_eq!(settings.env, [("A".to_owned(), "1".to_owned())]);
}

#[test]
fn options_of_containers_reach_their_keys() {
    let line = "--image app:1 --platform linux/arm64 -m 512m --cpus 1.5 --shm-size 1g -v a:/a -v ./b:/b --add-host db:10.0.0.5 --network none --entrypoint= \
                --init image -w /app -u 1000 --read-only --cap-add SYS_PTRACE --security-opt seccomp=unconfined --pids-limit -1";
    let project = project(&line.split_whitespace().collect::<Vec<_>>());
    let reference = "app:1".to_owned();
    assert_eq!(project.image, Some(ImageSettings::Given { reference, platform: Some("linux/arm64".into()) }));
    insta::assert_debug_snapshot!(project.settings.container);
}

#[test]
fn options_of_a_build_reach_their_keys() {
    let line = "-f docker/Dockerfile --context . --target test --build-arg A=1 --build-arg B=2 \
                --secret id=npm,src=.npmrc --ssh git=/run/git.sock";
    insta::assert_debug_snapshot!(project(&line.split_whitespace().collect::<Vec<_>>()).image);
}

#[test]
fn a_switch_of_the_file_can_be_switched_off() {
    assert!(!project(&["--fail-fast=false"]).settings.fail_fast);
}

#[test]
fn every_key_has_an_option_but_those_that_belong_into_a_file() {
    let tool = ["suite.prepare", "suite.files", "suite.list", "suite.results", "suite.report", "suite.batch"];
    let in_files = [
        &["project.name", "image.split_copies", "suite.name", "suite.directory", "suite.command"],
        &tool[..],
        &["run.timeout.grace", "cache.canaries", "cache.epoch", "cache.max_age", "cache.images", "cache.redis", "cache.s3", "cache.layers"],
        &["record.keep", "record.keep_size", "record.state"],
        &["trust.signer", "trust.partition", "trust.release", "trust.protected", "trust.branch", "trust.pull", "trust.fork"],
        &[
            "registry.candidate.repository",
            "registry.candidate.auth",
            "registry.release.repository",
            "registry.release.auth",
            "gate.protected",
        ],
    ]
    .concat();
    let text = concat!(include_str!("project.rs"), include_str!("run.rs"), include_str!("cache.rs"));
    let without: Vec<&str> =
        KEYS.iter().filter(|key| !key.is_of_a_name()).map(|key| key.path).filter(|path| !text.contains(&format!("\"{path}\""))).collect();
    assert_eq!(without, in_files);
}
