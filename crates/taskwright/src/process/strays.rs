//! The direct children of this process: which are commands, and which are orphans that came back to us.
//!
//! Being a subreaper is a property of the whole process, hence the one list for all hosts in it.

use std::collections::BTreeMap;
use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::proc_fs::{self, Stat};
use super::sys::{self, Reaped};
use taskwright_core::Usage;

/// The commands that run, in all hosts of this process.
static COMMANDS: Mutex<Commands> =
    Mutex::new(Commands { orphans_used: BTreeMap::new(), members: BTreeMap::new() });

struct Commands {
    /// By pid of the command: what its reaped orphans used.
    orphans_used: BTreeMap<i32, Usage>,
    /// By pid and start of a process that was seen in a tree: the pid of the command that the tree belongs
    /// to.
    members: BTreeMap<(i32, u64), i32>,
}

/// Starts a command so that no sweep ever sees it without knowing that it is one.
///
/// # Errors
///
/// The error of `spawn`.
pub(super) fn register(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut commands = commands();
    let child = spawn()?;
    commands.orphans_used.insert(child.id() as i32, Usage::default());
    Ok(child)
}

/// Notes which processes, by pid and start, belong to the tree of a command, so that what they used counts for
/// it, whoever reaps them.
pub(super) fn claim(command: i32, members: impl Iterator<Item = (i32, u64)>) {
    let mut commands = commands();
    if commands.orphans_used.contains_key(&command) {
        // Whoever is not among them any more is gone.
        commands.members.retain(|_, owner| *owner != command);
        commands.members.extend(members.map(|member| (member, command)));
    }
}

/// The CPU time of the orphans of a command that were reaped so far.
pub(super) fn cpu_of_orphans(command: i32) -> Duration {
    let commands = commands();
    let used = commands.orphans_used.get(&command).copied().unwrap_or_default();
    Duration::from_micros(used.cpu_user_us + used.cpu_system_us)
}

/// Reaps a command; `None` while it runs. The second part of the answer is what its reaped orphans used.
///
/// # Errors
///
/// It is gone, because some other part of the program has reaped it.
pub(super) fn reap_command(pid: i32) -> io::Result<Option<(Reaped, Usage)>> {
    let mut commands = commands();
    let result = sys::reap(pid);
    if matches!(result, Ok(None)) {
        return Ok(None);
    }
    let orphans_used = commands.orphans_used.remove(&pid).unwrap_or_default();
    commands.members.retain(|_, command| *command != pid);
    Ok(result?.map(|reaped| (reaped, orphans_used)))
}

/// Whether anything may have been left behind by a command that has ended.
///
/// Whatever is left of its tree hangs below a child of ours that is not a command. Without such a child there
/// is no need to look at every process of the machine, which is what makes short commands cheap.
pub(super) fn are_possible(is_subreaper: bool) -> bool {
    if !is_subreaper {
        return true;
    }
    let commands = commands();
    match proc_fs::own_children() {
        Some(children) => children.iter().any(|pid| !commands.orphans_used.contains_key(pid)),
        None => true,
    }
}

/// Reaps the orphans that came back to us and have ended.
///
/// Children that some other part of the program started are left to that part. The kernel keeps no mark on an
/// adopted child; what tells it is that it was seen in a tree, or is in the group of a command, or has the
/// mark that every command gets and hands down (see [`sys::commands_oom_score`]). One that was never seen,
/// left its group and took off the mark stays a zombie until this process ends.
pub(super) fn sweep() {
    let mut commands = commands();
    let mark = sys::commands_oom_score();
    let dead = proc_fs::own_children().unwrap_or_default().into_iter().filter_map(Stat::of);
    for child in dead.filter(|child| child.is_dead) {
        if commands.orphans_used.contains_key(&child.pid) {
            continue;
        }
        let command = commands.members.get(&(child.pid, child.start)).copied().unwrap_or(child.group);
        let orphans_used = commands.orphans_used.get_mut(&command);
        let is_marked = || mark.is_some() && proc_fs::oom_score(child.pid) == mark;
        // The dead one still answers this question; after the reaping it does not.
        let storage = orphans_used.as_ref().and_then(|_| proc_fs::storage_bytes(child.pid));
        if (orphans_used.is_some() || is_marked())
            && let Ok(Some(mut end)) = sys::reap(child.pid)
            && let Some(usage) = orphans_used
        {
            (end.usage.read_bytes, end.usage.written_bytes) = storage.unwrap_or_default();
            usage.absorb(&end.usage);
        }
    }
}

fn commands() -> MutexGuard<'static, Commands> {
    // A panic in the middle of a change leaves a process that is not claimed, which the mark makes up for.
    COMMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}
