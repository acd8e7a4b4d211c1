//! A directory with a real store in it, the real binary, and real kills.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use taskwright::store::sqlite::rusqlite::Connection;
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::store::{Filter, JobDetail, JobView, Page, Store, WorkerState, WorkerView};
use taskwright::{Env, JobId, State};

#[cfg(feature = "postgres")]
#[path = "cluster.rs"]
pub mod cluster;
#[cfg(feature = "postgres")]
pub mod machines;
#[cfg(feature = "postgres")]
pub mod postgres;

/// A directory of its own, removed at the end, and a store: there, or in a database of its own.
pub struct Site {
    directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    runtime: tokio::runtime::Runtime,
    pub env: Env,
    /// What the environment of the binary says besides.
    variables: Vec<(&'static str, String)>,
    #[cfg(feature = "postgres")]
    database: Option<cluster::Database<'static>>,
}

impl Site {
    pub fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    pub fn in_directory(directory: tempfile::TempDir) -> Self {
        let env = Env::system();
        let path = directory.path().join(".taskwright/taskwright.db");
        let store = Arc::new(SqliteStore::open(&path, Options { now: env.now() }).unwrap());
        Self {
            directory,
            store,
            runtime: runtime(),
            env,
            variables: Vec::new(),
            #[cfg(feature = "postgres")]
            database: None,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn database(&self) -> PathBuf {
        self.path().join(".taskwright/taskwright.db")
    }

    /// The binary, to be run here: the one that was built with the test, unless `TASKWRIGHT_TEST_BINARY` names another (a
    /// release build, to measure).
    pub fn taskwright<const N: usize>(&self, args: [&str; N]) -> Command {
        let other = std::env::var_os("TASKWRIGHT_TEST_BINARY");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_taskwright").into()));
        command.args(args).current_dir(self.path());
        for name in ["TASKWRIGHT_STORE", "TASKWRIGHT_RUN_DIR", "TASKWRIGHT_CONFIG", "RUST_LOG"] {
            command.env_remove(name);
        }
        // Whatever profiles the user of this machine has.
        command.env("XDG_CONFIG_HOME", self.path().join("config"));
        // Many are tested at the same time, and one port is there once.
        command.env("TASKWRIGHT_LISTEN", "none");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// An example that is a program with tasks of its own, in the place of the binary.
    pub fn program<const N: usize>(&self, name: &str, args: [&str; N]) -> Command {
        let binary = self.taskwright(args);
        let mut ours = Command::new(example(name));
        ours.args(args).current_dir(self.path());
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => ours.env(name, value),
                None => ours.env_remove(name),
            };
        }
        ours
    }

    /// Runs the binary to its end, which must be good; what it printed.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> String {
        let output = self.taskwright(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}\n{errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts `up`, in a process group of its own, and waits until it says that it is.
    pub fn up<const N: usize>(&self, args: [&str; N]) -> Up {
        self.start(self.taskwright(["up"]).args(args))
    }

    /// The same, by this command.
    pub fn start(&self, up: &mut Command) -> Up {
        self.start_until(up, "Ctrl-C stops it")
    }

    /// The same, until it has said this.
    pub fn start_until(&self, up: &mut Command, line: &str) -> Up {
        let mut child = up.process_group(0).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let up = Up { child, lines, last_line: Default::default() };
        up.wait_for_line(line);
        up
    }

    /// The store, for a client.
    pub fn shared(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The store, for a client of it.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// What the store says now.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&dyn Store) -> T) -> T {
        self.runtime.block_on(question(&*self.store))
    }

    pub fn job(&self, id: JobId) -> JobDetail {
        self.ask(async |store| store.job(id).await.unwrap().unwrap())
    }

    /// All jobs that are in one of these states.
    pub fn jobs(&self, states: &[State]) -> Vec<JobView> {
        self.ask(async |store| {
            let filter = Filter { states: states.to_vec(), ..Filter::default() };
            let mut page = Page { after: None, limit: 1_000, oldest_first: true };
            let mut all = Vec::new();
            loop {
                let part = store.list(filter.clone(), page).await.unwrap();
                all.extend(part.jobs);
                page.after = part.next;
                if page.after.is_none() {
                    return all;
                }
            }
        })
    }

    pub fn workers(&self) -> Vec<WorkerView> {
        let all = self.ask(async |store| store.workers().await.unwrap());
        all.into_iter().filter(|worker| worker.state == WorkerState::Alive).collect()
    }

    /// Looks until it is so; a test that waits for ever is ended by its runner, this one says what it waited for.
    pub fn wait_until(&self, what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
        let began = now();
        while !is_so() {
            assert!(began.elapsed() < limit, "waited {limit:?} in vain for {what}");
            self.pause(Duration::from_millis(5));
        }
        began.elapsed()
    }

    pub fn pause(&self, duration: Duration) {
        self.runtime.block_on(async { self.env.sleep(duration).await });
    }

    /// Whether the store is on a database server, and not in a file.
    pub fn is_on_server(&self) -> bool {
        !self.variables.is_empty()
    }

    /// What SQLite itself says of the file; a database server looks after its own.
    pub fn check_integrity(&self) {
        if self.is_on_server() {
            return;
        }
        let conn = Connection::open(self.database()).unwrap();
        conn.busy_timeout(Duration::from_secs(30)).unwrap();
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
    }
}

/// The program of an example, which is built with the tests unless only some of these are.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "{} is missing: `cargo build --workspace --examples` with the features of `./test` makes it",
        program.display()
    );
    program
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A running `up`; killed at the end.
pub struct Up {
    child: Child,
    lines: Receiver<String>,
    last_line: std::cell::RefCell<String>,
}

impl Up {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes of its workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    pub fn wait_for_line(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line.contains(part) => {
                    self.last_line.replace(line.clone());
                    return line;
                }
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {part:?} ({error}); there was {seen:#?}"),
            }
        }
    }

    /// The line that was waited for last.
    pub fn last_line(&self) -> String {
        self.last_line.borrow().clone()
    }

    /// `kill -9` of the parent alone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -9` of the parent and every worker.
    pub fn kill_all(mut self) {
        let workers = self.worker_pids();
        self.child.kill().unwrap();
        workers.into_iter().for_each(|pid| signal(pid, "KILL"));
        self.child.wait().unwrap();
    }

    /// TERM, and the end in good order.
    pub fn stop(self) -> std::process::ExitStatus {
        self.signal_and_wait("TERM")
    }

    /// The same; what it has said that nobody has waited for.
    pub fn stop_and_read(mut self) -> Vec<String> {
        signal(self.pid(), "TERM");
        assert!(self.child.wait().unwrap().success());
        std::mem::replace(&mut self.lines, channel().1).into_iter().collect()
    }

    /// Waits for it to end by itself; how it did.
    pub fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// A signal, and how it ended.
    pub fn signal_and_wait(mut self, name: &str) -> std::process::ExitStatus {
        signal(self.pid(), name);
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        for pid in self.worker_pids() {
            signal(pid, "KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal; a process that is gone already needs none.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// Whether the process is there and no zombie.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub fn children_of(pid: u32) -> Vec<u32> {
    let mut children: Vec<u32> = Vec::new();
    // Any thread may have forked.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

pub fn lines_of(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (lines, read) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    read
}

#[allow(clippy::disallowed_methods, reason = "a test measures what a person would")]
pub fn now() -> Instant {
    Instant::now()
}

/// A small generator of choices; the seed is printed by whoever uses it, so that a failure can be repeated.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// The longest of some durations, and the middle one.
pub fn spread(mut durations: Vec<Duration>) -> (Duration, Duration) {
    durations.sort_unstable();
    let middle = durations.get(durations.len() / 2).copied().unwrap_or_default();
    (middle, durations.last().copied().unwrap_or_default())
}
