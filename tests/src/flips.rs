//! The gate before envelopes and statements that were bent: whichever way, it stays closed. `soak flips` tries as many as one likes, the tests a share.
//!
//! It begins with the golden statement under the golden key, which the gate lets through. What is bent in the envelope, nobody signed; what is bent in the statement
//! is signed by the right key again, so that only the gate's own questions stand in its way.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;
use splitci_coordinator::gate::{Evidence, Found, Identity, Mode, Policy, Question, Statement, StoreKind, TestResult, decide};
use splitci_coordinator::model::policy::PolicySettings;
use splitci_coordinator::model::trust::{Level, Space};
use splitci_coordinator::trust::{SecretKey, TrustList, dsse, public};

use crate::schedules::dice::Dice;

/// The golden key, statement and envelope, and a gate that lets them through.
#[derive(Debug)]
pub struct Golden {
    /// The key.
    pub key: SecretKey,
    /// The statement's bytes.
    pub statement: Vec<u8>,
    /// The envelope's bytes.
    pub envelope: Vec<u8>,
    question: Question,
    now_ms: u64,
}

impl Golden {
    /// What is in the repository.
    pub fn read() -> Self {
        let read = |name: &str| fs_err::read(crate::root().join("coordinator/src/gate/golden").join(name)).expect("a golden file");
        let (key, statement, envelope) = (read("key.pem"), read("statement.json"), read("envelope.json"));
        let key = SecretKey::from_pem(&String::from_utf8(key).expect("PEM"), None).expect("a key");
        let said: Statement<TestResult> = serde_json::from_slice(&statement).expect("a statement");
        let manifest = said.subject.iter().find_map(|subject| subject.digest.sha256).expect("an image");
        let identity = Identity { manifest, config: said.predicate.splitci.image.config, store: StoreKind::Docker };
        let question = Question { identity, environment: "production".to_owned(), mode: Mode::Deploy };
        let now_ms = said.predicate.splitci.finished_on.ms() + 3_600_000;
        Self { key, statement, envelope, question, now_ms }
    }

    /// The code with which an envelope is refused by a gate that trusts one key; nothing if it gets through.
    pub fn code(&self, key: &SecretKey, envelope: Vec<u8>) -> Option<String> {
        let mut list = TrustList::default();
        list.add(key.public().clone(), Space::of(Level::Protected)).expect("added");
        let policy = Policy::new(PolicySettings::named("production"), list, public).expect("a policy");
        let evidence = Evidence::Asked(vec![Found { envelope, at: "here".to_owned() }]);
        decide(&self.question, &policy, &evidence, self.now_ms).err().map(|denial| denial.code())
    }
}

/// How long a decision over a statement with so many names of tests takes, in milliseconds: the fastest of ten.
pub fn decision_ms(names: u64) -> f64 {
    let golden = Golden::read();
    let mut said: Statement<TestResult> = serde_json::from_slice(&golden.statement).expect("a statement");
    let result = &mut said.predicate;
    result.passed_tests = (0..names).map(|n| format!("tests/unit/orders/test_cart_{}.py::TestCart::test_add_{n}", n % 97)).collect();
    let counts = &mut result.splitci.counts;
    (counts.passed, counts.executed, counts.planned) = (names, names + counts.skipped, names + counts.skipped);
    let [first, others @ ..] = &mut result.splitci.shards[..] else { panic!("the golden statement has shards") };
    first.tests = counts.executed - others.iter().map(|shard| shard.tests).sum::<u64>();
    let envelope = dsse::sign(&golden.key, &said.to_bytes());
    let once = || {
        let start = Instant::now();
        assert_eq!(golden.code(&golden.key, envelope.clone()), None);
        start.elapsed().as_secs_f64() * 1_000.0
    };
    (0..10).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Bends something, so many times. How often in which way and with which answer, or what got through.
pub fn soak(count: u64, seed: u64) -> Result<BTreeMap<String, u64>, String> {
    let golden = Golden::read();
    if let Some(code) = golden.code(&golden.key, golden.envelope.clone()) {
        return Err(format!("the golden envelope is refused: {code}"));
    }
    let stranger = SecretKey::generate().expect("random numbers");
    let mut dice = Dice::new(seed);
    let mut tried = BTreeMap::new();
    for number in 0..count {
        let (how, envelope) = bend(&golden, &stranger, &mut dice);
        if envelope == golden.envelope {
            continue; // A range that was cut out may be empty, and a byte that was put in may be the one that was there.
        }
        match golden.code(&golden.key, envelope.clone()) {
            Some(code) => *tried.entry(format!("{how}: {code}")).or_default() += 1,
            None => return Err(format!("seed {seed}, number {number}, {how}: {}", String::from_utf8_lossy(&envelope))),
        }
    }
    Ok(tried)
}

fn bend(golden: &Golden, stranger: &SecretKey, dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let mut bytes = golden.envelope.clone();
    let length = u32::try_from(bytes.len()).expect("small");
    let place = |dice: &mut Dice| usize::try_from(dice.below(length)).expect("small");
    match dice.below(8) {
        0..4 => {
            let (at, mask) = (place(dice), 1 + u8::try_from(dice.below(255)).expect("a byte"));
            bytes[at] ^= mask;
            ("a byte is changed", bytes)
        }
        4 => {
            let (one, other) = (place(dice), place(dice));
            bytes.drain(one.min(other)..one.max(other));
            ("a part is cut out", bytes)
        }
        5 => {
            bytes.insert(place(dice), u8::try_from(dice.below(256)).expect("a byte"));
            ("a byte is put in", bytes)
        }
        6 => ("a field is taken out and signed for", dsse::sign(&golden.key, &without_a_field(&golden.statement, dice))),
        _ => ("somebody else signed it", dsse::sign(stranger, &golden.statement)),
    }
}

/// The statement without one of its fields, whichever, however deep.
fn without_a_field(statement: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(statement).expect("JSON");
    let places = fields(&value, "");
    let place = places.get(usize::try_from(dice.below(u32::try_from(places.len()).expect("small"))).expect("small")).expect("a place");
    let (parent, name) = place.rsplit_once('/').expect("a place");
    value.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|all| all.remove(name)).expect("it was there");
    serde_json::to_vec(&value).expect("JSON")
}

fn fields(value: &Value, at: &str) -> Vec<String> {
    let (own, below): (Vec<String>, Vec<(String, &Value)>) = match value {
        Value::Object(all) => {
            let places: Vec<_> = all.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect();
            (places.iter().map(|(place, _)| place.clone()).collect(), places)
        }
        Value::Array(all) => (Vec::new(), all.iter().enumerate().map(|(n, value)| (format!("{at}/{n}"), value)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (Vec::new(), Vec::new()),
    };
    own.into_iter().chain(below.into_iter().flat_map(|(place, value)| fields(value, &place))).collect()
}
