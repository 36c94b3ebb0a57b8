//! `splitci plan`: what would run, in the order of dispatch.

use std::fmt::Write as _;

use splitci_coordinator::config::Flags;
use splitci_coordinator::model::{Select, Unit, UnitKind};
use splitci_coordinator::pipeline::{self, Planned, RunRequest};

use super::drive::{Show, Start, drive};
use crate::Context;
use crate::args::PlanArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::{count, span};
use crate::ui::terminal::tame;

/// Does it.
pub(crate) fn plan(args: PlanArgs, context: &Context) -> Result<Exit, Failure> {
    let json = args.json;
    let mut flags = Flags::default();
    args.project.into_flags(&mut flags);
    let project = project::resolve(context, flags)?;
    let request = RunRequest { project, only_failed: false, keep: false, paths_given: false, filters: Vec::new(), terminal: None };
    let job = async |Start { world, listener, controls }: Start| pipeline::plan(&request, &world, listener, controls).await;
    let (planned, asked) = drive(context, Show::Progress, job)?;
    if json {
        let text = serde_json::to_string(&planned.manifest).map_err(|error| Failure::new(Exit::BUG, &error, None))?;
        printer::answer(&(text + "\n"))?;
    } else {
        printer::answer(&list(&planned))?;
    }
    Ok(asked.unwrap_or(Exit::DONE))
}

/// A line a unit, then the whole.
fn list(planned: &Planned) -> String {
    let mut out = String::new();
    let units: Vec<&Unit> = planned.manifest.units.iter().filter(|unit| unit.kind != UnitKind::Fallback).collect();
    for unit in &units {
        let predicted = unit.predicted_ms.map_or_else(|| "?".into(), span);
        // Writing into a string cannot fail.
        let _written = writeln!(out, "{predicted:>12}  {}{}", tame(&unit.file).replace('\n', " "), part(unit));
    }
    let known: Vec<u64> = units.iter().filter_map(|unit| unit.predicted_ms).collect();
    let sum: u64 = known.iter().sum();
    let shards = u64::from(planned.shards).min(units.len() as u64).max(1);
    let at_best = known.iter().copied().max().unwrap_or(0).max(sum / shards);
    let time = match units.len() - known.len() {
        0 => format!("{} of work, {} at best", span(sum), span(at_best)),
        unknown => format!("{unknown} never timed"),
    };
    let _written = writeln!(out, "{} in {}: {time}", count(units.len(), "unit"), count(shards.try_into().unwrap_or(0), "shard"));
    out
}

fn part(unit: &Unit) -> String {
    match unit.select() {
        Select::All => String::new(),
        Select::Only(ids) => format!("  ({} tests of it)", ids.len()),
        Select::Except(ids) => format!("  (all but {} tests of it)", ids.len()),
    }
}

#[cfg(test)]
mod tests {
    use splitci_coordinator::model::{Manifest, SuiteId};

    use super::*;

    fn unit(file: &str, kind: UnitKind, predicted_ms: Option<u64>) -> Unit {
        Unit { predicted_ms, ..Unit::new(SuiteId::default(), file, kind) }
    }

    #[test]
    fn a_plan_is_a_line_a_unit_and_what_it_takes_at_best() {
        let slice = UnitKind::Slice { select: Select::Only(vec!["a".into(), "b".into()]) };
        let units = vec![
            unit("tests/test_slow.py", slice, Some(64_000)),
            unit("tests/test_slow.py", UnitKind::Fallback, None),
            unit("tests/test_cart.py", UnitKind::File, Some(1_250)),
        ];
        insta::assert_snapshot!(list(&Planned { manifest: Manifest { units }, shards: 8 }), @r"
          1 min 04 s  tests/test_slow.py  (2 tests of it)
              1.25 s  tests/test_cart.py
        2 units in 2 shards: 1 min 05 s of work, 1 min 04 s at best
        ");
    }

    #[test]
    fn without_a_past_nothing_is_predicted() {
        let units = vec![unit("a.py", UnitKind::File, None), unit("b.py", UnitKind::File, Some(10))];
        insta::assert_snapshot!(list(&Planned { manifest: Manifest { units }, shards: 1 }), @r"
                   ?  a.py
              0.01 s  b.py
        2 units in 1 shard: 1 never timed
        ");
    }
}
