//! `splitci report`: from the record, and nothing but the record.

use splitci_coordinator::history::HistoryError;
use splitci_coordinator::report::{Depth, code_quality, json, junit, markdown, summary};

use super::drive::account;
use crate::Context;
use crate::args::{Format, ReportArgs};
use crate::project;
use crate::ui::ci::from_repository;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::summary::colour;

/// Does it.
pub(crate) fn report(args: &ReportArgs, context: &Context) -> Result<Exit, Failure> {
    let history = project::history(context)?;
    let unread = |error: HistoryError| Failure::new(Exit::USAGE, &error, error.hint());
    let run = history.resolve(&args.run).map_err(unread)?;
    let depth = if args.format == Format::Summary { Depth::Messages } else { Depth::Outputs };
    let account = account(&history, &run, depth).map_err(unread)?;
    let text = match args.format {
        Format::Summary => colour(&summary::render(&account, context.terminal.width), context.terminal.out),
        Format::Json => json::render(&account),
        Format::Markdown => markdown::render(&account),
        Format::CodeQuality => code_quality::render(&account, &from_repository(&context.directory, &context.env)),
        Format::Junit => junit::render(&account).map_err(|error| Failure::new(Exit::BUG, &error, None))?,
    };
    printer::answer(&text)?;
    Ok(Exit::DONE)
}
