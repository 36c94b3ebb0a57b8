//! A Docker network of a test's own, with a subnet and addresses that the engine gives to nobody by itself. Gone at the end.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{docker, docker_says};

/// How long it may take until nobody is in it any more.
const EMPTY_WITHIN: Duration = Duration::from_secs(30);
/// Subnets that are tried.
const SUBNETS: u32 = 2_048;

/// A network.
#[derive(Debug)]
pub struct Network {
    /// What has `docker` speak to its engine; empty for this machine's.
    pub engine: String,
    /// Its name.
    pub name: String,
    /// The first three numbers of its addresses.
    subnet: String,
}

impl Network {
    /// Makes one on an engine that `docker` speaks to with this option, or on this machine's if it is empty.
    pub fn make(engine: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Of its own on other engines, too: nothing is to be mistaken for something else.
        let own = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("splitci-test-{}-{own}", std::process::id());
        for attempt in 0..SUBNETS {
            let number = (std::process::id().wrapping_mul(16) + own + attempt) % SUBNETS;
            let subnet = format!("10.{}.{}", 210 + number / 256, number % 256);
            let made = docker(&format!("{engine} network create --subnet {subnet}.0/24 --ip-range {subnet}.128/25 {name}"));
            if made.status.success() {
                return Self { engine: engine.to_owned(), name, subnet };
            }
            // Others have networks, too.
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(said.to_lowercase().contains("overlap"), "{said}");
        }
        panic!("every subnet is taken");
    }

    /// An address in it that is given to nobody who does not ask for it, by its number from 1 to 100.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        format!("{}.{}", self.subnet, 10 + number).parse().expect("an address")
    }

    /// What `docker` says at its engine, which must succeed.
    pub fn says(&self, line: &str) -> String {
        docker_says(&format!("{} {line}", self.engine))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let began = Instant::now();
        // Who leaves it may still be on the way.
        while !docker(&format!("{} network rm {}", self.engine, self.name)).status.success() && began.elapsed() < EMPTY_WITHIN {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
