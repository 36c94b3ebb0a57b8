//! The terminal while the framework has it: keys go there, what it shows comes here, and nobody else draws.

use std::sync::Arc;

use splitci_coordinator::model::{Listener, Progress, Telling, TerminalSize};
use splitci_coordinator::pipeline::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::error::Failure;
use super::exit::Exit;
use super::raw;

/// The terminal's size; an error that teaches if there is none.
pub(crate) fn size() -> Result<TerminalSize, Failure> {
    let size = if raw::is_there() { raw::size() } else { None };
    size.map(|(columns, rows)| TerminalSize { columns, rows }).ok_or_else(|| {
        Failure::plain(
            Exit::USAGE,
            "`--tty` needs a terminal on standard input and standard output, and there is none",
            "start it from a terminal (`ssh -t`, `docker run -it`)",
        )
    })
}

/// Shows what the framework shows, and hands everything on.
pub(crate) struct Screen(pub Arc<dyn Listener>);

impl Listener for Screen {
    fn hear(&self, telling: &Telling) {
        if let Telling::Progress(Progress::Screen(bytes)) = telling {
            // A terminal that is gone shows nothing; the run goes on for its record.
            raw::show(bytes).ok();
        }
        self.0.hear(telling);
    }
}

/// Keys and sizes, while the framework has them. Dropped, the terminal is as it was.
pub(crate) struct Keyboard {
    _raw: raw::Raw,
    keys: UnboundedReceiver<Vec<u8>>,
    resized: Signal,
    /// The size that was told last; the one at the start may be another one by now.
    told: Option<TerminalSize>,
    /// Keys that wait until the size has been told.
    held: Option<Vec<u8>>,
}

impl Keyboard {
    /// Takes the keys.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self { _raw: raw::Raw::take_keys()?, keys: raw::keys(), resized: signal(SignalKind::window_change())?, told: None, held: None })
    }

    /// Waits for what is to be handed on next. Whoever changes the size and types then is answered for the new size: the signal that tells of a size may
    /// come after keys that were typed later, so it is looked at again before they go on.
    pub(crate) async fn next(&mut self) -> Option<Control> {
        if let Some(keys) = self.held.take() {
            return Some(Control::Typed(keys));
        }
        loop {
            let keys = tokio::select! {
                keys = self.keys.recv() => Some(keys?),
                _ = self.resized.recv() => None,
            };
            // A terminal that has no size for a moment has none to be told of, and keys all the same.
            let now = size().ok();
            match (keys, now) {
                (keys, Some(size)) if keys.is_none() || now != self.told => {
                    (self.held, self.told) = (keys, now);
                    return Some(Control::Resized(size));
                }
                (Some(keys), _) => return Some(Control::Typed(keys)),
                (None, _) => {}
            }
        }
    }

    /// Hands on what is typed, for ever.
    pub(crate) async fn hand_on(&mut self, orders: &UnboundedSender<Control>) {
        while let Some(order) = self.next().await {
            // A run that is over has no ears.
            if orders.send(order).is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    }
}
