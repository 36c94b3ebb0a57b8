//! What makes a record prove nothing: contradictions in it. They come from a bug or from a damaged record, never from a test that fails.
//!
//! A fault never turns a run red and never leaves it green: the answer is "none", with the fault named.

use thiserror::Error;

use crate::model::{Fence, SessionId, SuiteId, TestKey, UnitId};

/// One contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The numbers of the events have a hole or a repetition.
    #[error("event {expected} was expected and event {found} came")]
    Sequence {
        /// The next number.
        expected: u64,
        /// What came instead.
        found: u64,
    },
    /// Something happened before the run's start.
    #[error("the record does not begin with the run's start")]
    NotStarted,
    /// A second start.
    #[error("the run starts twice")]
    StartedTwice,
    /// A second list of a suite, or one that comes after the manifest.
    #[error("suite {} is listed twice, or after the plan was made", .0.0)]
    ListedTwice(SuiteId),
    /// A list that no session of this run made, in a run that may not rest on such a list, or that has something to run.
    #[error("suite {} was listed by another run alone", .0.0)]
    NotListedHere(SuiteId),
    /// A manifest that was made before all suites were known.
    #[error("the plan was made before suite {} was listed", .0.0)]
    Unlisted(SuiteId),
    /// A second manifest.
    #[error("the plan is made twice")]
    PlannedTwice,
    /// The manifest is not the one whose hash was told.
    #[error("the plan does not have the hash that was told with it")]
    OtherPlan,
    /// A file of the suite is in no unit.
    #[error("`{file}` is in the suite and not in the plan")]
    Unplanned {
        /// Which.
        file: String,
    },
    /// A file is reused, or said to be a canary, without what it takes.
    #[error("`{file}` is taken for proven and {why}")]
    BadReuse {
        /// Which.
        file: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something happened after the run's end.
    #[error("the record goes on after the run's end")]
    AfterEnd,
    /// A unit that is not in the manifest.
    #[error("unit {} is not in the plan", .0.0)]
    UnknownUnit(UnitId),
    /// A lease of a session that did not live.
    #[error("unit {} was leased to session {session}, which was not there", unit.0)]
    LeasedToNobody {
        /// What.
        unit: UnitId,
        /// To whom.
        session: SessionId,
    },
    /// A lease of a session of another suite.
    #[error("unit {} was leased to session {session}, which is of another suite", unit.0)]
    LeasedToAnother {
        /// What.
        unit: UnitId,
        /// To whom.
        session: SessionId,
    },
    /// A lease that is not newer than the one before.
    #[error("unit {} was leased under fence {}, which is not newer than the one before", unit.0, fence.0)]
    StaleLease {
        /// What.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// A unit that was final was leased.
    #[error("unit {} was leased again after it was final", .0.0)]
    LeasedWhenFinal(UnitId),
    /// News under a lease that nobody gave.
    #[error("unit {} reports under fence {}, which was never given", unit.0, fence.0)]
    UnknownLease {
        /// What.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// News under a lease whose unit is through.
    #[error("unit {} reports under fence {} after its end", unit.0, fence.0)]
    AfterUnitEnd {
        /// What.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// A second declaration under one lease.
    #[error("unit {} declares its tests twice under fence {}", unit.0, fence.0)]
    DeclaredTwice {
        /// What.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// Ordinals that are out of order or out of range.
    #[error("unit {} selects tests that it does not declare", .0.0)]
    BadSelection(UnitId),
    /// Results of a unit that did not declare its tests under that lease.
    #[error("unit {} reports under fence {} without having declared its tests", unit.0, fence.0)]
    NotDeclared {
        /// What.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// A result that was not asked for.
    #[error("test {} of unit {} reports a result and was not to run", test.ordinal, test.unit.0)]
    UnexpectedTest {
        /// Which.
        test: TestKey,
    },
    /// Two results under one lease, or a crash of a test that has a result.
    #[error("test {} of unit {} has two results", test.ordinal, test.unit.0)]
    TestTwice {
        /// Which.
        test: TestKey,
    },
    /// A unit is through and declared tests have no result.
    #[error("unit {} is through and {tests} of its tests have no result", unit.0)]
    Unreported {
        /// Which.
        unit: UnitId,
        /// How many.
        tests: usize,
    },
    /// Another attempt at tests that did not fail, at none, once too often, or out of turn.
    #[error("unit {} tries tests again that are not to be tried again", .0.0)]
    BadRetry(UnitId),
    /// Results are declared void where there are none.
    #[error("unit {} is superseded and has nothing that could be", .0.0)]
    NothingToSupersede(UnitId),
    /// A session says hello twice, or after its end.
    #[error("session {0} starts twice")]
    SessionTwice(SessionId),
    /// A session ends in order and never said hello.
    #[error("session {0} ends in order and never started")]
    EndedUnheard(SessionId),
    /// A session that closed in order reported another number of tests than it was heard to.
    #[error("session {session} says that it reported {said} tests, and {heard} were heard")]
    Count {
        /// Which.
        session: SessionId,
        /// How many it says.
        said: u64,
        /// How many came.
        heard: u64,
    },
    /// A session ends twice.
    #[error("session {0} ends twice")]
    SessionEndedTwice(SessionId),
}
