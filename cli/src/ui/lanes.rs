//! A deployment while it goes on: a lane for each slot where a terminal is, lines with times where none is, a row of JSON for machines.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use splitci_coordinator::deployment::{Gate, Plan, Rotation, Row, Waiting, World};
use splitci_coordinator::hooks::Veto;
use splitci_coordinator::model::chain;
use splitci_coordinator::model::environment::{Environment, Role, SlotName};
use splitci_coordinator::rollout::Watcher;

use super::deployment::{rotation, said, short};
use super::error::Failure;
use super::printer;
use super::terminal::{Paint, Terminal};

/// What a staging deploy may take: the founding figure.
const BUDGET_S: f64 = 30.0;

/// Watches a deployment and shows it.
pub(crate) struct Lanes {
    paint: Paint,
    quiet: bool,
    json: bool,
    began: Instant,
    head: Option<ProgressBar>,
    slots: BTreeMap<SlotName, ProgressBar>,
    kept: Mutex<Kept>,
    #[cfg(debug_assertions)]
    fault: Option<crate::fault::Fault>,
}

#[derive(Default)]
struct Kept {
    stop: Option<String>,
    words: Vec<(SlotName, String)>,
    lost: Option<Failure>,
    waiting: String,
    gate: Gate,
}

impl Lanes {
    /// Begins to show it.
    pub(crate) fn start(environment: &Environment, terminal: Terminal, (quiet, json): (bool, bool)) -> Self {
        let live = terminal.live && !quiet;
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = || all.add(ProgressBar::new_spinner().with_style(style.clone()));
        let head = live.then(&bar);
        let slots = if live { environment.names().into_iter().map(|slot| (slot, bar())).collect() } else { BTreeMap::new() };
        Self {
            paint: terminal.err,
            quiet,
            json,
            began: Instant::now(),
            head,
            slots,
            kept: Mutex::default(),
            #[cfg(debug_assertions)]
            fault: None,
        }
    }

    /// With the fault that the caller's environment asks for.
    #[cfg(debug_assertions)]
    pub(crate) fn with_fault(self, env: &crate::variables::Env) -> Self {
        Self { fault: crate::fault::Fault::of(env), ..self }
    }

    /// How long it has taken, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// What slots that failed had printed last.
    pub(crate) fn last_words(&self) -> Vec<(SlotName, String)> {
        self.kept().words.clone()
    }

    /// Somebody wants it to end in order.
    pub(crate) fn ask_to_stop(&self, by: &str) {
        self.kept().stop = Some(by.to_owned());
        self.line("it goes back in order; once more leaves it as it is");
    }

    /// What the gate says now.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.kept().gate = gate;
    }

    /// Nothing more is shown. An answer that could not be written is an error, whatever came of the deployment.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        self.head.iter().chain(self.slots.values()).for_each(ProgressBar::finish_and_clear);
        self.kept().lost.take().map_or(Ok(()), Err)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        let line = format!("{:>6.1} s  {text}", self.seconds());
        match &self.head {
            Some(head) => head.println(line),
            None => printer::tell(&format!("{line}\n")),
        }
    }

    fn lane(&self, slot: &SlotName, plan: &Plan, world: &World) -> String {
        let target = &plan.course.target.image;
        let running = world.running(slot).next();
        let release = running.map_or_else(|| "-".to_owned(), |container| short(&container.release.image).to_owned());
        let age = match running {
            Some(container) if container.release.image == *target => self.paint.good("new"),
            Some(_) => "old".to_owned(),
            None => "   ".to_owned(),
        };
        if plan.environment.of(Role::Worker).contains(slot) {
            return format!("  {:<12} {age} {release:<12} {}", slot.0, self.paint.faint("takes jobs"));
        }
        let at = world.rotation(slot);
        let state = format!("{:<8}", rotation(at));
        let state = if at == Rotation::Serving { self.paint.good(&state) } else { self.paint.faint(&state) };
        let probe = match world.slot(slot) {
            None => self.paint.bad("its engine does not answer"),
            Some(view) if view.probe.failures > 0 => {
                let why = view.probe.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
                self.paint.bad(&why)
            }
            Some(view) if view.probe.successes > 0 => format!("answers, {} in a row", view.probe.successes),
            Some(_) => String::new(),
        };
        format!("  {:<12} {age} {release:<12} {state} {:>4} on their way  {probe}", slot.0, world.in_flight(slot))
    }

    fn header(&self, plan: &Plan, world: &World, waiting: &str) -> String {
        let (of, floor) = (plan.environment.size(), plan.course.floor);
        let capacity = world.capacity();
        let bar: String = (0..of).map(|slot| if slot < capacity { '■' } else { '·' }).collect();
        let seconds = self.seconds();
        let time = format!("{seconds:.1} s of {BUDGET_S:.0}");
        let time = if seconds > BUDGET_S { self.paint.bad(&time) } else { time };
        format!("{} {bar} {capacity} of {of} serve, {floor} have to  {time}  {waiting}", plan.environment.name)
    }
}

/// What is waited for, in words.
fn awaited(waiting: Option<&Waiting>) -> String {
    match waiting {
        None => String::new(),
        Some(Waiting::Requests(slot)) => format!("waits for requests on their way at {slot}"),
        Some(Waiting::Health(slot)) => format!("waits until {slot} is well"),
        Some(Waiting::Checks(slot)) => format!("waits until the balancer has checked {slot}"),
        Some(Waiting::Jobs(slot)) => format!("waits until {slot} has finished its job"),
        Some(Waiting::Engine(slot)) => format!("waits for the engine of {slot}"),
        Some(Waiting::Balancer) => "waits for a balancer".into(),
        Some(Waiting::Migration) => "waits for the migration".into(),
        Some(Waiting::Soak) => "watches".into(),
        Some(Waiting::Pause) => "tries again".into(),
    }
}

impl Watcher for Lanes {
    fn sees(&self, plan: &Plan, world: &World, waiting: Option<&Waiting>) {
        let waiting = awaited(waiting);
        if let Some(head) = &self.head {
            head.set_message(self.header(plan, world, &waiting));
            self.slots.iter().for_each(|(slot, bar)| bar.set_message(self.lane(slot, plan, world)));
            return;
        }
        // Without a terminal, what is waited for is a line when it changes and lasts.
        if !waiting.is_empty() && self.kept().waiting != waiting {
            self.kept().waiting.clone_from(&waiting);
            self.line(&waiting);
        }
    }

    fn reads(&self, row: &Row) {
        if self.json {
            let line = serde_json::json!(row);
            if let Err(failure) = printer::answer(&format!("{line}\n")) {
                self.kept().lost.get_or_insert(failure);
            }
        }
        if let Some(text) = said(row) {
            self.line(&text);
        }
        #[cfg(debug_assertions)]
        self.fault.iter().for_each(|fault| fault.reads(row));
    }

    fn stops(&self) -> Option<String> {
        self.kept().stop.clone()
    }

    fn gate(&self) -> Gate {
        self.kept().gate
    }

    fn misses(&self, why: &str) {
        self.line(&format!("{} {why}", self.paint.bad("no answer:")));
    }

    fn warns(&self, what: &str) {
        self.line(&format!("{} {what}", self.paint.bad("warning:")));
    }

    fn vetoed(&self, veto: &Veto) {
        self.line(&chain(veto));
        veto.last.lines().for_each(|line| self.line(&format!("  | {line}")));
    }

    fn last_words(&self, slot: &SlotName, lines: &str) {
        self.kept().words.push((slot.clone(), lines.to_owned()));
        self.line(&format!("{slot} printed last:"));
        lines.lines().for_each(|line| self.line(&format!("  | {line}")));
    }
}
