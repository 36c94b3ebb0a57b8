//! Whose a container is, so that those of dead coordinators can be told from others.
//!
//! An owner is a process: its id, its start time (ids are used again), the boot and the pid namespace it lives in. Only within the same boot and
//! namespace can its death be known. Elsewhere a worker ends by itself when nobody speaks to it; what never started is orphaned after a time.

use std::fmt;

/// A container that does not run and whose owner cannot be asked about is an orphan after this many seconds.
const FOREIGN_AGE: i64 = 600;

/// A coordinator's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    started: String,
    place: String,
}

impl Owner {
    /// This process.
    pub fn here() -> Self {
        let pid = std::process::id();
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs_err::read_link("/proc/self/ns/pid").unwrap_or_default();
        let place = format!("{}/{}", boot.trim(), namespace.display());
        Self { pid, started: start_time(pid).unwrap_or_default(), place }
    }

    fn parse(label: &str) -> Option<Self> {
        let (process, place) = label.split_once('@')?;
        let (pid, started) = process.split_once('.')?;
        Some(Self { pid: pid.parse().ok()?, started: started.to_owned(), place: place.to_owned() })
    }
}

/// Whether the process of this label is known to have ended. Nothing where that cannot be known: it is, or was, of another machine, boot or container.
pub fn has_ended(label: &str, here: &Owner) -> Option<bool> {
    let owner = Owner::parse(label).filter(|owner| owner.place == here.place)?;
    Some(start_time(owner.pid).as_ref() != Some(&owner.started))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.pid, self.started, self.place)
    }
}

/// Whether a container with this owner, seen by `here`, is nobody's any more. `age` is in seconds.
pub fn is_orphan(label: &str, here: &Owner, running: bool, age: i64) -> bool {
    has_ended(label, here).unwrap_or(!running && age > FOREIGN_AGE)
}

/// When a process started, in the kernel's ticks since boot; nothing if there is none.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_owner_keeps_its_containers() {
        let here = Owner::here();
        assert!(!is_orphan(&here.to_string(), &here, true, i64::MAX));
        assert_eq!(Owner::parse(&here.to_string()), Some(here));
    }

    #[test]
    fn a_process_id_that_was_used_again_is_no_owner() {
        let here = Owner::here();
        let earlier = Owner { started: "1".to_owned(), ..here.clone() };
        assert!(is_orphan(&earlier.to_string(), &here, true, 0));
        let gone = Owner { pid: u32::MAX, ..here.clone() };
        assert!(is_orphan(&gone.to_string(), &here, true, 0));
    }

    #[test]
    fn elsewhere_only_what_never_ran_is_swept_and_only_after_a_time() {
        let here = Owner::here();
        let elsewhere = Owner { place: "other/pid:[1]".to_owned(), ..here.clone() }.to_string();
        assert!(!is_orphan(&elsewhere, &here, true, i64::MAX));
        assert!(!is_orphan(&elsewhere, &here, false, 10));
        assert!(is_orphan(&elsewhere, &here, false, FOREIGN_AGE + 1));
    }
}
