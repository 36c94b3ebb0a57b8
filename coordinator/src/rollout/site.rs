//! An environment with everything at hand that it takes to change it.

use std::path::PathBuf;

use super::Ansible;
use crate::balancer::{Balancer, Name};
use crate::engine::WorkerBinaries;
use crate::fleet::{Fleet, Place};
use crate::hooks::Hooks;
use crate::model::environment::Environment;

/// An environment at hand.
#[derive(Debug)]
pub struct Site {
    /// As it is configured.
    pub environment: Environment,
    /// Its names on engines.
    pub place: Place,
    /// Its engines, by the names in its slots.
    pub fleet: Fleet,
    /// Its balancers, in its order, with their backends.
    pub balancers: Vec<(Balancer, Name)>,
    /// The programs of locks and holders.
    pub workers: WorkerBinaries,
    /// The application's own variables, `NAME=value`. Never written down.
    pub variables: Vec<String>,
    /// Digest of those, which is written down.
    pub settings: String,
    /// The port that the application listens at, in its container.
    pub port: u16,
    /// Who carries effects out instead of us.
    pub ansible: Option<Ansible>,
    /// Who is asked before something is changed, and told how it goes.
    pub hooks: Hooks,
    /// A copy of the journal on this machine.
    pub journal: PathBuf,
}
