//! How everything ends: nothing is left behind, whoever goes first.

use std::io::Read as _;
use std::time::Duration;

use splitci_worker::protocol::message::{Exit, FromWorker, Limits, Start, Stopped, ToWorker};

use crate::harness::{Setup, Worker, assert_gone, limits, lives, signal, start, unit};

/// A framework deaf to TERM with a child in a session of its own that has lost its parent; gives both pids.
fn stubborn(worker: &mut Worker) -> [i32; 2] {
    let script = "deaf()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True); hang()
    os._exit(0)
os.wait(); begin(); serve(); bye()";
    worker.send(&ToWorker::Start(start(script)));
    let heard = worker.until(|message| matches!(message, FromWorker::Ready { .. }));
    let ready = heard.messages().find_map(|message| if let FromWorker::Ready { pid, .. } = message { Some(*pid) } else { None });
    let mut text = heard.text();
    if text.is_empty() {
        text = worker.until(|message| matches!(message, FromWorker::Output { .. })).text();
    }
    let pids = [i32::try_from(ready.expect("a pid")).expect("a pid"), text.trim().parse().expect("a pid")];
    assert!(pids.iter().all(|pid| lives(*pid)));
    pids
}

#[test]
fn the_end_of_its_input_kills_everything() {
    let mut worker = Worker::new();
    let pids = stubborn(&mut worker);
    worker.close_input();
    assert_eq!(worker.exit_status(), 0);
    pids.into_iter().for_each(assert_gone);
    assert_eq!(fs_err::read_dir(worker.run_dir()).expect("there").count(), 0);
}

#[test]
fn the_order_to_exit_kills_everything() {
    let mut worker = Worker::new();
    let pids = stubborn(&mut worker);
    worker.send(&ToWorker::Exit);
    assert_eq!(worker.exit_status(), 0);
    pids.into_iter().for_each(assert_gone);
}

#[test]
fn silence_ends_the_worker_and_beats_keep_it() {
    let mut worker = Worker::with(&Setup { silence_ms: Some(3000), ..Setup::default() });
    let pids = stubborn(&mut worker);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        worker.send(&ToWorker::Beat);
    }
    assert!(pids.iter().all(|pid| lives(*pid)));
    assert_eq!(worker.exit_status(), 3);
    pids.into_iter().for_each(assert_gone);
}

#[test]
fn garbage_on_its_input_ends_the_worker() {
    let mut worker = Worker::new();
    let pids = stubborn(&mut worker);
    worker.send_bytes(b"Traceback (most recent call last):");
    let heard = worker.until(|message| matches!(message, FromWorker::Fault { .. }));
    assert!(heard.faults().contains("does not carry the worker protocol"));
    assert_eq!(worker.exit_status(), 2);
    pids.into_iter().for_each(assert_gone);
}

#[test]
fn a_reader_that_leaves_ends_the_worker() {
    let mut worker = Worker::new();
    let pids = stubborn(&mut worker);
    worker.stop_reading();
    assert_eq!(worker.exit_status(), 0);
    pids.into_iter().for_each(assert_gone);
}

#[test]
fn term_aborts_the_session_and_then_ends_the_worker() {
    let mut worker = Worker::new();
    let pids = stubborn(&mut worker);
    signal(worker.pid(), 15);
    let heard = worker.until_ended();
    assert_eq!((heard.ended().stopped, heard.ended().how), (Some(Stopped::Aborted), Exit::Signal(9)));
    assert_eq!(worker.exit_status(), 143);
    pids.into_iter().for_each(assert_gone);
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut worker = Worker::new();
    let order = Start { limits: Limits { grace_ms: 60_000, ..limits() }, ..start("deaf(); begin(); serve(); bye()") };
    worker.send(&ToWorker::Start(order));
    worker.until(|message| matches!(message, FromWorker::Ready { .. }));
    signal(worker.pid(), 2);
    std::thread::sleep(Duration::from_millis(100));
    signal(worker.pid(), 2);
    assert_eq!(worker.exit_status(), 143);
}

#[test]
fn killing_the_worker_kills_the_framework() {
    let mut worker = Worker::new();
    let [framework, stray] = stubborn(&mut worker);
    signal(worker.pid(), 9);
    assert_eq!(worker.exit_status(), 128 + 9);
    assert_gone(framework);
    // What the framework left to itself is the engine's to sweep: with the worker its only keeper is gone.
    signal(stray, 9);
}

#[test]
fn strays_are_killed_and_counted_at_the_sessions_end() {
    let script = "begin()
for _ in range(3):
    if os.fork() == 0:
        os.setsid(); hang()
serve(); bye()";
    let mut worker = Worker::new();
    worker.run_all(start(script), 1);
    let heard = worker.until_ended();
    assert_eq!((heard.ended().strays, heard.ended().how, heard.ended().stopped), (3, Exit::Code(0), None));
}

#[test]
fn a_stray_that_holds_the_pipes_and_floods_them_does_not_hold_up_the_end() {
    let script = "begin()
if os.fork() == 0:
    while True:
        os.write(1, b'x' * 65536)
serve(); bye()";
    let mut worker = Worker::new();
    worker.run_all(start(script), 1);
    let heard = worker.until_ended();
    assert_eq!((heard.ended().strays, heard.ended().bye, heard.places().len()), (1, true, 2));
}

#[test]
fn what_was_printed_last_arrives_before_the_end() {
    let mut worker = Worker::new();
    worker.run_all(start("begin(); serve(); bye(); os.write(1, b'y' * 200000); os.write(2, b'last'); os._exit(0)"), 1);
    let heard = worker.until_ended();
    assert_eq!((heard.output(false).len(), heard.output(true).as_slice()), (200_000, b"last".as_slice()));
}

#[test]
fn while_nobody_reads_results_wait_and_none_is_lost() {
    let mut worker = Worker::with(&Setup { unread: true, ..Setup::default() });
    let script = "begin(); serve(tests=3000, during=lambda u, o: dict(output=b'o' * 10000)); bye()";
    worker.send(&ToWorker::Start(Start { limits: Limits { test_ms: 1000, ..limits() }, ..start(script) }));
    worker.send(&ToWorker::Run { session: 1, units: vec![unit(0)] });
    worker.send(&ToWorker::Finish { session: 1 });
    // Longer than the test deadline: the framework waits for us, and that is not its fault.
    std::thread::sleep(Duration::from_secs(2));
    assert!(worker.peak_rss() < 20 << 20, "{} bytes", worker.peak_rss());
    worker.start_reading();
    let heard = worker.until_ended();
    assert_eq!((heard.places().len(), heard.ended().stopped), (3000, None));
}

#[test]
fn the_worker_is_not_open_to_others_of_its_user() {
    let script = "
try:
    os.open('/proc/%d/fd/1' % os.getppid(), os.O_WRONLY); print('open')
except PermissionError:
    print('closed')
";
    let mut worker = Worker::new();
    let mut order = start(script);
    // Root may do everything: the framework gives that up first.
    order.env.push(("DROP".into(), "1".into()));
    order.env[0].1 = format!("os.getuid() == 0 and (os.setgid(65534), os.setuid(65534)){script}");
    worker.send(&ToWorker::Start(order));
    assert_eq!(worker.until_ended().text(), "closed\n");
}

#[test]
fn the_program_tells_its_version_and_refuses_other_arguments() {
    let run = |argument: &str| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_splitci-worker"))
            .arg(argument)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("started");
        let mut text = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
        (child.wait().expect("ended").code(), text)
    };
    assert_eq!(run("--version"), (Some(0), format!("splitci-worker {} (protocol 1.2)\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run("--help").0, Some(2));
}
