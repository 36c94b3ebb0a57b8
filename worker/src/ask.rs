//! `splitci-worker ask`: asks apps how they are from inside their network, for a deployment that is somewhere else.
//!
//! Questions come on standard input, answers go to standard output, in the words of `protocol::ask`. Each question has a connection and a thread of its own; whoever asks has
//! one question a slot under way, and waits for its answer.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::protocol::ask::{Answer, Found, HEAD, Question, read, request};

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why it gave up.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The stream of questions broke.
    #[error("cannot read what is to be asked")]
    Io(#[from] io::Error),
    /// What came is no question.
    #[error("cannot understand what is to be asked")]
    Question(#[from] serde_json::Error),
}

/// Answers questions until there are no more.
///
/// # Errors
/// The stream of questions breaks, or has something else in it.
pub fn serve(input: impl BufRead, output: impl Write + Send) -> Result<(), AskError> {
    let output = Mutex::new(output);
    std::thread::scope(|threads| {
        for line in input.lines() {
            let Question { id, address, path } = serde_json::from_str(&line?)?;
            let output = &output;
            threads.spawn(move || {
                let found = ask(&address, &path).unwrap_or(Found::Nobody);
                let mut line = serde_json::to_vec(&Answer { id, found }).unwrap_or_default();
                line.push(b'\n');
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever does not listen any more asks no more either, which ends this.
                output.write_all(&line).and_then(|()| output.flush()).ok();
            });
        }
        Ok(())
    })
}

fn ask(address: &str, path: &str) -> io::Result<Found> {
    let until = Instant::now() + PATIENCE;
    let left = || Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut);
    let place = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&place, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request(address, path).as_bytes())?;
    let (mut head, mut piece) = (Vec::new(), [0; 512]);
    while !head.contains(&b'\n') && head.len() < HEAD {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut piece)? {
            0 => break,
            count => head.extend(piece.iter().take(count)),
        }
    }
    Ok(read(&head))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    use super::*;

    /// Says this to whoever comes first; where to come.
    fn says(words: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let count = stream.read(&mut asked).unwrap();
            assert!(asked[..count].starts_with(b"GET /up HTTP/1.1\r\n"));
            stream.write_all(words).unwrap();
        });
        address
    }

    #[test]
    fn what_is_at_each_address_is_told_with_its_number() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses =
            [says(b"HTTP/1.1 200 OK\r\n\r\n"), says(b"HTTP/1.1 503 No\r\n\r\n"), says(b"220 mail\r\n"), closed, "-:80".to_owned()];
        let addresses = addresses.into_iter().chain([silent.local_addr().unwrap().to_string()]);
        let questions = addresses.zip(0..).map(|(address, id)| Question { id, address, path: "/up".into() });
        let lines: Vec<_> = questions.map(|question| serde_json::to_string(&question).unwrap()).collect();
        let mut output = Vec::new();
        serve(lines.join("\n").as_bytes(), &mut output).unwrap();
        let answers = String::from_utf8(output).unwrap();
        let answers = answers.lines().map(|line| serde_json::from_str::<Answer>(line).unwrap());
        let found: BTreeMap<_, _> = answers.map(|answer| (answer.id, answer.found)).collect();
        let expected = [Found::Status(200), Found::Status(503), Found::Unreadable, Found::Nobody, Found::Nobody, Found::Nobody];
        assert_eq!(found, (0..).zip(expected).collect());
    }

    #[test]
    fn what_is_no_question_ends_it() {
        assert!(matches!(serve("how are you?".as_bytes(), Vec::new()), Err(AskError::Question(_))));
    }
}
