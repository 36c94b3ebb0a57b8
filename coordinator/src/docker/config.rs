//! The docker client's own configuration, `~/.docker/config.json`: the current context, proxies, registry credentials.
//!
//! Only what a user of `docker build` and `docker run` would find honoured is read. A missing file is an empty configuration; a broken one is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DockerError;

/// The docker client's configuration.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    pub(super) folder: PathBuf,
    file: ConfigFile,
}

/// `config.json`, as far as it is honoured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    current_context: Option<String>,
    proxies: BTreeMap<String, ProxyFile>,
    auths: BTreeMap<String, AuthFile>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ProxyFile {
    #[serde(rename = "httpProxy")]
    http: Option<String>,
    #[serde(rename = "httpsProxy")]
    https: Option<String>,
    #[serde(rename = "noProxy")]
    none: Option<String>,
    #[serde(rename = "ftpProxy")]
    ftp: Option<String>,
    #[serde(rename = "allProxy")]
    all: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthFile {
    pub(super) auth: Option<String>,
    pub(super) identitytoken: Option<String>,
}

/// Who keeps the credentials of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A program `docker-credential-<name>`.
    Helper(String),
    /// The configuration itself.
    Inline,
}

impl ClientConfig {
    /// Reads the configuration: from `DOCKER_CONFIG`, else `.docker` in `HOME`, both of the environment given.
    pub fn read(env: &BTreeMap<String, String>) -> Result<Self, DockerError> {
        let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
        let Some(folder) = set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(home).join(".docker")))
        else {
            return Ok(Self::default());
        };
        let path = folder.join("config.json");
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { folder, file: ConfigFile::default() }),
            Err(error) => return Err(DockerError::ConfigFile(error)),
        };
        let file = serde_json::from_slice(&text).map_err(|source| DockerError::ConfigText { path, source })?;
        Ok(Self { folder, file })
    }

    /// The context that `docker context use` chose, if not the default one.
    pub fn current_context(&self) -> Option<&str> {
        self.file.current_context.as_deref().filter(|name| !name.is_empty() && *name != "default")
    }

    /// Proxy variables that docker hands to builds and containers of the engine at `address`, in both spellings.
    pub fn proxies(&self, address: &str) -> BTreeMap<String, String> {
        let Some(proxy) = self.file.proxies.get(address).or_else(|| self.file.proxies.get("default")) else {
            return BTreeMap::new();
        };
        let values = [
            ("HTTP_PROXY", &proxy.http),
            ("HTTPS_PROXY", &proxy.https),
            ("NO_PROXY", &proxy.none),
            ("FTP_PROXY", &proxy.ftp),
            ("ALL_PROXY", &proxy.all),
        ];
        let mut variables = BTreeMap::new();
        for (name, value) in values {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                variables.insert(name.to_owned(), value.clone());
                variables.insert(name.to_ascii_lowercase(), value.clone());
            }
        }
        variables
    }

    /// Who keeps the credentials of a registry, and what it is called there. A store may have some that the file does not name.
    pub(super) fn keeper(&self, registry: &str) -> Option<(String, Keeper)> {
        let names = |key: &&String| key.as_str() == registry || host(key) == host(registry);
        if let Some(known) = self.file.cred_helpers.keys().find(names) {
            return Some((known.clone(), Keeper::Helper(self.file.cred_helpers[known].clone())));
        }
        let known = self.file.auths.get_key_value(registry).map(|(key, _)| key).or_else(|| self.file.auths.keys().find(names)).cloned();
        match &self.file.creds_store {
            Some(store) if !store.is_empty() => Some((known.unwrap_or_else(|| registry.to_owned()), Keeper::Helper(store.clone()))),
            _ => known.map(|known| (known, Keeper::Inline)),
        }
    }

    pub(super) fn inline_auth(&self, registry: &str) -> Option<&AuthFile> {
        self.file.auths.get(registry)
    }
}

/// The host in a registry's name, which old clients wrote as an address.
fn host(registry: &str) -> &str {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> (tempfile::TempDir, ClientConfig) {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("config.json"), text).expect("written");
        let env = BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder.path().display().to_string())]);
        let config = ClientConfig::read(&env).expect("readable");
        (folder, config)
    }

    #[test]
    fn proxies_of_the_engine_come_before_the_default_ones() {
        let (_folder, config) =
            configured(r#"{"proxies":{"default":{"httpProxy":"http://a"},"tcp://b:1":{"httpProxy":"http://b","noProxy":"x"}}}"#);
        assert_eq!(config.proxies("tcp://other:1").get("http_proxy").map(String::as_str), Some("http://a"));
        let proxies = config.proxies("tcp://b:1");
        assert_eq!(proxies.get("HTTP_PROXY").map(String::as_str), Some("http://b"));
        assert_eq!(proxies.get("no_proxy").map(String::as_str), Some("x"));
    }

    #[test]
    fn a_missing_file_is_an_empty_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let env = BTreeMap::from([("HOME".to_owned(), folder.path().display().to_string())]);
        assert_eq!(ClientConfig::read(&env).expect("readable").current_context(), None);
    }

    #[test]
    fn helpers_keep_what_they_are_named_for() {
        let (_folder, config) = configured(r#"{"auths":{"a":{"auth":"eDp5"},"b":{}},"credHelpers":{"b":"gcloud"},"currentContext":"ci"}"#);
        assert_eq!(config.keeper("a"), Some(("a".to_owned(), Keeper::Inline)));
        assert_eq!(config.keeper("b"), Some(("b".to_owned(), Keeper::Helper("gcloud".to_owned()))));
        assert_eq!(config.keeper("c"), None);
        assert_eq!(config.current_context(), Some("ci"));
    }

    #[test]
    fn a_store_is_asked_for_every_registry_and_old_names_are_known() {
        let (_folder, config) = configured(r#"{"auths":{"https://a:5000/v2/":{"auth":"eDp5"}}}"#);
        assert_eq!(config.keeper("a:5000"), Some(("https://a:5000/v2/".to_owned(), Keeper::Inline)));
        assert_eq!(config.keeper("a"), None);
        let (_folder, config) = configured(r#"{"credsStore":"pass"}"#);
        assert_eq!(config.keeper("a"), Some(("a".to_owned(), Keeper::Helper("pass".to_owned()))));
    }
}
