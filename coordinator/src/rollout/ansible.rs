//! Effects carried out by a playbook of the environment's owner, one run of `ansible-playbook` for all that do not depend on each other.
//!
//! The order, the journal, the lock and every decision stay ours; the playbook gets steps and does them. What it says of itself is written down and believed
//! nowhere: whether something is so is observed at the engines and balancers, as ever. A server is let in only by the line that it is handed, and that holds
//! nobody who has not proven itself at that moment; when it is told, and whether in one go, is the playbook's doing. So the promises of no lost request and no
//! mixed versions are those of the playbook.
//!
//! It finds one variable, `splitci`, see [`Call`]. Values of the app's own variables are in it: it travels in a file that nobody else may read, and is gone
//! afterwards.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::act::{Failure, Hands, changes};
use crate::balancer::Change;
use crate::deployment::{Effect, Evidence};
use crate::docker::service::ServiceSpec;
use crate::fleet::instance;
use crate::hooks::{Failed, Hooks};
use crate::model::chain;

/// So much of the end of what a playbook says is written down.
const SHOWN: usize = 600;
/// So many of its last lines are looked through for what went wrong: behind that are a line for each host.
const LINES: usize = 200;

/// The environment's playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ansible {
    /// The program: `ansible-playbook`, wherever it is found.
    pub program: PathBuf,
    /// What is played.
    pub playbook: PathBuf,
    /// Where its hosts are: a slot is the host of its name, or a variable of one.
    pub inventory: PathBuf,
    /// A folder for the file of variables.
    pub folder: PathBuf,
}

/// The variable that a playbook finds, `splitci`.
#[derive(Debug, Serialize)]
struct Call {
    environment: String,
    deploy: String,
    fence: u64,
    steps: Vec<Order>,
}

/// A step of it.
#[derive(Debug, Serialize)]
struct Order {
    /// The slot at whose engine it is done; empty for a balancer's.
    slot: String,
    #[serde(flatten)]
    step: Step,
}

/// What is to be done.
#[derive(Debug, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Step {
    /// Bring an image to the slot's engine, by its digest.
    Pull { reference: String },
    /// Tell the balancer at this address this line, in one go.
    Balance { balancer: String, line: String },
    /// Stop a container within so many seconds. It is kept.
    Stop { container: String, grace: u64 },
    /// The engine starts it not again when it ends, and it has this name, if it is to have another one.
    SetAside { container: String, name: Option<String> },
    /// The engine starts it again when it ends, and it has this name, if it is to have another one.
    TakeBack { container: String, name: Option<String> },
    /// Make a container, without starting it.
    Create(Box<Container>),
    /// Start it.
    Start { container: String },
    /// Remove it; it does not run.
    Remove { container: String },
}

/// A container that is to be made.
#[derive(Debug, Serialize)]
struct Container {
    name: String,
    image: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// `address:port:port`.
    publish: Vec<String>,
    /// The network that it is in; empty for the engine's own.
    network: String,
    /// Its address in that network; empty for one that the engine chooses.
    address: String,
    /// The engine starts it again when it ends.
    restart: bool,
}

impl Ansible {
    /// Does all of these in one run. What needs nothing is not asked for, what may not be done neither.
    pub(super) async fn perform(&self, hands: &Hands<'_>, effects: &[Effect]) -> Vec<Evidence> {
        let mut steps = Vec::new();
        let mut parts = Vec::new();
        for effect in effects {
            let orders = orders(hands, effect).await;
            parts.push(orders.map(|orders| {
                let any = !orders.is_empty();
                steps.extend(orders);
                any
            }));
        }
        let environment = hands.site.environment.name.clone();
        let call = Call { environment, deploy: hands.plan.deploy.0.clone(), fence: hands.fence.0, steps };
        // What stops is waited for by the playbook.
        let graces = call.steps.iter().filter_map(|order| if let Step::Stop { grace, .. } = &order.step { Some(*grace) } else { None });
        let within = Duration::from_millis(hands.site.environment.deadlines.batch_ms) + Duration::from_secs(graces.max().unwrap_or(0));
        let played = if call.steps.is_empty() { Ok(String::new()) } else { self.play(&hands.site.hooks, &call, within).await };
        let evidence = |part: Result<bool, Failure>| match part {
            Ok(true) => played.clone().map_err(Failure::Failed).into(),
            Ok(false) => Evidence::Seen("there was nothing to do".to_owned()),
            Err(failure) => Err(failure).into(),
        };
        parts.into_iter().map(evidence).collect()
    }

    /// Plays it to its end, as hooks are run. What it said of what went wrong, if it failed.
    async fn play(&self, hooks: &Hooks, call: &Call, within: Duration) -> Result<String, String> {
        let file = Variables::write(&self.folder, call).map_err(|error| format!("cannot write the playbook's variables: {error}"))?;
        let word = |path: &Path| path.display().to_string();
        let variables = format!("@{}", word(&file.0));
        let words =
            [word(&self.program), "--inventory".into(), word(&self.inventory), "--extra-vars".into(), variables, word(&self.playbook)];
        match hooks.run(&words, within, LINES).await {
            Ok(()) => Ok("played".to_owned()),
            Err((why, said)) => {
                let why = match why {
                    Failed::Status(2) => "a task failed".to_owned(),
                    Failed::Status(4) => "a host cannot be reached".to_owned(),
                    other => chain(&other),
                };
                Err(format!("the playbook `{}`: {why}: {}", self.playbook.display(), shown(&said)))
            }
        }
    }
}

/// The lines that say what went wrong, or the last ones.
fn shown(said: &str) -> String {
    let wrong = |line: &&str| line.starts_with("fatal:") || line.starts_with("ERROR") || line.starts_with("failed:");
    let lines: Vec<&str> = said.lines().filter(wrong).collect();
    let text = if lines.is_empty() { said.trim().to_owned() } else { lines.join(" ") };
    let from = text.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

/// The file of variables, gone when dropped.
struct Variables(PathBuf);

impl Variables {
    fn write(folder: &Path, call: &Call) -> std::io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        // What a process that was killed could not take away. Who plays here has the lock, so that nobody else reads one now.
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                fs_err::remove_file(path)?;
            }
        }
        let path = folder.join(format!("{}.json", ulid::Ulid::generate()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Self(path);
        let text = serde_json::to_vec(&BTreeMap::from([("splitci", call)]))?;
        file.write_all(&text)?;
        Ok(written)
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        // It was ours to make, and nobody else knows its name.
        fs_err::remove_file(&self.0).ok();
    }
}

/// What a playbook is told to do for an effect.
async fn orders(hands: &Hands<'_>, effect: &Effect) -> Result<Vec<Order>, Failure> {
    let step = match effect {
        Effect::Balance(turns) | Effect::Swap(turns) => {
            let mut orders = Vec::new();
            for (balancer, backend) in &hands.site.balancers {
                let changes = changes((balancer, backend), turns).await?;
                let step = Step::Balance { balancer: balancer.endpoint().to_string(), line: Change::line(&changes) };
                orders.extend((!changes.is_empty()).then(|| Order { slot: String::new(), step }));
            }
            return Ok(orders);
        }
        Effect::Prefetch { slot, release } => match hands.wanting(hands.at(slot)?.1, release).await? {
            Some(reference) => Step::Pull { reference },
            None => return Ok(Vec::new()),
        },
        Effect::Stop { slot, container } => {
            let grace = hands.site.environment.grace_of(hands.at(slot)?.0).div_ceil(1000);
            Step::Stop { container: container.0.clone(), grace }
        }
        Effect::SetAside { slot, container } => {
            let name = instance::name_aside(hands.at(slot)?.1, &container.0, &hands.plan.deploy.0).await?;
            Step::SetAside { container: container.0.clone(), name }
        }
        Effect::TakeBack { slot, container } => {
            Step::TakeBack { container: container.0.clone(), name: instance::own_name(hands.at(slot)?.1, &container.0).await? }
        }
        Effect::Create { slot, release } => Step::Create(Box::new(container(hands.instance(hands.at(slot)?.0, release)?.service()))),
        Effect::Start { container, .. } => Step::Start { container: container.0.clone() },
        Effect::Remove { container, .. } => Step::Remove { container: container.0.clone() },
        Effect::CreateMigration { release, .. } => Step::Create(Box::new(container(hands.migration(release)?))),
        Effect::StartMigration { container } => {
            let (engine, _) = hands.engine_of(&container.0).await?;
            let slot = hands.site.environment.slots.iter().find(|slot| slot.engine == engine);
            let slot = slot.ok_or_else(|| Failure::refused("no slot has the engine of the migration's container"))?.name.0.clone();
            return Ok(vec![Order { slot, step: Step::Start { container: container.0.clone() } }]);
        }
    };
    let slot = effect.slot().map(|slot| slot.0.clone()).unwrap_or_default();
    Ok(vec![Order { slot, step }])
}

fn container(spec: ServiceSpec) -> Container {
    let variable = |line: String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Container {
        name: spec.name,
        image: spec.image,
        command: spec.command.unwrap_or_default(),
        env: spec.env.into_iter().filter_map(variable).collect(),
        labels: spec.labels,
        publish: spec.ports.iter().map(|port| format!("{}:{}:{}", port.address, port.host, port.container)).collect(),
        network: spec.network.unwrap_or_default(),
        address: spec.address.map(|address| address.to_string()).unwrap_or_default(),
        restart: spec.restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hook::HookSettings;

    #[test]
    fn what_went_wrong_is_shown_and_not_all_of_it() {
        let said = "PLAY [x]\nfatal: [web1]: FAILED! => no such image\nPLAY RECAP\n";
        assert_eq!(shown(said), "fatal: [web1]: FAILED! => no such image");
        assert_eq!(shown("  nothing is wrong \n"), "nothing is wrong");
        assert!(shown(&"ä".repeat(5_000)).chars().count() <= SHOWN + 1);
    }

    #[test]
    fn the_variables_are_one_file_that_nobody_else_may_read_and_go() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let step = Step::Balance { balancer: "unix:///run/x".into(), line: "set server app/web1 state drain".into() };
        let steps = vec![Order { slot: String::new(), step }, Order { slot: "web1".into(), step: Step::Start { container: "c1".into() } }];
        let call = Call { environment: "production".into(), deploy: "01".into(), fence: 3, steps };
        let file = Variables::write(folder.path(), &call).expect("written");
        insta::assert_snapshot!(fs_err::read_to_string(&file.0).expect("read"), @r#"{"splitci":{"environment":"production","deploy":"01","fence":3,"steps":[{"slot":"","do":"balance","balancer":"unix:///run/x","line":"set server app/web1 state drain"},{"slot":"web1","do":"start","container":"c1"}]}}"#);
        assert_eq!(fs_err::metadata(&file.0).expect("there").permissions().mode() & 0o777, 0o600);
        // One whose process was killed goes with the next.
        std::mem::forget(file);
        let file = Variables::write(folder.path(), &call).expect("written");
        assert_eq!(fs_err::read_dir(folder.path()).expect("a folder").count(), 1);
        drop(file);
        assert_eq!(fs_err::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    fn ansible(folder: &Path, script: &str) -> Ansible {
        use std::os::unix::fs::PermissionsExt as _;
        let program = folder.join("play");
        fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("made a program");
        Ansible { program, playbook: "p".into(), inventory: "i".into(), folder: folder.join("state") }
    }

    fn nothing() -> Call {
        Call { environment: String::new(), deploy: String::new(), fence: 0, steps: Vec::new() }
    }

    #[tokio::test]
    async fn how_a_playbook_ended_is_told_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let within = Duration::from_secs(20);
        let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
        let hooks = Hooks::new(HookSettings::default(), folder.path().to_owned(), env);
        let play = async |script: &str, within| ansible(folder.path(), script).play(&hooks, &nothing(), within).await;
        assert!(play("exit 0", within).await.is_ok());
        assert!(play("echo 'fatal: [web1]: no'; exit 2", within).await.expect_err("failed").contains("a task failed: fatal: [web1]: no"));
        assert!(play("exit 4", within).await.expect_err("failed").contains("cannot be reached"));
        let late = play("sleep 1000 & echo $! > $0.pid; wait", Duration::from_millis(500)).await.expect_err("late");
        assert!(late.contains("was not done within"), "{late}");
        let pid = fs_err::read_to_string(folder.path().join("play.pid")).expect("it began");
        let gone = || fs_err::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..100 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("what it started goes on");
    }
}
