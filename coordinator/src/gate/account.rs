//! What was looked at, for people who ask why the answer is yes. The answer itself is `decide`'s, and nothing here may be taken for one.

use super::decide::{Approval, Question};
use super::evidence::{Evidence, Seen};
use super::policy::Policy;
use super::read::Reading;
use super::statement::{Statement, TestResult};
use crate::model::Sha256;
use crate::model::trust::Level;
use crate::trust::KeyId;

/// What was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Everything, in an order that does not depend on how it was found.
    pub seen: Vec<Seen>,
    /// Statements about the tests of this image, by somebody who may make them.
    pub tests: Vec<Told>,
}

/// A statement about tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its digest.
    pub digest: Sha256,
    /// Who signed it.
    pub writer: KeyId,
    /// How far that key is trusted.
    pub level: Option<Level>,
    /// What it says.
    pub statement: Statement<TestResult>,
}

impl Account {
    /// Of the same things that the gate is shown.
    pub fn of(question: &Question, policy: &Policy, evidence: &Evidence) -> Self {
        let Reading { tests, seen, .. } = Reading::of(evidence.found(), question, policy);
        let told = |((digest, writer), statement)| Told { digest, writer, level: policy.level_of(&writer), statement };
        Self { seen, tests: tests.into_iter().map(told).collect() }
    }

    /// The statement about tests that an answer rests on; none if the glass was broken.
    pub fn decisive(&self, approval: &Approval) -> Option<&Told> {
        self.tests.iter().find(|told| approval.statements().contains(&told.digest))
    }
}

impl Told {
    /// The commit that the image was built of, if the statement names one.
    pub fn commit(&self) -> Option<&str> {
        self.statement.subject.iter().find_map(|subject| subject.digest.git_commit.as_deref())
    }
}
