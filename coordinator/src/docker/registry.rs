//! What a registry has and is given, through the engine: it is the engine that must reach it, and the engine that has the layers.
//!
//! Credentials come from where the docker client keeps them. Whether a name is worth asking for, and what an answer means for a run, is decided elsewhere.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters as query;

use super::{Docker, DockerError, answers};

/// The user who has something to exchange for tokens, as credential helpers have it.
const IDENTITY: &str = "<token>";
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
        let credentials = self.credentials_for(reference).await?;
        self.push_with(reference, credentials).await
    }

    /// The same as this user with this password, whatever the docker client's configuration says.
    pub async fn push_as(&self, reference: &str, (user, password): (String, String)) -> Result<(), DockerError> {
        // A user of that name has no password but something that is exchanged for tokens.
        let token = user == IDENTITY;
        let credentials = DockerCredentials {
            username: (!token).then_some(user),
            identitytoken: token.then(|| password.clone()),
            password: (!token).then_some(password),
            ..DockerCredentials::default()
        };
        self.push_with(reference, Some(credentials)).await
    }

    async fn push_with(&self, reference: &str, credentials: Option<DockerCredentials>) -> Result<(), DockerError> {
        let attempt = || format!("push `{reference}`");
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
