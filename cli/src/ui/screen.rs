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
}

impl Keyboard {
    /// Takes the keys.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self { _raw: raw::Raw::take_keys()?, keys: raw::keys(), resized: signal(SignalKind::window_change())? })
    }

    /// Waits for what is to be handed on next.
    pub(crate) async fn next(&mut self) -> Option<Control> {
        tokio::select! {
            keys = self.keys.recv() => keys.map(Control::Typed),
            _ = self.resized.recv() => size().ok().map(Control::Resized),
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
