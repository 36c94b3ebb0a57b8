//! A deployment of four instances by `half`, the image present, soak 0, a second of health, no migration; beside ansible-core doing the same steps, in turns.
//! Requests go on all the time, and what became of them is part of the table.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use splitci_coordinator::gate::statement::Answer;
use splitci_tests::load::Report;
use splitci_tests::python::Python;
use splitci_tests::rig::{Rig, image};
use splitci_tests::{Sandbox, Splitci};

use crate::measure::{Bar, median};
use crate::rivals::Contest;

const SLOTS: usize = 4;
const ROUNDS: usize = 5;
const PER_SECOND: u32 = 60;
/// For so long nothing happens, for comparison.
const CALM: Duration = Duration::from_secs(5);
const RIVAL: &str = include_str!("deploy.yml");

/// Deployments of one kind.
#[derive(Default)]
struct Row {
    seconds: Vec<f64>,
    requests: usize,
    lost: usize,
    /// How long 99 % of the answers took, and the longest, in milliseconds: a round each.
    p99: Vec<f64>,
    longest: Vec<f64>,
}

impl Row {
    fn add(&mut self, seconds: f64, report: &Report) {
        self.seconds.push(seconds);
        self.requests += report.requests.len();
        self.lost += report.failed().len();
        self.p99.push(report.latency(99).as_secs_f64() * 1_000.0);
        self.longest.push(report.latency(100).as_secs_f64() * 1_000.0);
    }
}

/// Ours: a checkout that says where it deploys to.
struct Ours {
    rig: Rig,
    sandbox: Sandbox,
}

impl Ours {
    async fn new() -> Self {
        let (mut rig, sandbox) = (Rig::new("bench", SLOTS).await, Sandbox::empty());
        rig.site.environment.health.min_healthy_ms = 1_000;
        sandbox.write("main.pem", &rig.public());
        sandbox.write("splitci.toml", &rig.toml("main.pem").replace("min_healthy = \"400ms\"", "min_healthy = \"1s\""));
        Self { rig, sandbox }
    }

    /// Requests while nothing happens.
    async fn calm(&self) -> (f64, Report) {
        let load = self.rig.load(PER_SECOND);
        tokio::time::sleep(CALM).await;
        (CALM.as_secs_f64(), load.finish())
    }

    async fn deploy(&self, image: &str) -> (f64, Report) {
        self.rig.release_it(image, Answer::Passed).await;
        let splitci = self.sandbox.dress(Splitci::new(["deploy", "production"]), Python::with_friends());
        let load = self.rig.load(PER_SECOND);
        let done = splitci.env("SPLITCI_POLICY", self.sandbox.project().join("splitci.toml")).run();
        done.expect_exit(0);
        assert!(self.rig.running().values().all(|running| running == image), "{done}");
        (done.took.as_secs_f64(), load.finish())
    }
}

/// The rival: a playbook, an inventory, and a balancer of its own.
struct Rival {
    rig: Rig,
    sandbox: Sandbox,
}

impl Rival {
    async fn new() -> Self {
        let (rig, sandbox) = (Rig::new("rival", SLOTS).await, Sandbox::empty());
        let slots: Vec<_> = rig.site.environment.slots.iter().map(|slot| format!("{} port={}", slot.name, slot.port)).collect();
        sandbox.write("deploy.yml", RIVAL);
        sandbox.write(
            "hosts.ini",
            &format!(
                "[slots]\n{}\n[all:vars]\nansible_connection=local\nansible_python_interpreter=/usr/bin/python3\nbalancer={}\napp={}\n",
                slots.join("\n"),
                rig.haproxy.socket().display(),
                rig.site.environment.app
            ),
        );
        Self { rig, sandbox }
    }

    fn deploy(&self, image: &str) -> (f64, Report) {
        let mut command = Command::new("ansible-playbook");
        command.args(["-i", "hosts.ini", "-e", &format!("image={image}"), "deploy.yml"]).current_dir(self.sandbox.project());
        let load = self.rig.load(PER_SECOND);
        let began = std::time::Instant::now();
        let output = command.output().expect("start ansible-playbook; on Debian: apt-get install ansible-core");
        let took = began.elapsed().as_secs_f64();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report = load.finish();
        for slot in &self.rig.site.environment.slots {
            let name = format!("{}-{}", self.rig.site.environment.app, slot.name);
            assert_eq!(splitci_tests::engine::docker_says(&format!("inspect -f {{{{.Image}}}} {name}")), image);
        }
        (took, report)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        for slot in &self.rig.site.environment.slots {
            splitci_tests::engine::docker(&format!("rm -f {}-{}", self.rig.site.environment.app, slot.name));
        }
    }
}

/// Prints the table; returns its bars.
pub(crate) fn measure(_: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let images = [image("VERSION=1"), image("VERSION=2")];
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    runtime.block_on(async {
        let (ours, rival) = (Ours::new().await, Rival::new().await);
        for round in 0..=rounds {
            let image = &images[round % 2];
            let (one, other) = (ours.deploy(image).await, tokio::task::block_in_place(|| rival.deploy(image)));
            // The first ones find nothing that serves.
            if round > 0 {
                rows.entry("ours").or_default().add(one.0, &one.1);
                rows.entry("ansible").or_default().add(other.0, &other.1);
                let calm = ours.calm().await;
                rows.entry("no deployment").or_default().add(calm.0, &calm.1);
            }
        }
    });
    println!("\n## A deployment of {SLOTS} instances, {rounds} rounds\n");
    println!("| what | s | requests | lost | 99 % answered within, ms | longest, ms |\n|---|---|---|---|---|---|");
    for (name, row) in &rows {
        let [seconds, p99, longest] = [&row.seconds, &row.p99, &row.longest].map(|figures| median(figures.clone()));
        println!("| {name} | {seconds} | {} | {} | {p99} | {longest} |", row.requests, row.lost);
    }
    let of = |name: &str| rows.get(name).map(|row| median(row.seconds.clone()).value).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
    let lost = rows.get("ours").map_or(f64::NAN, |row| row.lost as f64);
    vec![
        Bar::at_most("a deployment of four instances", 10.0, of("ours"), "s"),
        Bar::at_most("a deployment of four instances, over ansible-core doing the same", 1.0, of("ours") / of("ansible"), "x"),
        Bar::at_most("requests lost in it", 0.0, lost, ""),
    ]
}
