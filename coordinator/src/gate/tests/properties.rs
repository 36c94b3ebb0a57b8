//! The gate against chance: what is taken away, mixed up, bent or cut never opens it.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

static POOL: LazyLock<Vec<(Found, Option<Moment>)>> = LazyLock::new(pool);

/// Statements of all kinds about the same image, some that speak for it and some that do not; each with the time that it is from if it decides.
fn pool() -> Vec<(Found, Option<Moment>)> {
    let mut pool = Vec::new();
    let mut add = |key: &SecretKey, statement: &Statement<TestResult>, decides: bool| {
        pool.push((signed(key, statement), decides.then_some(statement.predicate.splitci.finished_on)));
    };
    let again = attest(&whole("01JD2Q5T8Z0000000000000002", "2026-11-23T14:00:00Z", &[Passed]).events(), &facts()).expect("attested");
    let mut elsewhere = green();
    elsewhere.subject[0].digest.sha256 = Some(sha256(b"another manifest"));
    let at = |hour: u32, bend: fn(&mut TestResult)| {
        let mut statement = bent(bend);
        let moment = Moment::parse(&format!("2026-11-23T{hour}:30:00Z")).expect("a time");
        (statement.predicate.splitci.started_on, statement.predicate.splitci.finished_on) = (moment, moment);
        statement
    };
    add(&TEAM.protected, &green(), true);
    add(&TEAM.protected, &red(), true);
    add(&TEAM.protected, &again, true);
    add(&TEAM.protected, &at(15, |result| result.splitci.counts.executed = 1), true);
    add(&TEAM.protected, &at(11, |result| result.splitci.filters.push("-k fast".to_owned())), true);
    add(&TEAM.protected, &at(16, |result| result.configuration.clear()), true);
    add(&TEAM.protected, &elsewhere, false);
    add(&TEAM.pull, &at(17, |_| ()), false);
    add(&TEAM.stranger, &at(18, |_| ()), false);
    pool
}

/// Every place of a field in a JSON text.
fn fields(value: &Value, at: &str) -> Vec<String> {
    let below = |name: String, value: &Value| fields(value, &name).into_iter();
    match value {
        Value::Object(all) => all
            .iter()
            .flat_map(|(name, value)| {
                let place = format!("{at}/{name}");
                std::iter::once(place.clone()).chain(below(place, value)).collect::<Vec<_>>()
            })
            .collect(),
        Value::Array(all) => all.iter().enumerate().flat_map(|(n, value)| below(format!("{at}/{n}"), value).collect::<Vec<_>>()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn without(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = place.rsplit_once('/').expect("a place");
    value.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|all| all.remove(name)).expect("it was there");
    value
}

fn resigned(value: &Value) -> Found {
    signed_bytes(&TEAM.protected, &serde_json::to_vec(value).expect("JSON"))
}

#[test]
fn a_statement_without_one_of_its_fields_never_opens_the_gate() {
    let whole: Value = serde_json::from_slice(&green().to_bytes()).expect("JSON");
    assert_eq!(gate().code(&[resigned(&whole)]), "", "the order of fields makes no difference");
    let all = fields(&whole, "");
    assert!(all.len() > 60, "{}", all.len());
    for place in all {
        assert_ne!(gate().code(&[resigned(&without(&whole, &place))]), "", "without {place}");
    }
}

#[test]
fn no_field_that_is_taken_away_makes_a_no_a_yes() {
    let bends: [fn(&mut TestResult); 8] = [
        |result| result.result = Answer::Failed,
        |result| result.splitci.counts.missing = 1,
        |result| result.splitci.filters.push("x".to_owned()),
        |result| result.splitci.dirty = true,
        |result| result.splitci.engine.clear(),
        |result| result.splitci.level = Level::Fork,
        |result| result.configuration.clear(),
        |result| result.splitci.shards.clear(),
    ];
    for bend in bends {
        let value: Value = serde_json::from_slice(&bent(bend).to_bytes()).expect("JSON");
        assert_ne!(gate().code(&[resigned(&value)]), "");
        for place in fields(&value, "") {
            assert_ne!(gate().code(&[resigned(&without(&value, &place))]), "", "without {place}");
        }
    }
}

#[test]
fn a_field_that_nobody_knows_changes_nothing() {
    let whole: Value = serde_json::from_slice(&green().to_bytes()).expect("JSON");
    for place in fields(&whole, "").into_iter().chain([String::new()]) {
        let mut more = whole.clone();
        if let Some(object) = more.pointer_mut(&place).and_then(Value::as_object_mut) {
            object.insert("later".to_owned(), Value::Bool(false));
            assert_eq!(gate().code(&[resigned(&more)]), "", "in {place}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn order_and_repetition_make_no_difference(which in proptest::collection::vec(0_usize..9, 0..12), seed: u64) {
        let pool = &*POOL;
        let found: Vec<_> = which.iter().map(|n| pool[*n].0.clone()).collect();
        let mut mixed = found.clone();
        // Any rotation and reversal, and one of them twice.
        let turn = usize::try_from(seed % 97).expect("small");
        if !mixed.is_empty() {
            let length = mixed.len();
            mixed.rotate_left(turn % length);
            mixed.push(mixed[0].clone());
        }
        if seed % 2 == 1 {
            mixed.reverse();
        }
        prop_assert_eq!(gate().ask(&found), gate().ask(&mixed));
    }

    /// T16: taking evidence away makes no yes.
    #[test]
    fn evidence_that_is_taken_away_makes_no_yes_unless_it_was_the_newest(which in proptest::collection::btree_set(0_usize..9, 0..9), left: u16) {
        let pool = &*POOL;
        let newest = which.iter().filter_map(|n| pool[*n].1).max();
        let stays = |n: &&usize| left >> **n & 1 == 1 || (pool[**n].1.is_some() && pool[**n].1 == newest);
        let all: Vec<_> = which.iter().map(|n| pool[*n].0.clone()).collect();
        let less: Vec<_> = which.iter().filter(stays).map(|n| pool[*n].0.clone()).collect();
        if gate().ask(&less).is_ok() {
            prop_assert!(gate().ask(&all).is_ok(), "{:?}", gate().ask(&all));
        }
    }

    /// T25: no byte of an envelope can be another one.
    #[test]
    fn a_byte_that_is_changed_closes_the_gate(at: prop::sample::Index, mask in 1_u8..) {
        let mut found = protected(&green());
        let at = at.index(found.envelope.len());
        found.envelope[at] ^= mask;
        prop_assert_eq!(gate().code(&[found]), "E_NO_VALID_SIGNATURE");
    }

    #[test]
    fn an_envelope_that_is_cut_or_joined_closes_the_gate(at: prop::sample::Index, other: prop::sample::Index) {
        let (one, two) = (protected(&green()).envelope, protected(&red()).envelope);
        let (at, other) = (at.index(one.len()), other.index(two.len()));
        let cut = Found { envelope: one[..at].to_vec(), at: String::new() };
        let joined = Found { envelope: [&one[..at], &two[other..]].concat(), at: String::new() };
        prop_assert_ne!(gate().code(&[cut]), "");
        // Their ends are the same: joined there they are the first one.
        prop_assert!(joined.envelope == one || !gate().code(&[joined]).is_empty());
    }

    #[test]
    fn bytes_that_nobody_signed_say_nothing(bytes: Vec<u8>, payload: Vec<u8>) {
        prop_assert_eq!(gate().code(&[Found { envelope: bytes, at: String::new() }]), "E_NO_VALID_SIGNATURE");
        prop_assert_ne!(gate().code(&[signed_bytes(&TEAM.protected, &payload)]), "");
    }

    #[test]
    fn no_numbers_overflow(numbers: [u64; 8], max_age_ms: u64, at: u64) {
        let statement = bent(|result| {
            let [planned, executed, passed, warned, failed, skipped, missing, retried] = numbers;
            result.splitci.counts = statement::Counts { planned, executed, passed, warned, failed, skipped, missing, retried };
        });
        let mut gate = gate().with(|settings| (settings.max_age_ms, settings.max_warned) = (max_age_ms, u64::MAX));
        gate.now = at;
        prop_assert_ne!(gate.code(&[protected(&statement)]), "");
    }
}
