//! The tested image: keyed, found or built, and described.
//!
//! | file | is |
//! |---|---|
//! | [`key`] | the key: a pure function over everything that counts |
//! | [`ignore`] | `.dockerignore` |
//! | [`context`] | the files that are built from |
//! | `times` | when they are said to have been changed |
//! | `sent` | what the builder is given of all that |
//! | [`dockerfile`] | what a Dockerfile takes from outside |
//! | `bases` | which images these are right now, and how they are named so that they can be no others |
//! | `building` | the build, and what comes to it from elsewhere |
//! | `parts` | what was edited lately, as a layer of its own |
//! | `prepare` | all of this: what is known before a build |
//! | [`ensure`] | the story: key, look up, else build, tag, keep the last few |
//! | [`elsewhere`] | images that other machines built, or are building |
//! | `watch` | how long that is waited for |
//! | [`layers`] | what other machines built, and how they get what this one did |
//! | [`travel`] | cache mounts of its steps, which other machines may have filled |
//! | `flight` | one build of a key at a time on this machine |
//! | [`surplus`] | images that are too many in an engine |
//! | [`tidying`] | what goes after a build |
//! | [`damage`] | images of which the engine has lost a part |
//! | [`kept`], [`why`], [`explain`] | what earlier keys were made of, how they differ, and what that means for the next run |
//!
//! Only `docker` is asked; nothing here decides what is run in the image. Invariant: an image is found only under the key of exactly the content
//! that it was built from.

mod bases;
mod building;
pub mod context;
pub mod damage;
pub mod dockerfile;
pub mod elsewhere;
pub mod ensure;
mod error;
pub mod explain;
pub mod facts;
mod flight;
pub mod ignore;
pub mod kept;
pub mod key;
pub mod layers;
mod parts;
mod prepare;
mod sent;
pub mod surplus;
pub mod tidying;
mod times;
pub mod travel;
mod watch;
pub mod why;

pub use ensure::{BuildFrom, ImageRequest, MadeOf, ReadyImage, ensure_image};
pub use error::ImageError;
pub use facts::ContextFacts;
