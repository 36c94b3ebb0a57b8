//! The telling, on stderr: a live display on a terminal, calm lines elsewhere. Listens to a run; draws from a thread of its own, ten times a second
//! at most, so that a slow terminal never holds up a run.
//!
//! Calm: what stays, and a line of counts when a quarter more is done or ten seconds have passed with something new. After a minute without
//! anything new it says so all the same: logs that fall silent look dead.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use splitci_coordinator::model::{Listener, Telling};

use super::board::Stage;
use super::ci::Ci;
use super::printer;
use super::rows::{Size, counts, rows};
use super::teller::Teller;
use super::terminal::{Paint, Terminal};

/// Tells people of a run.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    began: Instant,
    live: bool,
    paint: Paint,
}

struct State {
    teller: Teller,
    lines: String,
    /// When somebody last looked after this state; a stopped process does not.
    beat: Instant,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not silence the telling of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Progress {
    /// Starts telling. Quiet tells failures alone.
    pub(crate) fn start(terminal: Terminal, quiet: bool, ci: Option<Ci>) -> std::io::Result<Self> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                teller: Teller::new(terminal.err, quiet, ci.map(|ci| (ci, wall))),
                lines: String::new(),
                beat: Instant::now(),
                over: false,
            }),
            wake: Condvar::new(),
            began: Instant::now(),
            live: terminal.live && !quiet,
            paint: terminal.err,
        });
        let drawer = Drawer { shared: Arc::clone(&shared), quiet };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || drawer.draw())?;
        Ok(Self { shared, drawer: Mutex::new(Some(thread)) })
    }

    /// Adds a line of our own.
    pub(crate) fn tell(&self, text: &str) {
        self.shared.state().lines.push_str(&[&self.shared.paint.odd("  note"), " ", text, "\n"].concat());
        self.shared.wake.notify_one();
    }

    /// For how long nobody has drawn: much longer than a tick means that the process was stopped.
    pub(crate) fn asleep(&self) -> Duration {
        self.shared.state().beat.elapsed()
    }

    /// Prints what is left, takes the live display away, and ends.
    pub(crate) fn finish(&self) {
        self.shared.state().over = true;
        self.shared.wake.notify_one();
        let thread = self.drawer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A drawer that panicked has been told of by the hook.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Listener for Progress {
    fn hear(&self, telling: &Telling) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let said = state.teller.hear(telling, now);
        state.lines.push_str(&said.always);
        if !self.shared.live {
            state.lines.push_str(&said.calm);
        }
        if !state.lines.is_empty() {
            self.shared.wake.notify_one();
        }
    }
}

struct Drawer {
    shared: Arc<Shared>,
    quiet: bool,
}

impl Drawer {
    fn draw(&self) {
        let tick = Duration::from_millis(if self.shared.live { 100 } else { 500 });
        let mut bars = Bars::new(self.shared.live);
        let mut calm = Calm::default();
        loop {
            let state = self.shared.state();
            let quiet_state = |state: &mut State| state.lines.is_empty() && !state.over;
            let (mut state, _) = self.shared.wake.wait_timeout_while(state, tick, quiet_state).unwrap_or_else(PoisonError::into_inner);
            state.beat = Instant::now();
            let (now, over) = (self.shared.now(), state.over);
            let mut lines = std::mem::take(&mut state.lines);
            let mut shown = Vec::new();
            if self.shared.live && !over {
                shown = rows(&state.teller.board, now, terminal_size(), self.shared.paint);
            } else if !self.shared.live && !self.quiet {
                lines.push_str(&calm.line(&state, now, self.shared.paint));
            }
            drop(state);
            bars.show(&lines, &shown);
            if over {
                return;
            }
        }
    }
}

fn terminal_size() -> Size {
    let (height, width) = console::Term::stderr().size();
    Size { width: width.into(), height: height.into() }
}

/// When a log gets a line of counts.
#[derive(Default)]
struct Calm {
    at: u64,
    quarter: usize,
    tests: u64,
}

impl Calm {
    fn line(&mut self, state: &State, now: u64, paint: Paint) -> String {
        let board = &state.teller.board;
        let (done, all) = board.units();
        let quarter = (done * 4).checked_div(all).unwrap_or(0);
        let waited = now.saturating_sub(self.at);
        let fresh = quarter > self.quarter && done < all && waited >= 2_000;
        let news = board.tally.tests != self.tests && waited >= 10_000;
        if !matches!(board.stage, Stage::Running | Stage::Building) || !(fresh || news || waited >= 60_000) {
            return String::new();
        }
        *self = Self { at: now, quarter, tests: board.tally.tests };
        match board.stage {
            Stage::Building => board.steps.iter().flat_map(|step| [paint.faint(" build"), format!(" {} goes on\n", step.name)]).collect(),
            _ => format!("{} {}\n", paint.faint("    at"), counts(board, now, paint)),
        }
    }
}

/// The live lines at the bottom.
struct Bars {
    multi: MultiProgress,
    lines: Vec<ProgressBar>,
    live: bool,
}

impl Bars {
    fn new(live: bool) -> Self {
        let target = if live { ProgressDrawTarget::stderr_with_hz(20) } else { ProgressDrawTarget::hidden() };
        Self { multi: MultiProgress::with_draw_target(target), lines: Vec::new(), live }
    }

    fn show(&mut self, text: &str, rows: &[String]) {
        if !self.live {
            printer::tell(text);
            return;
        }
        if !text.is_empty() {
            self.multi.suspend(|| printer::tell(text));
        }
        while self.lines.len() > rows.len() {
            if let Some(bar) = self.lines.pop() {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        while self.lines.len() < rows.len() {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.lines.push(self.multi.add(ProgressBar::no_length().with_style(style)));
        }
        for (bar, row) in self.lines.iter().zip(rows) {
            bar.set_message(row.clone());
        }
    }
}
