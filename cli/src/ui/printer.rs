//! The two streams. Nothing else in this program writes to them, save indicatif, which draws on stderr.
//!
//! A reader that went away (`splitci report last | head`) is no error: what it did not want is dropped.

use std::io::Write as _;
use std::path::Path;

use super::error::Failure;
use super::exit::Exit;

/// The answer. Lost, it is an error; a reader that went away has had enough.
pub(crate) fn answer(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
        _ => Ok(()),
    }
}

/// The answer is lost.
pub(crate) fn unwritten(error: &std::io::Error) -> Failure {
    let mut failure = Failure::plain(Exit::NO_VERDICT, "cannot write to standard output", "make room where it goes to");
    failure.told.iter_mut().for_each(|told| told.causes.push(error.to_string()));
    failure
}

/// The telling.
pub(crate) fn tell(text: &str) {
    let mut err = std::io::stderr().lock();
    let _unread = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// A bug of ours.
pub(crate) fn bug(message: &str, report: Option<&Path>) {
    let place = report.map_or_else(|| "no report could be written".into(), |path| format!("the report is in {}", path.display()));
    tell(&format!("\nerror: a bug in splitci: {message}\n   hint: {place}; there is no verdict\n"));
}
