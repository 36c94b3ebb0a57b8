//! The decision. Pure and total: an image, a policy, what was found and the time in, an approval or a denial out; the same in, the same out.
//!
//! Clause by clause, the first that fails is the reason:
//!
//! 1. the image is not revoked, for which there is no way around;
//! 2. every place that had to be asked has answered;
//! 3. somebody whom the policy names, at its level or above, has signed a statement about tests of exactly this image;
//! 4. of those the newest decides alone, also when it is the one that failed;
//! 5. it is not revoked, passed, under a configuration that the policy lists, all of it, in this image, enough of it in that run itself;
//! 6. it is fresh (not asked of a rollback), and so is the oldest result that it rests on;
//! 7. what it reused, who built the image, and whether its tree had changes that no commit has, is as the policy wants it;
//! 8. every further claim that the policy asks for is there.
//!
//! Taking evidence away never turns a no into a yes, with one exception that clause 4 cannot avoid: whoever can take away the newest statement can hide that it
//! failed. So a place that may have it and does not answer is clause 2's no, and never "there is none".
//!
//! A person whom the policy names may sign for what clauses 2 to 8 refuse. That is an approval too, which says who, why, and until when.

use std::collections::BTreeMap;

use super::Identity;
use super::claim::{BreakGlass, Claim};
use super::denial::{Denial, Gap, Reason};
use super::evidence::{Evidence, Sight};
use super::moment::Moment;
use super::policy::Policy;
use super::read::{Name, Reading};
use super::statement::{Answer, CONFIG, Counts, Details, MOST_RUNS, Statement, TestResult};
use crate::model::Sha256;
use crate::model::policy::{PolicySettings, ReusedRule, Revocation, Revoked};
use crate::model::trust::Level;
use crate::trust::KeyId;
use crate::trust::seal::CLOCK_SLACK;

/// The most envelopes that are looked at for one image.
pub const MOST_ENVELOPES: usize = 1_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Which image.
    pub identity: Identity,
    /// Where to.
    pub environment: String,
    /// What for.
    pub mode: Mode,
}

/// What an image is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To get a release's name.
    Promote,
    /// To go live.
    Deploy,
    /// To go live again, when something newer turned out to be bad. How old its evidence is does not matter then, and everything else does.
    Rollback,
}

/// A yes: for one image, one environment, under one policy. It can be made here alone, and neither written down nor read back: it is as old as the process.
///
/// ```compile_fail,E0451
/// use splitci_coordinator::gate::Approval;
/// fn elsewhere(one: Approval) -> Approval {
///     Approval { environment: "production".to_owned(), ..one }
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn read<T: for<'a> serde::Deserialize<'a>>() {}
/// read::<splitci_coordinator::gate::Approval>();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    manifest: Sha256,
    environment: String,
    mode: Mode,
    policy: Sha256,
    grounds: Grounds,
    decided: Moment,
}

/// What a yes rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grounds {
    statements: Vec<Sha256>,
    runs: Vec<String>,
    finished: Option<Moment>,
    glass: Option<Broken>,
}

/// A glass that was broken: what everybody is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Who, in words.
    pub actor: String,
    /// Whose key.
    pub key: KeyId,
    /// Why.
    pub reason: String,
    /// Until when it counts.
    pub expires: Moment,
    /// What the gate had said.
    pub instead_of: Reason,
}

impl Approval {
    /// The image, by the digest of its manifest.
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// Where it may go.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// What for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Digest of the policy under which.
    pub fn policy(&self) -> Sha256 {
        self.policy
    }

    /// Digests of the statements that it rests on, in order.
    pub fn statements(&self) -> &[Sha256] {
        &self.grounds.statements
    }

    /// The runs that it rests on; more than one only if they ended in the same millisecond, none if the glass was broken.
    pub fn runs(&self) -> &[String] {
        &self.grounds.runs
    }

    /// When they ended: what an order among releases can go by. Nothing if the glass was broken.
    pub fn finished(&self) -> Option<Moment> {
        self.grounds.finished
    }

    /// Who got past the gate, if somebody did.
    pub fn glass(&self) -> Option<&Broken> {
        self.grounds.glass.as_ref()
    }

    /// When it was decided.
    pub fn decided(&self) -> Moment {
        self.decided
    }
}

/// Whether an image may go to an environment under its policy; `now_ms` in milliseconds since 1970.
pub fn decide(question: &Question, policy: &Policy, evidence: &Evidence, now_ms: u64) -> Result<Approval, Denial> {
    let now = Moment::of_ms(now_ms);
    let image = question.identity.manifest.to_string();
    let deny = |reason, seen| Denial { image, environment: question.environment.clone(), reason: Box::new(reason), seen };
    if let Some(revocation) = policy.revoked(|what| is_image(what, &question.identity)) {
        return Err(deny(revoked("the image", revocation), Vec::new()));
    }
    let found = evidence.found();
    if found.len() > MOST_ENVELOPES {
        return Err(deny(Reason::TooMany { found: found.len(), most: MOST_ENVELOPES }, Vec::new()));
    }
    let reading = Reading::of(found, question, policy);
    let judge = Judge { question, policy, settings: policy.settings(), reading: &reading, now };
    let grounds = judge.grounds(evidence).or_else(|reason| judge.past_the_gate(reason));
    match grounds {
        Ok(grounds) => Ok(Approval {
            manifest: question.identity.manifest,
            environment: question.environment.clone(),
            mode: question.mode,
            policy: policy.digest(),
            grounds,
            decided: now,
        }),
        Err(reason) => Err(deny(reason, reading.seen)),
    }
}

/// The clauses, over one reading.
struct Judge<'a> {
    question: &'a Question,
    policy: &'a Policy,
    settings: &'a PolicySettings,
    reading: &'a Reading,
    now: Moment,
}

type Tests = Statement<TestResult>;

impl Judge<'_> {
    fn grounds(&self, evidence: &Evidence) -> Result<Grounds, Reason> {
        if let Evidence::Unanswered { place, why, .. } = evidence {
            return Err(Reason::Unavailable { place: place.clone(), why: why.clone() });
        }
        if self.reading.has_seen(|sight| *sight == Sight::Unreadable) {
            return Err(Reason::Incomplete(Gap::Unreadable));
        }
        let newest = self.newest().ok_or_else(|| self.nothing())?;
        for (name, statement) in &newest {
            self.check(name, statement)?;
        }
        let claims = self.claims()?;
        let (names, statements): (Vec<Name>, Vec<&Tests>) = newest.into_iter().unzip();
        Ok(Grounds {
            statements: names.into_iter().chain(claims).map(|(digest, _)| digest).collect(),
            runs: statements.iter().map(|statement| statement.predicate.splitci.run.clone()).collect(),
            finished: statements.first().map(|statement| statement.predicate.splitci.finished_on),
            glass: None,
        })
    }

    /// The newest statement; all of them if several ended in the same millisecond.
    fn newest(&self) -> Option<BTreeMap<Name, &Tests>> {
        let finished = |statement: &Tests| statement.predicate.splitci.finished_on;
        let last = self.reading.tests.values().map(finished).max()?;
        Some(self.reading.tests.iter().filter(|(_, statement)| finished(statement) == last).map(|(name, one)| (*name, one)).collect())
    }

    /// Why there is no statement that counts.
    fn nothing(&self) -> Reason {
        let key_of = |id: KeyId| self.policy.revoked(|what| matches!(what, Revoked::Key(key) if key.bytes() == id.bytes()));
        let revoked_key = self.reading.seen.iter().filter(|seen| seen.sight == Sight::RevokedKey).find_map(|seen| key_of(seen.writer?));
        match revoked_key {
            _ if self.reading.has_seen(|sight| matches!(sight, Sight::NotEnough { .. })) => Reason::Level { wanted: self.settings.level },
            Some(revocation) => revoked("the key that signed", revocation),
            None if self.reading.has_seen(|sight| *sight == Sight::OtherSubject) => Reason::WrongSubject,
            None => Reason::NoSignature { looked: self.reading.seen.len() },
        }
    }

    fn check(&self, (_, writer): &Name, statement: &Tests) -> Result<(), Reason> {
        let TestResult { splitci: details, .. } = &statement.predicate;
        self.not_revoked(statement)?;
        self.level(details)?;
        self.answer(&statement.predicate)?;
        self.config(&statement.predicate)?;
        self.complete(&statement.predicate).map_err(Reason::Incomplete)?;
        self.fresh(details)?;
        self.reuse(details, writer)?;
        self.image_level(details, writer)?;
        if details.dirty && !self.settings.dirty {
            return Err(Reason::Dirty { run: details.run.clone() });
        }
        Ok(())
    }

    fn not_revoked(&self, statement: &Tests) -> Result<(), Reason> {
        let details = &statement.predicate.splitci;
        let runs = |run: &String| *run == details.run || details.reused.runs.iter().any(|earlier| earlier.run == *run);
        let commits = |commit: &String| statement.subject.iter().any(|subject| subject.digest.git_commit.as_ref() == Some(commit));
        let hit = self.policy.revoked(|what| match what {
            Revoked::Run(run) => runs(run),
            Revoked::Commit(commit) => commits(commit),
            Revoked::Image(_) | Revoked::Key(_) => false,
        });
        match hit {
            None => Ok(()),
            Some(revocation @ Revocation { what: Revoked::Commit(_), .. }) => Err(revoked("its commit", revocation)),
            Some(revocation) => Err(revoked("the run", revocation)),
        }
    }

    /// A run signs with one key and may have read its caches with another: what it reused is no better than it was itself.
    fn level(&self, details: &Details) -> Result<(), Reason> {
        if details.level < self.settings.level { Err(Reason::Level { wanted: self.settings.level }) } else { Ok(()) }
    }

    fn answer(&self, result: &TestResult) -> Result<(), Reason> {
        let (run, Counts { warned, failed, .. }) = (&result.splitci.run, result.splitci.counts);
        let failed = result.result == Answer::Failed || failed > 0;
        let most = self.settings.max_warned;
        match () {
            () if failed && self.has_passed_before() => Err(Reason::SupersededByFailure { run: run.clone() }),
            () if failed => Err(Reason::Failed { run: run.clone() }),
            () if warned > most => Err(Reason::Warned { run: run.clone(), warned, most }),
            () => Ok(()),
        }
    }

    fn has_passed_before(&self) -> bool {
        self.reading.tests.values().any(|statement| statement.predicate.result != Answer::Failed)
    }

    fn config(&self, result: &TestResult) -> Result<(), Reason> {
        let found = result.configuration.iter().filter(|one| one.name == CONFIG).map(|one| one.digest.sha256);
        // Two of that name are none.
        let found: Vec<_> = found.collect();
        let found = if let [Some(one)] = found[..] { Some(one) } else { None };
        let listed = self.settings.configs.is_empty() || found.is_some_and(|found| self.settings.configs.contains(&found));
        if listed { Ok(()) } else { Err(Reason::Config { run: result.splitci.run.clone(), found }) }
    }

    fn complete(&self, result: &TestResult) -> Result<(), Gap> {
        let details = &result.splitci;
        let counts = details.counts;
        let least = self.settings.min_tests.max(1);
        let ran = counts.passed.saturating_add(counts.warned);
        match () {
            () if details.engine != "docker" => Err(Gap::Engine),
            () if !details.filters.is_empty() => Err(Gap::Filtered),
            () if counts.missing > 0 => Err(Gap::Missing { missing: counts.missing }),
            () if !adds_up(result) => Err(Gap::Numbers),
            () if ran < least => Err(Gap::TooFew { ran, least }),
            () if !shards_add_up(details) => Err(Gap::Shards),
            () if !self.is_same_image(details) => Err(Gap::OtherImage),
            () if details.finished_on < details.started_on => Err(Gap::Times),
            () => Ok(()),
        }
    }

    fn is_same_image(&self, details: &Details) -> bool {
        let id = self.question.identity.id_in(details.image.store);
        details.image.config == self.question.identity.config && details.shards.iter().all(|shard| shard.image_id == id)
    }

    fn fresh(&self, details: &Details) -> Result<(), Reason> {
        self.not_from_the_future(details.finished_on)?;
        let oldest = details.reused.oldest.map_or(details.finished_on, |reused| reused.min(details.finished_on));
        self.not_stale(oldest)
    }

    fn not_from_the_future(&self, at: Moment) -> Result<(), Reason> {
        let slack = u64::try_from(CLOCK_SLACK.as_millis()).unwrap_or(0);
        if at > self.now.plus_ms(slack) { Err(Reason::Future { at }) } else { Ok(()) }
    }

    fn not_stale(&self, oldest: Moment) -> Result<(), Reason> {
        let (age_ms, most_ms) = (self.now.ms().saturating_sub(oldest.ms()), self.settings.max_age_ms);
        if age_ms > most_ms && self.question.mode != Mode::Rollback {
            return Err(Reason::Stale { oldest, age_ms, most_ms });
        }
        Ok(())
    }

    fn reuse(&self, details: &Details, writer: &KeyId) -> Result<(), Reason> {
        let tests = details.reused.tests;
        let kept = self.believed(details.reused.level, writer).is_some_and(|level| level >= Level::Protected);
        match self.settings.reused {
            ReusedRule::Deny if tests > 0 => Err(Reason::Reused { tests }),
            ReusedRule::Protected if tests > 0 && !kept => Err(Reason::Reused { tests }),
            ReusedRule::Deny | ReusedRule::Protected => Ok(()),
        }
    }

    fn image_level(&self, details: &Details, writer: &KeyId) -> Result<(), Reason> {
        let Some(wanted) = self.settings.image_level else { return Ok(()) };
        let found = self.believed(details.image.level, writer);
        if found.is_some_and(|found| found >= wanted) { Ok(()) } else { Err(Reason::ImageLevel { wanted, found }) }
    }

    /// What a writer says of the level of something. Nobody can lift anything above what the own word is worth.
    fn believed(&self, said: Option<Level>, writer: &KeyId) -> Option<Level> {
        Some(said?.min(self.policy.level_of(writer)?))
    }

    /// The claims that the policy asks for.
    fn claims(&self) -> Result<Vec<Name>, Reason> {
        let mut all = Vec::new();
        for name in self.settings.require.iter().filter(|name| *name != "tests") {
            all.extend(self.claim(name).map_err(|why| Reason::Missing { name: name.clone(), why })?);
        }
        Ok(all)
    }

    fn claim(&self, name: &str) -> Result<Vec<Name>, &'static str> {
        let named: BTreeMap<&Name, &Claim> = self.reading.claims.iter().filter(|(_, claim)| claim.name == name).collect();
        let last = named.values().map(|claim| claim.made_on).max().ok_or("nobody who may has signed it")?;
        self.not_from_the_future(last).map_err(|_| "it is from the future")?;
        self.not_stale(last).map_err(|_| "it is too old")?;
        let newest: BTreeMap<_, _> = named.into_iter().filter(|(_, claim)| claim.made_on == last).collect();
        if newest.values().any(|claim| claim.result != Answer::Passed) {
            return Err("the newest of them does not say that it passed");
        }
        Ok(newest.into_keys().copied().collect())
    }

    /// A person's word instead of the gate's.
    fn past_the_gate(&self, reason: Reason) -> Result<Grounds, Reason> {
        let here = self.reading.glasses.iter().filter(|(_, glass)| glass.environment == self.question.environment);
        // What is over is no attempt: it would hide the real reason for good.
        let live: Vec<_> = here.filter(|(_, glass)| glass.expires > self.now).collect();
        let good = live.iter().filter(|(_, glass)| self.unfit(glass).is_none());
        if let Some((name, glass)) = good.max_by_key(|(name, glass)| (glass.expires, *name)) {
            return Ok(broken(name, glass, reason));
        }
        match live.iter().find_map(|(_, glass)| self.unfit(glass)) {
            Some(why) => Err(Reason::BreakGlass { why, instead: Box::new(reason) }),
            None => Err(reason),
        }
    }

    /// What is wrong with a person's word that is not over.
    fn unfit(&self, glass: &BreakGlass) -> Option<&'static str> {
        let Some(rule) = &self.settings.break_glass else { return Some("the policy does not know of it") };
        match () {
            () if self.not_from_the_future(glass.made_on).is_err() => Some("it is from the future"),
            () if glass.expires > glass.made_on.plus_ms(rule.ttl_ms) => Some("it counts for longer than the policy allows"),
            () if glass.reason.trim().chars().count() < rule.min_reason => Some("its reason is too short"),
            () if glass.actor.trim().is_empty() => Some("it does not say who"),
            () => None,
        }
    }
}

fn broken((digest, key): &Name, glass: &BreakGlass, instead_of: Reason) -> Grounds {
    let broken = Broken { actor: glass.actor.clone(), key: *key, reason: glass.reason.clone(), expires: glass.expires, instead_of };
    Grounds { statements: vec![*digest], runs: Vec::new(), finished: None, glass: Some(broken) }
}

fn is_image(what: &Revoked, identity: &Identity) -> bool {
    matches!(what, Revoked::Image(digest) if *digest == identity.manifest || *digest == identity.config)
}

fn revoked(what: &str, revocation: &Revocation) -> Reason {
    Reason::Revoked { what: what.to_owned(), reason: revocation.reason.clone() }
}

/// Whether all numbers and lists of a statement say the same.
fn adds_up(result: &TestResult) -> bool {
    let Details { counts, reused, suites, .. } = &result.splitci;
    let sum = |numbers: &[u64]| numbers.iter().map(|number| u128::from(*number)).sum::<u128>();
    let results = [counts.passed, counts.warned, counts.failed];
    let listed = [&result.passed_tests, &result.warned_tests, &result.failed_tests].map(|names| names.len() as u64);
    let all = sum(&results) + sum(&[counts.skipped, counts.missing]) == u128::from(counts.executed);
    let plan = u128::from(counts.planned) == sum(&[counts.executed, reused.tests]);
    let lists = listed.iter().zip(results).all(|(listed, counted)| *listed <= counted);
    let names = sum(&listed) + u128::from(result.splitci.names_left_out) == sum(&results);
    let answer = (result.result == Answer::Warned) == (counts.warned > 0);
    all && plan && lists && names && answer && counts.retried >= counts.warned && !suites.is_empty() && reuse_adds_up(&result.splitci)
}

fn reuse_adds_up(details: &Details) -> bool {
    let reused = &details.reused;
    let shown: u128 = reused.runs.iter().map(|run| u128::from(run.tests)).sum();
    let whole = shown == u128::from(reused.tests) || (reused.runs.len() == MOST_RUNS && shown < u128::from(reused.tests));
    whole && (reused.tests > 0) == (reused.files > 0) && (reused.tests > 0) == reused.oldest.is_some()
}

/// Whether there are shards, each once, and all tests of the run stand to their names.
fn shards_add_up(details: &Details) -> bool {
    let indexes: std::collections::BTreeSet<u32> = details.shards.iter().map(|shard| shard.index).collect();
    let tests: u128 = details.shards.iter().map(|shard| u128::from(shard.tests)).sum();
    !indexes.is_empty() && indexes.len() == details.shards.len() && tests == u128::from(details.counts.executed)
}
