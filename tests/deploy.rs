//! `splitci deploy` and what belongs to it as people use them: the real program, containers behind a real HAProxy, a real registry, requests all the time.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use rustix::process::Signal;
use splitci_coordinator::gate::statement::Answer;
use splitci_tests::desk::Desk;
use splitci_tests::rig::{INSIDE, Rig, expect_all_good, image, moment};

/// I2: on the way there and on the way back.
/// I18: `log --verify` reads a whole chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_deployed_looked_at_and_gone_back_from_without_a_lost_request() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new("cli", 4).await;
    let empty = desk.run("status production");
    empty.expect_exit(0);
    assert!(empty.stdout.contains("0 of 4 slots serve"), "{}", empty.stdout);
    desk.rig.release_it(&one, Answer::Passed).await;
    let first = desk.run("deploy production");
    first.expect_exit(0);
    assert!(first.stdout.contains("DONE") && desk.serves(&one), "{} {}", first.stdout, first.stderr);

    desk.rig.release_it(&two, Answer::Passed).await;
    let plan = desk.run("deploy production --dry-run");
    plan.expect_exit(0);
    assert!(plan.stdout.contains("2 of 4 serve  take out web1 web2") && desk.serves(&one), "{}", plan.stdout);

    let load = desk.rig.load(40);
    moment().await;
    let second = desk.run("deploy production --message fix-4711");
    second.expect_exit(0);
    assert!(desk.serves(&two), "{}", second.stderr);
    assert!(second.stderr.contains("swapped") && second.stderr.contains("the first ones are well"), "{}", second.stderr);
    let status = desk.run("status production");
    assert!(status.stdout.contains("4 of 4 slots serve") && status.stdout.contains("last         done"), "{}", status.stdout);

    let back = desk.run("rollback production");
    back.expect_exit(0);
    assert!(desk.serves(&one), "{} {}", back.stdout, back.stderr);
    moment().await;
    expect_all_good(&load.finish());
    let verified = desk.run("log production --verify");
    verified.expect_exit(0);
    assert!(verified.stdout.contains("a whole chain"), "{}", verified.stdout);
    assert!(desk.run("log production").stdout.contains("ends: done"));
}

/// I2: by way of a network as well, there and back.
#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_network_are_deployed_to_looked_at_and_gone_back_from() {
    let (one, two) = (image(&format!("VERSION=1 PORT={INSIDE}")), image(&format!("VERSION=2 PORT={INSIDE}")));
    let desk = Desk::of(Rig::networked("clinetwork", 4).await);
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    desk.rig.release_it(&two, Answer::Passed).await;
    let network = &desk.rig.network.as_ref().expect("a network").name;
    let plan = desk.run("deploy production --dry-run");
    plan.expect_exit(0);
    assert!(plan.stdout.contains(&format!("join the network `{network}`")) && desk.serves(&one), "{}", plan.stdout);

    let load = desk.rig.load(40);
    moment().await;
    desk.run("deploy production").expect_exit(0);
    assert!(desk.serves(&two));
    let status = desk.run("status production");
    let place = format!("{}:{INSIDE}", desk.rig.site.environment.slots[3].address.expect("an address"));
    assert!(
        status.stdout.contains("4 of 4 slots serve") && status.stdout.contains(&place) && status.stdout.contains(network),
        "{}",
        status.stdout
    );
    desk.run("rollback production").expect_exit(0);
    assert!(desk.serves(&one));
    moment().await;
    expect_all_good(&load.finish());

    // The network goes by another name: nothing is changed, and what to do is said.
    desk.sandbox.write("splitci.toml", &desk.rig.toml("main.pem").replace(network.as_str(), "splitci-test-nowhere"));
    let refused = desk.run("deploy production");
    refused.expect_exit(2);
    assert!(
        refused.stderr.contains("no network `splitci-test-nowhere`") && refused.stderr.contains("docker network create"),
        "{}",
        refused.stderr
    );
    assert!(desk.serves(&one));
}

/// The playbook of the fixtures, with hosts that are all this machine.
fn with_ansible(desk: &Desk, playbook: &str, batch: &str) {
    let slots: Vec<_> = desk.rig.site.environment.slots.iter().map(|slot| slot.name.0.clone()).collect();
    let inventory = format!(
        "[slots]\n{}\n[balancers]\nproxy balancer=unix://{}\n[all:vars]\nansible_connection=local\nansible_python_interpreter=/usr/bin/python3\n",
        slots.join("\n"),
        desk.rig.haproxy.socket().display()
    );
    desk.sandbox.write("hosts.ini", &inventory);
    let section = format!(
        "[environment.production.ansible]\nplaybook = \"{playbook}\"\ninventory = \"hosts.ini\"\n\
         [environment.production.deadlines]\nbatch = \"{batch}\"\n"
    );
    desk.sandbox.write("splitci.toml", &(desk.rig.toml("main.pem") + &section));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_carries_out_what_is_decided_and_only_what_is_seen_counts() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2 UP=500"));
    let desk = Desk::new("cliansible", 2).await;
    // It says that all went well, and does nothing.
    with_ansible(&desk, "idle.yml", "5s");
    desk.sandbox.write("idle.yml", "- hosts: slots\n  gather_facts: false\n  tasks: []\n");
    desk.rig.release_it(&one, Answer::Passed).await;
    let idle = desk.run("deploy production");
    assert!(idle.code != Some(0) && desk.rig.running().is_empty(), "{} {}", idle.stdout, idle.stderr);

    let playbook = splitci_tests::root().join("fixtures/ansible/deploy.yml");
    with_ansible(&desk, &playbook.display().to_string(), "5m");
    let first = desk.run("deploy production");
    first.expect_exit(0);
    assert!(desk.serves(&one), "{}", first.stderr);
    // And one that is sick is gone back from, by the same hands.
    desk.rig.release_it(&two, Answer::Passed).await;
    desk.run("deploy production").expect_exit(8);
    assert!(desk.serves(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_makes_containers_in_a_network_as_well() {
    let one = image(&format!("VERSION=1 PORT={INSIDE}"));
    let desk = Desk::of(Rig::networked("cliansiblenet", 2).await);
    let playbook = splitci_tests::root().join("fixtures/ansible/deploy.yml");
    with_ansible(&desk, &playbook.display().to_string(), "5m");
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    assert!(desk.serves(&one));
    for id in desk.rig.of_role("instance") {
        assert_eq!(desk.rig.docker_says(&format!("inspect --format {{{{.HostConfig.PortBindings}}}} {id}")), "map[]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_release_is_taken_back_and_what_it_printed_is_told() {
    let (one, sick) = (image("VERSION=1"), image("VERSION=2 UP=500"));
    let desk = Desk::new("clisick", 2).await;
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    desk.rig.release_it(&sick, Answer::Passed).await;
    let load = desk.rig.load(40);
    let done = desk.run("deploy production --json");
    done.expect_exit(8);
    expect_all_good(&load.finish());
    assert!(desk.serves(&one));
    let last: serde_json::Value = serde_json::from_str(done.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["exit"], 8, "{last}");
    assert!(done.stderr.contains("goes back (A2") && done.stderr.contains("answers with status 500"), "{}", done.stderr);
    assert!(done.stderr.contains("printed last:"), "{}", done.stderr);
    // What was taken back is not gone back to: there was nothing before.
    desk.run("rollback production").expect_exit(2);
}

/// I10: what the gate or a window refuses touches nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deployed_touches_nothing() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new("clino", 2).await;
    desk.rig.release_it(&one, Answer::Failed).await;
    let denied = desk.run("deploy production");
    denied.expect_exit(6);
    assert!(denied.stderr.contains("E_RESULT") && desk.rig.running().is_empty(), "{}", denied.stderr);
    let unknown = desk.run("deploy prodution");
    unknown.expect_exit(2);
    assert!(unknown.stderr.contains("there are: production"), "{}", unknown.stderr);
    desk.run("resume production").expect_exit(2);
    // Nobody deploys at this time.
    desk.rig.release_it(&two, Answer::Passed).await;
    let text = desk.rig.toml("main.pem");
    desk.sandbox.write("splitci.toml", &text.replace("soak = 0", "soak = 0\nfreeze = [\"00:00-24:00 UTC\"]"));
    let frozen = desk.run("deploy production");
    frozen.expect_exit(7);
    assert!(frozen.stderr.contains("nobody deploys there now") && desk.rig.running().is_empty(), "{}", frozen.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_is_followed_by_resume_and_two_do_not_deploy_at_once() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new("clikill", 2).await;
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    // So that it is not over before somebody else has tried.
    desk.sandbox.write("splitci.toml", &desk.rig.toml("main.pem").replace("soak = 0", "soak = \"5s\""));
    desk.rig.release_it(&two, Answer::Passed).await;
    let load = desk.rig.load(40);
    let mut running = desk.command("deploy production").start();
    running.wait_until_says("started");
    let locked = desk.run("deploy production");
    locked.expect_exit(7);
    running.signal(Signal::KILL);
    running.wait();
    let status = desk.run("status production");
    assert!(status.stdout.contains("splitci resume production") && status.stdout.contains("its process has ended"), "{}", status.stdout);
    let shown = desk.run("lock production show");
    assert!(shown.stdout.contains("its process has ended"), "{}", shown.stdout);
    let resumed = desk.run("resume production");
    resumed.expect_exit(0);
    expect_all_good(&load.finish());
    assert!(desk.serves(&two), "{}", resumed.stderr);
    assert!(desk.run("lock production show").stdout.contains("nobody"));
}

/// I25: a revocation in the middle of a deploy takes the release back.
#[tokio::test(flavor = "multi_thread")]
async fn who_changes_their_mind_or_revokes_the_release_has_the_old_one_back() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new("climind", 2).await;
    desk.rig.release_it(&one, Answer::Passed).await;
    desk.run("deploy production").expect_exit(0);
    let digest = desk.rig.release_it(&two, Answer::Passed).await;
    let text = desk.rig.toml("main.pem").replace("soak = 0", "soak = \"30s\"");
    desk.sandbox.write("splitci.toml", &text);
    let load = desk.rig.load(40);
    let mut stopped = desk.command("deploy production").start();
    stopped.wait_until_says("the first ones serve");
    stopped.signal(Signal::INT);
    let stopped = stopped.wait();
    stopped.expect_exit(8);
    assert!(stopped.stderr.contains("goes back (A8") && desk.serves(&one), "{}", stopped.stderr);

    let mut revoked = desk.command("deploy production").start();
    revoked.wait_until_says("the first ones serve");
    let entry = format!("[policy.production]\nrevoked = [{{ image = \"{digest}\", reason = \"loses orders\" }}]");
    desk.sandbox.write("splitci.toml", &text.replace("[policy.production]", &entry));
    let revoked = revoked.wait();
    revoked.expect_exit(8);
    assert!(revoked.stderr.contains("goes back (A7") && desk.serves(&one), "{}", revoked.stderr);
    expect_all_good(&load.finish());
    // And it does not come again.
    let denied = desk.run("deploy production");
    denied.expect_exit(6);
    assert!(denied.stderr.contains("E_REVOKED") && denied.stderr.contains("loses orders"), "{}", denied.stderr);
}

/// A program of the project that keeps what it is told and answers with what it is told to.
const HOOK: &str = "#!/bin/sh\n{ cat; } >>hooks.jsonl\necho \"$1 was asked\"\nexit \"$(cat \"$1.answer\" 2>/dev/null || echo 0)\"\n";

/// What hooks were told since the last look: the points, or how it ended, and all of it.
fn points(desk: &Desk) -> (Vec<String>, Vec<serde_json::Value>) {
    let file = desk.sandbox.project().join("hooks.jsonl");
    let text = fs_err::read_to_string(&file).expect("hooks were asked");
    fs_err::remove_file(&file).expect("removed");
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let word = |told: &serde_json::Value| told["report"]["outcome"].as_str().or(told["point"].as_str()).expect("a word").to_owned();
    (told.iter().map(word).collect(), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_may_stop_a_deploy_before_anything_is_changed_and_before_the_switch_and_only_that() {
    let (one, two) = (image("VERSION=1"), image("VERSION=2"));
    let desk = Desk::new("clihooks", 2).await;
    let hook = |point: &str| format!("{point} = [\"sh\", \"bin/hook\", \"{point}\"]\n");
    let hooks = ["before_deploy", "before_switch", "status"].map(hook).concat();
    desk.sandbox.write("bin/hook", HOOK);
    desk.sandbox.write("splitci.toml", &format!("{}[environment.production.hooks]\n{hooks}", desk.rig.toml("main.pem")));
    // The yes of a hook is none of the gate's.
    desk.rig.release_it(&one, Answer::Failed).await;
    desk.run("deploy production").expect_exit(6);
    desk.rig.release_it(&one, Answer::Passed).await;
    // Whoever is told only, and fails, is a warning.
    desk.sandbox.write("status.answer", "4");
    let first = desk.run("deploy production");
    first.expect_exit(0);
    assert!(
        first.stderr.contains("warning: the program `sh` was not told how it goes (it printed `status was asked`)"),
        "{}",
        first.stderr
    );
    let (words, told) = points(&desk);
    assert_eq!((words.len(), &words[0][..], &words[3][..]), (4, "before_deploy", "done"), "{words:?}");
    assert_eq!((&told[0]["previous"], &told[0]["environment"]), (&serde_json::Value::Null, &"production".into()));

    desk.sandbox.write("status.answer", "0");
    desk.sandbox.write("before_deploy.answer", "3");
    let digest = desk.rig.release_it(&two, Answer::Passed).await;
    let rows = desk.run("log production").stdout;
    let vetoed = desk.run("deploy production");
    vetoed.expect_exit(7);
    assert!(vetoed.stderr.contains("it ended with status 3") && vetoed.stderr.contains("| before_deploy was asked"), "{}", vetoed.stderr);
    assert!(desk.serves(&one) && desk.run("log production").stdout == rows);
    let (words, vetoed) = points(&desk);
    assert_eq!((words, &vetoed[0]["release"], &vetoed[0]["previous"]), (vec!["before_deploy".into()], &digest.into(), &told[0]["release"]));

    desk.sandbox.write("before_deploy.answer", "0");
    desk.sandbox.write("before_switch.answer", "5");
    let load = desk.rig.load(40);
    moment().await;
    let back = desk.run("deploy production");
    back.expect_exit(8);
    moment().await;
    expect_all_good(&load.finish());
    assert!(
        back.stderr.contains("goes back (A8, R1)") && back.stderr.contains("| before_switch was asked") && desk.serves(&one),
        "{}",
        back.stderr
    );
    let mut words = points(&desk).0;
    words.sort();
    assert_eq!(words, ["before_deploy", "before_switch", "rolled_back", "started"]);
    assert!(!desk.run("log production").stdout.contains("was asked"), "what it printed is in no journal");

    // The way back is open, whatever they say.
    desk.sandbox.write("before_switch.answer", "0");
    desk.run("deploy production").expect_exit(0);
    assert!(desk.serves(&two) && points(&desk).0.len() == 4);
    desk.sandbox.write("before_deploy.answer", "3");
    desk.sandbox.write("before_switch.answer", "5");
    desk.run("rollback production").expect_exit(0);
    assert_eq!((desk.serves(&one), points(&desk).0), (true, vec!["started".into(), "done".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_with_an_engine_that_is_away_is_looked_at_and_not_changed() {
    let desk = Desk::new("cliaway", 2).await;
    let toml = desk.rig.toml("main.pem").replacen("{ name = \"web2\"", "{ engine = \"unix:///nowhere/engine.sock\", name = \"web2\"", 1);
    desk.sandbox.write("splitci.toml", &toml);
    let status = desk.run("status production");
    status.expect_exit(0);
    assert!(status.stdout.contains("/nowhere/engine.sock"), "{}", status.stdout);
    let lock = desk.run("lock production show");
    lock.expect_exit(0);
    assert!(lock.stderr.contains("/nowhere/engine.sock"), "{}", lock.stderr);
    desk.run("log production").expect_exit(0);
    desk.run("log production --verify").expect_exit(1);
    for line in ["deploy production", "rollback production", "resume production"] {
        let done = desk.run(line);
        done.expect_exit(3);
        assert!(done.stderr.contains("cannot reach the engine `unix:///nowhere/engine.sock`"), "{line}: {}", done.stderr);
    }
    assert!(desk.rig.running().is_empty());
}
