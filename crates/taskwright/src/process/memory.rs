//! Whether a command was killed for want of memory, as far as the kernel's counters tell.
//!
//! Best effort: the counters belong to the memory group (cgroup) or to the machine, not to one process, so
//! that two commands of one group that end in the same moment cannot be told apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::proc_fs::field;

/// Version 1 of the memory groups writes "no limit" as a huge number.
const NO_LIMIT_BYTES: u64 = 1 << 60;
/// A command that wanders through more groups than this is watched in the first of them.
const GROUPS_MAX: usize = 8;

/// What the counters say about the end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OomEvidence {
    /// No counter rose.
    None,
    /// The kernel killed something in the command's memory group.
    Group {
        /// The limit of that group, where it has one.
        limit_bytes: Option<u64>,
    },
    /// The kernel killed something on this machine (or in this container).
    Machine,
}

/// The counters at the start of a command.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch {
    /// Every memory group the command was seen in, with the count at the first sight. Usually it stays in
    /// ours.
    groups: BTreeMap<PathBuf, u64>,
    machine_kills: u64,
}

impl MemoryWatch {
    /// Notes the counters of our own group, which a command starts in. To be called before the command starts,
    /// because it may reach its limit before we look again.
    pub(super) fn begin() -> Self {
        let mut watch = Self { groups: BTreeMap::new(), machine_kills: kills_on_machine() };
        watch.look(rustix::process::getpid().as_raw_pid());
        watch
    }

    /// Notes the group that the process is in now, should it have moved.
    pub(super) fn look(&mut self, pid: i32) {
        if let Some(group) = group_of(pid)
            && !self.groups.contains_key(&group)
            && self.groups.len() < GROUPS_MAX
        {
            let kills = kills_in(&group).unwrap_or(0);
            self.groups.insert(group, kills);
        }
    }

    /// Compares the counters after the end of the command.
    pub(super) fn evidence(&self) -> OomEvidence {
        let risen =
            self.groups.iter().find(|(group, before)| kills_in(group).is_some_and(|now| now > **before));
        match risen {
            Some((group, _)) => OomEvidence::Group { limit_bytes: limit_of(group) },
            None if kills_on_machine() > self.machine_kills => OomEvidence::Machine,
            None => OomEvidence::None,
        }
    }
}

/// The directory of a process's memory group.
fn group_of(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    group_directories(&text).into_iter().find(|path| kills_in(path).is_some())
}

/// Where the memory group of a `/proc/PID/cgroup` may be found. Inside a container the path may be one of
/// outside; then the root of the mount is the container's own group.
fn group_directories(cgroups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let mount = if controllers.split(',').any(|name| name == "memory") {
            Path::new("/sys/fs/cgroup/memory")
        } else if controllers.is_empty() {
            Path::new("/sys/fs/cgroup")
        } else {
            continue;
        };
        found.push(mount.join(path.trim_start_matches('/')));
        found.push(mount.to_owned());
    }
    found
}

fn kills_in(group: &Path) -> Option<u64> {
    ["memory.events", "memory.oom_control"].iter().find_map(|name| {
        let text = fs::read_to_string(group.join(name)).ok()?;
        field(&text, "oom_kill ")
    })
}

fn kills_on_machine() -> u64 {
    fs::read_to_string("/proc/vmstat").ok().and_then(|text| field(&text, "oom_kill ")).unwrap_or(0)
}

fn limit_of(group: &Path) -> Option<u64> {
    ["memory.max", "memory.limit_in_bytes"].iter().find_map(|name| {
        let text = fs::read_to_string(group.join(name)).ok()?;
        text.trim().parse().ok().filter(|&limit| limit < NO_LIMIT_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_group_is_found_in_both_versions() {
        let version_1 = group_directories("8:pids:/a\n4:cpu,memory:/a/b\n");
        assert_eq!(version_1[0], Path::new("/sys/fs/cgroup/memory/a/b"));
        let version_2 = group_directories("0::/user.slice/x:y\n");
        assert_eq!(version_2[0], Path::new("/sys/fs/cgroup/user.slice/x:y"));
    }

    #[test]
    fn a_count_is_not_confused_with_a_longer_name() {
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill "), Some(3));
        assert_eq!(field("oom 7\noom_kill 2\noom_group_kill 1\n", "oom_kill "), Some(2));
    }
}
