//! A redis-server on loopback that ends with who started it.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that runs and keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    /// Starts one and waits until it answers. `options` are more of its own.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at(&["127.0.0.1"], options)
    }

    /// The same at these addresses of this machine, for containers; loopback is one of them.
    pub fn start_at(addresses: &[&str], options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]).arg("--bind").args(addresses).args(options);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let server = server.unwrap_or_else(|error| panic!("cannot start redis-server ({error}); on Debian: apt-get install redis-server"));
        let redis = Self { server, port };
        let answers = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(answers, "redis-server does not answer");
        redis
    }

    /// Its URL, for a user with a password, `name:password@`, or for nobody in particular.
    pub fn url(&self, user: &str) -> String {
        format!("redis://{user}127.0.0.1:{}/0", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers, line by line.
    pub fn says(&self, words: &[&str]) -> Vec<String> {
        let told = Command::new("redis-cli").args(["-u", &self.url("")]).args(words).output();
        let told = told.expect("redis-cli; on Debian: apt-get install redis-tools");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Names of what it keeps that are like this.
    pub fn keys(&self, like: &str) -> Vec<String> {
        self.says(&["keys", like])
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it ends");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
