//! A small HTTP application to be deployed: it says its version, and can be late, slow, sick or rude. A thread for each connection.
//!
//! `/up` is what a balancer asks: 200, or 503 when sick. Everything else is answered with the version, slowly if wanted, with 500 when sick. Asked to
//! stop, it takes no more connections and finishes what it has; killed, it cuts everything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often an idle connection looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// More than this is no request of a test.
const LONGEST_REQUEST: usize = 64 << 10;

/// What an instance is like. All but the version can be changed while it runs.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// What it says.
    pub version: String,
    /// How long it takes until it listens.
    pub boot: Duration,
    /// How long a request takes, but for `/up`.
    pub slow: Duration,
    /// Whether it fails.
    pub sick: bool,
    /// Whether it hangs up instead of answering.
    pub rude: bool,
}

impl Switches {
    /// A good instance of a version.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), ..Self::default() }
    }
}

/// A running instance.
#[derive(Debug)]
pub struct App {
    port: u16,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    switches: Mutex<Switches>,
    stopping: AtomicBool,
    /// Requests answered, but for `/up`.
    served: AtomicU64,
    connections: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl App {
    /// Starts an instance on a port of loopback; 0 for any. Returns when it listens, or at once if it takes its time.
    pub fn start(port: u16, switches: Switches) -> Self {
        Self::start_at(([127, 0, 0, 1], port).into(), switches)
    }

    /// The same at any address, as in a container of its own.
    pub fn start_at(address: SocketAddr, switches: Switches) -> Self {
        let boot = switches.boot;
        let state = State { switches: Mutex::new(switches), stopping: false.into(), served: 0.into(), connections: Mutex::default() };
        let state = Arc::new(state);
        let bind = move || TcpListener::bind(address).expect("a free port");
        let shared = Arc::clone(&state);
        if boot.is_zero() {
            let listener = bind();
            let port = listener.local_addr().expect("its address").port();
            let listening = std::thread::spawn(move || listen(&listener, &shared));
            return Self { port, state, listening: Some(listening) };
        }
        let port = address.port();
        assert_ne!(port, 0, "whoever boots later must be told a port");
        let listening = std::thread::spawn(move || {
            std::thread::sleep(boot);
            listen(&bind(), &shared);
        });
        Self { port, state, listening: Some(listening) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.state.switches.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Requests that it answered, in whatever way; what a balancer asks is not counted.
    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }

    /// Takes no more connections, finishes every request that it has, and ends.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends at once and cuts what it is at.
    pub fn kill(mut self) {
        for (stream, _) in self.state.connections().iter() {
            stream.shutdown(Shutdown::Both).ok();
        }
        self.end();
    }

    fn end(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let Some(listening) = self.listening.take() else { return };
        // One that boots still is not there to be knocked at.
        while !listening.is_finished() {
            TcpStream::connect(("127.0.0.1", self.port)).ok();
            std::thread::sleep(Duration::from_millis(1));
        }
        listening.join().expect("it listened until the end");
        let connections = std::mem::take(&mut *self.state.connections());
        for (_, thread) in connections {
            thread.join().expect("it answered until the end");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

impl State {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<(TcpStream, JoinHandle<()>)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switches(&self) -> Switches {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

fn listen(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(for_kill) = stream.try_clone() else { continue };
        let shared = Arc::clone(state);
        let thread = std::thread::spawn(move || {
            serve(stream, &shared);
        });
        let mut connections = state.connections();
        connections.retain(|(_, thread)| !thread.is_finished());
        connections.push((for_kill, thread));
    }
}

/// Answers the requests of a connection. One that broke is over.
fn serve(mut stream: TcpStream, state: &State) -> Option<()> {
    stream.set_read_timeout(Some(LOOK)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut waiting = Vec::new();
    while let Some(head) = next_request(&mut stream, &mut waiting, state) {
        let path = head.split_whitespace().nth(1).unwrap_or_default();
        let switches = state.switches();
        let asked_for_health = path == "/up";
        if switches.rude && !asked_for_health {
            break;
        }
        if !asked_for_health {
            std::thread::sleep(switches.slow);
            state.served.fetch_add(1, Ordering::SeqCst);
        }
        let status = match (switches.sick, asked_for_health) {
            (false, _) => "200 OK",
            (true, true) => "503 Service Unavailable",
            (true, false) => "500 Internal Server Error",
        };
        let last = state.stopping() || head.to_ascii_lowercase().contains("\r\nconnection: close");
        let connection = if last { "close" } else { "keep-alive" };
        let body = format!("{}\n", switches.version);
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).ok()?;
        if last {
            break;
        }
    }
    stream.shutdown(Shutdown::Both).ok()
}

/// The head of the next request; none when there will be none. Requests of tests have no body.
fn next_request(stream: &mut TcpStream, waiting: &mut Vec<u8>, state: &State) -> Option<String> {
    let mut buffer = [0_u8; 4096];
    loop {
        if let Some(end) = waiting.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = waiting.drain(..end + 4).collect();
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => waiting.extend(buffer.iter().take(count)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && !(state.stopping() && waiting.is_empty()) => {}
            Err(_) => return None,
        }
        if waiting.len() > LONGEST_REQUEST {
            return None;
        }
    }
}
