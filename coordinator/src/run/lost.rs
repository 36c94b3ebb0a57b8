//! What the end of a framework's process means: closed in order, lost, or ended wrongly by the code under test.

use splitci_worker::protocol::message::Ended;

use crate::model::event::{Close, Crash};
use crate::model::{Exit, Slot, Stopped};
use crate::queue::Cause;

/// What is known of a session at its end.
pub(super) struct Loss<'a> {
    pub(super) ended: &'a Ended,
    /// Count and status of the driver's bye.
    pub(super) bye: Option<(u64, i32)>,
    pub(super) errors: &'a str,
    /// Tests that reached us.
    pub(super) reported: u64,
    /// One of them was bad: a non-zero status is explained.
    pub(super) bad: bool,
    /// It had been told to finish.
    pub(super) finishing: bool,
    /// It still held units.
    pub(super) holding: bool,
}

/// Whether the session closed as it should; what killed it; and whom the queue shall blame for units that it had begun.
pub(super) fn classify(loss: &Loss<'_>) -> (Close, Crash, Cause) {
    (close(loss), crash(loss.ended), cause(loss.ended))
}

fn close(loss: &Loss<'_>) -> Close {
    if !loss.ended.hello {
        return Close::NoHello;
    }
    let Some((count, status)) = loss.bye else {
        // Closing a session is the code under test's business too (session fixtures): dying there is red, and there is no unit to blame.
        let own_fault = loss.ended.at == Slot::Closing && loss.ended.stopped != Some(Stopped::Aborted);
        return if own_fault { Close::Dirty } else { Close::Lost };
    };
    let exited_as_said = loss.ended.how == Exit::Code(status);
    let explained = status == 0 || loss.bad;
    if count == loss.reported && exited_as_said && explained && loss.errors.is_empty() && loss.finishing && !loss.holding {
        Close::Clean
    } else {
        Close::Dirty
    }
}

fn crash(ended: &Ended) -> Crash {
    match (ended.stopped, ended.how) {
        (Some(Stopped::TestTimeout | Stopped::FinishTimeout | Stopped::BootTimeout), _) => Crash::TimedOut,
        (Some(Stopped::DriverLost), _) => Crash::DriverLost,
        _ if ended.oom => Crash::OutOfMemory,
        (_, Exit::Code(code)) => Crash::Exited(code),
        (_, Exit::Signal(signal)) => Crash::Signal(signal),
        (_, Exit::NotStarted) => Crash::ShardLost,
    }
}

fn cause(ended: &Ended) -> Cause {
    match ended.stopped {
        // The worker saw the limit exceeded: there is no doubt, and no reason to wait as long again.
        Some(Stopped::TestTimeout) => Cause::Deadline,
        Some(Stopped::Aborted) => Cause::Outside,
        _ => Cause::Test,
    }
}
