//! The keeper of all commands of a process: the one thread that forks, looks at `/proc`, and reaps.
//!
//! One long-lived thread forks every command, because the kernel ties "die with your parent" to the *thread*
//! that forked. The same thread does what takes milliseconds, so that no thread of the runtime waits for it.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Timing;
use super::child::{Child, Pipes, lock};
use super::command::Command;
use super::error::SpawnError;
use super::launch::Launch;
use super::strays;
use super::sys;
use super::tree::Tree;

/// How often the keeper looks after trees that nobody waits for any more.
const BURIAL_PERIOD: Duration = Duration::from_millis(20);
/// After this many looks a tree is only looked at when there is something else to do.
const BURIAL_LOOKS_MAX: u32 = 500;

/// Where commands run: the keeper thread and the clock. One per process is enough; it is shared by reference.
///
/// Dropping it ends the thread, and with it every command that still runs.
pub struct Host {
    timing: Arc<dyn Timing>,
    is_subreaper: bool,
    /// Begun with the first command.
    keeper: Mutex<Option<KeeperHandle>>,
}

impl Host {
    /// Makes this process the one that orphaned descendants come back to, where the system can do that.
    pub fn new(timing: Arc<dyn Timing>) -> Self {
        sys::keep_dead_children();
        let is_subreaper = sys::become_subreaper();
        if !is_subreaper {
            tracing::warn!("orphans of commands do not come back to this process: the system cannot do that");
        }
        Self { timing, is_subreaper, keeper: Mutex::new(None) }
    }

    /// Reaps the orphans that came back to this process and have ended.
    pub(super) fn reap_orphans(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = &*keeper {
            keeper.tell(|_| strays::sweep());
        }
    }

    pub(super) fn timing(&self) -> &dyn Timing {
        &*self.timing
    }

    /// Starts a command.
    ///
    /// # Errors
    ///
    /// Everything that a command cannot be started for.
    pub(super) async fn start(&self, command: &Command) -> Result<(Child, Pipes), SpawnError> {
        let launch = Launch::of(command)?;
        let keeper = self.keeper().map_err(|error| SpawnError::from_shortage(error, &launch.shown()))?;
        let for_child = keeper.clone();
        // When the caller is gone before the answer, the answer is dropped, and the child in it dies.
        keeper.ask(move |_| Child::start(launch, for_child)).await
    }

    fn keeper(&self) -> io::Result<KeeperHandle> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = &*keeper {
            return Ok(keeper.clone());
        }
        let (jobs, queue) = channel();
        let is_subreaper = self.is_subreaper;
        std::thread::Builder::new()
            .name("taskwright-host".to_owned())
            .spawn(move || Keeper { is_subreaper, ..Keeper::default() }.work(&queue))?;
        Ok(keeper.insert(KeeperHandle { jobs }).clone())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("is_subreaper", &self.is_subreaper).finish_non_exhaustive()
    }
}

type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// How others reach the keeper's thread.
#[derive(Clone)]
pub(super) struct KeeperHandle {
    jobs: Sender<Job>,
}

impl KeeperHandle {
    /// Has something done on the keeper's thread and waits for the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> T {
        let (answer, receiver) = oneshot::channel();
        self.tell(move |keeper| {
            // Nobody may be waiting any more.
            let _ = answer.send(work(keeper));
        });
        // The thread works as long as there is a handle, and this is one.
        receiver.await.expect("the keeper thread has panicked")
    }

    /// Leaves a tree to the keeper: to be killed, waited for, and reaped.
    pub(super) fn abandon(&self, tree: Arc<Mutex<Tree>>) {
        self.tell(move |keeper| keeper.abandoned.push(Abandoned { tree, looks: 0 }));
    }

    fn tell(&self, work: impl FnOnce(&mut Keeper) + Send + 'static) {
        // It fails only after a panic of the thread; then its commands have died with it.
        let _ = self.jobs.send(Box::new(work));
    }
}

/// What the keeper's thread owns.
#[derive(Default)]
pub(super) struct Keeper {
    is_subreaper: bool,
    abandoned: Vec<Abandoned>,
}

struct Abandoned {
    tree: Arc<Mutex<Tree>>,
    looks: u32,
}

impl Keeper {
    /// Whether a command that has ended may have left something behind.
    pub(super) fn may_have_strays(&self) -> bool {
        strays::are_possible(self.is_subreaper)
    }

    /// Does one job after the other until no handle is left and everything is buried.
    fn work(mut self, queue: &Receiver<Job>) {
        loop {
            let is_busy = self.abandoned.iter().any(|abandoned| abandoned.looks < BURIAL_LOOKS_MAX);
            let next = if is_busy {
                queue.recv_timeout(BURIAL_PERIOD)
            } else {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if is_busy => std::thread::park_timeout(BURIAL_PERIOD),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.bury();
        }
    }

    /// Kills and reaps what was abandoned; forgets the trees that are gone.
    fn bury(&mut self) {
        self.abandoned.retain_mut(|abandoned| {
            abandoned.looks = abandoned.looks.saturating_add(1);
            let mut tree = lock(&abandoned.tree);
            let has_living = !tree.kill().is_empty();
            strays::sweep();
            // The direct child is reaped last: until then its number keeps its group ours.
            has_living || matches!(tree.reap_root(), Ok(None))
        });
    }
}
