//! A process that carries out a deploy in a simulated fleet, and may die before or after any row of the journal and any effect.

use splitci_coordinator::deployment::{
    Admin, Course, Decision, Entry, Evidence, Journal, Machine, Next, Outcome, Phase, Plan, Refusal, Request, Step,
};
use splitci_coordinator::model::Fence;
use splitci_coordinator::model::environment::{DeployId, Environment, Release, SlotName};

use super::fleet::Fleet;
use super::judge::Judge;
use super::prober::Prober;
use crate::schedules::dice::Dice;

/// How long the world is left alone before it is looked at again.
const TICK_MS: u64 = 100;
/// More than any deploy needs.
const MOST_STEPS: u32 = 50_000;

/// When processes die.
#[derive(Debug, Clone)]
pub enum Deaths {
    /// Never.
    None,
    /// Once, at this point of all.
    At(u32),
    /// At each point, with so many chances in a thousand, but no more than so often.
    Chance(Dice, u32, u32),
}

/// An environment with its journal, over several deploys.
#[derive(Debug, Clone)]
pub struct Theatre {
    /// What is known of it.
    pub environment: Environment,
    /// What is true of it.
    pub fleet: Fleet,
    /// Its journal.
    pub journal: Journal,
    /// Who watches.
    pub judge: Judge,
    /// When processes die.
    pub deaths: Deaths,
    /// Answers that are lost.
    pub dice: Dice,
    /// Points that were passed.
    pub points: u32,
    /// Processes that died.
    pub died: u32,
    /// Deploys may come to nothing serving for a while.
    pub allow_downtime: bool,
    deploys: u32,
}

/// The process is dead.
struct Dead;

impl Theatre {
    /// One in which nothing was deployed yet.
    pub fn new(environment: Environment) -> Self {
        let fleet = Fleet::new(&environment);
        Self {
            environment,
            fleet,
            journal: Journal::default(),
            judge: Judge::default(),
            deaths: Deaths::None,
            dice: Dice::new(0),
            points: 0,
            died: 0,
            allow_downtime: false,
            deploys: 0,
        }
    }

    /// A deploy from its plan to its end, through as many processes as it takes.
    pub fn deploy(&mut self, target: &Release) -> Result<Outcome, Refusal> {
        self.deploys += 1;
        let deploy = DeployId(format!("D{}", self.deploys));
        let request = Request {
            deploy: deploy.clone(),
            target: target.clone(),
            stable: self.journal.stable().cloned(),
            rollback: false,
            allow_downtime: self.allow_downtime,
            fix_forward: false,
            proven: None,
            manifest: String::new(),
            newest: None,
            frozen: None,
        };
        let plan = Plan::of(&self.environment, &self.fleet.observe(&deploy, &Prober::new(1)), &request)?;
        self.judge.floor = plan.course.floor;
        self.judge.mixes = self.releases() > 1 || self.environment.strategy.mixes();
        self.judge.least = u32::MAX;
        self.fleet.lock = Some(deploy.clone());
        loop {
            self.fleet.fence += 1;
            // Whoever comes after a death knows what is in the journal, as it can be read again.
            let read = Journal::parse(&self.journal.text()).expect("I18: what was written can be read");
            assert_eq!(read, self.journal, "I18");
            let plan = Plan::resumed(&self.environment, &deploy, &read).unwrap_or_else(|_| plan.clone());
            if let Ok(outcome) = self.process(plan) {
                self.fleet.lock = None;
                return Ok(outcome);
            }
            self.died += 1;
            self.fleet.pass(TICK_MS, &mut Prober::new(u64::MAX / 2), &mut self.judge);
        }
    }

    /// Releases that serve.
    fn releases(&self) -> usize {
        let ready = |name: &&SlotName| {
            self.fleet.desks.iter().any(|desk| desk.posts.get(*name).is_some_and(|post| post.seen.admin == Admin::Ready))
        };
        let names = self.fleet.names.iter().filter(ready);
        let all: std::collections::BTreeSet<_> = names.filter_map(|name| self.fleet.runs_at(name)).map(|unit| &unit.seen.release).collect();
        all.len()
    }

    fn process(&mut self, plan: Plan) -> Result<Outcome, Dead> {
        let (deploy, fence) = (plan.deploy.clone(), Fence(self.fleet.fence));
        let mut prober = Prober::new(self.environment.health.interval_ms);
        let machine = Machine::new(plan, fence);
        if self.course(&deploy).is_some() {
            self.write(&deploy, Step::Decision(Decision::Resumed), Phase::Outcome, Evidence::Nothing)?;
        }
        for _ in 0..MOST_STEPS {
            if self.fleet.abort && self.course(&deploy).is_some() {
                self.write(&deploy, Step::Decision(Decision::AbortAsked { by: "a person".to_owned() }), Phase::Outcome, Evidence::Nothing)?;
                self.fleet.abort = false;
            }
            let world = self.fleet.observe(&deploy, &prober);
            let next = machine.next(&self.journal, &world, self.fleet.now);
            assert_eq!(next, machine.next(&self.journal, &world, self.fleet.now), "asked twice, it says the same");
            match next {
                Next::Done(outcome) => return Ok(outcome),
                Next::Record(decision) => self.write(&deploy, Step::Decision(decision), Phase::Outcome, Evidence::Nothing)?,
                Next::Wait { until_ms, why } => {
                    let now = self.fleet.now;
                    self.judge.expect(until_ms > now, &format!("at {now}: waits for {why:?} until {until_ms}"));
                    self.fleet.pass(TICK_MS.min(until_ms.saturating_sub(now).max(1)), &mut prober, &mut self.judge);
                }
                Next::Act(effects) => {
                    self.judge.expect(!effects.is_empty(), "nothing is to be done");
                    // Whoever acts on what it saw a while ago is not the brain's business: all of one answer are done at once.
                    for effect in effects {
                        self.write(&deploy, Step::Effect(effect.clone()), Phase::Intent, Evidence::Nothing)?;
                        self.point()?;
                        let lost = self.dice.chance(self.fleet.lost);
                        let before = lost && self.dice.chance(500);
                        let mut evidence = Evidence::Failed("the answer was lost".to_owned());
                        if !before {
                            let really = self.fleet.carry_out(&effect, (&deploy, fence), &mut self.judge);
                            if !lost {
                                evidence = really;
                            }
                        }
                        self.point()?;
                        self.write(&deploy, Step::Effect(effect), Phase::Outcome, evidence)?;
                    }
                    self.fleet.pass(1, &mut prober, &mut self.judge);
                }
            }
        }
        panic!("it does not end: {}", self.story());
    }

    fn course(&self, deploy: &DeployId) -> Option<&Course> {
        self.journal.course(deploy)
    }

    /// A row. The process may die before it and after it.
    fn write(&mut self, deploy: &DeployId, step: Step, phase: Phase, evidence: Evidence) -> Result<(), Dead> {
        self.point()?;
        let entry = Entry { deploy: deploy.clone(), fence: Fence(self.fleet.fence), actor: "simulated".to_owned(), step, phase, evidence };
        self.journal.append(self.fleet.now, entry).expect("it follows");
        self.point()
    }

    fn point(&mut self) -> Result<(), Dead> {
        self.points += 1;
        let dies = match &mut self.deaths {
            Deaths::At(point) => *point == self.points,
            Deaths::None | Deaths::Chance(_, _, 0) => false,
            Deaths::Chance(dice, in_thousand, left) => {
                let dies = dice.chance(*in_thousand);
                *left -= u32::from(dies);
                dies
            }
        };
        if dies { Err(Dead) } else { Ok(()) }
    }

    /// The end of the journal, for people.
    pub fn story(&self) -> String {
        let rows = self.journal.rows();
        let last = rows.iter().skip(rows.len().saturating_sub(80));
        let told = |row: &splitci_coordinator::deployment::Row| {
            format!("{} {} {:?} {:?} {:?}", row.time, row.deploy, row.phase, row.step, row.evidence)
        };
        let short = |text: &str| text.replace(&"0".repeat(63), "").replace("SlotName", "").replace("ContainerId", "");
        short(&last.map(told).collect::<Vec<_>>().join("\n"))
    }

    /// Everything that is left at the end, without names, times, fences, and what a way that failed left for people to look at.
    pub fn end(&self) -> String {
        let mut out = String::new();
        for name in &self.fleet.names {
            let place = self.fleet.places.get(name).expect("a slot");
            let mut units: Vec<_> = place
                .units
                .iter()
                .filter(|unit| unit.seen.aside.as_ref() != Some(&unit.seen.deploy))
                .map(|unit| {
                    format!("{} of {} {:?} aside {:?}", unit.seen.release.image, unit.seen.deploy, unit.seen.state, unit.seen.aside)
                })
                .collect();
            units.sort();
            let admin: Vec<_> = self.fleet.desks.iter().filter_map(|desk| desk.posts.get(name)).map(|post| post.seen.admin).collect();
            out.push_str(&[name.to_string(), format!(": {units:?} {admin:?} {:?}\n", place.images)].concat());
        }
        out + &format!("migrations {}", self.fleet.runs)
    }
}
