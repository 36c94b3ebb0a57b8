//! `app PORT VERSION [boot=MS] [slow=MS] [sick] [rude]`: the application of deployments as a program, for a container of its own. Asked to stop by
//! SIGTERM, it finishes what it has.
#![expect(clippy::expect_used, reason = "a harness reports by panicking")]

use std::time::Duration;

use splitci_tests::app::{App, Switches};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let port: u16 = words.next().and_then(|port| port.parse().ok()).expect("a port");
    let mut switches = Switches::of(&words.next().expect("a version"));
    for word in words {
        let milliseconds = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
        match word.split_once('=') {
            Some(("boot", time)) => switches.boot = milliseconds(time),
            Some(("slow", time)) => switches.slow = milliseconds(time),
            None if word == "sick" => switches.sick = true,
            None if word == "rude" => switches.rude = true,
            _ => panic!("`{word}` is no switch of this application"),
        }
    }
    // Before it listens: who is asked to stop early has to hear it.
    let mut stop = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    let app = App::start_at(([0, 0, 0, 0], port).into(), switches);
    stop.recv().await;
    app.stop();
}
