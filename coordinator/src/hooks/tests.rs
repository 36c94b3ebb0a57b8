//! What hooks promise: only a clean yes is a yes, nothing outlives a hook, nothing is waited for longer than was said, and what they get does not change.

use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::model::SecretText;
use crate::model::environment::{DeployId, SlotName};

fn message(point: Point) -> Message {
    let place = |number: u8| Place {
        slot: SlotName(format!("web{number}")),
        address: Some([127, 0, 0, 1].into()),
        port: Some(18_100 + u16::from(number)),
        half: Some(number),
    };
    Message {
        version: 1,
        point,
        text: "shop to production: is about to be deployed".into(),
        app: "shop".into(),
        environment: "production".into(),
        deploy: DeployId("01K".into()),
        by: "anna@laptop".into(),
        message: "fix-4711".into(),
        image: "registry.example/shop/release@sha256:11".into(),
        release: "sha256:11".into(),
        previous: Some("sha256:22".into()),
        slots: vec![place(1), place(2)],
        report: None,
    }
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn hooks(directory: &Path, settings: HookSettings) -> Hooks {
    let env = [("PATH", "/usr/bin:/bin"), ("CHAT_TOKEN", "t"), ("SPLITCI_KEY_PASSPHRASE", "secret")];
    Hooks::new(settings, directory.to_owned(), env.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

async fn ask_within(script: &str, timeout_ms: u64) -> Result<(), Veto> {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = HookSettings { before_deploy: shell(script), timeout_ms, ..HookSettings::default() };
    hooks(folder.path(), settings).ask(Point::BeforeDeploy, &message(Point::BeforeDeploy)).await
}

async fn ask(script: &str) -> Result<(), Veto> {
    ask_within(script, 20_000).await
}

fn told(veto: &Veto) -> (String, &str) {
    (crate::model::chain(veto), &veto.last)
}

#[test]
fn what_hooks_get_does_not_change() {
    insta::assert_snapshot!(String::from_utf8(message(Point::BeforeDeploy).line()).expect("text"));
    let report = Some(Report { outcome: "rolled_back", why: "went back: it was stopped".into() });
    insta::assert_snapshot!(String::from_utf8(Message { report, ..message(Point::Ended) }.line()).expect("text"));
}

#[tokio::test]
async fn where_nobody_is_asked_and_where_the_answer_is_yes_it_goes_on() {
    let nobody = Hooks::default();
    nobody.ask(Point::BeforeSwitch, &message(Point::BeforeSwitch)).await.expect("nobody is against it");
    nobody.tell(&message(Point::Ended)).await.expect("nobody is told");
    ask("exit 0").await.expect("yes");
}

#[tokio::test]
async fn every_end_but_a_clean_one_is_a_no_with_its_last_lines() {
    let veto = ask("seq 100; echo 'not on fridays' >&2; exit 3").await.expect_err("no");
    assert_eq!(told(&veto).0, "the hook `before_deploy` says no: it ended with status 3");
    assert!(veto.last.ends_with("99\n100\nnot on fridays") && veto.last.lines().count() == 10, "{}", veto.last);
    let veto = ask("kill -9 $$").await.expect_err("no");
    assert!(matches!(veto.why, Failed::Status(137)), "{veto:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_cannot_be_run_is_a_no() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("plain"), "no program").expect("written");
    for name in ["no-such-program-of-ours", "bin/none", "./plain"] {
        let settings = HookSettings { before_switch: vec![name.into()], ..HookSettings::default() };
        let asked = hooks(folder.path(), settings).ask(Point::BeforeSwitch, &message(Point::BeforeSwitch)).await;
        assert!(matches!(asked, Err(Veto { why: Failed::NotStarted(_), .. })), "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn one_that_is_not_done_in_time_is_a_no_and_is_killed_with_what_it_started() {
    let began = Instant::now();
    let veto = ask_within("sleep 300 & echo $!; echo waits; wait", 500).await.expect_err("no");
    assert_eq!(told(&veto).0, "the hook `before_deploy` says no: it was not done within 0.5 s");
    assert!(began.elapsed() < Duration::from_secs(20));
    let child = veto.last.lines().next().expect("the child's number");
    expect_gone(child).await;
}

/// Killed, it may take a moment until somebody has waited for it.
async fn expect_gone(process: &str) {
    let stat = || fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let lives = || stat().rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z") && !rest.starts_with(" X"));
    for _ in 0..200 {
        if !lives() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {process} lives on: {}", stat());
}

#[tokio::test]
async fn who_stops_waiting_for_it_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings =
        HookSettings { before_deploy: shell("sleep 300 & echo $! >child.new; mv child.new child; wait"), ..HookSettings::default() };
    let (hooks, message) = (hooks(folder.path(), settings), message(Point::BeforeDeploy));
    let wrote = async {
        while !folder.path().join("child").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        asked = hooks.ask(Point::BeforeDeploy, &message) => panic!("{asked:?}"),
        () = wrote => {}
    }
    expect_gone(fs_err::read_to_string(folder.path().join("child")).expect("its number").trim()).await;
}

#[tokio::test]
async fn what_is_left_behind_is_killed_or_not_waited_for() {
    let began = Instant::now();
    ask("sleep 300 & exit 0").await.expect("yes");
    // Out of the group and with the output still in its hands.
    ask("setsid sleep 7 & exit 0").await.expect("yes");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn output_without_end_is_read_and_its_end_is_kept() {
    let veto = ask("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end; exit 1").await.expect_err("no");
    assert!(veto.last.ends_with("end") && veto.last.len() <= 8 << 10, "{} bytes", veto.last.len());
    let veto = ask_within("yes", 300).await.expect_err("no");
    assert!(matches!(veto.why, Failed::Overdue(_)), "{veto:?}");
}

#[tokio::test]
async fn it_reads_one_object_and_gets_no_variable_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::create_dir_all(folder.path().join("bin")).expect("a folder");
    let script = folder.path().join("bin/ask");
    fs_err::write(&script, "#!/bin/sh\ncat >got\nenv >env\nexit \"$1\"\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&script, mode).expect("made a program");
    let settings = HookSettings { before_deploy: vec!["bin/ask".into(), "0".into()], ..HookSettings::default() };
    hooks(folder.path(), settings).ask(Point::BeforeDeploy, &message(Point::BeforeDeploy)).await.expect("yes");
    let read = |name: &str| fs_err::read_to_string(folder.path().join(name)).expect("written");
    let got: serde_json::Value = serde_json::from_str(&read("got")).expect("JSON");
    assert_eq!((&got["point"], &got["release"]), (&"before_deploy".into(), &"sha256:11".into()));
    assert!(read("env").contains("CHAT_TOKEN=t") && !read("env").contains("SPLITCI_"), "{}", read("env"));
    assert!(!format!("{:?}", hooks(folder.path(), HookSettings::default())).contains("secret"));
}

#[tokio::test]
async fn a_status_that_is_not_told_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let tell = async |status| {
        let settings = HookSettings { status: Some(status), timeout_ms: 300, ..HookSettings::default() };
        hooks(folder.path(), settings).tell(&message(Point::Ended)).await
    };
    tell(StatusTarget::Program(shell("grep -q '\"point\":\"ended\"'"))).await.expect("told");
    let failed = tell(StatusTarget::Program(shell("echo no chat; exit 1"))).await.expect_err("not told");
    assert_eq!(crate::model::chain(&failed), "the program `sh` was not told how it goes (it printed `no chat`): it ended with status 1");
    assert!(matches!(tell(StatusTarget::Program(shell("sleep 30"))).await, Err(Untold::Program { cause: Failed::Overdue(_), .. })));
    assert!(matches!(tell(StatusTarget::Variable("CHAT_URL".into())).await, Err(Untold::NoVariable(_))));
}

/// Answers one request with a status, and gives back what was sent.
async fn answers(status: &str) -> (String, impl Future<Output = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/in/secret", listener.local_addr().expect("an address"));
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let serving = async move {
        let (mut line, _) = listener.accept().await.expect("somebody");
        let mut got = Vec::new();
        while !got.ends_with(b"}\n") {
            line.read_buf(&mut got).await.expect("read");
        }
        line.write_all(answer.as_bytes()).await.expect("answered");
        String::from_utf8(got).expect("text")
    };
    (address, serving)
}

#[tokio::test]
async fn a_chat_is_posted_json_and_its_address_is_in_no_error() {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let tell = async |address: &str| {
        let status = Some(StatusTarget::Address(SecretText(address.to_owned())));
        hooks(folder.path(), HookSettings { status, ..HookSettings::default() }).tell(&message(Point::Started)).await
    };
    let (address, serving) = answers("204 No Content").await;
    let (told, got) = tokio::join!(tell(&address), serving);
    told.expect("told");
    let (head, body) = got.split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /in/secret ") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(body.as_bytes(), message(Point::Started).line());
    let (address, serving) = answers("302 Found").await;
    let (refused, _) = tokio::join!(tell(&address), serving);
    let refused = refused.expect_err("not told");
    assert_eq!(crate::model::chain(&refused), "nobody was told how it goes: the answer is status 302");
    let silent = tell("http://127.0.0.1:1/in/secret").await.expect_err("not told");
    for wrong in [silent, tell("http://127.0.0.1@192.0.2.1/secret").await.expect_err("not told"), tell("secret").await.expect_err("none")] {
        assert!(!format!("{wrong:?} {}", crate::model::chain(&wrong)).contains("secret"), "{wrong:?}");
    }
}
