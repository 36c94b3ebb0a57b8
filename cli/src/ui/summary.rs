//! Colours the summary, lightly: its words are the report's and stay as they are.

use super::terminal::Paint;

/// Words that begin a line which is worth a colour.
pub(crate) fn colour(summary: &str, paint: Paint) -> String {
    let line = |line: &str| match line.split_whitespace().next() {
        Some("PASSED") => paint.good(line),
        Some("FAILED" | "ERROR" | "CRASHED") if !line.starts_with(' ') => paint.bad(line),
        Some("FLAKY" | "EMPTY" | "NO" | "INTERRUPTED") if !line.starts_with(' ') => paint.odd(line),
        _ => line.to_owned(),
    };
    summary.split_inclusive('\n').map(|text| text.strip_suffix('\n').map_or_else(|| line(text), |text| line(text) + "\n")).collect()
}
