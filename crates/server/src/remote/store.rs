//! The [`Store`] that a server is. Reads and changes that verbs make are asked for; the rest is refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::http::Method;
use reqwest::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::generator::Record;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::webhook::{Disabled, Endpoint};
use taskwright_core::{
    Actor, Args, AttemptRecord, Delivery, EventId, GeneratorName, JobId, Namespace, NewJob, QueueName,
    Schedule, ScheduleName, ScheduleState, State, Timestamp, Topic, UniqueScope, Usage, Verdict, WebhookName,
    WorkerId,
};
use taskwright_store::*;
use tokio::sync::watch;

use super::http::{NO_BODY, NOTHING, Remote, items};
use crate::answer::event::Listed as EventListed;
use crate::answer::job::{Became, Outcome, Piece, Stored};
use crate::answer::queue::{Purged, Switched};
use crate::answer::webhook::{Listed as WebhookListed, Redelivered};
use crate::answer::worker::Told;
use crate::http::{Emission, Items, JobFilter, JobLog, SeenAt, Stored as Which, Submission, Text, cursor};

/// The header by which the server recognises what was sent before.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A server as a store.
pub(crate) struct RemoteStore {
    remote: Remote,
    /// Nothing is hinted at over HTTP: whoever waits looks now and then.
    hints: watch::Sender<u64>,
    /// What the keys stand for that were read: over HTTP things are called by their names.
    schedules: Mutex<HashMap<ScheduleKey, StoredSchedule>>,
    generators: Mutex<HashMap<GeneratorKey, StoredGenerator>>,
}

impl RemoteStore {
    /// This server.
    pub(crate) fn new(remote: Remote) -> Self {
        let (schedules, generators) = Default::default();
        Self { remote, hints: watch::Sender::new(0), schedules, generators }
    }

    fn refuse<T: Send + 'static>(&self, what: &'static str) -> Reply<'_, T> {
        let error = self.remote.not_offered(what);
        Box::pin(std::future::ready(Err(error)))
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
        query: &(impl Serialize + Sync),
    ) -> Result<Option<T>, Error> {
        self.remote.ask(Method::GET, path, namespace, query, NO_BODY, &[]).await
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let answer = self.remote.ask(Method::POST, path, namespace, &NOTHING, Some(body), &[]).await?;
        answer.ok_or_else(|| self.gone(path))
    }

    fn gone(&self, path: &str) -> Error {
        let fix = "check --server, and that it is of the same version";
        let why = format!("the server {} has no {path}", self.remote.url());
        taskwright_core::Error::unknown("the request", why, fix).into()
    }

    async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        let Some(first) = jobs.first() else { return Ok(Vec::new()) };
        let (namespace, key) = (first.namespace.clone(), first.id.to_string());
        let headers = [(IDEMPOTENCY_KEY, key.as_str())];
        if jobs.iter().any(|job| job.namespace != namespace) {
            return Err(self.remote.not_offered("storing jobs of several namespaces at once"));
        }
        let mut submissions = jobs.iter().map(submission).collect::<Result<Vec<_>, _>>()?;
        if let (1, Some(one)) = (submissions.len(), submissions.pop()) {
            let stored: Option<Stored> = self
                .remote
                .ask(Method::POST, "/api/v1/jobs", Some(&namespace), &NOTHING, Some(&one), &headers)
                .await?;
            let Stored { existing, id } = stored.ok_or_else(|| self.gone("/api/v1/jobs"))?;
            return Ok(vec![Enqueued { id, existing }]);
        }
        let submissions = jobs.iter().map(submission).collect::<Result<Vec<_>, _>>()?;
        let body = json!({ "jobs": serde_json::value::to_raw_value(&submissions).map_err(|error| unwritable(&error))? });
        let stored: Option<Items<Stored>> = self
            .remote
            .ask(Method::POST, "/api/v1/jobs/batch", Some(&namespace), &NOTHING, Some(&body), &headers)
            .await?;
        let stored = items(stored);
        if stored.len() != jobs.len() {
            return Err(self.gone("/api/v1/jobs/batch"));
        }
        Ok(stored.into_iter().map(|Stored { existing, id }| Enqueued { id, existing }).collect())
    }

    async fn changed(
        &self,
        change: Change,
        which: &str,
        places: Vec<serde_json::Value>,
        reason: Option<String>,
    ) -> Result<HashMap<JobId, Changed>, Error> {
        let mut body = match change {
            Change::Redo { repeat } => json!({ "repeat": repeat }),
            Change::Delay { until } => json!({ "until": until }),
            Change::Reprioritise { priority } => json!({ "to": priority }),
            Change::Fail | Change::Drop => return Err(self.remote.not_offered(change.as_str())),
            _ => json!({}),
        };
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        let mut all = HashMap::new();
        for part in places.chunks(PAGE_ROWS_MAX) {
            body[which] = part.into();
            let answer: Items<Became> =
                self.post(&format!("/api/v1/jobs/{}", change.as_str()), None, &body).await?;
            all.extend(answer.items.into_iter().map(|became| (became.id, changed(became))));
        }
        Ok(all)
    }

    async fn read_job(&self, id: JobId) -> Result<Option<(JobDetail, Option<JobOrigin>)>, Error> {
        let path = format!("/api/v1/jobs/{id}");
        let text = self.remote.text(Method::GET, &path, None, &NOTHING, NO_BODY, &[]).await?;
        text.map(|text| read_detail(&text)).transpose().map_err(|error| unreadable(&*error))
    }
}

fn unwritable(error: &serde_json::Error) -> Error {
    taskwright_core::Error::invalid(
        "the request",
        format!("it cannot be written: {error}"),
        "please report it",
    )
    .into()
}

fn unreadable(error: &dyn std::error::Error) -> Error {
    let fix = "use the same version of `taskwright` here and there";
    taskwright_core::Error::unknown("the server", format!("its answer is not understood: {error}"), fix)
        .into()
}

/// A job as the server takes it. It is the client that has looked whether somebody runs the kind.
fn submission(job: &NewJob) -> Result<Submission, Error> {
    let args = RawValue::from_string(job.args.as_str().to_owned()).map_err(|error| unwritable(&error))?;
    Ok(Submission {
        kind: job.kind.clone(),
        args: Some(args),
        queue: Some(job.queue.clone()),
        priority: Some(job.priority),
        run_at: job.run_at,
        max_attempts: Some(Text::Text(job.max_attempts.to_string())),
        backoff: job.backoff.map(|backoff| backoff.to_string()),
        timeout: job.timeout.map(|timeout| Text::Text(format!("{}us", timeout.as_micros()))),
        unique: job.unique.as_ref().map(|key| key.as_str().to_owned()),
        unique_until_over: job.unique.as_ref().is_some_and(|key| key.scope == UniqueScope::Active),
        hold: job.held,
        delivery: Some(job.delivery),
        owner: job.owner.clone(),
        any_kind: true,
    })
}

fn changed(became: Became) -> Changed {
    match became.result {
        Outcome::Done => Changed::Done,
        Outcome::Requested => Changed::Requested,
        Outcome::Skipped => Changed::Skipped(became.reason.unwrap_or_default()),
        Outcome::Unknown => Changed::Unknown,
    }
}

/// What a job has besides the fields of a listing.
#[derive(Deserialize)]
struct Rest<'a> {
    #[serde(borrow)]
    args: &'a RawValue,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    backoff: Option<String>,
    timeout_us: Option<u64>,
    delivery: Delivery,
    made_by: Option<JobOrigin>,
    unique: Option<String>,
    attempts: Vec<Attempt>,
    timeline: Vec<TimelineEntry>,
}

#[derive(Deserialize)]
struct Attempt {
    attempt: u32,
    worker: WorkerId,
    claimed_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Timestamp,
    end: AttemptEnd,
    error: Option<String>,
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Used {
    cpu_user_us: u64,
    cpu_system_us: u64,
    rss_peak_bytes: Option<u64>,
    read_bytes: u64,
    written_bytes: u64,
}

impl From<Attempt> for AttemptRecord {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            worker: attempt.worker,
            claimed_at: attempt.claimed_at,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            end: attempt.end,
            error: attempt.error,
            usage: attempt.usage.map(|used| Usage {
                cpu_user_us: used.cpu_user_us,
                cpu_system_us: used.cpu_system_us,
                rss_peak_bytes: used.rss_peak_bytes.unwrap_or(0),
                read_bytes: used.read_bytes,
                written_bytes: used.written_bytes,
            }),
        }
    }
}

type Detail = (JobDetail, Option<JobOrigin>);

fn read_detail(text: &[u8]) -> Result<Detail, Box<dyn std::error::Error + Send + Sync>> {
    let view: JobView = serde_json::from_slice(text)?;
    let rest: Rest<'_> = serde_json::from_slice(text)?;
    let backoff = rest.backoff.map(|text| text.parse()).transpose()?;
    let detail = JobDetail {
        view,
        args: Args::from_store(rest.args.get().as_bytes().into()),
        backoff,
        timeout: rest.timeout_us.map(Duration::from_micros),
        delivery: rest.delivery,
        unique: rest.unique,
        result: rest.result.map(|result| result.get().to_owned()),
        attempts: rest.attempts.into_iter().map(AttemptRecord::from).collect(),
        timeline: rest.timeline,
    };
    Ok((detail, rest.made_by))
}

fn query_of(filter: &Filter, page: Page) -> JobFilter {
    let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    JobFilter {
        id: filter.ids.clone(),
        kind: texts(&filter.kinds),
        queue: texts(&filter.queues),
        state: filter.states.clone(),
        worker: filter.workers.clone(),
        owner: match &filter.owners {
            Owners::Of(patterns) => texts(patterns),
            Owners::Any | Owners::Nobody => Vec::new(),
        },
        no_owner: filter.owners == Owners::Nobody,
        after: filter.created_from,
        before: filter.created_to,
        min_priority: filter.priority_from,
        max_priority: filter.priority_to,
        min_failures: filter.failures_from,
        max_failures: filter.failures_to,
        oldest_first: page.oldest_first,
        limit: u32::try_from(page.limit.clamp(1, PAGE_ROWS_MAX)).ok(),
        cursor: page.after.map(|after| cursor::write(&after)),
    }
}

/// Calls that only workers, duties and daemons make.
macro_rules! refused {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($arg: $type),*) -> Reply<'_, $answer> {
            $(let _ = $arg;)*
            self.refuse(stringify!($name))
        }
    )*};
}

impl Store for RemoteStore {
    fn enqueue(&self, _: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(self.enqueue_all(jobs))
    }

    refused! {
        claim(claim: Claim) -> Claimed;
        finish(now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Vec<Verdict>;
        give_back(now: Timestamp, worker: WorkerId, jobs: Vec<(JobKey, u32)>, reason: String) -> Vec<Verdict>;
        report(worker: WorkerId, reports: Vec<ProgressReport>) -> Vec<Verdict>;
        log(worker: WorkerId, entries: Vec<LogEntry>) -> Vec<Verdict>;
        register(now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Registration;
        renew(now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Signals;
        signals(worker: WorkerId) -> Signals;
        unregister(now: Timestamp, worker: WorkerId) -> ();
        remark(worker: WorkerId, remark: String) -> ();
        lead(monotonic_us: u64, node: WorkerId, lease: Duration) -> Option<Fence>;
        resign(node: WorkerId) -> ();
        promote(now: Timestamp, limit: usize) -> Promoted;
        reclaim(now: Timestamp, monotonic_us: u64) -> Reclaimed;
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            let verb = match order {
                Order::Quiet => "quiet",
                Order::Stop => "stop",
            };
            let body = json!({ "ids": workers });
            let told: Items<Told> = self.post(&format!("/api/v1/workers/{verb}"), None, &body).await?;
            Ok(told.items.into_iter().map(|told| told.told).collect())
        })
    }

    fn change(
        &self,
        _: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        _: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        Box::pin(async move {
            let places = ids.iter().map(|id| json!(id)).collect();
            let mut changed = self.changed(change, "ids", places, reason).await?;
            Ok(ids.iter().map(|id| changed.remove(id).unwrap_or(Changed::Unknown)).collect())
        })
    }

    fn change_seen(
        &self,
        _: Timestamp,
        seen: Vec<Seen>,
        change: Change,
        _: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        Box::pin(async move {
            let place = |seen: &Seen| {
                let Seen { id, state, attempt, run_at } = *seen;
                json!(SeenAt { id, state, attempt, run_at })
            };
            let mut changed = self.changed(change, "seen", seen.iter().map(place).collect(), reason).await?;
            Ok(seen.iter().map(|seen| changed.remove(&seen.id).unwrap_or(Changed::Unknown)).collect())
        })
    }

    fn pause(
        &self,
        _: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        _: Actor,
    ) -> Reply<'_, bool> {
        Box::pin(async move {
            let verb = if paused { "pause" } else { "resume" };
            let path = format!("/api/v1/queues/{}/{verb}", segment(queue.as_str()));
            let asked = self.remote.ask(Method::POST, &path, Some(&namespace), &NOTHING, NO_BODY, &[]);
            let switched: Option<Switched> = asked.await?;
            switched.map(|switched| switched.changed).ok_or_else(|| self.gone(&path))
        })
    }

    fn purge(
        &self,
        _: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        _: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        Box::pin(async move {
            let path = format!("/api/v1/queues/{}/purge", segment(queue.as_str()));
            let purged: Purged = self.post(&path, Some(&namespace), &json!({ "limit": limit })).await?;
            Ok(purged.cancelled)
        })
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        Box::pin(async move { Ok(self.read_job(id).await?.map(|(job, _)| job)) })
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        Box::pin(async move {
            let query = query_of(&filter, page);
            // Ids go into the URL, which has its limits.
            const IDS_MAX: usize = 500;
            if query.id.len() > IDS_MAX {
                return Err(self.remote.not_offered("asking for more than 500 jobs by their ids at once"));
            }
            let answer: Option<Items<JobView>> =
                self.get("/api/v1/jobs", filter.namespace.as_ref(), &query).await?;
            let Some(Items { items: jobs, next }) = answer else { return Err(self.gone("/api/v1/jobs")) };
            let next = next.map(|next| cursor::read::<JobId>(&next)).transpose();
            Ok(Paged { jobs, next: next.map_err(|_| self.gone("/api/v1/jobs"))? })
        })
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        Box::pin(async move {
            let limit = limit.clamp(1, PAGE_ROWS_MAX);
            let query = [("from", from), ("limit", limit as u64)];
            let log: Option<JobLog> = self.get(&format!("/api/v1/jobs/{id}/logs"), None, &query).await?;
            let chunk = |piece: Piece| {
                let Piece { number, attempt, at, stream, text, bytes } = piece;
                LogChunk { number, attempt, at, stream, bytes: bytes.unwrap_or_else(|| text.into_bytes()) }
            };
            Ok(log.map_or_else(Vec::new, |log| log.items.into_iter().map(chunk).collect()))
        })
    }

    fn queues(&self, _: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        Box::pin(async move { Ok(items(self.get("/api/v1/queues", namespace.as_ref(), &NOTHING).await?)) })
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        Box::pin(async move { Ok(items(self.get("/api/v1/workers", None, &[("all", true)]).await?)) })
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "server", url: self.remote.url().to_owned(), engine: "HTTP".to_owned(), schema: 0 }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A name as a part of a path.
pub(crate) fn segment(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23")
}

impl RemoteStore {
    /// A page of what is stored.
    async fn stored<T: serde::de::DeserializeOwned>(
        &self,
        noun: &str,
        namespace: Option<&Namespace>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        let limit = u32::try_from(limit.clamp(1, PAGE_ROWS_MAX)).ok();
        let which = Which::<String> { name: None, limit, cursor: after.map(|after| cursor::write(&after)) };
        Ok(items(self.get(&format!("/api/v1/stored/{noun}"), namespace, &which).await?))
    }

    /// The one of this name.
    async fn stored_one<T: serde::de::DeserializeOwned>(
        &self,
        noun: &str,
        namespace: Option<&Namespace>,
        name: String,
    ) -> Result<Option<T>, Error> {
        let which = Which { name: Some(name), limit: None, cursor: None };
        Ok(items(self.get(&format!("/api/v1/stored/{noun}"), namespace, &which).await?).pop())
    }

    fn remember_schedules<'a>(&self, stored: impl IntoIterator<Item = &'a StoredSchedule>) {
        let mut known = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(stored.into_iter().map(|stored| (stored.key, stored.clone())));
    }

    fn known_schedule(&self, key: ScheduleKey) -> Result<StoredSchedule, Error> {
        let known = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).cloned().ok_or_else(|| self.remote.not_offered("a schedule by its key"))
    }

    fn remember_generators<'a>(&self, stored: impl IntoIterator<Item = &'a StoredGenerator>) {
        let mut known = self.generators.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(stored.into_iter().map(|stored| (stored.key, stored.clone())));
    }

    fn known_generator(&self, key: GeneratorKey) -> Result<StoredGenerator, Error> {
        let known = self.generators.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).cloned().ok_or_else(|| self.remote.not_offered("a generator by its key"))
    }

    /// What a client of schedules writes: a definition, or that one rests or goes on. The server does it its own way, and is not
    /// told how the state is to be.
    async fn write_schedule(&self, write: ScheduleWrite) -> Result<Written, Error> {
        if !write.firings.is_empty() || !write.cancel.jobs.is_empty() {
            return Err(self.remote.not_offered("writing what a schedule fires"));
        }
        if let Some(definition) = &write.definition {
            let schedule: Schedule =
                serde_json::from_str(&definition.json).map_err(|error| unwritable(&error))?;
            let path = "/api/v1/schedules";
            // It is the client that has looked whether somebody runs its task.
            let query = [("any_kind", true)];
            let namespace = Some(&schedule.namespace);
            let asked = self.remote.ask(Method::POST, path, namespace, &query, Some(&schedule), &[]);
            let _: serde::de::IgnoredAny = asked.await?.ok_or_else(|| self.gone(path))?;
            let stored = self.schedule(schedule.namespace.clone(), schedule.name.clone()).await?;
            return Ok(stored.map_or(Written::Stale, |stored| Written::Done(stored.key)));
        }
        let Target::Stored { key, .. } = write.target else { return Ok(Written::Stale) };
        let known = self.known_schedule(key)?;
        let state: ScheduleState = serde_json::from_str(&write.state).map_err(|error| unwritable(&error))?;
        let verb = if state.paused { "pause" } else { "resume" };
        let path = format!("/api/v1/schedules/{}/{verb}", segment(known.name.as_str()));
        let asked = self.remote.ask(Method::POST, &path, Some(&known.namespace), &NOTHING, NO_BODY, &[]);
        let done: Option<crate::answer::schedule::Switched> = asked.await?;
        Ok(if done.is_some() { Written::Done(key) } else { Written::Stale })
    }
}

impl ScheduleStore for RemoteStore {
    fn write_schedules(&self, _: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        Box::pin(async move {
            let mut written = Vec::with_capacity(writes.len());
            for write in writes {
                written.push(self.write_schedule(write).await?);
            }
            Ok(written)
        })
    }

    refused! {
        due_schedules(now: Timestamp, limit: usize) -> DueSchedules;
    }

    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        Box::pin(async move {
            let stored = self.stored_one("schedules", Some(&namespace), name.to_string()).await?;
            self.remember_schedules(&stored);
            Ok(stored)
        })
    }

    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(async move {
            let after = after.map(|after| after.0);
            let stored = self.stored("schedules", namespace.as_ref(), after, limit).await?;
            self.remember_schedules(&stored);
            Ok(stored)
        })
    }

    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool> {
        Box::pin(async move {
            let known = self.known_schedule(schedule)?;
            let path = format!("/api/v1/schedules/{}", segment(known.name.as_str()));
            let asked =
                self.remote.text(Method::DELETE, &path, Some(&known.namespace), &NOTHING, NO_BODY, &[]);
            Ok(asked.await?.is_some())
        })
    }

    fn firings(
        &self,
        schedule: ScheduleKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<FiringView>> {
        Box::pin(async move {
            let known = self.known_schedule(schedule)?;
            let path = format!("/api/v1/schedules/{}/history", segment(known.name.as_str()));
            let mut query = vec![("limit", limit.clamp(1, PAGE_ROWS_MAX).to_string())];
            query.extend(before.map(|before| ("cursor", cursor::write(&before))));
            Ok(items(self.get(&path, Some(&known.namespace), &query).await?))
        })
    }

    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        Box::pin(async move {
            let mut states = HashMap::new();
            for ids in jobs.chunks(100) {
                let filter = Filter { ids: ids.to_vec(), ..Filter::default() };
                let page = Page { after: None, limit: ids.len(), oldest_first: false };
                states.extend(self.list(filter, page).await?.jobs.into_iter().map(|job| (job.id, job.state)));
            }
            Ok(jobs.iter().map(|id| states.get(id).copied()).collect())
        })
    }

    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        Box::pin(async move {
            let mut origins = Vec::with_capacity(jobs.len());
            for id in jobs {
                origins.push(self.read_job(id).await?.and_then(|(_, origin)| origin));
            }
            Ok(origins)
        })
    }
}

impl EventStore for RemoteStore {
    fn emit(&self, _: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()> {
        Box::pin(async move {
            for event in events {
                let payload = RawValue::from_string(event.payload.as_str().to_owned());
                let emission = Emission {
                    topic: event.topic,
                    payload: Some(payload.map_err(|error| unwritable(&error))?),
                    key: event.key,
                    id: Some(event.id),
                };
                let _: serde::de::IgnoredAny =
                    self.post("/api/v1/events", Some(&event.namespace), &emission).await?;
            }
            Ok(())
        })
    }

    refused! {
        undelivered(limit: usize) -> Vec<StoredEvent>;
        listeners() -> Vec<StoredSchedule>;
        deliver(now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> bool;
    }

    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        #[derive(Serialize)]
        struct Query {
            #[serde(skip_serializing_if = "Option::is_none")]
            topic: Option<Topic>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<String>,
            limit: usize,
        }
        Box::pin(async move {
            let limit = limit.clamp(1, PAGE_ROWS_MAX);
            let query = Query { topic, cursor: before.map(|before| cursor::write(&before.0)), limit };
            let answer: Option<Items<EventListed>> =
                self.get("/api/v1/events", namespace.as_ref(), &query).await?;
            let Some(Items { items, next }) = answer else { return Err(self.gone("/api/v1/events")) };
            // Where the page ends is the key of its last event: all that anybody asks of keys.
            let last = next.and_then(|next| cursor::read::<i64>(&next).ok()).unwrap_or(i64::MIN);
            Ok(items.into_iter().map(|listed| stored_event(listed, EventKey(last))).collect())
        })
    }
}

fn stored_event(listed: EventListed, number: EventKey) -> StoredEvent {
    let EventListed { id, namespace, topic, key, at, delivered, payload } = listed;
    let payload = Args::from_store(payload.get().as_bytes().into());
    StoredEvent { number, at, event: NewEvent { id, namespace, topic, key, payload }, delivered }
}

impl SourceStore for RemoteStore {
    refused! {
        open_source(now: Timestamp, place: SourcePlace) -> SourceKey;
        seen_of(source: SourceKey, paths: Vec<String>) -> Vec<Option<taskwright_core::Fingerprint>>;
        seen(source: SourceKey, after: Option<String>, limit: usize) -> Vec<(String, taskwright_core::Fingerprint)>;
        see(now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Vec<bool>;
        note_source(now: Timestamp, source: SourceKey, note: SourceNote) -> bool;
        sources(namespace: Option<Namespace>) -> Vec<SourceView>;
    }
}

impl GeneratorStore for RemoteStore {
    refused! {
        put_generators(now: Timestamp, generators: Vec<NewGenerator>) -> Vec<bool>;
        take_generators(take: TakeGenerators) -> TakenGenerators;
        renew_generator(generator: GeneratorKey, fence: u64, until: Timestamp) -> bool;
        commit_generator(now: Timestamp, commit: GeneratorCommit) -> bool;
        items_ended(now: Timestamp, ended: Vec<ItemsEnded>) -> Vec<u32>;
        ended_items(generator: GeneratorKey, limit: usize) -> Vec<EndedItem>;
        files_of(generator: GeneratorKey, paths: Vec<String>) -> Vec<Option<KnownFile>>;
        files(generator: GeneratorKey, after: Option<String>, limit: usize) -> Vec<(String, KnownFile)>;
        rows_after(rows: RowsAfter) -> TableRows;
        listening_generators() -> Vec<ListeningGenerator>;
        remove_generator(generator: GeneratorKey) -> bool;
    }

    fn write_generator(&self, _: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        Box::pin(async move {
            let known = self.known_generator(write.generator)?;
            let record: Record = serde_json::from_str(&write.record).map_err(|error| unwritable(&error))?;
            let (verb, body) = match record.paused {
                Some(paused) => ("pause", Some(json!({ "reason": paused.reason }))),
                None => ("resume", None),
            };
            let path = format!("/api/v1/generators/{}/{verb}", segment(known.name.as_str()));
            let asked =
                self.remote.text(Method::POST, &path, Some(&known.namespace), &NOTHING, body.as_ref(), &[]);
            Ok(asked.await?.is_some())
        })
    }

    fn notify_generator(&self, _: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        Box::pin(async move {
            let path = format!("/api/v1/generators/{}/poll", segment(name.as_str()));
            let asked = self.remote.text(Method::POST, &path, Some(&namespace), &NOTHING, NO_BODY, &[]);
            Ok(asked.await?.is_some())
        })
    }

    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        Box::pin(async move {
            let stored = self.stored_one("generators", Some(&namespace), name.to_string()).await?;
            self.remember_generators(&stored);
            Ok(stored)
        })
    }

    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        Box::pin(async move {
            let after = after.map(|after| after.0);
            let stored = self.stored("generators", namespace.as_ref(), after, limit).await?;
            self.remember_generators(&stored);
            Ok(stored)
        })
    }
}

impl RemoteStore {
    /// The path of an endpoint, by the generator that delivers to it, and its namespace.
    fn endpoint(&self, generator: GeneratorKey) -> Result<(String, Namespace), Error> {
        let known = self.known_generator(generator)?;
        let name = WebhookName::of_generator(&known.name);
        let name = name.ok_or_else(|| self.remote.not_offered("an endpoint by its key"))?;
        Ok((format!("/api/v1/webhooks/{}", segment(name.as_str())), known.namespace))
    }

    /// An endpoint as it is told, and the generator that delivers to it, as a store has both.
    async fn stored_webhook(&self, generator: StoredGenerator) -> Result<Option<StoredWebhook>, Error> {
        let (path, namespace) = self.endpoint(generator.key)?;
        let told: Option<WebhookListed> = self.get(&path, Some(&namespace), &NOTHING).await?;
        let Some(told) = told else { return Ok(None) };
        let definition = serde_json::to_string(&told.endpoint()?).map_err(|error| unwritable(&error))?;
        Ok(Some(StoredWebhook { generator, epoch: 0, listens: false, definition }))
    }
}

impl WebhookStore for RemoteStore {
    refused! {
        add_webhook(now: Timestamp, webhook: NewWebhook) -> bool;
        webhooks(namespace: Option<Namespace>, after: Option<GeneratorKey>, limit: usize) -> Vec<StoredWebhook>;
        listening_webhooks() -> Vec<Listening>;
        wake_webhooks(now: Timestamp, generators: Vec<GeneratorKey>) -> ();
        read_log(read: ReadLog) -> LogPage;
        retries(set: RetrySet, limit: usize) -> Vec<StoredRetry>;
        retry_count(set: RetrySet, limit: usize) -> usize;
        waiting_keys(set: RetrySet, keys: Vec<String>) -> Vec<String>;
    }

    fn write_webhook(&self, _: Timestamp, write: WebhookWrite) -> Reply<'_, bool> {
        Box::pin(async move {
            let (path, namespace) = self.endpoint(write.generator.generator)?;
            let endpoint: Endpoint =
                serde_json::from_str(&write.shape.definition).map_err(|error| unwritable(&error))?;
            let (verb, body) = match endpoint.disabled {
                Some(Disabled { backlog, reason, .. }) => {
                    ("disable", Some(json!({ "backlog": backlog, "reason": reason })))
                }
                None => ("enable", None),
            };
            let path = format!("{path}/{verb}");
            let asked = self.remote.text(Method::POST, &path, Some(&namespace), &NOTHING, body.as_ref(), &[]);
            Ok(asked.await?.is_some())
        })
    }

    fn remove_webhook(&self, _: Timestamp, generator: GeneratorKey) -> Reply<'_, bool> {
        Box::pin(async move {
            let (path, namespace) = self.endpoint(generator)?;
            let asked = self.remote.text(Method::DELETE, &path, Some(&namespace), &NOTHING, NO_BODY, &[]);
            Ok(asked.await?.is_some())
        })
    }

    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        Box::pin(async move {
            match self.generator(namespace, generator).await? {
                Some(generator) => self.stored_webhook(generator).await,
                None => Ok(None),
            }
        })
    }

    /// It only goes into what is written, which the server works out by itself.
    fn log_head(&self) -> Reply<'_, i64> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn redeliver(&self, _: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            let (path, namespace) = self.endpoint(set.generator)?;
            let body = json!({ "events": events });
            let done: Redelivered = self.post(&format!("{path}/redeliver"), Some(&namespace), &body).await?;
            Ok(events.iter().map(|event| !done.unknown.contains(event)).collect())
        })
    }

    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>> {
        Box::pin(async move {
            let (path, namespace) = self.endpoint(generator)?;
            let mut query = vec![("limit", limit.clamp(1, PAGE_ROWS_MAX).to_string())];
            query.extend(before.map(|before| ("cursor", cursor::write(&before))));
            Ok(items(self.get(&format!("{path}/deliveries"), Some(&namespace), &query).await?))
        })
    }
}

impl BulkStore for RemoteStore {
    refused! {
        create_bulk(now: Timestamp, bulk: NewBulk) -> Enqueued;
    }

    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>> {
        Box::pin(async move { self.stored_one("bulks", None, parent.to_string()).await })
    }

    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>> {
        Box::pin(
            async move { self.stored("bulks", namespace.as_ref(), after.map(|after| after.0), limit).await },
        )
    }
}

impl HistoryStore for RemoteStore {
    refused! {
        executions(filter: ExecutionFilter, page: ExecutionPage) -> Executions;
        statistics(filter: ExecutionFilter, sample_max: usize) -> Statistics;
    }
}

impl RollUpStore for RemoteStore {
    refused! {
        roll_up(most: usize) -> RolledUp;
        roll_ups(filter: RollUpFilter, after: Option<RollUpPlace>, limit: usize) -> RollUpPage;
    }
}

impl CollectStore for RemoteStore {
    refused! {
        collect(collect: Collect) -> Collected;
    }
}
