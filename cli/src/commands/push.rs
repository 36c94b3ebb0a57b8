//! `splitci push`, and what `splitci run --push` does after its run.

use splitci_coordinator::candidate::{self, Order, Outside, PushError, Pushed};
use splitci_coordinator::config::{Delivery, Flags, ImageSettings, RecordSettings, RegistrySettings};
use splitci_coordinator::gate::Unattestable;
use splitci_coordinator::gate::statement::Answer;
use splitci_coordinator::model::settings::EngineKind;
use splitci_coordinator::model::trust::TrustSettings;
use splitci_coordinator::pipeline::{self, RunRequest};

use super::drive::{Show, Start, drive};
use crate::args::{PushArgs, PushOptions};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::count;
use crate::ui::terminal::Paint;
use crate::{Context, project};

/// Does it.
pub(crate) fn push(args: PushArgs, context: &Context) -> Result<Exit, Failure> {
    let (run, json, options) = (args.run.clone(), args.json, args.pushing.clone());
    let mut flags = Flags::default();
    args.into_flags(&mut flags);
    let Delivery { candidate, trust, records, .. } = project::delivery(context, flags)?;
    let order = order(run, options);
    let pushed = carry_out(&order, (candidate.as_ref(), &trust, &records), context)?;
    show(&pushed, json, context.terminal.out)?;
    Ok(Exit::DONE)
}

/// An order, as it was given.
pub(super) fn order(run: String, options: PushOptions) -> Order {
    let PushOptions { to, tag, allow_dirty } = options;
    Order { run, to, tags: tag, allow_dirty }
}

/// What the configuration says of where to, of keys, and of records.
type Settings<'a> = (Option<&'a RegistrySettings>, &'a TrustSettings, &'a RecordSettings);

fn refused(error: &PushError) -> Failure {
    Failure::new(Exit(error.exit()), error, error.hint())
}

fn carry_out(order: &Order, (candidate, trust, records): Settings<'_>, context: &Context) -> Result<Pushed, Failure> {
    let job = async |Start { world, listener, mut controls }: Start| {
        let passphrase = world.passphrase.clone().map(Into::into);
        let outside = Outside { state: &records.state, machine: &records.machine, candidate, trust, passphrase, env: &world.env };
        Ok(tokio::select! {
            pushed = Box::pin(candidate::push(order, &outside, listener.as_ref())) => pushed,
            Some(_) = controls.recv() => Err(PushError::Interrupted),
        })
    };
    let (pushed, asked) = drive(context, Show::Progress, job)?;
    pushed.map_err(|error| {
        let failure = refused(&error);
        // By which signal it was stopped is known here.
        Failure { exit: asked.filter(|_| failure.exit == Exit::INTERRUPTED).unwrap_or(failure.exit), ..failure }
    })
}

/// Refuses, before anything is built or run, what could not be attested afterwards.
pub(super) fn check(request: &RunRequest, order: &Order, context: &Context) -> Result<(), Failure> {
    let unattestable = |cause| Err(refused(&PushError::Unfit { cause }));
    if request.project.settings.engine == EngineKind::Process {
        return unattestable(Unattestable::ProcessEngine);
    }
    if !request.project.settings.container.volumes.is_empty() {
        return unattestable(Unattestable::Mounted);
    }
    let filters = pipeline::filters(request, &context.env);
    if !filters.is_empty() {
        return unattestable(Unattestable::Filtered { filters });
    }
    let candidate = request.project.candidate.as_ref();
    order.check(candidate).map_err(|error| refused(&error))?;
    let named = |image: &ImageSettings| matches!(image, ImageSettings::Given { reference, .. } if reference.contains('@'));
    if order.to.is_none() && candidate.is_none() && !request.project.image.as_ref().is_some_and(named) {
        return Err(refused(&PushError::NoRepository));
    }
    if !order.allow_dirty {
        let (clean, _) = drive(context, Show::Progress, async |_: Start| Ok(pipeline::is_clean(&request.project).await))?;
        if !clean {
            return unattestable(Unattestable::Dirty);
        }
    }
    Ok(())
}

/// Pushes what a run tested that is over, and gives the status of both: the run's own, unless it passed and this did not.
pub(super) fn after(order: &Order, request: &RunRequest, (exit, json): (Exit, bool), context: &Context) -> Result<Exit, Failure> {
    if exit != Exit::DONE && exit != Exit::FAILED {
        printer::tell(&format!("note: nothing is pushed or attested: {}\n", why(exit)));
        return Ok(exit);
    }
    let project = &request.project;
    let pushed = carry_out(order, (project.candidate.as_ref(), &project.trust, &project.records), context);
    match pushed.and_then(|pushed| show(&pushed, json, context.terminal.out)) {
        Ok(()) => Ok(exit),
        Err(failure) if exit == Exit::DONE => Err(failure),
        Err(failure) => {
            printer::tell(&failure.render(context.terminal.err));
            Ok(exit)
        }
    }
}

fn why(exit: Exit) -> &'static str {
    match exit {
        Exit(4) => "no test ran",
        Exit::INTERRUPTED | Exit::TERMINATED | Exit::HUNG_UP => "the run was stopped before its end",
        _ => "the run has no verdict",
    }
}

fn show(pushed: &Pushed, json: bool, paint: Paint) -> Result<(), Failure> {
    let result = match pushed.result {
        Answer::Passed => "PASSED",
        Answer::Warned => "WARNED",
        Answer::Failed => "FAILED",
    };
    if let Some(notice) = &pushed.notice {
        printer::tell(&format!("note: {notice}\n"));
    }
    if json {
        let told = serde_json::json!({"pushed": {
            "run": pushed.run, "reference": pushed.reference(), "repository": pushed.repository.to_string(),
            "manifest": pushed.manifest.to_string(), "config": pushed.config.to_string(), "result": result,
            "statement": pushed.statement.to_string(), "artifact": pushed.artifact.to_string(), "tags": pushed.tags,
            "key": pushed.key.to_string(), "dirty": pushed.dirty, "copy": pushed.copy,
        }});
        return printer::answer(&format!("{told}\n"));
    }
    let (all, failed) = pushed.tests;
    let coloured = match pushed.result {
        Answer::Passed => paint.good(result),
        Answer::Warned => paint.odd(result),
        Answer::Failed => paint.bad(result),
    };
    let failed = if failed > 0 { format!(", {failed} of them failed") } else { String::new() };
    let dirty = if pushed.dirty { ", of a tree with changes that no commit has" } else { "" };
    let tags = if pushed.tags.is_empty() { String::new() } else { format!("also     {}\n", pushed.tags.join(", ")) };
    printer::answer(&format!(
        "image    {}\n{tags}result   {coloured}: {}{failed}, in run {}{dirty}\nsigned   {} by key {}\n",
        pushed.reference(),
        count(usize::try_from(all).unwrap_or(usize::MAX), "test"),
        pushed.run,
        pushed.statement,
        pushed.key.short(),
    ))
}
