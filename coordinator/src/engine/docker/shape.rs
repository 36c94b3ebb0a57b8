//! What a shard's container is given, decided from the settings. Pure.
//!
//! Image, user, working directory and environment are the image's own. Its entrypoint is replaced by the worker, which starts it again in front of
//! the test command, unless it is an init that insists on process id 1: then it stays, and the worker is its command.

use std::collections::BTreeMap;

use super::{DockerSetup, KEPT_LABEL, OWNER_LABEL, RUN_LABEL, SHARD_LABEL};
use crate::docker::container::{ContainerSpec, HostSpec};
use crate::engine::ShardSpec;
use crate::model::EntryPoint;
use crate::model::settings::ContainerSettings;

/// Where the worker's volume is mounted.
pub(super) const WORKER_FOLDER: &str = "/.splitci";
/// The worker's name there.
pub(super) const WORKER_NAME: &str = "worker";
/// Both together.
pub(super) const WORKER_PATH: &str = "/.splitci/worker";
/// Where the worker keeps its socket, its slot and the driver.
const RUN_FOLDER: &str = "/.splitci-run";
/// Processes in a shard, if nothing else is said.
const PIDS: i64 = 4096;
/// What Docker gives by default and no test suite should miss.
const DROPPED: [&str; 3] = ["NET_RAW", "MKNOD", "AUDIT_WRITE"];
/// Inits that must be process id 1: s6-overlay's and baseimage-docker's.
const INITS: [&str; 3] = ["/init", "/sbin/my_init", "/usr/sbin/my_init"];

/// Whether the image's entrypoint stays process 1, so that the test command must not be put behind it once more.
pub fn runs_image_init(entry: &EntryPoint, settings: &ContainerSettings) -> bool {
    let entrypoint = settings.entrypoint.as_ref().unwrap_or(&entry.entrypoint);
    let known = entrypoint.first().is_some_and(|program| INITS.contains(&program.as_str()));
    settings.init_image.unwrap_or(known) && !entrypoint.is_empty()
}

/// The container of a shard.
pub(super) fn container(
    setup: &DockerSetup,
    spec: &ShardSpec,
    security_opt: Vec<String>,
    (volume, owner): (&str, &str),
    proxies: &[String],
) -> ContainerSpec {
    let settings = &setup.container;
    let (entrypoint, command) = start_command(&setup.entry, settings);
    let mut env = proxies.to_vec();
    env.push(format!("SPLITCI_RUN_DIR={RUN_FOLDER}"));
    ContainerSpec {
        name: format!("splitci-{}-{}-{}", spec.run.to_lowercase(), spec.shard, spec.restarts),
        image: setup.image.clone(),
        platform: setup.platform.clone(),
        entrypoint,
        command,
        env,
        user: settings.user.clone(),
        workdir: settings.workdir.clone(),
        labels: labels(spec, owner, setup.keep),
        host: HostSpec {
            auto_remove: !setup.keep,
            volumes_read_only: vec![(volume.to_owned(), WORKER_FOLDER.to_owned())],
            volumes_writable: Vec::new(),
            binds: settings.volumes.iter().map(|volume| volume.0.clone()).collect(),
            tmpfs: writable(settings),
            memory: settings.memory,
            cpus: settings.cpus,
            shm_size: settings.shm_size,
            pids_limit: Some(settings.pids_limit.unwrap_or(PIDS)),
            add_hosts: settings.add_hosts.clone(),
            network: settings.network.clone(),
            read_only: settings.read_only,
            cap_drop: dropped(&settings.cap_add),
            cap_add: settings.cap_add.clone(),
            security_opt,
        },
    }
}

fn start_command(entry: &EntryPoint, settings: &ContainerSettings) -> (Vec<String>, Vec<String>) {
    let worker = vec![WORKER_PATH.to_owned()];
    if !runs_image_init(entry, settings) {
        return (worker, Vec::new());
    }
    let entrypoint = settings.entrypoint.clone().unwrap_or_else(|| entry.entrypoint.clone());
    // my_init reads options until it is told that a command follows.
    let options_end = entrypoint.iter().any(|word| word.ends_with("my_init")) && !entrypoint.iter().any(|word| word == "--");
    let command = options_end.then(|| "--".to_owned()).into_iter().chain(worker).collect();
    (entrypoint, command)
}

fn labels(spec: &ShardSpec, owner: &str, keep: bool) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (OWNER_LABEL.to_owned(), owner.to_owned()),
        (RUN_LABEL.to_owned(), spec.run.clone()),
        (SHARD_LABEL.to_owned(), spec.shard.to_string()),
    ]);
    labels.extend(keep.then(|| (KEPT_LABEL.to_owned(), String::new())));
    labels
}

/// A capability that is asked for is not taken away.
fn dropped(added: &[String]) -> Vec<String> {
    let bare = |name: &str| name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
    let asked = |name: &str| added.iter().any(|added| bare(added) == name || bare(added) == "ALL");
    DROPPED.iter().filter(|name| !asked(name)).map(|name| (*name).to_owned()).collect()
}

/// What can be written whatever the root is. Hardly a framework does without temporary files, so a read-only root gets a `/tmp` of its own.
fn writable(settings: &ContainerSettings) -> Vec<(String, String)> {
    let folder = |path: &str| (path.to_owned(), "mode=1777,exec".to_owned());
    let mut folders = vec![folder(RUN_FOLDER)];
    let mounted = settings.volumes.iter().any(|volume| volume.0.split(':').nth(1) == Some("/tmp"));
    if settings.read_only && !mounted {
        folders.push(folder("/tmp"));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::WorkerBinaries;
    use crate::model::{RunId, ShardId};

    fn entry(entrypoint: &[&str]) -> EntryPoint {
        EntryPoint { entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(), ..EntryPoint::default() }
    }

    fn shaped(entrypoint: &[&str], container: ContainerSettings) -> ContainerSpec {
        let setup = DockerSetup {
            run: RunId("01ABC".into()),
            image: "sha256:00".into(),
            platform: None,
            arch: "amd64".into(),
            entry: entry(entrypoint),
            container,
            workers: WorkerBinaries::default(),
            keep: false,
        };
        let spec = ShardSpec { run: "01ABC".into(), shard: ShardId(3), restarts: 1 };
        super::container(&setup, &spec, Vec::new(), ("v", "me"), &[])
    }

    #[test]
    fn the_worker_takes_the_place_of_an_entrypoint() {
        let spec = shaped(&["/entry.sh"], ContainerSettings::default());
        assert_eq!((spec.entrypoint, spec.command), (vec![WORKER_PATH.to_owned()], Vec::new()));
        assert_eq!(spec.name, "splitci-01abc-3-1");
    }

    #[test]
    fn an_init_that_insists_on_being_first_stays_first() {
        let spec = shaped(&["/init"], ContainerSettings::default());
        assert_eq!((spec.entrypoint, spec.command), (vec!["/init".to_owned()], vec![WORKER_PATH.to_owned()]));
        let spec = shaped(&["/sbin/my_init"], ContainerSettings::default());
        assert_eq!(spec.command, ["--", WORKER_PATH]);
        let other = shaped(&["/init"], ContainerSettings { init_image: Some(false), ..ContainerSettings::default() });
        assert_eq!(other.entrypoint, [WORKER_PATH]);
        let asked = shaped(&["/mine"], ContainerSettings { init_image: Some(true), ..ContainerSettings::default() });
        assert_eq!((asked.entrypoint, asked.command), (vec!["/mine".to_owned()], vec![WORKER_PATH.to_owned()]));
        let none = shaped(&["/init"], ContainerSettings { entrypoint: Some(Vec::new()), ..ContainerSettings::default() });
        assert_eq!(none.entrypoint, [WORKER_PATH], "`entrypoint = []` takes it away");
    }

    #[test]
    fn a_capability_that_is_asked_for_is_given() {
        assert_eq!(dropped(&["cap_net_raw".to_owned()]), ["MKNOD", "AUDIT_WRITE"]);
        assert_eq!(dropped(&["ALL".to_owned()]), Vec::<String>::new());
        assert_eq!(dropped(&[]).len(), 3);
    }
}
