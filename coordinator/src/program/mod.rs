//! Programs of the user's own, each with a deadline: fed once, listened to, and killed with all that it started. However much one prints and whatever it leaves
//! behind, it takes no more memory than what is kept of it and no more time than its limit and a moment.
//!
//! Two ways to listen: [`Program::run`] keeps the last lines of all that it prints, [`Program::ask`] takes its standard output as the answer, whole or not at all. A program
//! gets the caller's variables without those that begin with `SPLITCI_`, which have the private key, its passphrase and logins of registries among them.
//!
//! Not here: what a program is started for, and what its end means. Hooks and signers know that.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, PipeWriter};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, pending, select, try_join};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// So much is kept of what it prints.
const KEPT: usize = 8 << 10;
/// The most bytes of an answer.
const ANSWER: usize = 16 << 10;
/// So long its output is read after its end: who left its process group may hold the other side for ever.
const REST: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// Its name, or its path from the directory.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a [String],
    /// Where it runs.
    pub directory: &'a Path,
    /// The caller's variables.
    pub env: &'a BTreeMap<String, String>,
    /// For so long it is waited for.
    pub limit: Duration,
    /// So many of its last lines are handed on.
    pub lines: usize,
}

/// Values of variables are not shown, nor are arguments.
impl fmt::Debug for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Ended<T> {
    /// Whether it ended well, and with what.
    pub result: Result<T, Failed>,
    /// Its last lines, of all its outputs that were no answer, in the order in which it wrote them.
    pub last: String,
}

/// Why a program did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It said so.
    #[error("it ended with status {0}")]
    Status(i32),
    /// It was killed.
    #[error("it was not done within {} s", .0.as_secs_f64())]
    Overdue(Duration),
    /// It was killed, since nobody wants to know all that.
    #[error("it printed more than {ANSWER} bytes")]
    Endless,
    /// There is no such program, or it cannot be run.
    #[error("it cannot be started")]
    NotStarted(#[source] io::Error),
    /// The system did not say how it ended.
    #[error("nobody knows how it ended")]
    Lost(#[source] io::Error),
}

impl Program<'_> {
    /// Runs it. Dropped, it kills it.
    pub async fn run(&self, input: Vec<u8>) -> Ended<()> {
        let mut kept = Vec::new();
        // One pipe for both, so that lines stay in their order.
        let started = pipe().and_then(|(output, writer)| Ok((self.start(writer.try_clone()?, writer)?, output)));
        let result = match started {
            Ok((child, output)) => self.attend(child, input, listen(output, &mut kept)).await,
            Err(cause) => Err(Failed::NotStarted(cause)),
        };
        Ended { result, last: last_lines(&kept, self.lines) }
    }

    /// Runs it for what it prints. Dropped, it kills it.
    pub async fn ask(&self, input: Vec<u8>) -> Ended<Vec<u8>> {
        let (mut answer, mut kept) = (Vec::new(), Vec::new());
        let started = pipe().and_then(|(output, writer)| {
            let (errors, other) = pipe()?;
            Ok((self.start(writer, other)?, output, errors))
        });
        let result = match started {
            Ok((child, output, errors)) => {
                let listening = try_join(hear(output, &mut answer), listen(errors, &mut kept));
                self.attend(child, input, async { listening.await.map(drop) }).await
            }
            Err(cause) => Err(Failed::NotStarted(cause)),
        };
        Ended { result: result.map(|()| answer), last: last_lines(&kept, self.lines) }
    }

    /// Our sides of the pipes go with the command: with one of them open, the output would have no end.
    fn start(&self, stdout: PipeWriter, stderr: PipeWriter) -> io::Result<Child> {
        Command::new(self.path())
            .args(self.arguments)
            .current_dir(self.directory)
            .env_clear()
            .envs(self.env.iter().filter(|(name, _)| !name.starts_with("SPLITCI_")))
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// What is no bare name is relative to the project, wherever we are.
    fn path(&self) -> PathBuf {
        if self.name.contains('/') { self.directory.join(self.name) } else { PathBuf::from(self.name) }
    }

    async fn attend(&self, mut child: Child, input: Vec<u8>, listening: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
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
        match select(pin!(ends), pin!(listening)).await {
            // What is not there a moment later is missed.
            Either::Left((result, listening)) => result.and(timeout(REST, listening).await.unwrap_or(Ok(()))),
            Either::Right((Ok(()), ending)) => ending.await,
            Either::Right((heard, _)) => heard,
        }
    }
}

/// Both ends of what it writes to.
fn pipe() -> io::Result<(Receiver, PipeWriter)> {
    let (output, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(output.into())?, writer))
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

/// Keeps the end of it.
async fn listen(mut output: Receiver, kept: &mut Vec<u8>) -> Result<(), Failed> {
    let mut piece = vec![0; KEPT];
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        kept.extend_from_slice(piece.get(..length).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    Ok(())
}

/// Keeps all of it, as far as there is an end.
async fn hear(output: Receiver, answer: &mut Vec<u8>) -> Result<(), Failed> {
    // What cannot be read is missing from the answer, which whoever asked finds out.
    let _read = output.take(ANSWER as u64 + 1).read_to_end(answer).await;
    if answer.len() > ANSWER { Err(Failed::Endless) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(script: &str, limit_ms: u64) -> Ended<Vec<u8>> {
        let (arguments, env) = (["-c".to_owned(), script.to_owned()], [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into());
        let limit = Duration::from_millis(limit_ms);
        let program = Program { name: "sh", arguments: &arguments, directory: Path::new("/"), env: &env, limit, lines: 2 };
        program.ask(b"in".to_vec()).await
    }

    #[tokio::test]
    async fn an_answer_is_what_it_prints_and_its_errors_are_none() {
        let ended = ask("echo one >&2; cat; echo two >&2; echo three >&2", 30_000).await;
        assert_eq!((ended.result.expect("answered").as_slice(), ended.last.as_str()), (b"in".as_slice(), "two\nthree"));
        let most = ask("head -c 16384 /dev/zero", 30_000).await.result.expect("answered");
        assert_eq!(most.len(), ANSWER);
        let failed = ask("echo yes; echo no >&2; exit 3", 30_000).await;
        assert!(matches!(failed.result, Err(Failed::Status(3))) && failed.last == "no", "{failed:?}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_none_and_is_not_waited_for() {
        for script in ["yes", "head -c 16385 /dev/zero", "sleep 300 & yes"] {
            let ended = ask(script, 60_000).await;
            assert!(matches!(ended.result, Err(Failed::Endless)), "{script}: {ended:?}");
        }
        let silent = ask("echo yes; sleep 300", 300).await;
        assert!(matches!(silent.result, Err(Failed::Overdue(_))), "{silent:?}");
    }
}
