//! The framework's process: start it, signal it, reap it. The only file with `unsafe`: `pre_exec`, `wait4` and real-time signals have no safe form.
//!
//! The child gets its own process group, `/dev/null` as input, pipes as output, a death signal in case the worker dies, and a higher score for the
//! kernel's memory killer, so that it goes before the worker does.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Access;
use rustix::process::{
    Pid, Signal, getpid, getppid, ioctl_tiocsctty, kill_process, kill_process_group, set_parent_process_death_signal, setsid,
};

use super::environment::Environment;
use super::terminal;
use crate::protocol::message::{Exit, Start};

/// What `execvp` searches without a `PATH`, extended to what container engines set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More room than the default 64 KiB spares wake-ups while a framework prints much; below what an unprivileged user may ask for.
const PIPE_SIZE: usize = 256 << 10;

/// The word of a command that stands for this very program.
const OWN_PROGRAM: &str = "{worker}";

/// A framework cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// Nothing to start.
    #[error("cannot start a framework: the command is empty")]
    Empty,
    /// No such program.
    #[error("cannot start `{program}`: not found in PATH `{path}`")]
    NotFound {
        /// `argv[0]`.
        program: String,
        /// What was searched.
        path: String,
    },
    /// The working directory is not there.
    #[error("cannot start `{program}` in `{cwd}`")]
    Cwd {
        /// `argv[0]`.
        program: String,
        /// Where.
        cwd: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The system says no.
    #[error("cannot start `{program}`")]
    Exec {
        /// `argv[0]`.
        program: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// A started process and what it prints.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// Our side of its terminal, if it has one; what it shows is read as its standard output.
    pub(super) terminal: Option<OwnedFd>,
}

/// Starts the command.
pub(super) fn spawn(start: &Start, env: &Environment) -> Result<Process, SpawnError> {
    let argv: Vec<OsString> = start.argv.iter().map(|word| own_program(word)).collect();
    let program = start.argv.first().ok_or(SpawnError::Empty)?.clone();
    if let Some(cwd) = &start.cwd {
        fs_err::read_dir(cwd).map(drop).map_err(|cause| SpawnError::Cwd { program: program.clone(), cwd: cwd.clone(), cause })?;
    }
    let found = if program == OWN_PROGRAM { PathBuf::from(&argv[0]) } else { find(&program, env.get(OsStr::new("PATH")))? };
    let mut command = Command::new(found);
    command.arg0(&argv[0]).args(&argv[1..]).env_clear().envs(env);
    let failed = |cause: std::io::Error| SpawnError::Exec { program: program.clone(), cause };
    let terminal = start.terminal.map(|size| terminal::attach(&mut command, size)).transpose().map_err(|error| failed(error.into()))?;
    if terminal.is_none() {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    }
    if let Some(cwd) = &start.cwd {
        command.current_dir(cwd);
    }
    before_it_executes(&mut command, terminal.is_some());
    let mut child = command.spawn().map_err(failed)?;
    // Our copies of the terminal's other side go, so that its end is seen.
    drop(command);
    let gone = || SpawnError::Exec { program: program.clone(), cause: std::io::ErrorKind::InvalidData.into() };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    // From outside, once it has executed: before that the child is as little dumpable as the worker, and its own file belongs to root. A refusal does no harm.
    fs_err::write(format!("/proc/{pid}/oom_score_adj"), "500").ok();
    Ok(Process {
        pid,
        stdout: match &terminal {
            Some(terminal) => Some(reading(terminal.try_clone().map_err(failed)?)),
            None => child.stdout.take().map(|pipe| reading(pipe.into())),
        },
        stderr: child.stderr.take().map(|pipe| reading(pipe.into())),
        terminal,
    })
}

/// A word of a command: the worker's own program has a path that only the worker knows.
fn own_program(word: &str) -> OsString {
    let own = (word == OWN_PROGRAM).then(|| std::env::current_exe().ok()).flatten();
    own.map_or_else(|| word.into(), PathBuf::into_os_string)
}

fn reading(pipe: OwnedFd) -> OwnedFd {
    // Neither can fail in a way that matters: a small pipe is slower, and reads are only made after poll.
    rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_SIZE).ok();
    rustix::io::ioctl_fionbio(&pipe, true).ok();
    pipe
}

/// The child dies with this thread, and takes its terminal as its own.
#[expect(unsafe_code, reason = "a death signal and a controlling terminal can only be set by the child itself, between fork and exec")]
fn before_it_executes(command: &mut Command, terminal: bool) {
    let worker = getpid();
    let hook = move || {
        if terminal {
            setsid()?;
            ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the worker died before that line, no signal would come any more.
        if getppid() == Some(worker) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The hook makes four system calls at most, straight to the kernel; it
    // takes no lock, touches no memory but its own copy of a pid, and converts an error number without allocating. The worker has one thread, so
    // no lock of another can be held in the child either. Test: `killing_the_worker_kills_the_framework`.
    unsafe {
        command.pre_exec(hook);
    }
}

/// `argv[0]` as the child would find it: in its own `PATH`, not the worker's.
fn find(program: &str, path: Option<&OsString>) -> Result<PathBuf, SpawnError> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|dir| Path::new(OsStr::from_bytes(if dir.is_empty() { b"." } else { dir })).join(program))
        .find(|file| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok())
        .ok_or_else(|| SpawnError::NotFound { program: program.to_owned(), path: path.to_string_lossy().into_owned() })
}

/// A reaped child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reaped {
    pub(super) pid: Pid,
    pub(super) how: Exit,
    pub(super) peak_rss: u64,
}

/// What there is to reap.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reap {
    One(Reaped),
    /// Children live, none has ended.
    Later,
    /// There are no children, so there are no descendants either: every chain of parents ends at a child of ours.
    NoChildren,
}

/// Reaps one child, if one has ended.
#[expect(unsafe_code, reason = "no safe wrapper gives a child's resource usage with its status")]
pub(super) fn reap() -> Reap {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live, writable locals of the types that wait4 fills, and are not kept. Test: `peak_memory_and_status_are_told`.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match (pid, Pid::from_raw(pid.max(0))) {
        (1.., Some(pid)) => {
            let how = if libc::WIFSIGNALED(status) { Exit::Signal(libc::WTERMSIG(status)) } else { Exit::Code(libc::WEXITSTATUS(status)) };
            Reap::One(Reaped { pid, how, peak_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024 })
        }
        (0, _) => Reap::Later,
        _ => Reap::NoChildren,
    }
}

/// Sends a signal to a process; one that is gone already does not matter.
pub(super) fn signal(pid: i32, number: i32) {
    // 1 and below name more than one process, or the one that is nobody's child.
    if let (Some(pid), Some(signal)) = (Pid::from_raw(pid.max(0)).filter(|pid| !pid.is_init()), numbered(number)) {
        kill_process(pid, signal).ok();
    }
}

/// Sends a signal to a process group whose leader has not been reaped, so that its number cannot be somebody else's.
pub(super) fn signal_group(leader: Pid, number: i32) {
    if let Some(signal) = numbered(number) {
        kill_process_group(leader, signal).ok();
    }
}

/// The signal with this number: a named one, or a real-time one, which drivers like for their stacks because nothing else uses them.
#[expect(unsafe_code, reason = "there is no checked way to name a real-time signal")]
fn numbered(number: i32) -> Option<Signal> {
    let real_time = || {
        // SAFETY: what must not be forged are the numbers that a C library keeps for itself: 32 and 33 in glibc, 34 too in musl. They are outside of the
        // range; and the signal is only ever sent to other processes. Test: `a_test_that_never_ends_prints_its_stacks_and_is_terminated`.
        (35..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
    };
    Signal::from_named_raw(number).or_else(real_time)
}
