//! Requests that `bollard` has no method for, or reads by a newer schema than older engines speak: build cache records, cancelling a build.
//!
//! `bollard` lets a request be modified before it is sent, so a call that hands back bytes (`export_image`) is pointed at another path.
//! Nothing else of the crate may rely on this trick.

use std::time::Duration;

use futures_util::StreamExt;

use super::{Docker, DockerError};

/// HTTP methods that are needed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    Get,
    Post,
}

impl Docker {
    /// Does one request and returns its whole body. `path` begins with a slash and carries an encoded query.
    pub(super) async fn raw(&self, method: Method, path: &str, within: Duration) -> Result<Vec<u8>, DockerError> {
        let target = path.to_owned();
        let client = self.client.clone().with_request_modifier(move |mut request| {
            if let Ok(uri) = redirect(&request.uri().to_string(), &target).parse() {
                *request.uri_mut() = uri;
            }
            if let (Method::Post, Ok(post)) = (method, "POST".parse()) {
                *request.method_mut() = post;
            }
            request
        });
        let request = async {
            let mut body = Vec::new();
            let mut stream = std::pin::pin!(client.export_image("any"));
            while let Some(bytes) = stream.next().await {
                body.extend_from_slice(&bytes?);
            }
            Ok(body)
        };
        self.call(|| format!("ask the engine for `{}`", path.split('?').next().unwrap_or(path)), within, request).await
    }
}

/// The address of `url` with another path and query.
fn redirect(url: &str, path: &str) -> String {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[host_at..].find('/').map_or(url.len(), |at| host_at + at);
    format!("{}{path}", &url[..path_at])
}

/// Encodes a value for a query.
pub(super) fn encoded(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_host() {
        assert_eq!(redirect("unix://2f72/images/x/get", "/build/cancel?id=1"), "unix://2f72/build/cancel?id=1");
        assert_eq!(redirect("http://host:2375", "/info"), "http://host:2375/info");
    }

    #[test]
    fn a_query_value_is_encoded() {
        assert_eq!(encoded("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
