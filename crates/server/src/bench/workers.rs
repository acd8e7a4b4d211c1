//! Worker processes of this same binary, and what each of them does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::store::{SharedStore, WorkerState};
use taskwright::supervisor::Parent;
use taskwright::worker::Builder;
use taskwright::{Context as Attempt, Env, Registry, Task, TaskError, Worker};
use tokio::sync::mpsc;

use super::flow::Noted;
use super::scene::{KIND, Scene, open_as_server};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::{Error, Exit, in_words};

/// A worker process tells each time that it has run so many jobs more.
const TOLD_EVERY: u64 = 1_000;

/// How long worker processes may take to be there.
const START_MAX: Duration = Duration::from_secs(20);

/// How long worker processes may take to end what they run, and themselves.
const STOP_MAX: Duration = Duration::from_secs(60);

/// How often the store is asked whether they have registered.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a worker process says, a line each; a number is how many jobs more it has run.
const READY: &str = "ready";
const END: &str = "end";

/// Worker processes. They end when their standard input does.
pub(super) struct Workers {
    children: Vec<Child>,
    said: mpsc::UnboundedReceiver<String>,
}

impl Workers {
    /// Starts them, and waits until each has opened the store.
    pub(super) async fn start(scene: &Scene, verb: &Bench, serve: Serve) -> Result<Self, Error> {
        let (say, said) = mpsc::unbounded_channel();
        let mut workers = Self { children: Vec::new(), said };
        for _ in 0..verb.workers {
            let mut command = scene.server(serve, verb)?;
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
                Error::operational("starting a worker process", in_words(&error), "look at `ulimit -u`")
            })?;
            workers.children.push(child);
            let Some(lines) = workers.children.last_mut().and_then(|child| child.stdout.take()) else {
                continue;
            };
            let say = say.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    // Nobody listens any more at the end.
                    let _ = say.send(line);
                }
            });
        }
        let ready = async {
            let mut left = verb.workers;
            while left > 0 && workers.said.recv().await.is_some_and(|line| line == READY) {
                left -= 1;
            }
            left == 0
        };
        match scene.env.timeout(START_MAX, ready).await {
            Some(true) => Ok(workers),
            _ => Err(not_there()),
        }
    }

    /// Waits until each has registered.
    pub(super) async fn registered(&self, env: &Env, store: &SharedStore) -> Result<(), Error> {
        let registered = async {
            loop {
                let all = store.workers().await?;
                if all.iter().filter(|w| w.state == WorkerState::Alive).count() >= self.children.len() {
                    return Ok(());
                }
                env.sleep(LOOK_EVERY).await;
            }
        };
        env.timeout(START_MAX, registered).await.unwrap_or_else(|| Err(not_there()))
    }

    /// Has all of them begin, and waits until they have run `jobs` jobs; with no other jobs `behind` these, until none is
    /// left for any of them.
    pub(super) async fn drain(&mut self, jobs: u64, behind: u64) -> Result<(), Error> {
        for child in &mut self.children {
            // One that is gone says no more, which is noticed below.
            let _ = child.stdin.as_mut().map(|stdin| stdin.write_all(b"go\n"));
        }
        let (mut run, mut left) = (0, self.children.len());
        while left > 0 {
            let line = self.said.recv().await.ok_or_else(|| {
                Error::operational(
                    "the drain by worker processes",
                    "one of them ended early",
                    "run one by hand to see why: taskwright worker",
                )
            })?;
            match line.parse::<u64>() {
                Ok(more) => run += more,
                Err(_) => left -= usize::from(line == END),
            }
            if behind > 0 && run >= jobs {
                break;
            }
        }
        Ok(())
    }

    /// Ends them; what they say until then is given to `heard`, a line at a time.
    pub(super) async fn stop(mut self, env: &Env, mut heard: impl FnMut(&str)) -> Result<(), Error> {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        let ending = async {
            // It ends with the last of their outputs.
            while let Some(line) = self.said.recv().await {
                heard(&line);
            }
        };
        env.timeout(STOP_MAX, ending).await.ok_or_else(|| {
            Error::operational(
                "stopping the worker processes",
                format!("they had not ended after {} s", STOP_MAX.as_secs()),
                "see whether the machine is overloaded; otherwise this is a bug in taskwright: please report it",
            )
        })
    }
}

fn not_there() -> Error {
    Error::operational(
        "starting worker processes",
        format!("they were not there within {} s", START_MAX.as_secs()),
        "run one by hand to see why: taskwright worker",
    )
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for child in &mut self.children {
            // A child that is gone already needs no waiting.
            let _ = child.wait();
        }
    }
}

/// A worker that runs benchmark jobs; `on_job` is called for each.
pub(super) fn worker(
    env: &Env,
    store: &SharedStore,
    verb: &Bench,
    on_job: impl Fn() + Send + Sync + 'static,
) -> Result<Builder, Error> {
    worker_of(env, store, verb, &Noted::new()?, on_job)
}

/// The same; those that only flow by are noted instead.
pub(super) fn worker_of(
    env: &Env,
    store: &SharedStore,
    verb: &Bench,
    noted: &Noted,
    on_job: impl Fn() + Send + Sync + 'static,
) -> Result<Builder, Error> {
    let registry = noted.handle(Registry::new())?;
    let registry = match verb.typed {
        true => registry.state(OnJob(Box::new(on_job))).register::<Noop>()?,
        false => registry.handler(KIND, move |_| {
            on_job();
            async { Ok(()) }
        })?,
    };
    Ok(Worker::builder(Arc::clone(store), registry, env.clone()).concurrency(verb.concurrency as usize))
}

/// What is called for each job.
struct OnJob(Box<dyn Fn() + Send + Sync>);

/// A job of the benchmark, as a task that reads its arguments.
#[derive(Serialize, Deserialize)]
struct Noop {
    id: u64,
    data: String,
}

impl Task for Noop {
    const KIND: &'static str = KIND;
    type Output = ();

    async fn run(self, ctx: Attempt) -> Result<(), TaskError> {
        (ctx.state::<OnJob>()?.0)();
        Ok(())
    }
}

/// What a worker process of `bench` does: runs jobs until its standard input ends; one that drains waits for a line first, and ends
/// when there are none.
pub(super) async fn serve(context: &Context, verb: &Bench, drains: bool) -> Result<Exit, Error> {
    let store = open_as_server(context, verb).await?;
    let run = Arc::new(AtomicU64::new(0));
    let counted = run.clone();
    let noted = Noted::new()?;
    let worker = worker_of(&context.env, &store, verb, &noted, move || {
        if (counted.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(TOLD_EVERY) {
            // A parent that is gone is noticed elsewhere.
            let _ = say(&TOLD_EVERY.to_string());
        }
    })?;
    // A parent that is gone ends what follows.
    let _ = say(READY);
    let worker = if drains {
        let mut go = String::new();
        let read = std::io::stdin().read_line(&mut go);
        if !read.is_ok_and(|bytes| bytes > 0) {
            return Ok(Exit::Ok);
        }
        worker.until_empty()
    } else {
        worker
    };
    worker.run(Parent::listen().gone()).await?;
    let _ = say(&(run.load(Ordering::Relaxed) % TOLD_EVERY).to_string());
    let _ = say(&noted.line());
    let _ = say(END);
    store.close().await?;
    Ok(Exit::Ok)
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A task of a benchmark that did not end.
pub(super) fn died(died: taskwright::env::Died) -> Error {
    Error::operational("the benchmark", died.to_string(), "this is a bug in taskwright: please report it")
}
