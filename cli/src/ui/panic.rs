//! A panic is a bug of ours: the user is told so in two lines, a file has the rest, and the program ends with 70 whatever else it would have said.

use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::printer;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Whether anything has panicked, in whatever thread.
pub(crate) fn happened() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// Takes over panics. The report goes into `directory`.
pub(crate) fn hook(directory: PathBuf, command: Vec<String>) {
    std::panic::set_hook(Box::new(move |info| {
        let first = !PANICKED.swap(true, Ordering::SeqCst);
        let path = directory.join(format!("splitci-panic-{}.txt", std::process::id()));
        let kept = append(&path, &report(info, &command));
        if first {
            printer::bug(&info.to_string(), kept.is_ok().then_some(path.as_path()));
        }
    }));
}

fn report(info: &PanicHookInfo<'_>, command: &[String]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let thread = std::thread::current();
    let trace = std::backtrace::Backtrace::force_capture();
    format!("splitci {version}\ncommand: {command:?}\nthread: {}\n{info}\n{trace}\n\n", thread.name().unwrap_or("without a name"))
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    fs_err::OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}
