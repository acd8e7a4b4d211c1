//! `worker`: runs jobs in this process.

use std::sync::Arc;
use std::time::Duration;

use taskwright::store::Store;
use taskwright::supervisor::Parent;
use taskwright::{Duties, Env, Worker as JobWorker, duty};
use tokio::sync::{Notify, watch};

use super::signals::{Asked, HangUp, HangUps, Signals};
use super::{CONCURRENCY_DEFAULT, GRACE_DEFAULT};
use crate::cli::Context;
use crate::cli::worker::Worker;
use crate::command;
use crate::error::{Error, Exit, in_words};

/// Threads that run handlers. Commands and network calls wait much and compute little; what computes belongs on the
/// blocking pool.
const THREADS_MAX: usize = 4;

/// The pauses between attempts to open the store: the first, and the longest.
const OPEN_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Runs a worker until it is told to stop, or nothing is left to do.
///
/// # Errors
///
/// When the store cannot be opened, or refuses the worker.
pub(crate) fn worker(context: &Context, verb: &Worker) -> Result<Exit, Error> {
    super::log::start(context);
    if context.config.workers.no_new_privs.unwrap_or(false) {
        give_up_new_rights()?;
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("taskwright-run")
        .enable_all()
        .build()
        .map_err(|error| {
            Error::operational("starting", in_words(&error), "look at this user's limits: ulimit -a")
        })?;
    let exit = runtime.block_on(run(context, verb));
    // Blocking handlers that outlived the grace must not hold up the end.
    runtime.shutdown_background();
    exit
}

/// Sees to it that nothing that is started from here on gets more rights than this process has. Threads and processes inherit it, so
/// that it comes before the first of them.
fn give_up_new_rights() -> Result<(), Error> {
    let refused = |why: String| {
        let fix = "remove no_new_privs from [workers], or start it on Linux";
        Err(Error::operational("no_new_privs of [workers]", why, fix))
    };
    #[cfg(target_os = "linux")]
    return match rustix::thread::set_no_new_privs(true) {
        Ok(()) => Ok(()),
        Err(error) => refused(in_words(&error.into())),
    };
    #[cfg(not(target_os = "linux"))]
    refused("this system has nothing like it".to_owned())
}

async fn run(context: &Context, verb: &Worker) -> Result<Exit, Error> {
    let env = context.env.clone();
    let parent = verb.supervised.then(Parent::listen);
    let store = match &parent {
        Some(parent) => match store_of_parent(context, &env, parent).await? {
            Some(store) => store,
            None => return Ok(Exit::Ok),
        },
        None => context.store_or_new().await?,
    };
    let store = Arc::clone(store);
    let _rousing =
        parent.as_ref().map(|parent| env.spawn("rouse", rouse(Arc::clone(&store), parent.nudges())));
    let signals = Signals::listen()?;
    let mut hang_ups = HangUps::listen()?;
    let config = &context.config;
    let grace = verb.grace.or(config.workers.grace).unwrap_or(GRACE_DEFAULT);
    let registry = context.app.ready_registry().await?;
    let registry = command::register(registry, config, &store, &env, grace)?;

    // Who drains a store is not to wait for the receivers of webhooks.
    let delivers = !verb.supervised && !verb.until_empty;
    let mut duty_config = super::duties(context, config, &store, delivers)?;
    if let Some(worst) = verb.max_priority {
        // It would not run what they make.
        duty_config.generators = duty_config.generators.up_to(worst);
    }
    // A supervised worker leaves the duties to its parent.
    let duties = if verb.supervised {
        None
    } else {
        super::schedules::register(context, config).await?;
        super::webhooks::register(context, config).await?;
        Some(Duties::start_with(&store, &env, &duty_config, command::orphan_killer(&store)))
    };
    let mut builder = JobWorker::builder(Arc::clone(&store), registry, env.clone())
        .concurrency(verb.concurrency.or(config.workers.concurrency).unwrap_or(CONCURRENCY_DEFAULT) as usize)
        .reserve(verb.reserve.or(config.workers.reserve).unwrap_or(0) as usize)
        .grace(grace)
        .budget(config.workers.budget)
        .reports(context.app.reports())
        .on_shutdown(config.workers.on_shutdown.unwrap_or_default());
    if let Some(jobs) = config.workers.recycle_after_jobs {
        builder = builder.recycle_after_jobs(jobs.into());
    }
    if let Some(bytes) = config.workers.recycle_above_rss {
        builder = builder.recycle_above_rss(bytes);
    }
    if let Some(lease) = verb.lease {
        builder = builder.lease(lease);
    }
    if let Some(node) = verb.node.clone().or_else(|| config.workers.node.clone()) {
        builder = builder.node(node);
    }
    if let Some(queues) = queues(context, verb) {
        builder = builder.queues(queues);
    }
    if let Some(worst) = verb.max_priority {
        builder = builder.priority_max(worst);
    }
    if let Some(namespace) = &context.namespace {
        builder = builder.namespace(namespace.clone());
    }
    if verb.until_empty {
        builder = builder.until_empty();
    }
    let (ask, asked) = watch::channel(false);
    builder = builder.recycle_on(asked);
    let unknown_kinds = async {
        match verb.supervised {
            // Whoever started it warns.
            true => std::future::pending().await,
            false => context.warn_of_unknown_kinds(&store).await,
        }
    };
    let reloads = async {
        while hang_ups.next().await == HangUp::Reload {
            if verb.supervised {
                // Whoever started it has started another.
                ask.send_replace(true);
            } else {
                context
                    .output
                    .note("nothing was reloaded: restart a `worker` to have it read its config again");
            }
        }
    };
    let otherwise = async {
        tokio::select! {
            never = unknown_kinds => match never {},
            () = reloads => Asked::TerminalGone,
        }
    };
    let stop = Arc::new(Notify::new());
    let stopped = stopped(Arc::clone(&stop), parent);
    let work = async {
        if verb.until_empty {
            // What is due already counts as ready. Where a worker seems to be lost, that takes until it is certain.
            tokio::select! {
                biased;
                () = stop.notified() => return builder.run(std::future::ready(())).await,
                done = duty::run_once(&store, &env, &duty_config, command::orphan_killer(&store)) => done?,
            }
        }
        builder.run(stopped).await
    };
    let ended = signals.around(&env, work, otherwise, |_| stop.notify_one(), || Duration::ZERO).await;
    if let Some(duties) = duties {
        super::end(duties, &env).await;
    }
    match ended {
        Ok(summary) => {
            let summary = summary?;
            report(context, verb, &summary)?;
            Ok(exit(verb, &summary))
        }
        Err(signal) => Ok(Exit::Signal(signal)),
    }
}

/// How the process ends. Whoever started it by hand or by a service manager sees a good end, unless it was to drain a store
/// and has not.
fn exit(verb: &Worker, summary: &taskwright::Summary) -> Exit {
    match summary.recycled {
        None => Exit::Ok,
        Some(_) if verb.supervised => Exit::Recycled,
        Some(_) if verb.until_empty => Exit::Unfinished,
        Some(_) => Exit::Ok,
    }
}

/// The store that `up` has open. A server that is away, or that is just being upgraded, is waited for: ending would only
/// make the parent start another worker, later and later. `None` when the parent has gone meanwhile.
async fn store_of_parent<'c>(
    context: &'c Context,
    env: &Env,
    parent: &Parent,
) -> Result<Option<&'c Arc<dyn Store>>, Error> {
    let first = match context.store_or_new().await {
        Err(error) if context.store_url.is_elsewhere() => error,
        opened => return opened.map(Some),
    };
    tracing::warn!("the store cannot be opened, and is tried again: {}", first.reports()[0].why);
    let open = async {
        let mut pause = OPEN_PAUSE.0;
        loop {
            env.sleep(pause).await;
            pause = (pause * 2).min(OPEN_PAUSE.1);
            if let Ok(store) = context.store_or_new().await {
                return store;
            }
        }
    };
    tokio::select! {
        store = open => Ok(Some(store)),
        () = parent.clone().gone() => Ok(None),
    }
}

fn queues(context: &Context, verb: &Worker) -> Option<Vec<taskwright::QueueName>> {
    if verb.queues.is_empty() { context.config.workers.queues.clone() } else { Some(verb.queues.clone()) }
}

/// Passes on what the parent sees: it looks for all of its workers.
async fn rouse(store: Arc<dyn Store>, mut nudges: watch::Receiver<u64>) {
    loop {
        store.rouse();
        if nudges.changed().await.is_err() {
            return;
        }
    }
}

/// Is ready when the worker is to stop: by a signal, or because its parent is gone.
async fn stopped(asked: Arc<Notify>, parent: Option<Parent>) {
    let orphaned = async {
        match parent {
            Some(parent) => parent.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked.notified() => {}
        () = orphaned => {}
    }
}

fn report(context: &Context, verb: &Worker, summary: &taskwright::Summary) -> Result<(), Error> {
    if let Some(reason) = &summary.recycled {
        context.output.note(format!("worker process {} is recycled: {reason}", std::process::id()));
    }
    if verb.supervised {
        return Ok(());
    }
    if context.output.manner().json {
        return context.output.json(summary);
    }
    context.output.note(format!(
        "{} completed, {} failed, {} to be tried again, {} cancelled, {} handed back",
        summary.completed, summary.failed, summary.retried, summary.cancelled, summary.given_back
    ));
    Ok(())
}
