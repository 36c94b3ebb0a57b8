//! Builds the worker for the inside of shards and puts it, compressed, where `src/worker.rs` includes it.
//!
//! The worker is a program of its own: another profile, statically linked, for `<arch>-unknown-linux-gnu`. Cargo cannot say that in a dependency, so a
//! second cargo is started here, with a target directory of its own (the outer one is locked) and none of the outer build's flags and wrappers:
//! clippy's, a coverage tool's or the user's RUSTFLAGS would end up in other people's images. Nothing is done again unless the worker changes.
#![expect(clippy::disallowed_methods, reason = "the environment is how cargo speaks to a build script")]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

/// What an outer cargo, clippy or coverage run would pass on and must not.
const REMOVED: &[&str] = &[
    "RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "LLVM_PROFILE_FILE",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    for path in ["worker/src", "worker/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let program = if env::var("CARGO_CFG_TARGET_OS")? == "linux" { build(&root, &out, &arch)? } else { Vec::new() };
    fs::write(out.join("worker.zst"), zstd::encode_all(program.as_slice(), 19)?)?;
    println!("cargo::rustc-env=SPLITCI_WORKER_ARCH={arch}");
    Ok(())
}

fn build(root: &Path, out: &Path, arch: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let target = format!("{arch}-unknown-linux-gnu");
    let directory = out.join("worker");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["build", "--package", "splitci-worker", "--bin", "splitci-worker", "--profile", "worker", "--locked", "--target", &target]);
    cargo.arg("--target-dir").arg(&directory).current_dir(root);
    for name in REMOVED {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let done = cargo.output()?;
    if !done.status.success() {
        return Err(format!("cannot build the worker for {target}:\n{}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(fs::read(directory.join(&target).join("worker/splitci-worker"))?)
}
