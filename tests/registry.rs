//! Registries: asked, filled, and images carried between them. All with Debian's registry on loopback, and with something in between where it must be broken or lie.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

#[path = "registry/asking.rs"]
mod asking;
#[path = "registry/evidence.rs"]
mod evidence;
#[path = "registry/ground.rs"]
mod ground;
#[path = "registry/logins.rs"]
mod logins;
#[path = "registry/promotion.rs"]
mod promotion;
