//! What is said about the contents of a build mount, between splitci and its worker inside a build step that has the mount.
//!
//! Frames of `frame`, on the socket that the builder forwards for the step. The worker says hello, with what it finds; then it does what it is ordered,
//! one order after the other, until the stream ends. File contents travel as blobs of their own frames. Paths are texts below the mount: names that are
//! no text are left out and counted.

use serde::{Deserialize, Serialize};

use super::Version;

/// Most bytes of a file in one frame.
pub const PIECE: usize = 1 << 20;

/// The directory in a mount where what is restored is put together. No part of the contents.
pub const ASIDE: &str = ".splitci-arriving";

/// What the worker is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Tell everything that is there.
    List,
    /// Send these files, one after the other.
    Send {
        /// Below the mount.
        paths: Vec<String>,
    },
    /// Get ready to take in what is put from now on.
    Begin,
    /// Make this. A file's bytes follow in pieces.
    Put(Entry),
    /// The next bytes of the file that was put last: the frame's blob.
    Piece,
    /// Give everything that was put its place, or finish what an earlier worker had begun.
    Settle,
}

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// First of all.
    Hello {
        /// Its protocol.
        version: Version,
        /// Which mount this is, as the worker was started.
        number: usize,
        /// Nothing is there.
        empty: bool,
        /// An earlier worker began to restore and did not come to its end.
        unfinished: bool,
        /// Its clock, in nanoseconds since 1970.
        now: i64,
    },
    /// A part of a list.
    Entries(Vec<Seen>),
    /// The end of a list.
    Listed {
        /// Things that cannot travel: devices, pipes, sockets, links that lead out, programs that change their user, names that are no text.
        left_out: u64,
    },
    /// The next bytes of a file: the frame's blob.
    Piece,
    /// The end of a file.
    Sent {
        /// Nothing wrote to it meanwhile, so far as can be seen.
        whole: bool,
    },
    /// Settled.
    Settled,
    /// It could not be done, and the mount is as it was.
    Failed {
        /// Why.
        why: String,
    },
}

/// Something in a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the mount.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content was changed, in nanoseconds since 1970.
    pub modified: i64,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A directory; it comes before what is in it.
    Directory,
    /// A file of this many bytes.
    File {
        /// Bytes.
        length: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        to: String,
    },
}

/// An entry as it was found, with what else tells whether it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What it is.
    pub entry: Entry,
    /// When anything of it was changed, in nanoseconds since 1970. Nobody can set this one.
    pub changed: i64,
    /// Its inode.
    pub inode: u64,
}

/// Whether a path stays below the mount, and has one spelling only.
pub fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
        && path.len() < 4096
        && path.split('/').next() != Some(ASIDE)
}

/// Whether a link at this path leads to something below the mount, as far as its words tell.
pub fn leads_below(path: &str, to: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    if to.is_empty() || to.starts_with('/') || to.contains('\0') || to.len() >= 4096 {
        return false;
    }
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_or_have_two_spellings_are_none() {
        for good in ["a", "a/b.c", "..a", "a/...", "é"] {
            assert!(is_below(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0b", ".splitci-arriving/x", long.as_str()] {
            assert!(!is_below(bad), "{bad:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        for (path, to) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/./e"), ("a/b", "c/../../d")] {
            assert!(leads_below(path, to), "{path} -> {to}");
        }
        for (path, to) in [("a", "/etc/passwd"), ("a", "../x"), ("a/b", "../../x"), ("a/b", "c/../../../x"), ("a", "")] {
            assert!(!leads_below(path, to), "{path} -> {to}");
        }
    }

    #[test]
    fn the_words_stay_as_they_are() {
        let json = |order: &Order| serde_json::to_string(order).expect("plain data");
        let entry = Entry { path: "a/b".into(), mode: 0o644, uid: 1, gid: 2, modified: 3, kind: Kind::File { length: 4 } };
        assert_eq!(
            json(&Order::Put(entry)),
            r#"{"put":{"path":"a/b","mode":420,"uid":1,"gid":2,"modified":3,"kind":{"file":{"length":4}}}}"#
        );
        assert_eq!(json(&Order::Settle), r#""settle""#);
        let failed = serde_json::to_string(&Answer::Failed { why: "no".into() }).expect("plain data");
        assert_eq!(failed, r#"{"failed":{"why":"no"}}"#);
    }
}
