//! `splitci deploy`, `rollback` and `resume`: the gate is asked, then the deployment is carried out, with lanes, lines or JSON to see it by.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use splitci_coordinator::delivery::{Asked, DeliveryError, Mode, Outside, Permitted, Wish, new_deploy, permit, revoked, site};
use splitci_coordinator::deployment::Outcome;
use splitci_coordinator::rollout::{Actor, Options, Order, Site, carry_out, rehearse};

use super::gate::{Desk, actor, failure, sign_for};
use crate::Context;
use crate::args::{DeployArgs, DeployOutput, GateArgs, ResumeArgs, RollbackArgs};
use crate::signals::{Asked as Signalled, Signals};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::lanes::Lanes;
use crate::ui::{deployment as ui, printer};
use crate::worker;

/// So often the gate is asked again while a deployment goes on.
const ASKS_AGAIN: Duration = Duration::from_secs(5);

/// Replaces what runs.
pub(crate) fn deploy(args: &DeployArgs, context: &Context) -> Result<Exit, Failure> {
    let (desk, site) = reach(&args.environment, context)?;
    let wish = Wish::Deploy(args.reference.clone());
    let wait = args.wait.unwrap_or_default();
    let options = Options { skip_migration: args.skip_migration, allow_downtime: args.allow_downtime, fix_forward: args.fix_forward, wait };
    let permitted = permitted(&wish, (&desk, &site), &args.gate, context)?;
    let deploy = new_deploy();
    if args.dry_run {
        let rehearsed = desk.runtime.block_on(rehearse(&site, &permitted.promotion, &deploy, options));
        let (plan, world) = rehearsed.map_err(|error| failure(&error.into()))?;
        printer::answer(&if args.output.json { ui::plan_json(&plan) } else { ui::plan(&plan, &world) })?;
        return Ok(Exit::DONE);
    }
    carry((&desk, &site), &permitted, (Order::Begin { deploy, options }, &args.gate, &args.output), context)
}

/// Puts the release back that was before.
pub(crate) fn rollback(args: &RollbackArgs, context: &Context) -> Result<Exit, Failure> {
    let (desk, site) = reach(&args.environment, context)?;
    let permitted = permitted(&Wish::Rollback, (&desk, &site), &args.gate, context)?;
    let deploy = new_deploy();
    let order = Order::Begin { deploy, options: Options::default() };
    carry((&desk, &site), &permitted, (order, &args.gate, &args.output), context)
}

/// Goes on with what was left.
pub(crate) fn resume(args: &ResumeArgs, context: &Context) -> Result<Exit, Failure> {
    let (desk, site) = reach(&args.environment, context)?;
    let permitted = permitted(&Wish::Resume, (&desk, &site), &args.gate, context)?;
    carry((&desk, &site), &permitted, (Order::Resume, &args.gate, &args.output), context)
}

/// An environment, everything in it reached.
pub(super) fn reach(name: &str, context: &Context) -> Result<(Desk, Site), Failure> {
    let desk = Desk::open(context)?;
    let site = site_of(&desk, name, context)?;
    Ok((desk, site))
}

/// The same with a desk that is open.
pub(super) fn site_of(desk: &Desk, name: &str, context: &Context) -> Result<Site, Failure> {
    let workers = worker::binaries(&context.env).map_err(|error| Failure::new(Exit::NO_VERDICT, &error, Some(error.hint())))?;
    let reached = desk.runtime.block_on(async {
        let settings = site::named(&desk.delivery, name)?;
        site::reach(&desk.delivery, settings, &workers, &desk.outside).await
    });
    reached.map_err(|error| failure(&error))
}

fn permitted(wish: &Wish, (desk, site): (&Desk, &Site), args: &GateArgs, context: &Context) -> Result<Permitted, Failure> {
    let source = desk.source(args.policy.as_deref(), context);
    if let Wish::Deploy(reference) = wish {
        let current = format!("{}{}", splitci_coordinator::delivery::promote::CURRENT, site.environment.name);
        let reference = reference.as_deref().unwrap_or(&current);
        let environment = &site.environment.name;
        let asked = Asked { delivery: &desk.delivery, reference, environment, mode: Mode::Deploy, source: &source, brought: &[] };
        sign_for(desk, &asked, args, context)?;
    }
    let permitted = desk.runtime.block_on(permit(wish, (&desk.delivery, site), &source, &desk.outside));
    let permitted = permitted.map_err(|error| failure(&error))?;
    if !context.quiet {
        let promotion = &permitted.promotion;
        printer::tell(&format!("image  {} ({})\npolicy {}\n", promotion.reference(), permitted.reference, permitted.policy_from));
        if let Some(broken) = promotion.glass() {
            printer::tell(&format!("GLASS  broken by {} until {}: {}\n", broken.actor, broken.expires, broken.reason));
        }
    }
    Ok(permitted)
}

/// How awaiting it ended.
enum Ended {
    Done(Outcome),
    Failed(DeliveryError),
    Dropped(Exit),
}

fn carry(
    (desk, site): (&Desk, &Site),
    permitted: &Permitted,
    (order, gate, output): (Order, &GateArgs, &DeployOutput),
    context: &Context,
) -> Result<Exit, Failure> {
    let who = Actor { name: actor(context), message: output.message.clone().unwrap_or_default() };
    let lanes = Lanes::start(&site.environment, context.terminal, (context.quiet, output.json));
    #[cfg(debug_assertions)]
    let lanes = lanes.with_fault(&context.env);
    let source = desk.source(gate.policy.as_deref(), context);
    let carrying = async {
        let mut signals = Signals::listen().map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
        let mut job = std::pin::pin!(carry_out(site, &permitted.promotion, order, &who, &lanes));
        let mut watched = std::pin::pin!(async {
            loop {
                tokio::time::sleep(ASKS_AGAIN).await;
                let outside = Outside { now_ms: now_ms(), ..desk.outside.clone() };
                lanes.set_gate(revoked(permitted, (&desk.delivery, site), &source, &outside).await);
            }
        });
        loop {
            tokio::select! {
                never = &mut watched => never,
                outcome = &mut job => {
                    break Ok(outcome.map_or_else(|error| Ended::Failed(error.into()), Ended::Done));
                }
                asked = signals.next() => match asked {
                    Signalled::Stop(_) => lanes.ask_to_stop(&who.name),
                    Signalled::StopNow(exit) => break Ok(Ended::Dropped(exit)),
                    Signalled::Continued => {}
                },
            }
        }
    };
    // A bug of ours is told of by the hook, and ends this process as a crash would: everything is as it was left.
    let ended: Result<Ended, Failure> = catch_unwind(AssertUnwindSafe(|| desk.runtime.block_on(carrying))).unwrap_or_else(|bug| {
        printer::tell(&format!("   hint: the deployment is where it was left: go on with `splitci resume {}`\n", site.environment.name));
        resume_unwind(bug)
    });
    let written = lanes.finish();
    match ended? {
        Ended::Done(outcome) => {
            written?;
            let exit = outcome.exit_code();
            let summary = ui::ended(&outcome, permitted, (&site.environment, &lanes));
            if output.json {
                printer::answer(&format!("{}\n", ui::ended_json(&outcome, permitted)))?;
            } else {
                printer::answer(&summary)?;
            }
            Ok(Exit(exit))
        }
        Ended::Failed(error) => Err(failure(&error)),
        Ended::Dropped(exit) => {
            let what = "stopped at once: everything is as it was left";
            Err(Failure::plain(exit, what, &format!("go on with it: `splitci resume {}`", site.environment.name)))
        }
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
