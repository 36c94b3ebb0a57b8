//! A program on the caller's own terminal, and nothing of it when it or the caller is gone: for the shell of `splitci repro`.
//!
//! This process stays between the two. It is the subreaper of whatever the program starts, so that jobs left in the background are found; it looks
//! every moment whether its parent still lives, for a parent that is killed cannot say so.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_child_subreaper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::live::end_descendants;

/// Between two looks.
const MOMENT: Duration = Duration::from_millis(20);
/// How long a program may take to end that was hung up.
const HUNG_UP: Duration = Duration::from_secs(1);

/// Runs `program` until it ends, or until `parent` does. Gives its status (128 + signal), and how many processes it left, which are gone by then.
pub fn attend(parent: Option<Pid>, program: &OsString, arguments: &[OsString]) -> io::Result<(u8, usize)> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told))?;
    }
    // Keys are the program's. A handler, and not "ignore", which the program would inherit.
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    set_child_subreaper(Some(getpid()))?;
    let mut child = Command::new(program).args(arguments).spawn()?;
    let mut hung_up_at = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let unwanted = told.load(Ordering::Relaxed) || parent.is_none() || getppid() != parent;
        match hung_up_at {
            None if unwanted => {
                // A hang-up first: a shell passes it on to its jobs, and keeps its history.
                let shell = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                shell.map(|shell| kill_process(shell, Signal::HUP)).transpose()?;
                hung_up_at = Some(Instant::now());
            }
            Some(at) if at.elapsed() > HUNG_UP => {
                end_descendants();
                break child.wait()?;
            }
            _ => std::thread::sleep(MOMENT),
        }
    };
    Ok((code(status), end_descendants().len()))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
