//! The worker's program as it goes into containers: static. Built once by the first test that needs it, without what makes a released one small.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

/// The program for this machine's architecture.
pub fn program() -> Arc<[u8]> {
    static PROGRAM: OnceLock<Arc<[u8]>> = OnceLock::new();
    Arc::clone(PROGRAM.get_or_init(|| fs_err::read(build()).expect("the worker").into()))
}

fn build() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let directory = crate::root().join("target/tests/worker");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--package", "splitci-worker", "--bin", "splitci-worker", "--target", &target]);
    command.arg("--target-dir").arg(&directory).current_dir(crate::root()).stderr(Stdio::inherit());
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    assert!(command.status().expect("start cargo").success(), "cargo could not build the worker");
    directory.join(target).join("debug/splitci-worker")
}
