//! Sessions that go well, and what the framework's process is given.

use std::process::{Command, Stdio};

use splitci_worker::protocol::driver::Outcome;
use splitci_worker::protocol::message::{Exit, FromWorker, InjectedFile, RunUnit, Slot, Start, ToWorker};

use crate::harness::{Setup, Worker, start, unit};

#[test]
fn a_session_tells_units_tests_and_a_clean_end() {
    let mut worker = Worker::new();
    worker.run_all(start("begin('a', 'b'); serve(tests=3); bye()"), 2);
    let heard = worker.until_ended();
    let ready = heard.messages().find_map(|message| match message {
        FromWorker::Ready { framework, version, seed, units, .. } => Some((framework.as_str(), version.as_str(), *seed, units.len())),
        _ => None,
    });
    assert_eq!(ready, Some(("fake", "0.1", 7, 2)));
    assert_eq!(heard.places(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    assert!(heard.finished().iter().all(|(test, ..)| test.fence == 100 + u64::from(test.unit)));
    let ended = heard.ended();
    assert_eq!((ended.how, ended.stopped, ended.hello, ended.bye, ended.strays, ended.oom), (Exit::Code(0), None, true, true, 0, false));
    assert_eq!(ended.at, Slot::Closing);
    assert_eq!(fs_err::read_dir(worker.run_dir()).expect("there").count(), 0, "the session's directory is gone");
}

#[test]
fn a_failure_brings_place_reason_output_and_details() {
    let mut worker = Worker::new();
    let body = "lambda u, o: dict(outcome=FAILED, file='t.py', line=12, message='no', output=b'\\xff out', details='trace')";
    worker.run_all(start(&format!("begin(); serve(tests=1, during={body}); bye(1)")), 1);
    let (test, output, details) = worker.until_ended().finished().remove(0);
    assert_eq!((test.outcome, test.file.as_str(), test.line, test.message.as_str()), (Outcome::Failed, "t.py", 12, "no"));
    assert_eq!((output.as_slice(), details.as_slice()), (b"\xff out".as_slice(), b"trace".as_slice()));
}

#[test]
fn a_driver_without_a_slot_says_what_it_starts() {
    let mut worker = Worker::new();
    worker.run_all(start("begin(); serve(slot=False, during=lambda u, o: o and os._exit(3))"), 1);
    let heard = worker.until_ended();
    assert_eq!((heard.ended().how, heard.ended().at), (Exit::Code(3), Slot::Test { unit: 0, ordinal: 1 }));
}

#[test]
fn several_sessions_follow_each_other_in_one_worker() {
    let mut worker = Worker::new();
    for session in 1..=3 {
        worker.run_all(Start { session, ..start("begin(); serve(); bye()") }, 2);
        let heard = worker.until_ended();
        assert_eq!((heard.ended().session, heard.places().len(), heard.ended().how), (session, 4, Exit::Code(0)));
    }
}

#[test]
fn a_second_session_is_refused_while_one_lives() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("begin(); serve(); bye()")));
    worker.send(&ToWorker::Start(Start { session: 2, ..start("") }));
    let heard = worker.until(|message| matches!(message, FromWorker::Fault { session: Some(2), .. }));
    assert!(heard.faults().contains("session 1 still lives"), "{}", heard.faults());
    worker.send(&ToWorker::Finish { session: 1 });
    assert_eq!(worker.until_ended().ended().how, Exit::Code(0));
}

#[test]
fn orders_for_another_session_change_nothing() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("begin(); serve(); bye()")));
    worker.send(&ToWorker::Run { session: 9, units: vec![unit(0)] });
    worker.send(&ToWorker::Abort { session: 9 });
    worker.send(&ToWorker::Finish { session: 1 });
    let heard = worker.until_ended();
    assert_eq!((heard.places().len(), heard.ended().how), (0, Exit::Code(0)));
}

#[test]
fn bounds_of_a_unit_reach_the_driver() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("begin(); serve(tests=9); bye()")));
    worker.send(&ToWorker::Run { session: 1, units: vec![RunUnit { from: 3, until: Some(5), ..unit(0) }] });
    worker.send(&ToWorker::Finish { session: 1 });
    assert_eq!(worker.until_ended().places(), [(0, 3), (0, 4)]);
}

#[test]
fn the_child_gets_its_environment_files_and_directory() {
    let script = "
import sys
run = os.environ['RUN']
print(open(run + '/lib/driver.txt').read(), os.environ['LIST'] == run + '/lib:old', os.environ['SPLITCI_SAVED_LIST'], os.environ['NEW'] == run)
print(os.environ['SPLITCI_DRIVER_ADDED'], 'INHERITED' in os.environ, 'SPLITCI_RUN_DIR' in os.environ, 'GONE' in os.environ, os.getcwd())
print(sys.stdin.read() == '', os.getpgid(0) == os.getpid(), open('/proc/self/oom_score_adj').read().strip())
";
    let mut worker = Worker::new();
    let mut order = start(script);
    order.cwd = Some("/usr".into());
    order.env.extend([("RUN".into(), "{run}".into()), ("LIST".into(), "old".into()), ("GONE".into(), "x".into())]);
    order.env_prepend = vec![("LIST".into(), "{run}/lib".into(), ":".into()), ("NEW".into(), "{run}".into(), " ".into())];
    order.env_remove = vec!["INHERITED".into()];
    order.files = vec![InjectedFile { path: "lib/driver.txt".into(), len: 6 }];
    worker.send_with(&ToWorker::Start(order), b"driver");
    let heard = worker.until_ended();
    let text = heard.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "driver True old True");
    assert_eq!(lines[1], "NEW False False True /usr");
    assert!(lines[2].starts_with("True True"), "{text}");
}

#[test]
fn no_descriptor_of_the_worker_is_inherited() {
    const LIST: &str = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))";
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start(LIST)));
    let below_worker = worker.until_ended().text();
    let plain = Command::new("python3").args(["-c", LIST]).stdin(Stdio::null()).output().expect("python runs");
    assert_eq!(below_worker, String::from_utf8_lossy(&plain.stdout), "the same as below this process");
}

#[test]
fn a_program_is_looked_up_in_the_childs_path() {
    let mut worker = Worker::new();
    let mut order = start("");
    order.argv = vec!["true".into()];
    order.env.push(("PATH".into(), "/nowhere:/usr/bin:/bin".into()));
    worker.send(&ToWorker::Start(order.clone()));
    assert_eq!(worker.until_ended().ended().how, Exit::Code(0));
    order.env = vec![("PATH".into(), "/nowhere".into())];
    worker.send(&ToWorker::Start(order));
    let heard = worker.until_ended();
    assert_eq!(heard.ended().how, Exit::NotStarted);
    assert_eq!(heard.faults(), "cannot start `true`: not found in PATH `/nowhere`");
}

#[test]
fn what_cannot_be_started_is_named_with_its_cause() {
    let mut worker = Worker::new();
    let mut fails = |argv: &[&str], cwd: Option<&str>| {
        let argv = argv.iter().map(ToString::to_string).collect();
        worker.send(&ToWorker::Start(Start { argv, cwd: cwd.map(Into::into), ..start("") }));
        let heard = worker.until_ended();
        assert_eq!(heard.ended().how, Exit::NotStarted);
        assert_eq!(fs_err::read_dir(worker.run_dir()).expect("there").count(), 0);
        heard.faults()
    };
    assert!(fails(&["/etc/passwd"], None).starts_with("cannot start `/etc/passwd`: Permission denied"));
    assert!(fails(&["/no/such"], None).starts_with("cannot start `/no/such`: No such file"));
    assert!(fails(&["true"], Some("/no/dir")).starts_with("cannot start `true` in `/no/dir`: "));
    assert_eq!(fails(&[], None), "cannot start a framework: the command is empty");
}

#[test]
fn injected_files_stay_below_their_directory() {
    let mut worker = Worker::new();
    for path in ["../x", "/etc/x", "a/../../x", ""] {
        let files = vec![InjectedFile { path: path.into(), len: 1 }];
        worker.send_with(&ToWorker::Start(Start { files, ..start("") }), b"x");
        assert!(worker.until_ended().faults().contains("not below the session's directory"), "{path}");
    }
    let files = vec![InjectedFile { path: "x".into(), len: 2 }];
    worker.send_with(&ToWorker::Start(Start { files, ..start("") }), b"x");
    assert!(worker.until_ended().faults().contains("content of the injected file `x` is missing"));
}

#[test]
fn a_run_directory_too_deep_for_a_socket_is_named() {
    let parent = tempfile::tempdir().expect("a directory");
    let deep = parent.path().join("d".repeat(100));
    fs_err::create_dir(&deep).expect("created");
    let mut worker = Worker::with(&Setup { run_dir: Some(deep), ..Setup::default() });
    worker.send(&ToWorker::Start(start("")));
    assert!(worker.until_ended().faults().contains("more than 107 bytes"));
}

#[test]
fn peak_memory_and_status_are_told() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("x = b'x' * (100 << 20); sys.exit(5)")));
    let heard = worker.until_ended();
    let ended = heard.ended();
    assert_eq!((ended.how, ended.hello, ended.bye), (Exit::Code(5), false, false));
    assert!((100 << 20..300 << 20).contains(&ended.peak_rss), "{}", ended.peak_rss);
}

#[test]
fn ten_thousand_tests_arrive_in_batches_and_in_order() {
    let mut worker = Worker::new();
    worker.run_all(start("begin(); serve(tests=10000); bye()"), 1);
    let heard = worker.until_ended();
    assert_eq!(heard.places(), (0..10_000).map(|n| (0, n)).collect::<Vec<_>>());
    let frames = heard.messages().filter(|message| matches!(message, FromWorker::Finished { .. })).count();
    assert!(frames < 200, "{frames} frames");
}

#[test]
fn the_order_to_finish_waits_for_what_was_given_before() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("begin(); serve(during=lambda u, o: time.sleep(0.05)); bye()")));
    worker.until(|message| matches!(message, FromWorker::Ready { .. }));
    worker.send(&ToWorker::Run { session: 1, units: (0..3).map(unit).collect() });
    worker.send(&ToWorker::Finish { session: 1 });
    let heard = worker.until_ended();
    assert_eq!((heard.places().len(), heard.ended().stopped), (6, None));
}
