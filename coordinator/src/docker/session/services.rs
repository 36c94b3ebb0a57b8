//! The small services of a session: whether we are well, credentials for registries, secrets, SSH agents.
//!
//! Nothing is given that was not named: an unknown secret or agent does not exist, a registry without credentials is asked without. Values go to
//! the builder and nowhere else: no error holds one.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::Health;
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest, GetTokenAuthorityResponse,
    VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::Ssh;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming};

use super::sources::{SourceError, Told};
use crate::docker::Docker;
use crate::model::{BuildSecret, SecretSource, SshAgent};

/// The largest secret that BuildKit's own clients give.
const LARGEST_SECRET: u64 = 500 << 10;
/// Bytes of an agent's answer that travel in one message.
const PIECE: usize = 32 << 10;

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// We are well as long as we answer.
pub(super) struct Pulse;

#[tonic::async_trait]
impl Health for Pulse {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Answer<HealthCheckResponse> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Answer<HealthListResponse> {
        Err(Status::unimplemented("ask for one"))
    }

    type WatchStream = Flow<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Answer<Self::WatchStream> {
        Err(Status::unimplemented("ask again"))
    }
}

/// Credentials of the docker client's configuration.
pub(super) struct Registries {
    pub(super) docker: Arc<Docker>,
    pub(super) told: Told,
}

// Without the other calls the builder takes credentials and fetches tokens itself.
#[tonic::async_trait]
impl Auth for Registries {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Answer<CredentialsResponse> {
        match self.docker.credentials_of_host(&request.get_ref().host).await {
            Ok(found) => {
                let found = found.unwrap_or_default();
                let answer = match found.identitytoken.filter(|token| !token.is_empty()) {
                    Some(secret) => CredentialsResponse { username: String::new(), secret },
                    None => {
                        CredentialsResponse { username: found.username.unwrap_or_default(), secret: found.password.unwrap_or_default() }
                    }
                };
                Ok(Response::new(answer))
            }
            Err(error) => {
                let status = Status::aborted(error.to_string());
                self.told.fail(SourceError::Credentials(error));
                Err(status)
            }
        }
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Answer<FetchTokenResponse> {
        Err(Status::unimplemented("no tokens"))
    }

    async fn get_token_authority(&self, _: Request<GetTokenAuthorityRequest>) -> Answer<GetTokenAuthorityResponse> {
        Err(Status::unimplemented("no tokens"))
    }

    async fn verify_token_authority(&self, _: Request<VerifyTokenAuthorityRequest>) -> Answer<VerifyTokenAuthorityResponse> {
        Err(Status::unimplemented("no tokens"))
    }
}

/// Secrets of this build.
pub(super) struct Vault {
    pub(super) secrets: Vec<BuildSecret>,
    pub(super) told: Told,
}

#[tonic::async_trait]
impl Secrets for Vault {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Answer<GetSecretResponse> {
        let id = &request.get_ref().id;
        let secret = self.secrets.iter().find(|secret| secret.id == *id);
        let secret = secret.ok_or_else(|| Status::not_found(format!("there is no secret `{id}`")))?;
        match value(&secret.source) {
            Ok(data) => Ok(Response::new(GetSecretResponse { data })),
            Err(source) => {
                self.told.fail(SourceError::Secret { id: id.clone(), source });
                Err(Status::aborted(format!("the secret `{id}` cannot be read")))
            }
        }
    }
}

/// Small by definition, so that reading it here keeps nobody waiting.
fn value(source: &SecretSource) -> std::io::Result<Vec<u8>> {
    let path = match source {
        SecretSource::Text(text) => return Ok(text.0.clone().into_bytes()),
        SecretSource::File(path) => path,
    };
    let mut data = Vec::new();
    fs_err::File::open(path)?.take(LARGEST_SECRET + 1).read_to_end(&mut data)?;
    if data.len() as u64 > LARGEST_SECRET {
        return Err(std::io::Error::other(format!("`{}` is larger than 500 KiB", path.display())));
    }
    Ok(data)
}

/// SSH agents of this build.
pub(super) struct Agents {
    pub(super) agents: Vec<SshAgent>,
    pub(super) told: Told,
}

impl Agents {
    async fn connect(&self, id: &str) -> Result<UnixStream, Status> {
        let id = if id.is_empty() { "default" } else { id };
        let agent = self.agents.iter().find(|agent| agent.id == id);
        let SshAgent { id, socket } = agent.ok_or_else(|| Status::not_found(format!("there is no SSH agent `{id}`")))?;
        UnixStream::connect(socket).await.map_err(|source| {
            self.told.fail(SourceError::Agent { id: id.clone(), socket: socket.clone(), source });
            Status::aborted(format!("the SSH agent `{id}` cannot be reached"))
        })
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Answer<CheckAgentResponse> {
        self.connect(&request.get_ref().id).await.map(|_| Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Flow<BytesMessage>;

    async fn forward_agent(&self, request: Request<Streaming<BytesMessage>>) -> Answer<Self::ForwardAgentStream> {
        let id = request.metadata().get("buildkit.ssh.id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let (reader, writer) = self.connect(&id).await?.into_split();
        let mut asking = JoinSet::new();
        asking.spawn(forward(request.into_inner(), writer));
        let answers = stream::unfold((reader, asking), |(mut reader, asking)| async move {
            let mut data = vec![0; PIECE];
            match reader.read(&mut data).await {
                Ok(0) => None,
                Ok(read) => {
                    data.truncate(read);
                    Some((Ok(BytesMessage { data }), (reader, asking)))
                }
                Err(error) => Some((Err(Status::unavailable(error.to_string())), (reader, asking))),
            }
        });
        Ok(Response::new(answers.boxed()))
    }
}

async fn forward(mut questions: Streaming<BytesMessage>, mut agent: tokio::net::unix::OwnedWriteHalf) {
    while let Ok(Some(question)) = questions.message().await {
        if agent.write_all(&question.data).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretText;
    use tonic::Code;

    fn vault(source: SecretSource) -> Vault {
        Vault { secrets: vec![BuildSecret { id: "token".into(), source }], told: Told::new() }
    }

    async fn ask(vault: &Vault, id: &str) -> Result<Vec<u8>, Status> {
        let request = GetSecretRequest { id: id.into(), ..GetSecretRequest::default() };
        vault.get_secret(Request::new(request)).await.map(|answer| answer.into_inner().data)
    }

    #[tokio::test]
    async fn a_secret_is_given_to_who_knows_its_id() {
        let vault = vault(SecretSource::Text(SecretText("hunter2".into())));
        assert_eq!(ask(&vault, "token").await.expect("known"), b"hunter2");
        assert_eq!(ask(&vault, "other").await.expect_err("unknown").code(), Code::NotFound);
        assert!(vault.told.take().is_none(), "a step may do without");
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        for bytes in [None, Some(vec![b's'; 500 << 10]), Some(vec![b's'; (500 << 10) + 1])] {
            if let Some(bytes) = &bytes {
                fs_err::write(&file, bytes).expect("written");
            }
            let vault = vault(SecretSource::File(file.clone()));
            let answer = ask(&vault, "token").await;
            match bytes {
                Some(bytes) if bytes.len() == 500 << 10 => assert_eq!(answer.expect("it fits"), bytes),
                _ => {
                    let status = answer.expect_err("it cannot");
                    assert!(status.message().contains("`token`") && !status.message().contains("sss"));
                    assert!(matches!(vault.told.take(), Some(SourceError::Secret { .. })));
                }
            }
        }
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_is_a_fault_and_an_unnamed_one_does_not_exist() {
        let agents = Agents { agents: vec![SshAgent { id: "default".into(), socket: "/nowhere/agent".into() }], told: Told::new() };
        assert_eq!(agents.connect("").await.expect_err("nobody there").code(), Code::Aborted);
        assert!(matches!(agents.told.take(), Some(SourceError::Agent { .. })));
        assert_eq!(agents.connect("git").await.expect_err("unnamed").code(), Code::NotFound);
        assert!(agents.told.take().is_none());
    }
}
