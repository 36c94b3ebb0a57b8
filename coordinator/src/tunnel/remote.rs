//! The address of a socket on another machine: `ssh://user@host:port/path`.

use std::path::PathBuf;

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

impl Remote {
    /// Reads what follows `ssh://`: `user@host:port/path`. Without a path it is `usual`, where there is one. Nothing in it can become an option or a second
    /// forwarding.
    pub fn read(text: &str, usual: Option<&str>) -> Option<Self> {
        let (authority, path) = match text.split_once('/') {
            Some((authority, path)) if !path.is_empty() || usual.is_none() => (authority, path),
            Some((authority, _)) => (authority, usual?.trim_start_matches('/')),
            None => (text, usual?.trim_start_matches('/')),
        };
        let (destination, port) = match authority.split_once(':') {
            Some((destination, port)) => (destination, Some(port.parse().ok()?)),
            None => (authority, None),
        };
        let host = destination.rsplit('@').next().unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        let plain = destination.chars().all(allowed) && !destination.starts_with('-') && !host.is_empty() && !host.starts_with('-');
        let one_path = !path.is_empty() && !path.contains([':', ' ', '\n']);
        (plain && one_path).then(|| Self { destination: destination.to_owned(), port, socket: format!("/{path}").into() })
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "ssh://{}{port}{}", self.destination, self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_leads_to_what_is_usual() {
        let read = |text: &str| Remote::read(text, Some("/var/run/docker.sock")).map(|remote| remote.to_string());
        for (text, full) in [
            ("web1", "ssh://web1/var/run/docker.sock"),
            ("me@web1/", "ssh://me@web1/var/run/docker.sock"),
            ("me@web1:2222", "ssh://me@web1:2222/var/run/docker.sock"),
            ("web1/run/user/1000/docker.sock", "ssh://web1/run/user/1000/docker.sock"),
        ] {
            assert_eq!(read(text).as_deref(), Some(full));
        }
        for bad in ["", "/", "/run/x", "-oProxyCommand=x", "a@-b", "a:b", "a:99999", "a b", "a/x:y"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(Remote::read("web1", None), None);
    }
}
