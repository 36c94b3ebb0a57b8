//! `splitci completions` and `splitci man`.

use crate::Context;
use crate::args::{CompletionsArgs, ManArgs, generate};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;

/// Prints completions.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    printer::answer(&generate::completions(args.shell))?;
    Ok(Exit::DONE)
}

/// Writes man pages.
pub(crate) fn man(args: &ManArgs, context: &Context) -> Result<Exit, Failure> {
    let directory = context.directory.join(&args.directory);
    let unwritten = |error: std::io::Error| Failure::new(Exit::USAGE, &error, Some("name a directory that can be written".into()));
    fs_err::create_dir_all(&directory).map_err(unwritten)?;
    generate::man(&directory).map_err(unwritten)?;
    printer::answer(&format!("{}\n", directory.display()))?;
    Ok(Exit::DONE)
}
