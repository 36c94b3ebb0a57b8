//! `splitci repro --shell`: a person at a terminal, and a shell where a shard ran.
//!
//! A shell in a container has a terminal there: keys, sizes and its status go to and fro. One on this machine has our own terminal, and we step aside.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use splitci_coordinator::pipeline::{self, Here, OpenShell, ReproRequest, Shell, There};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::drive::{Kit, Show, Start};
use crate::Context;
use crate::signals::{Asked, Signals};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::{printer, raw, terminal};

/// How long a shell and what it started may take to end that were hung up.
const HUNG_UP: Duration = Duration::from_secs(5);

/// Does it.
pub(crate) fn shell(request: &ReproRequest, context: &Context) -> Result<Exit, Failure> {
    if !raw::is_there() {
        return Err(Failure::plain(
            Exit::USAGE,
            "`--shell` needs a terminal on standard input and standard output, and there is none",
            "start it from a terminal (`ssh -t`, `docker run -it`), or leave `--shell` out to run the tests again",
        ));
    }
    let kit = Kit::new(context)?;
    let open = async |Start { world, listener, controls }: Start| pipeline::shell(request, &world, listener, controls).await;
    let (OpenShell { said, shell }, _) = kit.await_job(context, Show::Progress, open)?;
    for line in said {
        printer::tell(&format!("{} {}\n", context.terminal.err.strong("splitci:"), terminal::tame(&line)));
    }
    let ended = match shell {
        Shell::Here(here) => kit.runtime.block_on(step_aside(&here)),
        Shell::There(there) => kit.runtime.block_on(pass_on(there)),
    };
    kit.runtime.shutdown_background();
    ended
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::new(Exit::NO_VERDICT, error, None)
}

/// Our terminal is the shell's until it ends.
async fn step_aside(here: &Here) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().map_err(|error| lost(&error))?;
    let mut command = tokio::process::Command::new(&here.program);
    command.args(&here.arguments).current_dir(&here.directory).env_clear().envs(&here.env);
    let mut child = command.spawn().map_err(|error| lost(&error))?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(status_of).map_err(|error| lost(&error)),
            asked = signals.next() => match asked {
                // Ctrl-C is between the terminal and what runs on it.
                Asked::Stop(Exit::INTERRUPTED) | Asked::StopNow(Exit::INTERRUPTED) | Asked::Continued => {}
                Asked::Stop(exit) | Asked::StopNow(exit) => {
                    hang_up(&mut child).await;
                    return Ok(exit);
                }
            },
        }
    }
}

async fn hang_up(child: &mut tokio::process::Child) {
    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    // One that is gone already is as good.
    pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::HUP).ok());
    if tokio::time::timeout(HUNG_UP, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}

fn status_of(status: ExitStatus) -> Exit {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Keys go there, what is shown comes back, until the shell ends or somebody ends us.
async fn pass_on(mut there: There) -> Result<Exit, Failure> {
    let ended = {
        // Whatever happens from here on, the terminal is given back before anything is said.
        let _raw = raw::Raw::take().map_err(|error| lost(&error))?;
        attend(&mut there).await.map_err(|error| lost(&error))
    };
    let control = there.control.clone();
    let status = match ended {
        Ok(Some(exit)) => Ok(exit),
        Ok(None) => control.status().await.map(|code| Exit(u8::try_from(code).unwrap_or(u8::MAX))).ok_or_else(|| {
            Failure::plain(Exit::NO_VERDICT, "the shell's container is gone", "something outside of splitci ended it; open another one")
        }),
        Err(failure) => Err(failure),
    };
    if let Err(error) = there.end().await {
        printer::tell(&format!("note: the shell's container is left to end by itself: {error}\n"));
    }
    status
}

/// With the status that a signal asks for, if one ended it.
async fn attend(there: &mut There) -> std::io::Result<Option<Exit>> {
    let mut signals = Signals::listen()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut keys = raw::keys();
    let mut shown = vec![0; 64 << 10];
    let resize = async |there: &There, told: &mut Option<(u16, u16)>| {
        *told = raw::size();
        if let Some(size) = *told {
            // A terminal of the wrong size is still one; a shell that has just ended has none.
            there.control.resize(size).await.ok();
        }
    };
    let mut told = None;
    resize(there, &mut told).await;
    loop {
        tokio::select! {
            read = there.output.read(&mut shown) => match read {
                Ok(n @ 1..) => raw::show(&shown[..n])?,
                Ok(0) | Err(_) => return Ok(None),
            },
            Some(piece) = keys.recv() => {
                // The signal that tells of a size may come after keys that were typed later.
                if raw::size() != told {
                    resize(there, &mut told).await;
                }
                there.input.write_all(&piece).await?;
                there.input.flush().await?;
            }
            _ = resized.recv() => resize(there, &mut told).await,
            asked = signals.next() => match asked {
                Asked::Stop(exit) | Asked::StopNow(exit) => return Ok(Some(exit)),
                // Who stopped us may have used the terminal since.
                Asked::Continued => resize(there, &mut told).await,
            },
        }
    }
}
