//! Registry credentials, from where the docker client keeps them: its configuration file or a `docker-credential-*` program.
//!
//! A helper that has nothing for a registry is no error: the registry is then asked without credentials.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::config::{AuthFile, ClientConfig, Keeper};
use super::{Docker, DockerError};

const HUB: &str = "https://index.docker.io/v1/";
/// What builders call it.
const HUB_HOSTS: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];
const HELPER: Duration = Duration::from_secs(30);

/// What a helper prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// User and password for the registry of a repository, for those who ask it themselves. A token that only a registry's own login can turn into another one
/// is none.
pub async fn login_of(env: &BTreeMap<String, String>, repository: &str) -> Result<Option<(String, String)>, DockerError> {
    let found = of_host(&ClientConfig::read(env)?, registry_of(repository)).await?;
    Ok(found.and_then(|found| found.username.zip(found.password)))
}

/// The same, or a token, as the password of a user `<token>`: for those who can have it turned into another one.
pub async fn login_or_token_of(env: &BTreeMap<String, String>, repository: &str) -> Result<Option<(String, String)>, DockerError> {
    let found = of_host(&ClientConfig::read(env)?, registry_of(repository)).await?;
    Ok(found.and_then(|found| match found.identitytoken.filter(|token| !token.is_empty()) {
        Some(token) => Some(("<token>".to_owned(), token)),
        None => found.username.zip(found.password),
    }))
}

/// Credentials for a registry by its host, as a builder names it.
async fn of_host(config: &ClientConfig, host: &str) -> Result<Option<DockerCredentials>, DockerError> {
    let registry = if HUB_HOSTS.contains(&host) { HUB } else { host };
    match config.keeper(registry) {
        Some((registry, Keeper::Inline)) => Ok(config.inline_auth(&registry).and_then(|auth| inline(&registry, auth))),
        Some((registry, Keeper::Helper(name))) => from_helper(&registry, &format!("docker-credential-{name}")).await,
        None => Ok(None),
    }
}

impl Docker {
    /// Credentials for the registry that an image comes from.
    pub(super) async fn credentials_for(&self, reference: &str) -> Result<Option<DockerCredentials>, DockerError> {
        self.credentials_of_host(registry_of(reference)).await
    }

    /// Credentials for a registry by its host, as a builder names it.
    pub(super) async fn credentials_of_host(&self, host: &str) -> Result<Option<DockerCredentials>, DockerError> {
        of_host(&self.config, host).await
    }
}

/// The registry's name as the configuration spells it.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some(("docker.io", _)) => HUB,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

fn inline(registry: &str, auth: &AuthFile) -> Option<DockerCredentials> {
    let text = base64::engine::general_purpose::STANDARD.decode(auth.auth.as_deref()?).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        identitytoken: auth.identitytoken.clone(),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

async fn from_helper(registry: &str, helper: &str) -> Result<Option<DockerCredentials>, DockerError> {
    let failed = |said: String| DockerError::Credentials { registry: registry.to_owned(), helper: helper.to_owned(), said };
    let run = async {
        let mut child = tokio::process::Command::new(helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(registry.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER, run).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", HELPER.as_secs()))),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return if said.contains("credentials not found") { Ok(None) } else { Err(failed(said.trim().to_owned())) };
    }
    let answer: HelperAnswer = serde_json::from_str(&said).map_err(|error| failed(error.to_string()))?;
    let token = (answer.username == "<token>").then(|| answer.secret.clone());
    Ok(Some(DockerCredentials {
        password: token.is_none().then_some(answer.secret),
        username: token.is_none().then_some(answer.username),
        identitytoken: token,
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_read_off_a_reference() {
        assert_eq!(registry_of("python:3.12"), HUB);
        assert_eq!(registry_of("library/python"), HUB);
        assert_eq!(registry_of("ghcr.io/a/b"), "ghcr.io");
        assert_eq!(registry_of("localhost:5000/a"), "localhost:5000");
    }

    #[tokio::test]
    async fn a_repository_without_a_host_is_asked_for_with_the_hubs_login() {
        let folder = tempfile::tempdir().expect("a folder");
        let auths = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOm9uZQ=="},"registry.example":{"auth":"bWU6dHdv"}}}"#;
        fs_err::write(folder.path().join("config.json"), auths).expect("written");
        let env = BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder.path().display().to_string())]);
        let login = async |repository: &str| login_of(&env, repository).await.expect("readable").map(|(user, password)| user + &password);
        assert_eq!(login("shop/cache").await.as_deref(), Some("hubone"));
        assert_eq!(login("docker.io/shop/cache").await.as_deref(), Some("hubone"));
        assert_eq!(login("registry.example/shop/cache-{level}").await.as_deref(), Some("metwo"));
        assert_eq!(login("elsewhere.example/shop/cache").await, None);
    }

    #[test]
    fn inline_credentials_are_taken_apart() {
        let auth = AuthFile { auth: Some("bWU6cGFzczp3b3Jk".to_owned()), identitytoken: None };
        let credentials = inline("ghcr.io", &auth).expect("credentials");
        assert_eq!(credentials.username.as_deref(), Some("me"));
        assert_eq!(credentials.password.as_deref(), Some("pass:word"));
    }
}
