//! The part of `splitci cache gc` that is in an engine: images that splitci made there, and that are too many.

use splitci_coordinator::pipeline::{SurplusImage, surplus_images};

use super::Opened;
use crate::Context;
use crate::ui::printer;

/// Those that are too many, or, unless this is only a look, those that are gone now. Without an engine there are none.
pub(super) fn collect(opened: &Opened, dry: bool, context: &Context) -> Vec<SurplusImage> {
    match opened.runtime.block_on(surplus_images(&context.env, opened.caches.cache.images, !dry)) {
        Ok(images) => images,
        Err(error) => {
            printer::tell(&format!("images in the engine are left as they are: {error}\n"));
            Vec::new()
        }
    }
}

/// One for machines.
pub(super) fn told(image: &SurplusImage) -> serde_json::Value {
    serde_json::json!({ "name": image.name, "bytes": image.bytes })
}

/// So many images, in words.
pub(super) fn count(n: usize) -> String {
    if n == 1 { "1 image".into() } else { format!("{n} images") }
}
