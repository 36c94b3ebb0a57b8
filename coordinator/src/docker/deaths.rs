//! How containers end, from the engine's events. An engine that removes a container by itself forgets its exit status and whether it ran out of
//! memory: both are heard here or never.
//!
//! One stream for all containers that carry a label. It begins at a time given (the engine's own), so that nothing is missed between the first
//! container and the stream's opening, and is opened again, from where it broke, when the engine restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters as query;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Docker;

/// Between two attempts to listen again.
const AGAIN: Duration = Duration::from_millis(500);

/// What was heard of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Death {
    /// Its exit status, once it ended.
    pub exit: Option<i32>,
    /// Memory ran out in it.
    pub oom: bool,
    /// The engine removed it.
    pub removed: bool,
}

/// Listens as long as it lives.
#[derive(Debug)]
pub struct Deaths {
    heard: watch::Receiver<HashMap<String, Death>>,
    _listener: JoinSet<()>,
}

impl Deaths {
    /// Begins to listen for the containers with `label`, from `since` on: a time as the engine writes it.
    pub fn listen(docker: &Arc<Docker>, label: String, since: String) -> Self {
        let (told, heard) = watch::channel(HashMap::new());
        let mut listener = JoinSet::new();
        listener.spawn(listen(Arc::clone(docker), label, since, told));
        Self { heard, _listener: listener }
    }

    /// What was heard of a container so far.
    pub fn of(&self, id: &str) -> Death {
        self.heard.borrow().get(id).copied().unwrap_or_default()
    }

    /// Waits until what was heard of a container satisfies `enough`, for a time at most.
    pub async fn wait(&self, id: &str, within: Duration, enough: impl Fn(&Death) -> bool) -> Death {
        let mut heard = self.heard.clone();
        let satisfied = heard.wait_for(|all| all.get(id).is_some_and(&enough));
        // Too late, or nobody listens any more: what is known has to do.
        let _in_time = tokio::time::timeout(within, satisfied).await;
        self.of(id)
    }
}

async fn listen(docker: Arc<Docker>, label: String, mut since: String, told: watch::Sender<HashMap<String, Death>>) {
    loop {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), vec!["die".to_owned(), "oom".to_owned(), "destroy".to_owned()]),
            ("label".to_owned(), vec![label.clone()]),
        ]);
        let options = query::EventsOptions { since: Some(since.clone()), until: None, filters: Some(filters) };
        // A way that cannot be opened now is tried again with the stream.
        let _open = docker.near().await;
        let mut events = docker.client.events(Some(options));
        while let Some(Ok(event)) = events.next().await {
            if let Some(nanos) = event.time_nano {
                since = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
            }
            take(&event, &told);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn take(event: &EventMessage, told: &watch::Sender<HashMap<String, Death>>) {
    let Some(actor) = &event.actor else { return };
    let (Some(id), Some(action)) = (actor.id.clone(), event.action.as_deref()) else { return };
    let exit = actor.attributes.as_ref().and_then(|attributes| attributes.get("exitCode")?.parse().ok());
    told.send_modify(|all| {
        let death = all.entry(id).or_default();
        match action {
            "die" => death.exit = exit.or(Some(-1)),
            "oom" => death.oom = true,
            "destroy" => death.removed = true,
            _ => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;

    fn event(action: &str, exit: Option<&str>) -> EventMessage {
        let attributes = exit.map(|code| HashMap::from([("exitCode".to_owned(), code.to_owned())]));
        EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor { id: Some("c".to_owned()), attributes }),
            ..EventMessage::default()
        }
    }

    #[tokio::test]
    async fn a_death_is_put_together_from_its_events() {
        let (told, heard) = watch::channel(HashMap::new());
        let deaths = Deaths { heard, _listener: JoinSet::new() };
        take(&event("oom", None), &told);
        take(&event("die", Some("137")), &told);
        let death = deaths.wait("c", Duration::from_secs(5), |death| death.exit.is_some()).await;
        assert_eq!(death, Death { exit: Some(137), oom: true, removed: false });
        let unknown = deaths.wait("d", Duration::ZERO, |death| death.removed).await;
        assert_eq!(unknown, Death::default());
    }
}
