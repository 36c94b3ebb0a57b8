//! The worker's program: no arguments, frames on standard input and output, everything else comes in frames.
//!
//! `--version` prints version and protocol. `--attend PARENT PROGRAM …` is for the shell of `splitci repro`: it runs the program, and
//! ends it when the parent dies. `wait` does nothing until it is told to stop. `ask` asks
//! apps of the network that it is in how they are: see `ask`. `mount NUMBER PATH` is for a build step: see `mounts`. With `generic COMMAND` it is the driver of a tool that has none: see `generic`. What else it does and the
//! environment it reads: see `supervise`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use splitci_worker::protocol::VERSION;
use splitci_worker::supervise::{Settings, attend, run};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|argument| argument.to_str()) {
        None if arguments.is_empty() => supervise(),
        Some("--version") => {
            let said = writeln!(std::io::stdout(), "splitci-worker {} (protocol {VERSION})", env!("CARGO_PKG_VERSION"));
            if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some("generic") => drive(&arguments[1..]),
        Some("mount") => mount(&arguments[1..]),
        Some("wait") => wait(),
        Some("ask") => ask(),
        Some("--attend") => attend_program(&arguments[1..]),
        _ => {
            log("takes no arguments but `--version`; it is started by splitci");
            ExitCode::from(2)
        }
    }
}

fn wait() -> ExitCode {
    match until_told() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&chain(&error));
            ExitCode::from(4)
        }
    }
}

fn ask() -> ExitCode {
    match splitci_worker::ask::serve(std::io::stdin().lock(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&chain(&error));
            ExitCode::from(4)
        }
    }
}

/// For a container that has but to be there. As its first process it would not hear signals that it does not ask for.
fn until_told() -> std::io::Result<()> {
    let (mut told, tell) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
    }
    told.read_exact(&mut [0])
}

fn attend_program(arguments: &[OsString]) -> ExitCode {
    let [parent, program, rest @ ..] = arguments else {
        log("`--attend` needs a process id and a program");
        return ExitCode::from(2);
    };
    let parent = parent.to_str().and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw);
    match attend(parent, program, rest) {
        Ok((status, left)) => {
            if left > 0 {
                log(&format!("ended what `{}` left running: {left} processes", program.display()));
            }
            ExitCode::from(status)
        }
        Err(error) => {
            log(&format!("cannot start `{}`: {error}", program.display()));
            ExitCode::from(127)
        }
    }
}

fn mount(arguments: &[OsString]) -> ExitCode {
    let socket = std::env::var_os("SSH_AUTH_SOCK");
    // What else stands there makes one step another one than the last, to the builder.
    let (Some(socket), [number, path, ..]) = (socket, arguments) else {
        log("`mount` needs a number, a path, and a socket in SSH_AUTH_SOCK");
        return ExitCode::from(2);
    };
    let number = number.to_str().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    match splitci_worker::mounts::serve(number, path.as_ref(), socket.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&chain(&error));
            ExitCode::from(4)
        }
    }
}

fn supervise() -> ExitCode {
    match run(Settings { env: std::env::vars_os().collect() }) {
        Ok((status, reason)) => {
            if let Some(reason) = reason {
                log(&reason);
            }
            ExitCode::from(status)
        }
        Err(error) => {
            log(&chain(&error));
            ExitCode::from(4)
        }
    }
}

fn drive(command: &[OsString]) -> ExitCode {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    splitci_worker::generic::run(words).unwrap_or_else(|error| {
        log(&chain(&error));
        ExitCode::from(4)
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn log(text: &str) {
    // Nobody may be left to read it.
    writeln!(std::io::stderr(), "splitci-worker: {text}").ok();
}
