//! The two streams. Nothing else in this program writes to them, save indicatif, which draws on stderr.
//!
//! A reader that went away (`splitci report last | head`) is no error: what it did not want is dropped.

use std::io::Write as _;
use std::path::Path;

/// The answer.
pub(crate) fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The telling.
pub(crate) fn tell(text: &str) {
    let mut err = std::io::stderr().lock();
    let _unread = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// A bug of ours.
pub(crate) fn bug(message: &str, report: Option<&Path>) {
    let place = report.map_or_else(|| "no report could be written".into(), |path| format!("the report is in {}", path.display()));
    tell(&format!("\nerror: a bug in splitci: {message}\n   hint: {place}; the run has no verdict\n"));
}
