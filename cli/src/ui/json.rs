//! `--json`: the run's events on stdout, a JSON object a line, and nothing else there.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use splitci_coordinator::model::{Listener, Telling};

/// Prints events as they come.
#[derive(Debug, Default)]
pub(crate) struct JsonLines {
    lost: Mutex<Option<io::Error>>,
}

impl JsonLines {
    /// The first error, if a line could not be written although somebody reads.
    pub(crate) fn lost(&self) -> Option<io::Error> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Listener for JsonLines {
    fn hear(&self, telling: &Telling) {
        let Telling::Event(event) = telling else { return };
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        // Whoever closed the pipe does not want to know; the run goes on and its record has it all. stdout flushes at each line's end.
        if let Err(error) = io::stdout().lock().write_all(&line)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}
