//! What was found, read: which statements somebody who may has signed, and what each is about. Nothing is judged here.
//!
//! A signature comes first and parsing after. What does not open, or is about something else, is left aside and listed. What somebody who may speak has signed
//! and nobody can read is not left aside: it may be the failure that came last.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::claim::{BREAK_GLASS, BreakGlass, CLAIM, Claim};
use super::decide::Question;
use super::evidence::{Found, Seen, Sight};
use super::policy::Policy;
use super::statement::{STATEMENT, Statement, Subject, TEST_RESULT, TestResult};
use crate::model::Sha256;
use crate::model::policy::Revoked;
use crate::trust::dsse::{self, Opened};
use crate::trust::{KeyId, sha256};

/// What a statement is known by: its own digest, and whose it is. Two envelopes around it are the same statement.
pub(super) type Name = (Sha256, KeyId);

/// Everything that counts, by name, and a list of everything.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) tests: BTreeMap<Name, Statement<TestResult>>,
    pub(super) claims: BTreeMap<Name, Claim>,
    pub(super) glasses: BTreeMap<Name, BreakGlass>,
    pub(super) seen: Vec<Seen>,
}

/// The part of a statement that says what it is.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

/// The part that says something of a kind.
#[derive(Deserialize)]
struct Body<P> {
    predicate: P,
}

impl Reading {
    /// Reads everything that was found. Order and repetition of it make no difference.
    pub(super) fn of(found: &[Found], question: &Question, policy: &Policy) -> Self {
        let mut reading = Self::default();
        for one in found {
            let seen = match dsse::open(&one.envelope, |id| policy.key(id)) {
                Ok(opened) => {
                    let name = (sha256(&opened.payload), opened.writer);
                    let sight = reading.take(name, &opened, question, policy);
                    Seen { at: one.at.clone(), statement: Some(name.0), writer: Some(name.1), sight }
                }
                Err(refusal) => Seen::closed(&one.at, &refusal),
            };
            reading.seen.push(seen);
        }
        reading.seen.sort();
        reading.seen.dedup();
        reading
    }

    /// Whether something of this kind was seen.
    pub(super) fn has_seen(&self, what: impl Fn(&Sight) -> bool) -> bool {
        self.seen.iter().any(|seen| what(&seen.sight))
    }

    fn take(&mut self, name: Name, opened: &Opened, question: &Question, policy: &Policy) -> Sight {
        let writer = &opened.writer;
        if policy.revoked(|what| matches!(what, Revoked::Key(id) if id.bytes() == writer.bytes())).is_some() {
            return Sight::RevokedKey;
        }
        let speaks = policy.may_speak(writer);
        let Ok(head) = serde_json::from_slice::<Head>(&opened.payload) else {
            return if speaks { Sight::Unreadable } else { Sight::NoAuthority };
        };
        if head.kind != STATEMENT {
            return Sight::OtherKind;
        }
        if !is_about(&head.subject, question, policy) {
            return Sight::OtherSubject;
        }
        match head.predicate_type.as_str() {
            BREAK_GLASS if policy.may_break_glass(writer) => self.take_glass(name, &opened.payload),
            TEST_RESULT if speaks => self.take_tests(name, &opened.payload),
            CLAIM if speaks => self.take_claim(name, &opened.payload),
            TEST_RESULT => Sight::NotEnough { level: policy.level_of(writer) },
            BREAK_GLASS | CLAIM => Sight::NoAuthority,
            _ => Sight::OtherKind,
        }
    }

    fn take_tests(&mut self, name: Name, payload: &[u8]) -> Sight {
        let Ok(statement) = serde_json::from_slice::<Statement<TestResult>>(payload) else { return Sight::Unreadable };
        let named = |subject: &Subject| subject.digest.sha256.is_some() || subject.digest.git_commit.is_some();
        if !statement.subject.iter().chain(&statement.predicate.configuration).all(named) {
            return Sight::Unreadable;
        }
        let run = statement.predicate.splitci.run.clone();
        self.tests.insert(name, statement);
        Sight::Tests { run }
    }

    fn take_claim(&mut self, name: Name, payload: &[u8]) -> Sight {
        let Some(claim) = body::<Claim>(payload) else { return Sight::Unreadable };
        self.claims.insert(name, claim.clone());
        Sight::Claim { name: claim.name }
    }

    /// A word that nobody understands gets nobody past the gate, and keeps nobody from it.
    fn take_glass(&mut self, name: Name, payload: &[u8]) -> Sight {
        let Some(glass) = body::<BreakGlass>(payload) else { return Sight::OtherKind };
        self.glasses.insert(name, glass);
        Sight::BreakGlass
    }
}

fn body<P: DeserializeOwned>(payload: &[u8]) -> Option<P> {
    serde_json::from_slice::<Body<P>>(payload).ok().map(|body| body.predicate)
}

/// Whether one of the subjects is this image: by the digest of its manifest, and by the name that the policy has for it. A commit is never enough.
fn is_about(subjects: &[Subject], question: &Question, policy: &Policy) -> bool {
    let repository = policy.settings().repository.as_ref();
    subjects.iter().any(|subject| {
        subject.digest.sha256 == Some(question.identity.manifest) && repository.is_none_or(|repository| *repository == subject.name)
    })
}
