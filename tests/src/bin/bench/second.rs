//! A second machine, whose engine is empty, beside a registry that has what the first one built: a line of the source has changed, and everything until the image is ready
//! is measured beside a plain `docker build` on the same empty engine.
//!
//! Packages and wheels come from a mirror on the engine's own network, which leads nowhere else: the cold build is as fast as a mirror can make it. Both machines are
//! one engine, emptied in between.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use splitci_coordinator::model::event::{EventKind, ImageSource, RunEvent};
use splitci_tests::Sandbox;
use splitci_tests::python::Python;
use splitci_tests::registry::Registry;
use splitci_tests::second::SecondEngine;

use crate::measure::{Bar, median, run, wait_for_idle};
use crate::rivals::Contest;

const ROUNDS: usize = 5;
const PORT: u16 = 8099;
const PACKAGES: &str = "python3 python3-pip python3-pytest";
const REQUIREMENTS: &str = "django==5.2.*\nrequests==2.*\npillow==11.*\nlxml==5.*\nsqlalchemy==2.*\npyyaml==6.*\n";
/// Debian's own index of a few packages, made by hand.
const FILL: &str = "apt-get update -qq && apt-get install -y -qq --no-install-recommends --download-only -o Dir::Cache::archives=/out PACKAGES >/dev/null \
 && cd /out && for deb in *.deb; do dpkg-deb -f $deb; printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' \
 $deb $(stat -c %s $deb) $(sha256sum $deb | cut -d ' ' -f 1); done > made && mv made Packages && chmod -R a+rX /out";

/// Prints the table; returns its bar.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    splitci_tests::engine::require();
    let rounds = rounds.unwrap_or(ROUNDS);
    let second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    let mut registry = Registry::start();
    registry.beside(&second);
    let mirror = Mirror::start(&second);
    let shop = Shop::new(&registry, &second, &mirror);
    shop.edit(0);
    empty(&second);
    shop.ours(contest, Some("protected"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        shop.edit(round);
        for turn in [round % 2, (round + 1) % 2] {
            empty(&second);
            wait_for_idle();
            match turn {
                0 => ours.push(shop.ours(contest, None)),
                _ => theirs.push(run(&mut [shop.theirs()]).wall),
            }
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("\n## An empty engine, a warm registry, one line changed, {rounds} rounds\n\n| what | until the image, s |\n|---|---|");
    println!("| splitci | {ours} |\n| `docker build`, cold | {theirs} |");
    vec![Bar::at_most("second engine, empty, warm registry: over a cold `docker build`", 0.45, ours.value / theirs.value, "x")]
}

/// Takes everything but the base from an engine.
fn empty(second: &SecondEngine) {
    for image in second.says("images --quiet --no-trunc").lines() {
        if !second.says(&format!("image inspect --format {{{{.RepoTags}}}} {image}")).contains("debian:bookworm-slim") {
            second.says(&format!("rmi --force {image}"));
        }
    }
    second.says("builder prune --all --force");
}

/// Packages and wheels, served where only the second engine is.
struct Mirror {
    server: Child,
    address: String,
}

impl Mirror {
    fn start(second: &SecondEngine) -> Self {
        let root = splitci_tests::scratch().join("bench-second");
        fill(&root);
        let shown = second.inside("ip").args(["-4", "-oneline", "address", "show", "docker0"]).output().expect("ip runs");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let mut words = shown.split_whitespace().skip_while(|word| *word != "inet").skip(1);
        let address = words.next().and_then(|address| address.split('/').next()).expect("the engine's bridge has an address").to_owned();
        let mut command = second.inside("python3");
        command.args(["-m", "http.server", &PORT.to_string(), "--directory"]).arg(&root).stdin(Stdio::null());
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start python3");
        Self { server, address: format!("{address}:{PORT}") }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        splitci_tests::second::end(&mut self.server);
    }
}

/// Downloads once, with an engine that has a network.
fn fill(root: &Path) {
    let (packages, wheels) = (root.join("packages"), root.join("wheels"));
    fs_err::create_dir_all(&packages).and_then(|()| fs_err::create_dir_all(&wheels)).expect("made");
    if !packages.join("Packages").exists() {
        let script = FILL.replace("PACKAGES", PACKAGES);
        let mount = format!("{}:/out", packages.display());
        let filled = Command::new("docker").args(["run", "--rm", "-v", &mount, "debian:bookworm-slim", "sh", "-c", &script]).output();
        let filled = filled.expect("start docker");
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    }
    let python = Python::with_friends();
    let mut pip = python.command("python");
    pip.args(["-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", "3.11", "--dest"]).arg(&wheels);
    pip.args(["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64"]).args(REQUIREMENTS.lines());
    let loaded = pip.output().expect("start pip");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
}

/// The project.
struct Shop<'a> {
    sandbox: Sandbox,
    registry: &'a Registry,
    second: &'a SecondEngine,
    key: PathBuf,
}

impl<'a> Shop<'a> {
    fn new(registry: &'a Registry, second: &'a SecondEngine, mirror: &Mirror) -> Self {
        let address = &mirror.address;
        let host = address.split(':').next().unwrap_or_default();
        let dockerfile = format!(
            "FROM debian:bookworm-slim\n\
             RUN rm -rf /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] http://{address}/packages ./' > /etc/apt/sources.list \\\n \
             && apt-get update && apt-get install -y --no-install-recommends {PACKAGES} && rm -rf /var/lib/apt/lists/*\n\
             COPY requirements.txt /\n\
             RUN pip install --break-system-packages --no-index --trusted-host {host} --find-links http://{address}/wheels/ -r /requirements.txt\n\
             WORKDIR /app\nCOPY . .\n"
        );
        let sandbox = Sandbox::empty().file("Dockerfile", &dockerfile).file("requirements.txt", REQUIREMENTS);
        let key = sandbox.outside("key.pem");
        let made = sandbox.splitci(&format!("keys new --out {}", key.display())).run();
        let repository = format!("{}/bench-second/cache", registry.host());
        let config =
            format!("[cache]\nlayers = \"{repository}\"\n\n[trust]\nprotected = [\"\"\"\n{}\"\"\"]\npartition = \"main\"\n", made.stdout);
        let sandbox = sandbox
            .file("splitci.toml", &config)
            .file("conftest.py", "")
            .file("tests/test_one.py", "from app import VALUE\n\n\ndef test_one():\n    assert VALUE\n");
        Self { sandbox, registry, second, key }
    }

    fn edit(&self, round: usize) {
        self.sandbox.write("app.py", &format!("VALUE = \"{round}\"\n"));
    }

    /// Seconds until the image is ready. With a level, what was built is sent, and must have arrived.
    fn ours(&self, contest: &Contest, level: Option<&str>) -> f64 {
        let state = self.sandbox.outside(level.unwrap_or("another-machine"));
        // Another machine has no memory.
        fs_err::remove_dir_all(&state).ok();
        let mut command = contest.ours("run --engine docker --shards 1 --json", &self.sandbox.project(), &state);
        command.env("DOCKER_HOST", self.second.address()).env("SPLITCI_CACHE_DIR", state.join("cache"));
        if level.is_some() {
            command.env("SPLITCI_KEY", &self.key);
        }
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("start splitci");
        let mut ready = None;
        for line in std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped"))) {
            let event: RunEvent = serde_json::from_str(&line.expect("a line")).expect("an event");
            if let EventKind::ImageReady { how, steps, .. } = event.kind {
                ready = Some(started.elapsed().as_secs_f64());
                let cached = steps.map(|steps| steps.cached);
                assert_eq!((how, cached), (ImageSource::Built, Some(if level.is_some() { 0 } else { 4 })), "what another machine built");
            }
        }
        assert!(child.wait().expect("our own child").success(), "the run failed");
        let sent = !self.registry.tags("bench-second/cache").is_empty();
        assert!(sent, "nothing was sent");
        ready.expect("an image")
    }

    fn theirs(&self) -> Command {
        let mut command = Command::new(splitci_tests::ignores::DOCKER);
        command.args(["build", "--quiet", "--tag", "bench-second", "."]).env("DOCKER_BUILDKIT", "1");
        command.env("DOCKER_HOST", self.second.address()).current_dir(self.sandbox.project());
        command
    }
}
