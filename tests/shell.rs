//! `splitci repro --shell` and `--tty` at a real terminal: what is typed arrives where the tests run, and nothing is left when it is over.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use splitci_coordinator::model::event::EventKind;
use splitci_tests::engine::{docker_says, require};
use splitci_tests::python::Python;
use splitci_tests::sandbox::GONE_WITHIN;
use splitci_tests::{Done, Sandbox, Splitci, program, root};

const RED: &str = "def test_fine():\n    pass\n\n\ndef test_total():\n    assert 3 == 4\n";
const PYTEST: &str = "RUN apt-get update \\\n && apt-get install -y --no-install-recommends python3 python3-pytest \\\n \
                      && rm -rf /var/lib/apt/lists/*\n";

/// splitci on a terminal of 81 columns and 23 rows, with somebody who waits for words and answers; see `fixtures/terminal/terminal.py`.
fn typed(sandbox: &Sandbox, line: &str, steps: &serde_json::Value) -> Done {
    // One terminal at a time: with two, keys that are signals did not arrive now and then, and it is not known why.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let script = root().join("fixtures/terminal/terminal.py").into_os_string();
    let program = program::binary().as_os_str().to_owned();
    let words = [script, OsString::from(steps.to_string()), program].into_iter().chain(program::words(line));
    sandbox.dress(Splitci::through("python3", words), Python::with_friends()).env("SHELL", "/bin/bash").run()
}

/// A red run: its name, and its image's id if it has one.
fn red(sandbox: &Sandbox, options: &str) -> (String, String) {
    let done = sandbox.splitci(&format!("run --shards 1 --json {options}")).env("BY_NAME", "there").patience(Duration::from_mins(5)).run();
    done.expect_exit(1);
    let image = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { identity, .. } => Some(identity.config),
        _ => None,
    });
    (done.facts().run, image.unwrap_or_default())
}

/// A project whose image has a user and an entrypoint of its own, and that no other test has.
fn contained(name: &str) -> Sandbox {
    require();
    let entry = "#!/bin/sh\nexport PREPARED=yes\nexec \"$@\"\n";
    let dockerfile = format!(
        "FROM debian:bookworm-slim\n{PYTEST}RUN useradd app\nCOPY --chmod=755 entry.sh /entry.sh\nWORKDIR /app\nCOPY . .\nUSER app\n\
         ENTRYPOINT [\"/entry.sh\"]\n"
    );
    Sandbox::empty().file("Dockerfile", &dockerfile).file("entry.sh", entry).file("tests/test_cart.py", RED).file("name", name)
}

fn expect_no_container_of(image: &str) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = docker_says(&format!("ps --all --quiet --filter ancestor={image}"));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "containers {GONE_WITHIN:?} after the end: {left}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_shell_in_a_container_is_where_the_tests_ran() {
    let sandbox = contained("a shell");
    let (run, image) = red(&sandbox, "--engine docker --env GREETING=hello --env BY_NAME --network none");
    let steps = serde_json::json!([
        ["$ ", "stty size; id -un; pwd; echo $GREETING-$PREPARED-$SPLITCI_SHARD; ls /sys/class/net; env | grep -c DRIVER\r"],
        ["hello-yes-1\r\n", {"size": [100, 40]}],
        ["$ ", "stty size; python3 -m pytest -q --color=no -p no:cacheprovider tests; exit 7\r"],
    ]);
    let done = typed(&sandbox, &format!("repro {run} --shell"), &steps);
    done.expect_exit(7).expect_says("23 81\r\napp\r\n/app\r\nhello-yes-1\r\nlo\r\n0\r\n").expect_says("40 100\r\n");
    done.expect_says(&format!("session 1.1 of run {run} ran"))
        .expect_says("was started as `pytest` and ran, in this order: tests/test_cart.py");
    done.expect_says("not set here: BY_NAME").expect_says("1 failed, 1 passed");
    expect_no_container_of(&image);
}

#[test]
fn a_shell_whose_splitci_is_killed_leaves_no_container() {
    let sandbox = contained("a killed splitci");
    let (run, image) = red(&sandbox, "--engine docker");
    for (signal, code) in [(9, 137), (1, 129), (15, 143)] {
        let steps = serde_json::json!([["$ ", "sleep 1000\r"], ["sleep 1000", {"signal": signal}]]);
        typed(&sandbox, &format!("repro {run} --shell"), &steps).expect_exit(code);
        expect_no_container_of(&image);
    }
}

#[test]
fn a_shell_whose_container_is_killed_says_so() {
    let sandbox = contained("a killed container");
    let (run, image) = red(&sandbox, "--engine docker");
    // Process 1 ends when its line does; the shell's user is not root and cannot kill it from within.
    let killer = std::thread::spawn({
        let image = image.clone();
        move || {
            let deadline = Instant::now() + Duration::from_mins(1);
            while Instant::now() < deadline {
                let found = docker_says(&format!("ps --quiet --filter ancestor={image}"));
                if !found.is_empty() {
                    std::thread::sleep(Duration::from_secs(2));
                    docker_says(&format!("kill {found}"));
                    return;
                }
            }
        }
    });
    let done = typed(&sandbox, &format!("repro {run} --shell"), &serde_json::json!([["$ ", "sleep 1000\r"]]));
    killer.join().expect("the killer");
    assert!(matches!(done.code, Some(3 | 137)), "of {done}");
    expect_no_container_of(&image);
}

#[test]
fn an_image_without_a_shell_is_an_error_that_says_so() {
    require();
    let build = "FROM debian:bookworm-slim AS build\n";
    let shells = "RUN [\"rm\", \"/bin/sh\", \"/bin/dash\", \"/bin/bash\", \"/bin/rm\"]\n";
    let dockerfile = format!("{build}{PYTEST}{shells}FROM scratch\nCOPY --from=build / /\nWORKDIR /app\nCOPY . .\n");
    let sandbox = Sandbox::empty().file("Dockerfile", &dockerfile).file("tests/test_cart.py", RED).file("name", "no shell");
    let (run, image) = red(&sandbox, "--engine docker");
    let done = typed(&sandbox, &format!("repro {run} --shell"), &serde_json::json!([]));
    done.expect_exit(3).expect_says("the image has no shell: none of /bin/bash, /bin/sh").expect_says("hint:");
    expect_no_container_of(&image);
}

#[test]
fn a_shell_of_the_process_engine_is_the_users_own() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", RED);
    let (run, _) = red(&sandbox, "--engine process --env GREETING=hello");
    let line = format!("repro {run} --test tests/test_cart.py::test_total --shell");
    let steps = serde_json::json!([
        ["# ", "stty size; pwd; echo $GREETING-$SPLITCI_SHARD; sleep 1000 &\r"],
        ["# ", "python3 -c 'import time; print(1 + 1, \"up\", flush=True); time.sleep(1000)'\r"],
        ["2 up\r\n", "\u{3}"],
        ["KeyboardInterrupt", ""],
        ["# ", "exit 7\r"],
    ]);
    let done = typed(&sandbox, &line, &steps);
    let place = fs_err::canonicalize(sandbox.project()).expect("a project");
    done.expect_exit(7).expect_says(&format!("23 81\r\n{}\r\nhello-1\r\n", place.display()));
    done.expect_says("ended what `/bin/bash` left running");
    sandbox.expect_no_processes();
    for (signal, code) in [(9, 137), (1, 129), (15, 143)] {
        let steps = serde_json::json!([["# ", "sleep 1000\r"], ["sleep 1000", {"signal": signal}]]);
        typed(&sandbox, &line, &steps).expect_exit(code);
        sandbox.expect_no_processes();
    }
}

#[test]
fn a_shell_without_a_terminal_is_an_error_that_teaches() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", RED);
    let (run, _) = red(&sandbox, "--engine process");
    let done = sandbox.splitci(&format!("repro {run} --shell")).run();
    done.expect_exit(2).expect_says("needs a terminal").expect_says("ssh -t");
    sandbox.splitci(&format!("repro {run} --shell --json")).run().expect_exit(2).expect_says("cannot be used with");
}

const ASKS: &str =
    "import os\n\n\ndef test_asks():\n    answer = 0\n    breakpoint()\n    assert answer == 42\n\n\ndef test_fine():\n    pass\n";

#[test]
fn a_debugger_is_talked_to_at_the_terminal() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", ASKS);
    let steps = serde_json::json!([
        ["(Pdb) ", "import shutil; print(shutil.get_terminal_size(), os.ttyname(0) == os.ttyname(1), answer)\r"],
        ["lines=23) True 0", {"size": [100, 40]}],
        ["(Pdb) ", "print(shutil.get_terminal_size())\r"],
        ["columns=100, lines=40", "answer = 42\r"],
        ["(Pdb) ", "c\r"],
    ]);
    let done = typed(&sandbox, "run --engine process --tty --timeout 1", &steps);
    done.expect_exit(0).expect_says("PASSED  2 tests: 2 passed");
    sandbox.expect_no_processes();
    sandbox.expect_no_private_directories();
    // A wrong answer is a failure like any other.
    let steps = serde_json::json!([["(Pdb) ", "c\r"]]);
    typed(&sandbox, "run --engine process --shards 1 --tty", &steps).expect_exit(1).expect_says("FAILED  2 tests: 1 passed, 1 failed");
    sandbox.expect_no_processes();
}

#[test]
fn a_failure_is_looked_into_where_it_happened() {
    let sandbox = contained("a debugger");
    let (run, image) = red(&sandbox, "--engine docker");
    let steps = serde_json::json!([["(Pdb) ", "import os; print(os.getcwd(), os.environ[\"PREPARED\"], 6 * 7)\r"], ["/app yes 42", "q\r"]]);
    let line = format!("repro {run} --test tests/test_cart.py::test_total --tty --env PYTEST_ADDOPTS=--pdb");
    let done = typed(&sandbox, &line, &steps);
    assert!(matches!(done.code, Some(1)), "of {done}");
    expect_no_container_of(&image);
}

#[test]
fn who_leaves_the_terminal_leaves_nothing_behind() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", ASKS);
    for (signal, code) in [(9, 137), (1, 129), (15, 143)] {
        let steps = serde_json::json!([["(Pdb) ", {"signal": signal}]]);
        typed(&sandbox, "run --engine process --tty", &steps).expect_exit(code);
        sandbox.expect_no_processes();
    }
    // Ctrl-C is for the framework, which ends.
    let steps = serde_json::json!([["(Pdb) ", "import time; time.sleep(1000)\r"], ["sleep(1000)", "\u{3}"], ["KeyboardInterrupt", "q\r"]]);
    let done = typed(&sandbox, "run --engine process --tty", &steps);
    assert!(done.code.is_some_and(|code| code != 0), "of {done}");
    sandbox.expect_no_processes();
    let piped = sandbox.splitci("run --engine process --tty").run();
    piped.expect_exit(2).expect_says("`--tty` needs a terminal");
    sandbox.splitci("run --engine process --tty --json").run().expect_exit(2).expect_says("cannot be used with");
    sandbox.splitci("run --engine process --tty --shards 4").run().expect_exit(2).expect_says("there is one terminal");
}
