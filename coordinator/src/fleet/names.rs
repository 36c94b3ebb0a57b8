//! Names and labels of everything that an environment has on an engine.
//!
//! Labels say whose a container is, and are what is looked for; names make it unique, and are for people. A name is never taken apart again.

use std::collections::BTreeMap;

/// Label with the environment, `APP/ENVIRONMENT`. Everything has it.
pub const ENVIRONMENT: &str = "splitci.environment";
/// Label with what a container is: see [`Role`].
pub const ROLE: &str = "splitci.role";
/// Label with the slot of an instance.
pub const SLOT: &str = "splitci.slot";
/// Label with the deployment that made it.
pub const DEPLOY: &str = "splitci.deploy";
/// Label with that deployment's fence.
pub const FENCE: &str = "splitci.fence";
/// Label with the manifest's digest of an instance's release.
pub const RELEASE: &str = "splitci.release";
/// Label with the digest of the application's own configuration that an instance got.
pub const SETTINGS: &str = "splitci.settings";

/// Label with the process that made it, where it is over when that has ended.
pub const OWNER: &str = "splitci.owner";

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves.
    Instance,
    /// Migrates, once.
    Migration,
    /// Says who may change the environment.
    Lock,
    /// Says who waits for that.
    Waiter,
    /// Keeps its journal.
    Holder,
    /// Asks its instances how they are, from where they are.
    Asker,
}

impl Role {
    /// As the label has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Migration => "migration",
            Self::Lock => "lock",
            Self::Waiter => "waiter",
            Self::Holder => "holder",
            Self::Asker => "asker",
        }
    }
}

/// An environment of an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The application; a name that a container's may begin with.
    pub app: String,
    /// The environment.
    pub environment: String,
}

impl Place {
    /// The value of [`ENVIRONMENT`].
    pub fn label(&self) -> String {
        format!("{}/{}", self.app, self.environment)
    }

    /// Finds everything that the environment has.
    pub fn filter(&self) -> String {
        format!("{ENVIRONMENT}={}", self.label())
    }

    /// The labels that a container of this environment has at least.
    pub fn labels(&self, role: Role, deploy: &str, fence: u64) -> BTreeMap<String, String> {
        let pairs = [(ENVIRONMENT, self.label()), (ROLE, role.word().to_owned()), (DEPLOY, deploy.to_owned()), (FENCE, fence.to_string())];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The lock's name.
    pub fn lock(&self) -> String {
        format!("splitci-lock-{}-{}", self.app, self.environment)
    }

    /// Who waits for the lock, for a deployment.
    pub fn waiter(&self, deploy: &str) -> String {
        format!("splitci-wait-{}-{}-{}", self.app, self.environment, deploy.to_lowercase())
    }

    /// The journal's holder.
    pub fn holder(&self) -> String {
        format!("splitci-env-{}-{}", self.app, self.environment)
    }

    /// Who asks instances for a process of a deployment: of several, each has its own.
    pub fn asker(&self, process: &str) -> String {
        format!("splitci-ask-{}-{}-{}", self.app, self.environment, process.to_lowercase())
    }

    /// The instance of a slot that a deployment makes.
    pub fn instance(&self, slot: &str, deploy: &str) -> String {
        format!("{}-{}-{slot}-{}", self.app, self.environment, deploy.to_lowercase())
    }

    /// The migration of a deployment: its name is what keeps it from being started twice.
    pub fn migration(&self, deploy: &str) -> String {
        format!("{}-{}-migrate-{}", self.app, self.environment, deploy.to_lowercase())
    }
}

/// The highest fence that any of these labels tell of; 0 where none does.
pub fn highest_fence<'a>(labels: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> u64 {
    labels.into_iter().filter_map(|labels| labels.get(FENCE)?.parse().ok()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_fence_counts_and_what_is_none_does_not() {
        let place = Place { app: "lunch".into(), environment: "production".into() };
        let fences = [3, 12, 7].map(|fence| place.labels(Role::Instance, "01A", fence));
        let broken = BTreeMap::from([(FENCE.to_owned(), "many".to_owned())]);
        assert_eq!(highest_fence(fences.iter().chain([&broken])), 12);
        assert_eq!(highest_fence([]), 0);
    }

    #[test]
    fn two_environments_of_one_application_share_no_name() {
        let names = |environment: &str| {
            let place = Place { app: "lunch".into(), environment: environment.into() };
            [place.lock(), place.holder(), place.instance("web1", "01A"), place.migration("01A"), place.filter()]
        };
        let (staging, production) = (names("staging"), names("production"));
        assert!(staging.iter().all(|name| !production.contains(name)));
    }
}
