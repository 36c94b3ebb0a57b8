//! The sessions' part of the proof: each that said hello has to end, and none may end wrongly.
//!
//! A session that is lost is nothing to worry about here: what it had begun shows as units that are not final. The loss of a shard ends the
//! session that lived in it.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::model::event::{Close, SessionEnded};
use crate::model::{SessionId, ShardId};

/// All sessions of a run.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<SessionId, State>,
    said_hello: bool,
    dirty: Vec<SessionEnded>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// Its shard was lost; its own end may still be told.
    Lost,
    Ended(Close),
}

impl Sessions {
    pub(super) fn ready(&mut self, session: SessionId) -> Result<(), Fault> {
        self.said_hello = true;
        match self.all.insert(session, State::Alive) {
            None => Ok(()),
            Some(_) => Err(Fault::SessionTwice(session)),
        }
    }

    pub(super) fn is_alive(&self, session: SessionId) -> bool {
        self.all.get(&session) == Some(&State::Alive)
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
            Some(State::Alive | State::Lost) | None => Ok(()),
        }
    }

    /// Whether any session ever said hello.
    pub(super) fn said_hello(&self) -> bool {
        self.said_hello
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
