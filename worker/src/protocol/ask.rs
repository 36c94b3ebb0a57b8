//! A fourth stream, between a deployment and a container of ours in an app's network: questions to the app over HTTP, and what came of them, each a line of JSON. Answers come in
//! any order, so that an app that takes its time holds up nobody else's.

use serde::{Deserialize, Serialize};

/// As much of an app's answer as is read.
pub const HEAD: usize = 4 << 10;

/// A question to an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its number, which no other of the stream has.
    pub id: u64,
    /// `host:port`.
    pub address: String,
    /// What is asked for, from `/` on.
    pub path: String,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// It.
    pub found: Found,
}

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Something that answers with this status.
    Status(u16),
    /// Something that takes the connection, and says nothing that can be read.
    Unreadable,
    /// Nothing that takes a connection, or answers in time.
    Nobody,
}

/// The request by which an app is asked.
pub fn request(address: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: splitci\r\nConnection: close\r\n\r\n")
}

/// What the beginning of an app's answer says. It is whole with its first line.
pub fn read(head: &[u8]) -> Found {
    let status = || {
        let line = head.split(|byte| *byte == b'\n').next()?;
        let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
        words.next().filter(|version| version.starts_with("HTTP/1."))?;
        words.next()?.parse().ok()
    };
    status().map_or(Found::Unreadable, Found::Status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_http_is_no_status() {
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n"), Found::Status(204));
        assert_eq!(read(b"HTTP/1.0 503\r\nx"), Found::Status(503));
        for bad in [b"".as_slice(), b"HTTP/1.1", b"HTTP/2 200", b"220 mail ready\r\n", b"HTTP/1.1 ok\r\n", b"\xff\xff"] {
            assert_eq!(read(bad), Found::Unreadable);
        }
    }

    #[test]
    fn the_lines_do_not_change() {
        let question = Question { id: 7, address: "172.30.0.11:8000".into(), path: "/up".into() };
        insta::assert_snapshot!(serde_json::to_string(&question).unwrap(), @r#"{"id":7,"address":"172.30.0.11:8000","path":"/up"}"#);
        let answers =
            [Found::Status(200), Found::Unreadable, Found::Nobody].map(|found| serde_json::to_string(&Answer { id: 7, found }).unwrap());
        insta::assert_snapshot!(answers.join("\n"), @r#"
        {"id":7,"found":{"status":200}}
        {"id":7,"found":"unreadable"}
        {"id":7,"found":"nobody"}
        "#);
    }
}
