//! `splitci repro`.

use splitci_coordinator::config::Flags;
use splitci_coordinator::pipeline::{self, ReproRequest};

use super::drive::{Start, drive_runs};
use super::shell::shell;
use crate::Context;
use crate::args::ReproArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::screen;

/// Does it.
pub(crate) fn repro(args: ReproArgs, context: &Context) -> Result<Exit, Failure> {
    let mut flags = Flags::default();
    for variable in &args.env {
        flags.set("run.env", "--env", variable);
    }
    for file in &args.env_file {
        flags.set("run.env_file", "--env-file", file);
    }
    let value = |variable: &String| match variable.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((variable.clone(), context.env.get(variable)?.clone())),
    };
    let env = args.env.iter().filter_map(value).collect();
    let project = project::resolve(context, flags)?;
    let state = project.records.state.clone();
    let terminal = args.tty.then(screen::size).transpose()?;
    let request = ReproRequest { project, run: args.run, shard: args.shard, test: args.test, env, keep: args.keep, terminal };
    if args.shell {
        return shell(&request, context);
    }
    let job = async |Start { world, listener, controls }: Start| pipeline::repro(&request, &world, listener, controls).await;
    drive_runs(context, (&args.output, args.tty), &state, job).map(|(exit, _)| exit)
}
