//! Puts a file where a caller wants it: whole, or not at all.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::StoreError;

/// Has a file written beside its place and gives it its name if the writer says so. Whatever happens else, the place is as it was.
pub(super) fn whole(file: &Path, write: impl FnOnce(&Path) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
    let aside = beside(file);
    let written = write(&aside).and_then(|there| {
        if there {
            fs::rename(&aside, file)?;
        }
        Ok(there)
    });
    if !matches!(written, Ok(true)) {
        let _none = fs::remove_file(&aside);
    }
    written
}

/// A name of its own in the same directory.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut aside = file.as_os_str().to_owned();
    aside.push(format!(".{}.part", ulid::Ulid::generate()));
    aside.into()
}
