//! How far one unit is, and what a lost session means for it: again, again alone, or a crash.
//!
//! Tests run in ascending ordinals, so what is final is everything below `from`, and beyond it single crashed tests: *holes*. A lease runs from `from` to the
//! first hole. Results that were buffered in the process when it died are lost, so a crash may leave tests before it without a result: they run up
//! to the hole, in a lease of their own, and then the unit goes on behind it.
//!
//! Losses are counted per suspect, and without progress per unit. That bounds them: see the room's intro.

use std::collections::BTreeMap;

use super::call::{Cause, Listing, Partial, Suspect};

/// How far a unit is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Tests with a lower ordinal are final.
    pub(super) from: u32,
    /// Crashed tests above, each with whether tests remain between it and the next one, or the end.
    holes: BTreeMap<u32, bool>,
    /// What its first load listed; a slice's is kept with its group.
    listing: Option<Listing>,
    /// Its ids change from load to load: it only runs whole.
    unstable: bool,
    losses: BTreeMap<Suspect, u32>,
    /// Losses since a test last became final.
    stalls: u32,
    /// To be dispatched alone.
    pub(super) alone: bool,
}

/// Where a unit goes from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Back to the others.
    Again,
    /// Through.
    Through,
    /// Final with tests that never ran.
    GivenUp,
}

/// What became of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// Results below this count.
    pub(super) final_below: u32,
    pub(super) suspect: Option<Suspect>,
    pub(super) crashed: Option<Suspect>,
    pub(super) next: Next,
}

impl Progress {
    /// First ordinal that the next lease leaves out.
    pub(super) fn until(&self) -> Option<u32> {
        self.holes.first_key_value().map(|(&hole, _)| hole)
    }

    /// A lease at this point depends on no other load of the unit.
    pub(super) fn is_whole(&self) -> bool {
        self.from == 0 && self.holes.is_empty()
    }

    /// Remembers the listing of the first load. False if it is not the one known.
    pub(super) fn agrees(&mut self, listing: Listing) -> bool {
        self.unstable || *self.listing.get_or_insert(listing) == listing
    }

    /// Its ids changed: from now on it runs whole or not at all.
    pub(super) fn restart(&mut self) {
        *self = Self { unstable: true, ..Self::default() };
    }

    /// The lease's tests are all final.
    pub(super) fn complete(&mut self) -> Next {
        self.alone = false;
        match self.until() {
            None => Next::Through,
            Some(hole) => {
                self.advance(hole);
                self.pass_holes()
            }
        }
    }

    /// The session was lost.
    pub(super) fn lose(&mut self, loss: &Partial, max_losses: u32) -> Lost {
        let until = self.until().unwrap_or(u32::MAX);
        let count = loss.listing.map_or(0, |listing| listing.count);
        let below = loss.final_below.min(count).min(until).max(self.from);
        let suspect = loss.suspect.filter(|suspect| match suspect {
            Suspect::Test(ordinal) => (below..until).contains(ordinal),
            Suspect::Loading => true,
        });
        let advanced = below > self.from && !self.unstable;
        if advanced {
            self.advance(below);
            if suspect.is_none() {
                self.alone = false;
                return Lost { final_below: below, suspect, crashed: None, next: self.pass_holes() };
            }
        }
        self.alone = true;
        if !self.is_last_straw(suspect, loss.cause, max_losses.max(1)) {
            let final_below = if self.unstable { 0 } else { below };
            return Lost { final_below, suspect, crashed: None, next: Next::Again };
        }
        let crashed = suspect.unwrap_or(Suspect::Loading);
        Lost { final_below: below, suspect, crashed: Some(crashed), next: self.crash(crashed, loss.rest) }
    }

    /// Counts a loss and says whether it was one too many.
    fn is_last_straw(&mut self, suspect: Option<Suspect>, cause: Cause, max_losses: u32) -> bool {
        // Ordinals of two different listings cannot be compared: a unit that changes its ids is counted as a whole.
        let blamed = suspect.filter(|_| !self.unstable).unwrap_or(Suspect::Loading);
        let losses = self.losses.entry(blamed).or_default();
        *losses += 1;
        self.stalls += 1;
        let too_long = cause == Cause::Deadline && suspect.is_some();
        too_long || *losses >= max_losses || self.stalls >= max_losses.saturating_mul(2)
    }

    fn crash(&mut self, crashed: Suspect, rest: bool) -> Next {
        let Suspect::Test(ordinal) = crashed else { return Next::GivenUp };
        if self.unstable {
            return Next::GivenUp;
        }
        self.alone = false;
        self.holes.insert(ordinal, rest);
        self.advance(self.from);
        self.losses.remove(&crashed);
        self.pass_holes()
    }

    /// At least one more test is final.
    fn advance(&mut self, from: u32) {
        self.from = from;
        self.stalls = 0;
        self.losses.retain(|suspect, _| matches!(suspect, Suspect::Test(ordinal) if *ordinal >= from));
    }

    /// Goes on behind the crashed tests that nothing is left before.
    fn pass_holes(&mut self) -> Next {
        while let Some((&hole, &rest)) = self.holes.first_key_value()
            && hole <= self.from
        {
            self.holes.pop_first();
            let behind = if rest { Some(hole.saturating_add(1)) } else { self.until() };
            let Some(from) = behind else { return Next::Through };
            self.from = from;
        }
        Next::Again
    }
}
