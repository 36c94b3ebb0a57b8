//! The terminal, handed to another program key by key, and given back as it was.

use std::io::{IsTerminal as _, Read as _, Write as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Whether a person is there to type and to read.
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Columns and rows.
pub(crate) fn size() -> Option<(u16, u16)> {
    tcgetwinsize(std::io::stdout()).ok().map(|size| (size.ws_col, size.ws_row)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

/// A terminal whose keys come as they are. Dropped, it is as it was.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes it.
    pub(crate) fn take() -> std::io::Result<Self> {
        Self::taken(Termios::make_raw)
    }

    /// Takes its keys alone: lines that are printed here still end as they should.
    pub(crate) fn take_keys() -> std::io::Result<Self> {
        Self::taken(|raw| {
            let output = raw.output_modes;
            raw.make_raw();
            raw.output_modes = output;
        })
    }

    fn taken(change: impl FnOnce(&mut Termios)) -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        change(&mut raw);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It fails only for a terminal that is gone.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// What is typed, piece by piece. The thread that reads it ends with the program: nothing interrupts a read.
pub(crate) fn keys() -> UnboundedReceiver<Vec<u8>> {
    let (tell, keys) = unbounded_channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut piece) {
            if tell.send(piece[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    keys
}

/// Shows what the other program shows, as it is.
pub(crate) fn show(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
