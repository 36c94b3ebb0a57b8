//! Says of a project's image whether a run would build it, and why. Looks, and changes nothing: no pull, no tag.

use std::sync::Arc;

use super::ensure::{BuildFrom, KEY_LABEL, believes_the_engine, repository};
use super::error::ImageError;
use super::kept::{Kept, Shelf};
use super::prepare::prepare;
use super::why::{advice, differences, nearest};
use crate::docker::Docker;
use crate::model::Listener;

/// What a run would do about the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Take the one that is there.
    Reused,
    /// Build it: its inputs are known, and the image is gone.
    Gone,
    /// Build it: nothing is known of these inputs.
    New,
    /// Build it every time: not everything that counts can be seen.
    Unseen,
}

/// What is known of a project's image before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name.
    pub reference: String,
    /// Its key, all of it.
    pub key: String,
    /// What a run would do.
    pub fate: Fate,
    /// How long its build took, in milliseconds, if it is known.
    pub took_ms: Option<u64>,
    /// Key and age in seconds of the earlier image that is nearest, if there is one.
    pub beside: Option<(String, u64)>,
    /// How it differs from that, a sentence each, what says most first.
    pub differences: Vec<String>,
    /// Why it is built in every run, if it is.
    pub unseen: Vec<String>,
    /// What makes reuse unlikely, a sentence each.
    pub advice: Vec<String>,
    /// What else the user should know.
    pub notes: Vec<String>,
}

/// Explains it. `now` is in seconds since 1970.
pub async fn explain(from: &BuildFrom, docker: &Arc<Docker>, listener: &dyn Listener, now: u64) -> Result<Explained, ImageError> {
    let prepared = prepare(from, true, docker, listener).await?;
    let reference = format!("{}:{}", repository(&from.project), prepared.key.short());
    let there = match (believes_the_engine(from), &from.elsewhere) {
        (true, _) => docker.image(&reference).await?.is_some_and(|image| image.labels.get(KEY_LABEL) == Some(&prepared.key.to_hex())),
        (false, None) => false,
        (false, Some(elsewhere)) => match elsewhere.image(prepared.key).await {
            Some(known) => known.remote.is_some() || docker.image(&known.id).await?.is_some(),
            None => false,
        },
    };
    let shelf = from.state.as_deref().map(|state| Shelf::of(state, &from.project, from.target.as_deref()));
    let mut inputs = prepared.inputs;
    if let Some(Ok(disguised)) = shelf.as_ref().map(|shelf| shelf.disguised(&inputs)) {
        inputs = disguised;
    }
    let all = shelf.as_ref().map(Shelf::all).unwrap_or_default();
    let known = all.iter().find(|kept| kept.key == prepared.key);
    // An image that is known is explained by what came before it, another one by anything that there is.
    let before = |kept: &&Kept| known.is_none_or(|known| kept.key != known.key && kept.made <= known.made);
    let beside = nearest(&inputs, all.iter().filter(before));
    let fate = match (prepared.unseen.is_empty(), there, known) {
        (false, ..) => Fate::Unseen,
        (true, true, _) => Fate::Reused,
        (true, false, Some(_)) => Fate::Gone,
        (true, false, None) => Fate::New,
    };
    Ok(Explained {
        reference,
        key: prepared.key.to_hex(),
        fate,
        took_ms: known.map(|kept| kept.took_ms).filter(|took| *took > 0),
        differences: beside.map(|kept| differences(&kept.inputs, &inputs)).unwrap_or_default(),
        beside: beside.map(|kept| (kept.key.short(), now.saturating_sub(kept.made))),
        unseen: prepared.unseen,
        advice: advice(&inputs, &all, &prepared.items, &prepared.reach),
        notes: prepared.notes,
    })
}
