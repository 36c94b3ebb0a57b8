//! The summary as Markdown, for the pages that CI systems show beside a job.
//!
//! Cut to a size that they all take; what is cut is counted.

use std::fmt::Write;

use super::account::Account;
use super::findings::{Finding, findings};
use super::summary::last_line;
use super::words::{clip, count, one_line};

/// Findings that are listed.
const MOST_FINDINGS: usize = 50;
/// Characters of a reason.
const MOST_REASON: usize = 300;

/// The page.
pub fn render(account: &Account) -> String {
    let mut page = format!("### {}\n", escaped(&last_line(account)));
    let found = findings(account);
    if !found.is_empty() {
        page.push_str("\n| what | why |\n|---|---|\n");
    }
    for finding in found.iter().take(MOST_FINDINGS) {
        let _infallible = writeln!(page, "| {} | {} |", subject(finding), escaped(&clip(&finding.reason, MOST_REASON)));
    }
    let more = found.len().saturating_sub(MOST_FINDINGS);
    if more > 0 {
        let _infallible = writeln!(page, "\nand {}", count(more, "more"));
    }
    if let Some(finding) = found.iter().find(|finding| !finding.command.is_empty()) {
        let _infallible = writeln!(page, "\nRun the first again:\n\n```sh\n{}\n```", one_line(&finding.command, usize::MAX));
    }
    page
}

fn subject(finding: &Finding) -> String {
    let place = match (finding.file.is_empty(), finding.line) {
        (true, _) => String::new(),
        (false, 0) => format!("<br>{}", escaped(&finding.file)),
        (false, line) => format!("<br>{}:{line}", escaped(&finding.file)),
    };
    format!("**{}**{place}", escaped(&one_line(&finding.what, usize::MAX)))
}

/// Text that means nothing to Markdown, nor to the HTML in it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
