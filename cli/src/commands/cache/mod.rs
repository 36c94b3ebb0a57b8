//! `splitci cache`: a file for each thing to do.

mod why;

use crate::Context;
use crate::args::{CacheArgs, CacheCommand};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;

/// Does it.
pub(crate) fn cache(args: CacheArgs, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        CacheCommand::Why(args) => why::why(*args, context),
    }
}
