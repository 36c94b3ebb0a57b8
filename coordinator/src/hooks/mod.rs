//! Programs of the user's own that may stop a deployment, and somebody who is told how it goes.
//!
//! | there | is |
//! |---|---|
//! | [`message`] | what they get: one JSON object |
//! | `post` | an address of a chat |
//!
//! A hook that is asked can say no and nothing else: by a status that is not 0, by not being done in time, by not starting. Its yes changes nothing, for what may be deployed
//! is the gate's to say. Whoever is told has no say at all, and a failure there is a warning.
//!
//! A program runs in the project's directory. It gets the caller's variables without those that begin with `SPLITCI_`, which have the passphrase of the signing key and
//! logins of registries among them; none of the app's own variables; and on standard input a [`Message`]. It has the rights of whoever deploys: who may change
//! the configuration, or the program, deploys what they like, as with all of the work tree.

pub mod message;
mod post;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use message::{Message, Place, Point, Report};
pub use post::Unposted;

use crate::model::hook::{HookSettings, StatusTarget};
pub use crate::program::Failed;
use crate::program::Program;

/// The most that telling may take: nobody waits longer for a deployment because of a chat.
const TELLS: Duration = Duration::from_secs(10);
/// So many lines of a hook are handed on.
const LINES: usize = 10;

/// The hooks of an environment, with what it takes to run them.
#[derive(Clone, Default)]
pub struct Hooks {
    settings: HookSettings,
    /// Programs run there.
    directory: PathBuf,
    /// The caller's variables.
    env: BTreeMap<String, String>,
}

/// Values of variables are not shown.
impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("settings", &self.settings).field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// A no.
#[derive(Debug, thiserror::Error)]
#[error("the hook `{point}` says no")]
pub struct Veto {
    /// Who was asked.
    pub point: Point,
    /// Why it counts as a no.
    #[source]
    pub why: Failed,
    /// The last lines that the program printed. They are for people, and in no journal, since nobody knows what is in them.
    pub last: String,
}

/// Nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// The program failed.
    #[error("the program `{program}` was not told how it goes{}", if last.is_empty() { String::new() } else { format!(" (it printed `{last}`)") })]
    Program {
        /// Its name.
        program: String,
        /// Its last line.
        last: String,
        /// How.
        #[source]
        cause: Failed,
    },
    /// The variable is not there.
    #[error("nobody was told how it goes: the variable `{0}` is not set")]
    NoVariable(String),
    /// An address. Which is not said, for whoever has it can write there.
    #[error("nobody was told how it goes")]
    Address(#[from] Unposted),
}

impl Hooks {
    /// Those of an environment, for a caller with these variables.
    pub fn new(settings: HookSettings, directory: PathBuf, env: BTreeMap<String, String>) -> Self {
        Self { settings, directory, env }
    }

    /// Whether there is somebody to ask.
    pub fn has_to_be_asked(&self, point: Point) -> bool {
        !self.words(point).is_empty()
    }

    /// Asks whether something may go on. Where nobody is to be asked it may. Dropped, it kills who is being asked.
    ///
    /// # Errors
    /// Somebody says no.
    pub async fn ask(&self, point: Point, message: &Message) -> Result<(), Veto> {
        let Some(program) = self.program(self.words(point), Duration::from_millis(self.settings.timeout_ms)) else { return Ok(()) };
        let ended = program.run(message.line()).await;
        ended.result.map_err(|why| Veto { point, why, last: ended.last })
    }

    /// Tells how it goes, within 10 s.
    ///
    /// # Errors
    /// It could not be told, which is no reason to stop.
    pub async fn tell(&self, message: &Message) -> Result<(), Untold> {
        let address = match &self.settings.status {
            None => return Ok(()),
            Some(StatusTarget::Program(words)) => return self.tell_program(words, message).await,
            Some(StatusTarget::Address(address)) => &address.0,
            Some(StatusTarget::Variable(name)) => {
                self.env.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Untold::NoVariable(name.clone()))?
            }
        };
        Ok(post::send(address.trim(), message.line(), TELLS).await?)
    }

    /// Runs another program of the user's as hooks are run: there, with those variables, with nothing on standard input, and killed with all that it started.
    ///
    /// # Errors
    /// It did not end well in time: why, and its last lines, so many at most and 8 KiB.
    pub async fn run(&self, words: &[String], limit: Duration, lines: usize) -> Result<(), (Failed, String)> {
        let Some(program) = self.program(words, limit) else { return Ok(()) };
        let ended = Program { lines, ..program }.run(Vec::new()).await;
        ended.result.map_err(|why| (why, ended.last))
    }

    fn words(&self, point: Point) -> &[String] {
        match point {
            Point::BeforeDeploy => &self.settings.before_deploy,
            Point::BeforeSwitch => &self.settings.before_switch,
            Point::Started | Point::Ended => &[],
        }
    }

    async fn tell_program(&self, words: &[String], message: &Message) -> Result<(), Untold> {
        let Some(program) = self.program(words, TELLS.min(Duration::from_millis(self.settings.timeout_ms))) else { return Ok(()) };
        let ended = program.run(message.line()).await;
        let last = ended.last.lines().next_back().unwrap_or_default().to_owned();
        ended.result.map_err(|cause| Untold::Program { program: words.first().cloned().unwrap_or_default(), last, cause })
    }

    fn program<'a>(&'a self, words: &'a [String], limit: Duration) -> Option<Program<'a>> {
        let (name, arguments) = words.split_first()?;
        Some(Program { name, arguments, directory: &self.directory, env: &self.env, limit, lines: LINES })
    }
}
