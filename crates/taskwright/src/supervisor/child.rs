//! One child process: started, told, waited for.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{mpsc, oneshot};

/// A child that lives, or whose death has not been noticed yet.
pub(super) struct Child {
    pid: u32,
    /// Names the process itself rather than its number, which another process may get.
    handle: Option<OwnedFd>,
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
        let handle = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let waiting = std::thread::Builder::new().name(format!("taskwright-wait-{slot}")).spawn(move || {
            if let Ok(status) = child.wait() {
                // Nobody listens any more when the supervisor is gone.
                let _ = deaths.send(Death { slot, pid, status });
            }
        });
        let started = Self { pid, handle, _stdin: stdin };
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

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            // A child that is gone already needs no signal.
            let _ = pidfd_send_signal(handle, signal);
        }
    }
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
