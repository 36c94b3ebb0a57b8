//! Build mounts of the real tools: what pip, cargo and Bundler got on one machine they have on another one, and what is built from them is built from new code.
//!
//! Packages come from an index inside the step, which tells of every request: so a test sees what was asked for, and needs no registry.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use splitci_coordinator::model::trust::Level;
use splitci_tests::engine::docker_says;
use splitci_tests::machine::{Machine, Outcome, Team, store};

/// All of Debian's tools in one step, so that the engine makes it once.
const TOOLS: &str = "FROM debian:bookworm-slim\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends \
                     python3-pip python3-setuptools python3-wheel cargo gcc libc6-dev ruby-bundler >/dev/null\nCOPY serve.py /\n";

/// Serves `/index` while a command runs. Without a life for what it serves, pip would not keep it.
const SERVE: &str = "import http.server, subprocess, sys, threading\n\n\n\
    class Index(http.server.SimpleHTTPRequestHandler):\n    \
        def __init__(self, *arguments):\n        super().__init__(*arguments, directory='/index')\n\n    \
        def end_headers(self):\n        self.send_header('Cache-Control', 'max-age=86400')\n        super().end_headers()\n\n\n\
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 8000), Index)\n\
    threading.Thread(target=server.serve_forever, daemon=True).start()\n\
    sys.exit(subprocess.run(sys.argv[1:]).returncode)\n";

/// Machines of a test, which share a store.
struct Machines {
    team: Team,
    shared: tempfile::TempDir,
    name: String,
}

impl Machines {
    fn new(name: &str) -> Self {
        let shared = tempfile::tempdir().expect("a folder");
        Self { team: Team::default(), shared, name: format!("tools-{}-{name}", std::process::id()) }
    }

    /// One more, whose builder has nothing in its mounts.
    async fn one(&self, dockerfile: &str) -> Machine {
        let machine = Machine::new(&self.name, Level::Protected, &self.team, store(self.shared.path()), None).await;
        machine.write("Dockerfile", format!("{TOOLS}{dockerfile}"));
        machine.write("serve.py", SERVE);
        machine
    }
}

async fn built(machine: &Machine) -> Outcome {
    let built = machine.build().await;
    assert_eq!(built.notes, "", "the mounts travel: {}", built.log);
    built
}

/// Whether the index was asked for this file.
fn got(log: &str, file: &str) -> bool {
    log.lines().any(|line| line.contains("\"GET ") && line.contains(file))
}

/// Two packages, which take a while to build.
const PIP: &str = "COPY packages /packages\n\
    RUN for name in word more; do cd /packages/$name && python3 setup.py -q sdist 2>/dev/null && mkdir -p /index/simple/$name && cp dist/* /index/simple/$name; done\n\
    COPY requirements.txt /\n\
    RUN --mount=type=cache,target=/root/.cache/pip python3 /serve.py pip install --root-user-action=ignore --break-system-packages --no-build-isolation \\\n\
    --index-url http://127.0.0.1:8000/simple --trusted-host 127.0.0.1 -r /requirements.txt && python3 -c 'import word; print(word.WORD)'\n";

#[tokio::test(flavor = "multi_thread")]
async fn pip_neither_downloads_nor_builds_what_another_machine_did() {
    let machines = Machines::new("pip");
    let new = async |requirements: &str| {
        let machine = machines.one(PIP).await;
        for name in ["word", "more"] {
            let setup = format!(
                "import time\nfrom setuptools import setup\ntime.sleep(1)\nsetup(name='{name}', version='1.0', py_modules=['{name}'])\n"
            );
            machine.write(&format!("packages/{name}/setup.py"), setup);
            machine.write(&format!("packages/{name}/{name}.py"), "WORD = 'one'\n");
        }
        machine.write("requirements.txt", requirements);
        built(&machine).await.log
    };
    let log = new("word==1.0\n").await;
    assert!(got(&log, "word-1.0.tar.gz") && log.contains("Building wheel for word"), "{log}");
    let log = new("word==1.0\n").await;
    assert!(log.contains("Using cached word-1.0") && !got(&log, ".tar.gz") && !log.contains("Building wheel"), "{log}");
    // What is locked changed: of the latest that was saved, what is still right is used.
    let log = new("word==1.0\nmore==1.0\n").await;
    assert!(log.contains("Using cached word-1.0") && !got(&log, "word-1.0") && got(&log, "more-1.0.tar.gz"), "{log}");
}

/// A program with a dependency, and a module with its byte code, which take long enough to be worth the way. Debian's cargo knows indexes of this kind, but not yet by default.
const CARGO: &str = "COPY word-1.0.0 /crates/word-1.0.0\n\
    RUN mkdir -p /index/wo/rd && tar --sort=name --mtime=@1 -C /crates -c word-1.0.0 | gzip -n > /index/word-1.0.0.crate && \\\n\
    echo '{\"dl\":\"http://127.0.0.1:8000/{crate}-{version}.crate\"}' > /index/config.json && \\\n\
    echo '{\"name\":\"word\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"'$(sha256sum < /index/word-1.0.0.crate | cut -d' ' -f1)'\",\"features\":{},\"yanked\":false}' \\\n\
    > /index/wo/rd/word\n\
    COPY config.toml /root/.cargo/\n\
    COPY app /app\n\
    RUN --mount=type=cache,target=/root/.cargo/registry --mount=type=cache,target=/app/target --mount=type=cache,target=/app/__pycache__ cd /app && \\\n\
    { [ -e target/slow ] || { sleep 3; touch target/slow; }; } && \\\n\
    RUSTC_BOOTSTRAP=1 python3 /serve.py cargo build -v && ./target/debug/app > /said && python3 -c 'import code_of; print(code_of.WORD)' >> /said && \\\n\
    ls __pycache__ > /kept\n";

#[tokio::test(flavor = "multi_thread")]
async fn cargo_and_python_keep_what_is_good_and_build_new_code() {
    let machines = Machines::new("cargo");
    let new = async || {
        let machine = machines.one(CARGO).await;
        machine.write("word-1.0.0/Cargo.toml", "[package]\nname = \"word\"\nversion = \"1.0.0\"\n");
        machine.write("word-1.0.0/src/lib.rs", "pub fn word() -> &'static str { \"dependency\" }\n");
        let source = "[source.crates-io]\nreplace-with = \"near\"\n[source.near]\nregistry = \"sparse+http://127.0.0.1:8000/\"\n";
        machine.write("config.toml", format!("{source}[unstable]\nsparse-registry = true\n"));
        machine.write("app/Cargo.toml", "[package]\nname = \"app\"\nversion = \"1.0.0\"\n[dependencies]\nword = \"1\"\n");
        machine
    };
    let says = async |machine: &Machine, word: &str| {
        // Same length: what is looked at is the time.
        machine.write("app/src/main.rs", format!("fn main() {{ println!(\"{word} {{}}\", word::word()) }}\n"));
        machine.write("app/code_of.py", format!("WORD = '{word}'\n"));
        let built = built(machine).await;
        let said = docker_says(&format!("run --rm {} cat /said /kept", built.image.reference));
        assert!(said.starts_with(&format!("{word} dependency\n{word}\ncode_of.cpython-")), "{said}\n{}", built.log);
        built.log
    };
    let a = new().await;
    let log = says(&a, "one").await;
    assert!(got(&log, ".crate") && log.contains("Compiling word v1.0.0"), "{log}");
    let log = says(&a, "two").await;
    assert!(log.contains("Fresh word") && log.contains("Compiling app"), "{log}");
    // What A made of `two` is newer than the source of `one`.
    let mut b = new().await;
    let log = says(&b, "one").await;
    assert!(log.contains("Fresh word") && log.contains("Compiling app") && !got(&log, ".crate"), "{log}");
    says(&b, "two").await;
    says(&a, "one").await;
    // B sent `two` before A made `one`. At another level its builder has no mount, and what A made comes into it.
    b.level = Level::Release;
    let log = says(&b, "two").await;
    assert!(log.contains("Fresh word") && log.contains("Compiling app"), "{log}");
    // The mount travelled with what was made of this very source.
    let log = says(&new().await, "one").await;
    assert!(log.contains("Fresh word") && !got(&log, ".crate"), "{log}");
}

/// A gem, and a bundle of it in a mount, as Bundler is told to keep it.
const BUNDLER: &str = "COPY word.gemspec word.rb /gem/\n\
    RUN cd /gem && gem build -q word.gemspec && mkdir -p /index/gems && cp *.gem /index/gems && gem generate_index -q -d /index\n\
    COPY Gemfile /app/\n\
    RUN --mount=type=cache,target=/bundle cd /app && BUNDLE_PATH=/bundle python3 /serve.py bundle install && \\\n\
    BUNDLE_PATH=/bundle bundle exec ruby -e 'require :word.to_s; puts WORD'\n";

#[tokio::test(flavor = "multi_thread")]
async fn bundler_installs_no_gem_that_another_machine_installed() {
    let machines = Machines::new("bundler");
    let new = async || {
        let machine = machines.one(BUNDLER).await;
        let about = "s.summary = s.description = 'w'\n  s.authors = ['a']\n  s.files = ['word.rb']\n  s.require_paths = ['.']\n";
        machine.write("word.gemspec", format!("Gem::Specification.new('word', '1.0') do |s|\n  {about}end\n"));
        machine.write("word.rb", "WORD = 'one'\n");
        machine.write("Gemfile", "source 'http://127.0.0.1:8000'\ngem 'word', '1.0'\n");
        built(&machine).await.log
    };
    let log = new().await;
    assert!(got(&log, "word-1.0.gem ") && log.contains("Installing word 1.0"), "{log}");
    let log = new().await;
    assert!(log.contains("Using word 1.0") && !got(&log, "word-1.0.gem ") && log.contains("\none"), "{log}");
}
