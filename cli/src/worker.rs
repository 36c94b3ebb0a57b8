//! The worker's programs: the one that this file was built with, and those in `SPLITCI_WORKER_DIR`, which come first.
//!
//! `build.rs` made the first and says for which architecture; it is empty where none can be built, on anything but Linux.

use std::path::{Path, PathBuf};

use splitci_coordinator::pipeline::WorkerBinaries;

use crate::variables::{Env, WORKER_DIR};

static INSIDE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker.zst"));
const ARCH: &str = env!("SPLITCI_WORKER_ARCH");
const PREFIX: &str = "splitci-worker-linux-";

/// The worker cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// What `SPLITCI_WORKER_DIR` names cannot be read.
    #[error("cannot read workers from `{}`", .directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The worker inside is damaged.
    #[error("cannot unpack the worker inside this program")]
    Inside(#[source] std::io::Error),
}

impl WorkerError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Directory { .. } => {
                format!("`{WORKER_DIR}` names a directory with files such as `{PREFIX}x86_64`; unset it to use the worker inside")
            }
            Self::Inside(_) => "install splitci again".into(),
        }
    }
}

/// All workers there are.
pub(crate) fn binaries(env: &Env) -> Result<WorkerBinaries, WorkerError> {
    let mut programs = Vec::new();
    let inside = zstd::decode_all(INSIDE).map_err(WorkerError::Inside)?;
    if !inside.is_empty() {
        programs.push((ARCH.to_owned(), inside));
    }
    if let Some(directory) = env.get(WORKER_DIR).filter(|directory| !directory.is_empty()) {
        let directory = Path::new(directory);
        let found = beside(directory).map_err(|cause| WorkerError::Directory { directory: directory.to_owned(), cause })?;
        programs.extend(found);
    }
    Ok(WorkerBinaries::new(programs))
}

fn beside(directory: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if let Some(arch) = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)) {
            found.push((arch.to_owned(), fs_err::read(entry.path())?));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_inside_is_a_static_program_within_its_budget() {
        let workers = binaries(&Env::new()).expect("workers");
        let program = workers.get(ARCH).expect("one for this machine");
        assert_eq!(&program[..4], b"\x7fELF");
        assert!(program.len() <= 3 << 20, "{} bytes", program.len());
        // A dynamic program names its loader.
        assert!(!program.windows(8).any(|bytes| bytes == b"/ld-linu"));
    }

    #[test]
    fn a_directory_of_workers_comes_first() {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::write(directory.path().join(format!("{PREFIX}{ARCH}")), "mine").expect("written");
        fs_err::write(directory.path().join(format!("{PREFIX}riscv64")), "other").expect("written");
        let env = Env::from([(WORKER_DIR.to_owned(), directory.path().display().to_string())]);
        let workers = binaries(&env).expect("workers");
        assert_eq!(&workers.get(ARCH).expect("one")[..], b"mine");
        assert_eq!(&workers.get("riscv64").expect("one")[..], b"other");
    }
}
