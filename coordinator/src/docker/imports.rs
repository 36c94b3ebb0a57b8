//! Watches what a build takes from registries instead of doing it, and says when that is to be given up. Pure.
//!
//! A builder asks for a layer six times in 75 seconds before it does the step itself, and waits for a registry that is silent as long as that is silent. A
//! cache is there to save time: the second time that a layer is asked for, or when it has not come for long, the build is better off without.

use std::collections::HashMap;
use std::time::Duration;

use bollard::moby::buildkit::v1::StatusResponse;
use tokio::time::Instant;

use super::trace::imported_from;

/// How long the list of a cache's layers may take.
const LIST: Duration = Duration::from_secs(15);
/// How long one layer may take. A builder says nothing while it comes.
const LAYER: Duration = Duration::from_secs(90);
/// What a builder calls it.
const PULLING: &str = "pulling ";

/// What is known of a build's imports.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// What was begun, by step and name, and until when it is waited for; nothing when it has ended.
    begun: HashMap<(String, String), Option<Instant>>,
}

impl Imports {
    /// Takes in a piece of the trace. Returns why to give up, if that is to be done.
    pub(super) fn take(&mut self, piece: &StatusResponse, now: Instant) -> Option<String> {
        for vertex in &piece.vertexes {
            if imported_from(&vertex.name).is_some() && vertex.started.is_some() {
                let until = vertex.completed.is_none().then_some(now + LIST);
                self.begun.insert((vertex.digest.clone(), vertex.name.clone()), until);
            }
        }
        for status in &piece.statuses {
            let Some(layer) = status.id.strip_prefix(PULLING) else { continue };
            let key = (status.vertex.clone(), status.id.clone());
            match (self.begun.get(&key), status.completed.is_some()) {
                (Some(None), false) => return Some(format!("layer {layer} did not come whole")),
                (Some(Some(_)), false) => {}
                (_, true) => drop(self.begun.insert(key, None)),
                (None, false) => drop(self.begun.insert(key, Some(now + LAYER))),
            }
        }
        None
    }

    /// When to give up if nothing more is heard, and why.
    pub(super) fn deadline(&self) -> Option<(Instant, String)> {
        let waited = self.begun.iter().filter_map(|((_, what), until)| Some(((*until)?, what)));
        let (until, what) = waited.min()?;
        Some((until, format!("{what} takes too long")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::moby::buildkit::v1::{Vertex, VertexStatus};
    use bollard_buildkit_proto::google::protobuf::Timestamp;

    fn pulling(layer: &str, done: bool) -> StatusResponse {
        let status = VertexStatus {
            id: format!("pulling {layer}"),
            vertex: "step".into(),
            started: Some(Timestamp::default()),
            completed: done.then(Timestamp::default),
            ..VertexStatus::default()
        };
        StatusResponse { statuses: vec![status], ..StatusResponse::default() }
    }

    #[test]
    fn a_layer_that_is_asked_for_again_is_given_up() {
        let (mut imports, now) = (Imports::default(), Instant::now());
        for (layer, done) in [("a", false), ("a", false), ("b", false), ("a", true), ("b", true)] {
            assert_eq!(imports.take(&pulling(layer, done), now), None);
        }
        assert_eq!(imports.deadline(), None);
        assert!(imports.take(&pulling("a", false), now).is_some_and(|why| why.contains("layer a")));
    }

    #[test]
    fn what_does_not_come_is_waited_for_until_a_time() {
        let (mut imports, now) = (Imports::default(), Instant::now());
        let list = |done: bool| Vertex {
            name: "importing cache manifest from registry.example/a:b".into(),
            started: Some(Timestamp::default()),
            completed: done.then(Timestamp::default),
            ..Vertex::default()
        };
        let piece = |done| StatusResponse { vertexes: vec![list(done)], ..StatusResponse::default() };
        imports.take(&piece(false), now);
        assert_eq!(imports.deadline().map(|(until, _)| until), Some(now + LIST));
        imports.take(&piece(true), now);
        imports.take(&pulling("a", false), now);
        assert_eq!(imports.deadline().map(|(until, _)| until), Some(now + LAYER));
    }
}
