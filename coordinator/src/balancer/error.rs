//! What can go wrong with a balancer. One enum for the room; what a caller may treat differently is a variant.

use std::time::Duration;

use super::{AnswerError, Halt};
use crate::tunnel::TunnelError;

/// The balancer cannot be reached, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The address cannot be understood.
    #[error("cannot read the balancer's address `{address}`: `unix:///path`, `ssh://user@host/path` or `tcp://127.0.0.1:port` is needed")]
    Address {
        /// As it was given.
        address: String,
    },
    /// The address is that of another machine.
    #[error("cannot use the balancer at `{address}`: it is not on this machine's loopback, and its socket has no password")]
    Elsewhere {
        /// As it was given.
        address: String,
    },
    /// There is nothing to reach another machine with.
    #[error("cannot connect to `{remote}`: nobody said how other machines are reached")]
    NoSsh {
        /// Where to.
        remote: String,
    },
    /// The other machine is not reached, or its socket is not.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// A name that is none of a backend or server.
    #[error("`{name}` is no name of a backend or a server: letters, digits and any of `-_.:` are")]
    Name {
        /// As it was given.
        name: String,
    },
    /// There is nothing at this path.
    #[error("cannot find the balancer's socket `{endpoint}`")]
    NoSocket {
        /// Where it was looked for.
        endpoint: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// This user may not use the socket.
    #[error("cannot use the balancer's socket `{endpoint}`")]
    Forbidden {
        /// Which.
        endpoint: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Nobody listens.
    #[error("cannot reach the balancer at `{endpoint}`")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("the balancer at `{endpoint}` has not answered for {}: `{command}`", spoken(.waited))]
    Silent {
        /// Which.
        endpoint: String,
        /// What it was told; of a long line its beginning. It may have done it.
        command: String,
        /// How long it was waited.
        waited: Duration,
    },
    /// The conversation broke.
    #[error("the conversation with the balancer at `{endpoint}` broke off: `{command}`")]
    Broken {
        /// Which.
        endpoint: String,
        /// What it was told; of a long line its beginning. It may have done it.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// More at once than it reads as one line.
    #[error("a line of commands has {bytes} bytes, and the balancer reads {most}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// It answers without end.
    #[error("the balancer at `{endpoint}` answers with more than {most} bytes: `{command}`")]
    TooMuch {
        /// Which.
        endpoint: String,
        /// What it was told.
        command: String,
        /// What is read at most.
        most: usize,
    },
    /// It says no.
    #[error("the balancer at `{endpoint}` refuses: {}", listed(.complaints))]
    Refused {
        /// Which.
        endpoint: String,
        /// Each command that it refused. The others of the line are done.
        complaints: Vec<Complaint>,
    },
    /// Its answer is not what a balancer says.
    #[error("cannot understand the balancer at `{endpoint}`")]
    Garbled {
        /// Which.
        endpoint: String,
        /// Why not.
        #[source]
        cause: AnswerError,
    },
    /// A server did not get to where it was to go.
    #[error("a server behind the balancer at `{endpoint}` does not get on")]
    Halted {
        /// Which balancer.
        endpoint: String,
        /// Why not.
        #[source]
        cause: Halt,
    },
}

/// A command that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// As it was told.
    pub command: String,
    /// What the balancer said, its first line.
    pub said: String,
    /// What that means.
    pub reason: Reason,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no such backend.
    NoBackend,
    /// There is no such server.
    NoServer,
    /// The socket's level does not allow it.
    Level,
    /// It does not know the command.
    NotKnown,
    /// Something else.
    Other,
}

impl Complaint {
    /// What was said to a command, if it is not silence.
    pub(super) fn of(command: &str, said: &str) -> Option<Self> {
        let first = said.lines().map(str::trim).find(|line| !line.is_empty())?;
        let reason = match first {
            "No such backend." | "Can't find backend." | "No such proxy." => Reason::NoBackend,
            "No such server." => Reason::NoServer,
            _ if first.starts_with("Permission denied") => Reason::Level,
            _ if first.starts_with("Unknown command") => Reason::NotKnown,
            _ => Reason::Other,
        };
        // What stands there instead of a balancer may say anything, at any length.
        Some(Self { command: command.to_owned(), said: first.chars().take(200).collect(), reason })
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.command, self.said.trim_end_matches('.'))
    }
}

fn spoken(waited: &Duration) -> String {
    humantime::format_duration(*waited).to_string()
}

fn listed(complaints: &[Complaint]) -> String {
    complaints.iter().map(Complaint::to_string).collect::<Vec<_>>().join("; ")
}

impl BalancerError {
    /// Whether this command, or one of this line, was refused for such a reason.
    pub fn is_refused_for(&self, reason: Reason) -> bool {
        matches!(self, Self::Refused { complaints, .. } if complaints.iter().any(|complaint| complaint.reason == reason))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Tunnel(cause) => return Some(cause.hint()),
            Self::Address { .. } | Self::Elsewhere { .. } => {
                "set `lb` to the path of HAProxy's `stats socket`, such as `unix:///run/haproxy/admin.sock`"
            }
            Self::NoSocket { .. } => "start HAProxy, and give its configuration `stats socket PATH level admin` in `global`",
            Self::Forbidden { .. } => {
                "become a member of the group that owns the socket, or set `user`, `group` or `mode` of `stats socket` in HAProxy's configuration"
            }
            Self::Unreachable { .. } => "look whether HAProxy runs with `systemctl status haproxy`",
            Self::Silent { .. } => "look whether it is HAProxy that listens there, and whether its machine is overloaded",
            Self::TooLong { .. } => "a line holds some 300 servers; make more than one environment of them",
            Self::Refused { complaints, .. } => return complaints.iter().find_map(|complaint| complaint.reason.hint()).map(str::to_owned),
            Self::Garbled { .. } | Self::TooMuch { .. } => "the address must be that of HAProxy's `stats socket`, HAProxy 2.4 or newer",
            Self::Halted { cause, .. } => return cause.hint(),
            Self::Name { .. } | Self::NoSsh { .. } | Self::Broken { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl Reason {
    fn hint(self) -> Option<&'static str> {
        match self {
            Self::NoBackend => Some("list the balancer's backends with `show backend` on its socket, and name one of them"),
            Self::NoServer => Some("give every slot of the environment a `server` of its own in that backend"),
            Self::Level => Some("add `level admin` to the `stats socket` of HAProxy's configuration, and reload it"),
            Self::NotKnown => Some("the address must be that of HAProxy's `stats socket` and not of its master, HAProxy 2.4 or newer"),
            Self::Other => None,
        }
    }
}
