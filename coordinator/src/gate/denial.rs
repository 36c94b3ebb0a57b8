//! Why not: a code that scripts may go by and that does not change, the evidence that was looked at, and what to do next.

use super::Moment;
use super::evidence::Seen;
use crate::model::Sha256;
use crate::model::trust::Level;

/// A no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{image}` may not go to `{environment}`")]
pub struct Denial {
    /// Which image: the digest of its manifest, or what could not be made one.
    pub image: String,
    /// Where to.
    pub environment: String,
    /// Why.
    #[source]
    pub reason: Box<Reason>,
    /// Everything that was looked at, in an order that does not depend on how it was found.
    pub seen: Vec<Seen>,
}

/// Why an image may not go somewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// What was asked about is no image.
    #[error("it leads to no image: {why}")]
    Unresolved {
        /// What happened when it was looked up.
        why: String,
    },
    /// A place that had to be asked did not answer.
    #[error("`{place}` could not be asked for evidence: {why}")]
    Unavailable {
        /// Which.
        place: String,
        /// What it said instead.
        why: String,
    },
    /// More than is looked at. Nothing is left out, since that could be the failure that came last.
    #[error("there are {found} envelopes beside the image, and {most} are the most that are looked at")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Nothing that somebody known signed.
    #[error("nobody known has signed anything about the image's tests ({looked} envelopes looked at)")]
    NoSignature {
        /// How many envelopes there were.
        looked: usize,
    },
    /// What is signed is about something else.
    #[error("what is signed is about another image, or names it differently")]
    WrongSubject,
    /// Signed by somebody who is not trusted enough.
    #[error("who signed is not trusted enough: the policy asks for level `{wanted}`")]
    Level {
        /// What the policy asks for.
        wanted: Level,
    },
    /// Run under a configuration that the policy does not have.
    #[error("run `{run}` had a configuration that the policy does not list")]
    Config {
        /// The run.
        run: String,
        /// Its configuration, if it says.
        found: Option<Sha256>,
    },
    /// The statement does not show that everything ran.
    #[error("the statement does not show that everything ran: {0}")]
    Incomplete(Gap),
    /// Tests failed.
    #[error("run `{run}` failed")]
    Failed {
        /// The run.
        run: String,
    },
    /// Too many tests passed only when they were tried again.
    #[error("{warned} tests of run `{run}` passed only when they were tried again, and {most} may")]
    Warned {
        /// The run.
        run: String,
        /// How many.
        warned: u64,
        /// How many may.
        most: u64,
    },
    /// It passed once, and the newest run failed.
    #[error("run `{run}` failed after an earlier one had passed")]
    SupersededByFailure {
        /// The run.
        run: String,
    },
    /// Too old.
    #[error("the oldest of the evidence is from {oldest}, {} ago, and the policy takes {} at most", span(*age_ms), span(*most_ms))]
    Stale {
        /// From when it is.
        oldest: Moment,
        /// Its age in milliseconds.
        age_ms: u64,
        /// What the policy takes, in milliseconds.
        most_ms: u64,
    },
    /// From the future.
    #[error("the evidence is from {at}, which is yet to come: a clock is wrong, here or there")]
    Future {
        /// From when it is.
        at: Moment,
    },
    /// Revoked.
    #[error("{what} was revoked: {reason}")]
    Revoked {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// Results of earlier runs stand in it.
    #[error("{tests} of its tests were not run but taken from earlier runs, which the policy does not take")]
    Reused {
        /// How many.
        tests: u64,
    },
    /// The image was built by a run that is not trusted enough.
    #[error("the image was built at {}, and the policy asks for level `{wanted}`", level_or_none(*found))]
    ImageLevel {
        /// What the policy asks for.
        wanted: Level,
        /// What the statement says.
        found: Option<Level>,
    },
    /// From a tree with changes that no commit has.
    #[error("run `{run}` was of a tree with changes that no commit has")]
    Dirty {
        /// The run.
        run: String,
    },
    /// A statement that the policy asks for.
    #[error("the policy asks for `{name}` too: {why}")]
    Missing {
        /// Its name.
        name: String,
        /// What is wrong with what is there.
        why: &'static str,
    },
    /// Somebody tried to get past, in a way that does not count.
    #[error("the glass is not broken: {why}; and without that, {instead}")]
    BreakGlass {
        /// What is wrong with it.
        why: &'static str,
        /// Why the gate said no before.
        instead: Box<Reason>,
    },
}

/// What a statement leaves open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// It cannot be read.
    #[error("somebody who may has signed something that cannot be read")]
    Unreadable,
    /// Not in containers of the image.
    #[error("its tests did not run in the image")]
    Engine,
    /// Something was left out.
    #[error("tests were left out")]
    Filtered,
    /// Its numbers contradict each other.
    #[error("its numbers do not add up")]
    Numbers,
    /// Tests are without a result.
    #[error("{missing} tests have no result")]
    Missing {
        /// How many.
        missing: u64,
    },
    /// Too few.
    #[error("{ran} tests ran, and the policy asks for {least}")]
    TooFew {
        /// How many ran.
        ran: u64,
        /// How many the policy asks for.
        least: u64,
    },
    /// No shard, or one without its tests.
    #[error("its shards do not account for its tests")]
    Shards,
    /// A shard ran another image.
    #[error("its shards ran another image")]
    OtherImage,
    /// It ends before it begins.
    #[error("it ends before it begins")]
    Times,
}

impl Denial {
    /// The denial of something that could not be made an image: a tag that leads nowhere, a digest that nobody has, something that is no image.
    pub fn unresolved(reference: &str, environment: &str, why: &str) -> Self {
        let reason = Box::new(Reason::Unresolved { why: why.to_owned() });
        Self { image: reference.to_owned(), environment: environment.to_owned(), reason, seen: Vec::new() }
    }

    /// The denial of something that could not be looked up, since the place where it would be gives no answer: what there is said about it cannot be known either.
    pub fn unavailable(reference: &str, environment: &str, place: &str, why: String) -> Self {
        let reason = Box::new(Reason::Unavailable { place: place.to_owned(), why });
        Self { image: reference.to_owned(), environment: environment.to_owned(), reason, seen: Vec::new() }
    }

    /// What it is called by scripts.
    pub fn code(&self) -> String {
        self.reason.code()
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let Self { image, environment, .. } = self;
        let again = format!("run its tests again, without a build: `splitci run --image REPOSITORY@{image}`");
        match &*self.reason {
            Reason::Unresolved { .. } => "name an image that is in the registry: REPOSITORY@sha256:…, or a tag of it".into(),
            Reason::Unavailable { .. } => {
                format!("try again when it answers; if it cannot wait: `splitci deploy {environment} --break-glass REASON`")
            }
            Reason::TooMany { .. } => "find out who may write to the repository, and delete what does not belong there".into(),
            Reason::NoSignature { .. } | Reason::WrongSubject => {
                format!("sign a run of this image with `splitci push RUN`, or {again}")
            }
            Reason::Level { wanted } => format!("sign with a key of level `{wanted}`; `splitci keys show` tells the level of yours"),
            Reason::Config { .. } => {
                "run with the configuration of the protected branch, or list this one in the policy's `configs`".into()
            }
            Reason::Incomplete(_) | Reason::Stale { .. } | Reason::Reused { .. } | Reason::Future { .. } => again,
            Reason::Failed { run } | Reason::Warned { run, .. } | Reason::SupersededByFailure { run } => {
                format!("see what failed: `splitci report {run}`")
            }
            Reason::Revoked { .. } => "build and test another image; what was revoked stays so until it is taken out of the policy".into(),
            Reason::ImageLevel { wanted, .. } => format!("build it in a run of level `{wanted}`: `splitci run --push` there"),
            Reason::Dirty { .. } => "commit, and run again".into(),
            Reason::Missing { name, .. } => format!("see what is there with `splitci verify REPOSITORY@{image}`, and have `{name}` signed"),
            Reason::BreakGlass { .. } => {
                format!(
                    "`splitci deploy {environment} --break-glass REASON` with a key that the policy names, and a reason that explains it"
                )
            }
        }
    }
}

impl Reason {
    /// What it is called by scripts.
    pub fn code(&self) -> String {
        match self {
            Self::Unresolved { .. } => "E_RESOLVE",
            Self::Unavailable { .. } | Self::TooMany { .. } => "E_EVIDENCE_UNAVAILABLE",
            Self::NoSignature { .. } => "E_NO_VALID_SIGNATURE",
            Self::WrongSubject => "E_WRONG_SUBJECT",
            Self::Level { .. } => "E_LEVEL",
            Self::Config { .. } => "E_CONFIG",
            Self::Incomplete(_) => "E_INCOMPLETE",
            Self::Failed { .. } | Self::Warned { .. } => "E_RESULT",
            Self::SupersededByFailure { .. } => "E_SUPERSEDED_BY_FAILURE",
            Self::Stale { .. } => "E_STALE",
            Self::Future { .. } => "E_FUTURE",
            Self::Revoked { .. } => "E_REVOKED",
            Self::Reused { .. } => "E_REUSED",
            Self::ImageLevel { .. } => "E_IMAGE_LEVEL",
            Self::Dirty { .. } => "E_DIRTY",
            Self::Missing { name, .. } => return format!("E_MISSING_{}", loud(name)),
            Self::BreakGlass { .. } => "E_BREAK_GLASS",
        }
        .to_owned()
    }
}

/// A name as a part of a code: `soaked:staging` is `SOAKED_STAGING`.
fn loud(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A span as people say it, in the largest unit that it has two of.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    units.iter().find(|(unit, _)| ms >= 2 * unit).map_or_else(|| format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}

fn level_or_none(level: Option<Level>) -> String {
    level.map_or_else(|| "no known level".to_owned(), |level| format!("level `{level}`"))
}
