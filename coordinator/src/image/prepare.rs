//! Everything about a build that is known before it: what would be built, of what, and under which key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::bases::{Bases, Search, resolve};
use super::context::{Context, Reading};
use super::dockerfile::{CacheMount, Choices, Reach, outside, renamed};
use super::ensure::BuildFrom;
use super::error::ImageError;
use super::key::{ContextItem, Key, KeyInputs, image_key};
use crate::docker::Docker;
use crate::model::Listener;

/// What is known before a build.
pub(super) struct Prepared {
    /// What is sent, with the Dockerfile as it is on the disk.
    pub(super) context: Arc<Context>,
    /// The Dockerfile that the builder gets: images that it starts from are named so that they can be no others.
    pub(super) dockerfile: Vec<u8>,
    /// Its entries, as they were read.
    pub(super) items: Arc<Vec<ContextItem>>,
    pub(super) key: Key,
    /// What the key is made of.
    pub(super) inputs: KeyInputs,
    /// Why an image of this key must not be believed, if it must not.
    pub(super) unseen: Vec<String>,
    /// What the user should know, a sentence each.
    pub(super) notes: Vec<String>,
    /// Names of bases that the builder is told.
    pub(super) pinned: Vec<String>,
    /// What the build can reach of the context.
    pub(super) reach: Reach,
    /// Its cache mounts, or why one does not travel.
    pub(super) mounts: Vec<Result<CacheMount, String>>,
    /// A base may bring instructions that the Dockerfile does not show.
    pub(super) may_trigger: bool,
}

/// Finds it out. `only_look` pulls nothing and tags nothing.
pub(super) async fn prepare(from: &BuildFrom, only_look: bool, docker: &Docker, listener: &dyn Listener) -> Result<Prepared, ImageError> {
    let (root, dockerfile, state) = (from.context.clone(), from.dockerfile.clone(), from.state.clone());
    let read = tokio::task::spawn_blocking(move || Context::read(&root, &dockerfile, state.as_deref()));
    let (read, facts) = tokio::join!(read, docker.facts());
    let Reading { context, items, mut notes } = read.map_err(|_| ImageError::Lost)??;
    let facts = facts?;
    let platform = from.platform.clone().unwrap_or_else(|| facts.platform());
    let choices = Choices { target: from.target.as_deref(), args: from.args.clone(), platform: &platform };
    let mut outside = outside(&context.dockerfile.text, &choices);
    let search = Search { platform: from.platform.as_deref(), pull: from.pull, only_look, state: from.state.as_deref() };
    let Bases { ids, names, unseen, notes: more, may_trigger } = resolve(&outside.images, search, docker, listener).await?;
    notes.extend(more);
    let reach = if may_trigger { Reach::Everything } else { std::mem::take(&mut outside.reach).within(&items) };
    let items = Arc::new(items);
    let inputs = KeyInputs {
        platform,
        containerd_store: facts.containerd_store,
        engine_line: facts.line(),
        dockerfile: context.dockerfile.clone(),
        ignore: context.ignore.clone(),
        target: from.target.clone(),
        args: counted(&from.args),
        network: from.network.clone(),
        add_hosts: from.add_hosts.clone(),
        shm_size: from.shm_size,
        bases: ids,
        context: reached(&items, &reach),
        secrets: from.secrets.iter().map(|secret| secret.id.clone()).collect(),
        ssh: from.ssh.iter().map(|agent| agent.id.clone()).collect(),
        epoch: from.epoch.clone(),
        age: age(from),
        ..KeyInputs::default()
    };
    let dockerfile = renamed(&context.dockerfile.text, &outside, &names);
    let mounts = std::mem::take(&mut outside.mounts);
    let unseen = outside.unseen.into_iter().chain(unseen).collect();
    let (key, pinned) = (image_key(&inputs), names.into_values().collect());
    Ok(Prepared { context: Arc::new(context), dockerfile, items, key, inputs, unseen, notes, pinned, reach, mounts, may_trigger })
}

fn reached(items: &Arc<Vec<ContextItem>>, reach: &Reach) -> Arc<Vec<ContextItem>> {
    match reach {
        Reach::Everything => Arc::clone(items),
        Reach::Paths(_) => Arc::new(items.iter().filter(|item| reach.covers(&item.path)).cloned().collect()),
    }
}

/// Build arguments, without those that BuildKit leaves out of its own keys.
fn counted(args: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    args.iter().filter(|(name, _)| !is_proxy(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_proxy(name: &str) -> bool {
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"].contains(&name.to_ascii_lowercase().as_str())
}

/// The number of the span of time that this is, if images get old.
fn age(from: &BuildFrom) -> Option<u64> {
    let longest = from.max_age?.as_secs().max(1);
    Some(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) / longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_do_not_count() {
        assert!(is_proxy("HTTP_PROXY") && is_proxy("no_proxy") && !is_proxy("PROXY"));
    }
}
