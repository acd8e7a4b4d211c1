//! What the tests of the process room share: a host on the real clock, and a run whose output can be waited
//! for.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of a test is reachable from nowhere else")]

use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use taskwright::process::{
    Command, Host, LogChunk, Output, Progress, Reports, SpawnError, Stop, Stream, Timing, run,
};
use tokio::sync::{mpsc, oneshot};

/// The real clock: these tests are about the operating system, which does not know another one.
pub struct RealTime {
    start: Instant,
    /// How many times faster than they should sleeps pass.
    haste: u32,
}

#[allow(clippy::disallowed_methods, reason = "the one place of these tests that asks the real clock")]
impl Timing for RealTime {
    fn monotonic_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration / self.haste))
    }
}

pub fn host() -> Host {
    hasty_host(1)
}

/// A host whose waiting passes faster, for tests of long patience.
#[allow(clippy::disallowed_methods, reason = "the one place of these tests that asks the real clock")]
pub fn hasty_host(haste: u32) -> Host {
    Host::new(Arc::new(RealTime { start: Instant::now(), haste }))
}

/// `sh -c SCRIPT`. The tests use shells as programs; the room itself starts none.
pub fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// A run that has ended, with everything it said.
#[derive(Debug)]
pub struct Finished {
    pub output: Output,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub progress: Option<Progress>,
}

impl Finished {
    pub fn stdout_text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output of this test is text")
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout_text().lines().collect()
    }

    /// The numbers on lines like `pid 17`.
    pub fn pids(&self, name: &str) -> Vec<i32> {
        pids(&self.lines(), name)
    }
}

/// Runs a command to its end.
pub async fn finish(command: &Command) -> Finished {
    try_finish(command).await.expect("the command can be started")
}

/// Tries to run a command to its end.
pub async fn try_finish(command: &Command) -> Result<Finished, SpawnError> {
    drive(command, &host(), std::future::pending(), async |_: &mut Lines| {}).await
}

/// Runs a command until it has printed a line `ready`, does `when_ready` with the lines so far, and stops it.
pub async fn stop_when_ready(command: &Command, why: Stop, when_ready: impl FnOnce(&[String])) -> Finished {
    let (tell, told) = oneshot::channel();
    let stop = async move { told.await.unwrap_or(why) };
    let meanwhile = async |lines: &mut Lines| {
        lines.until("ready").await;
        when_ready(&lines.seen);
        tell.send(why).expect("the command runs until it is stopped");
    };
    drive(command, &host(), stop, meanwhile).await.expect("the command can be started")
}

/// Runs a command, does something with its output meanwhile, and collects the rest.
pub async fn drive(
    command: &Command,
    host: &Host,
    stop: impl Future<Output = Stop>,
    meanwhile: impl AsyncFnOnce(&mut Lines),
) -> Result<Finished, SpawnError> {
    let (reports, chunks, newest) = Reports::channels();
    let mut lines = Lines::new(chunks);
    let reading = async {
        meanwhile(&mut lines).await;
        lines.finish().await;
    };
    let (output, ()) = tokio::join!(run(command, host, reports, stop), reading);
    let progress = newest.borrow().clone();
    Ok(Finished { output: output?, stdout: lines.stdout, stderr: lines.stderr, progress })
}

/// The output of a command, as it comes.
pub struct Lines {
    chunks: mpsc::Receiver<LogChunk>,
    pub seen: Vec<String>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Lines {
    pub fn new(chunks: mpsc::Receiver<LogChunk>) -> Self {
        Self { chunks, seen: Vec::new(), stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Reads until standard output has shown this line.
    pub async fn until(&mut self, line: &str) {
        while !self.seen.iter().any(|seen| seen == line) {
            assert!(self.advance().await, "the command ended without printing {line:?}: {:?}", self.seen);
        }
    }

    pub async fn finish(&mut self) {
        while self.advance().await {}
    }

    pub async fn advance(&mut self) -> bool {
        let Some(chunk) = self.chunks.recv().await else { return false };
        match chunk.stream {
            Stream::Stdout => self.stdout.extend(chunk.bytes),
            Stream::Stderr => self.stderr.extend(chunk.bytes),
        }
        if self.stdout.len() < 4096 {
            self.seen = String::from_utf8_lossy(&self.stdout).lines().map(String::from).collect();
        }
        true
    }
}

/// The numbers on lines like `child 17`.
pub fn pids(lines: &[impl AsRef<str>], name: &str) -> Vec<i32> {
    let numbers = lines.iter().filter_map(|line| line.as_ref().strip_prefix(name)?.trim().parse().ok());
    numbers.collect()
}

/// Whether there is no such process, not even one that waits to be reaped.
pub fn is_gone(pid: i32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

/// The ones of these processes that are still there.
pub fn remaining(pids: Vec<i32>) -> Vec<i32> {
    pids.into_iter().filter(|&pid| !is_gone(pid)).collect()
}

/// A handle of a living process, to wait for its end with [`ended`].
pub fn handle(pid: i32) -> OwnedFd {
    let pid = Pid::from_raw(pid).expect("a process number");
    pidfd_open(pid, PidfdFlags::empty()).expect("the process lives")
}

/// Waits until the process has ended, at most ten seconds.
pub fn ended(handle: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready == 1)
}

/// Waits until a process has ended that may be gone already, at most ten seconds.
pub fn is_over(pid: i32) -> bool {
    let pid = Pid::from_raw(pid).expect("a process number");
    pidfd_open(pid, PidfdFlags::empty()).map_or(true, |handle| ended(&handle))
}

/// Says where a program of a test has its files.
const SITE: &str = "TASKWRIGHT_TEST_SITE";

/// Where a program of a test has its files; `None` for whoever just runs all tests.
pub fn site() -> Option<PathBuf> {
    std::env::var_os(SITE).map(Into::into)
}

/// Runs a test that is a program to its end: one that is `#[ignore]`d and does nothing without a [`site`]. It can be started for one
/// attempt as others can, since it is found by its arguments.
pub fn run_as_program(program: &Path, test: &str, site: &Path, temp: &Path) {
    let (_of_crate, test) = test.split_once("::").expect("the path of a test begins with that of its crate");
    let run = std::process::Command::new(program)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(SITE, site)
        .env("TMPDIR", temp)
        .output()
        .expect("the program can be started");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.contains("1 passed"), "{out}\n{err}");
}
