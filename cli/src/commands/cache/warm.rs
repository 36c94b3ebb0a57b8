//! `splitci cache warm`: has the image ready for the next run.

use splitci_coordinator::config::Flags;
use splitci_coordinator::model::event::{EventKind, ImageSource};
use splitci_coordinator::pipeline;

use crate::Context;
use crate::args::cache::WarmArgs;
use crate::commands::drive::{Show, Start, drive};
use crate::project;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::span;
use crate::ui::terminal::tame;

/// Does it.
pub(super) fn warm(args: WarmArgs, context: &Context) -> Result<Exit, Failure> {
    let json = args.json;
    let mut flags = Flags::default();
    args.place.into_flags(&mut flags);
    args.project.into_flags(&mut flags);
    let project = project::resolve(context, flags)?;
    let job = async |Start { world, listener, controls }: Start| Box::pin(pipeline::warm(&project, &world, listener, controls)).await;
    let (warmed, asked) = drive(context, Show::Progress, job)?;
    if json {
        let text = serde_json::json!({ "image": warmed.image, "notes": warmed.notes });
        printer::answer(&format!("{text}\n"))?;
    } else {
        printer::answer(&line(&warmed.image))?;
        for note in &warmed.notes {
            printer::tell(&format!("{}\n", tame(note).replace('\n', " ")));
        }
    }
    Ok(asked.unwrap_or(Exit::DONE))
}

fn line(image: &EventKind) -> String {
    let EventKind::ImageReady { reference, how, took_ms, saved_ms, .. } = image else { return String::new() };
    match how {
        ImageSource::Built => format!("{reference} was built in {}\n", span(*took_ms)),
        ImageSource::Found if *saved_ms > 0 => format!("{reference} is there, and took {} to build\n", span(*saved_ms)),
        ImageSource::Found | ImageSource::Given => format!("{reference} is there\n"),
    }
}
