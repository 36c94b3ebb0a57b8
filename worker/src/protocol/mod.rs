//! Two byte streams: between agent and worker (`message`, in frames of `frame`), and between worker and driver (`driver`).
//!
//! Both are versioned `major.minor` in their hello. A different major is refused by the side that reads it, naming both; a newer minor may
//! add kinds and fields, which an older reader skips. Golden tests hold the bytes still.
//!
//! `mounts` is a third stream, from a build step that has build mounts; `ask` a fourth, from a network that an app is deployed in.
//!
//! `recipe` is no stream: it is a file that a driver of ours reads.
//!
//! A test is `(unit, ordinal)`: the unit's number in the run's frozen manifest, and the test's place in the declaration order of its
//! whole file. Names cross once, when a unit declares its tests.

pub mod ask;
pub mod driver;
pub mod frame;
pub mod message;
pub mod mounts;
pub mod recipe;

/// Version of both protocols: another major cannot be read, another minor can.
pub const VERSION: Version = Version { major: 1, minor: 2 };

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// Changes when an old reader would misunderstand.
    pub major: u16,
    /// Changes when something is added.
    pub minor: u16,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
