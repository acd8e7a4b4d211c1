//! Schedules, generators, webhooks and bulks of a server, which a store calls by its keys and a server by their names; and what
//! is not offered over HTTP at all.

use std::collections::HashMap;
use std::sync::PoisonError;

use ::http::Method;
use serde_json::json;
use taskwright_core::generator::Record;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::webhook::{Disabled, Endpoint};
use taskwright_core::{
    EventId, GeneratorName, JobId, Namespace, Schedule, ScheduleName, ScheduleState, State, Timestamp,
    WebhookName,
};
use taskwright_store::*;

use super::http::{NO_BODY, NOTHING, items};
use super::store::{RemoteStore, segment, unwritable};
use crate::answer::history::{Executed, Part};
use crate::answer::source::Listed as SourceListed;
use crate::answer::webhook::{Listed as WebhookListed, Redelivered};
use crate::http::{HistoryQuery, Stored as Which, cursor};

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
                origins.push(match self.known_origin(id) {
                    Some(known) => known,
                    None => self.read_job(id).await?.and_then(|(_, origin)| origin),
                });
            }
            Ok(origins)
        })
    }
}

impl SourceStore for RemoteStore {
    refused! {
        open_source(now: Timestamp, place: SourcePlace) -> SourceKey;
        seen_of(source: SourceKey, paths: Vec<String>) -> Vec<Option<taskwright_core::Fingerprint>>;
        seen(source: SourceKey, after: Option<String>, limit: usize) -> Vec<(String, taskwright_core::Fingerprint)>;
        see(now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Vec<bool>;
        note_source(now: Timestamp, source: SourceKey, note: SourceNote) -> bool;
    }

    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        Box::pin(async move {
            let listed: Vec<SourceListed> = self.remote.items("/api/v1/sources", namespace.as_ref()).await?;
            Ok(listed.into_iter().map(SourceListed::into_view).collect())
        })
    }
}

impl MoveStore for RemoteStore {
    refused! {
        listen(lease: std::time::Duration) -> MovePlace;
        moves(after: MovePlace, limit: usize) -> Moves;
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

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        Box::pin(async move {
            let known = self.known_generator(generator)?;
            let path = format!("/api/v1/generators/{}", segment(known.name.as_str()));
            let asked =
                self.remote.text(Method::DELETE, &path, Some(&known.namespace), &NOTHING, NO_BODY, &[]);
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
            let Some(name) = WebhookName::of_generator(&generator) else { return Ok(None) };
            let path = format!("/api/v1/stored/webhooks/{}", segment(name.as_str()));
            let stored: Option<StoredGenerator> = self.get(&path, Some(&namespace), &NOTHING).await?;
            self.remember_generators(&stored);
            match stored {
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

impl RemoteStore {
    fn remember_origins(&self, of: impl IntoIterator<Item = (JobId, Option<JobOrigin>)>) {
        /// Jobs whose makers are remembered.
        const MOST: usize = 10_000;
        let mut known = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST {
            known.clear();
        }
        known.extend(of);
    }

    pub(super) fn known_origin(&self, job: JobId) -> Option<Option<JobOrigin>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(&job).cloned()
    }
}

fn history_query(filter: &ExecutionFilter) -> HistoryQuery {
    let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    HistoryQuery {
        id: filter.ids.clone(),
        kind: texts(&filter.kinds),
        queue: texts(&filter.queues),
        outcome: filter.ends.clone(),
        worker: filter.workers.clone(),
        since: filter.ended_from,
        until: filter.ended_to,
        limit: None,
        cursor: None,
    }
}

impl HistoryStore for RemoteStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        Box::pin(async move {
            let query = HistoryQuery {
                limit: u32::try_from(page.limit.clamp(1, PAGE_ROWS_MAX)).ok(),
                cursor: page.after.map(|after| cursor::write(&after)),
                ..history_query(&filter)
            };
            let path = "/api/v1/jobs/history";
            let part: Option<Part> = self.get(path, filter.namespace.as_ref(), &query).await?;
            let Part { items, next, is_cut } = part.ok_or_else(|| self.gone(path))?;
            self.remember_origins(items.iter().map(|one| (one.job, one.made_by.clone())));
            let next = next.map(|next| cursor::read(&next)).transpose().map_err(|_| self.gone(path))?;
            Ok(Executions {
                executions: items.into_iter().map(Executed::into_execution).collect(),
                next,
                is_cut,
            })
        })
    }

    fn statistics(&self, filter: ExecutionFilter, _: usize) -> Reply<'_, Statistics> {
        Box::pin(async move {
            let path = "/api/v1/stored/statistics";
            let found = self.get(path, filter.namespace.as_ref(), &history_query(&filter)).await?;
            found.ok_or_else(|| self.gone(path))
        })
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
