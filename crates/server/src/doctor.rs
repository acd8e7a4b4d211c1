//! Is it the store, the workers, or the tasks? What `doctor` finds, be it asked where the store is or over HTTP.
//!
//! Each check is a question whose answer is a line: all right, or what is wrong and the line that mends it.

use std::collections::BTreeSet;
use std::time::Duration;

use taskwright::schedule::ScheduleView;
use taskwright::webhook::WebhookView;
use taskwright::{Client, Env};
use taskwright_core::generator::is_reserved;
use taskwright_core::webhook::RETRIES_MAX;
use taskwright_core::{Namespace, Timestamp};
use taskwright_store::{QueueView, Store, WorkerState, WorkerView};

use crate::answer::doctor::Check;
use crate::answer::webhook as answer;
use crate::text;

#[cfg_attr(not(feature = "postgres"), path = "doctor/no_database.rs")]
mod database;

pub(crate) use self::database::look as look_at_database;

/// What is looked at.
pub(crate) struct Patient<'p> {
    /// The store.
    pub(crate) client: &'p Client,
    pub(crate) env: &'p Env,
    /// The kinds that whoever looks knows of.
    pub(crate) kinds: BTreeSet<&'p str>,
    /// The namespace that is looked at; `None` is all.
    pub(crate) namespace: Option<&'p Namespace>,
}

/// How long an available job may wait before that is worth a word.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a generator may be due before that is; a node that died had it for 30 s.
const UNTAKEN_MAX: Duration = Duration::from_secs(300);

/// Names that are told, of many.
const NAMED_MAX: usize = 10;

/// Looks at the store and its workers, whatever kind of store it is.
///
/// # Errors
///
/// When the store is out of order.
pub(crate) async fn look(patient: &Patient<'_>) -> Result<Vec<Check>, taskwright::Error> {
    let now = patient.env.now();
    let store = &**patient.client.store();
    let info = store.info();
    let workers = store.workers().await?;
    let queues = store.queues(now, patient.namespace.cloned()).await?;
    let mut checks = vec![
        fine("store", format!("{}, {}, schema {}", info.url, info.engine, info.schema)),
        living(&workers, &queues),
        lost(&workers, now),
        paused(&queues),
        waiting(&queues, now),
        unknown_kinds(patient).await?,
    ];
    checks.extend(schedules(patient, store).await?);
    checks.extend(sources(patient, store).await?);
    checks.extend(generators(patient, store, now).await?);
    checks.extend(webhooks(patient).await?);
    Ok(checks)
}

fn fine(name: &str, found: impl Into<String>) -> Check {
    Check::fine(name, found)
}

fn wrong(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check::wrong(name, found, fix)
}

fn living(workers: &[WorkerView], queues: &[QueueView]) -> Check {
    let alive = workers.iter().filter(|worker| worker.state == WorkerState::Alive).count();
    let waiting: u64 = queues.iter().map(|queue| queue.available).sum();
    match alive {
        0 if waiting > 0 => {
            wrong("workers", "none is alive, and jobs wait".to_owned(), "start some: taskwright up")
        }
        0 => fine("workers", "none is alive, and no job waits"),
        alive => fine("workers", format!("{} alive", text::count(alive, "worker"))),
    }
}

fn lost(workers: &[WorkerView], now: Timestamp) -> Check {
    const RECENT: Duration = Duration::from_secs(3_600);
    let lost = workers.iter().filter(|worker| worker.state == WorkerState::Lost);
    match lost.filter(|worker| now.since(worker.seen_at) < RECENT).count() {
        0 => fine("losses", "no worker was lost within the last hour"),
        lost => wrong(
            "losses",
            format!("{} lost within the last hour", text::count(lost, "worker")),
            "see which job killed them: taskwright jobs list --state failed --after 1h",
        ),
    }
}

fn paused(queues: &[QueueView]) -> Check {
    let paused: Vec<&str> =
        queues.iter().filter(|queue| queue.paused).map(|queue| queue.name.as_str()).collect();
    match paused.as_slice() {
        [] => fine("queues", format!("{}, none paused", text::count(queues.len(), "queue"))),
        paused => wrong(
            "queues",
            format!("paused: {}", paused.join(", ")),
            format!("if that is no longer wanted: taskwright queues resume {}", paused.join(" ")),
        ),
    }
}

fn waiting(queues: &[QueueView], now: Timestamp) -> Check {
    let oldest = queues.iter().filter(|queue| !queue.paused).filter_map(|queue| queue.oldest_available).min();
    match oldest.map(|at| now.since(at)) {
        Some(waited) if waited > WAIT_MAX => wrong(
            "waiting",
            format!("a job has been available for {}", text::duration(waited)),
            "run more workers (taskwright worker), or see what runs: taskwright jobs list --state running",
        ),
        Some(waited) => {
            fine("waiting", format!("the oldest available job waits for {}", text::duration(waited)))
        }
        None => fine("waiting", "no job is available"),
    }
}

/// Kinds among the oldest available jobs that nobody who shares this config can run.
async fn unknown_kinds(patient: &Patient<'_>) -> Result<Check, taskwright::Error> {
    let mut unknown: Vec<String> =
        patient.client.kinds_waiting(patient.namespace).await?.iter().map(ToString::to_string).collect();
    unknown.retain(|kind| !patient.kinds.contains(kind.as_str()));
    Ok(match unknown.as_slice() {
        [] => fine("kinds", "every available job is of a kind that is known here"),
        kinds => wrong(
            "kinds",
            format!("jobs wait that only another program can run: {}", kinds.join(", ")),
            "start that program, define the tasks in the config file, or cancel the jobs",
        ),
    })
}

/// Schedules whose jobs nobody who shares this config can run; nothing where there are no schedules.
async fn schedules(patient: &Patient<'_>, store: &dyn Store) -> Result<Option<Check>, taskwright::Error> {
    let (known, mut unknown) = (&patient.kinds, Vec::new());
    let (mut many, mut after) = (0, None);
    loop {
        let page =
            store.schedules(patient.namespace.cloned(), after, taskwright_core::limit::PAGE_ROWS_MAX).await?;
        let Some(last) = page.last() else { break };
        (many, after) = (many + page.len(), Some(last.key));
        for stored in &page {
            match ScheduleView::read(stored) {
                Ok(view) if known.contains(view.schedule.kind.as_str()) => {}
                _ => unknown.push(stored.name.as_str().to_owned()),
            }
        }
    }
    let more = unknown.len().saturating_sub(NAMED_MAX);
    unknown.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if many == 0 {
        return Ok(None);
    }
    Ok(Some(match unknown.as_slice() {
        [] => {
            fine("schedules", format!("{}, each of a task that is known here", text::count(many, "schedule")))
        }
        unknown => wrong(
            "schedules",
            format!("only another program can run what these make: {}{more}", unknown.join(", ")),
            "start that program, define the tasks in the config file, or remove the schedules",
        ),
    }))
}

/// Generators that are due for long and nobody takes; nothing where there are none but our own.
async fn generators(
    patient: &Patient<'_>,
    store: &dyn Store,
    now: Timestamp,
) -> Result<Option<Check>, taskwright::Error> {
    let (mut many, mut left, mut after) = (0, Vec::new(), None);
    loop {
        let page = store
            .generators(patient.namespace.cloned(), after, taskwright_core::limit::PAGE_ROWS_MAX)
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        for stored in page.iter().filter(|stored| !is_reserved(&stored.name)) {
            many += 1;
            if stored.next.is_some_and(|next| now.since(next) > UNTAKEN_MAX) {
                left.push(stored.name.as_str().to_owned());
            }
        }
    }
    let more = left.len().saturating_sub(NAMED_MAX);
    left.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if many == 0 {
        return Ok(None);
    }
    Ok(Some(match left.as_slice() {
        [] => fine("generators", format!("{}, none left alone", text::count(many, "generator"))),
        left => wrong(
            "generators",
            format!(
                "due for more than {}, and nobody takes them: {}{more}",
                text::duration(UNTAKEN_MAX),
                left.join(", ")
            ),
            "start the program that brings them, or if there is none any more: taskwright generators remove NAME",
        ),
    }))
}

/// Event sources that have trouble; nothing where there are no sources.
async fn sources(patient: &Patient<'_>, store: &dyn Store) -> Result<Option<Check>, taskwright::Error> {
    let sources = store.sources(patient.namespace.cloned()).await?;
    let trouble = sources.iter().find_map(|source| {
        let error = source.note.as_ref()?.error.as_ref()?;
        Some(format!("{}: {error}", source.place.name))
    });
    if sources.is_empty() {
        return Ok(None);
    }
    Ok(Some(match trouble {
        None => fine("sources", format!("{}, none in trouble", text::count(sources.len(), "event source"))),
        Some(trouble) => wrong("sources", trouble, "see all of them: taskwright sources list"),
    }))
}

/// Endpoints of webhooks that are not told of everything; nothing where there are no endpoints.
async fn webhooks(patient: &Patient<'_>) -> Result<Option<Check>, taskwright::Error> {
    let (client, now) = (patient.client.webhooks(), patient.env.now());
    let views = client.list(patient.namespace).await?;
    let mut troubles = Vec::new();
    for view in &views {
        troubles.extend(trouble(view, client.gone(view).await?, now));
    }
    let more = troubles.len().saturating_sub(NAMED_MAX);
    troubles.truncate(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    if views.is_empty() {
        return Ok(None);
    }
    Ok(Some(match troubles.as_slice() {
        [] => fine("webhooks", format!("{}, none in trouble", text::count(views.len(), "webhook"))),
        troubles => wrong(
            "webhooks",
            format!("{}{more}", troubles.join("; ")),
            "see each: taskwright webhooks show NAME, and what was tried: taskwright webhooks deliveries NAME --failed",
        ),
    }))
}

/// What keeps an endpoint from being told of everything; not that somebody disabled it. `gone` events of its backlog
/// are not kept any more.
fn trouble(view: &WebhookView, gone: u64, now: Timestamp) -> Option<String> {
    /// How long it is told that events were missed: 24 h.
    const RECENT: Duration = Duration::from_secs(86_400);
    let (progress, name) = (&view.progress, &view.name);
    let missed = progress.missed_at.filter(|at| now.since(*at) < RECENT).map_or(0, |_| progress.missed);
    let what = match missed.saturating_add(gone) {
        0 => None,
        many => Some(format!("at most {many} events were not kept until it could be told of them")),
    };
    let what = what.or_else(|| match answer::status(view) {
        "paused" => Some("its generator is paused".to_owned()),
        "failing" => Some("it fails, and is tried every 5 min".to_owned()),
        "full" => Some(format!("{RETRIES_MAX} events wait to be tried again, and no new one is sent")),
        _ => None,
    });
    what.map(|what| format!("{name}: {what}"))
}
