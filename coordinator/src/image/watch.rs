//! How long another machine's build is waited for: pure, from what it says of itself and the time since the wait began.
//!
//! Who waits for a build that began at the same moment has the image later than if it had built: by as long as the registry takes. It is waited for all the same, since one machine
//! builds and downloads instead of all of them, and whoever comes a little later has it sooner. So that this stays true, nobody waits longer than a build is known to take,
//! and then once more, two minutes at most, while what was built is on its way: that is how long who built it waits for that itself. What another machine says is a reason to wait and
//! never anything else.
//!
//! Clocks of machines differ. That somebody lives shows in that what it says changes, by the clock of who waits.

use std::time::Duration;

use super::elsewhere::Claim;
use super::layers::PAYS_FROM;

/// Who says nothing new for so long is gone, or cut off.
const SILENCE: Duration = Duration::from_secs(12);
/// How long a build takes of which nobody knows anything.
const UNKNOWN: Duration = Duration::from_mins(5);
/// No build is waited for any longer, whatever is known of it.
const LONGEST: Duration = Duration::from_mins(30);
/// How long what was built may be on its way.
const ON_ITS_WAY: Duration = Duration::from_mins(2);
/// A claim that was not found may be one that did not come in time. It is gone when it is not found again.
const MISSED: u32 = 2;

/// Who waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waiter {
    /// Its engine.
    pub(super) engine: String,
    /// It can take images from a registry.
    pub(super) takes: bool,
    /// How long its last build took, if it knows.
    pub(super) took: Option<Duration>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again.
    Wait,
    /// Build; and what the user should know of why.
    Build(Option<String>),
}

/// A wait.
#[derive(Debug)]
pub(super) struct Watch {
    waiter: Waiter,
    /// What was heard last, and when that was new.
    heard: Option<(Claim, Duration)>,
    built: Option<Duration>,
    missed: u32,
}

impl Watch {
    pub(super) fn new(waiter: Waiter) -> Self {
        Self { waiter, heard: None, built: None, missed: 0 }
    }

    /// What to do with this claim, or none, so long after the wait began.
    pub(super) fn next(&mut self, claim: Option<&Claim>, at: Duration) -> Next {
        let Some(claim) = claim else {
            self.missed += 1;
            let look_again = self.heard.is_some() && self.missed < MISSED;
            return if look_again { Next::Wait } else { Next::Build(None) };
        };
        self.missed = 0;
        if !self.pays(claim) {
            return Next::Build(None);
        }
        let since = match &self.heard {
            Some((last, since)) if last == claim => *since,
            _ => at,
        };
        self.heard = Some((claim.clone(), since));
        let late = |why: &str| Next::Build(Some(format!("{} was waited for, and {why}, so the image is built here", claim.whom)));
        if at.saturating_sub(since) >= SILENCE {
            return late(&format!("nothing was heard of it for {} s", SILENCE.as_secs()));
        }
        if claim.built {
            self.built = self.built.or(Some(at));
        }
        let usual = self.usual(claim);
        match self.built {
            Some(built) if at.saturating_sub(built) >= usual.min(ON_ITS_WAY) => late("what it built did not arrive"),
            None if at >= usual => late(&format!("building takes it longer than {} s", usual.as_secs())),
            _ => Next::Wait,
        }
    }

    /// Whether there can be an image to take, and sooner than it is built.
    fn pays(&self, claim: &Claim) -> bool {
        let worth_sending = self.waiter.took.is_none_or(|took| took >= PAYS_FROM);
        claim.engine == self.waiter.engine || (claim.sends && self.waiter.takes && worth_sending)
    }

    fn usual(&self, claim: &Claim) -> Duration {
        self.waiter.took.or(claim.usual_ms.map(Duration::from_millis)).unwrap_or(UNKNOWN).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn claim(beat: u64) -> Claim {
        Claim { whom: "run A on one".into(), engine: "theirs".into(), sends: true, usual_ms: None, beat, built: false }
    }

    fn waiter() -> Waiter {
        Waiter { engine: "mine".into(), takes: true, took: None }
    }

    /// When a wait ends that looks every second, and why; `said` is what is heard at each second.
    fn ends(waiter: Waiter, said: impl Fn(u32) -> Option<Claim>) -> (u32, Option<String>) {
        let mut watch = Watch::new(waiter);
        for second in 0..10_000 {
            if let Next::Build(why) = watch.next(said(second).as_ref(), SECOND * second) {
                return (second, why);
            }
        }
        panic!("a wait without end");
    }

    fn alive(second: u32) -> Claim {
        claim(u64::from(second / 3))
    }

    #[test]
    fn nobody_is_waited_for_who_is_not_there_or_of_no_use() {
        assert_eq!(ends(waiter(), |_| None), (0, None));
        let case = |waiter: Waiter, claim: Claim| ends(waiter, |_| Some(claim.clone())).0;
        assert_eq!(case(waiter(), Claim { sends: false, ..claim(0) }), 0, "it keeps the image to itself");
        assert_eq!(case(Waiter { takes: false, ..waiter() }, claim(0)), 0, "nothing can be taken");
        assert_eq!(case(Waiter { took: Some(SECOND * 9), ..waiter() }, claim(0)), 0, "it is built sooner, and not sent");
        let beside = Claim { sends: false, engine: "mine".into(), ..claim(0) };
        assert_ne!(case(Waiter { takes: false, ..waiter() }, beside), 0, "what the same engine built is there");
    }

    #[test]
    fn one_that_is_done_or_dead_is_not_waited_for_any_longer() {
        assert_eq!(ends(waiter(), |second| (second < 20).then(|| alive(second))), (21, None), "twice not found is gone");
        assert_eq!(ends(waiter(), |second| (second % 2 == 0).then(|| alive(second))).0, 300, "once is not");
        let (second, why) = ends(waiter(), |second| Some(alive(second.min(30))));
        assert_eq!(second, 42);
        assert!(why.expect("a reason").contains("run A on one was waited for, and nothing was heard of it for 12 s"));
    }

    #[test]
    fn every_wait_has_an_end() {
        let known = |took: Option<Duration>, usual_ms| {
            let waiter = Waiter { took, ..waiter() };
            ends(waiter, |second| Some(Claim { usual_ms, ..alive(second) })).0
        };
        assert_eq!(known(Some(SECOND * 40), Some(90_000)), 40, "what is known here counts first");
        assert_eq!((known(None, Some(90_000)), known(None, None)), (90, 300));
        assert_eq!((known(None, Some(u64::MAX)), known(Some(Duration::MAX), None)), (1800, 1800));
        let on_its_way = |took| {
            let waiter = Waiter { took: Some(took), ..waiter() };
            ends(waiter, |second| Some(Claim { built: (30..32).contains(&second), ..alive(second) }))
        };
        assert_eq!((on_its_way(SECOND * 40).0, on_its_way(SECOND * 600).0), (70, 150), "built once is built");
        assert!(on_its_way(SECOND * 40).1.expect("a reason").contains("did not arrive"));
    }
}
