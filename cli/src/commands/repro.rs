//! `splitci repro`.

use splitci_coordinator::config::Flags;
use splitci_coordinator::pipeline::{self, ReproRequest};

use super::drive::{Start, drive_runs};
use crate::Context;
use crate::args::ReproArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;

/// Does it.
pub(crate) fn repro(args: ReproArgs, context: &Context) -> Result<Exit, Failure> {
    let mut flags = Flags::default();
    for variable in &args.env {
        flags.set("run.env", "--env", variable);
    }
    let project = project::resolve(context, flags)?;
    let state = project.records.state.clone();
    let request = ReproRequest { project, run: args.run, shard: args.shard, test: args.test };
    let job = async |Start { world, listener, controls }: Start| pipeline::repro(&request, &world, listener, controls).await;
    drive_runs(context, &args.output, &state, job)
}
