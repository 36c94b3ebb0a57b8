//! A program with a deadline: fed one line, listened to, and killed with all that it started. However much it prints and whatever it leaves behind, it
//! takes no more memory than its last lines and no more time than its limit and a moment.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, pending, select};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Failed;

/// So much is kept of what it prints.
const KEPT: usize = 8 << 10;
/// So long its output is read after its end: who left its process group may hold the other side for ever.
const REST: Duration = Duration::from_secs(1);

/// What is to be run.
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a [String],
    pub(super) directory: &'a Path,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) limit: Duration,
    /// So many of its last lines are handed on.
    pub(super) lines: usize,
}

/// What came of it.
pub(super) struct Ended {
    pub(super) result: Result<(), Failed>,
    /// Its last lines, of both its outputs in the order in which it wrote them.
    pub(super) last: String,
}

impl Program<'_> {
    /// Runs it. Dropped, it kills it.
    pub(super) async fn run(&self, input: Vec<u8>) -> Ended {
        match self.start() {
            Ok((child, output)) => self.attend(child, output, input).await,
            Err(cause) => Ended { result: Err(Failed::NotStarted(cause)), last: String::new() },
        }
    }

    fn start(&self) -> io::Result<(Child, Receiver)> {
        // One pipe for both, so that lines stay in their order.
        let (output, writer) = io::pipe()?;
        let output = Receiver::from_owned_fd(output.into())?;
        // Our side of the pipe goes with the command: with it open, the output would have no end.
        let child = Command::new(self.path())
            .args(self.arguments)
            .current_dir(self.directory)
            .env_clear()
            .envs(self.env.iter().filter(|(name, _)| !name.starts_with("SPLITCI_")))
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, output))
    }

    /// What is no bare name is relative to the project, wherever we are.
    fn path(&self) -> PathBuf {
        if self.name.contains('/') { self.directory.join(self.name) } else { PathBuf::from(self.name) }
    }

    async fn attend(&self, mut child: Child, mut output: Receiver, input: Vec<u8>) -> Ended {
        let mut kept = Vec::new();
        let group = Group::of(&child);
        let ends = async {
            let ended = timeout(self.limit, feed_and_wait(&mut child, &input)).await;
            // With it goes what it left behind, which closes the output, too.
            drop(group);
            match ended {
                Ok(Ok(status)) if status.success() => Ok(()),
                Ok(Ok(status)) => Err(Failed::Status(number(status))),
                Ok(Err(cause)) => Err(Failed::Lost(cause)),
                Err(_) => Err(Failed::Overdue(self.limit)),
            }
        };
        let result = match select(pin!(ends), pin!(listen(&mut output, &mut kept))).await {
            Either::Left((result, listening)) => {
                // What is not there by then is missed.
                let _heard = timeout(REST, listening).await;
                result
            }
            Either::Right(((), ending)) => ending.await,
        };
        Ended { result, last: last_lines(&kept, self.lines) }
    }
}

/// A program that does not read what it is told is none the worse for it.
async fn feed_and_wait(child: &mut Child, input: &[u8]) -> io::Result<ExitStatus> {
    let stdin = child.stdin.take();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            let _read = stdin.write_all(input).await;
        }
        // Closed by now: that is how the program knows that there is no more.
        pending::<()>().await;
    };
    tokio::select! {
        status = child.wait() => status,
        () = feeding => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn listen(output: &mut Receiver, kept: &mut Vec<u8>) {
    let mut piece = vec![0; KEPT];
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        kept.extend_from_slice(piece.get(..length).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
}

fn last_lines(kept: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(kept);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().join("\n")
}

fn number(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The processes of a program. They end with it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It fails where all of them have ended.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}
