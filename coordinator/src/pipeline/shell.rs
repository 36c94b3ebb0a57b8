//! `splitci repro --shell`: a shell where the tests of a session ran, with everything that they were given, and no test run.

use std::sync::Arc;

use super::ground::{Ground, prepare};
use super::launches::launcher;
use super::repro::Past;
use super::{Controls, PipelineError, ReproRequest, World};
use crate::engine::{Inside, ShardSpec, Shell};
use crate::history::History;
use crate::model::{Listener, SessionId, ShardId, SuiteId};

/// Files that are named before the prompt; there may be thousands.
const NAMED: usize = 8;

/// A shell that is open, and what its user should know before the first prompt.
pub struct OpenShell {
    /// A sentence or a command each.
    pub said: Vec<String>,
    /// The shell.
    pub shell: Shell,
}

/// Opens it. Without a shard or a test named, it is the place of the first session that had failures.
pub async fn shell(
    request: &ReproRequest,
    world: &World,
    listener: Arc<dyn Listener>,
    mut controls: Controls,
) -> Result<OpenShell, PipelineError> {
    let history = History::open(&request.project.records.state)?;
    let run = history.resolve(&request.run)?;
    let past = Past::read(&history, &run)?;
    let sessions = past.wanted(request)?;
    // There is at least one, or there was an error.
    let session = sessions.first().copied().unwrap_or(SessionId { shard: ShardId(1), number: 1 });
    let job = past.job(request, session, world);
    let opening = async {
        let ground = prepare(&job, world, listener.as_ref()).await?;
        let launch = launcher(&job, &ground, world)?(session, SuiteId::default());
        // What is for our driver alone is of no use to anybody else.
        let told = |name: &str| !name.starts_with("SPLITCI_") || matches!(name, "SPLITCI_SHARD" | "SPLITCI_SHARDS");
        let env = launch.env.into_iter().filter(|(name, _)| told(name)).collect();
        let inside = Inside { entrypoint: ground.entrypoint.clone(), env, cwd: launch.cwd };
        let spec = ShardSpec { run: ground.run.0.clone(), shard: session.shard, restarts: 0 };
        let shell = ground.engine.shell(&spec, &inside).await?;
        Ok::<_, PipelineError>((shell, ground))
    };
    let (shell, ground) = tokio::select! {
        opened = opening => opened?,
        Some(_) = controls.recv() => return Err(PipelineError::Interrupted),
    };
    let mut said = vec![place(&run.0, session, &ground, &shell, past.image_name())];
    let suite = job.settings.suites.first().cloned().unwrap_or_default();
    said.extend(Past::files_of(&job, &suite).map(|files| ran(&suite.command, &files)));
    if let [_, others @ ..] = sessions.as_slice()
        && !others.is_empty()
    {
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        said.push(format!("sessions {} had failures too; `--shard` chooses", others.join(", ")));
    }
    said.extend(job.notices.iter().cloned());
    said.extend(ground.notices.iter().cloned());
    Ok(OpenShell { said, shell })
}

fn place(run: &str, session: SessionId, ground: &Ground, shell: &Shell, image: Option<&str>) -> String {
    let whose = format!("this is where session {session} of run {run} ran");
    match (shell, image) {
        (Shell::There(_), Some(image)) => {
            format!("{whose}: {image}, in a container of its own, which is gone when you leave (`exit`)")
        }
        (Shell::There(_), None) => format!("{whose}, in a container of its own, which is gone when you leave (`exit`)"),
        (Shell::Here(here), _) => {
            let directory = ground.cwd.clone().unwrap_or_else(|| here.directory.display().to_string());
            format!("{whose}: {directory}, with its environment; nothing is isolated, and what still runs when you leave is killed")
        }
    }
}

fn ran(command: &[String], files: &[String]) -> String {
    let more = files.len().saturating_sub(NAMED);
    let named = files.iter().take(NAMED).map(|file| quoted(file)).collect::<Vec<_>>().join(" ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let command = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    format!("its framework was started as `{command}` and ran, in this order: {named}{rest}")
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        assert_eq!(quoted("tests/test_a.py"), "tests/test_a.py");
        assert_eq!(quoted("not slow"), "'not slow'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_long_list_of_files_is_cut() {
        let files: Vec<_> = (0..10).map(|n| format!("t{n}.py")).collect();
        let command = ["pytest".to_owned(), "-k".to_owned(), "not slow".to_owned()];
        let text = ran(&command, &files);
        assert!(text.contains("`pytest -k 'not slow'`") && text.ends_with("t7.py and 2 more"), "{text}");
    }
}
