//! Where sessions keep their files: the run directory, and in it one directory a session with the driver's files, socket and slot.
//!
//! The framework may run as another user than the worker (an entrypoint that drops privileges), so socket and slot are open to everybody who can
//! reach the directory; who may speak on the socket is decided by descent, not by permissions. Everything is removed with the session.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Component, Path, PathBuf};

use crate::protocol::driver::{NONE, SLOT_SIZE, read_slot};
use crate::protocol::message::{InjectedFile, SessionNumber, Slot};

/// Name of the socket in a session's directory; short, for the sake of `SUN_PATH`.
pub(super) const SOCKET: &str = "d";
/// Name of the slot in a session's directory.
pub(super) const SLOT: &str = "slot";

/// Longest path of a Unix socket, its closing zero not counted.
const SUN_PATH: usize = 107;

/// A session's directory cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The file system says no.
    #[error("cannot write the session's files")]
    Write(#[from] std::io::Error),
    /// The path of the socket would be cut.
    #[error("the driver's socket `{0}` has a path of more than {SUN_PATH} bytes; give a shorter run directory")]
    TooLong(PathBuf),
    /// A file would land elsewhere.
    #[error("the injected file `{0}` is not below the session's directory")]
    Outside(String),
    /// The frame is shorter than its files.
    #[error("the content of the injected file `{0}` is missing")]
    Missing(String),
    /// The socket cannot be opened.
    #[error("cannot listen at `{path}`")]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// The run directory.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    own: bool,
}

impl RunDirectory {
    /// The one given, the one containers have, or one of our own.
    pub(super) fn open(given: Option<PathBuf>) -> Result<Self, PlaceError> {
        if let Some(path) = given {
            return Ok(Self { path, own: false });
        }
        let usual = PathBuf::from("/.splitci-run");
        if usual.is_dir() {
            return Ok(Self { path: usual, own: false });
        }
        let path = std::env::temp_dir().join(format!("splitci-{}", std::process::id()));
        // Not `create_dir_all`: in a directory that everybody can write to, one that exists may be somebody else's trap.
        fs_err::create_dir(&path)?;
        fs_err::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Self { path, own: true })
    }

    /// Makes the directory of a session.
    pub(super) fn session(&self, number: SessionNumber, files: &[InjectedFile], blob: &[u8]) -> Result<Place, PlaceError> {
        let dir = self.path.join(format!("s{number}"));
        let socket = dir.join(SOCKET);
        if socket.as_os_str().as_bytes().len() > SUN_PATH {
            return Err(PlaceError::TooLong(socket));
        }
        if dir.exists() {
            fs_err::remove_dir_all(&dir)?;
        }
        fs_err::create_dir(&dir)?;
        // From here on the directory goes with `place`, whatever fails.
        let mut place = Place { dir, open: None };
        fs_err::set_permissions(&place.dir, Permissions::from_mode(0o755))?;
        inject(&place.dir, files, blob)?;
        place.open = Some(Open { listener: listen(&socket)?, slot: make_slot(&place.dir.join(SLOT))? });
        Ok(place)
    }

    /// Removes it, if it was made here.
    pub(super) fn remove(&self) {
        if self.own {
            fs_err::remove_dir_all(&self.path).ok();
        }
    }
}

/// A session's directory; removed when dropped.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    listener: UnixListener,
    slot: fs_err::File,
}

impl Place {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Where the driver dials.
    pub(super) fn listener(&self) -> Option<&UnixListener> {
        self.open.as_ref().map(|open| &open.listener)
    }

    /// What the slot says; nothing if the code under test cut it short. Read rather than mapped: a file that shrinks under a mapping kills its reader.
    pub(super) fn read_slot(&self) -> Option<(Slot, u64)> {
        let mut bytes = [0; SLOT_SIZE];
        self.open.as_ref()?.slot.file().read_exact_at(&mut bytes, 0).ok()?;
        Some(read_slot(&bytes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs_err::remove_dir_all(&self.dir).ok();
    }
}

fn inject(dir: &Path, files: &[InjectedFile], mut blob: &[u8]) -> Result<(), PlaceError> {
    for file in files {
        let path = Path::new(&file.path);
        if path.components().next().is_none() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(PlaceError::Outside(file.path.clone()));
        }
        let len = usize::try_from(file.len).unwrap_or(usize::MAX);
        let (content, rest) = blob.split_at_checked(len).ok_or_else(|| PlaceError::Missing(file.path.clone()))?;
        blob = rest;
        make_parents(dir, path)?;
        let path = dir.join(path);
        fs_err::write(&path, content)?;
        fs_err::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Modes are set, not left to the umask: the framework may run as another user.
fn make_parents(dir: &Path, file: &Path) -> Result<(), PlaceError> {
    let mut at = dir.to_owned();
    for part in file.parent().into_iter().flat_map(Path::components) {
        at.push(part);
        if !at.is_dir() {
            fs_err::create_dir(&at)?;
            fs_err::set_permissions(&at, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener, PlaceError> {
    let failed = |cause| PlaceError::Listen { path: path.to_owned(), cause };
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    fs_err::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn make_slot(path: &Path) -> Result<fs_err::File, PlaceError> {
    let mut bytes = [0; SLOT_SIZE];
    bytes[..8].copy_from_slice(&[NONE.to_le_bytes(), NONE.to_le_bytes()].concat());
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o666);
    let mut slot = options.open(path)?;
    slot.write_all(&bytes)?;
    fs_err::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(slot)
}
