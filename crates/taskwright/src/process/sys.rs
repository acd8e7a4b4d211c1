//! The system calls that need `unsafe`, and the ones that only some systems have. The only file that may use
//! `unsafe`.

#![allow(unsafe_code, reason = "fork, exec and wait4 with resource usage have no safe interface")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::proc_fs;
use taskwright_core::{IoNice, Limits, Usage};

/// Out of 1000, which is all memory of the machine.
const OOM_SCORE_RAISE: i32 = 50;
const OOM_SCORE_MAX: i32 = 1000;

/// What the new process turns into, prepared before the fork because nothing may be allocated after it.
pub(super) struct Image {
    path: CString,
    argv: Pointers,
    env: Pointers,
}

impl Image {
    pub(super) fn new(path: CString, argv: Vec<CString>, env: Vec<CString>) -> Self {
        Self { path, argv: Pointers::new(argv), env: Pointers::new(env) }
    }

    /// Becomes the program; returns only when that failed.
    fn exec(&self) -> io::Error {
        // SAFETY: `path` and every element of both arrays are NUL-terminated strings that `self` keeps alive,
        // and both arrays end with a null pointer (see `Pointers::new`).
        unsafe { libc::execve(self.path.as_ptr(), self.argv.array.as_ptr(), self.env.array.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Strings as C wants them: an array of pointers, the last of which is null.
struct Pointers {
    array: Vec<*const libc::c_char>,
    /// Keeps alive what the array points to. The heap memory of a `CString` does not move when the vector
    /// does.
    _strings: Vec<CString>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let array = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { array, _strings: strings }
    }
}

// SAFETY: the pointers lead to memory that the same value owns and nobody changes, so that they are as free
// to move between threads as the strings themselves.
unsafe impl Send for Pointers {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Pointers {}

/// The number under which every command finds its progress pipe. Low, because some shells (dash) can only
/// redirect to a single digit, and the same for all, because that is easy to remember.
pub(super) const PROGRESS_SLOT: RawFd = 3;
/// How often a start is tried again because another thread reopened the progress slot in the meantime.
const SPAWN_TRIES_MAX: usize = 10;
/// What the new process says when its slot is not what it was; no system call of ours ends with it.
const SLOT_HAS_CHANGED: Errno = Errno::STALE;

/// What a new process must know before its exec.
pub(super) struct Birth {
    pub(super) image: Image,
    /// The write end of the progress pipe.
    pub(super) progress: OwnedFd,
    /// See [`commands_oom_score`].
    pub(super) oom_score: Option<String>,
    /// How it stands back behind others.
    pub(super) limits: Limits,
}

/// Starts what `prepare` prepares: the standard streams, the directory and the group of the new process.
///
/// The program that `prepare` names is not used, because the `exec` of the standard library would give a file
/// of unknown format to a shell.
///
/// # Errors
///
/// The error of the fork, of the change of the directory, or of the exec.
pub(super) fn spawn(birth: Birth, prepare: impl Fn() -> Command) -> io::Result<Child> {
    let birth = Arc::new(birth);
    let mut tries = 0;
    loop {
        let result = spawn_once(&birth, prepare());
        tries += 1;
        let has_changed =
            result.as_ref().is_err_and(|error| error.raw_os_error() == Some(SLOT_HAS_CHANGED.raw_os_error()));
        if !has_changed || tries == SPAWN_TRIES_MAX {
            return result;
        }
    }
}

fn spawn_once(birth: &Arc<Birth>, mut command: Command) -> io::Result<Child> {
    let host = rustix::process::getpid();
    let birth = Arc::clone(birth);
    // Occupied by us, unless somebody else occupies it already.
    let placeholder = rustix::io::fcntl_dupfd_cloexec(&birth.progress, PROGRESS_SLOT)?;
    let occupant = identity(PROGRESS_SLOT);
    let become_program = move || {
        die_with(host)?;
        default_signals();
        if let Some(score) = &birth.oom_score {
            set_oom_score(score);
        }
        stand_back(&birth.limits);
        hide_files_from_exec();
        // The standard library holds a pipe to tell the host of a failed exec. It was opened after the look
        // at the slot, so that what was there at that time is not this pipe, and nothing that anybody needs
        // here.
        if identity(PROGRESS_SLOT) != occupant {
            return Err(SLOT_HAS_CHANGED.into());
        }
        show_file_to_exec(birth.progress.as_raw_fd(), PROGRESS_SLOT)?;
        Err(birth.image.exec())
    };
    // SAFETY: between fork and exec the closure only makes system calls (prctl, getppid, signal, open, write,
    // close, getpriority, setpriority, ioprio_set, close_range, fstat, dup2, fcntl, execve), all of which are async-signal-safe, and neither
    // allocates nor takes a lock. Dropping its values is left to the exec.
    unsafe { command.pre_exec(become_program) };
    let result = command.spawn();
    drop(placeholder);
    result
}

/// Which file a file descriptor number stands for.
fn identity(number: RawFd) -> Option<impl PartialEq + Send + Sync + 'static> {
    // SAFETY: the borrow is used for one call, which fails cleanly when nothing is open under this number.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    let stat = rustix::fs::fstat(file).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// How readily the kernel shall kill a command for want of memory: a little more than this process, so that
/// the worker survives its commands. Being inherited and still known of the dead, it also marks what comes
/// from a command. `None` when this process is at the end of the scale already, or the system has none.
pub(super) fn commands_oom_score() -> Option<String> {
    let own: i32 = proc_fs::oom_score(rustix::process::getpid().as_raw_pid())?.parse().ok()?;
    (own + OOM_SCORE_RAISE <= OOM_SCORE_MAX).then(|| (own + OOM_SCORE_RAISE).to_string())
}

fn set_oom_score(score: &str) {
    use rustix::fs::{Mode, OFlags, open};
    // A refusal costs only the preference.
    if let Ok(file) = open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, score.as_bytes());
    }
}

/// Gives the CPU and the disk to others first. A host that stands further back already stays there, as only the privileged
/// may step forward.
fn stand_back(limits: &Limits) {
    if let Some(nice) = limits.nice {
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        // Stepping back is never refused.
        let _ = rustix::process::setpriority_process(None, own.max(nice.into()));
    }
    if let Some(ionice) = limits.ionice {
        set_io_priority(ionice);
    }
}

#[cfg(target_os = "linux")]
fn set_io_priority(ionice: IoNice) {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: libc::c_int = 13;
    const CLASS_BEST_EFFORT: libc::c_int = 2;
    const CLASS_IDLE: libc::c_int = 3;
    let value = match ionice {
        IoNice::BestEffort(level) => (CLASS_BEST_EFFORT << CLASS_SHIFT) | libc::c_int::from(level),
        IoNice::Idle => CLASS_IDLE << CLASS_SHIFT,
    };
    // SAFETY: takes three numbers and changes only how this process is served. A refusal (a sandbox that does not know the
    // call) costs only the preference.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
}

#[cfg(not(target_os = "linux"))]
fn set_io_priority(_ionice: IoNice) {}

/// Asks the kernel to kill us when the thread that started us ends.
#[cfg(target_os = "linux")]
fn die_with(host: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The host may have died before the kernel knew that we want to hear of it.
    if rustix::process::getppid() == Some(host) { Ok(()) } else { Err(Errno::SRCH.into()) }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_host: Pid) -> io::Result<()> {
    Ok(())
}

/// Undoes what the host ignores, because ignoring is inherited: a host started by `nohup` must not make its
/// commands deaf.
fn default_signals() {
    for signal in 1..32 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: sets the default action; no handler of ours is involved.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Marks everything but the standard streams as not for the program: files that the host itself inherited, or
/// that a library opened without close-on-exec.
fn hide_files_from_exec() {
    #[cfg(target_os = "linux")]
    // SAFETY: only sets a flag on file descriptors of the new process. A kernel before 5.11 refuses; then
    // what is open stays as its opener wanted it.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

fn show_file_to_exec(file: RawFd, slot: RawFd) -> io::Result<()> {
    let result = if file == slot {
        // SAFETY: clears the flags of a file descriptor that is open (the caller holds it).
        unsafe { libc::fcntl(file, libc::F_SETFD, 0) }
    } else {
        // SAFETY: both are open in the new process, and what `slot` was there is nothing that anybody needs
        // (see `spawn_once`).
        unsafe { libc::dup2(file, slot) }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The end of a child.
pub(super) struct Reaped {
    /// The status as `wait` gives it.
    pub(super) status: i32,
    /// Processor time and memory of the child and of the descendants that it waited for.
    pub(super) usage: Usage,
}

/// Reaps the child `pid` if it has ended; `None` while it runs.
///
/// # Errors
///
/// `ECHILD` when there is no such child.
pub(super) fn reap(pid: i32) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers lead to memory of the right type that lives until after the call.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        _ => {
            // SAFETY: a zeroed `rusage` is valid already, and the kernel has filled it in.
            let usage = unsafe { usage.assume_init() };
            Ok(Some(Reaped { status, usage: usage_of(&usage) }))
        }
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    // Linux counts in KiB, Apple's systems in bytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    Usage {
        cpu_user_us: micros(usage.ru_utime),
        cpu_system_us: micros(usage.ru_stime),
        rss_peak_bytes: usage.ru_maxrss as u64 * unit,
        ..Usage::default()
    }
}

/// Makes orphaned descendants of this process its children. Returns whether the system does that.
pub(super) fn become_subreaper() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok();
    #[cfg(not(target_os = "linux"))]
    false
}

/// A handle of a process that is readable once the process has ended.
pub(super) fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(Pid::from_raw(pid)?, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Watches a handle of a process for its end. Needs a runtime.
///
/// # Errors
///
/// The runtime cannot watch another file.
pub(super) fn watch(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file, and no other, for as long as it lives, and `AsyncFd`
    // owns it.
    unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.map_err(io::Error::from)
}

/// Sees to it that ended children wait to be reaped: a host may inherit from its parent that they are thrown
/// away.
pub(super) fn keep_dead_children() {
    // SAFETY: a zeroed `sigaction` is valid; the call with a null action only reads into it.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        let is_known = libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut action) == 0;
        if is_known && action.sa_sigaction == libc::SIG_IGN {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        }
    }
}

/// Signals one process, by its handle where there is one.
pub(super) fn signal_process(pid: i32, handle: Option<&OwnedFd>, signal: Signal) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    if let Some(handle) = handle {
        return rustix::process::pidfd_send_signal(handle, signal);
    }
    let _ = handle;
    rustix::process::kill_process(Pid::from_raw(pid).ok_or(Errno::SRCH)?, signal)
}
