//! Shards for the tests of the engine: a stand-in for the worker, and a talk in lines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::ground::{connect, unique};
use splitci_coordinator::docker::Docker;
use splitci_coordinator::engine::docker::{DockerEngine, DockerSetup};
use splitci_coordinator::engine::{Engine, Shard, ShardSpec, WorkerBinaries};
use splitci_coordinator::model::settings::ContainerSettings;
use splitci_coordinator::model::{RunId, ShardId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The stand-in for the worker, compiled when its source is younger.
pub(crate) fn stand_in() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = splitci_tests::scratch().join("stand-in");
        let source = splitci_tests::root().join("tests/docker/stand_in.rs");
        let age = |path: &Path| fs_err::metadata(path).and_then(|found| found.modified()).ok();
        if age(&made) < age(&source) {
            compile(&source, &made);
        }
        made
    })
    .clone()
}

fn compile(source: &Path, made: &Path) {
    let fresh = made.with_extension(std::process::id().to_string());
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cstrip=symbols", "-o"])
        .args([fresh.as_path(), source])
        .status()
        .expect("start rustc");
    assert!(status.success(), "the stand-in does not compile");
    fs_err::rename(&fresh, made).expect("renamed");
}

/// Shards of an image.
pub(crate) struct Bench {
    pub(crate) engine: DockerEngine,
    pub(crate) run: String,
}

/// Makes ready to start shards of an image that the engine has.
pub(crate) async fn bench(image: &str, name: &str, container: ContainerSettings) -> Bench {
    bench_with(image, name, container, false).await
}

pub(crate) async fn bench_with(image: &str, name: &str, container: ContainerSettings, keep: bool) -> Bench {
    let docker = connect().await;
    let run = unique(name);
    let setup = setup(&docker, image, &run, container, keep).await;
    let engine = DockerEngine::new(docker, setup).await.expect("an engine for shards");
    Bench { engine, run }
}

pub(crate) async fn setup(docker: &Docker, image: &str, run: &str, container: ContainerSettings, keep: bool) -> DockerSetup {
    let found = docker.image(image).await.expect("asked").unwrap_or_else(|| panic!("the engine has no image {image}"));
    DockerSetup {
        run: RunId(run.to_owned()),
        image: found.identity.config,
        platform: None,
        arch: found.arch.clone(),
        entry: found.entry,
        container,
        workers: WorkerBinaries::new([(found.arch, fs_err::read(stand_in()).expect("the stand-in"))]),
        keep,
    }
}

impl Bench {
    pub(crate) async fn start(&self, shard: u32) -> Talk {
        let spec = ShardSpec { run: self.run.clone(), shard: ShardId(shard), restarts: 0 };
        let Shard { input, output, handle } = self.engine.start(&spec).await.expect("a shard");
        let mut talk = Talk { input, output: BufReader::new(output), handle };
        let hello = talk.line().await;
        assert!(hello.starts_with("hello"), "{hello}");
        talk
    }
}

/// A shard that speaks lines.
pub(crate) struct Talk {
    pub(crate) input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    pub(crate) output: BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    pub(crate) handle: splitci_coordinator::engine::ShardHandle,
}

impl Talk {
    pub(crate) async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("written");
        self.input.flush().await.expect("flushed");
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        tokio::time::timeout(std::time::Duration::from_secs(30), read).await.expect("an answer in time").expect("readable");
        line.trim_end().to_owned()
    }

    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.line().await
    }
}
