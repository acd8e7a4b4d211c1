//! One started command: its tree, its end, and the promise that nothing of it stays behind.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::error::SpawnError;
use super::exit::Exit;
use super::host::KeeperHandle;
use super::launch::Launch;
use super::memory::MemoryWatch;
use super::proc_fs::{self, Stat};
use super::sys::Birth;
use super::tree::{Living, Tree};
use super::{PROGRESS_FD, Timing, strays, sys};
use taskwright_core::Usage;
use taskwright_core::resource::Used;

/// How long a killed process may take to end. Only one that hangs in the kernel takes longer.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often we look for the end of a process that the system gives us no handle of.
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// How many processes of a tree are asked for their peak of memory in one sample.
const SAMPLED_MAX: usize = 64;

/// Our ends of the pipes of a command.
pub(super) struct Pipes {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) progress: OwnedFd,
}

/// What is known after everything was reaped.
pub(super) struct End {
    pub(super) exit: Exit,
    /// All but the wall time.
    pub(super) usage: Usage,
    pub(super) survivors: Vec<u32>,
}

/// What is known about the memory of a command besides what the kernel tells at its end.
#[derive(Clone, Copy)]
struct Peaks {
    /// Our own resident set when the command was forked.
    at_fork_bytes: u64,
    /// The largest one that was seen of the command and its descendants.
    sampled_bytes: u64,
}

impl Peaks {
    /// The peak of a command for which the kernel tells `reaped_bytes`: no more than ours may well be ours,
    /// because a new process begins as a copy of the one that forked it.
    fn of_command(self, reaped_bytes: u64) -> u64 {
        if reaped_bytes > self.at_fork_bytes { reaped_bytes } else { self.sampled_bytes }
    }
}

/// A started command. Dropping it before [`Child::settle`] kills the tree and leaves the rest to the keeper.
pub(super) struct Child {
    pid: i32,
    tree: Arc<Mutex<Tree>>,
    keeper: KeeperHandle,
    handle: Option<OwnedFd>,
    memory: MemoryWatch,
    peaks: Peaks,
    /// There may be more to reap than the command itself.
    may_have_strays: bool,
    is_settled: bool,
}

impl Child {
    /// Starts a command. Must be called on the keeper's thread, because the command dies with the thread that
    /// forks.
    ///
    /// # Errors
    ///
    /// Everything that a command cannot be started for.
    pub(super) fn start(launch: Launch, keeper: KeeperHandle) -> Result<(Self, Pipes), SpawnError> {
        let shown = launch.shown();
        let directory = launch.directory()?;
        let path = launch.find(directory.as_deref())?;
        let text_bytes = launch.text_bytes();
        let (has_stdin, tag, limits) = (launch.has_stdin, launch.tag.clone(), launch.limits);
        let (progress, progress_end) =
            io::pipe().map_err(|error| SpawnError::from_shortage(error, &shown))?;
        let image = launch.into_image(&path, format!("{PROGRESS_FD}={}", sys::PROGRESS_SLOT))?;
        let oom_score = sys::commands_oom_score();
        let birth = Birth { image, progress: progress_end.into(), oom_score, limits };
        let prepare = || {
            let mut command = std::process::Command::new(&path);
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.stdin(if has_stdin { Stdio::piped() } else { Stdio::null() });
            if let Some(directory) = &directory {
                command.current_dir(directory);
            }
            command
        };
        let memory = MemoryWatch::begin();
        let peaks = Peaks { at_fork_bytes: proc_fs::own_resident_bytes().unwrap_or(0), sampled_bytes: 0 };
        let mut started = strays::register(|| sys::spawn(birth, prepare))
            .map_err(|error| SpawnError::from_io(error, &shown, &path, text_bytes))?;

        let pid = started.id() as i32;
        let mut child = Self {
            pid,
            tree: Arc::new(Mutex::new(Tree::new(pid, tag))),
            keeper,
            handle: sys::pidfd_open(pid),
            memory,
            peaks,
            may_have_strays: true,
            is_settled: false,
        };
        // Its memory is not worth a sample yet: it has hardly begun.
        child.memory.look(pid);
        let (Some(stdout), Some(stderr)) = (started.stdout.take(), started.stderr.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let stdin = started.stdin.take().map(Into::into);
        Ok((child, Pipes { stdin, stdout: stdout.into(), stderr: stderr.into(), progress: progress.into() }))
    }

    /// What tells the end of the command itself, not of its descendants. Needs a runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch another file.
    pub(super) fn watch_end(&mut self) -> io::Result<EndWatch> {
        EndWatch::new(self.pid, self.handle.take())
    }

    /// Notes how much memory the tree uses at the moment, and which memory group counts it.
    pub(super) fn sample_memory(&mut self) {
        self.memory.look(self.pid);
        let processes = proc_fs::descendants(self.pid, SAMPLED_MAX);
        let peak = processes.into_iter().filter_map(proc_fs::resident_peak_bytes).max();
        self.peaks.sampled_bytes = self.peaks.sampled_bytes.max(peak.unwrap_or(0));
    }

    /// What the whole tree uses now, see [`Tree::measure`].
    pub(super) async fn measure(&self, thorough: bool, rss_limit: Option<u64>) -> Used {
        self.with_tree(move |tree| tree.measure(thorough, rss_limit)).await
    }

    /// Whether the command itself runs, as far as the system tells.
    pub(super) fn is_running(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| !stat.is_dead)
    }

    /// Asks the whole tree to end and waits until it has; how long, the caller limits.
    pub(super) async fn terminate(&self, end: &mut EndWatch, timing: &dyn Timing) {
        loop {
            let living = self.with_tree(Tree::terminate).await;
            if living.is_empty() {
                break;
            }
            for process in living {
                ended(process, timing).await;
            }
        }
        end.ended().await;
    }

    /// Kills what there is of the tree and waits until it is gone, but not for ever.
    pub(super) async fn kill(&mut self, end: &mut EndWatch, timing: &dyn Timing) {
        self.may_have_strays = self.is_running() || self.keeper.ask(|keeper| keeper.may_have_strays()).await;
        let all_ended = async {
            if self.may_have_strays {
                self.kill_tree(timing).await;
            }
            end.ended().await;
        };
        tokio::select! {
            biased;
            () = all_ended => {}
            () = timing.sleep(KILL_WAIT_MAX) => {}
        }
    }

    async fn kill_tree(&self, timing: &dyn Timing) {
        loop {
            let living = self.with_tree(Tree::kill).await;
            if living.is_empty() {
                break;
            }
            for process in living {
                ended(process, timing).await;
            }
        }
    }

    /// Reaps the command and its orphans, and tells what is known about its end.
    pub(super) async fn settle(mut self, is_killed_by_us: bool) -> End {
        let (pid, memory) = (self.pid, std::mem::take(&mut self.memory));
        let (may_have_strays, peaks) = (self.may_have_strays, self.peaks);
        let settle = move |tree: &mut Tree| {
            let oom = memory.evidence();
            // The dead command still answers this question; after the reaping it does not.
            let storage = proc_fs::storage_bytes(pid);
            if may_have_strays {
                strays::sweep();
            }
            let (exit, usage) = match tree.reap_root() {
                Ok(Some((end, orphans_used))) => {
                    let mut usage = end.usage;
                    usage.rss_peak_bytes = peaks.of_command(usage.rss_peak_bytes);
                    (usage.read_bytes, usage.written_bytes) = storage.unwrap_or_default();
                    usage.absorb(&orphans_used);
                    (Exit::from_status(end.status, is_killed_by_us, oom), usage)
                }
                Ok(None) => (Exit::Unkillable, Usage::default()),
                Err(_) => (Exit::Unknown, Usage::default()),
            };
            let is_clean = exit != Exit::Unkillable && !tree.is_refused();
            let survivors = if is_clean { Vec::new() } else { tree.survivors() };
            End { exit, usage, survivors }
        };
        let end = self.with_tree(settle).await;
        self.is_settled = end.exit != Exit::Unkillable;
        end
    }

    /// Lets the keeper work on the tree: looking at every process of the machine is not for a thread of the
    /// runtime.
    async fn with_tree<T: Send + 'static>(&self, work: impl FnOnce(&mut Tree) -> T + Send + 'static) -> T {
        let tree = Arc::clone(&self.tree);
        self.keeper.ask(move |_| work(&mut lock(&tree))).await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_settled {
            lock(&self.tree).kill_group();
            self.keeper.abandon(Arc::clone(&self.tree));
        }
    }
}

/// Tells when a command has ended, without reaping it.
pub(super) enum EndWatch {
    /// By a handle of the process.
    Handle(AsyncFd<OwnedFd>),
    /// By a thread that waits, on systems without such handles. `None` after the end.
    Thread(Option<oneshot::Receiver<()>>),
}

impl EndWatch {
    fn new(pid: i32, handle: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(handle) = handle {
            return sys::watch(handle).map(EndWatch::Handle);
        }
        let (report, end) = oneshot::channel();
        std::thread::Builder::new().name(format!("taskwright-wait-{pid}")).spawn(move || {
            if let Some(pid) = Pid::from_raw(pid) {
                // An error means that it is gone.
                let _ =
                    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            }
            let _ = report.send(());
        })?;
        Ok(Self::Thread(Some(end)))
    }

    /// Completes when the command has ended; may be asked again.
    pub(super) async fn ended(&mut self) {
        match self {
            Self::Handle(handle) => {
                // An error means that the runtime shuts down, and this future with it.
                let _ = handle.readable().await;
            }
            Self::Thread(end) => {
                if let Some(receiver) = end {
                    let _ = receiver.await;
                    *end = None;
                }
            }
        }
    }
}

/// Locks a tree. A panic while it was locked leaves a tree that knows too little, never one that names a
/// stranger.
pub(super) fn lock(tree: &Mutex<Tree>) -> MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Completes when a process has ended.
async fn ended(process: Living, timing: &dyn Timing) {
    if let Some(handle) = process.handle.and_then(|handle| sys::watch(handle).ok()) {
        // An error means that the runtime shuts down, and this future with it.
        let _ = handle.readable().await;
        return;
    }
    while Stat::of(process.pid).is_some_and(|now| now.start == process.start && !now.is_dead) {
        timing.sleep(LOOK_PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_process_handles_a_thread_tells_the_end_and_leaves_the_reaping_to_others() {
        let mut child = std::process::Command::new("sh").args(["-c", "exit 6"]).spawn().unwrap();
        let mut end = EndWatch::new(child.id() as i32, None).unwrap();
        end.ended().await;
        end.ended().await;
        assert_eq!(child.wait().unwrap().code(), Some(6));
    }
}
