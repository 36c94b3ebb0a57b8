//! An environment, and a checkout that says how it is: what `splitci deploy` needs, on this machine and on another.

use std::collections::BTreeMap;
use std::process::Command;

use splitci_coordinator::gate::statement::Answer;

use crate::python::Python;
use crate::rig::{Rig, image};
use crate::{Done, Sandbox, Splitci};

/// Options of `unshare` for another machine: nobody outside can tell whether a process inside lives, nor the other way round.
const ANOTHER: [&str; 6] = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// An environment with a checkout.
pub struct Desk {
    /// The environment.
    pub rig: Rig,
    /// The checkout.
    pub sandbox: Sandbox,
}

impl Desk {
    /// So many slots.
    pub async fn new(name: &str, slots: usize) -> Self {
        Self::of(Rig::new(name, slots).await)
    }

    /// An environment that is there.
    pub fn of(rig: Rig) -> Self {
        let sandbox = Sandbox::empty();
        sandbox.write("main.pem", &rig.public());
        let desk = Self { rig, sandbox };
        desk.write("");
        desk
    }

    /// Writes the configuration, with more at its end.
    pub fn write(&self, more: &str) {
        self.sandbox.write("splitci.toml", &(self.rig.toml("main.pem") + more));
    }

    /// `splitci` with these arguments.
    pub fn command(&self, line: &str) -> Splitci {
        self.dress(Splitci::new(line.split_whitespace()))
    }

    fn dress(&self, splitci: Splitci) -> Splitci {
        self.sandbox.dress(splitci, Python::with_friends()).env("SPLITCI_POLICY", self.sandbox.project().join("splitci.toml"))
    }

    /// The same on another machine: with a state of its own, and no way to see whether a process of this one lives.
    pub fn command_elsewhere(&self, machine: &str, line: &str) -> Splitci {
        let inside = Splitci::through("unshare", ANOTHER).arg(crate::program::binary()).args(line.split_whitespace());
        let state = self.sandbox.outside(machine);
        self.dress(inside).env("SPLITCI_STATE", &state).env("XDG_STATE_HOME", &state)
    }

    /// `splitci` with these arguments, to its end.
    pub fn run(&self, line: &str) -> Done {
        self.command(line).run()
    }

    /// Whether this image, and nothing else, runs at every slot.
    pub fn serves(&self, image: &str) -> bool {
        let running = self.rig.running();
        running.len() == self.rig.site.environment.slots.len() && running.values().all(|other| other == image)
    }

    /// The journal, row by row.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let log = self.run("log production --json");
        log.expect_exit(0);
        log.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Goes on with what a process left that died with such a fault: from here, or from another machine, where nobody knows that it died and a person has to break the lock.
    pub fn resume(&self, elsewhere: bool, fault: Option<&str>) -> Done {
        let command = |line: &str| if elsewhere { self.command_elsewhere("another", line) } else { self.command(line) };
        if !command("lock production show").run().stdout.contains("its process has ended") {
            command("lock production break --yes").run().expect_exit(0);
        }
        command("resume production").env("SPLITCI_FAULT", fault.unwrap_or_default()).run()
    }
}

/// The kind of a row, as a fault names it: `intent start`.
pub fn kind(row: &serde_json::Value) -> String {
    let step = row["step"].as_object().and_then(|step| step.values().next()).expect("a step");
    let name = step.as_str().map(str::to_owned).or_else(|| step.as_object()?.keys().next().cloned());
    format!("{} {}", row["phase"].as_str().expect("a phase"), name.expect("a name"))
}

/// What stands on the engine at each slot at the end: how many containers run, and how many are kept.
pub fn standing(rig: &Rig) -> BTreeMap<String, Vec<String>> {
    let filter = format!("label={}", rig.site.place.filter());
    let format = "{{.Label \"splitci.slot\"}}={{.State}}";
    let listed = Command::new("docker")
        .args(["ps", "--all", "--format", format, "--filter", &filter, "--filter", "label=splitci.role=instance"])
        .output()
        .expect("start docker");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut standing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (slot, state) in listed.lines().filter_map(|line| line.split_once('=')) {
        standing.entry(slot.to_owned()).or_default().push(state.to_owned());
    }
    for states in standing.values_mut() {
        states.sort();
    }
    standing
}

/// A migration that says that it ran.
pub const MIGRATION: &str = "[environment.production.migration]\ncommand = [\"/migrate.sh\", \"0\", \"0\"]\nclass = \"compatible\"\n";

/// Deploys to and fro with requests all the time, and aborts after another row each time, until there is no further row; each row twice: gone on with from here, and from another
/// machine. How many deploys that were, or what was not as it should be.
pub async fn deaths(count: u64, first: u64) -> Result<u64, String> {
    let images = [image("VERSION=1"), image("VERSION=2")];
    let desk = Desk::new("deaths", 2).await;
    desk.write(MIGRATION);
    for image in &images {
        desk.rig.release_it(image, Answer::Passed).await;
        desk.run("deploy production").expect_exit(0);
    }
    let (end, mut migrated) = (standing(&desk.rig), desk.rig.migrations().len());
    for number in 0..count {
        let (row, elsewhere, next) = (first + number / 2, number % 2 == 1, &images[usize::from(number % 2 == 1)]);
        desk.rig.release_it(next, Answer::Passed).await;
        let load = desk.rig.load(30);
        let died = desk.command("deploy production").env("SPLITCI_FAULT", format!("abort@{row}")).run();
        let over = died.code == Some(0);
        let ended = if over { died } else { desk.resume(elsewhere, None) };
        let report = load.finish();
        migrated += 1;
        // After its last row there is nothing to go on with, and its lock is there still.
        let last = ended.code == Some(2) && desk.rows().last().map(kind).is_some_and(|kind| kind.ends_with(" finished"));
        if last {
            desk.run("lock production break --yes").expect_exit(0);
        }
        let at = format!("aborted after row {row}, gone on with {}", if elsewhere { "elsewhere" } else { "here" });
        let checks = [
            (over || last || ended.code == Some(0), "it does not end well"),
            (desk.serves(next) && standing(&desk.rig) == end, "something else is left"),
            (desk.rig.migrations().len() == migrated, "the migration ran otherwise than once"),
            (report.failed().is_empty(), "requests were lost"),
            (desk.run("log production --verify").code == Some(0), "the journal is no chain"),
        ];
        if let Some((_, wrong)) = checks.iter().find(|(holds, _)| !holds) {
            let rows = desk.rows();
            let last: Vec<_> = rows.iter().rev().take(12).map(|row| format!("{} {} {}", kind(row), row["step"], row["evidence"])).collect();
            return Err(format!("{at}: {wrong}: {report}\n{:?}\n{ended}\n{}", standing(&desk.rig), last.join("\n")));
        }
        if over {
            return Ok(number);
        }
    }
    Ok(count)
}
