//! `splitci status`, `lock` and `log`: an environment is looked at, and nothing but a lock that somebody wants broken is changed.

use serde_json::json;
use splitci_coordinator::deployment::Journal;
use splitci_coordinator::model::chain;
use splitci_coordinator::model::environment::{DeployId, Release};
use splitci_coordinator::rollout::{self, RolloutError, Site};

use super::deploy::{now_ms, reach, site_of};
use super::gate::{Desk, failure};
use crate::Context;
use crate::args::{LockArgs, LockCommand, LogArgs, StatusArgs};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::{deployment as ui, printer};

fn failed(error: RolloutError) -> Failure {
    failure(&error.into())
}

/// What runs where.
pub(crate) fn status(args: &StatusArgs, context: &Context) -> Result<Exit, Failure> {
    let desk = Desk::open(context)?;
    let names: Vec<String> = match &args.environment {
        Some(name) => vec![name.clone()],
        None => desk.delivery.environments.keys().cloned().collect(),
    };
    if names.is_empty() {
        let hint = "write an `[environment.NAME]` in splitci.toml; `splitci init --reference` explains its keys";
        return Err(Failure::plain(Exit::USAGE, "there is no environment", hint));
    }
    let mut told = Vec::new();
    for name in names {
        let site = site_of(&desk, &name, context)?;
        told.push(standing(&desk, &site)?);
    }
    if args.json {
        let all: Vec<_> = told.iter().map(ui::standing_json).collect();
        printer::answer(&format!("{}\n", json!(all)))?;
    } else {
        printer::answer(&told.iter().map(ui::standing).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::DONE)
}

fn standing(desk: &Desk, site: &Site) -> Result<ui::Standing, Failure> {
    let (journal, held) = desk.runtime.block_on(async { tokio::join!(rollout::journal(site), rollout::locked_by(site)) });
    let (journal, held) = (journal.map_err(failed)?, held.map_err(failed)?);
    let deploy = journal.unfinished().cloned().or_else(|| journal.rows().last().map(|row| row.deploy.clone()));
    let deploy = deploy.unwrap_or_else(|| DeployId(String::new()));
    let release = journal.stable().cloned().unwrap_or(Release { image: String::new(), settings: String::new() });
    let (world, misses) = desk.runtime.block_on(rollout::look(site, (&deploy, &release)));
    Ok(ui::Standing { environment: site.environment.clone(), world, misses, journal, held, now_ms: now_ms() })
}

/// What is not among what is shown.
fn tell_away(site: &Site) {
    for (_, error) in site.fleet.away() {
        printer::tell(&format!("warning: {}\n", chain(&error)));
    }
}

/// Who has the lock.
pub(crate) fn lock(args: &LockArgs, context: &Context) -> Result<Exit, Failure> {
    let (desk, site) = reach(&args.environment, context)?;
    let held = desk.runtime.block_on(rollout::locked_by(&site)).map_err(failed)?;
    tell_away(&site);
    if held.is_empty() {
        printer::answer("nobody has the lock\n")?;
        return Ok(Exit::DONE);
    }
    printer::answer(&held.iter().map(|part| ui::held(part, now_ms())).collect::<String>())?;
    match args.command {
        LockCommand::Show => {}
        LockCommand::Break { yes: false } => {
            printer::tell("nothing was done: `--yes` takes it away; whoever has it may be at work\n");
            return Ok(Exit::USAGE);
        }
        LockCommand::Break { yes: true } => {
            desk.runtime.block_on(rollout::break_lock(&site, &held)).map_err(failed)?;
            printer::answer(&format!("it was taken away; go on with `splitci resume {}`\n", args.environment))?;
        }
    }
    Ok(Exit::DONE)
}

/// The journal.
pub(crate) fn log(args: &LogArgs, context: &Context) -> Result<Exit, Failure> {
    let (desk, site) = reach(&args.environment, context)?;
    if args.verify {
        return verify(&desk, &site);
    }
    tell_away(&site);
    let journal = desk.runtime.block_on(rollout::journal(&site)).map_err(failed)?;
    let lines: String = if args.json { journal.text() } else { journal.rows().iter().filter_map(ui::row).collect() };
    printer::answer(&lines)?;
    Ok(Exit::DONE)
}

/// Whether every copy is a whole chain, and none says anything that another does not.
fn verify(desk: &Desk, site: &Site) -> Result<Exit, Failure> {
    let copies = desk.runtime.block_on(rollout::copies(site)).map_err(failed)?;
    let mut texts = Vec::new();
    let mut whole = true;
    for (engine, error) in site.fleet.away() {
        whole = false;
        printer::answer(&format!("{engine}: {}\n", chain(&error)))?;
    }
    for (engine, text) in copies {
        match text.map(|text| (Journal::parse(&text).map(|journal| journal.rows().len()), text)) {
            Ok((Ok(rows), text)) => {
                printer::answer(&format!("{engine}: {rows} rows, a whole chain\n"))?;
                texts.push(text);
            }
            Ok((Err(error), _)) => {
                whole = false;
                printer::answer(&format!("{engine}: {error}\n"))?;
            }
            Err(why) => {
                whole = false;
                printer::answer(&format!("{engine}: cannot be read: {why}\n"))?;
            }
        }
    }
    let agree =
        texts.windows(2).all(|pair| matches!(pair, [one, other] if one.starts_with(other.as_str()) || other.starts_with(one.as_str())));
    if !agree {
        printer::answer("the copies do not agree\n")?;
    }
    if texts.is_empty() && whole {
        printer::answer("there is no journal: nothing was ever deployed there\n")?;
    }
    Ok(if whole && agree { Exit::DONE } else { Exit(1) })
}
