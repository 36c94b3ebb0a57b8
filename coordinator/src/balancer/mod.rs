//! The balancer in front of an environment: who gets requests, who does not, and what is still on its way to whom. HAProxy, by its runtime socket.
//!
//! | there | is |
//! |---|---|
//! | [`address`] | where its socket is |
//! | [`server`] | one server as the balancer sees it, by its numbers and not by its words |
//! | [`change`] | what it is told: names that can do no harm, and lines of commands |
//! | [`answer`] | its tables, read strictly |
//! | [`fit`] | whether a backend is this environment's and no other's |
//! | [`order`] | the order in which a server comes in or goes out, and the swap of one half for the other |
//! | `socket` | one connection for a line of commands, with deadlines |
//! | [`error`] | what can go wrong |
//!
//! The rules are measured. A server that leaves maintenance is taken for up until a check fails, so nobody comes in but through drain, by a proof that
//! the balancer's own checks made ([`order::Proven`]); there is no other way to spell `ready`. What is told in one call goes out as one line, which
//! the balancer carries out in one go: a swap has no middle. A reload forgets drains and maintenance unless its configuration loads a state file,
//! so nothing that was told is believed: it is observed again, and another process id ([`server::Process`]) says that there was a reload.
//!
//! Not here: when a server is to leave, what is done with it meanwhile, and what becomes of a deployment. No configuration is written and nothing is
//! reloaded. Other machines are spoken to by way of `ssh` (`tunnel`) alone: an administrator's socket has no password.

pub mod address;
pub mod answer;
pub mod change;
pub mod error;
pub mod fit;
pub mod order;
pub mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tunnel::{Ssh, Tunnel};
pub use address::Endpoint;
pub use answer::AnswerError;
pub use change::{Change, Name, Place, Target};
pub use error::{BalancerError, Complaint, Reason};
pub use fit::{Misfit, Misfits};
pub use order::{Entrance, Exit, Halt, Proven, Step, Walk, swap};
pub use server::{Observation, Process, Server};
use socket::{Deadlines, Line};

/// One balancer. Nothing is kept open between calls but the way to another machine: each is a connection of its own. A copy is the same one.
#[derive(Debug, Clone)]
pub struct Balancer {
    line: Line,
    deadlines: Deadlines,
}

impl Balancer {
    /// The balancer behind a socket of this machine. Nobody is asked yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { line: Line { endpoint, tunnel: None }, deadlines: Deadlines::default() }
    }

    /// The same, and other machines are reached like this. Nobody is asked yet.
    pub fn over(endpoint: Endpoint, ssh: &Ssh) -> Self {
        let tunnel = match &endpoint {
            Endpoint::Ssh(remote) => Some(Arc::new(Tunnel::new(ssh.clone(), remote.clone()))),
            Endpoint::Unix(_) | Endpoint::Tcp(_) => None,
        };
        Self { line: Line { endpoint, tunnel }, deadlines: Deadlines::default() }
    }

    /// Waits so long for a connection, and so long again for a whole answer; otherwise it is 2 s and 5 s.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.deadlines = Deadlines { connect: patience, answer: patience };
        self
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.line.endpoint
    }

    /// All servers of a backend, as they are now. A backend that does not exist is an error.
    pub async fn observe(&self, backend: &Name) -> Result<Observation, BalancerError> {
        let commands = [
            format!("show servers state {backend}"),
            format!("show servers conn {backend}"),
            format!("show stat {backend} {} -1", answer::SERVERS),
            "show info".to_owned(),
        ];
        let text = socket::ask(&self.line, self.deadlines, &commands).await?;
        let blocks = self.blocks(&text, commands.len())?;
        answer::observation(&self.granted(&commands, &blocks)?).map_err(|cause| self.garbled(cause))
    }

    /// Tells it all of these in one line. What it does not take is an error that names each; the others are done nevertheless, and so an error is a
    /// reason to observe again, too.
    pub async fn apply(&self, changes: &[Change]) -> Result<(), BalancerError> {
        if changes.is_empty() {
            return Ok(());
        }
        let commands: Vec<_> = changes.iter().map(Change::command).collect();
        let text = socket::ask(&self.line, self.deadlines, &commands).await?;
        let blocks = self.blocks(&text, commands.len())?;
        let complaints: Vec<_> = commands.iter().zip(&blocks).filter_map(|(command, said)| Complaint::of(command, said)).collect();
        if complaints.is_empty() { Ok(()) } else { Err(self.refused(complaints)) }
    }

    /// The state of all servers of all backends, word for word: for a journal, or for the file that a reload is to load.
    pub async fn dump_state(&self) -> Result<String, BalancerError> {
        let commands = ["show servers state".to_owned()];
        let text = socket::ask(&self.line, self.deadlines, &commands).await?;
        let blocks = self.blocks(&text, commands.len())?;
        let granted = self.granted(&commands, &blocks)?;
        answer::is_state(granted.first().copied().unwrap_or_default()).map_err(|cause| self.garbled(cause))?;
        Ok(text)
    }

    /// Takes servers of one backend along their ways until all have arrived, looking every so often. Times of the walks are milliseconds from now.
    /// What several need at the same time is told in one line. The first that cannot go on ends it for all; the others stay where they are.
    pub async fn walk<W: Walk>(&self, backend: &Name, walks: &mut [W], every: Duration) -> Result<(), BalancerError> {
        let began = Instant::now();
        loop {
            let observation = self.observe(backend).await?;
            let seen: BTreeMap<_, _> = observation.servers.iter().map(|server| (&server.place, server)).collect();
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let mut changes = Vec::new();
            let mut under_way = false;
            for walk in walks.iter_mut() {
                match walk.step(now_ms, seen.get(walk.place()).copied()) {
                    Step::Send(change) => changes.push(change),
                    Step::Wait => under_way = true,
                    Step::Done => {}
                    Step::Halt(cause) => return Err(BalancerError::Halted { endpoint: self.line.endpoint.to_string(), cause }),
                }
            }
            if changes.is_empty() && !under_way {
                return Ok(());
            }
            self.apply(&changes).await?;
            if changes.is_empty() {
                tokio::time::sleep(every).await;
            }
        }
    }

    fn blocks<'a>(&self, text: &'a str, commands: usize) -> Result<Vec<&'a str>, BalancerError> {
        answer::blocks(text, commands).map_err(|cause| self.garbled(cause))
    }

    /// What was said to commands that have an answer, or what it said instead.
    fn granted<'a>(&self, commands: &[String], blocks: &[&'a str]) -> Result<Vec<&'a str>, BalancerError> {
        let refused = commands.iter().zip(blocks).filter(|(_, said)| !answer::is_table(said));
        let complaints: Vec<_> = refused.filter_map(|(command, said)| Complaint::of(command, said)).collect();
        if complaints.is_empty() { Ok(blocks.to_vec()) } else { Err(self.refused(complaints)) }
    }

    fn refused(&self, complaints: Vec<Complaint>) -> BalancerError {
        BalancerError::Refused { endpoint: self.line.endpoint.to_string(), complaints }
    }

    fn garbled(&self, cause: AnswerError) -> BalancerError {
        BalancerError::Garbled { endpoint: self.line.endpoint.to_string(), cause }
    }
}
