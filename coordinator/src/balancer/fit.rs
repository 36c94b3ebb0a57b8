//! Whether a backend is this environment's and no other's. One that is not is refused before anything is told to it: a server that nobody knows of
//! would go on serving another version, and one that is not checked would be believed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Name, Observation, Place};

/// The fewest failed checks that may make a server down. With one alone, the health that it is given out of maintenance is all that it can have, and
/// nobody can tell whether it was ever checked.
const LEAST_FALL: u32 = 2;
/// What stands for an address that is not known.
const UNRESOLVED: &str = "-";

/// Why a backend cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend `{backend}` is not what this environment needs: {}", listed(.misfits))]
pub struct Misfits {
    /// Which backend.
    pub backend: Name,
    /// Everything that is wrong with it.
    pub misfits: Vec<Misfit>,
}

/// What is wrong with a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A slot without a server.
    #[error("the slot `{0}` has no server in it")]
    Missing(Name),
    /// A server without a slot.
    #[error("its server `{0}` is no slot of this environment")]
    Foreign(Name),
    /// Nobody checks it.
    #[error("its server `{0}` has no check of its own")]
    Unchecked(Name),
    /// Its thresholds are not told.
    #[error("its server `{0}` does not say how many checks make it up or down")]
    Unread(Name),
    /// One failed check makes it down.
    #[error("its server `{server}` has `fall {fall}`, and {least} is the least with which a check that passed can be told from none", least = LEAST_FALL)]
    Hasty {
        /// Which.
        server: Name,
        /// How many checks make it down.
        fall: u32,
    },
    /// It would get nothing while others are there.
    #[error("its server `{0}` is a backup")]
    Backup(Name),
    /// It would get nothing.
    #[error("its server `{0}` has weight 0")]
    Weightless(Name),
    /// Taking one out would leave requests coming by the other.
    #[error("its servers `{0}` and `{1}` have one address")]
    Twins(Name, Name),
}

fn listed(misfits: &[Misfit]) -> String {
    misfits.iter().map(Misfit::to_string).collect::<Vec<_>>().join("; ")
}

impl Misfits {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.misfits.first()? {
            Misfit::Missing(server) => {
                format!("add `server {server} ADDRESS:PORT check` to `backend {}` of HAProxy's configuration", self.backend)
            }
            Misfit::Foreign(server) => {
                format!("move `server {server}` into a backend of its own, or name it among the environment's slots")
            }
            Misfit::Unchecked(server) | Misfit::Unread(server) => {
                format!("add `check inter 500ms rise 2 fall 2` to `server {server}`, and `option httpchk` to `backend {}`", self.backend)
            }
            Misfit::Hasty { server, .. } => format!("set `fall 2` or more of `server {server}`"),
            Misfit::Backup(server) => format!("remove `backup` from `server {server}`"),
            Misfit::Weightless(server) => {
                format!("set the weight of `server {server}` with `set server {}/{server} weight 100%`", self.backend)
            }
            Misfit::Twins(_, server) => format!("give `server {server}` an address of its own"),
        };
        Some(hint)
    }
}

impl Observation {
    /// Whether these slots are exactly the servers of the backend, and each can come in by a proof. All faults at once.
    pub fn expresses(&self, backend: &Name, slots: &BTreeSet<Name>) -> Result<(), Misfits> {
        let there: BTreeSet<_> = self.servers.iter().map(|server| &server.place.server).collect();
        let mut misfits: Vec<_> = slots.iter().filter(|slot| !there.contains(slot)).cloned().map(Misfit::Missing).collect();
        let mut addresses: BTreeMap<(&str, u16), &Place> = BTreeMap::new();
        for server in &self.servers {
            let name = &server.place.server;
            if !slots.contains(name) {
                misfits.push(Misfit::Foreign(name.clone()));
            }
            match server.check.thresholds {
                _ if !server.check.state.is_configured() => misfits.push(Misfit::Unchecked(name.clone())),
                Some(thresholds) if thresholds.fall < LEAST_FALL => {
                    misfits.push(Misfit::Hasty { server: name.clone(), fall: thresholds.fall });
                }
                // In maintenance they are not told.
                None if !server.admin.is_maintenance() => misfits.push(Misfit::Unread(name.clone())),
                _ => {}
            }
            if server.backup {
                misfits.push(Misfit::Backup(name.clone()));
            }
            if server.weight == 0 {
                misfits.push(Misfit::Weightless(name.clone()));
            }
            // One whose name has no address is not there yet.
            let resolved = server.address != UNRESOLVED;
            if resolved && let Some(twin) = addresses.insert((server.address.as_str(), server.port), &server.place) {
                misfits.push(Misfit::Twins(twin.server.clone(), name.clone()));
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(Misfits { backend: backend.clone(), misfits }) }
    }
}
