//! Keeps its own book of a run, from what sessions really ran and from the facts that the queue told, and objects when the two do not fit.
//!
//! It shares no code with the queue. Each method is called when the thing happens; the first objection is kept.

use std::collections::{BTreeMap, BTreeSet};

use splitci_coordinator::model::{Fence, SessionId, UnitId};
use splitci_coordinator::queue::{Cause, Fact, Lease, Reply, State, Step, Suspect};

use super::session::place;
use super::suite::{Ids, Load, Nature, Part, Suite};

/// The book of a run.
#[derive(Debug)]
pub struct Judge {
    pages: Vec<Page>,
    leases: BTreeMap<Fence, Leased>,
    last_fence: Fence,
    max_losses: u32,
    /// Something outside of the tests took sessions: innocents may be named.
    pub outside: bool,
    coin: bool,
    /// The first objection.
    pub objection: Option<String>,
}

/// What is known of a unit.
#[derive(Debug, Default)]
struct Page {
    stage: Stage,
    /// Under which lease it is held.
    held: Option<Fence>,
    superseded: u32,
    /// Tests whose results count, and the list of ids that they are of.
    accepted: BTreeSet<u32>,
    version: Option<u32>,
    crashed: BTreeSet<u32>,
    /// Sessions lost, by suspect, since the unit last began anew; as told by living agents under a valid fence.
    lost: BTreeMap<Suspect, u32>,
    lost_in_all: u32,
}

/// How far a unit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// A fallback that nobody needs.
    Dormant,
    Finished,
    GivenUp,
    /// A slice that its fallback replaces.
    Void,
}

#[derive(Debug)]
struct Leased {
    lease: Lease,
    session: SessionId,
    load: Option<Load>,
    reported: BTreeSet<u32>,
    died: Option<(Option<Suspect>, Cause)>,
}

impl Judge {
    /// An empty book for these units.
    pub fn new(suite: &Suite, max_losses: u32) -> Self {
        let page = |&(_, part): &(usize, Part)| Page {
            stage: if part == Part::Fallback { Stage::Dormant } else { Stage::Open },
            ..Page::default()
        };
        let pages = suite.units.iter().map(page).collect();
        let leases = BTreeMap::new();
        Self { pages, leases, last_fence: Fence(0), max_losses, outside: false, coin: false, objection: None }
    }

    /// A unit was added for another attempt: the next number, and open.
    pub fn added(&mut self, unit: UnitId) {
        let due = place(unit) == self.pages.len();
        self.pages.push(Page::default());
        self.demand(due, || format!("{unit:?} was added out of turn"));
    }

    fn object(&mut self, text: String) {
        self.objection.get_or_insert(text);
    }

    fn demand(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.object(text());
        }
    }

    /// Alternates.
    pub fn coin(&mut self) -> bool {
        self.coin = !self.coin;
        self.coin
    }

    /// A unit was loaded.
    pub fn declared(&mut self, lease: &Lease, load: Load) {
        if let Some(leased) = self.leases.get_mut(&lease.fence) {
            leased.load = Some(load);
        }
    }

    /// A test's result arrived. If the lease is still good, it must not be final already.
    pub fn reported(&mut self, lease: &Lease, ordinal: u32) {
        let page = &self.pages[place(lease.unit)];
        let twice = page.held == Some(lease.fence) && (page.accepted.contains(&ordinal) || page.crashed.contains(&ordinal));
        self.demand(!twice, || format!("test {ordinal} of {:?} ran again after it was final", lease.unit));
        if let Some(leased) = self.leases.get_mut(&lease.fence) {
            leased.reported.insert(ordinal);
        }
    }

    /// A process died and its agent knows.
    pub fn died(&mut self, lease: &Lease, suspect: Option<Suspect>, cause: Cause) {
        self.outside |= cause == Cause::Outside;
        if let Some(leased) = self.leases.get_mut(&lease.fence) {
            leased.died = Some((suspect, cause));
        }
    }

    /// A step was carried out.
    pub fn replied(&mut self, suite: &Suite, step: &Step, reply: &Reply) {
        for &(unit, fence) in &step.release {
            self.released(step.session, unit, fence);
        }
        let session = step.session;
        self.decided(suite, Some(session), &reply.facts);
        let held: Vec<bool> = self.held_by(session).map(|leased| leased.lease.suspect).collect();
        let beside = held.contains(&true) && !reply.leases.is_empty();
        self.demand(!beside, || format!("{session} was given something beside a suspect"));
        let alone = reply.leases.len() == 1 && held.is_empty() || reply.leases.iter().all(|lease| !lease.suspect);
        self.demand(alone, || format!("{session} was given a suspect beside something else"));
        for lease in &reply.leases {
            self.given(session, *lease);
        }
        let open = self.pages.iter().any(|page| page.stage == Stage::Open);
        self.demand(open == (reply.state != State::Closed), || format!("{:?} with units open: {open}", reply.state));
    }

    fn held_by(&self, session: SessionId) -> impl Iterator<Item = &Leased> {
        self.pages.iter().filter_map(|page| self.leases.get(&page.held?)).filter(move |leased| leased.session == session)
    }

    fn given(&mut self, session: SessionId, lease: Lease) {
        let page = &mut self.pages[place(lease.unit)];
        let free = page.held.is_none() && page.stage == Stage::Open;
        let until = lease.until.unwrap_or(u32::MAX);
        let again = page.accepted.iter().any(|ordinal| (lease.from..until).contains(ordinal));
        let crashed = page.crashed.iter().any(|ordinal| (lease.from..until).contains(ordinal));
        page.held = Some(lease.fence);
        let grows = lease.fence > self.last_fence;
        self.last_fence = lease.fence;
        self.leases.insert(lease.fence, Leased { lease, session, load: None, reported: BTreeSet::new(), died: None });
        self.demand(free, || format!("{lease:?} of a unit that was not free"));
        self.demand(grows, || format!("{lease:?} under an old fence"));
        self.demand(!again && !crashed, || format!("{lease:?} asks for tests that are final"));
    }

    /// Facts, in the order in which they were decided.
    pub fn decided(&mut self, suite: &Suite, by: Option<SessionId>, facts: &[Fact]) {
        for fact in facts {
            match *fact {
                Fact::Finished { unit, fence } => self.finished(unit, fence),
                Fact::Interrupted { unit, fence, final_below, suspect } => {
                    let died = self.leases.get(&fence).and_then(|leased| leased.died);
                    self.accept(unit, fence, final_below);
                    self.lost(unit, suspect.filter(|_| died.is_some_and(|(ran, _)| ran == suspect)));
                }
                Fact::Crashed { unit, fence, suspect, cause } => self.crashed(unit, fence, suspect, cause),
                Fact::GivenUp { unit } => self.end(unit, Stage::GivenUp),
                Fact::Superseded { unit, .. } => self.superseded(unit),
                Fact::Overtaken { unit, fence } => {
                    let own = by.is_some_and(|by| self.held_by(by).any(|leased| leased.lease.fence == fence));
                    self.demand(!own, || format!("a result for {unit:?} under its own {fence:?} did not count"));
                }
                Fact::SessionExpired { session } => self.expired(session),
            }
        }
        self.settle_groups(suite);
    }

    fn released(&mut self, session: SessionId, unit: UnitId, fence: Fence) {
        if self.leases.get(&fence).is_none_or(|leased| leased.session != session) {
            return;
        }
        let page = &mut self.pages[place(unit)];
        page.held = page.held.filter(|&held| held != fence);
    }

    /// A session is over; what it held is free.
    fn expired(&mut self, session: SessionId) {
        self.outside = true;
        for page in &mut self.pages {
            page.held = page.held.filter(|fence| self.leases.get(fence).is_none_or(|leased| leased.session != session));
        }
    }

    fn accept(&mut self, unit: UnitId, fence: Fence, below: u32) {
        let Some(leased) = self.leases.get(&fence) else { return self.object(format!("{fence:?} was never given")) };
        let reported: BTreeSet<u32> = leased.reported.range(..below).copied().collect();
        let (load, of_unit) = (leased.load, leased.lease.unit == unit);
        let page = &mut self.pages[place(unit)];
        let (twice, ended) = (!page.accepted.is_disjoint(&reported), page.stage != Stage::Open);
        let mixed = !reported.is_empty() && page.version.is_some_and(|version| load.is_none_or(|load| load.version != version));
        if !reported.is_empty() {
            page.version = page.version.or(load.map(|load| load.version));
        }
        page.accepted.extend(&reported);
        page.held = page.held.filter(|&held| held != fence);
        self.demand(of_unit, || format!("{fence:?} is not of {unit:?}"));
        self.demand(!ended, || format!("{unit:?} went on after its end"));
        self.demand(!twice, || format!("tests of {unit:?} counted twice"));
        self.demand(!mixed, || format!("results of {unit:?} are of two lists of ids"));
    }

    fn lost(&mut self, unit: UnitId, suspect: Option<Suspect>) {
        let page = &mut self.pages[place(unit)];
        page.lost_in_all += 1;
        let Some(suspect) = suspect else { return };
        let losses = page.lost.entry(suspect).or_default();
        *losses += 1;
        // Ordinals of two lists of ids are not the same tests.
        let (losses, steady, most) = (*losses, page.superseded == 0, self.max_losses);
        self.demand(!steady || losses <= most || suspect == Suspect::Loading, || format!("{suspect:?} of {unit:?} took {losses} sessions"));
    }

    fn crashed(&mut self, unit: UnitId, fence: Fence, suspect: Suspect, cause: Cause) {
        self.outside |= cause == Cause::Outside;
        let page = &mut self.pages[place(unit)];
        let fresh = match suspect {
            Suspect::Test(ordinal) => !page.accepted.contains(&ordinal) && page.crashed.insert(ordinal),
            Suspect::Loading => true,
        };
        let ended = page.stage != Stage::Open;
        self.demand(fresh && !ended, || format!("{suspect:?} of {unit:?} crashed under {fence:?} after it was final"));
    }

    fn finished(&mut self, unit: UnitId, fence: Fence) {
        let page = &self.pages[place(unit)];
        // A crash at the very end ends the unit with what its interruption had counted already.
        if page.held == Some(fence) {
            self.accept(unit, fence, u32::MAX);
        }
        self.end(unit, Stage::Finished);
    }

    fn end(&mut self, unit: UnitId, stage: Stage) {
        let before = std::mem::replace(&mut self.pages[place(unit)].stage, stage);
        self.demand(before == Stage::Open, || format!("{unit:?} ended twice, or while it slept"));
    }

    fn superseded(&mut self, unit: UnitId) {
        let page = &mut self.pages[place(unit)];
        page.superseded += 1;
        let number = page.superseded;
        page.accepted.clear();
        page.crashed.clear();
        page.lost.clear();
        (page.version, page.held) = (None, None);
        self.demand(number == 1, || format!("{unit:?} was superseded {number} times"));
    }

    /// Slices of a superseded unit are out for good, and their fallback is awake.
    fn settle_groups(&mut self, suite: &Suite) {
        for (unit, &(file, part)) in suite.units.iter().enumerate() {
            if !matches!(part, Part::Slice { .. }) || self.pages[unit].superseded == 0 || self.pages[unit].stage == Stage::Void {
                continue;
            }
            self.pages[unit].stage = Stage::Void;
            let fallback = suite.units.iter().position(|&other| other == (file, Part::Fallback));
            if let Some(fallback) = fallback {
                self.pages[fallback].stage = Stage::Open;
            }
        }
    }

    /// The queue is closed: every test of every unit is final, exactly once, and every culprit is named.
    pub fn close(&mut self, suite: &Suite) {
        for (unit, &(file, part)) in suite.units.iter().enumerate() {
            let file = &suite.files[file];
            let page = &self.pages[unit];
            if matches!(page.stage, Stage::Void | Stage::Dormant) {
                let siblings = part == Part::Fallback || matches!(part, Part::Slice { .. });
                self.demand(siblings, || format!("unit {unit} never ran"));
                continue;
            }
            let done: BTreeSet<u32> = page.accepted.union(&page.crashed).copied().collect();
            let (stage, steady) = (page.stage, file.ids == Ids::Stable);
            let version = page.version.unwrap_or(0);
            let count = u32::try_from(file.tests.len()).unwrap_or(u32::MAX) + version % 2;
            let all: BTreeSet<u32> = suite.selected(unit, Load { version, count }).into_iter().collect();
            let crashed = page.crashed.clone();
            let bound = 2 * self.max_losses * (2 * count + 4);
            let lost = page.lost_in_all;
            self.demand(stage != Stage::Open, || format!("unit {unit} has not ended"));
            self.demand(lost <= bound, || format!("unit {unit} lost {lost} sessions"));
            let blind = self.outside || self.max_losses < 2;
            if stage == Stage::GivenUp {
                self.demand(!steady || file.loading != Nature::Fine || blind, || format!("unit {unit} was given up without reason"));
                continue;
            }
            self.demand(!steady || done == all, || format!("unit {unit} ended with {done:?} of {all:?}"));
            self.demand(done.len() >= all.len() || !crashed.is_empty(), || format!("unit {unit} is green without {all:?}: {done:?}"));
            let innocent = crashed.iter().find(|&&ordinal| file.tests.get(usize::try_from(ordinal).unwrap_or(0)) == Some(&Nature::Fine));
            self.demand(!steady || blind || innocent.is_none(), || format!("unit {unit} named the innocent {innocent:?}"));
        }
    }
}
