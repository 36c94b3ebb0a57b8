//! A real S3 server on loopback (moto's), with a bucket, that ends with who started it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use splitci_coordinator::content::S3Settings;

use crate::python::Python;

/// A server that keeps everything in memory.
#[derive(Debug)]
pub struct Bucket {
    server: Child,
    port: u16,
}

impl Bucket {
    /// Starts one and waits until it has a bucket.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Python::named("moto").command("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let bucket = Self { server: command.spawn().expect("moto_server starts"), port };
        let began = Instant::now();
        while !bucket.made() {
            assert!(began.elapsed() < Duration::from_mins(1), "moto's server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        bucket
    }

    fn made(&self) -> bool {
        let create = "PUT /bucket HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        self.said(create).starts_with(b"HTTP/1.1 200")
    }

    /// What it answers, as far as it does.
    fn said(&self, request: &str) -> Vec<u8> {
        let mut answer = Vec::new();
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        });
        if asked.is_ok() { answer } else { Vec::new() }
    }

    /// Whether it holds something whose name begins so.
    pub fn holds(&self, prefix: &str) -> bool {
        let list = format!("GET /bucket?list-type=2&max-keys=1&prefix={prefix} HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n\r\n");
        String::from_utf8_lossy(&self.said(&list)).contains(&format!("<Key>{prefix}"))
    }

    /// How a store reaches it.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            key: Some(("id".to_owned(), "secret-of-the-key".to_owned())),
            ..S3Settings::default()
        }
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
