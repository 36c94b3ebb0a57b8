//! `splitci run`.

use splitci_coordinator::config::Flags;
use splitci_coordinator::pipeline::{self, RunRequest};

use super::drive::{Start, drive_runs};
use crate::Context;
use crate::args::RunArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;

/// Does it.
pub(crate) fn run(args: RunArgs, context: &Context) -> Result<Exit, Failure> {
    let (only_failed, keep, output) = (args.failed, args.keep, args.output.clone());
    let paths_given = !args.project.paths.is_empty();
    let mut flags = Flags::default();
    args.into_flags(&mut flags);
    let request = RunRequest { project: project::resolve(context, flags)?, only_failed, keep, paths_given };
    let job = async |Start { world, listener, controls }: Start| Ok(vec![pipeline::run(&request, &world, listener, controls).await?]);
    drive_runs(context, &output, &request.project.records.state, job)
}
