//! The sessions' part of the proof: each that said hello has to end, and none may end wrongly.
//!
//! A session that is lost is nothing to worry about here: what it had begun shows as units that are not final. The loss of a shard ends the
//! session that lived in it.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::model::event::{Close, SessionEnded};
use crate::model::{Fence, SessionId, ShardId, SuiteId};

/// All sessions of a run.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<SessionId, State>,
    suites: BTreeMap<SessionId, SuiteId>,
    said_hello: bool,
    dirty: Vec<SessionEnded>,
    holders: BTreeMap<Fence, SessionId>,
    /// Results heard of each, counted or not.
    heard: BTreeMap<SessionId, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// Its shard was lost; its own end may still be told.
    Lost,
    Ended(Close),
}

impl Sessions {
    pub(super) fn ready(&mut self, session: SessionId, suite: SuiteId) -> Result<(), Fault> {
        self.said_hello = true;
        self.suites.insert(session, suite);
        match self.all.insert(session, State::Alive) {
            None => Ok(()),
            Some(_) => Err(Fault::SessionTwice(session)),
        }
    }

    /// A session got a lease. Says of which suite it is, if it is alive.
    pub(super) fn leased(&mut self, fence: Fence, session: SessionId) -> Option<SuiteId> {
        self.holders.insert(fence, session);
        let alive = self.all.get(&session) == Some(&State::Alive);
        self.suites.get(&session).copied().filter(|_| alive)
    }

    /// A result came under a lease.
    pub(super) fn reported(&mut self, fence: Fence) {
        if let Some(session) = self.holders.get(&fence) {
            *self.heard.entry(*session).or_default() += 1;
        }
    }

    pub(super) fn shard_lost(&mut self, shard: ShardId) {
        for (session, state) in &mut self.all {
            if session.shard == shard && *state == State::Alive {
                *state = State::Lost;
            }
        }
    }

    pub(super) fn ended(&mut self, ended: &SessionEnded) -> Result<(), Fault> {
        if ended.close == Close::Dirty {
            self.dirty.push(ended.clone());
        }
        match self.all.insert(ended.session, State::Ended(ended.close)) {
            Some(State::Ended(_)) => Err(Fault::SessionEndedTwice(ended.session)),
            None if ended.close == Close::Clean => Err(Fault::EndedUnheard(ended.session)),
            Some(State::Alive | State::Lost) | None => self.check_count(ended),
        }
    }

    fn check_count(&self, ended: &SessionEnded) -> Result<(), Fault> {
        let heard = self.heard.get(&ended.session).copied().unwrap_or(0);
        if ended.close == Close::Clean && ended.tests != heard {
            return Err(Fault::Count { session: ended.session, said: ended.tests, heard });
        }
        Ok(())
    }

    /// Whether any session ever said hello.
    pub(super) fn said_hello(&self) -> bool {
        self.said_hello
    }

    /// Whether it closed in order.
    pub(super) fn is_clean(&self, session: SessionId) -> bool {
        self.all.get(&session) == Some(&State::Ended(Close::Clean))
    }

    /// Those that code under test ended wrongly.
    pub(super) fn dirty(&self) -> &[SessionEnded] {
        &self.dirty
    }

    /// Those that have not ended.
    pub(super) fn open(&self) -> impl Iterator<Item = SessionId> {
        self.all.iter().filter(|(_, state)| **state == State::Alive).map(|(session, _)| *session)
    }

    /// Those whose driver never said hello.
    pub(super) fn silent(&self) -> impl Iterator<Item = SessionId> {
        self.all.iter().filter(|(_, state)| **state == State::Ended(Close::NoHello)).map(|(session, _)| *session)
    }
}
