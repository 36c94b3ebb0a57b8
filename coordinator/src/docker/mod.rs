//! The Docker Engine, as the rest of splitci needs it: images, builds, containers, volumes, events.
//!
//! This room is the only door to `bollard`. Plain values come in and go out; no type of that crate leaves. Nothing here decides what to build or
//! to run, reads the environment or the home directory, or prints. Invariant: every call has a deadline, so that an engine that hangs is an error.
//! Read `connect` for how an engine is found, `build` for images, `container` for shards.

mod answers;
mod attach;
pub mod build;
pub mod config;
pub mod connect;
pub mod container;
pub mod credentials;
pub mod deaths;
mod error;
pub mod exec;
pub mod facts;
pub mod files;
pub mod images;
mod imports;
pub mod networks;
pub mod owner;
mod raw;
mod registry;
pub mod service;
mod session;
mod trace;
pub mod uploads;
pub mod usage;
pub mod volume;

use std::future::Future;
use std::time::Duration;

use tokio::sync::OnceCell;

pub use config::ClientConfig;
pub use connect::{Endpoint, connect, connect_over};
pub use error::{DockerError, tells_damage};
pub use facts::EngineFacts;

use crate::tunnel::Tunnel;

/// A sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// A small request: inspect, list, tag.
const SHORT: Duration = Duration::from_secs(30);
/// One that moves or makes things: create, start, remove. Engines under load take their time.
const LONG: Duration = Duration::from_mins(2);

/// A connected engine.
#[derive(Debug)]
pub struct Docker {
    client: bollard::Docker,
    endpoint: Endpoint,
    /// Where it is dialled: our end of the tunnel, if there is one.
    near: Endpoint,
    tunnel: Option<Tunnel>,
    config: ClientConfig,
    facts: OnceCell<EngineFacts>,
}

impl Docker {
    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it can be dialled now.
    async fn near(&self) -> Result<&Endpoint, DockerError> {
        if let Some(tunnel) = &self.tunnel {
            tunnel.open().await?;
        }
        Ok(&self.near)
    }

    /// The user's client configuration: proxies, credentials.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Does one request within its deadline.
    async fn call<T>(
        &self,
        attempt: impl FnOnce() -> String,
        within: Duration,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, DockerError> {
        // A request is lazy: the way is open when it sets out.
        self.near().await?;
        match tokio::time::timeout(within, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(DockerError::of(attempt(), error, &self.endpoint)),
            Err(_) => Err(DockerError::Silent { attempt: attempt(), seconds: within.as_secs(), endpoint: self.endpoint.to_string() }),
        }
    }
}
