//! The direct children of this process: which are commands, and which are orphans that came back to us.
//!
//! Being a subreaper is a property of the whole process, hence the one list for all hosts in it.

use std::collections::BTreeMap;
use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::proc_fs::{self, Stat};
use super::sys::{self, Reaped};
use super::usage::Usage;

/// The commands that run, by pid, with what their reaped orphans used.
static COMMANDS: Mutex<BTreeMap<i32, Usage>> = Mutex::new(BTreeMap::new());

/// Starts a command so that no sweep ever sees it without knowing that it is one.
///
/// # Errors
///
/// The error of `spawn`.
pub(super) fn register(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut commands = commands();
    let child = spawn()?;
    commands.insert(child.id() as i32, Usage::default());
    Ok(child)
}

/// Reaps a command; `None` while it runs.
///
/// # Errors
///
/// It is gone, because some other part of the program has reaped it.
pub(super) fn reap_command(pid: i32) -> io::Result<Option<Reaped>> {
    let mut commands = commands();
    let mut result = sys::reap(pid);
    if !matches!(result, Ok(None)) {
        let of_orphans = commands.remove(&pid);
        if let (Ok(Some(reaped)), Some(usage)) = (&mut result, of_orphans) {
            reaped.usage.absorb(&usage);
        }
    }
    result
}

/// Whether anything may have been left behind by a command that has ended.
///
/// Whatever is left of its tree hangs below a child of ours that is not a command. Without such a child there is no
/// need to look at every process of the machine, which is what makes short commands cheap.
pub(super) fn are_possible(is_subreaper: bool) -> bool {
    if !is_subreaper {
        return true;
    }
    let commands = commands();
    match proc_fs::own_children() {
        Some(children) => children.iter().any(|pid| !commands.contains_key(pid)),
        None => true,
    }
}

/// Reaps the orphans that came back to us and have ended.
///
/// Children that some other part of the program started are left to that part. The kernel keeps no mark on an adopted
/// child; what tells it is the mark that every command gets and hands down (see [`sys::commands_oom_score`]), or that
/// it is in the group of a command. An orphan that took off both marks stays a zombie until this process ends.
pub(super) fn sweep() {
    let mut commands = commands();
    let mark = sys::commands_oom_score();
    let dead = proc_fs::own_children().unwrap_or_default().into_iter().filter_map(Stat::of);
    for child in dead.filter(|child| child.is_dead) {
        if commands.contains_key(&child.pid) {
            continue;
        }
        let command = commands.get_mut(&child.group);
        let is_marked = mark.is_some() && proc_fs::oom_score(child.pid) == mark;
        if (command.is_some() || is_marked)
            && let Ok(Some(end)) = sys::reap(child.pid)
            && let Some(usage) = command
        {
            usage.absorb(&end.usage);
        }
    }
}

fn commands() -> MutexGuard<'static, BTreeMap<i32, Usage>> {
    // Every change is one insert or one remove, so that a panic elsewhere leaves nothing half done.
    COMMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}
