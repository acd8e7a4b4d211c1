//! `up`: everything in one process tree.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::{SharedStore, Store, WorkerState};
use taskwright::supervisor::{End, Event, Supervisor};
use taskwright::{Duties, Env};
use tokio::sync::{Notify, mpsc, watch};

use super::signals::Signals;
use super::watchdog;
use super::{CONCURRENCY_DEFAULT, GRACE_DEFAULT};
use crate::cli::Context;
use crate::cli::up::Up;
use crate::error::{Error, Exit, in_words};
use crate::text;

/// How long killed workers may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(2);

/// How long the end may take to look for what killed workers left running.
const CLEAN_TIME: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// When the store cannot be opened, or another `up` runs on it.
pub(crate) fn up(context: &Context, verb: &Up) -> Result<Exit, Error> {
    super::log::start(context);
    context.block_on(run(context, verb))
}

async fn run(context: &Context, verb: &Up) -> Result<Exit, Error> {
    let env = context.env.clone();
    let store = Arc::clone(context.store_or_new().await?);
    let duty_config = super::duties(context, &store, true)?;
    let lock = super::lock::take(&context.store_url)?;
    let signals = Signals::listen()?;
    let plan = Plan::of(context, verb);
    let listen = verb.listen.or(context.config.server.listen).unwrap_or_default();
    let http = super::serve::start(context, listen).await?;
    super::schedules::register(context).await?;
    super::webhooks::register(context).await?;
    greet(context, &*store, &plan, http.as_ref().map(|(_, url)| url.as_str()));

    let duties = Duties::start_with(&store, &env, &duty_config, crate::command::orphan_killer(&store));
    let (ends, end) = mpsc::unbounded_channel();
    let blocked = Arc::new(Notify::new());
    // A server rids itself of a client that holds it up.
    let watches = !context.store_url.is_elsewhere();
    let watch = watches.then(|| watchdog::start(&env, &store, Arc::clone(&blocked)));
    let dead = Dead::default();
    let workers = supervise(context, &env, &plan, end, blocked, store.unannounced(), |event| {
        tell(context, event);
        if let Event::Died { slot, pid, .. } = *event {
            dead.borrow_mut().insert(slot, pid);
            duties.reclaim_now();
        }
    });
    let at_once = ends.clone();
    let draining = Cell::new(None);
    let (asked, serving, draining) = (&env, &http, &draining);
    let ended = signals
        .around(
            &env,
            workers,
            move || {
                context.output.note("stopping: waiting for what runs (a second signal ends it at once)");
                // First nothing is taken in any more, then the workers end.
                let drained = serving.as_ref().map(|(server, _)| server.drain());
                draining.set(Some(asked.spawn("drain", async move {
                    if let Some(drained) = drained {
                        drained.await;
                    }
                    // The supervisor may have ended by itself meanwhile.
                    let _ = ends.send(End::Gracefully);
                })));
            },
            move || {
                let _ = at_once.send(End::AtOnce);
                KILL_TIME
            },
        )
        .await;
    drop(watch);
    if let Some((server, _)) = http {
        server.close().await;
    }
    super::end(duties, &env).await;
    let dead = dead.into_inner();
    if !dead.is_empty() && env.timeout(CLEAN_TIME, clean_up(&env, &store, &dead)).await.is_none() {
        context.output.note("the store does not answer: commands of killed workers may still run");
    }
    drop(lock);
    match ended {
        Ok(ended) => ended.map(|()| Exit::Ok),
        Err(signal) => Ok(Exit::Signal(signal)),
    }
}

/// By slot, the process that died there last.
type Dead = RefCell<BTreeMap<usize, u32>>;

/// Ends what workers left running whose death the duties may not have come to any more.
async fn clean_up(env: &Env, store: &SharedStore, dead: &BTreeMap<usize, u32>) {
    // Also answers after any look of the duties that was still under way; whom that found is among the lost below.
    let reclaimed = store.reclaim(env.now(), env.monotonic_us()).await;
    match (reclaimed, store.workers().await) {
        (Ok(_), Ok(workers)) => {
            let is_ours = |pid: u32| dead.values().any(|ours| *ours == pid);
            workers
                .into_iter()
                .filter(|worker| worker.state == WorkerState::Lost && is_ours(worker.pid))
                .for_each(|worker| crate::command::kill_orphans_of(&**store, worker.id));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "commands of killed workers may still run");
        }
    }
}

/// What is to be run.
struct Plan {
    processes: usize,
    concurrency: u32,
    reserve: u32,
    grace: Duration,
    lease: Option<Duration>,
}

impl Plan {
    fn of(context: &Context, verb: &Up) -> Self {
        let config = &context.config.workers;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            processes: verb.workers.or(config.processes).map_or(cpus, |count| count as usize),
            concurrency: verb.concurrency.or(config.concurrency).unwrap_or(CONCURRENCY_DEFAULT),
            reserve: verb.reserve.or(config.reserve).unwrap_or(0),
            grace: verb.grace.or(config.grace).unwrap_or(GRACE_DEFAULT),
            lease: verb.lease,
        }
    }
}

/// Says what was started, where, and what to type next.
fn greet(context: &Context, store: &dyn Store, plan: &Plan, url: Option<&str>) {
    let name = own_name();
    let out = &context.output;
    out.note(format!("taskwright {} is up", env!("CARGO_PKG_VERSION")));
    out.note(format!("  store    {}", store.info().url));
    out.note(format!("  http     {}", url.unwrap_or("none (--listen none)")));
    out.note(match plan.processes {
        0 => "  workers  none: jobs are accepted and wait (--workers 0)".to_owned(),
        1 => format!("  workers  1 process, {} jobs at once", plan.concurrency),
        n => format!("  workers  {n} processes, {} jobs at once each", plan.concurrency),
    });
    out.note("\nNow type, in another terminal in this directory:");
    out.note(format!("  {name} enqueue exec -- sh -c 'echo hello'"));
    out.note(format!("  {name} jobs list"));
    out.note("\nCtrl-C stops it in good order.");
}

/// What to type to run this program again.
fn own_name() -> String {
    let exe = std::env::current_exe().ok();
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|place| {
            let found = std::fs::canonicalize(place.join("taskwright")).ok();
            found.is_some() && found == exe
        })
    });
    let here = std::env::current_dir().ok();
    match exe {
        Some(exe) if !on_path => {
            match here.and_then(|here| exe.strip_prefix(here).ok().map(|exe| exe.display().to_string())) {
                Some(relative) => relative,
                None => exe.display().to_string(),
            }
        }
        _ => "taskwright".to_owned(),
    }
}

/// Keeps the worker processes alive until the end.
async fn supervise(
    context: &Context,
    env: &Env,
    plan: &Plan,
    end: mpsc::UnboundedReceiver<End>,
    blocked: Arc<Notify>,
    news: Option<watch::Receiver<u64>>,
    on_event: impl FnMut(&Event),
) -> Result<(), Error> {
    if plan.processes == 0 {
        let mut end = end;
        // Whatever is asked, there is nothing to wait for.
        end.recv().await;
        return Ok(());
    }
    let exe = std::env::current_exe().map_err(|error| {
        Error::operational("finding this program's own file", in_words(&error), "start it by its full path")
    })?;
    let args = context.worker_arguments(plan.concurrency, plan.reserve, plan.grace, plan.lease);
    let variables = context.store_environment();
    let command = move || {
        let mut command = Command::new(&exe);
        command.args(&args).envs(variables.iter().map(|(name, value)| (name, value)));
        command
    };
    // Two seconds more than a worker gives its jobs: it needs a moment to write down how they ended.
    let supervisor = Supervisor::new(env.clone(), plan.processes, command)
        .nudge_on(news)
        .grace(plan.grace + Duration::from_secs(2))
        .replace_on(Exit::Recycled.code().into())
        .kill_paused_on(blocked);
    supervisor.run(end, on_event).await.map_err(|error| {
        Error::operational("starting workers", in_words(&error), "look at this user's limits: ulimit -a")
    })
}

fn tell(context: &Context, event: &Event) {
    let out = &context.output;
    match event {
        Event::Started { pid, .. } => out.detail(format!("worker process {pid} started")),
        Event::Died { pid, status, restart_in, .. } => {
            let then = match *restart_in {
                None => String::new(),
                Some(Duration::ZERO) => "; another is started".to_owned(),
                Some(pause) => format!("; another is started in {}", text::duration(pause)),
            };
            out.note(format!("worker process {pid} died ({status}){then}"));
        }
        Event::KilledPaused { pid, .. } => out.note(format!(
            "worker process {pid} was stopped (SIGSTOP) while the store is blocked, and may hold its lock: killed"
        )),
        // It has said itself why.
        Event::Recycled { pid, .. } => out.note(format!("worker process {pid} was recycled; another is started")),
        Event::Left { pid, .. } => out.note(format!("worker process {pid} ended in good order")),
        Event::NotStarted { error, retry_in, .. } => out.note(format!(
            "a worker process could not be started ({}); trying again in {}",
            in_words(error),
            text::duration(*retry_in)
        )),
        Event::NoneLeft => out.note("no worker process is left: jobs are accepted and wait"),
    }
}
