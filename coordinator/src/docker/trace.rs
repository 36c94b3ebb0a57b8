//! Folds BuildKit's trace into news: which step started, was cached, ended or failed, and what it printed.
//!
//! Pure. A step may be reported any number of times; a listener hears of it when its state changes. The last lines of every step are kept, so
//! that a failure can be shown with its log.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::model::Progress;
use crate::model::progress::{BuildStep, BuildStepState};

/// Bytes of log kept per step.
const LOG_TAIL: usize = 64 << 10;

/// What is known of a build's steps.
#[derive(Debug, Default)]
pub(super) struct Trace {
    steps: HashMap<String, Step>,
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    state: Option<BuildStepState>,
    log: Vec<u8>,
    error: String,
}

/// The step that a build failed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedStep {
    /// What the builder calls it, e.g. `[2/5] RUN make`.
    pub name: String,
    /// The end of what it printed.
    pub log: String,
    /// The builder's error.
    pub error: String,
}

impl Trace {
    /// Takes in a piece of the trace and says what is new.
    pub(super) fn take(&mut self, piece: StatusResponse) -> Vec<Progress> {
        let mut news = Vec::new();
        for vertex in piece.vertexes {
            if let Some(step) = self.take_vertex(vertex) {
                news.push(Progress::BuildStep(step));
            }
        }
        for log in piece.logs {
            let step = self.steps.entry(log.vertex.clone()).or_default();
            step.log.extend_from_slice(&log.msg);
            let surplus = step.log.len().saturating_sub(LOG_TAIL);
            step.log.drain(..surplus);
            news.push(Progress::BuildLog { step: log.vertex, text: String::from_utf8_lossy(&log.msg).into_owned() });
        }
        news
    }

    fn take_vertex(&mut self, vertex: Vertex) -> Option<BuildStep> {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        step.name.clone_from(&vertex.name);
        let state = state_of(&vertex)?;
        if let BuildStepState::Failed(error) = &state {
            step.error.clone_from(error);
            // A cache that cannot be had fails no build. Steps that were stopped because another failed say so; the first with an error of its own is the culprit.
            let is_culprit = !error.contains("context canceled") || self.failed.is_none();
            if is_culprit && imported_from(&vertex.name).is_none() {
                self.failed = Some(vertex.digest.clone());
            }
        }
        if step.state.as_ref() == Some(&state) {
            return None;
        }
        step.state = Some(state.clone());
        Some(BuildStep { id: vertex.digest, name: vertex.name, state })
    }

    /// The step that failed, if one did.
    pub(super) fn failed(&self) -> Option<FailedStep> {
        let step = self.steps.get(self.failed.as_ref()?)?;
        Some(FailedStep { name: step.name.clone(), log: String::from_utf8_lossy(&step.log).into_owned(), error: step.error.clone() })
    }
}

/// The reference that a step of this name reads a cache from, if it is one that does.
pub fn imported_from(name: &str) -> Option<&str> {
    name.strip_prefix("importing cache manifest from ")
}

fn state_of(vertex: &Vertex) -> Option<BuildStepState> {
    let started = vertex.started.as_ref();
    if !vertex.error.is_empty() {
        return Some(BuildStepState::Failed(vertex.error.clone()));
    }
    if vertex.cached {
        return Some(BuildStepState::Cached);
    }
    match (started, vertex.completed.as_ref()) {
        (Some(started), Some(completed)) => {
            let nanos = (completed.seconds - started.seconds) * 1_000_000_000 + i64::from(completed.nanos - started.nanos);
            Some(BuildStepState::Done(u64::try_from(nanos / 1_000_000).unwrap_or(0)))
        }
        (Some(_), None) => Some(BuildStepState::Started),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::moby::buildkit::v1::VertexLog;

    fn vertex(digest: &str, error: &str) -> Vertex {
        Vertex { digest: digest.into(), name: format!("RUN {digest}"), error: error.into(), ..Vertex::default() }
    }

    #[test]
    fn a_repeated_report_of_a_step_is_no_news() {
        let mut trace = Trace::default();
        let piece = StatusResponse { vertexes: vec![Vertex { cached: true, ..vertex("a", "") }], ..StatusResponse::default() };
        assert_eq!(trace.take(piece.clone()).len(), 1);
        assert_eq!(trace.take(piece).len(), 0);
    }

    #[test]
    fn the_culprit_is_the_step_with_an_error_of_its_own() {
        let mut trace = Trace::default();
        trace.take(StatusResponse {
            vertexes: vec![vertex("b", "context canceled"), vertex("a", "exit code: 7"), vertex("c", "context canceled")],
            logs: vec![VertexLog { vertex: "a".into(), msg: b"no rule to make target\n".to_vec(), ..VertexLog::default() }],
            ..StatusResponse::default()
        });
        let failed = trace.failed().expect("a failed step");
        assert_eq!((failed.name.as_str(), failed.error.as_str()), ("RUN a", "exit code: 7"));
        assert_eq!(failed.log, "no rule to make target\n");
    }

    #[test]
    fn a_cache_that_is_not_there_is_no_culprit() {
        let mut trace = Trace::default();
        let import = Vertex { name: "importing cache manifest from registry.example/a:b".into(), ..vertex("i", "a:b: not found") };
        trace.take(StatusResponse { vertexes: vec![import], ..StatusResponse::default() });
        assert_eq!(trace.failed(), None);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_kept() {
        let mut trace = Trace::default();
        let log = |msg: Vec<u8>| VertexLog { vertex: "a".into(), msg, ..VertexLog::default() };
        trace.take(StatusResponse { logs: vec![log(vec![b'x'; LOG_TAIL]), log(b"end".to_vec())], ..StatusResponse::default() });
        trace.take(StatusResponse { vertexes: vec![vertex("a", "boom")], ..StatusResponse::default() });
        let failed = trace.failed().expect("a failed step");
        assert_eq!(failed.log.len(), LOG_TAIL);
        assert!(failed.log.ends_with("xend"));
    }
}
