//! Every crate that is built into splitci comes under a licence of the list in `.deny.toml`, and from the registry.
//!
//! `cargo deny check` says the same and more; this needs nothing but cargo, so it runs with the tests everywhere.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::process::Command;

use serde_json::Value;

/// Packages as cargo resolves them for this workspace.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(splitci_tests::root())
        .output()
        .expect("start cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata");
    metadata["packages"].as_array().expect("packages").clone()
}

fn allowed() -> Vec<String> {
    let text = fs_err::read_to_string(splitci_tests::root().join(".deny.toml")).expect("the list");
    let table: toml::Table = toml::from_str(&text).expect("TOML");
    let list = table["licenses"]["allow"].as_array().expect("a list");
    list.iter().map(|licence| licence.as_str().expect("a name").to_owned()).collect()
}

/// An SPDX expression of OR, AND and parentheses, without their nesting: every part between ANDs needs one allowed alternative.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let alternative_is_allowed = |one: &str| allowed.iter().any(|licence| licence == one.trim());
    if expression.contains('(') || !flat.contains(" AND ") {
        return flat.split(" AND ").all(|part| part.split(" OR ").any(alternative_is_allowed));
    }
    flat.split(" OR ").any(|all| all.split(" AND ").all(alternative_is_allowed))
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let bad = packages()
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect::<Vec<_>>();
    assert!(bad.is_empty(), "not allowed by .deny.toml: {bad:#?}");
}

#[test]
fn every_crate_comes_from_the_registry_or_from_here() {
    let foreign = packages()
        .iter()
        .filter(|package| package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")))
        .map(|package| package["name"].to_string())
        .collect::<Vec<_>>();
    assert!(foreign.is_empty(), "from elsewhere: {foreign:?}");
}

#[test]
fn an_expression_needs_one_alternative_of_each_part() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Zlib", "MIT AND Zlib", "GPL-3.0 OR MIT AND Zlib"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "none"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
