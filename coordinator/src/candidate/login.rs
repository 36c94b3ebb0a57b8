//! Who asks a registry: what the configuration names, else what the docker client's configuration has.
//!
//! A login is looked for when a registry asks for one and not before. A file that others may read is no place for a password, and what was named and cannot be had is an
//! error: nobody is asked for as a guest instead.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use crate::config::AuthSource;
use crate::docker::credentials::login_or_token_of;
use crate::registry::{Login, Name};

/// How long a program may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Permissions that nobody but the owner and a group has.
const OTHERS: u32 = 0o007;

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helper {
    username: String,
    secret: String,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file.
    #[error("cannot read the login")]
    File(#[source] std::io::Error),
    /// Everybody can read it.
    #[error("`{}` can be read by everybody on this machine; `chmod 600` changes that", .0.display())]
    Exposed(PathBuf),
    /// The program.
    #[error("`{command}` does not print a login: {said}")]
    Program {
        /// Which.
        command: String,
        /// What came of it. Nothing that it printed as an answer.
        said: String,
    },
    /// It is not of the form.
    #[error("the login in {place} is not `user:password`")]
    Form {
        /// Where it was found.
        place: String,
    },
}

/// Who we are in a repository.
pub fn login(repository: &Name, auth: Option<&AuthSource>, env: &BTreeMap<String, String>) -> Login {
    let (auth, env, whose) = (auth.cloned(), env.clone(), repository.to_string());
    Box::new(move || {
        let (auth, env, whose) = (auth.clone(), env.clone(), whose.clone());
        Box::pin(async move {
            match auth {
                None => login_or_token_of(&env, &whose).await.map_err(Into::into),
                Some(auth) => named(&auth).await.map(Some).map_err(Into::into),
            }
        })
    })
}

async fn named(auth: &AuthSource) -> Result<(String, String), LoginError> {
    match auth {
        AuthSource::File(path) => in_file(path),
        AuthSource::Login(text) => pair(&text.0, "a variable"),
        AuthSource::Exec(command) => printed(command).await,
    }
}

fn in_file(path: &Path) -> Result<(String, String), LoginError> {
    let mode = fs_err::metadata(path).map_err(LoginError::File)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(LoginError::Exposed(path.to_owned()));
    }
    pair(&fs_err::read_to_string(path).map_err(LoginError::File)?, &format!("`{}`", path.display()))
}

async fn printed(command: &str) -> Result<(String, String), LoginError> {
    let failed = |said: String| LoginError::Program { command: command.to_owned(), said };
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| failed("it names no program".to_owned()))?;
    let mut child = tokio::process::Command::new(program);
    child.args(words).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(ANSWER, child.output()).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", ANSWER.as_secs()))),
    };
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed("its answer is no text".to_owned()))?;
    match serde_json::from_str::<Helper>(&text) {
        Ok(helper) => Ok((helper.username, helper.secret)),
        Err(_) => pair(&text, &format!("the answer of `{command}`")),
    }
}

fn pair(text: &str, place: &str) -> Result<(String, String), LoginError> {
    let wrong = || LoginError::Form { place: place.to_owned() };
    let line = text.trim_end_matches(['\r', '\n']);
    let (user, password) = line.split_once(':').filter(|_| !line.contains('\n')).ok_or_else(wrong)?;
    if user.is_empty() || password.is_empty() { Err(wrong()) } else { Ok((user.to_owned(), password.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretText;

    #[tokio::test]
    async fn a_login_comes_from_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("login");
        fs_err::write(&file, "ci:pass:word\n").expect("written");
        let at = AuthSource::File(file.clone());
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o604)).expect("set");
        assert!(matches!(named(&at).await, Err(LoginError::Exposed(_))));
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        let login = Ok(("ci".to_owned(), "pass:word".to_owned()));
        assert_eq!(named(&at).await.map_err(|error| error.to_string()), login);
        let exec = |command: &str| AuthSource::Exec(command.to_owned());
        assert_eq!(named(&exec("echo ci:pass:word")).await.map_err(|error| error.to_string()), login);
        let helper = exec(r#"echo {"ServerURL":"x","Username":"ci","Secret":"pass:word"}"#);
        assert_eq!(named(&helper).await.map_err(|error| error.to_string()), login);
        assert_eq!(named(&AuthSource::Login(SecretText("ci:pass:word".to_owned()))).await.map_err(|error| error.to_string()), login);
        for wrong in [exec("false"), exec("echo nothing"), exec("/nowhere/at/all"), AuthSource::Login(SecretText("hunter2".to_owned()))] {
            let said = named(&wrong).await.expect_err("no login").to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
