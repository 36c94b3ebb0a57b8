//! By what each preset is found, and what it calls.

use std::collections::BTreeMap;

use super::*;
use crate::framework::{ALL, Place};

fn project(files: &[(&str, &str)], programs: &[&str]) -> ProjectFacts {
    let place = Place::Here { programs: programs.iter().map(ToString::to_string).collect(), activated: false };
    let texts: BTreeMap<_, _> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    ProjectFacts { files: texts.keys().cloned().collect(), texts, place }
}

/// The tools that speak up for a project with these files.
fn found(files: &[(&str, &str)]) -> Vec<&'static str> {
    let facts = project(files, &[]);
    ALL.iter().filter(|framework| framework.recipe().is_some() && framework.evidence(&facts).is_some()).map(|found| found.name()).collect()
}

#[test]
fn each_is_found_by_its_own_files() {
    assert_eq!(found(&[("README", "")]), [""; 0]);
    assert_eq!(found(&[("test/a.bats", "")]), ["bats"]);
    assert_eq!(found(&[("Cargo.toml", "")]), ["cargo"]);
    assert_eq!(found(&[("CMakeLists.txt", "project(x)\n")]), [""; 0]);
    assert_eq!(found(&[("CMakeLists.txt", "  enable_testing()\n")]), ["ctest"]);
    assert_eq!(found(&[("mix.exs", "")]), ["exunit"]);
    assert_eq!(found(&[("apps/shop/mix.exs", "")]), [""; 0]);
    assert_eq!(found(&[("go.mod", "")]), ["go"]);
    assert_eq!(found(&[("jest.config.mjs", "")]), ["jest"]);
    assert_eq!(found(&[("package.json", "{\"jest\":{}}")]), ["jest"]);
    assert_eq!(found(&[("package.json", "{\"scripts\":{\"test\":\"jester\"}}")]), [""; 0]);
    assert_eq!(found(&[("pom.xml", "")]), ["junit"]);
    assert_eq!(found(&[("package.json", "{\"devDependencies\":{\"mocha\":\"10\"}}")]), ["mocha"]);
    assert_eq!(found(&[("phpunit.xml.dist", "")]), ["phpunit"]);
}

#[test]
fn a_tool_that_the_project_brings_comes_first() {
    let command = |name: &str, files: &[(&str, &str)], programs: &[&str]| {
        let framework = ALL.iter().find(|framework| framework.name() == name).expect("a framework");
        framework.command(&project(files, programs)).first().cloned().unwrap_or_default()
    };
    assert_eq!(command("jest", &[], &["jest"]), "jest");
    assert_eq!(command("jest", &[], &[]), "node_modules/.bin/jest");
    assert_eq!(command("junit", &[("pom.xml", "")], &[]), "mvn");
    assert_eq!(command("junit", &[("pom.xml", ""), ("mvnw", "")], &[]), "./mvnw");
}

#[test]
fn every_command_says_where_its_units_go() {
    for framework in ALL.iter().filter(|framework| framework.name() != "generic" && framework.recipe().is_some()) {
        let command = framework.command(&project(&[], &[])).join(" ");
        let placeholders = ["{units}", "{regex}", "{classes}", "{nested}", "{target}"];
        assert!(placeholders.iter().any(|placeholder| command.contains(placeholder)), "{command}");
    }
}
