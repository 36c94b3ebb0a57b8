//! One effect, carried out. What came of it is evidence for the journal, a failure too: whether something *is* so, the next look at the world says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Site;
use crate::balancer::{Balancer, BalancerError, Change, Name, Observation, Place as Where, Proven, swap};
use crate::deployment::{Admin, Effect, Evidence, Plan, Turn};
use crate::docker::service::{Publish, ServiceSpec};
use crate::docker::{Docker, DockerError};
use crate::fleet::instance::{self, InstanceSpec, Made};
use crate::fleet::names::Role;
use crate::model::Fence;
use crate::model::environment::{Release, Role as Duty, Slot, SlotName};
use crate::promotion::Promotion;

/// An engine has told a container to stop within this time.
const TOLD: Duration = Duration::from_secs(2);

/// Why an effect did not come about, for the journal.
pub(super) enum Failure {
    /// It would not come about if it were tried again.
    Refused(String),
    /// It may have come about, or will.
    Failed(String),
}

impl Failure {
    pub(super) fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<Result<String, Failure>> for Evidence {
    fn from(done: Result<String, Failure>) -> Self {
        match done {
            Ok(seen) => Self::Seen(seen),
            Err(Failure::Refused(said)) => Self::Refused(said),
            Err(Failure::Failed(said)) => Self::Failed(said),
        }
    }
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        // An engine that is at a loss (500) may find a way; one that says what is wrong with the question will say it again. That a container is gone or busy
        // is seen at the next look.
        if error.is_refusal() { Self::Refused(chain(&error)) } else { Self::Failed(chain(&error)) }
    }
}

impl From<BalancerError> for Failure {
    fn from(error: BalancerError) -> Self {
        Self::Failed(chain(&error))
    }
}

/// What it takes to do something for a deployment.
pub(super) struct Hands<'a> {
    pub(super) site: &'a Site,
    pub(super) promotion: &'a Promotion,
    pub(super) plan: &'a Plan,
    pub(super) fence: Fence,
}

impl Hands<'_> {
    /// Does what does not depend on each other, as far as it can be done: by itself, or by way of Ansible where the environment has that.
    pub(super) async fn perform(&self, effects: &[Effect]) -> Vec<Evidence> {
        if let Some(ansible) = &self.site.ansible {
            return ansible.perform(self, effects).await;
        }
        join_all(effects.iter().map(async |effect| self.attempt(effect).await.into())).await
    }

    async fn attempt(&self, effect: &Effect) -> Result<String, Failure> {
        let done = || Ok(String::new());
        match effect {
            Effect::Prefetch { slot, release } => self.prefetch(self.at(slot)?.1, release).await,
            Effect::Balance(turns) | Effect::Swap(turns) => balance(self.site, turns).await,
            Effect::Stop { slot, container } => self.stop(self.at(slot)?, &container.0).await,
            Effect::SetAside { slot, container } => {
                instance::set_aside(self.at(slot)?.1, &container.0, &self.plan.deploy.0).await?;
                done()
            }
            Effect::TakeBack { slot, container } => {
                instance::take_back(self.at(slot)?.1, &container.0).await?;
                done()
            }
            Effect::Create { slot, release } => self.create(self.at(slot)?, release).await,
            Effect::Start { slot, container } => {
                self.at(slot)?.1.start_container(&container.0).await?;
                done()
            }
            Effect::Remove { slot, container } => {
                self.at(slot)?.1.remove_container(&container.0).await?;
                done()
            }
            Effect::CreateMigration { slot, release } => self.create_migration(self.at(slot)?.1, release).await,
            Effect::StartMigration { container } => self.start_migration(&container.0).await,
        }
    }

    /// Asks a container to stop. Whoever serves has nothing left to do and is waited for; a worker finishes its job, and its engine keeps to the time that it has, also with nobody waiting.
    async fn stop(&self, (slot, docker): (&Slot, &Arc<Docker>), container: &str) -> Result<String, Failure> {
        let stopped = docker.stop_service(container, Duration::from_millis(self.site.environment.grace_of(slot)));
        match slot.role {
            Duty::Web => stopped.await?,
            Duty::Worker => match tokio::time::timeout(TOLD, stopped).await {
                Ok(stopped) => stopped?,
                Err(_) => return Ok("it finishes what it has in hand".into()),
            },
        }
        Ok(String::new())
    }

    /// A slot, and its engine.
    pub(super) fn at(&self, slot: &SlotName) -> Result<(&Slot, &Arc<Docker>), Failure> {
        let slots = &self.site.environment.slots;
        let slot = slots.iter().find(|known| known.name == *slot).ok_or_else(|| Failure::refused("there is no such slot"))?;
        Ok((slot, self.site.fleet.engine(&slot.engine).ok_or_else(|| Failure::refused("its engine is not at hand"))?))
    }

    /// Brings an image to an engine, and looks whether it is the one: a name with a digest says what was asked for, and not what came.
    async fn prefetch(&self, docker: &Docker, release: &Release) -> Result<String, Failure> {
        let Some(reference) = self.wanting(docker, release).await? else { return Ok("it was there".into()) };
        docker.pull(&reference, None, |_| {}).await?;
        let found = docker.image(&reference).await?.map(|found| found.identity.config);
        if found.as_ref() != Some(&release.image) {
            return Err(Failure::Refused(format!("what was pulled is {}", found.unwrap_or_else(|| "not there".to_owned()))));
        }
        Ok(reference)
    }

    /// What is to be pulled to an engine, if it does not have the image.
    pub(super) async fn wanting(&self, docker: &Docker, release: &Release) -> Result<Option<String>, Failure> {
        if docker.image(&release.image).await?.is_some() {
            return Ok(None);
        }
        if release.image != self.promotion.config().to_string() {
            return Err(Failure::refused("the engine does not have the image that served before, and it is not the one that was promoted"));
        }
        Ok(Some(self.promotion.reference()))
    }

    async fn create(&self, (slot, docker): (&Slot, &Arc<Docker>), release: &Release) -> Result<String, Failure> {
        match instance::make(docker, &self.instance(slot, release)?).await? {
            Made::Ours(id) => Ok(id),
            Made::Foreign(found) => {
                Err(Failure::Refused(format!("the name `{}` is taken by a container that is not of this deployment", found.name)))
            }
        }
    }

    /// What a slot is to hold.
    pub(super) fn instance(&self, slot: &Slot, release: &Release) -> Result<InstanceSpec, Failure> {
        let own = release.image == self.promotion.config().to_string();
        if release.settings != self.site.settings {
            return Err(Failure::refused(
                "the configuration that served before is not at hand: what was made with it can be started, and nothing be made",
            ));
        }
        let workers = self.site.environment.workers.as_ref().filter(|_| slot.role == Duty::Worker);
        let publish = Some(Publish { address: slot.reached_at(), host: slot.port, container: self.site.port });
        Ok(InstanceSpec {
            place: self.site.place.clone(),
            slot: slot.name.0.clone(),
            deploy: self.plan.deploy.0.clone(),
            fence: self.fence.0,
            release: if own { self.promotion.manifest().to_string() } else { String::new() },
            settings: release.settings.clone(),
            image: release.image.clone(),
            env: self.site.variables.clone(),
            command: workers.map(|workers| workers.command.clone()).filter(|command| !command.is_empty()),
            publish: publish.filter(|_| slot.role == Duty::Web && slot.address.is_none()),
            network: self.site.environment.network.clone(),
            address: slot.address,
            init: true,
        })
    }

    async fn create_migration(&self, docker: &Docker, release: &Release) -> Result<String, Failure> {
        Ok(docker.create_service(&self.migration(release)?).await?)
    }

    /// The migration's container. Its name keeps it from being made twice, whoever tries.
    pub(super) fn migration(&self, release: &Release) -> Result<ServiceSpec, Failure> {
        let migration = self.site.environment.migration.as_ref().ok_or_else(|| Failure::refused("the environment has no migration"))?;
        Ok(ServiceSpec {
            name: self.site.place.migration(&self.plan.deploy.0),
            image: release.image.clone(),
            command: Some(migration.command.clone()),
            env: self.site.variables.clone(),
            labels: self.site.place.labels(Role::Migration, &self.plan.deploy.0, self.fence.0),
            network: self.site.environment.network.clone(),
            init: true,
            ..ServiceSpec::default()
        })
    }

    async fn start_migration(&self, id: &str) -> Result<String, Failure> {
        self.engine_of(id).await?.1.start_container(id).await?;
        Ok(String::new())
    }

    /// The engine that has the migration's container.
    pub(super) async fn engine_of(&self, id: &str) -> Result<(&str, &Arc<Docker>), Failure> {
        for (name, docker) in self.site.fleet.engines() {
            if docker.service(id).await?.is_some() {
                return Ok((name, docker));
            }
        }
        Err(Failure::Failed("the migration's container is gone".to_owned()))
    }
}

/// Tells every balancer, each in one line.
async fn balance(site: &Site, turns: &[Turn]) -> Result<String, Failure> {
    for (balancer, backend) in &site.balancers {
        balancer.apply(&changes((balancer, backend), turns).await?).await?;
    }
    Ok(String::new())
}

/// What a balancer is to be told. Who comes in has proven itself to that balancer, as it is now.
pub(super) async fn changes((balancer, backend): (&Balancer, &Name), turns: &[Turn]) -> Result<Vec<Change>, Failure> {
    let seen = balancer.observe(backend).await?;
    let (mut coming, mut leaving, mut shut) = (Vec::new(), Vec::new(), Vec::new());
    for turn in turns {
        let server: Name = turn.slot.0.parse()?;
        let place = Where { backend: backend.clone(), server };
        match turn.to {
            Admin::Drain => leaving.push(place),
            Admin::Maint => shut.push(Change::maint(place)),
            Admin::Ready => coming.push(proof(&seen, &place)?),
        }
    }
    Ok(swap(coming, &leaving).into_iter().chain(shut).collect())
}

fn proof(seen: &Observation, place: &Where) -> Result<Proven, Failure> {
    let server = seen.server(&place.server).ok_or_else(|| Failure::Failed(format!("the balancer has no server `{place}`")))?;
    Proven::seen(server).ok_or_else(|| Failure::Failed(format!("`{place}` has not proven itself to the balancer")))
}
