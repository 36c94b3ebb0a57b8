//! The suites' part of the proof: each is listed once, before anything is planned.
//!
//! A list is that of a session of this run. Only where nothing is to be run, since every file of it was proven before, may it be that of an earlier run of
//! the same image, command and environment: then nobody is there to list it again, and nothing for anybody to run.

use std::collections::BTreeMap;

use super::{Fault, Proof};
use crate::model::{RunId, SuiteId};

/// The files of all suites that are listed.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<SuiteId, List>);

#[derive(Debug)]
struct List {
    files: Vec<String>,
    hash: String,
    recalled: bool,
    /// A session of this run found other files.
    disputed: bool,
}

impl Lists {
    pub(super) fn add(&mut self, suite: SuiteId, files: &[String], hash: &str, recalled: bool) -> Result<(), Fault> {
        let list = List { files: files.to_vec(), hash: hash.to_owned(), recalled, disputed: false };
        self.0.insert(suite, list).map_or(Ok(()), |_| Err(Fault::ListedTwice(suite)))
    }

    /// A session lists its suite.
    pub(super) fn heard(&mut self, suite: SuiteId, hash: &str) {
        if let Some(list) = self.0.get_mut(&suite) {
            list.disputed |= list.hash != hash;
        }
    }

    pub(super) fn has(&self, suite: SuiteId) -> bool {
        self.0.contains_key(&suite)
    }

    /// The first that no session of this run made.
    pub(super) fn recalled(&self) -> Option<SuiteId> {
        self.0.iter().find(|(_, list)| list.recalled).map(|(suite, _)| *suite)
    }

    fn is_recalled(&self, suite: SuiteId) -> bool {
        self.0.get(&suite).is_some_and(|list| list.recalled)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (SuiteId, &String)> {
        self.0.iter().flat_map(|(suite, list)| list.files.iter().map(move |file| (*suite, file)))
    }
}

impl Proof {
    /// Takes a suite's list in. `of` is the earlier run that made it, if this one did not.
    pub(super) fn suite_listed(&mut self, suite: SuiteId, (files, hash): (&[String], &str), of: Option<&RunId>) -> Result<(), Fault> {
        self.reuses.listed(suite, files);
        let listed = self.lists.add(suite, files, hash, of.is_some());
        match of {
            _ if self.planned => Err(Fault::ListedTwice(suite)),
            Some(of) if !self.reuses.may_rest_on(of) => Err(Fault::NotListedHere(suite)),
            _ => listed,
        }
    }

    /// Whether all that was listed was proven before, by the lists of the runs that proved it: no session is needed then.
    pub(super) fn needs_no_session(&self) -> bool {
        self.planned && self.units.is_empty() && self.suites > 0 && (0..self.suites).all(|suite| self.lists.is_recalled(SuiteId(suite)))
    }

    /// Files of all suites that are listed, in the frameworks' order.
    pub fn suite(&self) -> impl Iterator<Item = &String> {
        self.lists.files().map(|(_, file)| file)
    }

    /// Files of all suites that are listed, each with its suite.
    pub fn files(&self) -> impl Iterator<Item = (SuiteId, &String)> {
        self.lists.files()
    }

    /// Whether this suite is listed.
    pub fn is_listed(&self, suite: SuiteId) -> bool {
        self.lists.has(suite)
    }

    /// The list of a suite and its hash, if this run's own sessions made it and all of them agree.
    pub fn own_list(&self, suite: SuiteId) -> Option<(&[String], &str)> {
        let list = self.lists.0.get(&suite).filter(|list| !list.recalled && !list.disputed)?;
        Some((&list.files, &list.hash))
    }
}
