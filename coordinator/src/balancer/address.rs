//! Where a balancer's socket is: a path on this machine, a port of its loopback, or a path on a machine that `ssh` reaches. Nothing else, since whoever
//! reaches the socket rules the balancer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::BalancerError;
use crate::tunnel::Remote;

/// The address of a runtime socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine, by its absolute path.
    Unix(PathBuf),
    /// A port of this machine's loopback.
    Tcp(SocketAddr),
    /// A socket on another machine.
    Ssh(Remote),
}

impl FromStr for Endpoint {
    type Err = BalancerError;

    fn from_str(address: &str) -> Result<Self, BalancerError> {
        let wrong = || BalancerError::Address { address: address.to_owned() };
        if let Some(rest) = address.strip_prefix("ssh://") {
            return Remote::read(rest, None).map(Self::Ssh).ok_or_else(wrong);
        }
        if let Some(path) = address.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        let socket: SocketAddr = address.strip_prefix("tcp://").and_then(|rest| rest.parse().ok()).ok_or_else(wrong)?;
        if socket.ip().is_loopback() { Ok(Self::Tcp(socket)) } else { Err(BalancerError::Elsewhere { address: address.to_owned() }) }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Ssh(remote) => write!(f, "{remote}"),
        }
    }
}
