//! Answers that come piece by piece, each a JSON value on a line of its own: the way in which builds, pulls and pushes are told of.

use bollard::errors::Error;
use futures_util::{Stream, StreamExt};

/// The next piece; nothing at the end.
///
/// An engine ends its lines with two characters. Where they come apart from the last value, `bollard` (0.21) finds a character too many at the end, and calls
/// a whole answer broken (its issue 560). An answer that was really cut off is another error, since HTTP says where it ends; so this one is the end.
pub(super) async fn next<T>(stream: &mut (impl Stream<Item = Result<T, Error>> + Unpin)) -> Option<Result<T, Error>> {
    stream.next().await.filter(|piece| !matches!(piece, Err(error) if is_end(error)))
}

fn is_end(error: &Error) -> bool {
    matches!(error, Error::IOError { err } if err.to_string() == "bytes remaining on stream")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What is heard of a pull whose answer comes in these pieces of a body, and whether the body has its proper end.
    async fn heard(pieces: &'static [&'static str], ends: bool) -> (usize, Option<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let _request = peer.read(&mut asked).await.unwrap();
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            for piece in pieces {
                peer.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if ends {
                peer.write_all(b"0\r\n\r\n").await.unwrap();
            }
        };
        let docker = bollard::Docker::connect_with_http(&address.to_string(), 5, bollard::API_DEFAULT_VERSION).unwrap();
        let mut stream = docker.create_image(None::<bollard::query_parameters::CreateImageOptions>, None, None);
        let client = async {
            let mut values = 0;
            loop {
                match next(&mut stream).await {
                    None => return (values, None),
                    Some(Ok(_)) => values += 1,
                    Some(Err(error)) => return (values, Some(error.to_string())),
                }
            }
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn an_answer_whose_last_line_comes_in_parts_is_whole() {
        assert_eq!(heard(&["{\"status\":\"a\"}\r\n", "{\"status\":\"b\"}\r\n"], true).await, (2, None));
        assert_eq!(heard(&["{\"status\":\"a\"}\r\n", "{\"status\":\"b\"}", "\r\n"], true).await, (2, None));
        assert_eq!(heard(&["{\"status\":\"a\"}", "\r\n{\"status\":", "\"b\"}\r", "\n"], true).await, (2, None));
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_none() {
        let (values, error) = heard(&["{\"status\":\"a\"}\r\n", "{\"status\":"], false).await;
        assert_eq!(values, 1);
        assert!(error.is_some());
    }
}
