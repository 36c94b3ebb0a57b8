//! What an engine says about itself: version, storage, limits, security. Asked once a connection.

use bollard::models::{SystemInfo, SystemVersion};

use super::{Docker, DockerError, SHORT};

/// What is known of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Version, e.g. `20.10.24`.
    pub version: String,
    /// API version, e.g. `1.41`.
    pub api_version: String,
    /// Storage driver, e.g. `overlay2`.
    pub storage_driver: String,
    /// Images are kept by containerd, not by a graph driver: the same build has another digest there.
    pub containerd_store: bool,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Names of what the kernel and the engine can enforce: `seccomp`, `apparmor`, `selinux`, `rootless`, `userns`, `cgroupns`.
    pub security: Vec<String>,
    /// CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Architecture in Docker's words: `amd64`, `arm64`.
    pub arch: String,
    /// `linux`, `windows`.
    pub os: String,
    /// Name of the host.
    pub host: String,
    /// What the engine calls itself: the same for those that were made with the same key file.
    pub id: String,
    /// Where the engine keeps its data, on its host.
    pub root: String,
    /// The engine's clock when it was asked: seconds since 1970 with a fraction, as its events are asked for.
    pub clock: String,
}

impl EngineFacts {
    /// Which engine this is, for others to compare. Copies of one machine have the same id, and two engines of one machine the same host.
    pub fn identity(&self) -> String {
        let parts = [&self.id, &self.host, &self.root].map(|part| part.escape_debug().to_string());
        blake3::hash(parts.join("\n").as_bytes()).to_hex()[..32].to_owned()
    }

    /// The platform that the engine builds for when it is not told otherwise: `linux/amd64`.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.os, self.arch)
    }

    /// The line of versions within which builds of the same inputs are taken to be the same: `20.10`, `28.5`.
    pub fn line(&self) -> String {
        self.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
    }
}

impl Docker {
    /// What the engine says about itself.
    pub async fn facts(&self) -> Result<&EngineFacts, DockerError> {
        self.facts
            .get_or_try_init(|| async {
                let attempt = || "ask the engine about itself".to_owned();
                let (version, info) =
                    tokio::try_join!(self.call(attempt, SHORT, self.client.version()), self.call(attempt, SHORT, self.client.info()))?;
                Ok(read(version, info))
            })
            .await
    }

    /// The engine's time now, in nanoseconds since 1970. One that sits on this machine has this machine's.
    pub async fn now(&self) -> Result<i64, DockerError> {
        let mut now = time::OffsetDateTime::now_utc();
        if !self.endpoint.is_local() {
            let told = self.call(|| "ask the engine for its time".to_owned(), SHORT, self.client.info()).await?.system_time;
            let told = told.and_then(|time| time::OffsetDateTime::parse(&time, &time::format_description::well_known::Rfc3339).ok());
            now = told.unwrap_or(now);
        }
        Ok(i64::try_from(now.unix_timestamp_nanos()).unwrap_or(i64::MAX))
    }
}

fn read(version: SystemVersion, info: SystemInfo) -> EngineFacts {
    let driver_status = info.driver_status.unwrap_or_default();
    EngineFacts {
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        storage_driver: info.driver.unwrap_or_default(),
        containerd_store: driver_status.iter().flatten().any(|text| text.contains("io.containerd.snapshotter")),
        cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        security: info.security_options.unwrap_or_default().iter().map(|text| security_name(text)).collect(),
        cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1),
        memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        arch: version.arch.unwrap_or_default(),
        os: version.os.unwrap_or_default(),
        host: info.name.unwrap_or_default(),
        id: info.id.unwrap_or_default(),
        root: info.docker_root_dir.unwrap_or_default(),
        clock: seconds(&info.system_time.unwrap_or_default()),
    }
}

/// An engine that does not tell its time is asked for its whole memory of events, which is short.
fn seconds(time: &str) -> String {
    let time = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    time.map_or_else(|_| "0".to_owned(), |time| format!("{}.{:09}", time.unix_timestamp(), time.nanosecond()))
}

/// `name=seccomp,profile=default` is `seccomp`.
fn security_name(text: &str) -> String {
    text.split(',').find_map(|part| part.strip_prefix("name=")).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_clock_is_read() {
        assert_eq!(seconds("2026-05-07T21:09:36.5+02:00"), "1778180976.500000000");
        assert_eq!(seconds(""), "0");
    }

    #[test]
    fn an_engine_is_described_in_dockers_words() {
        let version = SystemVersion {
            version: Some("20.10.24+dfsg1".into()),
            arch: Some("amd64".into()),
            os: Some("linux".into()),
            ..SystemVersion::default()
        };
        let info = SystemInfo {
            security_options: Some(vec!["name=seccomp,profile=default".into(), "name=rootless".into()]),
            driver_status: Some(vec![vec!["driver-type".into(), "io.containerd.snapshotter.v1".into()]]),
            ..SystemInfo::default()
        };
        let facts = read(version, info);
        assert_eq!((facts.line().as_str(), facts.platform().as_str()), ("20.10", "linux/amd64"));
        assert_eq!(facts.security, ["seccomp", "rootless"]);
        assert!(facts.containerd_store);
    }
}
