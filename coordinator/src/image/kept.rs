//! What is kept of the images that a project built: what their keys were made of, and how long they took to build. For explaining why one is built, and
//! for saying what was saved when one is not.
//!
//! A file for each key, the last few of a project and target. They may be lost at any moment: then less can be explained. A file that is damaged, or of
//! another version, is none. Values of build arguments that look secret are kept as a code that only this state directory can make.
//!
//! Layout, little endian: magic, key, when it was made, how long that took, hash of the body, hash of all this; then the body, compressed: what the key
//! is the hash of (`key::encode`).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::key::{Key, KeyInputs, decode, encode};

/// Another layout is another magic.
const MAGIC: &[u8; 16] = b"splitci-image 1\n";
const HEAD: usize = MAGIC.len() + 32 + 8 + 8 + 32;
/// Entries of a project and target.
const KEPT: usize = 8;
/// More is no context that anybody sends.
const LARGEST: u64 = 1 << 30;
/// Hashes do not get smaller; paths do at once.
const COMPRESSION: i32 = 1;

/// One image, as it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: Key,
    /// When it was built, in seconds since 1970.
    pub made: u64,
    /// How long that took, in milliseconds; 0 if nobody knows.
    pub took_ms: u64,
    /// What its key was made of, without what is secret.
    pub inputs: KeyInputs,
}

/// Where a project's entries are.
#[derive(Debug, Clone)]
pub struct Shelf {
    state: PathBuf,
    folder: PathBuf,
}

impl Shelf {
    /// The entries of a target of a project.
    pub fn of(state: &Path, project: &str, target: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("splitci shelf of images v1");
        for part in [Some(project), target] {
            hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            hasher.update(part.unwrap_or_default().as_bytes());
        }
        let name = hasher.finalize().to_hex();
        Self { state: state.to_owned(), folder: state.join("images").join(&name[..12]) }
    }

    /// How long the image of this key took to build; nothing if it is not kept.
    pub fn took_ms(&self, key: Key) -> Option<u64> {
        head(&self.file(key)).filter(|head| head.key == key).map(|head| head.took_ms)
    }

    /// How long the last build took of which that is known.
    pub fn last_took_ms(&self) -> Option<u64> {
        self.files().iter().filter_map(|file| head(file)).map(|head| head.took_ms).find(|took| *took > 0)
    }

    /// Keeps an image, and lets go of the oldest.
    pub fn keep(&self, kept: &Kept) -> std::io::Result<()> {
        let body = zstd::bulk::compress(encode(&self.disguised(&kept.inputs)?).bytes(), COMPRESSION)?;
        let head = Head { key: kept.key, made: kept.made, took_ms: kept.took_ms, body: *blake3::hash(&body).as_bytes() };
        replace(&self.file(kept.key), &[head.write().as_slice(), &body].concat())?;
        for old in self.files().into_iter().skip(KEPT) {
            fs_err::remove_file(old).ok();
        }
        Ok(())
    }

    /// The last one.
    pub fn last(&self) -> Option<Kept> {
        self.files().iter().find_map(|file| read(file))
    }

    /// All that are kept, the last one first.
    pub fn all(&self) -> Vec<Kept> {
        self.files().iter().filter_map(|file| read(file)).collect()
    }

    /// Inputs as they are kept: what looks secret is a code.
    pub fn disguised(&self, inputs: &KeyInputs) -> std::io::Result<KeyInputs> {
        let mut inputs = inputs.clone();
        for (name, value) in inputs.args.iter_mut().filter(|(name, _)| looks_secret(name)) {
            let mut hasher = blake3::Hasher::new_keyed(&self.secret()?);
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(value.as_bytes());
            *value = hasher.finalize().to_hex().to_string();
        }
        Ok(inputs)
    }

    fn file(&self, key: Key) -> PathBuf {
        self.folder.join(key.to_hex())
    }

    /// The entries' files, the last one first.
    fn files(&self) -> Vec<PathBuf> {
        let listed = fs_err::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_entry = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
        let mut files: Vec<_> = listed
            .map(|entry| entry.path())
            .filter(is_entry)
            .map(|path| (fs_err::metadata(&path).and_then(|about| about.modified()).ok(), path))
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        files.into_iter().map(|(_, path)| path).collect()
    }

    /// What codes are made with: random bytes of this state directory, made at first use.
    fn secret(&self) -> std::io::Result<[u8; 32]> {
        let file = self.state.join("images").join("secret");
        if let Some(known) = fs_err::read(&file).ok().and_then(|bytes| bytes.try_into().ok()) {
            return Ok(known);
        }
        let mut fresh = [0; 32];
        fs_err::File::open("/dev/urandom")?.read_exact(&mut fresh)?;
        // Of two runs that do this at the same time the later one stays, and entries of the other are compared in vain.
        replace(&file, &fresh)?;
        Ok(fresh)
    }
}

struct Head {
    key: Key,
    made: u64,
    took_ms: u64,
    body: [u8; 32],
}

impl Head {
    fn write(&self) -> Vec<u8> {
        let parts = [MAGIC.as_slice(), &self.key.bytes(), &self.made.to_le_bytes(), &self.took_ms.to_le_bytes(), &self.body];
        let mut head = parts.concat();
        head.extend_from_slice(blake3::hash(&head).as_bytes());
        head
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        rest.strip_prefix(blake3::hash(head).as_bytes())?;
        let (key, rest) = head.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (made, rest) = rest.split_first_chunk()?;
        let (took, rest) = rest.split_first_chunk()?;
        let (made, took_ms) = (u64::from_le_bytes(*made), u64::from_le_bytes(*took));
        Some(Self { key: Key::from_bytes(*key), made, took_ms, body: *rest.first_chunk()? })
    }
}

fn head(file: &Path) -> Option<Head> {
    let mut head = [0; HEAD + 32];
    fs_err::File::open(file).ok()?.read_exact(&mut head).ok()?;
    Head::read(&head)
}

fn read(file: &Path) -> Option<Kept> {
    let bytes = fs_err::read(file).ok()?;
    let head = Head::read(&bytes)?;
    let body = bytes.get(HEAD + 32..).filter(|body| *blake3::hash(body).as_bytes() == head.body)?;
    let mut encoded = Vec::new();
    zstd::Decoder::new(body).ok()?.take(LARGEST).read_to_end(&mut encoded).ok()?;
    Some(Kept { key: head.key, made: head.made, took_ms: head.took_ms, inputs: decode(&encoded)? })
}

/// Whether a build argument of this name may well be a secret, though it is no place for one.
pub(super) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["TOKEN", "SECRET", "PASS", "KEY", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE", "SESSION"].iter().any(|word| name.contains(word))
}

/// Puts a file in its place, whole or not at all, for its owner alone; makes its directory if need be. When it returns, a loss of power takes nothing back.
pub(crate) fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    use std::io::Write;
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let written = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut open| {
            open.write_all(content)?;
            open.sync_all()
        })
        .and_then(|()| fs_err::rename(&beside, file))
        .and_then(|()| file.parent().map_or(Ok(()), |folder| fs_err::File::open(folder)?.sync_all()));
    if written.is_err() {
        // A disk that is full is not to be fuller.
        fs_err::remove_file(&beside).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(seed: u8) -> Kept {
        let args = [("VERSION", "1"), ("API_TOKEN", "hunter2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let inputs = KeyInputs { args: args.into(), epoch: Some(format!("{seed}")), ..KeyInputs::default() };
        Kept { key: Key::from_bytes([seed; 32]), made: 7, took_ms: 1234, inputs }
    }

    #[test]
    fn what_is_kept_comes_back_without_what_is_secret() {
        let state = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::of(state.path(), "shop", None);
        shelf.keep(&kept(1)).expect("kept");
        let [found] = &shelf.all()[..] else { panic!("one") };
        assert_eq!((found.key, found.made, found.took_ms), (kept(1).key, 7, 1234));
        assert_eq!(found.inputs.args["VERSION"], "1");
        assert_eq!(found.inputs, shelf.disguised(&kept(1).inputs).expect("a secret"), "the same code the next time");
        assert_eq!((shelf.took_ms(kept(1).key), shelf.took_ms(kept(2).key)), (Some(1234), None));
        let other = Shelf::of(state.path(), "shop", Some("test"));
        assert!(other.all().is_empty(), "another target has its own");
        for file in walkdir::WalkDir::new(state.path()).into_iter().flatten().filter(|file| file.file_type().is_file()) {
            let bytes = fs_err::read(file.path()).expect("readable");
            let plain = zstd::decode_all(&bytes[(HEAD + 32).min(bytes.len())..]).unwrap_or_default();
            assert!(!plain.windows(7).any(|window| window == b"hunter2") && !bytes.windows(7).any(|window| window == b"hunter2"));
        }
        let elsewhere = tempfile::tempdir().expect("a folder");
        let other = Shelf::of(elsewhere.path(), "shop", None).disguised(&kept(1).inputs).expect("a secret");
        assert_ne!(other.args["API_TOKEN"], found.inputs.args["API_TOKEN"], "each state directory has its own code");
    }

    #[test]
    fn the_oldest_go() {
        let state = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::of(state.path(), "shop", None);
        for seed in 0..12 {
            shelf.keep(&kept(seed)).expect("kept");
            let file = fs_err::File::options().append(true).open(shelf.file(kept(seed).key)).expect("there");
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + u64::from(seed));
            file.file().set_modified(at).expect("set");
        }
        let all: Vec<_> = shelf.all().iter().map(|kept| kept.key.bytes()[0]).collect();
        assert_eq!(all, [11, 10, 9, 8, 7, 6, 5, 4]);
        assert_eq!(shelf.last_took_ms(), Some(1234));
        shelf.keep(&Kept { took_ms: 0, ..kept(12) }).expect("kept");
        shelf.keep(&Kept { took_ms: 9, ..kept(13) }).expect("kept");
        assert_eq!(shelf.last_took_ms(), Some(9));
        shelf.keep(&Kept { took_ms: 0, ..kept(14) }).expect("kept");
        assert_eq!(shelf.last_took_ms(), Some(9), "one that was found took nobody knows how long");
    }

    #[test]
    fn what_is_damaged_is_not_there() {
        let state = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::of(state.path(), "shop", None);
        shelf.keep(&kept(1)).expect("kept");
        let file = shelf.file(kept(1).key);
        let whole = fs_err::read(&file).expect("there");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs_err::write(&file, &bytes).expect("written");
            assert!(shelf.all().is_empty(), "byte {at}");
            fs_err::write(&file, &whole[..at]).expect("written");
            assert!(shelf.all().is_empty(), "cut at {at}");
            assert_eq!(shelf.took_ms(kept(1).key), (at >= HEAD + 32).then_some(1234), "cut at {at}");
        }
    }
}
