//! The real worker at the end of two pipes, with the scripted fake framework inside.

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use splitci_worker::protocol::frame::{Decoder, Frame, encode};
use splitci_worker::protocol::message::{Ended, FinishedTest, FromWorker, Limits, RunUnit, Select, Start, ToWorker};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    /// Until somebody reads.
    output: Option<ChildStdout>,
    frames: Option<Receiver<Frame<FromWorker>>>,
    runs: tempfile::TempDir,
}

/// How a worker is started besides the usual.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) silence_ms: Option<u64>,
    pub(crate) run_dir: Option<PathBuf>,
    /// Nobody reads its frames until `start_reading`.
    pub(crate) unread: bool,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self::with(&Setup::default())
    }

    pub(crate) fn with(setup: &Setup) -> Self {
        let runs = tempfile::tempdir().expect("a run directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_splitci-worker"));
        command.env("SPLITCI_RUN_DIR", setup.run_dir.as_deref().unwrap_or(runs.path())).env("INHERITED", "yes");
        if let Some(ms) = setup.silence_ms {
            command.env("SPLITCI_SILENCE_MS", ms.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the worker starts");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut worker = Self { child, input, output, frames: None, runs };
        if !setup.unread {
            worker.start_reading();
        }
        worker
    }

    pub(crate) fn start_reading(&mut self) {
        let mut output = self.output.take().expect("not read yet");
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            let mut decoder = Decoder::default();
            let mut buffer = vec![0; 1 << 16];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                decoder.push(&buffer[..n]);
                while let Some(frame) = decoder.next().expect("frames") {
                    // Nobody waits for frames any more: the reader leaves, and its end of the pipe with it.
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            }
        });
        self.frames = Some(frames);
        assert!(matches!(self.next().message, FromWorker::Hello { .. }), "hello comes first");
    }

    /// The reader leaves at the next frame; one is provoked.
    pub(crate) fn stop_reading(&mut self) {
        self.frames = None;
        self.send(&ToWorker::Start(Start { session: 99, ..start("") }));
    }

    pub(crate) fn peak_rss(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.runs.path()
    }

    pub(crate) fn send(&mut self, message: &ToWorker) {
        self.send_with(message, &[]);
    }

    pub(crate) fn send_with(&mut self, message: &ToWorker, blob: &[u8]) {
        let mut bytes = Vec::new();
        encode(message, blob, &mut bytes);
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("not closed").write_all(bytes).expect("the worker reads");
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Starts a session and gives it units 0.. named as listed, and the order to finish.
    pub(crate) fn run_all(&mut self, start: Start, units: u32) {
        let session = start.session;
        self.send(&ToWorker::Start(start));
        self.send(&ToWorker::Run { session, units: (0..units).map(unit).collect() });
        self.send(&ToWorker::Finish { session });
    }

    pub(crate) fn next(&self) -> Frame<FromWorker> {
        self.frames.as_ref().expect("read").recv_timeout(PATIENCE).expect("a frame in time")
    }

    /// Everything up to and with the first that fits.
    pub(crate) fn until(&self, fits: impl Fn(&FromWorker) -> bool) -> Heard {
        let mut frames = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.frames.as_ref().expect("read").recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(frame) => {
                    let found = fits(&frame.message);
                    frames.push(frame);
                    if found {
                        return Heard(frames);
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("nothing fits among {frames:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the worker left after {frames:#?}"),
            }
        }
    }

    /// Everything up to the session's end.
    pub(crate) fn until_ended(&self) -> Heard {
        self.until(|message| matches!(message, FromWorker::Ended(_)))
    }

    /// The worker's exit status, or 128 and its signal.
    pub(crate) fn exit_status(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the worker does not end");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        if std::thread::panicking() {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

/// Frames in the order in which they came.
#[derive(Debug)]
pub(crate) struct Heard(pub(crate) Vec<Frame<FromWorker>>);

impl Heard {
    pub(crate) fn messages(&self) -> impl Iterator<Item = &FromWorker> {
        self.0.iter().map(|frame| &frame.message)
    }

    pub(crate) fn ended(&self) -> &Ended {
        self.messages().find_map(|message| if let FromWorker::Ended(ended) = message { Some(ended) } else { None }).expect("an end")
    }

    pub(crate) fn faults(&self) -> String {
        let texts: Vec<&str> = self
            .messages()
            .filter_map(|message| if let FromWorker::Fault { text, .. } = message { Some(text.as_str()) } else { None })
            .collect();
        texts.join("\n")
    }

    pub(crate) fn notices(&self) -> String {
        let texts: Vec<&str> = self
            .messages()
            .filter_map(|message| if let FromWorker::Notice { text, .. } = message { Some(text.as_str()) } else { None })
            .collect();
        texts.join("\n")
    }

    /// Each finished test with its output and details.
    pub(crate) fn finished(&self) -> Vec<(FinishedTest, Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        for frame in &self.0 {
            let FromWorker::Finished { tests, .. } = &frame.message else { continue };
            let mut blob = frame.blob.as_slice();
            for test in tests {
                let mut take = |len: u32| {
                    let (bytes, rest) = blob.split_at(len as usize);
                    blob = rest;
                    bytes.to_vec()
                };
                let output = take(test.output);
                let details = take(test.details);
                all.push((test.clone(), output, details));
            }
            assert!(blob.is_empty(), "the blob is used up");
        }
        all
    }

    /// (unit, ordinal) of each finished test.
    pub(crate) fn places(&self) -> Vec<(u32, u32)> {
        self.finished().iter().map(|(test, ..)| (test.unit, test.ordinal)).collect()
    }

    /// What the process printed.
    pub(crate) fn output(&self, of_stderr: bool) -> Vec<u8> {
        let mut all = Vec::new();
        for frame in &self.0 {
            if matches!(&frame.message, FromWorker::Output { stderr, .. } if *stderr == of_stderr) {
                all.extend_from_slice(&frame.blob);
            }
        }
        all
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output(false)).into_owned() + &String::from_utf8_lossy(&self.output(true))
    }
}

/// Session 1: the fake framework with this script.
pub(crate) fn start(script: &str) -> Start {
    Start {
        session: 1,
        argv: vec!["python3".into(), "-E".into(), "-S".into(), fake_framework().display().to_string()],
        cwd: None,
        env: vec![("FAKE_SCRIPT".into(), script.into())],
        env_prepend: Vec::new(),
        env_remove: Vec::new(),
        files: Vec::new(),
        dump_signal: None,
        limits: limits(),
        terminal: None,
    }
}

pub(crate) fn fake_framework() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_framework.py")
}

pub(crate) fn limits() -> Limits {
    Limits { boot_ms: 20_000, test_ms: 20_000, finish_ms: 20_000, grace_ms: 300, test_output: 256 << 10, session_output: 8 << 20 }
}

/// Unit `n` whole, under fence 100 + n.
pub(crate) fn unit(n: u32) -> RunUnit {
    RunUnit { unit: n, fence: 100 + u64::from(n), name: format!("unit{n}"), select: Select::All, from: 0, until: None, careful: false }
}

/// Whether a process is there and no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// Waits until a process is gone.
pub(crate) fn assert_gone(pid: i32) {
    let until = Instant::now() + Duration::from_secs(10);
    while lives(pid) {
        assert!(Instant::now() < until, "process {pid} still lives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(pid: i32, number: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    let number = rustix::process::Signal::from_named_raw(number).expect("a signal");
    rustix::process::kill_process(pid, number).expect("signalled");
}
