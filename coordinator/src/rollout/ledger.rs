//! The journal as it is written: into the environment's holders first, then into a file of this machine. What no holder has is not written.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Site, now_ms};
use crate::deployment::{Entry, Evidence, Journal, JournalError, Phase, Step};
use crate::fleet::holder::Copy;
use crate::fleet::{FleetError, Holders};
use crate::model::environment::DeployId;
use crate::model::{Fence, chain};

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Engines that hold it.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A row.
    #[error("cannot write the journal")]
    Row(#[source] JournalError),
    /// Nobody took a row.
    #[error("cannot write row {seq} of the journal to any engine")]
    Lost {
        /// Its place, from 0.
        seq: u64,
        /// Why the first engine did not take it.
        #[source]
        cause: Option<FleetError>,
    },
    /// A copy is there and cannot be read.
    #[error("cannot read a copy of the journal")]
    Unreadable(#[source] FleetError),
    /// The copy on this machine.
    #[error("cannot write the journal's copy `{}`", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl LedgerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fleet(error) | Self::Unreadable(error) => error.hint(),
            Self::Row(error) => Some(error.hint().to_owned()),
            Self::Lost { .. } => Some("look at the environment's first two engines, and go on with `splitci resume`".into()),
            Self::File { .. } => Some("make room or set SPLITCI_STATE to a directory that can be written".into()),
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    journal: Journal,
    holders: Holders,
    file: &'a Path,
    deploy: DeployId,
    fence: Fence,
    actor: String,
}

/// What the holders that there are agree upon. An environment without holders has had no deployment.
pub(super) async fn read(site: &Site) -> Result<Journal, LedgerError> {
    let copies = Holders::find(&site.fleet, &site.place).await?.read().await;
    Ok(Journal::agree(&texts(copies)?).journal)
}

/// The text of every copy, or why there is none.
pub(super) async fn copies(site: &Site) -> Result<Vec<(String, Result<String, String>)>, LedgerError> {
    let copies = Holders::find(&site.fleet, &site.place).await?.read().await;
    Ok(copies.into_iter().map(|(engine, rows)| (engine, rows.map(|rows| text(&rows)).map_err(|error| chain(&error)))).collect())
}

/// The text of every copy. One that is there and cannot be read may be the longest, and whoever went on without it would do again what was done.
fn texts(copies: Vec<Copy>) -> Result<Vec<String>, LedgerError> {
    copies.into_iter().map(|(_, rows)| rows.map(|rows| text(&rows)).map_err(LedgerError::Unreadable)).collect()
}

/// The name of a row.
fn name(seq: u64, fence: Fence) -> String {
    format!("{seq:010}.{:010}", fence.0)
}

/// The rows of one holder as a journal. Of two with one number the one under the higher fence counts: who wrote the other had been overtaken.
fn text(rows: &BTreeMap<String, Vec<u8>>) -> String {
    let mut by_number: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for (name, row) in rows {
        if let Some((seq, _)) = name.split_once('.') {
            by_number.insert(seq, row);
        }
    }
    by_number.into_values().map(String::from_utf8_lossy).collect()
}

impl<'a> Ledger<'a> {
    /// Opens the journal of an environment for one process, and brings holders that are behind up to it.
    pub(super) async fn open(site: &'a Site, deploy: DeployId, fence: Fence, actor: &str) -> Result<Self, LedgerError> {
        let holders = Holders::ensure(&site.fleet, &site.place, &site.workers).await?;
        let copies = holders.read().await;
        let held = texts(copies)?;
        let journal = Journal::agree(&held).journal;
        let ledger = Self { journal, holders, file: &site.journal, deploy, fence, actor: actor.to_owned() };
        ledger.mend(&held).await;
        ledger.store_copy()?;
        Ok(ledger)
    }

    /// Writes rows again that a holder does not have. One that does not take them stays behind: the longest chain counts.
    async fn mend(&self, held: &[String]) {
        let shortest = held.iter().map(|text| Journal::longest_prefix(text).0.rows().len()).min().unwrap_or(0);
        let lines = self.journal.text();
        let rows = self.journal.rows().iter().zip(lines.lines()).skip(shortest);
        let rows: Vec<_> = rows.map(|(row, line)| (name(row.seq, row.fence), format!("{line}\n"))).collect();
        if !rows.is_empty() {
            self.holders.put(&rows).await;
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn deploy(&self) -> &DeployId {
        &self.deploy
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// Writes rows. When this returns, at least one engine has them all; given back is why others do not.
    pub(super) async fn write(&mut self, steps: Vec<(Step, Evidence)>, phase: Phase) -> Result<Vec<String>, LedgerError> {
        let first = self.journal.rows().len() as u64;
        let mut rows = Vec::new();
        for ((step, evidence), seq) in steps.into_iter().zip(first..) {
            let (deploy, actor) = (self.deploy.clone(), self.actor.clone());
            let entry = Entry { deploy, fence: self.fence, actor, step, phase, evidence };
            let line = self.journal.append(now_ms(), entry).map_err(LedgerError::Row)?;
            rows.push((name(seq, self.fence), line + "\n"));
        }
        let mut kept = self.holders.put(&rows).await;
        if kept.by == 0 {
            let cause = if kept.refused.is_empty() { None } else { Some(kept.refused.remove(0)) };
            return Err(LedgerError::Lost { seq: first, cause });
        }
        self.append_copy(&rows.into_iter().map(|(_, line)| line).collect::<String>())?;
        Ok(kept.refused.iter().map(|error| format!("a copy of the journal was not written: {}", chain(error))).collect())
    }

    fn store_copy(&self) -> Result<(), LedgerError> {
        let failed = |cause| LedgerError::File { path: self.file.to_owned(), cause };
        if let Some(folder) = self.file.parent() {
            fs_err::create_dir_all(folder).map_err(failed)?;
        }
        let passing = self.file.with_extension("new");
        fs_err::write(&passing, self.journal.text()).map_err(failed)?;
        fs_err::rename(&passing, self.file).map_err(failed)
    }

    fn append_copy(&self, lines: &str) -> Result<(), LedgerError> {
        let failed = |cause| LedgerError::File { path: self.file.to_owned(), cause };
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(self.file).map_err(failed)?;
        file.write_all(lines.as_bytes()).map_err(failed)?;
        file.sync_data().map_err(failed)
    }
}
