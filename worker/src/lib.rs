//! The part of splitci that goes into a shard, and the protocols it speaks.
//!
//! `protocol` is the vocabulary of both byte streams (agent ⇄ worker, worker ⇄ driver) and is always compiled; the coordinator depends on it.
//! `supervise` is the program itself: it runs the framework's process, enforces deadlines, collects output and says how the process ended.
//! `generic` is the driver of tools that have none: the same program, started as a framework's. `mounts` tells, sends and restores what is in a build
//! mount, inside a build step. `ask` asks apps over HTTP how they are, from inside their network. All of these are behind a feature so that the coordinator does
//! not carry them.
//!
//! Nothing here knows a framework by name, decides what runs next, or holds a credential. Read `protocol` first.

#[cfg(feature = "supervise")]
pub mod ask;
#[cfg(feature = "supervise")]
pub mod generic;
#[cfg(feature = "supervise")]
pub mod mounts;
pub mod protocol;
#[cfg(feature = "supervise")]
pub mod supervise;
