//! A real S3 server (moto's), and between it and us a proxy that does what networks and servers do on bad days.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::content::contract::{self, Change, Vandal, key, noise};
use crate::content::{MemoryStore, Patience, Tiered};

/// The version that is tested with.
const MOTO: &str = "moto[server,s3]==5.2.5";

/// moto's server program, in a virtual environment that is made once and kept beside the build.
fn program() -> &'static FilePath {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../target/tests");
        fs::create_dir_all(&target).unwrap();
        let directory = target.join("python-moto");
        let lock = fs::File::create(target.join("python-moto.lock")).unwrap();
        lock.lock().unwrap();
        let made = directory.join("made-from.txt");
        if !fs::read_to_string(&made).is_ok_and(|from| from == MOTO) {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory));
            run(Command::new(directory.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--no-input", MOTO]));
            fs::write(&made, MOTO).unwrap();
        }
        directory.join("bin/moto_server")
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; on Debian: apt-get install python3-venv"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that ends with the test, with a bucket.
struct Server {
    process: Child,
    address: SocketAddr,
    scratch: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, address, scratch: tempfile::tempdir().unwrap() };
        let started = std::time::Instant::now();
        let create = "PUT /bucket HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        while !String::from_utf8_lossy(&exchange(address, create.as_bytes())).starts_with("HTTP/1.1 200") {
            assert!(started.elapsed() < Duration::from_mins(1), "moto's server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn store(&self) -> S3Store {
        self.store_at(self.address)
    }

    fn store_at(&self, address: SocketAddr) -> S3Store {
        tls();
        let settings = S3Settings {
            bucket: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(format!("http://{address}")),
            prefix: "team/splitci/".to_owned(),
            key: Some(("id".to_owned(), "secret-of-the-key".to_owned())),
            token: None,
        };
        S3Store::new(&settings, self.scratch.path().to_owned()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What the program does first thing.
fn tls() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

/// Sends bytes and reads until the other side has no more.
fn exchange(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(to) {
        let _gone = stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer));
    }
    answer
}

#[async_trait]
impl Vandal for S3Store {
    async fn change_blob(&self, digest: Digest, change: Change<'_>) {
        self.change(&self.blob_path(digest), change).await;
    }

    async fn change_record(&self, key: &RecordKey, change: Change<'_>) {
        self.change(&self.record_path(key), change).await;
    }
}

impl S3Store {
    async fn change(&self, path: &Path, change: Change<'_>) {
        let kept = self.fetch(path, usize::MAX).await.unwrap().expect("it is there");
        match change(kept.into()) {
            Some(changed) => self.bucket.put(path, changed.into()).await.map(drop).unwrap(),
            None => self.delete(path).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let server = Server::start();
    let store = server.store();
    contract::check(&store, &store).await;
    assert_eq!(fs::read_dir(server.scratch.path()).unwrap().count(), 0, "something was left");
}

#[tokio::test]
async fn large_blobs_travel_in_parts() {
    let server = Server::start();
    let store = server.store();
    let bytes = noise(1, 40 << 20);
    let (digest, file) = (Digest::of(&bytes), server.scratch.path().join("file"));
    fs::write(&file, &bytes).unwrap();
    assert_eq!(store.put_file(&file).await.unwrap(), digest);
    assert!(store.get(digest).await.unwrap() == Some(bytes.clone()));
    let written = store.stats().bytes_written;
    store.put(digest, bytes.clone()).await.unwrap();
    assert_eq!(store.stats().bytes_written, written, "it was sent again");
    fs::remove_file(&file).unwrap();
    assert!(store.get_to(digest, &file, 40 << 20).await.unwrap() && fs::read(&file).unwrap() == bytes);
}

/// What the proxy does to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    Good,
    /// The server says 500.
    Broken,
    /// The server says 403.
    Forbidden,
    /// Half of the body comes, then nothing.
    Torn,
    /// Half of the body comes, and that is said to be all.
    Half,
    /// A bit of the body is another.
    Flipped,
    /// The tag is that of something else.
    WrongTag,
    /// Nothing comes.
    Silent,
}

/// A proxy in front of the server.
struct Proxy {
    address: SocketAddr,
    day: Arc<Mutex<Day>>,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), day: Arc::new(Mutex::new(Day::Good)), requests: Arc::default() };
        let (to, day, requests) = (server.address, Arc::clone(&proxy.day), Arc::clone(&proxy.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (day, requests) = (Arc::clone(&day), Arc::clone(&requests));
                std::thread::spawn(move || pass(stream, to, &day, &requests));
            }
        });
        proxy
    }

    fn turn(&self, day: Day) {
        *self.day.lock().unwrap() = day;
    }
}

/// One request and its answer; the client connects anew for the next one.
fn pass(mut client: TcpStream, to: SocketAddr, day: &Mutex<Day>, requests: &AtomicUsize) {
    let Some(request) = request(&mut client) else { return };
    requests.fetch_add(1, Ordering::Relaxed);
    let day = *day.lock().unwrap();
    let answer = match day {
        Day::Broken => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        Day::Forbidden => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        Day::Silent => {
            std::thread::sleep(Duration::from_secs(40));
            return;
        }
        day => spoil(exchange(to, &request), day),
    };
    let _gone = client.write_all(&answer);
}

/// A whole request, which the server is asked to be the last one.
fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or_default() {
                let body = bytes.split_off(end + 4);
                return Some([head.as_bytes(), b"\r\nConnection: close\r\n\r\n", &body].concat());
            }
        }
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(&buffer[..read]),
        }
    }
}

fn spoil(mut answer: Vec<u8>, day: Day) -> Vec<u8> {
    let Some(end) = find(&answer, b"\r\n\r\n") else { return answer };
    let mut body = answer.split_off(end + 4);
    let mut head = String::from_utf8(answer).unwrap();
    let is_read = head.starts_with("HTTP/1.1 20") && body.len() > 1000;
    match day {
        Day::Torn if is_read => body.truncate(body.len() / 2),
        Day::Half if is_read => {
            body.truncate(body.len() / 2);
            let length = |line: &&str| !line.to_lowercase().starts_with("content-length:") && !line.is_empty();
            let kept: Vec<&str> = head.split("\r\n").filter(length).collect();
            head = format!("{}\r\nContent-Length: {}\r\n\r\n", kept.join("\r\n"), body.len());
        }
        Day::Flipped if is_read => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Day::WrongTag => head = head.replace("etag: \"", "etag: \"0").replace("ETag: \"", "ETag: \"0"),
        _ => {}
    }
    [head.into_bytes(), body].concat()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[tokio::test]
async fn on_a_bad_day_nothing_wrong_comes_out() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let store = server.store_at(proxy.address);
    let bytes = noise(1, 400_000);
    let (digest, key) = (Digest::of(&bytes), key("local", 1));
    for day in [Day::Good, Day::WrongTag, Day::Broken, Day::Forbidden, Day::Torn, Day::Half, Day::Flipped] {
        proxy.turn(Day::Good);
        store.put(digest, bytes.clone()).await.unwrap();
        store.put_record(&key, bytes.clone()).await.unwrap();
        proxy.turn(day);
        let (blob, record) = (store.get(digest).await, store.record(&key).await);
        match day {
            Day::Good | Day::WrongTag => {
                assert!(blob.unwrap() == Some(bytes.clone()) && record.unwrap() == Some(bytes.clone()), "{day:?}");
            }
            Day::Half | Day::Flipped => assert!(blob.unwrap().is_none() && record.unwrap().is_none(), "{day:?}"),
            Day::Forbidden => {
                assert!(matches!(blob, Err(StoreError::Refused { tier: "s3", .. })) && record.is_err(), "{blob:?}");
                assert!(blob.unwrap_err().hint().is_some());
            }
            _ => {
                assert!(matches!(blob, Err(StoreError::Remote { tier: "s3", .. })) && record.is_err(), "{day:?}");
                assert!(store.put_record(&key, bytes.clone()).await.is_err() || day == Day::Torn, "{day:?}");
            }
        }
    }
    assert_eq!((store.stats().blobs.damaged, store.stats().blobs.hits), (2, 2));
    assert!(!format!("{store:?} {:?}", store.stats()).contains("secret-of-the-key"));
}

#[tokio::test]
async fn what_is_damaged_and_cannot_be_deleted_is_written_over() {
    let server = Server::start();
    let store = server.store();
    let bytes = noise(1, 3000);
    let digest = Digest::of(&bytes);
    store.put(digest, bytes.clone()).await.unwrap();
    store.change_blob(digest, &|kept| Some(kept[1..].to_vec())).await;
    store.put(digest, bytes.clone()).await.unwrap();
    // Nobody noticed yet, and blobs are not replaced: now it is noticed, and deleted in vain.
    let proxy = Proxy::before(&server);
    let hindered = server.store_at(proxy.address);
    hindered.spoiled().insert(digest);
    hindered.put(digest, bytes.clone()).await.unwrap();
    assert!(store.get(digest).await.unwrap() == Some(bytes));
    assert!(hindered.spoiled().is_empty());
}

#[tokio::test]
async fn behind_a_silent_server_a_run_goes_on() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    proxy.turn(Day::Silent);
    let far = Arc::new(server.store_at(proxy.address));
    let near: Arc<dyn Store> = Arc::<MemoryStore>::default();
    let tiered = Tiered::new(near, vec![far], server.scratch.path().to_owned(), Patience::default());
    let started = std::time::Instant::now();
    for number in 0..20 {
        assert_eq!(tiered.record(&key("local", number)).await.unwrap(), None);
    }
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert!(tiered.tiers()[1].given_up);
    assert!(proxy.requests.load(Ordering::Relaxed) <= 9);
}
