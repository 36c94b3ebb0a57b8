//! A server as its balancer sees it. By numbers: the words of its statistics hide things (`DRAIN` says nothing of up or down), its bits do not.

use super::{Name, Place};

/// A backend at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Who answered.
    pub process: Process,
    /// All servers of the backend, in its own order.
    pub servers: Vec<Server>,
}

impl Observation {
    /// A server by its name.
    pub fn server(&self, name: &Name) -> Option<&Server> {
        self.servers.iter().find(|server| server.place.server == *name)
    }

    /// Servers that get requests.
    pub fn in_rotation(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.takes_requests())
    }
}

/// The process that answers. After a reload it is another one: what was drained may not be any more, and what is in flight through the old one
/// is not in these numbers. Whether the balancer loads a state file cannot be asked; who wants to know compares an observation of before with one of another
/// process, or reads `load-server-state-from-file` in the balancer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its version, as it says it.
    pub version: String,
    /// Its process id, where it runs.
    pub pid: u32,
    /// How long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// Whether it is on its way out, after a reload or altogether. For a moment either process may answer; what this one is told is of no use.
    pub stopping: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Of which backend, and its name.
    pub place: Place,
    /// Its address, as the balancer has it: an IP address mostly.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// What was decided of it.
    pub admin: Admin,
    /// What it does.
    pub operation: Operation,
    /// What its checks say.
    pub check: Check,
    /// Its weight, from 0 to 256. One of 0 gets nothing.
    pub weight: u32,
    /// Whether it gets requests only when no other is left.
    pub backup: bool,
    /// Whether visitors stick to it by a cookie. Then they come to it even while it is drained, and only maintenance ends that.
    pub sticky: bool,
    /// What it has to do.
    pub load: Load,
}

impl Server {
    /// Whether new requests go to it.
    pub fn takes_requests(&self) -> bool {
        let open = !self.admin.is_maintenance() && !self.admin.is_drain();
        open && self.weight > 0 && matches!(self.operation, Operation::Starting | Operation::Running)
    }

    /// Whether its last check passed and its health is all that it can be. That is no proof by itself: what went before counts, see [`super::Entrance`].
    pub fn is_healthy(&self) -> bool {
        let Check { state, result, .. } = &self.check;
        // While a check is under way the last outcome is not told; a check that had failed would have taken health away.
        let passed = *result == CheckResult::Passed || (*result == CheckResult::Unknown && state.is_running());
        state.is_on() && passed && self.check.is_full()
    }
}

/// Decisions about a server, as the balancer's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admin(u32);

impl Admin {
    const FORCED_MAINTENANCE: u32 = 0x01;
    const INHERITED_MAINTENANCE: u32 = 0x02;
    /// Only says that the configuration had it so; who is made ready keeps this bit.
    const CONFIGURED_MAINTENANCE: u32 = 0x04;
    const FORCED_DRAIN: u32 = 0x08;
    const INHERITED_DRAIN: u32 = 0x10;
    const UNRESOLVED: u32 = 0x20;
    const OTHER_NAME: u32 = 0x40;
    const KNOWN: u32 = 0x7f;

    /// From a number; none for bits that nobody knows.
    pub(super) fn of(bits: u32) -> Option<Self> {
        (bits & !Self::KNOWN == 0).then_some(Self(bits))
    }

    /// Whether somebody put it into maintenance, in which it can be taken out again.
    pub fn is_forced_maintenance(self) -> bool {
        self.0 & Self::FORCED_MAINTENANCE != 0
    }

    /// Whether it is in maintenance for any reason: by command, with the server that it tracks, or because its name has no address.
    pub fn is_maintenance(self) -> bool {
        self.0 & (Self::FORCED_MAINTENANCE | Self::INHERITED_MAINTENANCE | Self::UNRESOLVED) != 0
    }

    /// Whether it is drained, by command or with the server that it tracks.
    pub fn is_drain(self) -> bool {
        self.0 & (Self::FORCED_DRAIN | Self::INHERITED_DRAIN) != 0
    }

    /// Whether its configuration has it disabled.
    pub fn is_configured_maintenance(self) -> bool {
        self.0 & Self::CONFIGURED_MAINTENANCE != 0
    }

    /// Whether its name was changed by command.
    pub fn has_other_name(self) -> bool {
        self.0 & Self::OTHER_NAME != 0
    }
}

/// What a server does, whatever was decided of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is down.
    Stopped,
    /// It is up since lately and gets less than its share.
    Starting,
    /// It is up.
    Running,
    /// It is up and wants no new visitors.
    Stopping,
}

/// The outcome of the last check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// There was none.
    Unknown,
    /// It says nothing.
    Neutral,
    /// It failed.
    Failed,
    /// It passed.
    Passed,
    /// It passed, but the server wants no new visitors.
    Conditional,
}

/// How a server is checked, and with what outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether there are checks, and what becomes of them.
    pub state: CheckState,
    /// The last outcome; nothing while the next check is under way. It outlives maintenance: it may be that of whoever was there before.
    pub result: CheckResult,
    /// From 0 to `rise + fall - 1`: below `rise` it is down. Out of maintenance it comes with `rise`, which nobody has checked.
    pub health: u32,
    /// How many checks make it up, and how many make it down. Not told of a server in maintenance, nor of one that is not checked.
    pub thresholds: Option<Thresholds>,
    /// What the last check says, in the balancer's words, for people.
    pub says: String,
}

impl Check {
    /// Whether its health is known to be as high as it gets.
    pub fn is_full(&self) -> bool {
        self.thresholds.is_some_and(|thresholds| self.health >= thresholds.full())
    }

    /// Whether it is known to be less than that.
    pub fn is_low(&self) -> bool {
        self.thresholds.is_some_and(|thresholds| self.health < thresholds.full())
    }
}

/// Whether a server is checked, as the balancer's bits. It has more of them than we know, and more with every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckState(pub(super) u32);

impl CheckState {
    /// Whether a check is under way.
    pub fn is_running(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Whether its configuration has a check of its own.
    pub fn is_configured(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Whether checks are made: there are some, they are enabled, and not paused as in maintenance.
    pub fn is_on(self) -> bool {
        self.0 & 0x0e == 0x06
    }
}

/// What moves a server up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Checks that have to pass until it is up.
    pub rise: u32,
    /// Checks that have to fail until it is down.
    pub fall: u32,
}

impl Thresholds {
    /// The highest health.
    pub fn full(self) -> u32 {
        self.rise.saturating_add(self.fall).saturating_sub(1)
    }
}

/// What a server has to do, and what became of it since the balancer began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests that it is working on; where the balancer knows no requests, connections. Checks are not among them.
    pub in_flight: u32,
    /// Requests that wait for it alone.
    pub queued: u32,
    /// Connections to it in use.
    pub connections: u32,
    /// Requests within the last second.
    pub rate: u32,
    /// All requests.
    pub total: u64,
    /// Answers with a status of 500 and above.
    pub server_errors: u64,
    /// Connections that were not made.
    pub connect_errors: u64,
    /// Answers that broke off or were none.
    pub response_errors: u64,
}
