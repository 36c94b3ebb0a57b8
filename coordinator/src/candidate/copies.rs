//! Copies of signed statements on this machine, in the state directory: found by the digest of the image's manifest, and where a run's image was pushed to.
//!
//! | below `statements/` | is |
//! |---|---|
//! | `<64 digits of the manifest>/<64 digits of the envelope>.json` | an envelope, named by the SHA-256 of its bytes |
//! | `runs/<run>.json` | the repository and the manifest of a run's image |
//!
//! Envelopes are written whole or not at all, never changed, and never removed here. One that is not what it is called is an error and not left out: it may be
//! the one that says no. Nothing here is believed because it lies here; the gate looks at signatures.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gate::Found;
use crate::model::{RunId, Sha256};
use crate::trust::dsse::MOST_BYTES;
use crate::trust::sha256;

/// How names of envelopes end.
const END: &str = ".json";
/// Where a run's image went.
const RUNS: &str = "runs";

/// The copies of a state directory.
#[derive(Debug, Clone)]
pub struct Copies {
    place: PathBuf,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The repository, with its host.
    pub repository: String,
    /// Digest of its manifest.
    pub manifest: Sha256,
}

/// A copy cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk.
    #[error("cannot keep or read the copies of signed statements")]
    Disk(#[source] std::io::Error),
    /// Its bytes are not those that were written.
    #[error("the copy of a signed statement in `{}` is damaged", .0.display())]
    Damaged(PathBuf),
}

impl CopyError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Disk(_) => "make room on its disk, or set `--state` to a directory that can be written and read".to_owned(),
            Self::Damaged(path) => format!("move `{}` away; the registry has the statement, too", path.display()),
        }
    }
}

impl Copies {
    /// Those of this state directory, which need not be there.
    pub fn in_state(state: &Path) -> Self {
        Self { place: state.join("statements") }
    }

    /// Keeps an envelope about the image with this manifest. Once or twice is the same. Gives back its file.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, manifest: Sha256, envelope: &[u8]) -> Result<PathBuf, CopyError> {
        let file = self.place.join(manifest.hex()).join(sha256(envelope).hex() + END);
        write(&file, envelope).map_err(CopyError::Disk)?;
        Ok(file)
    }

    /// Every envelope about the image with this manifest, in the order of their names; none if there is none.
    ///
    /// # Errors
    /// One of them cannot be read, or is not what it is called: then it is not known what there is.
    pub fn of(&self, manifest: Sha256) -> Result<Vec<Found>, CopyError> {
        let folder = self.place.join(manifest.hex());
        let listed = match fs_err::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CopyError::Disk(error)),
        };
        let mut files = Vec::new();
        for entry in listed {
            files.push(entry.map_err(CopyError::Disk)?.path());
        }
        files.sort_unstable();
        // What a killed process left beside is no envelope yet.
        files.into_iter().filter_map(|file| Some((named(&file)?, file))).map(|(name, file)| read(name, &file)).collect()
    }

    /// Notes where a run's image went. The last word counts.
    ///
    /// # Errors
    /// The disk.
    pub fn note(&self, run: &RunId, place: &Place) -> Result<(), CopyError> {
        let bytes = serde_json::to_vec(place).map_err(|error| CopyError::Disk(error.into()))?;
        write(&self.run(run), &bytes).map_err(CopyError::Disk)
    }

    /// Where a run's image went; nothing if it went nowhere.
    ///
    /// # Errors
    /// The disk; the note is damaged.
    pub fn place_of(&self, run: &RunId) -> Result<Option<Place>, CopyError> {
        let file = self.run(run);
        match fs_err::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| CopyError::Damaged(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CopyError::Disk(error)),
        }
    }

    fn run(&self, run: &RunId) -> PathBuf {
        // Names of runs are letters and digits, wherever they are made.
        let plain: String = run.0.chars().filter(char::is_ascii_alphanumeric).collect();
        self.place.join(RUNS).join(plain + END)
    }
}

/// The digest that a file is named by.
fn named(file: &Path) -> Option<Sha256> {
    Sha256::of_hex(file.file_name()?.to_str()?.strip_suffix(END)?)
}

fn read(name: Sha256, file: &Path) -> Result<Found, CopyError> {
    let length = fs_err::metadata(file).map_err(CopyError::Disk)?.len();
    if length > MOST_BYTES as u64 {
        return Err(CopyError::Damaged(file.to_owned()));
    }
    let envelope = fs_err::read(file).map_err(CopyError::Disk)?;
    if sha256(&envelope) != name {
        return Err(CopyError::Damaged(file.to_owned()));
    }
    Ok(Found { envelope, at: file.display().to_string() })
}

/// Puts a file in its place, whole or not at all, so that a loss of power takes nothing back.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let written = fs_err::File::create(&beside).and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()
    });
    let written = written.and_then(|()| fs_err::rename(&beside, file)).and_then(|()| fs_err::File::open(folder)?.sync_all());
    if written.is_err() {
        // A disk that is full is not to be fuller.
        let _gone = fs_err::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_by_its_image_and_what_is_damaged_is_told() {
        let state = tempfile::tempdir().expect("a folder");
        let copies = Copies::in_state(state.path());
        let (image, other) = (sha256(b"image"), sha256(b"other"));
        assert_eq!(copies.of(image).expect("readable"), []);
        let file = copies.keep(image, b"{\"a\":1}").expect("kept");
        assert_eq!(copies.keep(image, b"{\"a\":1}").expect("kept"), file, "the same is kept once");
        copies.keep(image, b"{\"b\":1}").expect("kept");
        let found: Vec<_> = copies.of(image).expect("readable").into_iter().map(|found| found.envelope).collect();
        assert!(found.len() == 2 && found.contains(&b"{\"a\":1}".to_vec()) && found.contains(&b"{\"b\":1}".to_vec()));
        assert_eq!(copies.of(other).expect("readable"), []);
        fs_err::write(file.with_file_name("half.json.17.new"), "{").expect("written");
        assert_eq!(copies.of(image).expect("readable").len(), 2, "what was never finished is none");
        fs_err::write(&file, "{\"a\":2}").expect("written");
        assert!(matches!(copies.of(image), Err(CopyError::Damaged(at)) if at == file));
    }

    #[test]
    fn the_last_word_counts_on_where_a_runs_image_went() {
        let state = tempfile::tempdir().expect("a folder");
        let (copies, run) = (Copies::in_state(state.path()), RunId("01JD2".to_owned()));
        assert_eq!(copies.place_of(&run).expect("readable"), None);
        for repository in ["a.example/shop", "b.example/shop"] {
            let place = Place { repository: repository.to_owned(), manifest: sha256(b"image") };
            copies.note(&run, &place).expect("noted");
            assert_eq!(copies.place_of(&run).expect("readable"), Some(place));
        }
        fs_err::write(copies.run(&run), "{").expect("written");
        assert!(matches!(copies.place_of(&run), Err(CopyError::Damaged(_))));
    }
}
