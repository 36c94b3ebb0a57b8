//! What the kernel says of a file without its being read: enough to know it again, if it is told the truth.

use rustix::fs::Stat;

use super::KEPT_BITS;

/// Size, times, place and mode of a file. The time of change (`ctime`) is the one that nobody can put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since 1970, as `ctime` is.
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) mode: u32,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime: nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            inode: stat.st_ino,
            device: stat.st_dev,
            mode: stat.st_mode,
        }
    }

    /// The later of both times.
    pub(super) fn latest(&self) -> i64 {
        self.mtime.max(self.ctime)
    }

    /// Permission bits as they count.
    pub(super) fn permissions(&self) -> u32 {
        self.mode & KEPT_BITS
    }

    /// Modification time, in seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.mtime / NANOSECONDS).unwrap_or(0)
    }
}

const NANOSECONDS: i64 = 1_000_000_000;

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds)
}
