//! Hints between processes: a small file that is touched after a commit, and watched.
//!
//! Watching costs nothing while nothing happens. What was committed without a touch (a job that a program enqueued in
//! its own transaction) is found by asking SQLite ten times a second whether the file has changed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use tokio::sync::watch;

/// How often SQLite is asked whether anybody committed anything: 100 ms.
const ASK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long to let touches gather before listeners are woken again: 1 ms. The first one is told at once.
const GATHER: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Tells the other processes, and this one's listeners.
#[derive(Clone)]
pub(super) struct Bell {
    file: Option<Arc<File>>,
    local: Arc<watch::Sender<u64>>,
}

impl Bell {
    /// A bell over the file, which is made if it is missing; without it only this process can be told.
    pub(super) fn new(path: &Path) -> Self {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .ok()
            .map(Arc::new);
        Self { file, local: Arc::new(watch::Sender::new(0)) }
    }

    /// Rings.
    pub(super) fn ring(&self) {
        self.ring_here();
        if let Some(file) = &self.file {
            // A hint that gets lost is found by asking.
            drop(file.write_at(b".", 0));
        }
    }

    fn ring_here(&self) {
        self.local.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.local.subscribe()
    }
}

/// The thread that hears other processes.
pub(super) struct Listener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts listening; `conn` is a connection of its own, for asking. Whatever is committed once this has returned is heard of.
    pub(super) fn start(path: PathBuf, bell: Bell, conn: Connection) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        // Here and not on the thread, which may begin long after the caller has looked.
        let (watch, seen) = (watch_file(&path), data_version(&conn));
        let thread = std::thread::Builder::new()
            .name("taskwright-hints".to_owned())
            .spawn(move || listen(watch.as_ref(), seen, &bell, &conn, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn watch_file(path: &Path) -> Option<OwnedFd> {
    inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .and_then(|fd| inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY).map(|_| fd))
        .inspect_err(|error| tracing::debug!(%error, "no file watch; falling back to asking"))
        .ok()
}

/// Hears what has happened since it was watched and since the file was `seen` like that.
fn listen(watch: Option<&OwnedFd>, mut seen: Option<i64>, bell: &Bell, conn: &Connection, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let touched = match watch {
            Some(fd) => {
                let mut events = [PollFd::new(fd, PollFlags::IN)];
                matches!(poll(&mut events, Some(&ASK_EVERY)), Ok(1..))
            }
            None => {
                pause(&ASK_EVERY);
                false
            }
        };
        if let Some(fd) = watch.filter(|_| touched) {
            drain(fd);
        }
        let now = data_version(conn);
        if touched || now != seen {
            bell.ring_here();
            pause(&GATHER);
        }
        seen = now;
    }
}

/// The time-out of a poll for nothing; waking early is harmless.
fn pause(time: &Timespec) {
    let _ = poll(&mut [], Some(time));
}

/// Reads away what has gathered; that there was something is all that matters.
fn drain(fd: &OwnedFd) {
    let mut buffer = [0; 4_096];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(1..)) {}
}

/// A number that changes when another connection commits.
fn data_version(conn: &Connection) -> Option<i64> {
    conn.prepare_cached("PRAGMA data_version").and_then(|mut ask| ask.query_row([], |row| row.get(0))).ok()
}
