//! The tree of processes that an attempt owns: finding all of it, signalling all of it, reaping what comes
//! back.
//!
//! One look at `/proc` is a picture that is out of date when it is complete. Two things make killing sure all
//! the same: a group is signalled in one step by the kernel, and looking is repeated until a look finds
//! nobody new, which must happen because a process with a pending KILL cannot fork. A process that is just
//! replacing its program has no environment to be recognised by; then the look does not count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::proc_fs::{self, Stat};
use super::strays;
use super::sys::{self, Reaped};
use taskwright_core::Usage;
use taskwright_core::resource::Used;

/// How often a kill looks for processes that the last look did not see.
const LOOKS_MAX: usize = 100;
/// How long to wait before another look when a process was between two programs. It stays there for a
/// fraction of that.
const EXEC_PAUSE: Duration = Duration::from_millis(1);
/// How often that is done; on a busy machine there is always somebody between two programs.
const EXEC_PAUSES_MAX: usize = 20;
/// The parents of the first process and of the threads of the kernel: these have no environment that could be
/// read.
const SPECIAL_PARENTS: [i32; 2] = [0, 2];
/// What the kernel calls a group or session whose leader we cannot see, as in a container that was entered from outside.
const OUTSIDE: i32 = 0;
/// How many processes are watched for their end at the same time; a fork bomb must not cost us our file
/// descriptors.
const WATCHED_MAX: usize = 64;
/// How many processes of a tree are measured together.
const MEASURED_MAX: usize = 4_096;

/// Kills every process that was started with `key=value` in its environment, and says how many that were.
///
/// For the commands of a worker that was lost: their direct children died with it, their grandchildren may
/// live on. This process itself is spared. Reads the environment of every process, so it takes milliseconds;
/// not for a thread that must not block.
pub fn kill_tagged(key: &str, value: &str) -> usize {
    let tag = tag_entry(key, value);
    let mut killed = BTreeSet::new();
    let mut pauses = 0;
    for _ in 0..LOOKS_MAX {
        let own = own_pid();
        let mut processes = proc_fs::processes();
        processes.retain(|process| {
            process.pid != own && !process.is_dead && !killed.contains(&(process.pid, process.start))
        });
        let known = killed.len();
        let mut is_anybody_in_exec = false;
        for process in processes {
            match proc_fs::environ_holds(process.pid, &tag) {
                Some(true) => {
                    if Living::of(&process).is_some_and(|living| living.signal(Signal::KILL).is_ok()) {
                        killed.insert((process.pid, process.start));
                    }
                }
                Some(false) => {}
                None => is_anybody_in_exec |= !is_special(&process),
            }
        }
        if killed.len() == known {
            if pauses == EXEC_PAUSES_MAX || !is_anybody_in_exec {
                break;
            }
            pauses += 1;
            std::thread::park_timeout(EXEC_PAUSE);
        }
    }
    killed.len()
}

/// The entry of an environment that marks a tree.
pub(super) fn tag_entry(key: &str, value: &str) -> Vec<u8> {
    format!("{key}={value}").into_bytes()
}

/// The processes of one attempt, as far as they were seen.
#[derive(Debug)]
pub(super) struct Tree {
    /// The direct child. It must not be reaped while signals are sent, so that nobody else gets its number.
    root: Stat,
    tag: Vec<u8>,
    /// Everyone ever seen, by pid with the time of its start.
    members: BTreeMap<i32, u64>,
    /// Sessions that were begun inside the tree.
    sessions: BTreeSet<i32>,
    own_session: i32,
    /// The direct child was reaped: its number may belong to anybody by now.
    is_reaped: bool,
    /// At the last look, some process was between two programs, so that nothing told whose it is.
    is_anybody_in_exec: bool,
    /// Somebody could not be signalled.
    is_refused: bool,
    /// The most CPU time that was seen of all together.
    cpu: Duration,
}

impl Tree {
    /// The tree below a direct child that leads its own group and was started with `tag` in its environment.
    pub(super) fn new(root: i32, tag: Vec<u8>) -> Self {
        let unknown = Stat {
            pid: root,
            parent: own_pid(),
            group: root,
            session: 0,
            start: 0,
            cpu_ticks: 0,
            resident_pages: 0,
            is_dead: false,
            is_in_exec: false,
        };
        let root = Stat::of(root).unwrap_or(unknown);
        // Not getsid(2) through rustix: in a container our session may have begun outside, and its number is 0 then.
        let own_session = Stat::of(own_pid()).map_or(0, |own| own.session);
        let members = BTreeMap::from([(root.pid, root.start)]);
        let sessions = BTreeSet::new();
        Self {
            root,
            tag,
            members,
            sessions,
            own_session,
            is_reaped: false,
            is_anybody_in_exec: false,
            is_refused: false,
            cpu: Duration::ZERO,
        }
    }

    /// What everyone uses now. `thorough` looks at every process of the machine for those that left their parents; else
    /// it is a few files per process.
    ///
    /// Memory that processes share counts once for each of them, as long as that makes no difference: the kernel is asked
    /// for the true share only when the sum is above `rss_limit`. CPU time counts with that of the dead: of children by
    /// whoever waited for them, and of orphans by us.
    pub(super) fn measure(&mut self, thorough: bool, rss_limit: Option<u64>) -> Used {
        if thorough {
            self.survey();
        }
        let everyone = self.everyone();
        let page_bytes = rustix::param::page_size() as u64;
        let resident = |process: &Stat| process.resident_pages * page_bytes;
        let mut rss_bytes: u64 = everyone.iter().map(resident).sum();
        if rss_limit.is_some_and(|limit| rss_bytes > limit) {
            // Of one that ends just now the share is not to be had, and it has nothing any more; of another user's neither.
            let is_same = |now: &Stat, process: &Stat| now.start == process.start && !now.is_dead;
            let now = |process: &Stat| Stat::of(process.pid).filter(|now| is_same(now, process));
            let share = |process: &Stat| {
                let share = proc_fs::proportional_bytes(process.pid);
                share.unwrap_or_else(|| now(process).as_ref().map_or(0, resident))
            };
            rss_bytes = everyone.iter().filter(|process| !process.is_dead).map(share).sum();
        }
        let ticks: u64 = everyone.iter().map(|process| process.cpu_ticks).sum();
        let cpu_us = ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1);
        let reaped = strays::cpu_of_orphans(self.root.pid);
        // A process that dies while we look may be missing in one look.
        self.cpu = self.cpu.max(Duration::from_micros(cpu_us) + reaped);
        Used { rss_bytes, cpu: self.cpu }
    }

    /// Everyone who is there, the dead that nobody has waited for among them. Whoever is gone is forgotten: a command may
    /// start one process after the other for days.
    fn everyone(&mut self) -> Vec<Stat> {
        let mut everyone: Vec<Stat> = Vec::new();
        for (pid, start) in self.members.clone() {
            match Stat::of(pid).filter(|process| process.start == start) {
                Some(process) => everyone.push(process),
                None => drop(self.members.remove(&pid)),
            }
        }
        let mut next = 0;
        while let Some(parent) = everyone.get(next).filter(|_| everyone.len() < MEASURED_MAX).map(|it| it.pid)
        {
            next += 1;
            // Its number may be a stranger's by now, whose parent is another.
            let children = proc_fs::children(parent).into_iter().filter_map(Stat::of);
            for child in children.filter(|child| child.parent == parent) {
                if !self.holds(&child) {
                    self.admit(&child);
                    everyone.push(child);
                }
            }
        }
        everyone
    }

    /// Asks everyone to end, and returns who is to be waited for (the first of them when there are many).
    pub(super) fn terminate(&mut self) -> Vec<Living> {
        let living = self.survey();
        let groups = self.groups_of(&living);
        for &group in &groups {
            signal_group(group, Signal::TERM);
            // A stopped process sees the signal only when it goes on.
            signal_group(group, Signal::CONT);
        }
        let alone = living.iter().filter(|process| !groups.contains(&process.group));
        for process in alone.filter_map(Living::of) {
            // Not allowed or already gone: the wait that follows, and the kill after it, deal with both.
            let _ = process.signal(Signal::TERM);
        }
        living.iter().filter_map(Living::of).take(WATCHED_MAX).collect()
    }

    /// Kills everyone, and returns who is to be waited for (the first of them when there are many).
    ///
    /// Processes that we may not kill are left out: see [`Tree::is_refused`] and [`Tree::survivors`].
    pub(super) fn kill(&mut self) -> Vec<Living> {
        let mut killed = BTreeSet::new();
        let mut watched = Vec::new();
        let mut pauses = 0;
        for _ in 0..LOOKS_MAX {
            self.kill_group();
            let living = self.survey();
            for group in self.groups_of(&living) {
                signal_group(group, Signal::KILL);
            }
            let mut is_anybody_new = false;
            for process in living {
                if !killed.insert((process.pid, process.start)) {
                    continue;
                }
                is_anybody_new = true;
                let Some(process) = Living::of(&process) else { continue };
                match process.signal(Signal::KILL) {
                    Ok(()) if watched.len() < WATCHED_MAX => watched.push(process),
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(_) => self.is_refused = true,
                }
            }
            if !is_anybody_new {
                if pauses == EXEC_PAUSES_MAX || !self.is_anybody_in_exec {
                    break;
                }
                pauses += 1;
                std::thread::park_timeout(EXEC_PAUSE);
            }
        }
        watched
    }

    /// Kills the group of the direct child, in one step and without looking.
    pub(super) fn kill_group(&self) {
        if !self.is_reaped {
            signal_group(self.root.pid, Signal::KILL);
        }
    }

    /// Whether somebody was met who may not be killed.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Who is alive although everybody was killed.
    pub(super) fn survivors(&mut self) -> Vec<u32> {
        self.survey().iter().map(|process| process.pid as u32).collect()
    }

    /// Reaps the direct child; `None` while it runs. After that its group is left alone. The second part of
    /// the answer is what the reaped orphans of the tree used.
    ///
    /// # Errors
    ///
    /// It is gone: reaped before, or by some other part of the program.
    pub(super) fn reap_root(&mut self) -> io::Result<Option<(Reaped, Usage)>> {
        if self.is_reaped {
            return Err(Errno::CHILD.into());
        }
        let result = strays::reap_command(self.root.pid);
        self.is_reaped = !matches!(result, Ok(None));
        result
    }

    /// Looks who belongs to the tree now, remembers them, and returns the living.
    fn survey(&mut self) -> Vec<Stat> {
        let own = own_pid();
        let mut processes = proc_fs::processes();
        processes.retain(|process| process.pid != own && process.start >= self.root.start);
        let started: HashMap<i32, u64> =
            processes.iter().map(|process| (process.pid, process.start)).collect();
        // A member found in one pass brings in its children and its session in the next. Environments are
        // read once, and only of those that nothing else brought in.
        let mut in_exec = Vec::new();
        let mut is_first_pass = true;
        loop {
            let known = self.members.len();
            for process in &processes {
                if self.holds(process) {
                    continue;
                }
                if self.claims(process, &started) {
                    self.admit(process);
                } else if is_first_pass {
                    match proc_fs::environ_holds(process.pid, &self.tag) {
                        Some(true) => self.admit(process),
                        Some(false) => {}
                        None => in_exec.push(*process),
                    }
                }
            }
            if self.members.len() == known {
                break;
            }
            is_first_pass = false;
        }
        self.is_anybody_in_exec = in_exec.iter().any(|process| !self.holds(process) && !is_special(process));
        strays::claim(self.root.pid, self.members.iter().map(|(&pid, &start)| (pid, start)));
        processes.retain(|process| !process.is_dead && self.holds(process));
        processes
    }

    fn holds(&self, process: &Stat) -> bool {
        self.members.get(&process.pid) == Some(&process.start)
    }

    /// Whether a process belongs to the tree by its parent, its group or its session.
    fn claims(&self, process: &Stat, started: &HashMap<i32, u64>) -> bool {
        let parent_start = self.members.get(&process.parent);
        let is_child = parent_start.is_some() && parent_start == started.get(&process.parent);
        let is_in_group = !self.is_reaped && process.group == self.root.pid;
        is_child || is_in_group || self.sessions.contains(&process.session)
    }

    fn admit(&mut self, process: &Stat) {
        self.members.insert(process.pid, process.start);
        if process.session != self.own_session && process.session != OUTSIDE {
            self.sessions.insert(process.session);
        }
    }

    /// The groups that were begun inside the tree and have living members. Never a group that somebody else
    /// leads.
    fn groups_of(&self, living: &[Stat]) -> BTreeSet<i32> {
        let mut groups: BTreeSet<i32> = living.iter().map(|process| process.group).collect();
        groups.retain(|group| *group != OUTSIDE && self.members.contains_key(group));
        if self.is_reaped {
            groups.remove(&self.root.pid);
        } else {
            groups.insert(self.root.pid);
        }
        groups
    }
}

/// A process that was alive when we looked, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) pid: i32,
    pub(super) start: u64,
    /// Readable once the process has ended. `None` on systems without pidfd.
    pub(super) handle: Option<OwnedFd>,
}

impl Living {
    fn of(process: &Stat) -> Option<Self> {
        let handle = sys::pidfd_open(process.pid);
        // Only now the handle, if any, is known to be of the process that was looked at.
        let is_same = Stat::of(process.pid).is_some_and(|now| now.start == process.start && !now.is_dead);
        is_same.then_some(Self { pid: process.pid, start: process.start, handle })
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        sys::signal_process(self.pid, self.handle.as_ref(), signal)
    }
}

/// Whether a process only looks as if it were between two programs.
fn is_special(process: &Stat) -> bool {
    SPECIAL_PARENTS.contains(&process.parent)
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        // An empty group is what we want; a refusal shows in the survivors.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: i32 = 100;
    const OWN_SESSION: i32 = 50;

    fn stat(pid: i32, parent: i32, group: i32, session: i32) -> Stat {
        Stat {
            pid,
            parent,
            group,
            session,
            start: 10,
            cpu_ticks: 0,
            resident_pages: 0,
            is_dead: false,
            is_in_exec: false,
        }
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(i32::MAX, Vec::new());
        tree.root = stat(ROOT, 1, ROOT, OWN_SESSION);
        tree.members = BTreeMap::from([(ROOT, 10)]);
        tree.own_session = OWN_SESSION;
        tree
    }

    #[test]
    fn parent_group_and_session_each_bring_a_process_in() {
        let mut tree = tree();
        let started = HashMap::from([(ROOT, 10), (101, 10)]);
        assert!(tree.claims(&stat(101, ROOT, 60, OWN_SESSION), &started));
        assert!(tree.claims(&stat(101, 1, ROOT, OWN_SESSION), &started));
        assert!(!tree.claims(&stat(102, 1, 102, 101), &started));
        tree.admit(&stat(101, ROOT, 101, 101));
        assert!(tree.claims(&stat(102, 1, 102, 101), &started));
    }

    #[test]
    fn our_own_session_and_a_reused_number_bring_nobody_in() {
        let mut tree = tree();
        tree.admit(&stat(101, ROOT, 60, OWN_SESSION));
        let reused = HashMap::from([(ROOT, 10), (101, 77)]);
        assert!(!tree.claims(&stat(102, 101, 60, OWN_SESSION), &reused));
    }

    #[test]
    fn a_group_that_somebody_else_leads_is_never_signalled_as_a_whole() {
        let mut tree = tree();
        let living = [stat(101, ROOT, 60, OWN_SESSION), stat(102, ROOT, 102, 102)];
        living.iter().for_each(|process| tree.admit(process));
        assert_eq!(tree.groups_of(&living), BTreeSet::from([ROOT, 102]));
        tree.is_reaped = true;
        assert_eq!(tree.groups_of(&living), BTreeSet::from([102]));
    }
}
