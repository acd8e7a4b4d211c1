//! A command line on a store in memory, whose streams a test can read.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright::core::generator::{Definition, Record};
use taskwright::core::trigger::Custom;
use taskwright::generator::GeneratorSet;
use taskwright::store::memory::MemoryStore;
use taskwright::store::{
    Claim, ClaimedJob, Collect, CollectStore, EventStore, Finish, GeneratorStore as _, LogEntry, LogStream,
    NewGenerator, NewWorker, ProcessPlace, Progress, ProgressReport, ServiceRecord, ServiceStore as _,
    SharedStore, Store,
};
use taskwright::{Client, DutyConfig, Env, JobId, Kind, Namespace, Schedule, State, Trigger, WorkerId};
use taskwright_core::attempt::{self, AttemptEnd, Facts, Outcome};
use taskwright_core::{Garbage, ServiceState};
use taskwright_server::output::Terminal;
use taskwright_server::{App, Exit, Io};

/// A store and the commands that are run on it.
pub(crate) struct Cli {
    store: MemoryStore,
    env: Env,
    worker: WorkerId,
    runtime: tokio::runtime::Runtime,
    input: Vec<u8>,
    terminal: Terminal,
    app: App,
}

/// What one command left behind.
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Cli {
    pub(crate) fn new() -> Self {
        let env = Env::system();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cli = Self {
            store: MemoryStore::new(),
            worker: env.worker_id(),
            env,
            runtime,
            input: Vec::new(),
            terminal: Terminal::default(),
            app: App::new(),
        };
        let worker = NewWorker {
            id: cli.worker,
            host: "here\u{1b}[31m".to_owned(),
            pid: 7,
            concurrency: 4,
            queues: Vec::new(),
            lease: Duration::from_secs(3_600),
        };
        cli.runtime.block_on(cli.store.register(cli.env.now(), cli.env.monotonic_us(), worker)).unwrap();
        cli
    }

    /// The same, with somebody who sees the output on a terminal of this width.
    pub(crate) fn seen(mut self, width: u16) -> Self {
        self.terminal = Terminal { input: false, out: true, err: false, width: Some(width) };
        self
    }

    /// The same, as another program.
    pub(crate) fn of_app(mut self, app: App) -> Self {
        self.app = app;
        self
    }

    /// The same, with somebody who can answer.
    pub(crate) fn asked(mut self, answer: &str) -> Self {
        self.terminal.input = true;
        self.terminal.err = true;
        self.input(answer);
        self
    }

    pub(crate) fn input(&mut self, input: impl Into<Vec<u8>>) {
        self.input = input.into();
    }

    /// Runs one command; its words stand between spaces.
    pub(crate) fn run(&self, args: &str) -> Ran {
        self.run_words(&args.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_words(&self, args: &[&str]) -> Ran {
        let (out, err) = (Shared::default(), Shared::default());
        let exit = self.run_into(args, Box::new(out.clone()), Box::new(err.clone()));
        Ran { exit, out: out.text(), err: err.text() }
    }

    /// Runs one command with streams of the test's choice.
    pub(crate) fn run_into(
        &self,
        args: &[&str],
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Exit {
        self.run_with(args, Box::new(Cursor::new(self.input.clone())), out, err)
    }

    /// Runs one command that asks a question, and answers it with yes once a job was claimed.
    pub(crate) fn run_while_one_is_claimed(&self, args: &str) -> Ran {
        let (store, claim) = (self.store.handle(), self.wish());
        let meanwhile = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert_eq!(runtime.block_on(store.claim(claim)).unwrap().jobs.len(), 1);
        };
        let (out, err) = (Shared::default(), Shared::default());
        let args: Vec<&str> = args.split_whitespace().collect();
        let answer =
            BufReader::new(Answer { meanwhile: Some(Box::new(meanwhile)), text: Cursor::new(b"y\n") });
        let exit = self.run_with(&args, Box::new(answer), Box::new(out.clone()), Box::new(err.clone()));
        Ran { exit, out: out.text(), err: err.text() }
    }

    fn run_with(
        &self,
        args: &[&str],
        input: Box<dyn BufRead + Send>,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Exit {
        let io = Io { input, out, err, terminal: self.terminal };
        // A handle, because a command closes the store that it worked on.
        let store: Arc<dyn Store> = Arc::new(self.store.handle());
        let args = std::iter::once("taskwright").chain(args.iter().copied());
        taskwright_server::run_on(store, self.app.clone(), args, io)
    }

    /// Enqueues one job of a kind, and gives its id.
    pub(crate) fn job(&self, kind: &str) -> JobId {
        let ran = self.run(&format!("enqueue {kind} --any-kind"));
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
        ran.out.trim().parse().unwrap()
    }

    /// Delivers all events to schedules, of which there are none, and removes them.
    pub(crate) fn forget_events(&self) {
        self.runtime.block_on(async {
            let waiting = self.store.undelivered(1_000).await.unwrap();
            let keys = waiting.iter().map(|stored| stored.number).collect();
            assert!(self.store.deliver(self.env.now(), keys, Vec::new()).await.unwrap());
            let before = self.env.now().plus(Duration::from_secs(1));
            let collect =
                Collect { garbage: Garbage::Events, before, after: None, limit: 1_000, dry_run: false };
            assert_eq!(self.store.collect(collect).await.unwrap().rows, waiting.len());
        });
    }

    /// A job that has reached this state.
    pub(crate) fn job_in(&self, state: State) -> JobId {
        let id = self.job("probe");
        let outcome = match state {
            State::Available => return id,
            State::Running => {
                self.claim();
                return id;
            }
            State::Completed => Outcome::Completed { result: Some("{\"answer\": 42}".to_owned()) },
            State::Failed => Outcome::Fail { error: "it broke\u{1b}[31m".to_owned() },
            State::Retryable => {
                Outcome::Retry { error: "not yet".to_owned(), after: None, end: AttemptEnd::Failed }
            }
            State::Cancelled => Outcome::Cancelled { reason: "enough".to_owned() },
            State::Scheduled => Outcome::Snooze { delay: Duration::from_secs(60) },
            State::Held | State::Blocked | State::Dropped => panic!("no way to {state} here"),
        };
        let claimed = self.claim();
        self.finish(&claimed, outcome);
        id
    }

    pub(crate) fn claim(&self) -> ClaimedJob {
        self.runtime.block_on(self.store.claim(self.wish())).unwrap().jobs.pop().unwrap()
    }

    /// One job of the kind `probe`.
    fn wish(&self) -> Claim {
        Claim {
            now: self.env.now(),
            worker: self.worker,
            limit: 1,
            kinds: vec![Kind::new("probe").unwrap()],
            queues: None,
            namespace: None,
            priority_max: None,
        }
    }

    pub(crate) fn finish(&self, job: &ClaimedJob, outcome: Outcome) {
        let now = self.env.now();
        let facts = Facts {
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            backoff: taskwright::Backoff::default(),
            delivery: taskwright_core::Delivery::default(),
            on_shutdown: taskwright_core::OnShutdown::default(),
            cancel_requested: false,
            now,
            dice: 0.5,
        };
        let decision = attempt::decide(outcome, &facts);
        let (key, attempt) = (job.key, job.attempt);
        let end = Finish {
            key,
            attempt,
            started_at: now,
            ended_at: now,
            decision,
            usage: None,
            follow_ups: Vec::new(),
            snoozes_max: 0,
        };
        self.runtime.block_on(self.store.finish(now, self.worker, vec![end])).unwrap();
    }

    pub(crate) fn log(&self, job: &ClaimedJob, stream: LogStream, bytes: &[u8]) {
        let (key, attempt, at) = (job.key, job.attempt, self.env.now());
        let entry = LogEntry { key, attempt, at, stream, bytes: bytes.to_vec() };
        self.runtime.block_on(self.store.log(self.worker, vec![entry])).unwrap();
    }

    pub(crate) fn progress(&self, job: &ClaimedJob, done: u64, total: u64, message: &str) {
        let progress = Progress { done, total: Some(total), message: Some(message.to_owned()) };
        let report = ProgressReport { key: job.key, attempt: job.attempt, at: self.env.now(), progress };
        self.runtime.block_on(self.store.report(self.worker, vec![report])).unwrap();
    }

    /// Does what is due once, as a node does that knows these generators.
    pub(crate) fn do_duties(&self, generators: GeneratorSet) {
        let store: SharedStore = Arc::new(self.store.handle());
        let config = DutyConfig { generators, ..DutyConfig::default() };
        self.runtime.block_on(taskwright::duty::run_once(&store, &self.env, &config, |_| ())).unwrap();
    }

    /// Registers a schedule whose trigger only some other program knows.
    pub(crate) fn put_foreign_schedule(&self, name: &str) {
        let custom = Custom { name: "theirs".parse().unwrap(), spec: serde_json::Value::Null };
        let schedule = Schedule::builder(name.parse().unwrap(), Kind::new("probe").unwrap());
        let schedule = schedule.trigger(Trigger::Custom(custom)).build().unwrap();
        self.runtime.block_on(self.client().schedules().put(&schedule)).unwrap();
    }

    /// Has a schedule make jobs, as somebody does by hand.
    pub(crate) fn fire(&self, name: &str, times: usize) {
        let (schedules, name) = (self.client().schedules(), name.parse().unwrap());
        self.runtime.block_on(async {
            for _ in 0..times {
                schedules.fire(&Namespace::default(), &name, None).await.unwrap();
            }
        });
    }

    fn client(&self) -> Client {
        Client::new(Arc::new(self.store.handle()), self.env.clone())
    }

    /// Registers a generator that has been due for some time, and that nobody brings.
    pub(crate) fn register_generator(&self, name: &str, due_for: Duration) {
        let (definition, at) = (Definition::new(name.parse().unwrap()), self.env.now().minus(due_for));
        let new = NewGenerator::first(&definition, &Record::new(at), "null".to_owned(), at);
        self.runtime.block_on(self.store.put_generators(at, vec![new])).unwrap();
    }

    /// A process told of a service so long ago; one that failed waits to be started again.
    pub(crate) fn tell_of_service(&self, name: &str, state: ServiceState, pid: u32, ago: Duration) {
        let (seen_at, host) = (self.env.now().minus(ago), "build-3".to_owned());
        let process = ProcessPlace { id: self.env.process_id(), host, pid };
        let failed = state == ServiceState::Failed;
        let record = ServiceRecord {
            name: name.parse().unwrap(),
            state,
            since: seen_at,
            restarts: 3,
            restart_at: failed.then(|| seen_at.plus(Duration::from_secs(60))),
            error: failed.then(|| "the disk is full\u{1b}[2J".to_owned()),
            error_at: failed.then_some(seen_at),
        };
        self.runtime.block_on(self.store.tell_services(seen_at, process, vec![record])).unwrap();
    }

    /// How many lines of data a command printed.
    pub(crate) fn lines(ran: &Ran) -> usize {
        ran.out.lines().count()
    }

    pub(crate) fn state(&self, id: JobId) -> Option<State> {
        self.runtime.block_on(self.store.job(id)).unwrap().map(|job| job.view.state)
    }
}

/// An answer that somebody gives who does something else before.
struct Answer {
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
    text: Cursor<&'static [u8]>,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(meanwhile) = self.meanwhile.take() {
            // On a thread of its own, because the command has a runtime on this one.
            std::thread::spawn(meanwhile).join().unwrap();
        }
        self.text.read(buffer)
    }
}

/// A stream that stays readable after the command has ended.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away.
pub(crate) struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
