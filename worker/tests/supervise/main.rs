//! The worker's binary against a scripted framework: real processes, real signals, real pipes.
//!
//! `harness` starts them; `session` is what goes well, `driver` what a driver may do wrong, `deadline` what takes too long, `life` how everything
//! ends. What needs no process is tested beside the code.

#![expect(clippy::expect_used, clippy::panic, reason = "the harness of a test fails by panicking")]

mod deadline;
mod driver;
mod harness;
mod life;
mod session;
