//! Who descends from whom, out of `/proc/<pid>/stat`. Reads only; what it says may be outdated by the time it is read.

/// A line of `/proc/<pid>/stat`: as much of it as matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    dead: bool,
}

/// Whether `pid` is below `ancestor`.
pub(super) fn descends(pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    // A loop cannot occur in one moment's tree, but entries are read at different moments.
    for _ in 0..1000 {
        match entry(at) {
            Some(entry) if entry.parent == ancestor => return true,
            Some(entry) if entry.parent > 1 => at = entry.parent,
            _ => return false,
        }
    }
    false
}

/// Every living process below `ancestor`.
pub(super) fn descendants(ancestor: i32) -> Vec<i32> {
    let Ok(listing) = fs_err::read_dir("/proc") else { return Vec::new() };
    let all: Vec<Entry> = listing.flatten().filter_map(|dir| entry(dir.file_name().to_str()?.parse().ok()?)).collect();
    below(ancestor, &all)
}

fn below(ancestor: i32, all: &[Entry]) -> Vec<i32> {
    let mut found = vec![ancestor];
    let mut living = Vec::new();
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        for entry in all.iter().filter(|entry| entry.parent == parent && entry.pid != ancestor) {
            found.push(entry.pid);
            if !entry.dead {
                living.push(entry.pid);
            }
        }
        at += 1;
    }
    living
}

fn entry(pid: i32) -> Option<Entry> {
    parse(pid, &fs_err::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses is the process's own choice and may hold anything, so fields count from the last parenthesis.
fn parse(pid: i32, stat: &[u8]) -> Option<Entry> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Entry { pid, parent, dead: matches!(state, "Z" | "X" | "x") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_parent() {
        let forged = b"7 (x) R 1 (y) S 42 7 7 0";
        assert_eq!(parse(7, forged), Some(Entry { pid: 7, parent: 42, dead: false }));
        assert_eq!(parse(7, b"7 (x) Z 3 "), Some(Entry { pid: 7, parent: 3, dead: true }));
        assert_eq!(parse(7, b"7 x R"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_through_the_dead() {
        let entry = |pid, parent, dead| Entry { pid, parent, dead };
        let all = [entry(5, 4, false), entry(4, 3, true), entry(3, 2, false), entry(9, 1, false)];
        assert_eq!(below(2, &all), [3, 5]);
    }

    #[test]
    fn this_process_descends_from_its_parent_and_not_from_itself() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let parent = entry(own).expect("our entry").parent;
        assert!(descends(own, parent));
        assert!(!descends(own, own));
    }
}
