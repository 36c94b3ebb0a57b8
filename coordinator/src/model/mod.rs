//! The words of splitci, as types: plain data that every room shares. No I/O, no clock, no async.
//!
//! | word | is | here |
//! |---|---|---|
//! | image | the built app image, named by digest once known | [`ImageIdentity`] |
//! | suite | everything the framework would run: its files; a run may have several | [`settings::SuiteSettings`] |
//! | unit | what is scheduled: a file, or a slice of a slow one | [`Unit`] |
//! | manifest | the frozen, ordered list of a run's units | [`Manifest`] |
//! | test | the smallest thing reported: (unit, ordinal) | [`TestKey`] |
//! | shard | one running instance of the image, from 1 | [`ShardId`] |
//! | session | one framework process within a shard, from 1 | [`SessionId`] |
//! | lease | a unit held by a session, under a fence | [`Fence`] |
//! | event | one fact about a run | [`event::RunEvent`] |
//! | verdict | passed, failed, or none | [`verdict::Verdict`] |
//! | level | how far a writer of cache entries is trusted | [`trust::Level`] |
//! | digest | what names bytes to others, a manifest say | [`Sha256`] |
//! | policy | what an environment asks of an image before it gets there | [`policy::PolicySettings`] |
//! | environment | where releases of an app run | [`environment::Environment`] |
//! | freeze | when nobody deploys there | [`freeze::Freeze`] |

mod chain;
pub mod encoding;
pub mod environment;
pub mod event;
pub mod freeze;
pub mod hook;
pub mod ids;
pub mod launch;
pub mod policy;
pub mod progress;
mod provenance;
pub mod secret;
pub mod settings;
mod sha256;
#[cfg(test)]
pub(crate) mod story;
pub mod strategy;
pub mod trust;
pub mod unit;
pub mod verdict;

pub use chain::chain;
pub use ids::{Fence, RunId, SessionId, ShardId, SuiteId, TestKey, UnitId};
pub use launch::{EntryPoint, ImageContent, ImageIdentity, Launch, Volume};
pub use progress::{Listener, Progress, Telling};
pub use provenance::Provenance;
pub use secret::{BuildSecret, SecretSource, SecretText, SshAgent};
pub use sha256::Sha256;
pub use splitci_worker::protocol::driver::Outcome;
pub use splitci_worker::protocol::message::{Exit, Select, Slot, Stopped, TerminalSize};
pub use splitci_worker::protocol::recipe::{Listing, Naming, Nothing, Recipe, Results};
pub use unit::{Manifest, Unit, UnitKind};
