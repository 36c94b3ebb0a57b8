//! An environment with everything at hand: its engines and balancers reached, the app's own variables read, the place of the journal's copy.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{DeliveryError, Outside};
use crate::balancer::{Balancer, Endpoint, Name};
use crate::config::{AnsibleSettings, Delivery, EnvironmentSettings};
use crate::docker::{self, DockerError};
use crate::engine::WorkerBinaries;
use crate::fleet::{Fleet, Place};
use crate::hooks::Hooks;
use crate::rollout::{Ansible, Site};
use crate::trust::sha256;
use crate::tunnel::Ssh;

/// The environment of this name.
///
/// # Errors
/// There is none.
pub fn named<'a>(delivery: &'a Delivery, name: &str) -> Result<&'a EnvironmentSettings, DeliveryError> {
    delivery
        .environments
        .get(name)
        .ok_or_else(|| DeliveryError::Environment { name: name.to_owned(), known: delivery.environments.keys().cloned().collect() })
}

/// Reaches it.
///
/// # Errors
/// An address of an engine is none (one that does not answer is away, and the site is there without it); an address of a balancer is none; the env file cannot be read.
pub async fn reach(
    delivery: &Delivery,
    settings: &EnvironmentSettings,
    workers: &WorkerBinaries,
    outside: &Outside,
) -> Result<Site, DeliveryError> {
    let environment = settings.environment.clone();
    let mut names: Vec<_> = environment.slots.iter().map(|slot| slot.engine.clone()).collect();
    names.sort();
    names.dedup();
    let ssh = Ssh::default();
    let reached = names.into_iter().map(async |name| (docker::connect_over(&ssh, Some(&name), &outside.env).await, name));
    let (mut engines, mut away) = (Vec::new(), Vec::new());
    for (docker, name) in join_all(reached).await {
        match docker {
            Ok(docker) => engines.push((name, Arc::new(docker))),
            // What is wrong with its address will not be right later.
            Err(cause @ DockerError::Address { .. }) => return Err(DeliveryError::Engine { engine: name, cause: Box::new(cause) }),
            Err(cause) => away.push((name, cause)),
        }
    }
    let mut balancers = Vec::new();
    for address in &environment.balancers {
        let endpoint: Endpoint = address.endpoint.parse()?;
        let backend: Name = address.backend.parse()?;
        balancers.push((Balancer::over(endpoint, &ssh), backend));
    }
    let (variables, digest) = match &settings.env_file {
        None => (Vec::new(), String::new()),
        Some(file) => variables(file, outside)?,
    };
    let folder = delivery.records.state.join("deploy").join(&environment.name);
    let journal = folder.join("journal");
    let ansible = settings.ansible.as_ref().map(|AnsibleSettings { playbook, inventory }| Ansible {
        program: "ansible-playbook".into(),
        playbook: playbook.clone(),
        inventory: inventory.clone(),
        folder,
    });
    Ok(Site {
        place: Place { app: environment.app.clone(), environment: environment.name.clone() },
        fleet: Fleet::new(engines).without(away),
        balancers,
        workers: workers.clone(),
        variables,
        settings: digest,
        port: settings.port,
        ansible,
        hooks: Hooks::new(settings.hooks.clone(), delivery.root.clone(), outside.env.clone()),
        journal,
        environment,
    })
}

/// `NAME=value` of each line, and the digest of all of it: values of the caller's own variables count, too.
fn variables(file: &Path, outside: &Outside) -> Result<(Vec<String>, String), DeliveryError> {
    let failed = |cause| DeliveryError::File { path: file.to_owned(), cause };
    let text = fs_err::read_to_string(file).map_err(failed)?;
    let mut variables = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value.to_owned())));
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let value = value.or_else(|| outside.env.get(name).cloned());
        let Some(value) = value.filter(|_| plain) else {
            let what = format!("line {} is neither `NAME=value` nor the name of a variable that is set here", number + 1);
            return Err(failed(std::io::Error::other(what)));
        };
        variables.push(format!("{name}={value}"));
    }
    let digest = sha256(variables.join("\n").as_bytes()).hex();
    Ok((variables, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_lines_or_the_callers_own_and_their_digest_covers_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("env");
        let outside = |token: &str| Outside { env: [("TOKEN".to_owned(), token.to_owned())].into(), now_ms: 0 };
        fs_err::write(&file, "# ours\nA=1 = 2\n\nTOKEN\n").expect("written");
        let (read, digest) = variables(&file, &outside("x")).expect("read");
        assert_eq!(read, ["A=1 = 2", "TOKEN=x"]);
        assert_ne!(digest, variables(&file, &outside("y")).expect("read").1);
        for bad in ["export A=1", "GONE", "=x"] {
            fs_err::write(&file, bad).expect("written");
            let error = variables(&file, &outside("secret")).expect_err("refused");
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
