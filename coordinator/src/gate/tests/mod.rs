//! What the gate promises: nothing gets through that was not shown to be good, however what it is shown is bent, and a no says why.

mod attesting;
mod clauses;
mod properties;
mod threats;

use std::sync::LazyLock;

use super::claim::{BreakGlass, Claim};
use super::decide::{Approval, Mode, Question, decide};
use super::denial::Denial;
use super::evidence::{Evidence, Found};
use super::statement::{CONFIG, Statement, StoreKind, Subject, TestResult};
use super::*;
use crate::model::Outcome::{self, Passed, Skipped};
use crate::model::event::{Close, EventKind, ImageSource};
use crate::model::policy::PolicySettings;
use crate::model::story::{RUN, Story, file, record_of};
use crate::model::trust::{KeySource, Level, Partition, Space};
use crate::model::verdict::Verdict;
use crate::model::{ImageIdentity, RunId};
use crate::trust::{PublicKey, SecretKey, TrustList, dsse, sha256};

const DAY: u64 = 86_400_000;
const LATER: &str = "01JD2Q5T8Z0000000000000001";

/// When the gate is asked: a day after the first run.
fn now() -> u64 {
    Moment::parse("2026-11-24T10:00:00Z").expect("a time").ms()
}

/// Keys of a team.
struct Team {
    protected: SecretKey,
    pull: SecretKey,
    /// A person who may break the glass.
    person: SecretKey,
    stranger: SecretKey,
}

static TEAM: LazyLock<Team> = LazyLock::new(|| {
    let key = || SecretKey::generate().expect("random numbers");
    Team { protected: key(), pull: key(), person: key(), stranger: key() }
});

fn trusted() -> TrustList {
    let mut list = TrustList::default();
    list.add(TEAM.protected.public().clone(), Space::of(Level::Protected)).expect("added");
    list.add(TEAM.pull.public().clone(), Space::of(Level::Pull)).expect("added");
    list
}

fn source(key: &SecretKey) -> KeySource {
    KeySource::Text(key.public().to_pem().expect("PEM"))
}

fn read_key(source: &KeySource) -> Result<PublicKey, crate::trust::KeyError> {
    match source {
        KeySource::Text(text) => PublicKey::from_pem(text),
        KeySource::File(_) => Err(crate::trust::KeyError::NotPublic),
    }
}

fn identity() -> Identity {
    Identity { manifest: sha256(b"a manifest"), config: sha256(b"a configuration"), store: StoreKind::Docker }
}

fn config() -> Sha256 {
    sha256(b"[run]\nshards = 2\n")
}

fn facts() -> Facts {
    Facts {
        identity: identity(),
        repository: "registry.example/shop/candidate".to_owned(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        dirty: false,
        allow_dirty: false,
        level: Level::Protected,
        image_level: None,
        reused_level: None,
        configuration: [(CONFIG.to_owned(), config())].into(),
        filters: Vec::new(),
        junit: Some(sha256(b"<testsuites/>")),
    }
}

/// A run that has its image and its two shards, up to its plan.
fn begun(run: &str, started: &str) -> Story {
    let mut story = record_of(run, started);
    let identity = ImageIdentity { platform: "linux/amd64".to_owned(), config: identity().config.to_string(), manifest: None };
    let reference = "splitci/shop:3f2a9c1b7d04".to_owned();
    story.say(EventKind::ImageReady { identity, reference, how: ImageSource::Built, key: None, took_ms: 41_200, saved_ms: 0, steps: None });
    story.boot(1).plan(&[file("a.py"), file("b.py")]).boot(2);
    story
}

fn whole(run: &str, started: &str, of_b: &[Outcome]) -> Story {
    let verdict = if of_b.iter().any(|outcome| outcome.is_bad()) { Verdict::Failed { complete: true } } else { Verdict::Passed };
    let mut story = begun(run, started);
    story.run(0, 1, &[Passed, Skipped]).run(1, 2, of_b).close(1, Close::Clean).close(2, Close::Clean).end(verdict);
    story
}

/// The first run, a day ago: green.
fn green() -> Statement<TestResult> {
    attest(&whole(RUN, "2026-11-23T10:00:00Z", &[Passed, Passed]).events(), &facts()).expect("attested")
}

/// A run two hours later: red.
fn red() -> Statement<TestResult> {
    attest(&whole(LATER, "2026-11-23T12:00:00Z", &[Passed, Outcome::Failed]).events(), &facts()).expect("attested")
}

/// The first run with something else in it than it was.
fn bent(bend: impl FnOnce(&mut TestResult)) -> Statement<TestResult> {
    let mut statement = green();
    bend(&mut statement.predicate);
    statement
}

fn signed_bytes(key: &SecretKey, payload: &[u8]) -> Found {
    Found { envelope: dsse::sign(key, payload), at: "registry".to_owned() }
}

fn signed<P: serde::Serialize>(key: &SecretKey, statement: &Statement<P>) -> Found {
    signed_bytes(key, &statement.to_bytes())
}

fn protected<P: serde::Serialize>(statement: &Statement<P>) -> Found {
    signed(&TEAM.protected, statement)
}

/// A gate that is asked.
#[derive(Clone)]
struct Gate {
    settings: PolicySettings,
    question: Question,
    now: u64,
}

fn gate() -> Gate {
    let mut settings = PolicySettings::named("production");
    settings.configs = vec![config()];
    Gate { settings, question: Question { identity: identity(), environment: "production".to_owned(), mode: Mode::Deploy }, now: now() }
}

impl Gate {
    fn with(mut self, change: impl FnOnce(&mut PolicySettings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn policy(&self) -> Policy {
        Policy::new(self.settings.clone(), trusted(), read_key).expect("a policy")
    }

    fn ask(&self, found: &[Found]) -> Result<Approval, Denial> {
        decide(&self.question, &self.policy(), &Evidence::Asked(found.to_vec()), self.now)
    }

    /// The code of the answer; nothing for a yes.
    fn code(&self, found: &[Found]) -> String {
        self.ask(found).err().map(|denial| denial.code()).unwrap_or_default()
    }
}

#[test]
fn a_green_run_of_this_image_gets_through_and_the_approval_says_for_what() {
    let gate = gate();
    let statement = green();
    let approval = gate.ask(&[protected(&statement)]).expect("approved");
    assert_eq!((approval.manifest(), approval.environment(), approval.mode()), (identity().manifest, "production", Mode::Deploy));
    assert_eq!((approval.policy(), approval.statements()), (gate.policy().digest(), &[sha256(&statement.to_bytes())][..]));
    assert_eq!((approval.runs(), approval.finished()), (&[RUN.to_owned()][..], Some(statement.predicate.splitci.finished_on)));
    assert_eq!((approval.glass(), approval.decided().ms()), (None, now()));
}

#[test]
fn a_warning_gets_through_as_far_as_the_policy_says() {
    let warned = bent(|result| {
        result.result = Answer::Warned;
        result.warned_tests = result.passed_tests.split_off(2);
        (result.splitci.counts.passed, result.splitci.counts.warned, result.splitci.counts.retried) = (2, 1, 1);
    });
    let found = [protected(&warned)];
    assert_eq!(gate().code(&found), "E_RESULT");
    assert_eq!(gate().with(|settings| settings.max_warned = 1).code(&found), "");
}

#[test]
fn an_image_of_containerd_is_known_by_its_manifest() {
    let here = Identity { store: StoreKind::Containerd, ..identity() };
    let mut story = record_of(RUN, "2026-11-23T10:00:00Z");
    let id = here.manifest.to_string();
    let identity = ImageIdentity { platform: "linux/amd64".to_owned(), config: id.clone(), manifest: Some(id) };
    let reference = String::new();
    story.say(EventKind::ImageReady { identity, reference, how: ImageSource::Built, key: None, took_ms: 0, saved_ms: 0, steps: None });
    story.boot(1).plan(&[file("a.py")]).run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
    let statement = attest(&story.events(), &Facts { identity: here, ..facts() }).expect("attested");
    assert_eq!(statement.predicate.splitci.shards[0].image_id, here.manifest);
    assert_eq!(gate().code(&[protected(&statement)]), "");
    let other = attest(&story.events(), &facts()).expect_err("with docker's own store that is another image");
    assert!(matches!(other, Unattestable::OtherImage { .. }), "{other}");
}

#[test]
fn every_denial_has_a_code_a_message_and_a_next_step() {
    let denied = |gate: Gate, found: &[Found]| gate.ask(found).expect_err("denied");
    let red = [protected(&green()), protected(&red())];
    let all = [
        denied(gate(), &[]),
        denied(gate(), &red),
        denied(gate(), &red[1..]),
        denied(gate().with(|settings| settings.require = vec!["soaked:staging".to_owned()]), &red[..1]),
        denied(gate().with(|settings| settings.min_tests = 100), &red[..1]),
        denied(gate().with(|settings| settings.max_age_ms = DAY / 2), &red[..1]),
        denied(gate(), &[signed(&TEAM.pull, &green())]),
        Denial::unresolved("lunch:latest", "production", "the registry says 404"),
    ];
    let told: Vec<_> = all.iter().map(|denial| format!("{}: {denial}: {}\n  {}", denial.code(), denial.reason, denial.hint())).collect();
    insta::assert_snapshot!(told.join("\n").replace(&identity().manifest.hex(), "<digest>"));
    assert_eq!(all[1].seen.len(), 2, "it says what it looked at");
    assert!(all[1].seen.iter().any(|seen| seen.to_string().starts_with(&format!("registry: run {LATER} (key "))), "{:?}", all[1].seen);
}

#[test]
fn a_policy_is_refused_that_rests_on_nothing() {
    let refused = |change: fn(&mut PolicySettings)| {
        let settings = gate().with(change).settings;
        Policy::new(settings, trusted(), read_key).expect_err("refused")
    };
    assert!(matches!(refused(|settings| settings.level = Level::Local), PolicyError::Local { .. }));
    assert!(matches!(refused(|settings| settings.keys = vec![source(&TEAM.stranger)]), PolicyError::Untrusted { .. }));
    assert!(matches!(refused(|settings| settings.keys = vec![KeySource::File("x".into())]), PolicyError::Key { .. }));
    let nobody = |settings: &mut PolicySettings| settings.break_glass = Some(crate::model::policy::BreakGlassRule::of(Vec::new()));
    assert!(matches!(refused(nobody), PolicyError::NoGlassKey { .. }));
}

#[test]
fn another_policy_has_another_digest() {
    use crate::model::policy::{BreakGlassRule, ReusedRule, Revocation, Revoked};
    let changes: [fn(&mut PolicySettings); 17] = [
        |_| (),
        |settings| settings.name.push('2'),
        |settings| settings.keys = vec![source(&TEAM.protected), source(&TEAM.pull)],
        |settings| settings.keys = vec![source(&TEAM.pull)],
        |settings| settings.level = Level::Pull,
        |settings| settings.repository = Some(String::new()),
        |settings| settings.max_age_ms += 1,
        |settings| settings.min_tests += 1,
        |settings| settings.max_warned += 1,
        |settings| settings.reused = ReusedRule::Protected,
        |settings| settings.image_level = Some(Level::Protected),
        |settings| settings.configs.clear(),
        |settings| settings.dirty = true,
        |settings| settings.require = vec!["compat".to_owned()],
        |settings| settings.revoked = vec![Revocation { what: Revoked::Run("r".to_owned()), reason: String::new() }],
        |settings| settings.revoked = vec![Revocation { what: Revoked::Commit("r".to_owned()), reason: String::new() }],
        |settings| settings.break_glass = Some(BreakGlassRule::of(vec![source(&TEAM.person)])),
    ];
    let digests = changes.map(|change| gate().with(change).policy().digest());
    let mut different = digests.to_vec();
    different.sort_unstable();
    different.dedup();
    // Naming a key whose level is not enough changes nothing that counts.
    assert_eq!((digests[0], different.len()), (digests[2], changes.len() - 1));
    let mut other = TrustList::default();
    other.add(TEAM.protected.public().clone(), Space { level: Level::Protected, partition: Partition::new("main") }).expect("added");
    assert_ne!(Policy::new(gate().settings, other, read_key).expect("a policy").digest(), digests[0], "who is trusted is a part of it");
    let order = |names: [&str; 2]| gate().with(|settings| settings.require = names.map(str::to_owned).to_vec()).policy().digest();
    assert_eq!(order(["a", "b"]), order(["b", "a"]));
}

// --- golden ---

const GOLDEN_KEY: &str = include_str!("../golden/key.pem");
const GOLDEN_STATEMENT: &[u8] = include_bytes!("../golden/statement.json");
const GOLDEN_ENVELOPE: &[u8] = include_bytes!("../golden/envelope.json");

#[test]
fn the_form_of_a_statement_stands_still() {
    assert_eq!(String::from_utf8_lossy(&green().to_bytes()), String::from_utf8_lossy(GOLDEN_STATEMENT));
    assert_eq!(serde_json::from_slice::<Statement<TestResult>>(GOLDEN_STATEMENT).expect("read"), green());
}

#[test]
fn the_form_of_an_envelope_stands_still() {
    let key = SecretKey::from_pem(GOLDEN_KEY, None).expect("a key");
    assert_eq!(String::from_utf8_lossy(&dsse::sign(&key, GOLDEN_STATEMENT)), String::from_utf8_lossy(GOLDEN_ENVELOPE));
    let opened = dsse::open(GOLDEN_ENVELOPE, |_| Some(key.public())).expect("opens");
    assert_eq!((&opened.payload[..], opened.writer), (GOLDEN_STATEMENT, key.id()));
}
