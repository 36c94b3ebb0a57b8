//! A message to an address: sent once, and answered with 2xx or not. The address is in no error, since whoever knows it may write there.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum Unposted {
    /// It is none, or others could read along.
    #[error("the address is neither `https://...` nor on this machine")]
    Address,
    /// It was not taken.
    #[error("the answer is status {}", .0.as_u16())]
    Status(StatusCode),
    /// Nobody answered.
    #[error("nobody took it within {} s", .0.as_secs())]
    Overdue(Duration),
    /// The line broke.
    #[error("it could not be sent")]
    Broken(#[source] reqwest::Error),
}

/// Posts JSON.
pub(super) async fn send(address: &str, body: Vec<u8>, limit: Duration) -> Result<(), Unposted> {
    let url: Url = address.parse().map_err(|_| Unposted::Address)?;
    let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && here) {
        return Err(Unposted::Address);
    }
    let broken = |cause: reqwest::Error| {
        if cause.is_timeout() { Unposted::Overdue(limit) } else { Unposted::Broken(cause.without_url()) }
    };
    // Not followed elsewhere: the address was chosen by who may deploy, and another one was not.
    let client = Client::builder().user_agent(concat!("splitci/", env!("CARGO_PKG_VERSION"))).timeout(limit).redirect(Policy::none());
    let client = if here { client.no_proxy() } else { client }.build().map_err(broken)?;
    let answer = client.post(url).header(CONTENT_TYPE, "application/json").body(body).send().await.map_err(broken)?;
    if answer.status().is_success() { Ok(()) } else { Err(Unposted::Status(answer.status())) }
}
