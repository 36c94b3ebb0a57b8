//! Puts files into an empty mount: aside first, then in place, name by name.
//!
//! Whatever ends this in the middle, the mount holds nothing half written: until everything is there it holds nothing of it at all, and after that the next
//! worker finishes. Links are made last, so that nothing is ever written through one. No file gets a time that has not come yet: to a step, it would be newer
//! than every source.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::now;
use crate::protocol::mounts::{ASIDE, Entry, Kind, is_below, leads_below};

/// Says that everything is there.
const COMPLETE: &str = "complete";
/// Where it is.
const TREE: &str = "tree";

/// A restore that goes on.
#[derive(Debug)]
pub(super) struct Restoring {
    root: PathBuf,
    tree: PathBuf,
    latest: i64,
    open: Option<(fs::File, u64, Entry)>,
    directories: Vec<Entry>,
    links: Vec<Entry>,
    /// What went wrong first; the rest is only listened to.
    failed: Option<io::Error>,
}

impl Restoring {
    /// Begins in a mount, with nothing of an earlier attempt.
    pub(super) fn begin(root: &Path) -> Self {
        let aside = root.join(ASIDE);
        let made = remove(&aside)
            .and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(&aside))
            .and_then(|()| fs::create_dir(aside.join(TREE)));
        Self {
            root: root.to_owned(),
            tree: aside.join(TREE),
            latest: now(),
            open: None,
            directories: Vec::new(),
            links: Vec::new(),
            failed: made.err(),
        }
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.attempt(|this| {
            this.close()?;
            this.make(entry)
        });
    }

    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.attempt(|this| match &mut this.open {
            Some((file, left, _)) if bytes.len() as u64 <= *left => {
                *left -= bytes.len() as u64;
                file.write_all(bytes)
            }
            _ => Err(io::Error::other("more bytes than were told")),
        });
    }

    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = act(self).err();
        }
    }

    fn make(&mut self, entry: Entry) -> io::Result<()> {
        if !is_below(&entry.path) || entry.mode & !0o1777 != 0 {
            return Err(io::Error::other(format!("`{}` must not be restored", entry.path.escape_debug())));
        }
        let place = self.tree.join(&entry.path);
        match &entry.kind {
            Kind::Directory => {
                std::fs::DirBuilder::new().mode(0o700).create(place)?;
                self.directories.push(entry);
            }
            Kind::File { length } => {
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
                self.open = Some((file, *length, entry));
            }
            Kind::Link { to } if leads_below(&entry.path, to) => self.links.push(entry),
            Kind::Link { .. } => return Err(io::Error::other(format!("the link `{}` leads out", entry.path.escape_debug()))),
        }
        Ok(())
    }

    /// Ends the file that is being written.
    fn close(&mut self) -> io::Result<()> {
        match self.open.take() {
            None => Ok(()),
            Some((_, 0, entry)) => self.dress(&entry),
            Some((_, _, entry)) => Err(io::Error::other(format!("bytes of `{}` are missing", entry.path.escape_debug()))),
        }
    }

    /// Owner first: a change of owner may take permissions away.
    fn dress(&self, entry: &Entry) -> io::Result<()> {
        let place = self.tree.join(&entry.path);
        std::os::unix::fs::lchown(&place, Some(entry.uid), Some(entry.gid))?;
        if !matches!(entry.kind, Kind::Link { .. }) {
            fs::set_permissions(&place, std::fs::Permissions::from_mode(entry.mode))?;
        }
        let modified = entry.modified.min(self.latest);
        let time = Timespec { tv_sec: modified.div_euclid(1_000_000_000), tv_nsec: modified.rem_euclid(1_000_000_000) };
        utimensat(CWD, &place, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Everything was put.
    pub(super) fn settle(mut self) -> io::Result<()> {
        self.attempt(Self::close);
        self.attempt(|this| {
            for entry in &this.links {
                let Kind::Link { to } = &entry.kind else { continue };
                fs::os::unix::fs::symlink(to, this.tree.join(&entry.path))?;
                this.dress(entry)?;
            }
            // The deepest first: what is made in a directory changes its time, and its permissions may allow nothing more.
            this.directories.iter().rev().try_for_each(|entry| this.dress(entry))?;
            // What is said to be complete is so after a loss of power, too: tools believe what is in their mount.
            rustix::fs::syncfs(fs::File::open(&this.root)?)?;
            fs::write(this.root.join(ASIDE).join(COMPLETE), b"")
        });
        match self.failed.take() {
            None => finish(&self.root),
            Some(error) => {
                remove(&self.root.join(ASIDE))?;
                Err(error)
            }
        }
    }
}

/// Finishes what was begun: everything gets its place if it was all there, or nothing does. What a step has made meanwhile stays.
pub(super) fn finish(root: &Path) -> io::Result<()> {
    let aside = root.join(ASIDE);
    if fs::symlink_metadata(aside.join(COMPLETE)).is_ok() {
        for entry in fs::read_dir(aside.join(TREE))? {
            let name = entry?.file_name();
            let place = root.join(&name);
            if fs::symlink_metadata(&place).is_err() {
                fs::rename(aside.join(TREE).join(&name), place)?;
            }
        }
    }
    remove(&aside)
}

fn remove(aside: &Path) -> io::Result<()> {
    match fs::remove_dir_all(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
