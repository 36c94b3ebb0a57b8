//! `splitci run`.

use splitci_coordinator::candidate::Order;
use splitci_coordinator::config::Flags;
use splitci_coordinator::pipeline::{self, RunRequest};

use super::drive::{Start, drive_runs};
use super::push;
use crate::Context;
use crate::args::RunArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::screen;

/// Does it.
pub(crate) fn run(args: RunArgs, context: &Context) -> Result<Exit, Failure> {
    let (only_failed, fresh, keep, tty, output) = (args.failed, args.fresh, args.keep, args.tty, args.output.clone());
    let several = args.project.shards.as_deref().is_some_and(|shards| shards != "1");
    if tty && several {
        return Err(Failure::plain(Exit::USAGE, "`--tty` is for one shard: there is one terminal", "use `--shards 1`, or leave it out"));
    }
    let terminal = tty.then(screen::size).transpose()?;
    let paths_given = !args.project.paths.is_empty();
    let (push, pushing, filters) = (args.push, args.pushing.clone(), args.filters(pipeline::SELECTING));
    if let Some(option) = pushing.given().filter(|_| !push) {
        let what = format!("`{option}` is for runs that push what they tested");
        return Err(Failure::plain(Exit::USAGE, &what, &format!("give `--push` with it, or leave `{option}` out")));
    }
    let mut flags = Flags::default();
    args.into_flags(&mut flags);
    let mut project = project::resolve(context, flags)?;
    project.cache.fresh = fresh;
    if tty {
        project.settings.shards = 1;
    }
    let request = RunRequest { project, only_failed, keep, paths_given, filters, terminal };
    let order = push::order(String::new(), pushing);
    if push {
        push::check(&request, &order, context)?;
    }
    let job = async |Start { world, listener, controls }: Start| Ok(vec![pipeline::run(&request, &world, listener, controls).await?]);
    let (exit, runs) = drive_runs(context, (&output, tty), &request.project.records.state, job)?;
    match runs.first().filter(|_| push) {
        Some(finished) => push::after(&Order { run: finished.run.0.clone(), ..order }, &request, (exit, output.json), context),
        None => Ok(exit),
    }
}
