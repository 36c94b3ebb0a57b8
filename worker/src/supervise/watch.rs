//! What runs now, and for how long: the clock of the test deadline.
//!
//! It is set back whenever the slot changes (or a driver without a slot says that a test started), and when work is handed over, so that a
//! driver that hangs before it touches the slot is noticed as well. It knows no limits; `session` compares.

use crate::protocol::message::Slot;

/// A test is worth a `Running` message once it takes this long, in milliseconds.
const FIRST_REPORT: u64 = 1000;
/// And again after this long.
const NEXT_REPORT: u64 = 5000;

/// The last thing seen to run.
#[derive(Debug)]
pub(super) struct Watch {
    at: Slot,
    changes: u64,
    since: u64,
    report_due: u64,
}

impl Watch {
    pub(super) fn new(now: u64) -> Self {
        Self { at: Slot::Idle, changes: 0, since: now, report_due: now + FIRST_REPORT }
    }

    /// What runs.
    pub(super) fn at(&self) -> Slot {
        self.at
    }

    /// Since when, or since the clock was last set back.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// The slot was read.
    pub(super) fn see(&mut self, now: u64, at: Slot, changes: u64) {
        if changes != self.changes {
            self.changes = changes;
            self.at = at;
            self.restart(now);
        }
    }

    /// The driver has no slot and said what it starts, or that nothing runs any more.
    pub(super) fn told(&mut self, now: u64, at: Slot) {
        if self.changes == 0 {
            self.at = at;
            self.restart(now);
        }
    }

    /// Time up to now does not count.
    pub(super) fn restart(&mut self, now: u64) {
        self.since = now;
        self.report_due = now + FIRST_REPORT;
    }

    /// When the next `Running` message is due, if something runs.
    pub(super) fn report_due(&self) -> Option<u64> {
        matches!(self.at, Slot::Loading { .. } | Slot::Test { .. }).then_some(self.report_due)
    }

    /// For how long it runs, if it is time to say so.
    pub(super) fn report(&mut self, now: u64) -> Option<u64> {
        if self.report_due()? > now {
            return None;
        }
        self.report_due = now + NEXT_REPORT;
        Some(now - self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Slot = Slot::Test { unit: 1, ordinal: 2 };

    #[test]
    fn only_a_change_of_the_slot_sets_the_clock_back() {
        let mut watch = Watch::new(0);
        watch.see(100, TEST, 1);
        watch.see(200, TEST, 1);
        assert_eq!((watch.at(), watch.since()), (TEST, 100));
        watch.see(300, TEST, 2);
        assert_eq!(watch.since(), 300);
    }

    #[test]
    fn a_long_test_is_reported_after_one_second_and_then_every_five() {
        let mut watch = Watch::new(0);
        watch.see(100, TEST, 1);
        assert_eq!(watch.report(1099), None);
        assert_eq!(watch.report(1100), Some(1000));
        assert_eq!(watch.report(6099), None);
        assert_eq!(watch.report(6100), Some(6000));
    }

    #[test]
    fn idleness_is_not_reported() {
        let mut watch = Watch::new(0);
        assert_eq!(watch.report(60_000), None);
    }

    #[test]
    fn words_count_only_while_the_slot_was_never_written() {
        let mut watch = Watch::new(0);
        watch.told(10, TEST);
        assert_eq!(watch.at(), TEST);
        watch.see(20, Slot::Loading { unit: 9 }, 1);
        watch.told(30, TEST);
        assert_eq!((watch.at(), watch.since()), (Slot::Loading { unit: 9 }, 20));
    }
}
