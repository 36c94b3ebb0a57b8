//! What the gate said, for people: the image, what the answer rests on, and everything that was looked at.

use std::fmt::Write as _;

use splitci_coordinator::delivery::{Approved, Promoted};

/// A yes.
pub(crate) fn approved(approved: &Approved, now_ms: u64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing into a string cannot fail.
        let _written = writeln!(out, "{name:<8} {text}");
    };
    line("image", &format!("{}@{}", approved.repository.name(), approved.identity.manifest));
    line("policy", &format!("{}, {}", approved.approval.environment(), approved.policy_from));
    if let Some(told) = approved.account.decisive(&approved.approval) {
        let details = &told.statement.predicate.splitci;
        let counts = &details.counts;
        let reused = if details.reused.tests > 0 { format!(", {} taken from earlier runs", details.reused.tests) } else { String::new() };
        let again = if counts.warned > 0 { format!(", {} passed when they were tried again", counts.warned) } else { String::new() };
        line("tests", &format!("{} passed, {} skipped themselves{again}{reused}", counts.passed, counts.skipped));
        line("run", &format!("{}, {} ago", details.run, ago(now_ms.saturating_sub(details.finished_on.ms()))));
        if let Some(commit) = told.commit() {
            line("commit", commit);
        }
        let level = told.level.map_or("no level", |level| level.word());
        line("signed", &format!("by key {}, level {level}", told.writer.short()));
    }
    if let Some(broken) = approved.approval.glass() {
        line("GLASS", &format!("broken by {} until {}: {}", broken.actor, broken.expires, broken.reason));
        line("", &format!("without that: {} ({})", broken.instead_of, broken.instead_of.code()));
    }
    for seen in &approved.account.seen {
        line("seen", &seen.to_string());
    }
    line("ALLOWED", &format!("it may go to `{}`", approved.approval.environment()));
    out
}

/// A promotion.
pub(crate) fn promoted(promoted: &Promoted, now_ms: u64) -> String {
    let mut out = approved(&promoted.approved, now_ms);
    let copied = &promoted.copied;
    let mut line = |name: &str, text: &str| {
        let _written = writeln!(out, "{name:<8} {text}");
    };
    let tags: Vec<_> = copied.tags.iter().map(ToString::to_string).collect();
    if copied.writes == 0 {
        line("written", "nothing: all of it was there already");
    } else {
        let (mounted, sent, bytes) = (copied.mounted, copied.sent, copied.bytes);
        line("written", &format!("{mounted} blobs taken over, {sent} sent ({bytes} bytes), {} statements", copied.statements));
        if !tags.is_empty() {
            line("tags", &tags.join(" "));
        }
    }
    for spoiled in &copied.spoiled {
        line("left", &format!("{}: {}", spoiled.artifact, spoiled.cause));
    }
    line("PROMOTED", &promoted.promotion.reference());
    out
}

/// A span in the largest unit that it has two of.
pub(crate) fn ago(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds")];
    units.iter().find(|(unit, _)| ms >= 2 * unit).map_or_else(|| format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}
