//! Virtual environments for tests: a pytest and the libraries that once broke runners. Made once, kept beside the build.
//!
//! Versions are pinned in `fixtures/python/*.txt`. They come from the package index that pip is set up to use on this machine; the
//! interpreter is the machine's `python3`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A virtual environment.
#[derive(Debug)]
pub struct Python {
    directory: PathBuf,
}

impl Python {
    /// The newest pytest with freezegun, gevent, pyfakefs and common plugins' neighbours.
    pub fn with_friends() -> &'static Self {
        static ONE: OnceLock<Python> = OnceLock::new();
        ONE.get_or_init(|| Self::named("friends"))
    }

    /// pytest and its plugins for splitting work, which the benchmark runs beside us.
    pub fn with_rivals() -> &'static Self {
        static ONE: OnceLock<Python> = OnceLock::new();
        ONE.get_or_init(|| Self::named("rivals"))
    }

    /// The environment of `fixtures/python/<name>.txt`, made if it is not there.
    pub fn named(name: &str) -> Self {
        let requirements = crate::root().join("fixtures/python").join(format!("{name}.txt"));
        let wanted = fs_err::read_to_string(&requirements).unwrap_or_else(|error| panic!("no such environment: {error}"));
        let directory = crate::scratch().join(format!("python-{name}"));
        let lock = fs_err::File::create(crate::scratch().join(format!("python-{name}.lock"))).expect("make a lock file");
        lock.file().lock().expect("lock the environment");
        let made = directory.join("made-from.txt");
        if !fs_err::read_to_string(&made).is_ok_and(|done| done == wanted) {
            make(&directory, &requirements);
            fs_err::File::create(&made).and_then(|mut file| file.write_all(wanted.as_bytes())).expect("note what was made");
        }
        Self { directory }
    }

    /// A fresh environment in this directory, with these requirements as pip's command line takes them.
    pub fn fresh(directory: &Path, requirements: &[&str]) -> Self {
        create(directory);
        let python = Self { directory: directory.to_path_buf() };
        python.pip(requirements);
        python
    }

    /// Directory of its programs.
    pub fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    /// One of its programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin().join(program));
        command.env_remove("PYTHONPATH").env_remove("PYTEST_ADDOPTS").env("VIRTUAL_ENV", &self.directory);
        command
    }

    /// Installs.
    pub fn pip(&self, arguments: &[&str]) {
        let output =
            self.command("python").args(["-m", "pip", "install", "--quiet", "--no-input"]).args(arguments).output().expect("start pip");
        assert!(output.status.success(), "pip install {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn make(directory: &Path, requirements: &Path) {
    if directory.exists() {
        fs_err::remove_dir_all(directory).expect("remove the old environment");
    }
    create(directory);
    let python = Python { directory: directory.to_path_buf() };
    python.pip(&["--requirement", requirements.to_str().expect("a path in UTF-8")]);
}

fn create(directory: &Path) {
    let output = Command::new("python3").args(["-m", "venv"]).arg(directory).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start python3 ({error}); on Debian: apt-get install python3-venv"));
    assert!(
        output.status.success(),
        "python3 -m venv failed; on Debian: apt-get install python3-venv\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
