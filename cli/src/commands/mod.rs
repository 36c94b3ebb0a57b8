//! What is done: a file per subcommand, arguments in, an exit status or a failure out.

mod cache;
mod doctor;
mod drive;
mod generate;
mod init;
mod keys;
mod plan;
mod report;
mod repro;
mod run;
mod runs;
mod shell;

use crate::Context;
use crate::args::Command;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;

/// Does what was asked.
pub(crate) fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(*args, context),
        Command::Plan(args) => plan::plan(*args, context),
        Command::Repro(args) => repro::repro(args, context),
        Command::Report(args) => report::report(&args, context),
        Command::Runs(args) => runs::runs(&args, context),
        Command::Cache(args) => cache::cache(args, context),
        Command::Keys(args) => keys::keys(args, context),
        Command::Init(args) => init::init(&args, context),
        Command::Doctor(args) => doctor::doctor(*args, context),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args, context),
    }
}
