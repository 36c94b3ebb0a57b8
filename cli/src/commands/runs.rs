//! `splitci runs`: a line for each run there is a record of, the latest last.

use splitci_coordinator::history::{HistoryError, Row};
use splitci_coordinator::model::settings::EngineKind;
use splitci_coordinator::model::verdict::Verdict;
use splitci_coordinator::report::row::{RunRow, row};

use crate::Context;
use crate::args::RunsArgs;
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::span;
use crate::ui::terminal::{Paint, tame};

/// Of a run's name, what tells it from others: its time in milliseconds.
const NAME: usize = 10;

/// Does it.
pub(crate) fn runs(args: &RunsArgs, context: &Context) -> Result<Exit, Failure> {
    let history = project::history(context)?;
    let unread = |error: HistoryError| Failure::new(Exit::USAGE, &error, error.hint());
    let rows = history.list(args.limit, row).map_err(unread)?;
    let line = |row: &Row<Option<RunRow>>| if args.json { json(row) } else { text(row, context.terminal.out) };
    let lines: Vec<String> = rows.iter().rev().map(line).collect();
    if lines.is_empty() {
        printer::tell("no runs yet: `splitci run` makes the first\n");
    }
    printer::answer(&lines.concat())?;
    Ok(Exit::DONE)
}

fn json(row: &Row<Option<RunRow>>) -> String {
    let found = row.row.as_ref().ok().and_then(Option::as_ref);
    let error = row.row.as_ref().err().map(ToString::to_string);
    let entry =
        serde_json::json!({ "run": row.entry.run, "running": row.entry.running, "bytes": row.entry.bytes, "row": found, "error": error });
    format!("{entry}\n")
}

fn text(row: &Row<Option<RunRow>>, paint: Paint) -> String {
    let name: String = row.entry.run.0.chars().take(NAME).collect();
    match &row.row {
        Ok(Some(found)) => format!("{name}  {}\n", line(found, row.entry.running, paint)),
        Ok(None) => format!("{name}  killed before it began\n"),
        Err(error) => format!("{name}  {}\n", paint.odd(&tame(&error.to_string()))),
    }
}

fn line(row: &RunRow, running: bool, paint: Paint) -> String {
    let verdict = match (running, row.exit, row.verdict) {
        (true, ..) => paint.strong("running    "),
        (_, None, _) => paint.odd("killed     "),
        (.., Verdict::Passed) => paint.good("passed     "),
        (.., Verdict::Failed { .. }) => paint.bad("failed     "),
        (.., Verdict::Empty) => paint.odd("no tests   "),
        (.., Verdict::None) => paint.odd("no verdict "),
        (.., Verdict::Interrupted) => paint.odd("interrupted"),
    };
    let when = row.started.get(..16).unwrap_or(&row.started).replace('T', " ");
    let bad = row.counts.bad();
    let bad = if bad > 0 { paint.bad(&format!("{bad:>5} bad")) } else { " ".repeat(9) };
    let engine = match row.engine {
        EngineKind::Docker => "docker",
        EngineKind::Process => "process",
    };
    let of = row.of.as_ref().map(|run| format!("  of {}", run.0.get(..NAME).unwrap_or(&run.0))).unwrap_or_default();
    let command = tame(&row.command.join(" ")).replace('\n', " ");
    format!("{when}Z  {verdict}  {:>7} tests {bad}  {:>11}  {engine} x{}  {command}{of}", row.counts.total(), span(row.wall_ms), row.shards)
}
