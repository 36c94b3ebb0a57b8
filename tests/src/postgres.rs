//! A `PostgreSQL` of a test's own, in a container beside those that are deployed: for migrations that change something real.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::docker_says;

/// The image: Debian's `PostgreSQL` with its client.
pub const IMAGE: &str = "splitci-tests-postgres";
/// How long it may take to come up.
const UP_WITHIN: Duration = Duration::from_mins(1);

/// A server that runs, with an empty table `migrated` to which rows can be added, and nothing else.
#[derive(Debug)]
pub struct Postgres {
    container: String,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        crate::engine::require();
        docker_says(&format!("build --quiet --tag {IMAGE} {}", crate::root().join("fixtures/postgres").display()));
        let server = Self { container: docker_says(&format!("run --detach --user postgres {IMAGE}")) };
        let began = Instant::now();
        while let Err(why) = server.try_to_ask("SELECT 1") {
            assert!(
                began.elapsed() < UP_WITHIN,
                "PostgreSQL does not come up: {why}: {}",
                docker_says(&format!("logs {}", server.container))
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        server.ask("CREATE TABLE migrated (number serial PRIMARY KEY, version text NOT NULL)");
        for (event, name) in [("UPDATE", "kept"), ("DELETE", "never_gone")] {
            server.ask(&format!("CREATE RULE {name} AS ON {event} TO migrated DO INSTEAD NOTHING"));
        }
        server
    }

    /// Where other containers reach it.
    pub fn address(&self) -> String {
        docker_says(&format!("inspect --format {{{{.NetworkSettings.IPAddress}}}} {}", self.container))
    }

    /// Versions of the rows that there are, in their order.
    pub fn migrated(&self) -> Vec<String> {
        self.ask("SELECT version FROM migrated ORDER BY number").lines().map(str::to_owned).collect()
    }

    fn ask(&self, statement: &str) -> String {
        self.try_to_ask(statement).unwrap_or_else(|why| panic!("{statement}: {why}"))
    }

    fn try_to_ask(&self, statement: &str) -> Result<String, String> {
        let psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host=127.0.0.1", "--command", statement];
        let asked = Command::new("docker").args(["exec", "--user", "postgres", &self.container]).args(psql).output().expect("start docker");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if asked.status.success() { Ok(said(&asked.stdout)) } else { Err(said(&asked.stderr)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        crate::engine::docker(&format!("rm --force --volumes {}", self.container));
    }
}
