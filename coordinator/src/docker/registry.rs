//! What a registry has and is given, through the engine: it is the engine that must reach it, and the engine that has the layers.
//!
//! Credentials come from where the docker client keeps them. Whether a name is worth asking for, and what an answer means for a run, is decided elsewhere.

use std::time::Duration;

use bollard::query_parameters as query;

use super::{Docker, DockerError, answers};

/// How long a push may be silent.
const PUSH_SILENCE: Duration = Duration::from_mins(2);

impl Docker {
    /// Whether a registry has an image of this name.
    pub async fn in_registry(&self, reference: &str, within: Duration) -> Result<bool, DockerError> {
        let attempt = || format!("ask for `{reference}`");
        let asked = async {
            let credentials = self.credentials_for(reference).await?;
            self.call(attempt, within, self.client.inspect_registry_image(reference, credentials)).await
        };
        // A helper that hangs is no better than a registry that does.
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if error.is_missing() => Ok(false),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DockerError::Silent { attempt: attempt(), seconds: within.as_secs(), endpoint: self.endpoint().to_string() }),
        }
    }

    /// Gives an image to the registry that its name says. Dropping the future stops it; layers that arrived stay there, and need not be sent again.
    pub async fn push(&self, reference: &str) -> Result<(), DockerError> {
        let attempt = || format!("push `{reference}`");
        let credentials = self.credentials_for(reference).await?;
        let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
        let options = query::PushImageOptionsBuilder::new().tag(tag).build();
        let mut stream = std::pin::pin!(self.client.push_image(name, Some(options), credentials));
        loop {
            let next = async { Ok(answers::next(&mut stream).await) };
            match self.call(attempt, PUSH_SILENCE, next).await? {
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(DockerError::of(attempt(), error, self.endpoint())),
            }
        }
    }
}
