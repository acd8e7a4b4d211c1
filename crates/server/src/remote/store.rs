//! The [`Store`] that a server is. Reads and changes that verbs make are asked for; the rest is refused.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use ::http::Method;
use reqwest::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::audit::Behalf;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::sight::Sight;
use taskwright_core::{
    Actor, Args, AttemptRecord, Delivery, JobId, Namespace, NewJob, QueueName, Timestamp, Topic, UniqueScope,
    Usage, Verdict, WorkerId,
};
use taskwright_store::*;
use tokio::sync::watch;

use super::http::{NO_BODY, NOTHING, Remote, items};
use crate::answer::event::Listed as EventListed;
use crate::answer::job::{Became, Outcome, Piece, Stored, Used};
use crate::answer::queue::{Purged, Switched};
use crate::answer::worker::Told;
use crate::http::{Emission, Items, JobFilter, JobLog, SeenAt, Submission, Text, cursor};

/// The header by which the server recognises what was sent before.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A server as a store.
pub(crate) struct RemoteStore {
    pub(super) remote: Remote,
    /// Nothing is hinted at over HTTP: whoever waits looks now and then.
    hints: watch::Sender<u64>,
    /// What the keys stand for that were read: over HTTP things are called by their names.
    pub(super) schedules: Mutex<HashMap<ScheduleKey, StoredSchedule>>,
    pub(super) generators: Mutex<HashMap<GeneratorKey, StoredGenerator>>,
    /// What made the jobs whose executions were read last.
    pub(super) origins: Mutex<HashMap<JobId, Option<JobOrigin>>>,
    /// The namespace that the command line names, for what a store is not asked by it.
    pub(super) namespace: Option<Namespace>,
}

impl RemoteStore {
    /// This server.
    pub(crate) fn new(remote: Remote, namespace: Option<Namespace>) -> Self {
        let (schedules, generators, origins) = Default::default();
        Self { remote, hints: watch::Sender::new(0), schedules, generators, origins, namespace }
    }

    pub(super) fn refuse<T: Send + 'static>(&self, what: &'static str) -> Reply<'_, T> {
        let error = self.remote.not_offered(what);
        Box::pin(std::future::ready(Err(error)))
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
        query: &(impl Serialize + Sync),
    ) -> Result<Option<T>, Error> {
        self.remote.ask(Method::GET, path, namespace, query, NO_BODY, &[]).await
    }

    pub(super) async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let answer = self.remote.ask(Method::POST, path, namespace, &NOTHING, Some(body), &[]).await?;
        answer.ok_or_else(|| self.gone(path))
    }

    pub(super) fn gone(&self, path: &str) -> Error {
        let fix = "check that the server is of the same version; or what was named is gone";
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

    pub(super) async fn read_job(&self, id: JobId) -> Result<Option<(JobDetail, Option<JobOrigin>)>, Error> {
        let path = format!("/api/v1/jobs/{id}");
        let text = self.remote.text(Method::GET, &path, None, &NOTHING, NO_BODY, &[]).await?;
        text.map(|text| read_detail(&text)).transpose().map_err(|error| unreadable(&*error))
    }
}

pub(super) fn unwritable(error: &serde_json::Error) -> Error {
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
    #[serde(default)]
    comments: Vec<Comment>,
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
            usage: attempt.usage.map(Usage::from),
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
        comments: rest.comments,
    };
    Ok((detail, rest.made_by))
}

/// What a listing is asked by.
#[derive(Serialize)]
struct ListQuery {
    namespace: Vec<Namespace>,
    #[serde(flatten)]
    filter: JobFilter,
}

fn query_of(filter: &Filter, page: Page) -> JobFilter {
    let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    JobFilter {
        id: filter.ids.clone(),
        kind: texts(&filter.kinds),
        queue: texts(&filter.queues),
        state: filter.states.clone(),
        worker: filter.workers.clone(),
        last_worker: filter.last_workers.clone(),
        host: texts(&filter.hosts),
        owner: match &filter.owners {
            Owners::Of(patterns) => texts(patterns),
            Owners::Any | Owners::Nobody => Vec::new(),
        },
        no_owner: filter.owners == Owners::Nobody,
        after: filter.created_from,
        before: filter.created_to,
        claimed_after: filter.claimed_from,
        claimed_before: filter.claimed_to,
        ended_after: filter.ended_from,
        ended_before: filter.ended_to,
        min_priority: filter.priority_from,
        max_priority: filter.priority_to,
        min_failures: filter.failures_from,
        max_failures: filter.failures_to,
        consumed: filter.consumed,
        cancel_requested: filter.cancel_requested,
        args: filter.args.conditions().to_vec(),
        oldest_first: page.oldest_first,
        limit: u32::try_from(page.limit.clamp(1, PAGE_ROWS_MAX)).ok(),
        cursor: page.after.map(|after| cursor::write(&after)),
    }
}

impl Store for RemoteStore {
    fn enqueue(&self, _: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(self.enqueue_all(jobs))
    }

    refused! {
        claim(claim: Claim) -> Claimed;
        last_chances(attempts: Vec<(JobKey, u32)>) -> Vec<JobKey>;
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
        reclaim(now: Timestamp, monotonic_us: u64, sight: Sight) -> Reclaimed;
    }

    /// Who acts is whoever the server knows by the credentials of the request.
    fn on_behalf_of(&self, _: Behalf) -> SharedStore {
        std::sync::Arc::new(Self::new(self.remote.clone(), self.namespace.clone()))
    }

    fn follow(&self, id: JobId, at_most: Duration) -> Option<Reply<'_, ()>> {
        Some(Box::pin(async move {
            let path = format!("/api/v1/jobs/{id}/wait");
            let timeout = [("timeout", format!("{}ms", at_most.as_millis()))];
            self.remote.text(Method::GET, &path, None, &timeout, NO_BODY, &[]).await.map(drop)
        }))
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
            let namespace = match &filter.namespaces {
                Namespaces::Any => Vec::new(),
                // Named in a request, none is no condition.
                Namespaces::Of(names) if names.is_empty() => return Ok(Paged::default()),
                Namespaces::Of(names) => names.clone(),
            };
            let query = ListQuery { namespace, filter: query_of(&filter, page) };
            // Ids go into the URL, which has its limits.
            const IDS_MAX: usize = 500;
            if query.filter.id.len() > IDS_MAX {
                return Err(self.remote.not_offered("asking for more than 500 jobs by their ids at once"));
            }
            let answer: Option<Items<JobView>> = self.get("/api/v1/jobs", None, &query).await?;
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
