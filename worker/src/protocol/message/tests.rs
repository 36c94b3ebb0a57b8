//! The agent protocol's bytes, held still by a golden file: a change there is a decision about the version.

use std::fmt::Write as _;

use serde::{Serialize, de::DeserializeOwned};

use super::super::VERSION;
use super::super::driver::Outcome;
use super::super::frame::{Decoder, encode};
use super::*;

fn to_worker() -> Vec<ToWorker> {
    let start = Start {
        session: 1,
        argv: vec!["pytest".into(), "-q".into()],
        cwd: Some("/app".into()),
        env: vec![("A".into(), "{run}/a".into())],
        env_prepend: vec![("B".into(), "{run}".into(), ":".into())],
        env_remove: vec!["C".into()],
        files: vec![InjectedFile { path: "driver.py".into(), len: 4 }],
        dump_signal: Some(10),
        limits: Limits { boot_ms: 1, test_ms: 2, finish_ms: 3, grace_ms: 4, test_output: 5, session_output: 6 },
        terminal: Some(TerminalSize { columns: 80, rows: 24 }),
    };
    let unit = |select| RunUnit { unit: 2, fence: 9, name: "a.py".into(), select, from: 0, until: Some(5), careful: true };
    vec![
        ToWorker::Start(start),
        ToWorker::Run {
            session: 1,
            units: vec![unit(Select::All), unit(Select::Only(vec!["x".into()])), unit(Select::Except(vec!["x".into()]))],
        },
        ToWorker::Finish { session: 1 },
        ToWorker::Keys { session: 1 },
        ToWorker::Resize { session: 1, size: TerminalSize { columns: 100, rows: 40 } },
        ToWorker::Abort { session: 1 },
        ToWorker::Beat,
        ToWorker::Exit,
    ]
}

fn finished() -> FinishedTest {
    FinishedTest {
        unit: 2,
        fence: 9,
        ordinal: 1,
        outcome: Outcome::UnexpectedPass,
        micros: 1500,
        file: "a.py".into(),
        line: 3,
        message: "no".into(),
        output: 3,
        details: 1,
    }
}

fn ended() -> Ended {
    Ended {
        session: 1,
        how: Exit::Signal(9),
        stopped: Some(Stopped::TestTimeout),
        hello: true,
        bye: false,
        at: Slot::Test { unit: 2, ordinal: 1 },
        oom: true,
        peak_rss: 4096,
        strays: 1,
        dropped_output: 7,
    }
}

fn from_worker() -> Vec<FromWorker> {
    let session = 1;
    vec![
        FromWorker::Hello { version: VERSION, pid: 1, memory_limit: Some(1 << 30) },
        FromWorker::Ready {
            session,
            framework: "pytest".into(),
            version: "9.0.1".into(),
            seed: 42,
            pid: 7,
            boot_ms: 300,
            units: vec!["a.py".into()],
        },
        FromWorker::Declared { session, unit: 2, fence: 9, ids: vec!["a.py::x".into()], selected: Some(vec![0]) },
        FromWorker::Finished { session, tests: vec![finished()] },
        FromWorker::UnitEnd { session, unit: 2, fence: 9, count: 1 },
        FromWorker::Running { session, at: Slot::Loading { unit: 2 }, for_ms: 1000 },
        FromWorker::Output { session, stderr: true, at: Slot::Idle },
        FromWorker::Beat { at: Slot::Idle },
        FromWorker::Notice { session, text: "n".into() },
        FromWorker::Bye { session, count: 1, status: 1, errors: String::new() },
        FromWorker::Ended(ended()),
        FromWorker::Ended(Ended { how: Exit::Code(0), stopped: None, at: Slot::Closing, ..ended() }),
        FromWorker::Fault { session: None, text: "f".into() },
    ]
}

/// Each frame's head in hex, then its body, then its blob.
fn show<M: Serialize>(messages: &[M]) -> String {
    messages.iter().fold(String::new(), |mut text, message| {
        let mut bytes = Vec::new();
        encode(message, b"blob", &mut bytes);
        let (head, rest) = bytes.split_at(9);
        let head: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{} {}", head.join(" "), String::from_utf8_lossy(rest)).expect("memory");
        text
    })
}

fn assert_survives<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(messages: &[M]) {
    let mut decoder = Decoder::default();
    for message in messages {
        let mut bytes = Vec::new();
        encode(message, b"blob", &mut bytes);
        decoder.push(&bytes);
        let frame = decoder.next::<M>().expect("a frame").expect("whole");
        assert_eq!((&frame.message, frame.blob.as_slice()), (message, b"blob".as_slice()));
    }
}

#[test]
fn the_bytes_are_those_of_version_1() {
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("agent", show(&to_worker()) + &show(&from_worker()));
    });
}

#[test]
fn every_message_is_read_as_it_was_written() {
    assert_survives(&to_worker());
    assert_survives(&from_worker());
}

#[test]
fn fields_of_a_newer_minor_are_skipped() {
    let newer: ToWorker = serde_json::from_str(r#"{"finish":{"session":1,"politely":true}}"#).expect("skipped");
    assert_eq!(newer, ToWorker::Finish { session: 1 });
}
