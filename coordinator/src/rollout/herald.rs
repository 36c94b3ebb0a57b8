//! A deployment told to the environment's hooks: what they get, when they are asked, when they are told.
//!
//! They are asked on the way forward alone. On the way back, and by a rollback, nothing waits for them: the way to what is known to be good stays open.

use super::{Actor, RolloutError, Site, TICK, Watcher};
use crate::deployment::{Decision, Effect, Journal, Leg, Outcome, Plan, Step};
use crate::hooks::{Message, Place, Point, Report, Veto};
use crate::model::chain;
use crate::model::environment::{DeployId, Role, Slot, SlotName};
use crate::promotion::{Mode, Promotion};

/// Who speaks to the hooks of one deployment.
pub(super) struct Herald<'a> {
    site: &'a Site,
    watcher: &'a dyn Watcher,
    message: Message,
    goes_back: bool,
}

/// A no, for those who act upon it.
pub(super) enum No {
    /// A hook's.
    Veto(Veto),
    /// Somebody did not wait for its answer.
    Stopped(String),
}

impl<'a> Herald<'a> {
    /// For a deployment with this plan.
    pub(super) fn of(
        site: &'a Site,
        promotion: &Promotion,
        (actor, watcher): (&Actor, &'a dyn Watcher),
        (plan, journal): (&Plan, &Journal),
    ) -> Self {
        let course = &plan.course;
        let leg = course.leg.as_ref();
        let place = |slot: &Slot| Place {
            slot: slot.name.clone(),
            address: (slot.role == Role::Web).then(|| slot.reached_at()),
            port: (slot.role == Role::Web).then_some(slot.port),
            half: leg.and_then(|leg| half(leg, &slot.name)),
        };
        let message = Message {
            version: 1,
            point: Point::Started,
            text: String::new(),
            app: site.environment.app.clone(),
            environment: site.environment.name.clone(),
            deploy: plan.deploy.clone(),
            by: actor.name.clone(),
            message: actor.message.clone(),
            image: promotion.reference(),
            release: promotion.manifest().to_string(),
            previous: course.current.as_ref().and_then(|release| journal.manifest(release)).map(str::to_owned),
            slots: site.environment.slots.iter().map(place).collect(),
            report: None,
        };
        Self { site, watcher, message, goes_back: goes_back(promotion, plan, journal) }
    }

    /// Asks, unless it is about the way back. Who wants the deployment to end does not wait for an answer.
    pub(super) async fn ask(&self, point: Point) -> Result<(), No> {
        if self.goes_back {
            return Ok(());
        }
        let message = self.at(point, None);
        let mut asking = std::pin::pin!(self.site.hooks.ask(point, &message));
        loop {
            tokio::select! {
                answer = &mut asking => return answer.map_err(|veto| {
                    self.watcher.vetoed(&veto);
                    No::Veto(veto)
                }),
                () = tokio::time::sleep(TICK) => if let Some(by) = self.watcher.stops() {
                    return Err(No::Stopped(by));
                },
            }
        }
    }

    /// Asks before the halves are swapped. Given back is who wants it to end.
    pub(super) async fn ask_to_switch(&self) -> Option<String> {
        match self.ask(Point::BeforeSwitch).await {
            Ok(()) => None,
            // What it printed stays out of the journal.
            Err(No::Veto(veto)) => Some(format!("the hook `{}` ({})", veto.point, veto.why)),
            Err(No::Stopped(by)) => Some(by),
        }
    }

    /// Tells that it begins.
    pub(super) async fn started(&self) {
        self.tell(&self.at(Point::Started, None)).await;
    }

    /// Tells how it ended.
    pub(super) async fn ended(&self, ended: &Result<Outcome, RolloutError>) {
        self.tell(&self.at(Point::Ended, Some(report(ended)))).await;
    }

    async fn tell(&self, message: &Message) {
        if let Err(untold) = self.site.hooks.tell(message).await {
            self.watcher.warns(&chain(&untold));
        }
    }

    fn at(&self, point: Point, report: Option<Report>) -> Message {
        let Message { app, environment, image, by, .. } = &self.message;
        let what = match (point, &report) {
            (Point::BeforeDeploy, _) => "is about to be deployed".to_owned(),
            (Point::BeforeSwitch, _) => "is about to be let in".to_owned(),
            (_, None) => "is being deployed".to_owned(),
            (_, Some(report)) => report.why.clone(),
        };
        let text = format!("{app} to {environment}: {what} ({image}, by {by})");
        Message { point, text, report, ..self.message.clone() }
    }
}

/// Which half a slot is in, if it is replaced.
fn half(leg: &Leg, slot: &SlotName) -> Option<u8> {
    [(1, &leg.first), (2, &leg.second)].into_iter().find(|(_, half)| half.contains(slot)).map(|(number, _)| number)
}

/// Whether this is a rollback, or goes on with one: what is older than the stable release gets there in no other way.
fn goes_back(promotion: &Promotion, plan: &Plan, journal: &Journal) -> bool {
    let begun = journal.course(&plan.deploy).is_some();
    let stable = journal.stable_course().and_then(|course| course.proven);
    match (begun, plan.course.proven, stable) {
        (false, ..) => promotion.mode() == Mode::Rollback,
        (true, Some(proven), Some(stable)) => proven < stable,
        (true, ..) => false,
    }
}

/// Whether effects let the new release in, and it is on its way forward.
pub(super) fn switches(effects: &[Effect], journal: &Journal, deploy: &DeployId) -> bool {
    let back = |step: &Step| matches!(step, Step::Decision(Decision::TurnedBack { .. }));
    effects.iter().any(|effect| matches!(effect, Effect::Swap(_)))
        && !journal.rows().iter().any(|row| row.deploy == *deploy && back(&row.step))
}

fn report(ended: &Result<Outcome, RolloutError>) -> Report {
    let (outcome, why) = match ended {
        Ok(Outcome::Done) => ("done", "done".to_owned()),
        Ok(Outcome::Degraded(slots)) => ("degraded", format!("done, but for {} slots that failed and are out", slots.len())),
        Ok(Outcome::RolledBack { cause, .. }) => ("rolled_back", format!("went back: {cause}")),
        Ok(Outcome::MigrationFailed { status, .. }) => ("migration_failed", format!("went back: the migration ended with status {status}")),
        Ok(Outcome::Held(hold)) => ("held", format!("held for a person: {hold}")),
        Ok(Outcome::Superseded) => ("superseded", "another process goes on with it".to_owned()),
        Ok(Outcome::LockLost) => ("lock_lost", "left: the lock was taken away".to_owned()),
        Err(error) => ("left", format!("left unfinished: {}", chain(error))),
    };
    Report { outcome, why }
}
