//! Everything that a deployment needs, on this machine, for a developer or for a demo: a registry with releases, HAProxy, four slots on the Docker engine, and
//! requests that never stop.
//!
//!     cargo run -p splitci-tests --bin rig [SLOTS] [ambassador] [-- MORE-OF-THE-ENVIRONMENT]
//!
//! With `ambassador`, HAProxy is in a container of the slots' network, and slots publish no port.
//! It prints what to type in another terminal, and what becomes of the requests. Ctrl-C takes all of it down. What follows `--` is written into the section of the
//! environment, such as `strategy = "rolling"`.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people, which stops at what it cannot set up")]

use splitci_coordinator::gate::statement::Answer;
use splitci_tests::load::{Connections, Load, Plan, Report};
use splitci_tests::rig::{Rig, image};
use splitci_tests::{Sandbox, program};
use tokio::signal::ctrl_c;

const SLOTS: usize = 4;
const PER_SECOND: u32 = 40;
/// So often it is told what became of the requests, in seconds.
const EVERY: u32 = 5;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let slots = arguments.first().and_then(|slots| slots.parse().ok()).unwrap_or(SLOTS);
    let more: Vec<_> = arguments.iter().skip_while(|argument| *argument != "--").skip(1).cloned().collect();
    println!("setting up {slots} slots ...");
    let networked = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "ambassador");
    let rig = match u8::try_from(slots) {
        Ok(slots) if networked => Rig::networked("rig", slots).await,
        _ => Rig::new("rig", slots).await,
    };
    let sandbox = Sandbox::empty();
    sandbox.write("main.pem", &rig.public());
    sandbox
        .write("splitci.toml", &rig.toml("main.pem").replace("backend = \"app\"\n", &format!("backend = \"app\"\n{}\n", more.join("\n"))));
    let (place, program) = (sandbox.project(), program::binary().display());
    println!("\n  cd {} && export SPLITCI_POLICY=$PWD/splitci.toml", place.display());
    for (what, arguments) in [("one that is well", "VERSION=1"), ("another", "VERSION=2"), ("one that is sick", "VERSION=3 UP=500")] {
        let release = rig.release_it(&image(&format!("{arguments} PORT={}", rig.site.port)), Answer::Passed).await;
        println!("  {program} deploy production {release}   # {what}");
    }
    println!("  {program} status production\n\nrequests go to http://{}; Ctrl-C takes everything down\n", rig.haproxy.address());
    loop {
        let plan = Plan { most: PER_SECOND * EVERY, connections: Connections::Fresh, ..Plan::new(rig.haproxy.address(), PER_SECOND) };
        let load = tokio::task::spawn_blocking(move || Load::start(plan).whole());
        tokio::select! {
            report = load => tell(&report.expect("the load client does not panic")),
            _ = ctrl_c() => break,
        }
    }
    println!("taking everything down");
}

/// Who answered, and how many got no good answer.
fn tell(report: &Report) {
    let answered = report.by_version().into_iter().map(|(version, count)| format!("{count} by release {version}"));
    let failed = (!report.failed().is_empty()).then(|| format!("{} FAILED", report.failed().len()));
    println!("{} requests: {}", report.requests.len(), answered.chain(failed).collect::<Vec<_>>().join(", "));
}
