//! The harness of the integration tests: a real splitci on real projects, judged from outside.
//!
//! | file | is |
//! |---|---|
//! | [`program`] | the `splitci` of this workspace: built once, started, watched, ended |
//! | [`sandbox`] | a project and a state directory of its own, gone at the end; and what a run left behind |
//! | [`facts`] | a second, independent reading of the event stream: which test ended how |
//! | [`expected`] | `expected.toml`: what a fixture's run must come to |
//! | [`plain`] | a suite under its framework alone, beside what we made of it |
//! | [`python`] | virtual environments with a framework and its friends |
//! | [`sshd`] | an SSH server, and the client that is let in there |
//! | [`haproxy`] | a HAProxy of a test's own |
//! | [`attested`] | images with signed statements about their tests |
//! | [`app`] | an application to stand behind it, which can be late, slow, sick or rude |
//! | [`load`] | requests at a rate, and what became of each |
//! | [`rig`] | containers behind a balancer, to be deployed to |
//! | [`desk`] | the same with a checkout, for the program; and as another machine has it |
//! | [`postgres`] | a `PostgreSQL` for migrations |
//! | [`redis`] | a Redis server of a test's own |
//! | [`deployments`] | deployments in a simulated fleet, and a judge of what they do to it |
//! | [`schedules`] | random schedules for a queue, and a judge of what it does |
//! | [`ignores`] | random ignore files, and what docker's own client makes of them |
//! | [`registry`] | a registry, and what may stand in its place |
//! | [`between`] | what stands between us and a registry |
//! | [`tokens`] | a server that gives out tokens for a registry |
//! | [`network`] | a Docker network with addresses that nobody else has |
//! | [`second`] | another Docker engine, which may be killed |
//! | [`flips`] | envelopes and statements that were bent, before the gate |
//! | [`keys`] | keys of images under random changes, and images that are really built |
//! | [`machine`] | a machine that builds, with a store that it may share with others |
//! | [`worker`] | the worker's program as it goes into containers |
//! | [`engine`] | the Docker engine, for tests that need it; it must be there |
//!
//! Nothing here reads the coordinator's folds: a verdict that is wrong must not be checked by the code that made it.
//! Nothing is skipped: what a test needs and does not find is a failure that says how to get it.
#![expect(clippy::missing_panics_doc, reason = "a harness reports by panicking")]
#![expect(clippy::expect_used, reason = "a harness reports by panicking")]

pub mod app;
pub mod attested;
pub mod between;
pub mod bucket;
pub mod deployments;
pub mod desk;
pub mod engine;
pub mod expected;
pub mod facts;
pub mod flips;
pub mod haproxy;
pub mod ignores;
pub mod keys;
pub mod load;
pub mod machine;
pub mod network;
pub mod plain;
pub mod postgres;
pub mod program;
pub mod python;
pub mod redis;
pub mod registry;
pub mod rig;
pub mod sandbox;
pub mod schedules;
pub mod second;
pub mod sshd;
pub mod tokens;
pub mod worker;

pub use facts::Facts;
pub use program::{Done, Running, Splitci};
pub use sandbox::Sandbox;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live in the repository").to_path_buf()
}

/// Where the harness keeps what is worth keeping between runs: beside the build.
pub fn scratch() -> PathBuf {
    let path = root().join("target/tests");
    fs_err::create_dir_all(&path).expect("make target/tests");
    path
}
