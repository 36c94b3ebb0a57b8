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
//! | [`ensure`] | the story: key, look up, else build, tag, keep the last few |
//!
//! Only `docker` is asked; nothing here decides what is run in the image. Invariant: an image is found only under the key of exactly the content
//! that it was built from.

pub mod context;
pub mod dockerfile;
pub mod ensure;
pub mod facts;
pub mod ignore;
pub mod key;
mod sent;
mod times;

pub use ensure::{BuildFrom, ImageError, ImageRequest, ReadyImage, ensure_image};
pub use facts::ContextFacts;
