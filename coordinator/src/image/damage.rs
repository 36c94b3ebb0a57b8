//! Images of which the engine's copy is not whole: files of a layer are gone, by a broken disk or by somebody who made room under the engine's hands.
//!
//! The engine notices it late: when a container is made, or not even then. Who notices it makes a note, and the next look-up of that key believes neither
//! the image nor the layers that it was built of: each step is done again, upon files of another date, since an engine that is shown a layer which it
//! knows takes its own. A note is a file in the state directory. One that is lost costs a run that fails as the last one did.

use std::path::{Path, PathBuf};

use super::kept::replace;
use super::key::Key;

/// Notes that the image of this key (all of its digits) cannot be used.
pub fn note(state: &Path, key: &str) -> std::io::Result<()> {
    replace(&place(state, key), b"")
}

/// Whether it was noted.
pub(super) fn is_noted(state: Option<&Path>, key: Key) -> bool {
    state.is_some_and(|state| place(state, &key.to_hex()).exists())
}

/// There is another one.
pub(super) fn is_mended(state: Option<&Path>, key: Key) {
    if let Some(state) = state {
        // What stays is a build more.
        fs_err::remove_file(place(state, &key.to_hex())).ok();
    }
}

fn place(state: &Path, key: &str) -> PathBuf {
    state.join("damaged").join(key)
}
