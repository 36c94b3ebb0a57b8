//! Extended attributes of a file, as far as they can get into an image: capabilities, and those of users.
//!
//! Those of directories are left out: a builder that has a directory does not look at them again, so that an old one would stay.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// More than this is no attribute that anybody sets; the kernel's own limit is the same.
const LARGEST: usize = 64 << 10;
/// Ours, in files that came out of an image.
const OUR_OWN: &str = "user.splitci.sent";

/// Attributes and their values.
pub(in crate::image) type Attributes = BTreeMap<String, Vec<u8>>;

/// A hash of those that count; nothing if there are none, or the file system has no such thing.
pub(super) fn attributes_of(file: impl AsFd) -> Option<[u8; 32]> {
    let values = values(file);
    (!values.is_empty()).then(|| hash_of(&values))
}

/// Those that count of a file, if they are what they were when it was hashed.
pub(super) fn attributes_at(place: &Path, hashed: &[u8; 32]) -> Option<Attributes> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let values = values(rustix::fs::openat(CWD, place, flags, Mode::empty()).ok()?);
    (hash_of(&values) == *hashed).then_some(values)
}

fn values(file: impl AsFd) -> Attributes {
    let mut names = match rustix::fs::flistxattr_query(&file) {
        Ok(length @ 1..) => vec![0; length],
        _ => return Attributes::new(),
    };
    // One may come between the two calls; then the file has changed, which is noticed by its times.
    let length = rustix::fs::flistxattr(&file, &mut names[..]).unwrap_or(0);
    names.truncate(length);
    // The builder takes names for text.
    let names = names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let counts = |name: &&str| *name == "security.capability" || name.starts_with("user.") && *name != OUR_OWN;
    names.filter(counts).map(|name| (name.to_owned(), value(&file, name))).collect()
}

fn value(file: impl AsFd, name: &str) -> Vec<u8> {
    let mut value = vec![0; LARGEST];
    let length = rustix::fs::fgetxattr(file, name, &mut value[..]).unwrap_or(0);
    value.truncate(length);
    value
}

fn hash_of(values: &Attributes) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("splitci extended attributes v1");
    for (name, value) in values {
        for part in [name.as_bytes(), value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    *hasher.finalize().as_bytes()
}
