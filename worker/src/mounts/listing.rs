//! What is in a mount, in the order of a walk: a directory before what it holds. Nothing is opened but directories.
//!
//! What cannot or must not travel is left out and counted: devices, pipes, sockets, links that lead out of the mount, programs that change their user, names that are no
//! text, and files in which tools keep credentials.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use fs_err as fs;

use crate::protocol::mounts::{Entry, Kind, Seen, is_below, leads_below};

/// Entries told at a time.
const AT_A_TIME: usize = 512;
/// Set user, set group: a file with one of these stays here.
const SETS_AN_ID: u32 = 0o6000;
/// Names under which tools keep what must not be read by others.
const CREDENTIALS: &[&str] = &[
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".yarnrc.yml",
    "credentials",
    "credentials.toml",
    "id_rsa",
    "id_ed25519",
];

/// Tells everything below `root`, and returns how much was left out.
pub(super) fn list(root: &Path, tell: &mut dyn FnMut(Vec<Seen>) -> io::Result<()>) -> io::Result<u64> {
    let mut left_out = 0;
    let mut told = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        // Another step may be at work here: what went away is not there.
        let Ok(found) = fs::read_dir(root.join(&directory)) else { continue };
        let mut names: Vec<_> = found.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        for name in names {
            let Some(name) = name.to_str() else {
                left_out += 1;
                continue;
            };
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            if directory.is_empty() && !is_below(name) {
                continue;
            }
            match seen(root, path) {
                Some(seen) => {
                    if seen.entry.kind == Kind::Directory {
                        directories.push(seen.entry.path.clone());
                    }
                    told.push(seen);
                }
                None => left_out += 1,
            }
            if told.len() >= AT_A_TIME {
                tell(std::mem::take(&mut told))?;
            }
        }
    }
    tell(told)?;
    Ok(left_out)
}

fn seen(root: &Path, path: String) -> Option<Seen> {
    let place = root.join(&path);
    let found = fs::symlink_metadata(&place).ok()?;
    let kind = found.file_type();
    let name = path.rsplit('/').next().unwrap_or_default();
    if !is_below(&path) || kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket() {
        return None;
    }
    let mode = found.mode() & 0o7777;
    let (mode, kind) = if kind.is_dir() {
        (mode & !SETS_AN_ID, Kind::Directory)
    } else if kind.is_symlink() {
        let to = fs::read_link(&place).ok()?.to_str()?.to_owned();
        (0o777, leads_below(&path, &to).then_some(Kind::Link { to })?)
    } else if mode & SETS_AN_ID != 0 || CREDENTIALS.contains(&name) {
        return None;
    } else {
        (mode, Kind::File { length: found.len() })
    };
    let nanoseconds = |seconds: i64, more: i64| seconds.saturating_mul(1_000_000_000).saturating_add(more);
    let entry = Entry { path, mode, uid: found.uid(), gid: found.gid(), modified: nanoseconds(found.mtime(), found.mtime_nsec()), kind };
    Some(Seen { entry, changed: nanoseconds(found.ctime(), found.ctime_nsec()), inode: found.ino() })
}
