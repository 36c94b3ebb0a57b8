//! What takes too long or is too much.

use splitci_worker::protocol::message::{Exit, FromWorker, Limits, Slot, Start, Stopped, ToWorker};

use crate::harness::{Heard, Worker, limits, start, unit};

fn run_within(limits: Limits, script: &str) -> Heard {
    let mut worker = Worker::new();
    worker.run_all(Start { limits, ..start(script) }, 2);
    worker.until_ended()
}

#[test]
fn a_test_that_never_ends_prints_its_stacks_and_is_terminated() {
    let mut worker = Worker::new();
    // A named signal and a real-time one; the entrypoint above the driver would die of either.
    for number in [10, 50] {
        let script = format!("import faulthandler; faulthandler.register({number}); begin(); serve(during=lambda u, o: o == 1 and hang())");
        let mut order = Start { dump_signal: Some(number), limits: Limits { test_ms: 300, ..limits() }, ..start(&script) };
        order.argv = vec!["sh".into(), "-c".into(), format!("{}; exit $?", order.argv.join(" "))];
        worker.run_all(order, 1);
        let heard = worker.until_ended();
        assert_eq!((heard.ended().stopped, heard.ended().how), (Some(Stopped::TestTimeout), Exit::Signal(15)));
        assert_eq!(heard.ended().at, Slot::Test { unit: 0, ordinal: 1 });
        assert!(heard.text().contains("in hang"), "{}", heard.text());
    }
}

#[test]
fn a_test_deaf_to_term_is_killed_with_all_that_descends_from_it() {
    let script = "deaf()
if os.fork() == 0:
    os.setsid(); hang()
begin(); serve(during=lambda u, o: hang())";
    let heard = run_within(Limits { test_ms: 200, grace_ms: 200, ..limits() }, script);
    assert_eq!((heard.ended().stopped, heard.ended().how, heard.ended().strays), (Some(Stopped::TestTimeout), Exit::Signal(9), 0));
}

#[test]
fn a_stopped_framework_is_ended_all_the_same() {
    let heard = run_within(Limits { test_ms: 200, ..limits() }, "begin(); serve(during=lambda u, o: os.kill(os.getpid(), signal.SIGSTOP))");
    assert_eq!((heard.ended().stopped, heard.ended().how), (Some(Stopped::TestTimeout), Exit::Signal(15)));
    let heard = run_within(
        Limits { test_ms: 200, ..limits() },
        "deaf(); begin(); serve(during=lambda u, o: (os.kill(os.getpid(), signal.SIGSTOP), hang()))",
    );
    assert_eq!(heard.ended().how, Exit::Signal(9));
}

#[test]
fn a_driver_that_takes_a_unit_and_does_nothing_runs_into_the_test_deadline() {
    let heard = run_within(Limits { test_ms: 200, ..limits() }, "begin(); hang()");
    assert_eq!((heard.ended().stopped, heard.ended().at), (Some(Stopped::TestTimeout), Slot::Idle));
}

#[test]
fn a_session_of_many_short_tests_does_not_run_into_the_test_deadline() {
    let heard = run_within(Limits { test_ms: 1500, ..limits() }, "begin(); serve(tests=10, during=lambda u, o: time.sleep(0.1)); bye()");
    assert_eq!((heard.ended().stopped, heard.places().len()), (None, 20));
}

#[test]
fn an_idle_driver_runs_into_no_deadline() {
    let mut worker = Worker::new();
    let limits = Limits { test_ms: 1000, ..limits() };
    worker.send(&ToWorker::Start(Start { limits, ..start("begin(); serve(); bye()") }));
    worker.until(|message| matches!(message, FromWorker::Ready { .. }));
    std::thread::sleep(std::time::Duration::from_millis(1300));
    worker.send(&ToWorker::Run { session: 1, units: vec![unit(0)] });
    worker.send(&ToWorker::Finish { session: 1 });
    assert_eq!(worker.until_ended().ended().stopped, None);
}

#[test]
fn a_boot_without_units_is_ended() {
    let heard = run_within(Limits { boot_ms: 1500, ..limits() }, "print('booting', flush=True); hang()");
    assert_eq!((heard.ended().stopped, heard.ended().hello, heard.text().as_str()), (Some(Stopped::BootTimeout), false, "booting\n"));
    let heard = run_within(Limits { boot_ms: 1500, ..limits() }, "hello(); hang()");
    assert_eq!((heard.ended().stopped, heard.ended().hello), (Some(Stopped::BootTimeout), true));
}

#[test]
fn a_session_that_does_not_close_is_ended() {
    let limits = Limits { finish_ms: 1000, ..limits() };
    assert_eq!(run_within(limits, "begin(); serve(); hang()").ended().stopped, Some(Stopped::FinishTimeout));
    let heard = run_within(limits, "begin(); serve(); bye(); hang()");
    assert_eq!((heard.ended().stopped, heard.ended().bye), (Some(Stopped::FinishTimeout), true));
}

#[test]
fn a_long_test_is_told_of_while_it_runs() {
    let mut worker = Worker::new();
    worker.run_all(start("begin(); serve(tests=1, during=lambda u, o: time.sleep(1.4)); bye()"), 1);
    let heard = worker.until_ended();
    let running: Vec<_> = heard
        .messages()
        .filter_map(|message| if let FromWorker::Running { at, for_ms, .. } = message { Some((*at, *for_ms)) } else { None })
        .collect();
    assert!(matches!(running[..], [(Slot::Test { unit: 0, ordinal: 0 }, 1000..), ..]), "{running:?}");
}

#[test]
fn an_abort_ends_the_session_at_once() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(Start { dump_signal: Some(10), ..start("begin(); serve(during=lambda u, o: hang()); bye()") }));
    worker.send(&ToWorker::Run { session: 1, units: vec![unit(0)] });
    worker.until(|message| matches!(message, FromWorker::Declared { .. }));
    worker.send(&ToWorker::Abort { session: 1 });
    let heard = worker.until_ended();
    assert_eq!((heard.ended().stopped, heard.ended().how), (Some(Stopped::Aborted), Exit::Signal(15)));
}

#[test]
fn output_of_one_test_keeps_its_head_and_tail() {
    let script = "begin(); serve(tests=1, during=lambda u, o: dict(output=b'h' + b'x' * 1000000 + b't', details=b'd' * 100)); bye()";
    let heard = run_within(Limits { test_output: 1000, ..limits() }, script);
    let (test, output, details) = heard.finished().remove(0);
    let kept = String::from_utf8(output).expect("text");
    assert!(kept.starts_with("hx") && kept.ends_with("xt") && kept.contains("\n[... 999002 bytes dropped ...]\n"));
    assert!(test.output < 1100 && details.len() == 100);
}

#[test]
fn a_flood_of_output_is_bounded_in_frames_and_in_memory() {
    let mut worker = Worker::new();
    let script = "begin(); os.write(1, b'first\\n')
for n in range(1600):
    os.write(1, b'x' * 65536)
os.write(1, b'last\\n')
serve(); bye()";
    worker.run_all(Start { limits: Limits { session_output: 1 << 20, ..limits() }, ..start(script) }, 1);
    let heard = worker.until_ended();
    let output = heard.output(false);
    assert!(output.starts_with(b"first\n") && output.ends_with(b"last\n"));
    assert!(output.len() < (1 << 20) + 100, "{}", output.len());
    let dropped = usize::try_from(heard.ended().dropped_output).expect("small");
    assert!(String::from_utf8_lossy(&output).contains(&format!("[... {dropped} bytes dropped ...]")));
    assert!(dropped > 98 << 20);
    assert!(worker.peak_rss() < 12 << 20, "{} bytes", worker.peak_rss());
    assert_eq!(heard.places().len(), 2, "results are not crowded out");
}
