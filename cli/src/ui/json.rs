//! `--json`: the run's events on stdout, a JSON object a line, and nothing else there.

use std::io::Write as _;

use splitci_coordinator::model::{Listener, Telling};

/// Prints events as they come.
#[derive(Debug, Default)]
pub(crate) struct JsonLines;

impl Listener for JsonLines {
    fn hear(&self, telling: &Telling) {
        let Telling::Event(event) = telling else { return };
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        // Whoever closed the pipe does not want to know; the run goes on and its record has it all. stdout flushes at each line's end.
        let _unread = std::io::stdout().lock().write_all(&line);
    }
}
