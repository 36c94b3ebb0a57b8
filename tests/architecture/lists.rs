//! Threats and invariants, one by one: each has a test that says so, or a reason why it has none.
//!
//! A test says so by a line above it: `/// T7: no tests are a no.` What is in no list, or has a reason and a test, is wrong, too: lists that are not kept are not read.

use std::collections::{BTreeMap, BTreeSet};

/// How something untested could get live, and what must not be possible then.
const THREATS: &[(&str, &str)] = &[
    ("T1", "a tag is moved after the tests"),
    ("T2", "another image is pushed to the release repository"),
    ("T3", "the same commit is built again"),
    ("T4", "the image is converted"),
    ("T5", "the check is skipped"),
    ("T6", "a rollback is exempt"),
    ("T7", "no tests ran, and it is green"),
    ("T8", "a shard was lost, and the others are green"),
    ("T9", "unstable, skipped or neutral passes"),
    ("T10", "test code forges its own report"),
    ("T11", "a change runs fewer tests"),
    ("T12", "a worker lies"),
    ("T13", "a verdict is put beside another image"),
    ("T14", "the wrong key signs, or one of another application"),
    ("T15", "old evidence is used again"),
    ("T16", "the record of a failure is deleted"),
    ("T17", "a yes sticks after a failure"),
    ("T18", "the check fails open"),
    ("T19", "something else is used than was checked"),
    ("T20", "an older release is deployed last"),
    ("T23", "somebody gets past without a trace"),
    ("T24", "the registry deletes the evidence"),
    ("T25", "an envelope chooses a weak algorithm"),
];

/// What holds in every deployment.
const INVARIANTS: &[(&str, &str)] = &[
    ("I1", "as many slots serve as have to"),
    ("I2", "no request is lost"),
    ("I3", "how long answers take at half capacity is told"),
    ("I4", "new requests never meet two releases"),
    ("I5", "where releases are mixed by design, no longer than they may be"),
    ("I6", "what is not well is never in rotation"),
    ("I7", "a slot that failed stays out"),
    ("I8", "a migration runs once"),
    ("I9", "nothing runs but the old release and the new one"),
    ("I10", "nothing changes before gate and lock"),
    ("I11", "one deploys at a time"),
    ("I12", "who was overtaken does nothing"),
    ("I13", "a crash changes no end"),
    ("I14", "the same deploy twice does nothing the second time"),
    ("I15", "a way back keeps the floor"),
    ("I16", "a way back leads to what settled in"),
    ("I17", "the exit status is that of the end"),
    ("I18", "the journal is a whole chain"),
    ("I19", "secrets are in no journal and no label"),
    ("I20", "nobody deploys in a window that is frozen"),
    ("I21", "who was overtaken takes no lock"),
    ("I22", "what is well is in rotation after an abort"),
    ("I23", "workers of a queue lose no job"),
    ("I24", "the old release is kept, and then goes"),
    ("I25", "a revocation ends a deploy"),
    ("I26", "four slots take less than 30 s"),
];

/// What has no test, and why.
const WITHOUT: &[(&str, &str)] = &[("T21", "there are no webhooks: nothing listens"), ("T22", "there are no previews")];

/// Labels right above tests, with the tests that have them; and labels above tests that never run.
fn labelled(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut found, mut idle) = (Vec::new(), Vec::new());
    let (mut labels, mut attributes): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            labels.extend(label(said.trim_start()));
        } else if line.starts_with("#[") {
            attributes.push(line);
        } else {
            let has = |starts: &[&str]| attributes.iter().any(|attribute| starts.iter().any(|start| attribute.starts_with(start)));
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| has(&["#[test]", "#[tokio::test"])) {
                let name = rest.split('(').next().unwrap_or_default();
                if has(&["#[ignore"]) {
                    idle.extend(labels.iter().map(|label| format!("{label} {name}")));
                } else {
                    found.extend(labels.iter().map(|label| ((*label).to_owned(), name.to_owned())));
                }
            }
            (labels, attributes) = (Vec::new(), Vec::new());
        }
    }
    (found, idle)
}

/// `T7` of `T7: no tests are a no.`
fn label(said: &str) -> Option<&str> {
    let (label, _) = said.split_once(": ")?;
    let number = label.strip_prefix(['T', 'I'])?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(label)
}

#[test]
fn every_threat_and_invariant_has_a_test_or_a_reason() {
    let (mut tests, mut idle): (BTreeMap<String, BTreeSet<String>>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for (path, text) in super::every_file() {
        // Examples stand here.
        if path == "tests/architecture/lists.rs" {
            continue;
        }
        let (found, never) = labelled(&text);
        idle.extend(never);
        for (label, test) in found {
            tests.entry(label).or_default().insert(format!("{path} {test}"));
        }
    }
    assert!(idle.is_empty(), "tests that do not run show nothing: {idle:#?}");
    let missing: Vec<_> = THREATS.iter().chain(INVARIANTS).filter(|(label, _)| !tests.contains_key(*label)).collect();
    assert!(missing.is_empty(), "no test says that it shows: {missing:#?}");
    let known: BTreeSet<_> = THREATS.iter().chain(INVARIANTS).map(|(label, _)| *label).collect();
    let strange: Vec<_> = tests.iter().filter(|(label, _)| !known.contains(label.as_str())).collect();
    assert!(strange.is_empty(), "in no list, or in that of what has no test: {strange:#?}");
}

#[test]
fn the_lists_are_whole() {
    let numbers = |kind: char| {
        let all = THREATS.iter().chain(INVARIANTS).chain(WITHOUT).filter_map(move |(label, _)| label.strip_prefix(kind));
        let mut numbers: Vec<u32> = all.map(|number| number.parse().expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers('T'), (1..=25).collect::<Vec<_>>());
    assert_eq!(numbers('I'), (1..=26).collect::<Vec<_>>());
}

#[test]
fn the_reader_of_labels_knows_what_is_a_test() {
    let found = |text: &str| labelled(text).0.into_iter().map(|(label, test)| format!("{label} {test}")).collect::<Vec<_>>();
    assert_eq!(found("/// T7: none.\n#[test]\nfn a() {}"), ["T7 a"]);
    assert_eq!(
        found("    /// Why.\n    ///\n    /// I2: x.\n    /// I14: y.\n    #[tokio::test(flavor = \"x\")]\n    async fn b() {"),
        ["I2 b", "I14 b"]
    );
    assert_eq!(found("/// T7: none.\nfn a() {}\n#[test]\nfn b() {}"), [""; 0]);
    assert_eq!(found("/// T7: none.\n\n#[test]\nfn b() {}"), [""; 0]);
    assert_eq!(found("/// T7 and T8: none.\n/// Tea: x.\n/// T: x.\n#[test]\nfn b() {}"), [""; 0]);
    assert_eq!(labelled("/// T7: none.\n#[test]\n#[ignore = \"slow\"]\nfn a() {}"), (vec![], vec!["T7 a".to_owned()]));
}
