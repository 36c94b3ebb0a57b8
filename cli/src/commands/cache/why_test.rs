//! `splitci cache why FILE`: whether a run that reuses results would run these test files, and why.

use std::fmt::Write as _;
use std::sync::Arc;

use splitci_coordinator::config::Project;
use splitci_coordinator::model::RunId;
use splitci_coordinator::pipeline::{self, FileFate, FilesExplained};

use super::why::TOLD;
use crate::Context;
use crate::commands::drive::{Show, Start, drive};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::terminal::tame;

/// Does it. A test is meant by its file.
pub(super) fn why_files(project: &Project, named: &[String], json: bool, context: &Context) -> Result<Exit, Failure> {
    let files: Vec<String> = named.iter().map(|name| name.split("::").next().unwrap_or_default().to_owned()).collect();
    let job = async |Start { world, listener, .. }: Start| pipeline::why_files(project, &files, &world, Arc::clone(&listener)).await;
    let (explained, asked) = drive(context, Show::Progress, job)?;
    let Some(explained) = explained else {
        let what = "the project's image is not built yet, or changed: every test runs";
        return Err(Failure::plain(Exit::USAGE, what, "`splitci cache why` says what changed; `splitci cache warm` builds it"));
    };
    printer::answer(&if json { object(&explained) } else { text(&explained) })?;
    Ok(asked.unwrap_or(Exit::DONE))
}

fn words(fate: &FileFate) -> (&'static str, String, Option<&RunId>) {
    match fate {
        FileFate::Reused(run) => ("reused", format!("is not run again, but for a look now and then: run {run} proved it"), Some(run)),
        FileFate::Flaky(runs) => ("flaky", format!("is run: it was flaky of late, and is run in its next {runs} runs"), None),
        FileFate::Old(run) => ("old", format!("is run: what run {run} proved is older than 14 days"), Some(run)),
        FileFate::WithoutHistory => ("without history", "is run: it has results, and no history is at hand".to_owned(), None),
        FileFate::NotProven => {
            ("not proven", "is run: others passed with all this being the same, and it did not, or was not there".to_owned(), None)
        }
        FileFate::New => ("new", "is run: nothing was proven on this image with this command, environment and limits".to_owned(), None),
        FileFate::Unkeyed => ("unkeyed", "is run: results of such a run cannot be kept".to_owned(), None),
    }
}

fn text(explained: &FilesExplained) -> String {
    let mut out = String::new();
    for (file, fate, differences) in &explained.files {
        // Writing into a string cannot fail.
        let _written = writeln!(out, "{} {}", tame(file).replace('\n', " "), words(fate).1);
        for difference in differences.iter().take(TOLD) {
            let _written = writeln!(out, "  since the last run {}", tame(difference).replace('\n', " "));
        }
        if differences.len() > TOLD {
            let _written = writeln!(out, "  and {} more", differences.len() - TOLD);
        }
    }
    for note in &explained.notes {
        let _written = writeln!(out, "{}", tame(note).replace('\n', " "));
    }
    out
}

fn object(explained: &FilesExplained) -> String {
    let file = |(file, fate, differences): &(String, FileFate, Vec<String>)| {
        let (fate, _, run) = words(fate);
        serde_json::json!({ "file": file, "fate": fate, "by": run, "differences": differences })
    };
    let files: Vec<_> = explained.files.iter().map(file).collect();
    format!("{}\n", serde_json::json!({ "files": files, "notes": explained.notes }))
}
