//! Carries a deployment of a promotion out: observes, asks the brain what is next, writes down what is about to be done, does it, and writes down what came of it.
//!
//! | there | is |
//! |---|---|
//! | [`site`] | an environment with its engines and balancers at hand |
//! | `entry` | how it comes by the lock |
//! | `observe` | all of it looked at once: the brain's world |
//! | `probe` | our own questions to slots, asked all the time |
//! | `inside` | the same from inside the environment's network, where slots publish no port |
//! | `network` | whether that network is as it has to be |
//! | `ledger` | the journal, written to the environment's holders and to a file before anything is done |
//! | `act` | one effect carried out |
//! | `ansible` | or many, by a playbook of the environment's owner |
//! | `herald` | the environment's hooks, asked and told |
//! | `error` | why nothing was carried out |
//!
//! The order is the promise: intent in the journal, lock and fence looked at, effect, outcome in the journal. A process that is killed anywhere leaves a journal
//! that says what it was about to do, and a world that says how far it got; the next one observes and goes on. Nothing is decided here: that is `deployment`'s,
//! and what may be deployed at all is the gate's.

mod act;
mod ansible;
mod entry;
mod error;
mod herald;
mod inside;
mod ledger;
mod network;
mod observe;
mod probe;
pub mod site;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::deployment::{
    Decision, Effect, Evidence, Gate, Journal, Machine, Next, Outcome, Phase, Plan, Request, Row, Step, Waiting, World,
};
use crate::fleet::{Held, Lock, lock};
use crate::fleet::{instance, releases};
use crate::hooks::{Point, Veto};
use crate::model::chain;
use crate::model::environment::{DeployId, Release, SlotName};
use crate::model::freeze::frozen;
use crate::promotion::{Mode, Moment, Promotion};
use act::Hands;
pub use ansible::Ansible;
pub use error::RolloutError;
use herald::{Herald, No};
use ledger::Ledger;
pub use network::NetworkFault;
use probe::Probes;
pub use site::Site;

/// Longest time between two looks at the world.
const TICK: Duration = Duration::from_millis(200);
/// Shortest.
const MOMENT: Duration = Duration::from_millis(10);
/// So many lines of a slot that failed are handed on.
const LAST_LINES: usize = 10;
/// For so long engines are waited for that let go of old images.
const PRUNED_WITHIN: Duration = Duration::from_secs(10);
/// For so long they are waited for.
const LISTENS: Duration = Duration::from_secs(3);

/// What is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A new deployment.
    Begin {
        /// Its name, which no other has had: a ULID.
        deploy: DeployId,
        /// How.
        options: Options,
    },
    /// The one that was left unfinished. It has to be of the same image: its evidence was looked at again.
    Resume,
}

/// How a deployment is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// The environment's migration is left out.
    pub skip_migration: bool,
    /// It may come to nothing serving for a while.
    pub allow_downtime: bool,
    /// Fewer slots may serve than have to, because fewer do already and this is the repair.
    pub fix_forward: bool,
    /// For so long somebody else's lock is waited for.
    pub wait: Duration,
}

/// Who asks, for locks and journals.
#[derive(Debug, Clone)]
pub struct Actor {
    /// For people: `anna@laptop`.
    pub name: String,
    /// Why, for people.
    pub message: String,
}

/// Is told what happens.
pub trait Watcher: Sync {
    /// The world was looked at, and this is waited for, if anything is.
    fn sees(&self, plan: &Plan, world: &World, waiting: Option<&Waiting>);
    /// A row was written.
    fn reads(&self, row: &Row);
    /// What the gate says now of the target and of what would be gone back to: asked again for as long as a deployment goes on (A7, R8).
    fn gate(&self) -> Gate {
        Gate::default()
    }
    /// An engine or a balancer does not answer, or does not take a row: why, in a sentence. Told once for as long as it is the same.
    fn misses(&self, _why: &str) {}
    /// Something was not done that nothing depends on: what, in a sentence.
    fn warns(&self, _what: &str) {}
    /// A hook says no.
    fn vetoed(&self, _veto: &Veto) {}
    /// A slot failed: the last lines that its container printed. They are in no journal, since nobody knows what is in them.
    fn last_words(&self, _slot: &SlotName, _lines: &str) {}
    /// Asked between two steps: whether somebody wants the deployment to end, and who.
    fn stops(&self) -> Option<String>;
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What would happen, without an effect.
pub async fn rehearse(site: &Site, promotion: &Promotion, deploy: &DeployId, options: Options) -> Result<(Plan, World), RolloutError> {
    let target = target(site, promotion)?;
    let journal = ledger::read(site).await?;
    if let Some(unfinished) = journal.unfinished() {
        return Err(RolloutError::Unfinished(unfinished.clone()));
    }
    let (world, _) = observe::world(site, (deploy, &target), &Probes::default()).await;
    let plan = planned(site, &world, &request(site, deploy, &journal, promotion, options)?).await?;
    Ok((plan, world))
}

/// Carries an order out. Dropped, it leaves everything as a crash would.
pub async fn carry_out(
    site: &Site,
    promotion: &Promotion,
    order: Order,
    actor: &Actor,
    watcher: &dyn Watcher,
) -> Result<Outcome, RolloutError> {
    let target = target(site, promotion)?;
    let deploy = match &order {
        Order::Begin { deploy, .. } => deploy.clone(),
        Order::Resume => ledger::read(site).await?.unfinished().cloned().ok_or(RolloutError::NothingToResume)?,
    };
    let within = if let Order::Begin { options, .. } = &order { options.wait } else { Duration::ZERO };
    let (lock, fence) = entry::enter(site, &deploy, actor, (within, watcher)).await?;
    let mut herald = None;
    let carried = match Ledger::open(site, deploy, fence, &actor.name).await {
        Ok(ledger) => {
            let (probes, missed, refused) = (Probes::default(), Vec::new(), Vec::new());
            let rollout = Rollout { site, promotion, target, lock: &lock, watcher, ledger, probes, missed, refused };
            rollout.run(order, actor, &mut herald).await
        }
        Err(error) => Err(error.into()),
    };
    let ended = match carried {
        // Not ours any more: there is nothing to give back.
        Ok(outcome @ (Outcome::Superseded | Outcome::LockLost)) => Ok(outcome),
        carried => {
            let given = lock.give_back().await;
            carried.and_then(|outcome| given.map(|()| outcome).map_err(RolloutError::from))
        }
    };
    if let Some(herald) = herald {
        herald.ended(&ended).await;
    }
    ended
}

/// What an engine is to run, and with which configuration of its own.
fn target(site: &Site, promotion: &Promotion) -> Result<Release, RolloutError> {
    let (approved, environment) = (promotion.environment(), &site.environment.name);
    if approved != environment {
        let (approved, environment) = (approved.to_owned(), environment.clone());
        return Err(RolloutError::OtherEnvironment { promoted: promotion.manifest().to_string(), approved, environment });
    }
    Ok(Release { image: promotion.config().to_string(), settings: site.settings.clone() })
}

fn request(site: &Site, deploy: &DeployId, journal: &Journal, promotion: &Promotion, options: Options) -> Result<Request, RolloutError> {
    let back = promotion.mode() == Mode::Rollback;
    Ok(Request {
        deploy: deploy.clone(),
        target: target(site, promotion)?,
        stable: journal.stable().cloned(),
        rollback: options.skip_migration || back,
        allow_downtime: options.allow_downtime,
        fix_forward: options.fix_forward,
        proven: promotion.finished().map(Moment::ms),
        manifest: promotion.manifest().to_string(),
        newest: journal.stable_course().and_then(|course| course.proven).filter(|_| !back),
        frozen: frozen(&site.environment.freeze, now_ms()).filter(|_| !back),
    })
}

/// A plan that can be carried out: where something is to be made, the environment's network is as it has to be.
async fn planned(site: &Site, world: &World, request: &Request) -> Result<Plan, RolloutError> {
    let plan = Plan::of(&site.environment, world, request)?;
    if plan.course.leg.is_some() {
        network::check(site).await?;
    }
    Ok(plan)
}

/// A deployment under way in this process.
struct Rollout<'a, 'l> {
    site: &'a Site,
    promotion: &'a Promotion,
    target: Release,
    lock: &'l Lock,
    watcher: &'a dyn Watcher,
    ledger: Ledger<'a>,
    probes: Probes,
    /// What did not answer at the last look.
    missed: Vec<String>,
    /// Why a copy of the journal was not written, each told once.
    refused: Vec<String>,
}

impl<'a> Rollout<'a, '_> {
    /// Leaves in `herald` who is to tell how it ended, once somebody was told that it began.
    async fn run(mut self, order: Order, actor: &Actor, herald: &mut Option<Herald<'a>>) -> Result<Outcome, RolloutError> {
        let plan = match order {
            Order::Begin { deploy, options } => self.begin_if_allowed(&deploy, options, actor).await?,
            Order::Resume => self.resume().await?,
        };
        let speaks = &*herald.insert(self.herald(&plan, actor));
        let (ended, ()) = tokio::join!(self.go_on(&plan, speaks), speaks.started());
        if matches!(ended, Ok(Outcome::Done)) {
            self.prune().await;
        }
        ended
    }

    /// Makes room on the engines, while the lock is ours: what the next deployment brings there is not taken away from it. What is not done now is left to that one.
    async fn prune(&self) {
        let (keep, repository) = (self.ledger.journal().images_to_keep(), self.promotion.repository().to_string());
        let pruned = self.site.fleet.engines().map(async |(name, docker)| {
            match tokio::time::timeout(PRUNED_WITHIN, releases::prune(docker, &repository, &keep)).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("old images stay on the engine `{name}`: {}", chain(&error))),
                Err(_) => Some(format!("old images stay on the engine `{name}`: it takes its time")),
            }
        });
        join_all(pruned).await.into_iter().flatten().for_each(|why| self.watcher.warns(&why));
    }

    async fn go_on(&mut self, plan: &Plan, herald: &Herald<'_>) -> Result<Outcome, RolloutError> {
        let mut asking = JoinSet::new();
        probe::ask_all(self.site, &self.probes, (&plan.deploy, self.ledger.fence()), &mut asking);
        let machine = Machine::new(plan.clone(), self.ledger.fence());
        let (mut stopped, mut asked) = (false, false);
        loop {
            probe::expect_asking(&mut asking);
            if let Some(by) = self.watcher.stops().filter(|_| !stopped) {
                stopped = true;
                self.decide(Decision::AbortAsked { by }).await?;
            }
            let (mut world, misses) = observe::world(self.site, (&plan.deploy, &self.target), &self.probes).await;
            self.tell(misses);
            world.gate = self.watcher.gate();
            match machine.next(self.ledger.journal(), &world, now_ms()) {
                // However it is answered, the world is another one by then, and is looked at again.
                Next::Act(effects) if !asked && herald::switches(&effects, self.ledger.journal(), &plan.deploy) => {
                    asked = true;
                    if let Some(by) = herald.ask_to_switch().await {
                        stopped = true;
                        self.decide(Decision::AbortAsked { by }).await?;
                    }
                }
                Next::Act(effects) => {
                    self.watcher.sees(plan, &world, None);
                    self.carry(plan, effects).await?;
                }
                Next::Record(decision) => self.decide(decision).await?,
                Next::Wait { until_ms, why } => {
                    self.watcher.sees(plan, &world, Some(&why));
                    let left = Duration::from_millis(until_ms.saturating_sub(now_ms())).max(MOMENT);
                    tokio::time::sleep(left.min(TICK)).await;
                }
                Next::Done(outcome) => return Ok(outcome),
            }
        }
    }

    fn herald(&self, plan: &Plan, actor: &Actor) -> Herald<'a> {
        Herald::of(self.site, self.promotion, (actor, self.watcher), (plan, self.ledger.journal()))
    }

    /// A plan that no hook has anything against. It is made again after the answer, for the world may be another one by then.
    async fn begin_if_allowed(&mut self, deploy: &DeployId, options: Options, actor: &Actor) -> Result<Plan, RolloutError> {
        let plan = self.begin(deploy, options).await?;
        if !self.site.hooks.has_to_be_asked(Point::BeforeDeploy) {
            return Ok(plan);
        }
        let answer = self.herald(&plan, actor).ask(Point::BeforeDeploy).await;
        answer.map_err(|no| match no {
            No::Veto(veto) => RolloutError::Vetoed(veto),
            No::Stopped(by) => RolloutError::Stopped(by),
        })?;
        self.begin(deploy, options).await
    }

    async fn begin(&mut self, deploy: &DeployId, options: Options) -> Result<Plan, RolloutError> {
        let journal = self.ledger.journal();
        if let Some(unfinished) = journal.unfinished() {
            return Err(RolloutError::Unfinished(unfinished.clone()));
        }
        let request = request(self.site, deploy, journal, self.promotion, options)?;
        let (mut world, misses) = observe::world(self.site, (deploy, &self.target), &self.probes).await;
        // It may have been waited for a long time since the gate was asked.
        world.gate = self.watcher.gate();
        for why in &misses {
            self.watcher.misses(why);
        }
        planned(self.site, &world, &request).await
    }

    async fn resume(&mut self) -> Result<Plan, RolloutError> {
        let deploy = self.ledger.deploy().clone();
        let plan = Plan::resumed(&self.site.environment, &deploy, self.ledger.journal())?;
        let begun = &plan.course.target;
        if *begun != self.target {
            return Err(RolloutError::OtherImage { begun: begun.image.clone(), promoted: self.target.image.clone() });
        }
        self.decide(Decision::Resumed).await?;
        Ok(plan)
    }

    /// Carries out effects that do not depend on each other. If the lock is not ours any more none is, and the next look at the world says so.
    async fn carry(&mut self, plan: &Plan, effects: Vec<Effect>) -> Result<(), RolloutError> {
        let intents = effects.iter().map(|effect| (Step::Effect(effect.clone()), Evidence::Nothing)).collect();
        self.write(intents, Phase::Intent).await?;
        if !self.lock.holds().await? {
            return Ok(());
        }
        let hands = Hands { site: self.site, promotion: self.promotion, plan, fence: self.ledger.fence() };
        let done = hands.perform(&effects).await;
        self.write(effects.into_iter().map(Step::Effect).zip(done).collect(), Phase::Outcome).await
    }

    async fn decide(&mut self, decision: Decision) -> Result<(), RolloutError> {
        let failed = if let Decision::Quarantined { slot, .. } = &decision { Some(slot.clone()) } else { None };
        self.write(vec![(Step::Decision(decision), Evidence::Nothing)], Phase::Intent).await?;
        if let Some(slot) = failed {
            self.last_words(&slot).await;
        }
        Ok(())
    }

    /// Hands on what a slot that failed has printed. It is for people, and nothing waits for it.
    async fn last_words(&self, slot: &SlotName) {
        let Some(configured) = self.site.environment.slots.iter().find(|configured| configured.name == *slot) else { return };
        let Some(docker) = self.site.fleet.engine(&configured.engine) else { return };
        let deploy = &self.ledger.deploy().0;
        let told = async {
            let all = instance::all(docker, &self.site.place).await?;
            match all.into_iter().find(|instance| instance.slot == slot.0 && instance.deploy == *deploy) {
                Some(instance) => docker.log_tail(&instance.id, LAST_LINES).await.map(Some),
                None => Ok(None),
            }
        };
        match tokio::time::timeout(LISTENS, told).await {
            Ok(Ok(Some(lines))) => self.watcher.last_words(slot, &lines),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.watcher.misses(&format!("what slot `{slot}` printed cannot be read: {}", chain(&error))),
            Err(_) => self.watcher.misses(&format!("what slot `{slot}` printed cannot be read in time")),
        }
    }

    /// Tells what does not answer now and did at the last look.
    fn tell(&mut self, misses: Vec<String>) {
        for why in misses.iter().filter(|why| !self.missed.contains(why)) {
            self.watcher.misses(why);
        }
        self.missed = misses;
    }

    async fn write(&mut self, steps: Vec<(Step, Evidence)>, phase: Phase) -> Result<(), RolloutError> {
        let before = self.ledger.journal().rows().len();
        for why in self.ledger.write(steps, phase).await? {
            if !self.refused.contains(&why) {
                self.watcher.misses(&why);
                self.refused.push(why);
            }
        }
        self.ledger.journal().rows().iter().skip(before).for_each(|row| self.watcher.reads(row));
        Ok(())
    }
}

/// The environment's journal, from its engines.
pub async fn journal(site: &Site) -> Result<Journal, RolloutError> {
    Ok(ledger::read(site).await?)
}

/// Who has the environment's lock, part by part, an engine each.
pub async fn locked_by(site: &Site) -> Result<Vec<Held>, RolloutError> {
    Ok(lock::held_on(&site.fleet, &site.place).await?)
}

/// Takes these parts of the lock away from whoever holds them: exactly the ones that a person saw.
pub async fn break_lock(site: &Site, parts: &[Held]) -> Result<(), RolloutError> {
    Ok(lock::break_parts(&site.fleet, parts).await?)
}

/// The environment as it is now, and why what does not answer does not; `release` is what is looked for at its engines.
pub async fn look(site: &Site, (deploy, release): (&DeployId, &Release)) -> (World, Vec<String>) {
    observe::world(site, (deploy, release), &Probes::default()).await
}

/// Every copy of the journal that there is, by its engine: its text, or why it cannot be read.
pub async fn copies(site: &Site) -> Result<Vec<(String, Result<String, String>)>, RolloutError> {
    Ok(ledger::copies(site).await?)
}
