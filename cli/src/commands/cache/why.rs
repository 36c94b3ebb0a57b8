//! `splitci cache why`: whether a run would build the image, and what changed.

use std::fmt::Write as _;

use splitci_coordinator::config::Flags;
use splitci_coordinator::pipeline::{self, Explained, Fate};

use super::why_test::why_files;
use crate::Context;
use crate::args::WhyArgs;
use crate::commands::drive::{Show, Start, drive};
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::span;
use crate::ui::terminal::tame;

/// Causes that are told.
pub(super) const TOLD: usize = 5;

/// Does it.
pub(super) fn why(mut args: WhyArgs, context: &Context) -> Result<Exit, Failure> {
    let json = args.json;
    let mut flags = Flags::default();
    args.place.into_flags(&mut flags);
    // A run of everything is what is explained, not one of these files.
    let files = std::mem::take(&mut args.project.paths);
    args.project.into_flags(&mut flags);
    let project = project::resolve(context, flags)?;
    if !files.is_empty() {
        return why_files(&project, &files, json, context);
    }
    let job = async |Start { world, listener, .. }: Start| pipeline::why(&project, &world, listener.as_ref()).await;
    let (explained, asked) = drive(context, Show::Progress, job)?;
    printer::answer(&if json { object(&explained) } else { text(&explained) })?;
    Ok(asked.unwrap_or(Exit::DONE))
}

fn object(explained: &Explained) -> String {
    let fate = match explained.fate {
        Fate::Reused => "reused",
        Fate::Gone => "gone",
        Fate::New => "new",
        Fate::Unseen => "unseen",
    };
    let beside = explained.beside.as_ref().map(|(key, seconds)| serde_json::json!({ "key": key, "age_seconds": seconds }));
    let object = serde_json::json!({
        "image": explained.reference,
        "key": explained.key,
        "fate": fate,
        "took_ms": explained.took_ms,
        "beside": beside,
        "differences": explained.differences,
        "unseen": explained.unseen,
        "advice": explained.advice,
        "notes": explained.notes,
    });
    format!("{object}\n")
}

fn text(explained: &Explained) -> String {
    let image = &explained.reference;
    let took = explained.took_ms.map(|took| format!(", which took {} to build", span(took))).unwrap_or_default();
    let mut out = match explained.fate {
        Fate::Reused => format!("a run reuses {image}{took}\n"),
        Fate::Gone => format!("a run builds {image}: the same was built before, and there is no image of it that this run can take\n"),
        Fate::New => format!("a run builds {image}: nothing was built of this yet\n"),
        Fate::Unseen => format!("a run builds {image}, as every run does: not all that counts can be seen\n"),
    };
    let mut list = |title: &str, sentences: &[String]| {
        if sentences.is_empty() {
            return;
        }
        // Writing into a string cannot fail.
        let _written = writeln!(out, "\n{title}");
        for sentence in sentences.iter().take(TOLD) {
            let _written = writeln!(out, "  {}", tame(sentence).replace('\n', " "));
        }
        if sentences.len() > TOLD {
            let _written = writeln!(out, "  and {} more", sentences.len() - TOLD);
        }
    };
    list("not seen", &explained.unseen);
    if let Some((key, seconds)) = &explained.beside {
        let then = span(seconds.saturating_mul(1_000));
        list(&format!("beside the nearest earlier image, {key}, built {then} ago"), &explained.differences);
    }
    list("advice", &explained.advice);
    list("notes", &explained.notes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_come_in_words_and_no_more_than_five() {
        let explained = Explained {
            reference: "splitci/shop:3f2a".into(),
            key: "3f2a".into(),
            fate: Fate::New,
            took_ms: None,
            beside: Some(("0123".into(), 3_700)),
            differences: (0..7).map(|n| format!("`f{n}` changed")).collect(),
            unseen: Vec::new(),
            advice: vec!["exclude `.git`".into()],
            notes: Vec::new(),
        };
        insta::assert_snapshot!(text(&explained), @r"
        a run builds splitci/shop:3f2a: nothing was built of this yet

        beside the nearest earlier image, 0123, built 61 min 40 s ago
          `f0` changed
          `f1` changed
          `f2` changed
          `f3` changed
          `f4` changed
          and 2 more

        advice
          exclude `.git`
        ");
        let reused = Explained { fate: Fate::Reused, took_ms: Some(102_000), beside: None, advice: Vec::new(), ..explained };
        assert_eq!(text(&reused), "a run reuses splitci/shop:3f2a, which took 1 min 42 s to build\n");
    }
}
