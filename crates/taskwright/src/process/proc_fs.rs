//! What `/proc` says about processes. On systems without it every answer is "nothing known".

use std::fs;
use std::io::Read;

/// `/proc/PID/environ` is read up to here; more than any system passes to a program that was given only our
/// variables.
const ENVIRON_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often an environment is read that is empty, though its process lives and is not between two programs.
const ENVIRON_READS_MAX: usize = 8;
/// How often the list of children is read until two readings agree.
const CHILDREN_READS_MAX: usize = 5;

/// One process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it started, in clock ticks since the boot; together with the pid it names a process for ever.
    pub(super) start: u64,
    /// CPU time of it and of the children that it waited for, user and system, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// Its resident set, in pages.
    pub(super) resident_pages: u64,
    /// It has ended and waits to be reaped.
    pub(super) is_dead: bool,
    /// It is between two programs at the moment. Also of processes that we may not look into, and of the
    /// kernel's own.
    pub(super) is_in_exec: bool,
}

impl Stat {
    /// The process of this number, if there is one.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads a line like `17 (a (strange) name) S 1 17 17 0 ...` (proc(5)).
    fn parse(line: &str) -> Option<Self> {
        let pid = line.split_once(' ')?.0.parse().ok()?;
        // The name may hold anything, also parentheses and line ends; after the last one come the numbers.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        // The first thread of a process may have ended while others go on.
        let is_dead = matches!(*fields.first()?, "Z" | "X") && number(17)? <= 1;
        let environ_end = number(48);
        let count = |index: usize| number(index).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        Some(Self {
            pid,
            parent: number(1)? as i32,
            group: number(2)? as i32,
            session: number(3)? as i32,
            start: number(19)? as u64,
            cpu_ticks: (11..=14).map(count).sum(),
            resident_pages: count(21),
            is_dead,
            is_in_exec: !is_dead && environ_end == Some(0),
        })
    }
}

/// Every process that we can see.
pub(super) fn processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Stat::of).collect()
}

/// The children of this process, or `None` when the system does not tell.
///
/// The kernel may leave some out when a child ends during the reading, hence the second look.
pub(super) fn own_children() -> Option<Vec<i32>> {
    let mut before = read_own_children()?;
    for _ in 1..CHILDREN_READS_MAX {
        let now = read_own_children()?;
        if now == before {
            return Some(now);
        }
        before = now;
    }
    None
}

fn read_own_children() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()? {
        // A thread may end while we look; its children have moved to another one, which the second look
        // finds.
        match fs::read_to_string(task.ok()?.path().join("children")) {
            Ok(list) => {
                children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => return None,
        }
    }
    children.sort_unstable();
    Some(children)
}

/// The children that the first thread of a process started, which is what most processes have.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A process and its descendants, the first `max` of them.
pub(super) fn descendants(pid: i32, max: usize) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next).filter(|_| found.len() < max) {
        found.extend(children(pid));
        next += 1;
    }
    found.truncate(max);
    found
}

/// Whether the process started with exactly this entry (`NAME=value`) in its environment; `None` while it is
/// between two programs, when nobody can tell.
pub(super) fn environ_holds(pid: i32, entry: &[u8]) -> Option<bool> {
    // What was opened for one program says nothing once the process has another: that is tried again, as often as programs may follow
    // each other meanwhile.
    for _ in 0..ENVIRON_READS_MAX {
        let environ = read_environ(pid);
        if !environ.is_empty() {
            return Some(environ.split(|&byte| byte == 0).any(|candidate| candidate == entry));
        }
        match Stat::of(pid) {
            Some(stat) if stat.is_in_exec => return None,
            Some(stat) if !stat.is_dead => {}
            _ => break,
        }
    }
    Some(false)
}

/// Empty also when it may not be read.
fn read_environ(pid: i32) -> Vec<u8> {
    let mut environ = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) {
        // What was read before an error is as good as nothing.
        if file.take(ENVIRON_BYTES_MAX).read_to_end(&mut environ).is_err() {
            environ.clear();
        }
    }
    environ
}

/// Bytes read from and written to storage by a process and the descendants it waited for; works for a dead
/// one, too.
pub(super) fn storage_bytes(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    Some((field(&text, "read_bytes:")?, field(&text, "write_bytes:")?))
}

/// The largest resident set that the program of a living process had, in bytes.
pub(super) fn resident_peak_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&text, "VmHWM:").map(|kib| kib * 1024)
}

/// The memory of a process in bytes, in which every page that it shares with others counts in part. Costs a walk over all
/// its pages.
pub(super) fn proportional_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    field(&text, "Pss:").map(|kib| kib * 1024)
}

/// The resident set of this process, in bytes.
pub(crate) fn own_resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    field(&text, "VmRSS:").map(|kib| kib * 1024)
}

/// How readily the kernel kills a process for want of memory; works for a dead one, too.
pub(super) fn oom_score(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok().map(|score| score.trim().to_owned())
}

/// The number after a name at the beginning of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "0 -1 4194304 86 0 0 0 4 3 2 1 20 0 1 0 4711 2940928 219 18446744073709551615";

    #[test]
    fn a_name_with_spaces_parentheses_and_line_ends_does_not_confuse_the_reader() {
        let stat = Stat::parse(&format!("17 (a) S 1\n(b) R 5 6 7 {TAIL}")).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.group, stat.session), (17, 5, 6, 7));
        assert_eq!((stat.start, stat.is_dead), (4711, false));
        assert_eq!((stat.cpu_ticks, stat.resident_pages), (10, 219));
    }

    #[test]
    fn a_dead_first_thread_does_not_make_a_process_dead() {
        let line = format!("17 (a) Z 5 6 7 {TAIL}");
        assert!(Stat::parse(&line).unwrap().is_dead);
        assert!(!Stat::parse(&line.replace("20 0 1 0", "20 0 2 0")).unwrap().is_dead);
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert_eq!(Stat::parse("17 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
