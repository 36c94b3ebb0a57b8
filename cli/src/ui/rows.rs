//! Draws the board: a line for each shard, one for the whole, cut to the terminal. Pure: board, time and size in, lines out.
//!
//! When there is less room, what matters less goes first: the bar, the times, the words; then shards that have nothing to tell. One line always remains.

use console::{measure_text_width, truncate_str};

use super::board::{At, Board, LiveStep, Row, Stage};
use super::terminal::{Paint, tame};

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// The lines to show now; the last is the whole.
pub(crate) fn rows(board: &Board, now: u64, size: Size, paint: Paint) -> Vec<String> {
    let width = size.width.saturating_sub(1).max(10);
    let room = size.height.saturating_sub(3).max(1);
    let mut lines: Vec<String> = match board.stage {
        Stage::Over => return Vec::new(),
        Stage::Preparing(_) => Vec::new(),
        Stage::Building => board.steps.iter().map(|step| build_row(step, now, width, paint)).collect(),
        Stage::Running | Stage::Stopping => shard_rows(board, now, width, paint),
    };
    if lines.len() > room {
        let more = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(paint.faint(&format!("     and {more} more")));
    }
    lines.push(whole(board, now, width, paint));
    lines.into_iter().map(|line| truncate_str(&line, width, "").into_owned()).collect()
}

fn shard_rows(board: &Board, now: u64, width: usize, paint: Paint) -> Vec<String> {
    board.shards.iter().map(|(shard, row)| shard_row(&shard.to_string(), row, now, width, paint)).collect()
}

fn shard_row(shard: &str, row: &Row, now: u64, width: usize, paint: Paint) -> String {
    let for_ms = now.saturating_sub(row.since);
    let what = match &row.at {
        At::Starting => paint.faint("starting"),
        At::Booting => paint.faint("booting the framework"),
        At::Waiting => paint.faint("waiting for work"),
        At::Closing => paint.faint("closing"),
        At::Over => paint.faint("done"),
        At::Lost => paint.odd("lost"),
        At::Running(name) => tame(name).replace('\n', " "),
    };
    let mut right = Vec::new();
    if width >= 60 && matches!(row.at, At::Running(_) | At::Booting | At::Closing) && for_ms >= 1000 {
        right.push(paint.faint(&clock(for_ms)));
    }
    if row.bad > 0 {
        right.push(paint.bad(&format!("{} bad", row.bad)));
    }
    right.push(if width >= 60 { format!("{:>5} tests", row.tests) } else { format!("{:>5}", row.tests) });
    let left = format!("{shard:>4}  {what}");
    spread(&left, &right.join("  "), width)
}

fn build_row(step: &LiveStep, now: u64, width: usize, paint: Paint) -> String {
    let last = tame(&step.last).replace('\n', " ");
    let left = format!("      {}  {}", tame(&step.name), paint.faint(&last));
    spread(&left, &paint.faint(&clock(now.saturating_sub(step.since))), width)
}

/// Left and right at the two ends; the left gives way.
fn spread(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(measure_text_width(right) + 2);
    let left = truncate_str(left, room, "~");
    let gap = width.saturating_sub(measure_text_width(&left) + measure_text_width(right));
    format!("{left}{}{right}", " ".repeat(gap))
}

fn whole(board: &Board, now: u64, width: usize, paint: Paint) -> String {
    let for_ms = now.saturating_sub(board.since);
    match &board.stage {
        Stage::Preparing(what) => format!("      {} {}", paint.strong(&tame(what)), paint.faint(&clock(for_ms))),
        Stage::Building => {
            let context = if board.context > 0 { format!("  context {}", bytes(board.context)) } else { String::new() };
            format!("      {}{context}  {}", paint.strong("building the image"), paint.faint(&clock(for_ms)))
        }
        Stage::Running | Stage::Stopping | Stage::Over => {
            let (done, all) = board.units();
            let bar = if width >= 90 && all > 0 { format!("      {}  ", bar(done, all, 20)) } else { "      ".into() };
            format!("{bar}{}", counts(board, now, paint))
        }
    }
}

/// The whole in one line, for the live line and for calm logs.
pub(crate) fn counts(board: &Board, now: u64, paint: Paint) -> String {
    let (done, all) = board.units();
    let mut parts = Vec::new();
    if board.stage == Stage::Stopping {
        parts.push(paint.odd("stopping"));
    }
    if all > 0 {
        parts.push(format!("{done}/{all} units"));
    }
    parts.push(format!("{} tests", board.tally.tests));
    if board.tally.skipped > 0 {
        parts.push(format!("{} skipped", board.tally.skipped));
    }
    let bad = format!("{} failed", board.tally.bad);
    parts.push(if board.tally.bad > 0 { paint.bad(&bad) } else { bad });
    let left = board.left(now).filter(|left| *left >= 1000).map(|left| format!(", about {} left", clock(left))).unwrap_or_default();
    parts.push(paint.faint(&format!("{}{left}", clock(now.saturating_sub(board.since)))));
    parts.join("  ")
}

fn bar(done: usize, all: usize, cells: usize) -> String {
    let full = done * cells / all.max(1);
    let head = if full < cells { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat((cells - full).saturating_sub(1)))
}

/// A time span as people say it: `0.12 s`, `12.3 s`, `2 min 05 s`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        10_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// A running clock: `0:12`, `1:02:03`.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// A number of things: `1 unit`, `2 units`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// A size as people say it.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut scale) = ("B", 1);
    for next in UNITS {
        if n / scale >= 1024 {
            (unit, scale) = (next, scale * 1024);
        }
    }
    if scale == 1 { format!("{n} B") } else { format!("{}.{} {unit}", n / scale, n % scale * 10 / scale) }
}
