//! Images with signed statements about their tests, as a run leaves them: for tests of what comes after green.

use std::time::{SystemTime, UNIX_EPOCH};

use splitci_coordinator::gate::statement::Answer;
use splitci_coordinator::gate::{
    Approval, Denial, Evidence, Identity, Mode, Moment, Policy, Question, Statement, StoreKind, TestResult, decide,
};
use splitci_coordinator::model::Sha256;
use splitci_coordinator::model::policy::PolicySettings;
use splitci_coordinator::model::trust::{Level, Space};
use splitci_coordinator::registry::evidence::{self, Statement as Beside};
use splitci_coordinator::registry::{Descriptor, Digest, Manifest, Patience, Repository, Settings};
use splitci_coordinator::trust::{SecretKey, TrustList, dsse, public};

use crate::flips::Golden;

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a time")
}

/// Somebody whose word counts.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
}

impl Default for Signer {
    fn default() -> Self {
        Self { key: SecretKey::generate().expect("random numbers") }
    }
}

impl Signer {
    /// The public half of the key, as PEM.
    pub fn public(&self) -> String {
        self.key.public().to_pem().expect("PEM")
    }

    /// A policy that takes this word, and no other.
    pub fn policy(&self) -> Policy {
        let mut list = TrustList::default();
        list.add(self.key.public().clone(), Space::of(Level::Protected)).expect("added");
        Policy::new(PolicySettings::named("production"), list, public).expect("a policy")
    }

    /// A signed statement about an image whose tests ended so many milliseconds ago.
    pub fn envelope(&self, identity: &Identity, answer: Answer, ago_ms: u64) -> Vec<u8> {
        let mut said: Statement<TestResult> = serde_json::from_slice(&Golden::read().statement).expect("a statement");
        let image = said.subject.iter_mut().find(|subject| subject.digest.sha256.is_some()).expect("an image");
        image.digest.sha256 = Some(identity.manifest);
        let details = &mut said.predicate.splitci;
        details.image.config = identity.config;
        details.shards.iter_mut().for_each(|shard| shard.image_id = identity.id_in(details.image.store));
        let finished = now_ms() - ago_ms;
        (details.started_on, details.finished_on) = (Moment::of_ms(finished - 1_000), Moment::of_ms(finished));
        said.predicate.result = answer;
        if answer == Answer::Failed {
            let moved = said.predicate.passed_tests.pop().expect("a test");
            said.predicate.failed_tests.push(moved);
            (details.counts.passed, details.counts.failed) = (details.counts.passed - 1, 1);
        }
        dsse::sign(&self.key, &said.to_bytes())
    }

    /// Puts a statement beside an image.
    pub async fn attest(&self, repository: &Repository, identity: &Identity, answer: Answer, ago_ms: u64) {
        let bundle = dsse::bundle(&self.envelope(identity, answer, ago_ms)).expect("a bundle").into();
        let statement =
            Beside { predicate_type: splitci_coordinator::gate::statement::TEST_RESULT.to_owned(), created_at: now_ms() - ago_ms, bundle };
        evidence::attach(repository, Digest::from(identity.manifest), &statement).await.expect("attached");
    }

    /// What the gate says with this policy.
    pub fn ask(&self, identity: Identity, mode: Mode, evidence: &Evidence) -> Result<Approval, Denial> {
        let question = Question { identity, environment: "production".to_owned(), mode };
        decide(&question, &self.policy(), evidence, now_ms())
    }
}

/// A repository of a registry on loopback that asks nobody for a name.
pub fn repository(host: &str, path: &str) -> Repository {
    repository_as(host, path, None)
}

/// The same for this user, with this password.
pub fn repository_as(host: &str, path: &str, who: Option<(&'static str, &'static str)>) -> Repository {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings {
        repository: format!("{host}/{path}").parse().expect("a name"),
        plain: true,
        login: Box::new(move || Box::pin(async move { Ok(who.map(|(name, password)| (name.to_owned(), password.to_owned()))) })),
        authorities: Vec::new(),
        patience: Patience { pauses: Vec::new(), ..Patience::default() },
    };
    Repository::new(settings).expect("a repository")
}

/// Puts a configuration into a repository, under a manifest without layers: an image as far as names and digests go.
pub async fn put_config(repository: &Repository, config: &[u8]) -> Identity {
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    let put: Descriptor = repository.put_bytes(CONFIG, config.to_vec().into()).await.expect("put");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {"mediaType": CONFIG, "digest": put.digest.to_string(), "size": put.size},
        "layers": [],
    });
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    let manifest = Manifest::read(Some(OCI), bytes.into()).expect("a manifest");
    repository.put_manifest(&manifest).await.expect("put");
    let config: Sha256 = put.digest.into();
    Identity { manifest: manifest.digest().into(), config, store: StoreKind::Docker }
}
