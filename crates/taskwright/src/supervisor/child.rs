//! One child process: started, told, waited for.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::sync::{mpsc, watch};

/// A child that lives, or whose death has not been noticed yet.
pub(super) struct Child {
    pid: u32,
    /// Names the process itself rather than its number, which another process may get. Not every kernel has it.
    handle: Option<OwnedFd>,
    /// Whether its number is free for another process. Held while it is reaped, and while it is signalled by number.
    reaped: Arc<Mutex<bool>>,
    /// Its end is how the child notices that we are gone; what is written to it are nudges.
    stdin: Option<ChildStdin>,
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
        if let Some(stdin) = &stdin {
            // A child that does not read holds nobody up.
            ioctl_fionbio(stdin, true)?;
        }
        let handle = raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let reaped = Arc::new(Mutex::new(false));
        let is_reaped = Arc::clone(&reaped);
        let waiting = std::thread::Builder::new().name(format!("taskwright-wait-{slot}")).spawn(move || {
            if let Ok(status) = reap(&mut child, &is_reaped) {
                // Nobody listens any more when the supervisor is gone.
                let _ = deaths.send(Death { slot, pid, status });
            }
        });
        let started = Self { pid, handle, reaped, stdin };
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

    /// Tells it that there is news. Many at once may reach it as one.
    pub(super) fn nudge(&self) {
        if let Some(mut stdin) = self.stdin.as_ref() {
            // One that is full says it already, and one that is gone needs no news.
            let _ = stdin.write(b".");
        }
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Tells it that another takes its place: it is to end when what it does is done.
    pub(super) fn hang_up(&self) {
        self.signal(Signal::HUP);
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

/// The supervisor of this process, which is heard by standard input.
#[derive(Clone, Debug)]
pub struct Parent {
    nudges: watch::Receiver<u64>,
    /// Kept where nobody can listen: a parent that is not heard is not gone.
    _unheard: Option<Arc<watch::Sender<u64>>>,
}

impl Parent {
    /// Begins to listen: once in a process.
    #[must_use]
    pub fn listen() -> Self {
        let (tell, nudges) = watch::channel(0_u64);
        let tell = Arc::new(tell);
        let to_tell = Arc::clone(&tell);
        let listening = std::thread::Builder::new().name("taskwright-parent".to_owned()).spawn(move || {
            let mut nudges = [0; 64];
            // Reading ends with the parent.
            while matches!(io::stdin().read(&mut nudges), Ok(1..)) {
                to_tell.send_modify(|count| *count = count.wrapping_add(1));
            }
        });
        Self { nudges, _unheard: listening.is_err().then_some(tell) }
    }

    /// Is ready when the supervisor is gone.
    pub async fn gone(mut self) {
        while self.nudges.changed().await.is_ok() {}
    }

    /// Moves when the supervisor [nudges](super::Supervisor::nudge_on); closed when it is gone.
    #[must_use]
    pub fn nudges(&self) -> watch::Receiver<u64> {
        self.nudges.clone()
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

    #[test]
    fn a_child_reads_its_nudges_and_one_that_does_not_holds_nobody_up() {
        let (deaths, mut dead) = mpsc::unbounded_channel();
        let (mut told, stdout) = io::pipe().unwrap();
        let mut command = Command::new("head");
        command.args(["-c", "3"]).stdout(stdout);
        let reads = Child::start(0, command, deaths.clone()).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let ignores = Child::start(1, command, deaths).unwrap();
        // More than a pipe holds.
        for _ in 0..200_000 {
            ignores.nudge();
        }
        (0..3).for_each(|_| reads.nudge());
        let mut nudges = String::new();
        told.read_to_string(&mut nudges).unwrap();
        assert_eq!(nudges, "...");
        assert!(dead.blocking_recv().unwrap().status.success());
        ignores.kill();
        assert_eq!(dead.blocking_recv().unwrap().pid, ignores.pid());
    }
}
