//! The key that a machine makes for itself when none is given. What is written with it is trusted here and nowhere else.
//!
//! It lies in the state directory, readable by its owner alone, and appears whole or not at all. Processes that start at once agree on one: who makes it
//! holds a lock, and who comes later reads what is there. A key that is there and cannot be used is an error, and not replaced: somebody may want to know.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use zeroize::Zeroizing;

use super::key::{KeyError, SecretKey};

/// Name of the file.
const FILE: &str = "key.pem";
/// Permissions that nobody but the owner has.
const OTHERS: u32 = 0o077;

/// Where a machine's own key is, below its state directory.
pub fn place(home: &Path) -> PathBuf {
    home.join(FILE)
}

/// The key of this machine; made if there is none.
pub fn own(home: &Path) -> Result<SecretKey, KeyError> {
    if let Some(key) = found(home)? {
        return Ok(key);
    }
    fs::create_dir_all(home).map_err(KeyError::File)?;
    let lock = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(home.join(".key.lock")).map_err(KeyError::File)?;
    lock.lock().map_err(KeyError::File)?;
    // Somebody else may have made it while we waited.
    if let Some(key) = found(home)? {
        return Ok(key);
    }
    let key = SecretKey::generate()?;
    write_new(&place(home), &key.to_pem(None)?)?;
    Ok(key)
}

/// The key of this machine, if it has one.
pub fn found(home: &Path) -> Result<Option<SecretKey>, KeyError> {
    let path = place(home);
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::File(error)),
    };
    let mode = fs::metadata(&path).map_err(KeyError::File)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyError::Exposed { path, mode });
    }
    SecretKey::from_pem(&text, None).map(Some).map_err(|cause| KeyError::In { path, cause: Box::new(cause) })
}

/// Puts a private key into a file that was not there, whole or not at all, for its owner alone.
pub fn write_new(path: &Path, pem: &str) -> Result<(), KeyError> {
    let mut beside = path.file_name().unwrap_or_default().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = written(&beside, path, pem);
    // The link is the key; the name that it was written under has had its time either way.
    let _gone = fs::remove_file(&beside);
    written.map_err(KeyError::File)
}

fn written(beside: &Path, path: &Path, pem: &str) -> std::io::Result<()> {
    // What a killed process of the same number left is in the way of a file that must be new.
    let _gone = fs::remove_file(beside);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(beside)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, never takes the place of what is there.
    fs::hard_link(beside, path)
}
