//! Something that stands between us and a registry: it hears all that is asked, and answers for itself where a test wants a registry that is broken, slow or lying.
//!
//! Each connection is for one question. What is let through is neither read nor changed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Who asks, as the header says it.
    pub authorization: Option<String>,
    /// Length of its body, in bytes.
    pub length: usize,
}

impl Asked {
    /// Whether it could change something.
    pub fn is_write(&self) -> bool {
        self.method != "GET" && self.method != "HEAD"
    }
}

/// What is done with a question.
pub enum Trick {
    /// Let through.
    Pass,
    /// Let through with another path.
    Elsewhere(String),
    /// Answered: status line, headers with line ends, body.
    Say(&'static str, String, Vec<u8>),
    /// Answered with a body that never ends.
    Endless(&'static str),
    /// Never answered.
    Hang,
    /// Hung up on.
    Cut,
    /// Let through, and hung up on when the registry has answered.
    CutAfterwards,
}

/// Tricks for some questions alone.
pub fn only(
    which: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    trick: impl Fn() -> Trick + Send + Sync + 'static,
) -> impl Fn(usize, &Asked) -> Trick + Send + Sync + 'static {
    move |_, asked| if which(asked) { trick() } else { Trick::Pass }
}

type Tricks = dyn Fn(usize, &Asked) -> Trick + Send + Sync;

/// One that stands there. When it goes, it takes nobody in any more.
#[derive(Debug)]
pub struct Between {
    address: String,
    heard: Arc<Mutex<Vec<Asked>>>,
    gone: Arc<Mutex<bool>>,
}

impl Between {
    /// Stands before `registry`. `tricks` is told the number of each question, from 0.
    pub fn before(registry: &str, tricks: impl Fn(usize, &Asked) -> Trick + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (heard, gone) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let (all, end, registry) = (Arc::clone(&heard), Arc::clone(&gone), registry.to_owned());
        let tricks: Arc<Tricks> = Arc::new(tricks);
        std::thread::spawn(move || {
            for guest in listener.incoming().map_while(Result::ok) {
                if *end.lock().expect("nobody panics here") {
                    return;
                }
                let (all, registry, tricks) = (Arc::clone(&all), registry.clone(), Arc::clone(&tricks));
                std::thread::spawn(move || {
                    // Who hangs up on us has heard enough.
                    serve(guest, &registry, &all, &*tricks).ok();
                });
            }
        });
        Self { address, heard, gone }
    }

    /// One with no registry behind it.
    pub fn alone(tricks: impl Fn(usize, &Asked) -> Trick + Send + Sync + 'static) -> Self {
        Self::before("127.0.0.1:9", tricks)
    }

    /// Where it is.
    pub fn host(&self) -> String {
        self.address.clone()
    }

    /// What was asked so far.
    pub fn heard(&self) -> Vec<Asked> {
        self.heard.lock().expect("nobody panics here").clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.heard.lock().expect("nobody panics here").clear();
    }

    /// Questions so far that could have changed something.
    pub fn writes(&self) -> Vec<String> {
        self.heard().iter().filter(|asked| asked.is_write()).map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        *self.gone.lock().expect("nobody panics here") = true;
        // So that it hears of it.
        TcpStream::connect(&self.address).ok();
    }
}

fn serve(guest: TcpStream, registry: &str, heard: &Mutex<Vec<Asked>>, tricks: &Tricks) -> std::io::Result<()> {
    let mut reader = BufReader::new(guest.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (mut headers, mut length, mut authorization) = (String::new(), 0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            "connection" => continue,
            _ => {}
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = Asked { method: method.to_owned(), path: path.to_owned(), authorization, length };
    let number = {
        let mut heard = heard.lock().expect("nobody panics here");
        heard.push(asked.clone());
        heard.len() - 1
    };
    let pass = |path: &str| -> std::io::Result<TcpStream> {
        let mut behind = TcpStream::connect(registry)?;
        behind.write_all(format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
        behind.write_all(&body)?;
        Ok(behind)
    };
    match tricks(number, &asked) {
        Trick::Pass => relay(pass(path)?, guest),
        Trick::Elsewhere(path) => relay(pass(&path)?, guest),
        Trick::Say(status, headers, body) => say(guest, status, &headers, &body),
        Trick::Endless(headers) => endless(guest, headers),
        Trick::Hang => reader.read(&mut [0]).map(drop),
        Trick::Cut => guest.shutdown(Shutdown::Both),
        Trick::CutAfterwards => {
            pass(path)?.read_to_end(&mut Vec::new())?;
            guest.shutdown(Shutdown::Both)
        }
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Both)
}

fn say(mut guest: TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length =
        if headers.to_ascii_lowercase().contains("content-length") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    guest.write_all(format!("HTTP/1.1 {status}\r\n{headers}{length}Connection: close\r\n\r\n").as_bytes())?;
    guest.write_all(body)
}

fn endless(mut guest: TcpStream, headers: &str) -> std::io::Result<()> {
    guest.write_all(format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
    let piece = vec![b' '; 65536];
    loop {
        guest.write_all(&piece)?;
    }
}
