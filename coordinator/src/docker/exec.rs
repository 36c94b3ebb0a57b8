//! A second process in a container that runs, with a terminal of its own.

use tokio::io::{AsyncRead, AsyncWrite};

use super::attach::Stdout;
use super::container::{StderrTail, short};
use super::{Docker, DockerError, SHORT};

/// What shall run on the terminal.
#[derive(Debug, Clone, Default)]
pub struct TerminalSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables over those of the container, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory instead of the container's.
    pub workdir: Option<String>,
}

/// The terminal's other end.
pub struct OpenTerminal {
    /// Names it to the engine.
    pub id: String,
    /// What is typed.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What is shown; ends with the process.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
}

impl Docker {
    /// Starts a process in a container, on a terminal.
    pub async fn open_terminal(&self, container: &str, spec: &TerminalSpec) -> Result<OpenTerminal, DockerError> {
        use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
        let attempt = || format!("start `{}` in the container `{}`", spec.command.join(" "), short(container));
        let wanted = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(true),
            env: Some(spec.env.clone()),
            cmd: Some(spec.command.clone()),
            working_dir: spec.workdir.clone(),
            ..CreateExecOptions::default()
        };
        let id = self.call(attempt, SHORT, self.client.create_exec(container, wanted)).await?.id;
        let options = StartExecOptions { tty: true, ..StartExecOptions::default() };
        match self.call(attempt, SHORT, self.client.start_exec(&id, Some(options))).await? {
            StartExecResults::Attached { output, input } => {
                // A terminal has one output: nothing is set aside.
                let output = Box::new(Stdout::new(output, StderrTail::default()));
                Ok(OpenTerminal { id, input: Box::new(input), output })
            }
            StartExecResults::Detached => Err(DockerError::GivenUp { attempt: attempt() }),
        }
    }

    /// Tells a terminal its size: columns and rows.
    pub async fn resize_terminal(&self, id: &str, (width, height): (u16, u16)) -> Result<(), DockerError> {
        let size = bollard::exec::ResizeExecOptions { width, height };
        self.call(|| "resize the terminal".to_owned(), SHORT, self.client.resize_exec(id, size)).await
    }

    /// How a terminal's process ended; nothing while it runs.
    pub async fn terminal_status(&self, id: &str) -> Result<Option<i32>, DockerError> {
        let found = self.call(|| "ask how the terminal's process ended".to_owned(), SHORT, self.client.inspect_exec(id)).await?;
        Ok(found.exit_code.filter(|_| found.running == Some(false)).and_then(|code| i32::try_from(code).ok()))
    }
}
