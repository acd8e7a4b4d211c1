//! `up`: everything in one process tree.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::core::sight::Sight;
use taskwright::env::Spawned;
use taskwright::store::{SharedStore, Store, WorkerState};
use taskwright::supervisor::{End, Event, Renewal, Supervisor};
use taskwright::{Duties, DutyConfig, Env};
use taskwright_core::NodeName;
use tokio::sync::{Notify, mpsc, watch};

use super::handover::{self, Hands, Offer, Place};
use super::lock::{self, Lock};
use super::log::Logging;
use super::reload::{Difference, Reloader};
use super::signals::{Asked, HangUp, HangUps, Signals};
use super::{CONCURRENCY_DEFAULT, GRACE_DEFAULT, serve, watchdog};
use crate::cli::Context;
use crate::cli::up::Up;
use crate::config::Config;
use crate::error::{Error, Exit, in_words};
use crate::http::Running;
use crate::text;

/// How long killed workers may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(2);

/// How much longer than it gives its jobs a worker has: it needs a moment to write down how they ended.
const WRITE_TIME: Duration = Duration::from_secs(2);

/// How long the end may take to look for what killed workers left running.
const CLEAN_TIME: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// When the store cannot be opened, or another `up` runs on it.
pub(crate) fn up(context: &Context, verb: &Up) -> Result<Exit, Error> {
    let logging = super::log::start(context);
    context.block_on(run(context, &logging, verb))
}

async fn run(context: &Context, logging: &Logging, verb: &Up) -> Result<Exit, Error> {
    let env = context.env.clone();
    let store = Arc::clone(context.store_or_new().await?);
    let duty_config = super::duties(context, &context.config, &store, true)?;
    let listen = verb.listen.or(context.config.server.listen).unwrap_or_default();
    let place = Place::of(context, "up", listen)?;
    let mut taken = serve::take_over(context, place.as_ref(), verb.replace).await?;
    let lock = match taken.as_mut().and_then(|taken| taken.lock.take()) {
        Some(file) => lock::adopt(file),
        None => lock::take(&context.store_url)?,
    };
    let signals = Signals::listen()?;
    let mut hang_ups = HangUps::listen()?;
    let plan = Plan::of(&context.config, verb);
    if plan.processes > 0 && context.app.store_handle().is_some() {
        return Err(Error::usage(
            "worker processes",
            "the program opened its store itself, and they could not have that",
            "give the app the URL of the store, or start it with --workers 0 and run `worker` in this process",
        ));
    }
    let bound = serve::bind(context, listen, verb.allow_clear_text, taken.as_mut()).await?;
    super::schedules::register(context, &context.config).await?;
    super::webhooks::register(context, &context.config).await?;
    // Whoever is answered from here on is not cut off by a mistake in what was registered.
    let (mut url, mut socket, mut is_kept, mut http) = (None, None, false, None);
    if let Some(bound) = bound {
        let started = bound.answer(context).await?;
        (url, socket, is_kept) = (Some(started.url), started.socket, started.is_kept);
        http = Some(started.server);
    }
    let offer = place.map(|place| offer(&env, &place, socket, &lock)).transpose()?;
    greet(context, &*store, &plan, url.as_deref());
    serve::took_over(context, taken);
    lock.sign();

    let duties =
        |config: &DutyConfig| Duties::start_with(&store, &env, config, crate::command::orphan_killer(&store));
    let under_way = RefCell::new(Some(duties(&duty_config)));
    let services = super::services::ready(context, &store)?;
    // A stop waits for no service that starts, and starts no worker then.
    let (hurry, is_over) = (Notify::new(), Cell::new(false));
    let (ends, end) = mpsc::unbounded_channel();
    let (renew, renewals) = mpsc::unbounded_channel();
    let blocked = Arc::new(Notify::new());
    // A server rids itself of a client that holds it up.
    let watches = !context.store_url.is_elsewhere();
    let watch = watches.then(|| watchdog::start(&env, &store, Arc::clone(&blocked)));
    let dead = Dead::default();
    let orders = Orders { end, renewals, blocked, news: store.unannounced() };
    let workers = supervise(context, &env, &plan, orders, |event| {
        tell(context, event);
        if let Event::Died { slot, pid, .. } = *event {
            dead.borrow_mut().insert(slot, pid);
            if let Some(duties) = &*under_way.borrow() {
                duties.reclaim_now();
            }
        }
    });
    let current = RefCell::new(context.config.clone());
    let reloader = Reloader { context, logging, store: Arc::clone(&store), server: http.as_ref(), current };
    let reloads = async {
        while hang_ups.next().await == HangUp::Reload {
            match reloader.read(true) {
                Err(error) => reloader.refuse(&error),
                Ok((config, difference)) => {
                    apply(&reloader, verb, &config, &difference, &under_way, &duties, &renew).await;
                    reloader.current.replace(config);
                }
            }
        }
    };
    let unknown_kinds = async {
        match plan.processes {
            0 => std::future::pending().await,
            _ => context.warn_of_unknown_kinds(&store).await,
        }
    };
    let otherwise = async {
        tokio::select! {
            never = unknown_kinds => match never {},
            () = super::taken(offer.as_ref()) => Asked::HandedOver,
            () = reloads => Asked::TerminalGone,
        }
    };
    let at_once = ends.clone();
    let draining = Cell::new(None);
    let letting_go = LetGo { context, server: http.as_ref(), is_kept, ends };
    let ended = signals
        .around(
            &env,
            services
                .start_beside(hurry.notified(), async { if is_over.get() { Ok(()) } else { workers.await } }),
            otherwise,
            |why| {
                is_over.set(true);
                hurry.notify_one();
                draining.set(Some(letting_go.begin(why)));
            },
            move || {
                let _ = at_once.send(End::AtOnce);
                KILL_TIME
            },
        )
        .await;
    drop(watch);
    // After a second signal nobody is waited for.
    if let (Some(server), Ok(_)) = (&http, &ended) {
        server.close().await;
    }
    if ended.is_ok() {
        super::services::stop(&services).await;
    }
    let duties = under_way.take();
    if let Some(duties) = duties {
        super::end(duties, &env).await;
    }
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

/// How the end begins: nothing is taken in any more, and the workers end what runs; meanwhile who has asked is answered.
struct LetGo<'a> {
    context: &'a Context,
    server: Option<&'a Running>,
    /// Whether a service manager keeps the socket open.
    is_kept: bool,
    ends: mpsc::UnboundedSender<End>,
}

impl LetGo<'_> {
    /// Begins; what this gives has to be kept until the workers have ended.
    fn begin(self, why: Asked) -> Spawned<()> {
        let Self { context, server, is_kept, ends } = self;
        context.output.note(match why {
            Asked::Signal => "stopping: waiting for what runs (a second signal ends it at once)",
            Asked::HandedOver => "stopping: another process has taken over",
            Asked::TerminalGone => "stopping: the terminal is gone",
        });
        let drained = match server {
            // Nobody is refused: whoever asks does so elsewhere, or waits.
            Some(server) if is_kept || why == Asked::HandedOver => {
                server.leave();
                None
            }
            server => server.map(Running::drain),
        };
        // The supervisor may have ended by itself.
        let _ = ends.send(End::Gracefully);
        context.env.spawn("drain", async move {
            if let Some(drained) = drained {
                drained.await;
            }
        })
    }
}

/// Stands ready to hand over to another `up`.
fn offer(env: &Env, place: &Place, listener: Option<OwnedFd>, lock: &Lock) -> Result<Offer, Error> {
    let lock = lock.handle().map_err(|error| {
        Error::operational("keeping the lock", in_words(&error), "look at this user's limits: ulimit -n")
    })?;
    handover::offer(env, place, Hands { listener, lock })
}

/// Puts another config file into effect, as far as that can be while everything runs, and tells.
async fn apply(
    reloader: &Reloader<'_>,
    verb: &Up,
    config: &Config,
    difference: &Difference,
    under_way: &RefCell<Option<Duties>>,
    duties: &impl Fn(&DutyConfig) -> Duties,
    renew: &mpsc::UnboundedSender<Renewal>,
) {
    let context = reloader.context;
    reloader.tell(config, difference);
    reloader.apply_server(config, difference);
    let registered = async {
        super::schedules::register(context, config).await?;
        super::webhooks::register(context, config).await
    };
    if let Err(error) = registered.await {
        context.output.error(&error);
        context
            .output
            .note("  schedules and webhooks: not all of them are as the file says; HUP tries again");
    }
    if ["sources", "generators", "retention"].iter().any(|section| difference.has(section)) {
        match super::duties(context, config, &reloader.store, true) {
            Ok(config) => {
                let before = under_way.take();
                if let Some(before) = before {
                    super::end(before, &context.env).await;
                }
                under_way.replace(Some(duties(&config)));
            }
            Err(error) => context.output.error(&error),
        }
    }
    if ["workers", "tasks", "log"].iter().any(|section| difference.has(section)) {
        let plan = Plan::of(config, verb);
        let count = match plan.processes {
            1 => "1 worker process".to_owned(),
            n => format!("{n} worker processes"),
        };
        match worker_command(context, config, &plan) {
            Ok(command) => {
                let _ =
                    renew.send(Renewal { count: plan.processes, command, grace: plan.grace + WRITE_TIME });
                context
                    .output
                    .note(format!("  {count} started; those before end when what they run has ended"));
            }
            Err(error) => context.output.error(&error),
        }
    }
}

/// By slot, the process that died there last.
type Dead = RefCell<BTreeMap<usize, u32>>;

/// Ends what workers left running whose death the duties may not have come to any more.
async fn clean_up(env: &Env, store: &SharedStore, dead: &BTreeMap<usize, u32>) {
    // Also answers after any look of the duties that was still under way; whom that found is among the lost below.
    // Their processes are gone; that a lease ran out is for others to find.
    let reclaimed = store.reclaim(env.now(), env.monotonic_us(), Sight::default()).await;
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
    node: Option<NodeName>,
}

impl Plan {
    fn of(config: &Config, verb: &Up) -> Self {
        let config = &config.workers;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            processes: verb.workers.or(config.processes).map_or(cpus, |count| count as usize),
            concurrency: verb.concurrency.or(config.concurrency).unwrap_or(CONCURRENCY_DEFAULT),
            reserve: verb.reserve.or(config.reserve).unwrap_or(0),
            grace: verb.grace.or(config.grace).unwrap_or(GRACE_DEFAULT),
            lease: verb.lease,
            node: verb.node.clone().or_else(|| config.node.clone()),
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

/// What the supervisor is told while it runs.
struct Orders {
    end: mpsc::UnboundedReceiver<End>,
    renewals: mpsc::UnboundedReceiver<Renewal>,
    blocked: Arc<Notify>,
    news: Option<watch::Receiver<u64>>,
}

/// Keeps the worker processes alive until the end.
async fn supervise(
    context: &Context,
    env: &Env,
    plan: &Plan,
    orders: Orders,
    on_event: impl FnMut(&Event),
) -> Result<(), Error> {
    let command = worker_command(context, &context.config, plan)?;
    let supervisor = Supervisor::new(env.clone(), plan.processes, command)
        .nudge_on(orders.news)
        .grace(plan.grace + WRITE_TIME)
        .replace_on(Exit::Recycled.code().into())
        .kill_paused_on(orders.blocked)
        .renew_on(orders.renewals);
    supervisor.run(orders.end, on_event).await.map_err(|error| {
        Error::operational("starting workers", in_words(&error), "look at this user's limits: ulimit -a")
    })
}

/// How a worker process is started.
fn worker_command(
    context: &Context,
    config: &Config,
    plan: &Plan,
) -> Result<Box<dyn Fn() -> Command + Send>, Error> {
    let exe = std::env::current_exe().map_err(|error| {
        Error::operational("finding this program's own file", in_words(&error), "start it by its full path")
    })?;
    let file = config.file.as_deref();
    let args = context.worker_arguments(
        file,
        plan.concurrency,
        plan.reserve,
        plan.grace,
        plan.lease,
        plan.node.as_ref(),
    );
    let variables = context.store_environment();
    Ok(Box::new(move || {
        let mut command = Command::new(&exe);
        command.args(&args).envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }))
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
