//! One build of a key at a time on this machine: who comes second waits, and is told for whom.
//!
//! A lock on a file in the state directory, which the system lets go of when its holder dies. It is a matter of work done twice, not of being right:
//! where there can be no lock, everybody builds.

use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::key::Key;

/// How often somebody who waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The right to build. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    file: fs_err::File,
    path: PathBuf,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever waits for this very file finds that it is no more, and begins anew. The lock itself ends with the file.
        fs_err::remove_file(&self.path).ok();
        self.file.file().unlock().ok();
    }
}

/// Waits until nobody else builds this key; nothing where nothing can be locked. `waiting` is told once for whom.
pub(super) async fn turn(state: &Path, key: Key, me: &str, mut waiting: impl FnMut(&str)) -> Option<Turn> {
    let path = state.join("locks").join(key.to_hex());
    let mut told = false;
    loop {
        match attempt(&path, me).ok()? {
            Attempt::Mine(turn) => return Some(turn),
            Attempt::Gone => {}
            Attempt::Theirs(who) => {
                if !std::mem::replace(&mut told, true) {
                    waiting(&who);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

enum Attempt {
    Mine(Turn),
    Theirs(String),
    /// The file that was locked is not the one that is there any more.
    Gone,
}

fn attempt(path: &Path, me: &str) -> std::io::Result<Attempt> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut file = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.file().try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut who = String::new();
            file.read_to_string(&mut who)?;
            return Ok(Attempt::Theirs(if who.is_empty() { "another run".to_owned() } else { who }));
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let there = match fs_err::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Attempt::Gone),
        Err(error) => return Err(error),
    };
    let mine = file.metadata()?;
    if (there.dev(), there.ino()) != (mine.dev(), mine.ino()) {
        return Ok(Attempt::Gone);
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(me.as_bytes())?;
    Ok(Attempt::Mine(Turn { file, path: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn the_second_waits_and_knows_for_whom() {
        let state = tempfile::tempdir().expect("a folder");
        let key = Key::from_bytes([1; 32]);
        let first = turn(state.path(), key, "run A", |_| panic!("nobody is there")).await.expect("a turn");
        let other = turn(state.path(), Key::from_bytes([2; 32]), "run C", |_| panic!("another key")).await;
        assert!(other.is_some());
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let place = state.path().to_owned();
        let waiting = async move {
            let heard = |who: &str| tell.take().expect("told once").send(who.to_owned()).expect("somebody listens");
            turn(&place, key, "run B", heard).await.expect("a turn")
        };
        let first = async {
            assert_eq!(told.await.expect("told"), "run A");
            drop(first);
        };
        let (second, ()) = tokio::join!(waiting, first);
        drop(second);
        assert!(!state.path().join("locks").join(key.to_hex()).exists(), "no file stays");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_two_at_once() {
        let state = tempfile::tempdir().expect("a folder");
        let inside = Arc::new(AtomicUsize::new(0));
        let mut all = tokio::task::JoinSet::new();
        for number in 0..12 {
            let (place, inside) = (state.path().to_owned(), Arc::clone(&inside));
            all.spawn(async move {
                let turn = turn(&place, Key::from_bytes([3; 32]), &format!("run {number}"), |_| {}).await.expect("a turn");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
                tokio::time::sleep(Duration::from_millis(5)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(turn);
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.expect("no panic");
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_locked_everybody_builds() {
        assert!(turn(Path::new("/proc/nowhere"), Key::from_bytes([1; 32]), "me", |_| {}).await.is_none());
    }
}
