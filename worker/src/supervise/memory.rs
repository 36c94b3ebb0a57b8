//! What the kernel says about memory: the control group's limit, and how often it killed for want of memory.
//!
//! Control groups v2 first, then v1; the group's own directory first, then the mount's root, which is the own group as seen from inside a
//! container. Where nothing can be read the answers are "no limit" and 0: this is evidence, never a reason to fail.

use std::path::{Path, PathBuf};

/// From here on a v1 limit means "none"; the kernel writes the largest page-aligned i64.
const UNLIMITED: u64 = 1 << 62;

/// The files of the worker's control group.
#[derive(Debug, Default)]
pub(super) struct MemoryGroup {
    limit: Option<PathBuf>,
    events: Option<PathBuf>,
}

impl MemoryGroup {
    /// Finds the group of this process.
    pub(super) fn of_self() -> Self {
        let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&groups, Path::new("/sys/fs/cgroup"))
    }

    fn find(groups: &str, mount: &Path) -> Self {
        let v2 = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let v1 = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|controller| controller == "memory").then_some(path)
        });
        let memory = mount.join("memory");
        let candidates = |file: &str, file_v1: &str| {
            let below = |root: &Path, path: Option<&str>, file: &str| {
                let own = path.map(|path| root.join(path.trim_start_matches('/')).join(file));
                [own, Some(root.join(file))]
            };
            below(mount, v2, file).into_iter().chain(below(&memory, v1, file_v1)).flatten().find(|path| path.exists())
        };
        Self { limit: candidates("memory.max", "memory.limit_in_bytes"), events: candidates("memory.events", "memory.oom_control") }
    }

    /// The limit in bytes.
    pub(super) fn limit(&self) -> Option<u64> {
        let text = fs_err::read_to_string(self.limit.as_ref()?).ok()?;
        text.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
    }

    /// How often the kernel killed in this group so far.
    pub(super) fn kills(&self) -> u64 {
        let read = || {
            let text = fs_err::read_to_string(self.events.as_ref()?).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        read().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().expect("below the mount")).expect("created");
            fs_err::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn version_2_is_read_from_the_own_group() {
        let dir = mount(&[("a/memory.max", "1024\n"), ("a/memory.events", "low 0\noom 2\noom_kill 3\n"), ("memory.max", "9\n")]);
        let group = MemoryGroup::find("0::/a\n", dir.path());
        assert_eq!((group.limit(), group.kills()), (Some(1024), 3));
    }

    #[test]
    fn version_1_in_a_container_is_read_from_the_mount_root() {
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        let dir = mount(&[("memory/memory.limit_in_bytes", "2048\n"), ("memory/memory.oom_control", control)]);
        let group = MemoryGroup::find("4:cpu,memory:/docker/abc\n0::/\n", dir.path());
        assert_eq!((group.limit(), group.kills()), (Some(2048), 1));
    }

    #[test]
    fn no_limit_and_no_files_are_no_evidence() {
        let dir = mount(&[("memory.max", "max\n"), ("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(MemoryGroup::find("0::/\n", dir.path()).limit(), None);
        let v1 = MemoryGroup { limit: Some(dir.path().join("memory/memory.limit_in_bytes")), events: None };
        assert_eq!((v1.limit(), v1.kills()), (None, 0));
    }
}
