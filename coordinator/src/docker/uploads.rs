//! Whether a registry would take layers: an upload is begun and given up. That leaves neither blob nor tag, though Debian's registry keeps an empty state of a few bytes.
//!
//! An engine can only push, which leaves a tag. So this machine asks by itself, with the credentials that the engine would be given; where only the engine reaches the
//! registry, nothing is known. A registry on loopback may speak HTTP, as for engines.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use reqwest::header::{LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::{Docker, DockerError};

/// How long all the questions may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Where Docker Hub is asked.
const HUB: &str = "registry-1.docker.io";

/// What a registry says to an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// It takes it.
    Yes,
    /// It does not, for this reason.
    No(String),
    /// It could not be asked from here.
    Unknown(String),
}

/// Who is asked for by a registry that gives nothing to strangers.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// How a request says who sends it.
enum Proof {
    Nothing,
    Password(String, Option<String>),
    Token(String),
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusals {
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    message: Option<String>,
}

impl Docker {
    /// As whom a registry is asked; nobody in particular if nothing is known of it.
    pub async fn user_of(&self, repository: &str) -> Result<Option<String>, DockerError> {
        let credentials = self.credentials_for(repository).await?;
        Ok(credentials.map(|credentials| credentials.username.unwrap_or_else(|| "the owner of a token".to_owned())))
    }

    /// Whether a repository, `host/name`, takes layers from whom the docker client's credentials are.
    pub async fn takes(&self, repository: &str) -> Result<Takes, DockerError> {
        let credentials = self.credentials_for(repository).await?;
        let (host, name) = place(repository);
        let schemes: &[&str] = if is_loopback(&host) { &["https", "http"] } else { &["https"] };
        let asked = async {
            let client = Client::builder().timeout(ANSWER).build()?;
            let mut answer = None;
            for scheme in schemes {
                let url = format!("{scheme}://{host}/v2/{name}/blobs/uploads/");
                answer = Some(begin_and_give_up(&client, &url, &name, credentials.as_ref()).await);
                if answer.as_ref().is_some_and(Result::is_ok) {
                    break;
                }
            }
            answer.unwrap_or_else(|| Ok(Takes::Unknown("nobody was asked".to_owned())))
        };
        Ok(match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(takes)) => takes,
            Ok(Err(error)) => Takes::Unknown(crate::model::chain(&error)),
            Err(_) => Takes::Unknown(format!("no answer within {} s", ANSWER.as_secs())),
        })
    }
}

async fn begin_and_give_up(client: &Client, url: &str, name: &str, credentials: Option<&DockerCredentials>) -> reqwest::Result<Takes> {
    let mut proof = Proof::Nothing;
    let mut answer = client.post(url).send().await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        match proof_for(client, &answer, name, credentials).await? {
            Some(found) => proof = found,
            None => return Ok(Takes::No("it asks who we are, and there are no credentials for it here".to_owned())),
        }
        answer = proof.give(client.post(url)).send().await?;
    }
    if answer.status() != StatusCode::ACCEPTED {
        return Ok(Takes::No(reason(answer).await));
    }
    if let Some(upload) = answer.headers().get(LOCATION).and_then(|place| answer.url().join(place.to_str().ok()?).ok()) {
        // A registry that cannot give it up forgets it by itself, as it does with uploads that were broken off.
        let _given_up = proof.give(client.request(Method::DELETE, upload)).send().await;
    }
    Ok(Takes::Yes)
}

impl Proof {
    fn give(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Password(user, password) => request.basic_auth(user, password.as_ref()),
            Self::Token(token) => request.bearer_auth(token),
        }
    }
}

/// What a registry is to be told that asks who we are; nothing if we have nothing to tell.
async fn proof_for(
    client: &Client,
    answer: &Response,
    name: &str,
    credentials: Option<&DockerCredentials>,
) -> reqwest::Result<Option<Proof>> {
    let password = credentials.and_then(|known| Some(Proof::Password(known.username.clone()?, known.password.clone())));
    let asked = answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|text| challenge(text.to_str().ok()?)).next_back();
    let Some(Challenge::Bearer { realm, service }) = asked else { return Ok(password) };
    let Ok(mut url) = Url::parse(&realm) else { return Ok(None) };
    let scope = format!("repository:{name}:pull,push");
    let wanted = [("scope", Some(scope)), ("service", service)].into_iter().filter_map(|(key, value)| Some((key, value?)));
    let refresh = credentials.and_then(|known| known.identitytoken.clone()).filter(|token| !token.is_empty());
    let request = if let Some(refresh) = refresh {
        let mut form = url.clone();
        let more = [("grant_type", "refresh_token".to_owned()), ("client_id", "splitci".to_owned()), ("refresh_token", refresh)];
        form.query_pairs_mut().clear().extend_pairs(wanted.chain(more));
        client.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(form.query().unwrap_or_default().to_owned())
    } else {
        url.query_pairs_mut().extend_pairs(wanted);
        password.unwrap_or(Proof::Nothing).give(client.get(url))
    };
    let told = request.send().await?.bytes().await?;
    let token = serde_json::from_slice::<Token>(&told).ok().and_then(|told| told.token.or(told.access_token));
    Ok(token.map(Proof::Token))
}

/// What stands in a header of a refusal.
fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    let field = |name: &str| {
        let (_, after) = rest.split_once(&format!("{name}=\""))?;
        Some(after.split('"').next()?.to_owned())
    };
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: field("realm")?, service: field("service") }),
        _ => None,
    }
}

/// Why not, in the registry's words.
async fn reason(answer: Response) -> String {
    let status = answer.status();
    let said = answer.bytes().await.ok().and_then(|body| serde_json::from_slice::<Refusals>(&body).ok());
    let first = said.and_then(|said| said.errors.into_iter().next());
    let words = first.map(|first| first.message.filter(|message| !message.is_empty()).unwrap_or(first.code));
    let words = words.map(|words| format!(": {}", words.escape_debug())).unwrap_or_default();
    format!("it answers {status}{words}")
}

/// The host of a repository, and its name there.
fn place(repository: &str) -> (String, String) {
    match repository.split_once('/') {
        Some(("docker.io", name)) => (HUB.to_owned(), name.to_owned()),
        Some((host, name)) if host.contains(['.', ':']) || host == "localhost" => (host.to_owned(), name.to_owned()),
        Some(_) => (HUB.to_owned(), repository.to_owned()),
        None => (HUB.to_owned(), format!("library/{repository}")),
    }
}

/// Whether the registry of a repository is on loopback, where engines let it speak plain HTTP.
pub fn is_plain(repository: &str) -> bool {
    is_loopback(&place(repository).0)
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_where_engines_look_for_it() {
        let at = |text: &str| {
            let (host, name) = place(text);
            format!("{host} {name}")
        };
        assert_eq!(at("registry.example/shop/cache"), "registry.example shop/cache");
        assert_eq!(at("localhost/cache"), "localhost cache");
        assert_eq!(at("docker.io/shop/cache"), "registry-1.docker.io shop/cache");
        assert_eq!(at("shop/cache"), "registry-1.docker.io shop/cache");
        assert_eq!(at("cache"), "registry-1.docker.io library/cache");
        let loopback = ["127.0.0.1:5000", "127.9.9.9", "localhost:5000", "[::1]:5000"].map(is_loopback);
        assert_eq!(loopback, [true; 4]);
        assert_eq!(["registry.example:5000", "127.example", "10.0.0.1:5000"].map(is_loopback), [false; 3]);
    }

    #[test]
    fn a_registry_says_whom_it_asks() {
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        let bearer = challenge("Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"a:b:c\"");
        let (realm, service) = ("https://auth.example/token".to_owned(), Some("registry.example".to_owned()));
        assert_eq!(bearer, Some(Challenge::Bearer { realm, service }));
        assert_eq!(challenge("Bearer service=\"x\""), None);
        assert_eq!(challenge("Negotiate"), None);
    }
}
