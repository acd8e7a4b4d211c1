//! How many jobs a second are claimed, run (they do nothing) and finished.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::{Counters, Filter, Page, SharedStore, WorkerState};
use taskwright::{Actor, Env, Namespace, QueueName, Registry, State, Worker};

use super::report::{Round, report};
use super::scene::{KIND, Scene, fill};
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::{Error, in_words};

/// How often the store is asked whether other processes are done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) async fn run(context: &Context, verb: &Bench) -> Result<(), Error> {
    let scene = Scene::new(context)?;
    let jobs = verb.jobs.unwrap_or(100_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        let raw = scene.raw(verb, jobs)?;
        let (path, store) = scene.store("drain")?;
        prepare(&scene.env, &store, verb).await?;
        fill(&scene.env, &store, verb, jobs).await?;
        let before = store.counters();
        let took = if verb.workers == 0 {
            here(&scene.env, &store, verb).await?
        } else {
            elsewhere(&scene.env, &store, &path, verb).await?
        };
        let counters = since(store.counters(), before);
        check_drained(&store, jobs).await?;
        rounds.push(Round { took, raw: raw.claim_finish, counters });
        store.close().await?;
        drop(store);
        scene.clear();
    }
    report(context, verb, "drain", jobs, &rounds)
}

fn since(after: Counters, before: Counters) -> Counters {
    Counters {
        calls: after.calls - before.calls,
        statements: after.statements - before.statements,
        commits: after.commits - before.commits,
        flushes: after.flushes - before.flushes,
    }
}

/// Puts in what is to lie around while the rest is drained.
async fn prepare(env: &Env, store: &SharedStore, verb: &Bench) -> Result<(), Error> {
    if verb.finished > 0 {
        fill(env, store, verb, verb.finished).await?;
        here(env, store, verb).await?;
    }
    if verb.scheduled > 0 {
        let client = taskwright::Client::new(Arc::clone(store), env.clone());
        let later = Duration::from_secs(30 * 86_400);
        let jobs = (0..verb.scheduled)
            .map(|number| super::scene::job(super::scene::payload(number, verb.payload)).run_in(later));
        client.enqueue_each(jobs, |_| ()).await?;
    }
    Ok(())
}

/// A benchmark that lost a job has measured nothing.
async fn check_drained(store: &SharedStore, jobs: u64) -> Result<(), Error> {
    let filter = Filter { states: vec![State::Available, State::Running], ..Filter::default() };
    let page = Page { after: None, limit: 1, oldest_first: true };
    let left = store.list(filter, page).await?.jobs.len();
    if left > 0 {
        return Err(Error::operational(
            format!("the drain of {jobs} jobs"),
            "some of them did not end",
            "this is a bug in taskwright: please report it",
        ));
    }
    Ok(())
}

/// Drains in this process.
async fn here(env: &Env, store: &SharedStore, verb: &Bench) -> Result<Duration, Error> {
    let began = env.monotonic_us();
    worker(env, store, verb)?.until_empty().run(std::future::pending()).await?;
    Ok(Duration::from_micros(env.monotonic_us() - began))
}

fn worker(env: &Env, store: &SharedStore, verb: &Bench) -> Result<taskwright::worker::Builder, Error> {
    let registry = Registry::new().handler(KIND, |_| async { Ok(()) })?;
    Ok(Worker::builder(Arc::clone(store), registry, env.clone()).concurrency(verb.concurrency as usize))
}

/// Drains in processes of their own. They are started before the clock is: the queue is paused until all are there.
async fn elsewhere(env: &Env, store: &SharedStore, path: &Path, verb: &Bench) -> Result<Duration, Error> {
    let pause =
        |paused| store.pause(env.now(), Namespace::default(), QueueName::default(), paused, Actor::system());
    pause(true).await?;
    let workers = Workers::start(env, store, path, verb).await?;
    let began = env.monotonic_us();
    pause(false).await?;
    loop {
        let queues = store.queues(env.now(), None).await?;
        if queues.iter().all(|queue| queue.available == 0 && queue.running == 0) {
            break;
        }
        env.sleep(LOOK_EVERY).await;
    }
    let took = Duration::from_micros(env.monotonic_us() - began);
    drop(workers);
    Ok(took)
}

/// Worker processes of this same binary. They end when their standard input does.
pub(super) struct Workers(Vec<Child>);

impl Workers {
    /// Starts them, and waits until each has registered.
    pub(super) async fn start(
        env: &Env,
        store: &SharedStore,
        path: &Path,
        verb: &Bench,
    ) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::operational("starting a worker process", in_words(&error), "look at `ulimit -u`")
        };
        let exe = std::env::current_exe().map_err(failed)?;
        let mut children = Self(Vec::new());
        for _ in 0..verb.workers {
            let mut command = Command::new(&exe);
            command.arg("--store").arg(format!("sqlite:{}", path.display()));
            command.args(["bench", "drain", "--serve", "--concurrency", &verb.concurrency.to_string()]);
            children.0.push(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?);
        }
        let registered = async {
            loop {
                let alive = store.workers().await?;
                if alive.iter().filter(|w| w.state == WorkerState::Alive).count() >= verb.workers as usize {
                    return Ok(());
                }
                env.sleep(LOOK_EVERY).await;
            }
        };
        match env.timeout(Duration::from_secs(20), registered).await {
            Some(Ok(())) => Ok(children),
            Some(Err(error)) => Err(error),
            None => Err(Error::operational(
                "starting worker processes",
                "they did not register within 20 s",
                "run one by hand to see why: taskwright worker",
            )),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            // A child that is gone already needs no waiting.
            let _ = child.wait();
        }
    }
}

/// Serves benchmark jobs until standard input ends: what a worker process of `bench` does.
pub(super) fn serve(context: &Context, verb: &Bench) -> Result<crate::error::Exit, Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let store = Arc::clone(context.store_or_new().await?);
        worker(&context.env, &store, verb)?.run(taskwright::supervisor::parent_gone()).await?;
        store.close().await?;
        Ok(crate::error::Exit::Ok)
    })
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| {
        Error::operational("starting", in_words(&error), "look at this user's limits: ulimit -a")
    })
}
