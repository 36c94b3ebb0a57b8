//! Where a balancer's socket is: a path on this machine, a port of its loopback, or a path on a machine that `ssh` reaches. Nothing else, since whoever
//! reaches the socket rules the balancer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::BalancerError;

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

/// A socket on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Who there, and where: `user@host`, or what the user's configuration of `ssh` knows.
    pub destination: String,
    /// The port of its SSH server, if it is not the usual one.
    pub port: Option<u16>,
    /// The absolute path of the socket there.
    pub socket: PathBuf,
}

impl FromStr for Endpoint {
    type Err = BalancerError;

    fn from_str(address: &str) -> Result<Self, BalancerError> {
        let wrong = || BalancerError::Address { address: address.to_owned() };
        if let Some(rest) = address.strip_prefix("ssh://") {
            return remote(rest).map(Self::Ssh).ok_or_else(wrong);
        }
        if let Some(path) = address.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        let socket: SocketAddr = address.strip_prefix("tcp://").and_then(|rest| rest.parse().ok()).ok_or_else(wrong)?;
        if socket.ip().is_loopback() { Ok(Self::Tcp(socket)) } else { Err(BalancerError::Elsewhere { address: address.to_owned() }) }
    }
}

/// `user@host:port/path`. Nothing in it can become an option or a second forwarding.
fn remote(text: &str) -> Option<Remote> {
    let (authority, path) = text.split_once('/')?;
    let (destination, port) = match authority.split_once(':') {
        Some((destination, port)) => (destination, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    let host = destination.rsplit('@').next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let plain = destination.chars().all(allowed) && !destination.starts_with('-') && !host.is_empty() && !host.starts_with('-');
    let one_path = !path.is_empty() && !path.contains([':', ' ', '\n']);
    (plain && one_path).then(|| Remote { destination: destination.to_owned(), port, socket: format!("/{path}").into() })
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

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "ssh://{}{port}{}", self.destination, self.socket.display())
    }
}
