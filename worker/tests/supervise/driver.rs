//! What a driver, or the code under test in its name, may do wrong.

use std::os::unix::net::UnixStream;

use splitci_worker::protocol::message::{Exit, FromWorker, Slot, Stopped, ToWorker};

use crate::harness::{Heard, Worker, start, unit};

fn run(script: &str) -> Heard {
    let mut worker = Worker::new();
    worker.run_all(start(script), 2);
    worker.until_ended()
}

/// The driver breaks the protocol: it is named, and the session is ended for it.
fn assert_lost(script: &str, named: &str) -> Heard {
    let heard = run(script);
    assert_eq!(heard.ended().stopped, Some(Stopped::DriverLost), "{script}: {heard:#?}");
    assert!(heard.faults().contains(named), "{script}: {}", heard.faults());
    heard
}

#[test]
fn an_exit_inside_a_test_leaves_the_test_in_the_slot() {
    let heard = run("begin(); serve(during=lambda u, o: o == 1 and (driver.flush(), os._exit(0)))");
    let ended = heard.ended();
    assert_eq!((ended.how, ended.hello, ended.bye, ended.stopped), (Exit::Code(0), true, false, None));
    assert_eq!((ended.at, heard.places()), (Slot::Test { unit: 0, ordinal: 1 }, vec![(0, 0)]));
}

#[test]
fn a_crash_is_told_with_its_signal() {
    for (name, signal) in [("SIGSEGV", 11), ("SIGABRT", 6), ("SIGKILL", 9)] {
        let heard = run(&format!("begin(); serve(during=lambda u, o: os.kill(os.getpid(), signal.{name}))"));
        assert_eq!((heard.ended().how, heard.ended().at), (Exit::Signal(signal), Slot::Test { unit: 0, ordinal: 0 }));
        assert!(!heard.ended().oom);
    }
}

#[test]
fn a_status_after_bye_is_told_as_it_is() {
    let heard = run("begin(); serve(); bye(0); sys.exit(4)");
    assert_eq!((heard.ended().how, heard.ended().bye), (Exit::Code(4), true));
}

#[test]
fn a_bye_without_units_carries_the_errors() {
    let heard = run("hello(); bye(2, 'conftest is broken'); sys.exit(2)");
    let errors =
        heard.messages().find_map(|message| if let FromWorker::Bye { errors, .. } = message { Some(errors.clone()) } else { None });
    assert_eq!((errors.as_deref(), heard.ended().how), (Some("conftest is broken"), Exit::Code(2)));
    assert_eq!(heard.ended().stopped, None);
}

#[test]
fn a_framework_without_hello_ends_without_one() {
    let heard = run("print('usage: fake'); sys.exit(2)");
    assert_eq!((heard.ended().how, heard.ended().hello, heard.text().as_str()), (Exit::Code(2), false, "usage: fake\n"));
}

#[test]
fn what_is_no_message_ends_the_session() {
    assert_lost("begin(); driver.raw(b'GET / HTTP/1.1\\r\\n'); hang()", "sent what is no message: a message claims");
    assert_lost("begin(); driver.send(4, b''); hang()", "ends before its fields do");
    assert_lost("driver.raw(b'\\xff' * 100); hang()", "claims");
}

#[test]
fn another_major_version_is_refused_naming_both() {
    assert_lost("hello(major=2); hang()", "speaks protocol 2.0, this worker speaks 1.2");
}

#[test]
fn messages_out_of_order_end_the_session() {
    assert_lost("units('a'); hang()", "sent `units` where that is not allowed");
    assert_lost("hello(); hello(); hang()", "sent `hello` where");
    assert_lost("begin(); units('a'); hang()", "sent `units` where");
    assert_lost("begin(); declared(0, ['x']); declared(0, ['x']); hang()", "sent `declared` where");
    assert_lost("begin(); finished(0, 0); driver.flush(); hang()", "sent `finished` where");
    assert_lost("begin(); unit_end(0); hang()", "sent `unit end` where");
}

#[test]
fn a_unit_that_was_not_given_ends_the_session() {
    assert_lost("begin(); declared(7, ['x']); hang()", "spoke of unit 7 while unit 0 runs");
}

#[test]
fn tests_that_were_not_declared_or_come_twice_end_the_session() {
    let two = "begin(); declared(0, ['x', 'y']); finished(0, 0);";
    assert_lost(&format!("{two} finished(0, 2); driver.flush(); hang()"), "finished test 2 of unit 0, which is not among");
    assert_lost(&format!("{two} finished(0, 0); driver.flush(); hang()"), "finished test 0 of unit 0 after test 0");
    assert_lost("begin(); declared(0, ['x', 'y'], [1]); finished(0, 0); driver.flush(); hang()", "not among");
    assert_lost("begin(); declared(0, ['x', 'y'], [1, 1]); hang()", "selected ordinal 1");
    assert_lost("begin(); declared(0, ['x', 'y'], [2]); hang()", "selected ordinal 2");
}

#[test]
fn sums_that_do_not_match_end_the_session() {
    let heard =
        assert_lost("begin(); declared(0, ['x']); finished(0, 0); unit_end(0, count=2); hang()", "finished 2 tests of unit 0, 1 arrived");
    assert_eq!(heard.places(), [(0, 0)], "what was right before the lie counts");
    let heard = assert_lost("begin(); serve(); bye(count=5); hang()", "finished 5 tests in all, 4 arrived");
    assert!(!heard.ended().bye);
}

#[test]
fn a_connection_that_closes_while_its_process_lives_is_lost() {
    let heard = run("begin(); driver.socket.close(); hang()");
    assert_eq!((heard.ended().stopped, heard.ended().how), (Some(Stopped::DriverLost), Exit::Signal(15)));
}

#[test]
fn what_comes_after_bye_is_not_read() {
    let heard = run("begin(); serve(); bye(); driver.raw(b'\\xff' * 1000)");
    assert_eq!((heard.ended().stopped, heard.ended().bye, heard.faults()), (None, true, String::new()));
}

#[test]
fn a_second_connection_is_closed_and_told_of() {
    let heard = run("begin(); s = driver.dial(); print('end', s.recv(1)); serve(); bye()");
    assert!(heard.notices().contains("was refused: it is a second one"), "{}", heard.notices());
    assert_eq!((heard.text().as_str(), heard.ended().how), ("end b''\n", Exit::Code(0)));
}

#[test]
fn a_connection_that_ends_before_hello_leaves_the_place_free() {
    let heard = run("driver.dial().close(); time.sleep(0.1); begin(); serve(); bye()");
    assert_eq!((heard.places().len(), heard.ended().how), (4, Exit::Code(0)));
}

#[test]
fn a_dial_from_outside_of_the_worker_is_refused() {
    let mut worker = Worker::new();
    worker.send(&ToWorker::Start(start("time.sleep(0.3); begin(); serve(); bye()")));
    let socket = worker.run_dir().join("s1/d");
    let stranger = (0..1000).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        UnixStream::connect(&socket).ok()
    });
    let heard = worker.until(|message| matches!(message, FromWorker::Notice { .. }));
    assert!(heard.notices().contains("not a descendant of this worker"), "{}", heard.notices());
    drop(stranger);
    worker.send(&ToWorker::Run { session: 1, units: vec![unit(0)] });
    worker.send(&ToWorker::Finish { session: 1 });
    assert_eq!(worker.until_ended().places().len(), 2);
}

#[test]
fn a_driver_below_an_entrypoint_is_a_descendant() {
    let mut worker = Worker::new();
    let mut order = start("begin(); serve(); bye()");
    let command = order.argv.join(" ");
    order.argv = vec!["sh".into(), "-c".into(), format!("sh -c '{command}; exit $?'; exit $?")];
    worker.run_all(order, 1);
    let heard = worker.until_ended();
    assert_eq!((heard.places().len(), heard.ended().how), (2, Exit::Code(0)));
}

#[test]
fn a_fork_that_goes_on_as_the_framework_is_not_taken_for_it() {
    // The fork keeps the socket and runs on to the end of the script; being silent there is the driver's part, so it says what does not fit.
    let heard = run("begin(); serve(during=lambda u, o: u == 0 and o == 1 and os.fork() and None); bye()");
    let ended = heard.ended();
    assert!(ended.stopped == Some(Stopped::DriverLost) || ended.how == Exit::Code(0), "{heard:#?}");
}

#[test]
fn a_notice_goes_on_to_the_agent() {
    assert_eq!(run("begin(); notice('coverage threshold not checked'); serve(); bye()").notices(), "coverage threshold not checked");
}

#[test]
fn a_slot_cut_short_by_a_test_does_no_harm() {
    let heard = run("begin(); serve(during=lambda u, o: os.truncate(os.environ['SPLITCI_DRIVER_SLOT'], 3), slot=False); bye()");
    assert_eq!(heard.ended().how, Exit::Code(1), "bye writes the slot, which is too short to map: {}", heard.text());
    assert_eq!(heard.places().len(), 4);
}
