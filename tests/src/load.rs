//! An open-loop load client: requests begin when the clock says so, however long earlier ones take, so that a server that stalls is seen to stall.
//!
//! Bounded in number and rate, and to loopback alone: any other address is refused. It keeps of each request when it began and ended, its status, and the
//! version that the body names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The most requests of one load.
const MOST: u32 = 100_000;
/// The most within a second.
const FASTEST: u32 = 5_000;
/// The most at the same time; more are not sent, and count as failed.
const MOST_AT_ONCE: usize = 2_000;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to: loopback.
    pub address: SocketAddr,
    /// What is asked for.
    pub path: String,
    /// How many begin within a second.
    pub per_second: u32,
    /// How many at most.
    pub most: u32,
    /// Whether each has a connection of its own.
    pub connections: Connections,
}

/// How requests use connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each has its own.
    Fresh,
    /// They are used again, as browsers do. A request that finds its connection closed before a byte came back is sent once more on a new one.
    Kept,
}

impl Plan {
    /// Requests for `/` at such a rate, each with a connection of its own, until it is stopped or there were enough.
    pub fn new(address: SocketAddr, per_second: u32) -> Self {
        Self { address, path: "/".to_owned(), per_second, most: 20_000, connections: Connections::Fresh }
    }
}

/// A load that is on.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

impl Load {
    /// Begins.
    pub fn start(plan: Plan) -> Self {
        assert!(plan.address.ip().is_loopback(), "{}: loads are for loopback alone", plan.address);
        assert!(plan.most <= MOST && (1..=FASTEST).contains(&plan.per_second), "a load of at most {MOST} requests, {FASTEST} in a second");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(send(plan, &stopped))
        });
        Self { stop, thread }
    }

    /// Begins no more requests, waits for those that are on their way, and tells.
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the load client does not panic")
    }

    /// Waits until all have been sent, and tells.
    pub fn whole(self) -> Report {
        self.thread.join().expect("the load client does not panic")
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number, from 0.
    pub sequence: u32,
    /// When it began, since the first could have.
    pub start: Duration,
    /// When its answer was there, or was given up.
    pub end: Duration,
    /// Status and body, or what went wrong.
    pub answer: Result<(u16, String), String>,
}

impl Request {
    /// Whether it was answered with 200.
    pub fn is_good(&self) -> bool {
        matches!(self.answer, Ok((200, _)))
    }

    /// The version that answered, whatever the status was.
    fn version(&self) -> Option<&str> {
        self.answer.as_ref().ok().map(|(_, body)| body.trim())
    }
}

/// All requests, by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each.
    pub requests: Vec<Request>,
    /// Requests that were sent once more, see [`Connections::Kept`].
    pub sent_again: u32,
}

impl Report {
    /// Requests that were not answered with 200.
    pub fn failed(&self) -> Vec<&Request> {
        self.requests.iter().filter(|request| !request.is_good()).collect()
    }

    /// Good answers, by version.
    pub fn by_version(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for version in self.requests.iter().filter(|request| request.is_good()).filter_map(Request::version) {
            *counts.entry(version).or_default() += 1;
        }
        counts
    }

    /// By how many milliseconds the last request that the old version answered began after the first of the new one: negative where a moment lies between
    /// them. None where one of the two answered nothing.
    pub fn mixed_ms(&self, old: &str, new: &str) -> Option<f64> {
        let of = |version| self.requests.iter().filter(move |request| request.version() == Some(version)).map(|request| request.start);
        Some((of(old).max()?.as_secs_f64() - of(new).min()?.as_secs_f64()) * 1000.0)
    }

    /// The longest answer of the fastest so many percent.
    pub fn latency(&self, percent: usize) -> Duration {
        let mut all: Vec<_> = self.requests.iter().map(|request| request.end.saturating_sub(request.start)).collect();
        all.sort_unstable();
        let at = (all.len() * percent.min(100)).div_ceil(100).saturating_sub(1);
        all.get(at).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (all, failed, longest) = (self.requests.len(), self.failed(), self.latency(100));
        write!(f, "{all} requests, {} failed, {:?}, ", failed.len(), self.by_version())?;
        write!(
            f,
            "half within {:?}, 99 % within {:?}, longest {longest:?}, {} sent again",
            self.latency(50),
            self.latency(99),
            self.sent_again
        )?;
        failed.iter().take(5).try_for_each(|request| write!(f, "\n  failed: {request:?}"))
    }
}

/// What requests share.
struct Shared {
    plan: Plan,
    began: Instant,
    idle: Mutex<Vec<TcpStream>>,
}

async fn send(plan: Plan, stop: &AtomicBool) -> Report {
    let shared = Arc::new(Shared { plan, began: Instant::now(), idle: Mutex::default() });
    let mut report = Report::default();
    let mut under_way = JoinSet::new();
    for sequence in 0..shared.plan.most {
        sleep_until(shared.began + Duration::from_secs(sequence.into()) / shared.plan.per_second).await;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        while let Some(done) = under_way.try_join_next() {
            report.take(done);
        }
        if under_way.len() < MOST_AT_ONCE {
            let shared = Arc::clone(&shared);
            under_way.spawn(async move { one(&shared, sequence).await });
        } else {
            let now = shared.began.elapsed();
            report.requests.push(Request { sequence, start: now, end: now, answer: Err("too many at the same time".to_owned()) });
        }
    }
    while let Some(done) = under_way.join_next().await {
        report.take(done);
    }
    report.requests.sort_by_key(|request| request.sequence);
    report
}

impl Report {
    fn take(&mut self, done: Result<(Request, bool), tokio::task::JoinError>) {
        let (request, again) = done.expect("a request does not panic");
        self.requests.push(request);
        self.sent_again += u32::from(again);
    }
}

async fn one(shared: &Shared, sequence: u32) -> (Request, bool) {
    let start = shared.began.elapsed();
    let mut again = false;
    let answer = timeout(PATIENCE, ask(shared, sequence, &mut again)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    (Request { sequence, start, end: shared.began.elapsed(), answer }, again)
}

async fn ask(shared: &Shared, sequence: u32, again: &mut bool) -> Result<(u16, String), String> {
    let used = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    if let Some(mut stream) = used {
        match exchange(shared, &mut stream, sequence).await {
            Err(Broken { bytes: 0, .. }) => *again = true,
            other => return keep(shared, stream, other),
        }
    }
    let mut stream = TcpStream::connect(shared.plan.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    let answer = exchange(shared, &mut stream, sequence).await;
    keep(shared, stream, answer)
}

/// A whole answer, and whether the connection stays.
struct Answer {
    status: u16,
    body: String,
    stays: bool,
}

/// An exchange that came to nothing, after so many bytes of the answer.
struct Broken {
    bytes: usize,
    why: String,
}

fn keep(shared: &Shared, stream: TcpStream, answer: Result<Answer, Broken>) -> Result<(u16, String), String> {
    let answer = answer.map_err(|broken| format!("{} after {} bytes of the answer", broken.why, broken.bytes))?;
    if answer.stays {
        shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }
    Ok((answer.status, answer.body))
}

async fn exchange(shared: &Shared, stream: &mut TcpStream, sequence: u32) -> Result<Answer, Broken> {
    let connection = if shared.plan.connections == Connections::Kept { "keep-alive" } else { "close" };
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nX-Sequence: {sequence}\r\nConnection: {connection}\r\n\r\n",
        shared.plan.path, shared.plan.address
    );
    let mut answer = Vec::new();
    let broken = |answer: &[u8], why: String| Broken { bytes: answer.len(), why };
    stream.write_all(head.as_bytes()).await.map_err(|error| broken(&[], error.to_string()))?;
    let mut buffer = [0_u8; 4096];
    loop {
        let read = stream.read(&mut buffer).await;
        let ended = matches!(read, Ok(0));
        let count = read.map_err(|error| broken(&answer, error.to_string()))?;
        answer.extend(buffer.iter().take(count));
        match parse(&answer, ended, shared.plan.connections == Connections::Kept) {
            Some(whole) => return Ok(whole),
            None if ended => return Err(broken(&answer, "the connection was closed".to_owned())),
            None => {}
        }
    }
}

/// The answer, once it is whole: by its length, or by the end of the connection where it has none.
fn parse(bytes: &[u8], ended: bool, keeps: bool) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let stays = keeps && length.is_some() && !ended && !head.contains("\r\nconnection: close");
    let whole = length.map_or(ended, |length| body.len() >= length);
    whole.then(|| Answer { status, body: body.to_owned(), stays })
}
