//! Extended attributes of a file or directory, as far as they can get into an image: capabilities, and those of users.

use std::os::fd::AsFd;

/// More than this is no attribute that anybody sets; the kernel's own limit is the same.
const LARGEST: usize = 64 << 10;

/// A hash of those that count; nothing if there are none, or the file system has no such thing.
pub(super) fn attributes_of(file: impl AsFd) -> Option<[u8; 32]> {
    let length = rustix::fs::flistxattr_query(&file).ok().filter(|length| *length > 0)?;
    // One may come between the two calls; then the file has changed, which is noticed by its times.
    let mut names = vec![0; length];
    let length = rustix::fs::flistxattr(&file, &mut names[..]).ok()?;
    names.truncate(length);
    let counts = |name: &&[u8]| *name == b"security.capability" || name.starts_with(b"user.");
    let mut names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(counts).collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| hash_of(&file, &names))
}

fn hash_of(file: impl AsFd, names: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("splitci extended attributes v1");
    let mut value = vec![0; LARGEST];
    for name in names {
        let length = rustix::fs::fgetxattr(&file, *name, &mut value[..]).unwrap_or(0);
        for part in [name, &value[..length]] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    *hasher.finalize().as_bytes()
}
