//! What is done: a file per subcommand, arguments in, an exit status or a failure out.

mod cache;
mod deploy;
mod doctor;
mod drive;
mod environment;
mod gate;
mod generate;
mod init;
mod keys;
mod plan;
mod push;
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
        Command::Push(args) => push::push(args, context),
        Command::Repro(args) => repro::repro(args, context),
        Command::Report(args) => report::report(&args, context),
        Command::Runs(args) => runs::runs(&args, context),
        Command::Cache(args) => cache::cache(args, context),
        Command::Keys(args) => keys::keys(args, context),
        Command::Verify(args) => gate::verify(&args, context),
        Command::Promote(args) => gate::promote_image(&args, context),
        Command::Revoke(args) => gate::revoke(&args),
        Command::Deploy(args) => deploy::deploy(&args, context),
        Command::Rollback(args) => deploy::rollback(&args, context),
        Command::Resume(args) => deploy::resume(&args, context),
        Command::Status(args) => environment::status(&args, context),
        Command::Lock(args) => environment::lock(&args, context),
        Command::Log(args) => environment::log(&args, context),
        Command::Init(args) => init::init(&args, context),
        Command::Doctor(args) => doctor::doctor(*args, context),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args, context),
    }
}
