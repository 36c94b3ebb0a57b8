//! What hooks get: one JSON object in one line. Fields are added, never changed; `version` is there for the day on which that is not enough.

use core::net::IpAddr;
use std::fmt;

use serde::Serialize;

use crate::model::environment::{DeployId, SlotName};

/// When something is asked or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Asked: nothing has been changed.
    BeforeDeploy,
    /// Asked: the first half runs the new release, is well, and gets no requests yet.
    BeforeSwitch,
    /// Told: it begins, or is gone on with.
    Started,
    /// Told: it is over, for this process at least.
    Ended,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeDeploy => "before_deploy",
            Self::BeforeSwitch => "before_switch",
            Self::Started => "started",
            Self::Ended => "ended",
        })
    }
}

/// A deployment as hooks see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// 1.
    pub version: u32,
    /// Why this is sent.
    pub point: Point,
    /// The same in a sentence: chats show it.
    pub text: String,
    /// The app.
    pub app: String,
    /// Where it is deployed.
    pub environment: String,
    /// The deployment's name, the same for as long as it goes on.
    pub deploy: DeployId,
    /// Who deploys.
    pub by: String,
    /// Why, as they said.
    pub message: String,
    /// The release as it can be pulled: `REPOSITORY@sha256:...`.
    pub image: String,
    /// Digest of its manifest.
    pub release: String,
    /// The same of what served before, if that is known.
    pub previous: Option<String>,
    /// Where it runs.
    pub slots: Vec<Place>,
    /// How it ended, where it has.
    pub report: Option<Report>,
}

/// A slot as hooks see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its name.
    pub slot: SlotName,
    /// Where its port is given out, or where it is in the environment's network; nothing for a worker.
    pub address: Option<IpAddr>,
    /// The port; nothing for a worker.
    pub port: Option<u16>,
    /// Which half it is in; nothing if it is not replaced, and for a worker.
    pub half: Option<u8>,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In a word: `done`, `degraded`, `rolled_back`, `migration_failed`, `held`, `superseded`, `lock_lost`; `left` if it did not end but could not go on.
    pub outcome: &'static str,
    /// In a sentence.
    pub why: String,
}

impl Message {
    /// The line that is sent.
    pub(super) fn line(&self) -> Vec<u8> {
        // Texts and numbers: there is nothing in it that could not be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
