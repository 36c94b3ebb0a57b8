//! Shards of an image that was built from the project: where the engine cannot make one because the image is gone or damaged, that is said, and the
//! next run builds. This run cannot: its record names the image.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::docker::DockerEngineError;
use crate::engine::{Engine, EngineError, Inside, Shard, ShardEnd, ShardHandle, ShardSpec, Shell, Swept};
use crate::image::damage;

/// What became of the image between its look-up and its use.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("what the engine has of the image is damaged, and the next run builds it anew")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the image was taken away from the engine, and the next run builds it again")]
    Gone(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An engine that tells of lost images.
struct Watched<E> {
    engine: E,
    /// The image's key.
    key: String,
    state: PathBuf,
}

/// Watches over the image of this key, if it has one.
pub(super) fn watched(engine: impl Engine + 'static, key: Option<String>, state: PathBuf) -> Arc<dyn Engine> {
    match key {
        Some(key) => Arc::new(Watched { engine, key, state }),
        None => Arc::new(engine),
    }
}

impl<E> Watched<E> {
    fn explained(&self, error: EngineError) -> EngineError {
        let Some(DockerEngineError::Docker(docker)) = error.cause.downcast_ref() else { return error };
        if docker.is_damage() && damage::note(&self.state, &self.key).is_ok() {
            return EngineError { cause: Box::new(Lost::Damaged(error.cause)), ..error };
        }
        if docker.engine_message().is_some_and(|words| words.contains("No such image")) {
            return EngineError { cause: Box::new(Lost::Gone(error.cause)), ..error };
        }
        error
    }
}

#[async_trait]
impl<E: Engine> Engine for Watched<E> {
    async fn start(&self, spec: &ShardSpec) -> Result<Shard, EngineError> {
        self.engine.start(spec).await.map_err(|error| self.explained(error))
    }

    async fn end(&self, handle: &ShardHandle) -> ShardEnd {
        self.engine.end(handle).await
    }

    async fn shell(&self, spec: &ShardSpec, inside: &Inside) -> Result<Shell, EngineError> {
        self.engine.shell(spec, inside).await.map_err(|error| self.explained(error))
    }

    async fn sweep(&self) -> Result<Swept, EngineError> {
        self.engine.sweep().await
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::DockerError;
    use crate::model::ShardId;
    use crate::model::chain;

    /// An engine that can start nothing, for this reason.
    struct Broken(fn() -> DockerError);

    #[async_trait]
    impl Engine for Broken {
        async fn start(&self, _: &ShardSpec) -> Result<Shard, EngineError> {
            let cause = Box::new(DockerEngineError::Docker((self.0)()));
            Err(EngineError { attempt: "start shard 1".to_owned(), cause, hint: None, refused: false })
        }

        async fn end(&self, _: &ShardHandle) -> ShardEnd {
            ShardEnd::default()
        }

        async fn shell(&self, _: &ShardSpec, _: &Inside) -> Result<Shell, EngineError> {
            unreachable!("nobody asks for one")
        }

        async fn sweep(&self) -> Result<Swept, EngineError> {
            Ok(Swept::default())
        }

        async fn close(&self) {}
    }

    /// What is said when a shard does not start, and the notes that were made.
    async fn told(reason: fn() -> DockerError, key: Option<&str>) -> (String, usize) {
        let state = tempfile::tempdir().expect("a folder");
        let engine = watched(Broken(reason), key.map(str::to_owned), state.path().to_owned());
        let spec = ShardSpec { run: "run".to_owned(), shard: ShardId(1), restarts: 0 };
        let error = engine.start(&spec).await.err().expect("it does not start");
        let notes = fs_err::read_dir(state.path().join("damaged")).map_or(0, Iterator::count);
        (chain(&error), notes)
    }

    fn said(message: &str) -> DockerError {
        DockerError::Refused { attempt: "create a container".to_owned(), status: 500, message: message.to_owned() }
    }

    #[tokio::test]
    async fn what_became_of_the_image_is_said_and_noted() {
        let gone = || DockerError::Missing { attempt: "create a container".to_owned(), message: "No such image: sha256:00".to_owned() };
        let damaged = || said("open /var/lib/docker/overlay2/00/committed: no such file or directory");
        let (text, notes) = told(gone, Some("00")).await;
        assert!(text.contains("taken away from the engine, and the next run builds it again") && text.contains("No such image"), "{text}");
        assert_eq!(notes, 0, "its layers are as good as ever");
        let (text, notes) = told(damaged, Some("00")).await;
        assert!(text.contains("damaged, and the next run builds it anew") && notes == 1, "{text}");
        let (text, notes) = told(damaged, None).await;
        assert!(!text.contains("builds") && notes == 0, "an image that is named is not built: {text}");
        let (text, notes) = told(|| said("no space left on device"), Some("00")).await;
        assert!(!text.contains("builds") && notes == 0, "{text}");
    }
}
