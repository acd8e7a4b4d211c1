//! One child process: started, told, waited for.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::sync::{mpsc, oneshot};

/// A child that lives, or whose death has not been noticed yet.
pub(super) struct Child {
    pid: u32,
    /// Names the process itself rather than its number, which another process may get. Not every kernel has it.
    handle: Option<OwnedFd>,
    /// Whether its number is free for another process. Held while it is reaped, and while it is signalled by number.
    reaped: Arc<Mutex<bool>>,
    /// Its end is how the child notices that we are gone.
    _stdin: Option<ChildStdin>,
}

/// A child that ended.
pub(super) struct Death {
    pub(super) slot: usize,
    pub(super) pid: u32,
    pub(super) status: ExitStatus,
}

impl Child {
    /// Starts a child in a process group of its own, so that a key pressed in our terminal is ours to pass on. Its death
    /// is sent to `deaths`.
    pub(super) fn start(
        slot: usize,
        mut command: Command,
        deaths: mpsc::UnboundedSender<Death>,
    ) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let pid = child.id();
        let stdin = child.stdin.take();
        let handle = raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let reaped = Arc::new(Mutex::new(false));
        let is_reaped = Arc::clone(&reaped);
        let waiting = std::thread::Builder::new().name(format!("taskwright-wait-{slot}")).spawn(move || {
            if let Ok(status) = reap(&mut child, &is_reaped) {
                // Nobody listens any more when the supervisor is gone.
                let _ = deaths.send(Death { slot, pid, status });
            }
        });
        let started = Self { pid, handle, reaped, _stdin: stdin };
        if let Err(error) = waiting {
            // A child that nobody waits for is no child of a supervisor.
            started.kill();
            return Err(error);
        }
        Ok(started)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether somebody has stopped it (SIGSTOP, Ctrl-Z, a debugger), so that it neither runs nor ends. "No" where the
    /// system does not tell.
    pub(super) fn is_paused(&self) -> bool {
        // The name before the state may hold anything, also parentheses (proc(5)).
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // A child that is gone already needs no signal.
        let _ = match &self.handle {
            Some(handle) => pidfd_send_signal(handle, signal),
            None => self.signal_by_number(signal),
        };
    }

    fn signal_by_number(&self, signal: Signal) -> Result<(), Errno> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        match raw(self.pid) {
            Some(pid) if !*reaped => kill_process(pid, signal),
            _ => Err(Errno::SRCH),
        }
    }
}

/// Waits for the end, and only then takes the lock for the moment in which the number becomes free.
fn reap(child: &mut std::process::Child, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
    if let Some(pid) = raw(child.id()) {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(pid), ended))?;
    }
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait();
    *reaped = true;
    status
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// For the child of a supervisor: is ready when the supervisor is gone, that is, when standard input ends.
pub async fn parent_gone() {
    let (gone, ends) = oneshot::channel::<()>();
    let watch = std::thread::Builder::new().name("taskwright-parent".to_owned()).spawn(move || {
        let _gone = gone;
        let mut byte = [0];
        // Nothing is ever written: reading ends with the parent.
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
    });
    match watch {
        Ok(_) => {
            // The sender is dropped, never used.
            let _ = ends.await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn without_a_handle_a_child_is_signalled_by_number_until_it_is_reaped() {
        let (deaths, mut dead) = mpsc::unbounded_channel();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = Child::start(3, command, deaths).unwrap();
        child.handle = None;

        child.kill();
        let death = dead.blocking_recv().unwrap();
        assert_eq!((death.slot, death.pid, death.status.signal()), (3, child.pid(), Some(9)));
        assert!(*child.reaped.lock().unwrap());
        assert_eq!(child.signal_by_number(Signal::KILL), Err(Errno::SRCH));
    }
}
