//! How a registry is told who asks: nothing, a password, or a token that somebody else gives out for certain rights.
//!
//! Nothing is told that was not asked for, and nothing to anybody but the registry itself and whom it names to give out tokens, and to those only
//! through TLS or on loopback. A token may have rights in two repositories at once, because that is what mounting takes.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;

use super::name::is_loopback;

/// Asks for a user and a password, once and not before they are needed. Nothing where there are none; or why they could not be had. As with the docker client's
/// helpers, a user `<token>` has no password but something that is exchanged for tokens.
pub type Login =
    Box<dyn Fn() -> BoxFuture<'static, Result<Option<(String, String)>, Box<dyn std::error::Error + Send + Sync>>> + Send + Sync>;

/// The user who has something to exchange for tokens.
const IDENTITY: &str = "<token>";

/// What may be done with the repository that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    /// Read it.
    Pull,
    /// Read and write it.
    Push,
    /// Write it, with what is in another repository of the same registry.
    Mount {
        /// The other's path.
        from: String,
    },
}

/// Who is asked for by a registry that gives nothing to strangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// How a request says who sends it.
#[derive(Clone)]
pub(super) enum Proof {
    Nothing,
    Password(String, String),
    Token(String),
}

/// What was learnt of a registry.
#[derive(Default)]
pub(super) struct Known {
    pub(super) challenge: Option<Challenge>,
    /// Tokens by the rights that were asked for.
    pub(super) tokens: BTreeMap<Vec<String>, String>,
}

#[derive(Deserialize)]
pub(super) struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Rights {
    /// As a token is asked for them.
    pub(super) fn scopes(&self, path: &str) -> Vec<String> {
        match self {
            Self::Pull => vec![format!("repository:{path}:pull")],
            Self::Push => vec![format!("repository:{path}:pull,push")],
            Self::Mount { from } => vec![format!("repository:{path}:pull,push"), format!("repository:{from}:pull")],
        }
    }
}

impl Proof {
    pub(super) fn give(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Password(user, password) => request.basic_auth(user, Some(password)),
            Self::Token(token) => request.bearer_auth(token),
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password(..) => "Password",
            Self::Token(_) => "Token",
        })
    }
}

impl Token {
    /// The token, whatever it is called.
    pub(super) fn read(body: &[u8]) -> Option<String> {
        let told: Self = serde_json::from_slice(body).ok()?;
        told.token.or(told.access_token).filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
    }
}

/// Where a token is asked for; nothing if no password must go there.
pub(super) fn place(realm: &str, service: Option<&str>, scopes: &[String]) -> Option<Url> {
    let mut url = Url::parse(realm).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback));
    let fields = service.map(|service| ("service", service)).into_iter().chain(scopes.iter().map(|scope| ("scope", scope.as_str())));
    url.query_pairs_mut().extend_pairs(fields);
    safe.then_some(url)
}

/// What is exchanged for a token at a place, as a form; nothing for those who have a password.
pub(super) fn exchange(place: &Url, proof: &Proof) -> Option<String> {
    let Proof::Password(user, secret) = proof else { return None };
    let field =
        |wanted: &str| place.query_pairs().filter(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).collect::<Vec<_>>();
    let fixed = [("grant_type", "refresh_token"), ("client_id", "splitci"), ("refresh_token", secret.as_str())];
    let asked = [("service", field("service").join(" ")), ("scope", field("scope").join(" "))];
    let mut form = place.clone();
    form.query_pairs_mut().clear().extend_pairs(fixed).extend_pairs(asked);
    form.query().filter(|_| user == IDENTITY).map(str::to_owned)
}

/// What a refusal asks for: a token rather than a password, if it takes both.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let all: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|header| read(header.to_str().ok()?)).collect();
    let token = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    token.or(all.first()).cloned()
}

fn read(header: &str) -> Option<Challenge> {
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
