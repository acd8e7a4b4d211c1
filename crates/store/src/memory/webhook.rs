//! Endpoints of webhooks, what could not be delivered yet, and what was tried.

use std::collections::{BTreeMap, BTreeSet};

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::{EventId, GeneratorName, Kind, Namespace, State, Timestamp, Topic};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::event::EventKey;
use crate::generator::GeneratorKey;
use crate::subject::Subject;
use crate::webhook::{
    DeliveryView, Listening, LogPage, NewDelivery, NewWebhook, ReadLog, RetrySet, RetryWrite, SeenRetry,
    Shape, StoredRetry, StoredWebhook, WebhookStore, WebhookTurn, WebhookWrite, check_redelivery,
};

/// All endpoints.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    rows: BTreeMap<GeneratorKey, Row>,
    retries: BTreeMap<(RetrySet, EventKey), Retry>,
    deliveries: BTreeMap<u64, (GeneratorKey, NewDelivery)>,
    last_delivery: u64,
}

#[derive(Debug)]
struct Row {
    epoch: u64,
    listens: bool,
    shape: Shape,
}

#[derive(Debug)]
struct Retry {
    id: EventId,
    topic: Topic,
    position: i64,
    key: Option<String>,
    attempts: u32,
    next_at: Option<Timestamp>,
}

impl Webhooks {
    /// The endpoint that a generator delivers to, as JSON.
    pub(super) fn endpoint(&self, generator: GeneratorKey) -> Option<&str> {
        self.rows.get(&generator).map(|row| &*row.shape.definition)
    }
}

impl WebhookStore for MemoryStore {
    fn add_webhook(&self, now: Timestamp, webhook: NewWebhook) -> Reply<'_, bool> {
        let about = self.about(|| Subject::of_generators([&webhook.generator]));
        self.act_about(about, |world| {
            let NewWebhook { generator, shape } = webhook;
            let Some(key) = world.generators.add(now, generator) else { return Ok(false) };
            world.webhooks.rows.insert(key, Row { epoch: 1, listens: false, shape });
            world.tell_news();
            Ok(true)
        })
    }

    fn write_webhook(&self, _: Timestamp, write: WebhookWrite) -> Reply<'_, bool> {
        let about = self.about(|| Subject::of_generator(write.generator.generator));
        self.act_about(about, |world| {
            let key = write.generator.generator;
            if !world.webhooks.rows.contains_key(&key)
                || !world.generators.rewrite(write.generator, write.state)
            {
                return Ok(false);
            }
            if let Some(row) = world.webhooks.rows.get_mut(&key) {
                (row.shape, row.listens) = (write.shape, false);
                row.epoch += u64::from(write.drop_retries);
            }
            world.tell_news();
            Ok(true)
        })
    }

    fn remove_webhook(&self, _: Timestamp, generator: GeneratorKey) -> Reply<'_, bool> {
        let about = self.about(|| Subject::of_generator(generator));
        self.act_about(about, |world| {
            let is_there = world.webhooks.rows.remove(&generator).is_some();
            if is_there {
                world.generators.remove(generator);
            }
            Ok(is_there)
        })
    }

    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        self.ask(|world| {
            let found = world
                .stored_webhooks()
                .find(|stored| stored.generator.namespace == namespace && stored.generator.name == generator);
            Ok(found)
        })
    }

    fn webhooks(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredWebhook>> {
        self.ask(|world| {
            let wanted = world
                .stored_webhooks()
                .filter(|stored| {
                    namespace.as_ref().is_none_or(|namespace| *namespace == stored.generator.namespace)
                })
                .filter(|stored| after.is_none_or(|after| stored.generator.key > after));
            Ok(wanted.take(limit.min(PAGE_ROWS_MAX)).collect())
        })
    }

    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>> {
        self.ask(|world| {
            let listening = world.webhooks.rows.iter().filter(|(_, row)| row.listens);
            let listening = listening.filter_map(|(key, row)| {
                let namespace = world.generators.get(*key)?.namespace.clone();
                Some(Listening { generator: *key, namespace, topics: row.shape.topics.clone() })
            });
            Ok(listening.collect())
        })
    }

    fn wake_webhooks(&self, now: Timestamp, generators: Vec<GeneratorKey>) -> Reply<'_, ()> {
        self.act(|world| {
            for key in generators {
                if let Some(row) = world.webhooks.rows.get_mut(&key) {
                    row.listens = false;
                    world.generators.notify(now, key);
                }
            }
            world.tell_news();
            Ok(())
        })
    }

    fn log_head(&self) -> Reply<'_, i64> {
        self.ask(|world| Ok(world.events.head()))
    }

    fn read_log(&self, read: ReadLog) -> Reply<'_, LogPage> {
        self.ask(|world| Ok(world.read_log(&read)))
    }

    fn retries(&self, set: RetrySet, limit: usize) -> Reply<'_, Vec<StoredRetry>> {
        self.ask(|world| {
            let rows = world.webhooks.retries.iter().filter(|((of, _), _)| *of == set);
            let mut rows: Vec<StoredRetry> = rows
                .filter_map(|((_, number), retry)| {
                    let (number, next_at) = (*number, retry.next_at?);
                    let event = world.events.get(number).cloned();
                    let Retry { id, position, attempts, .. } = *retry;
                    let (topic, key) = (retry.topic.clone(), retry.key.clone());
                    Some(StoredRetry { number, id, topic, event, position, key, attempts, next_at })
                })
                .collect();
            rows.sort_by_key(|retry| (retry.next_at, retry.number));
            rows.truncate(limit.min(PAGE_ROWS_MAX));
            Ok(rows)
        })
    }

    fn retry_count(&self, set: RetrySet, limit: usize) -> Reply<'_, usize> {
        self.ask(|world| {
            let rows = world.webhooks.retries.keys().filter(|(of, _)| *of == set);
            Ok(rows.take(limit).count())
        })
    }

    fn waiting_keys(&self, set: RetrySet, keys: Vec<String>) -> Reply<'_, Vec<String>> {
        self.ask(|world| {
            let rows = world.webhooks.retries.iter().filter(|((of, _), _)| *of == set);
            let held: BTreeSet<&String> = rows.filter_map(|(_, retry)| retry.key.as_ref()).collect();
            Ok(keys.into_iter().filter(|key| held.contains(key)).collect())
        })
    }

    fn redeliver(&self, now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        self.act(|world| {
            check_redelivery(&events)?;
            let row = world.webhooks.rows.get(&set.generator).filter(|row| row.epoch == set.epoch);
            let generator = world.generators.get(set.generator).filter(|_| row.is_some());
            let Some(namespace) = generator.map(|generator| generator.namespace.clone()) else {
                return Ok(vec![false; events.len()]);
            };
            let done = events.into_iter().map(|id| {
                let found = world.events.by_id(id).filter(|stored| stored.event.namespace == namespace);
                let Some((number, topic)) = found.map(|stored| (stored.number, stored.event.topic.clone()))
                else {
                    return false;
                };
                let retry = world.webhooks.retries.entry((set, number)).or_insert(Retry {
                    id,
                    topic,
                    position: number.0,
                    key: None,
                    attempts: 0,
                    next_at: None,
                });
                (retry.attempts, retry.next_at) = (0, Some(now));
                true
            });
            let done: Vec<bool> = done.collect();
            world.generators.notify(now, set.generator);
            world.tell_news();
            Ok(done)
        })
    }

    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>> {
        self.ask(|world| {
            let newest_first = world.webhooks.deliveries.range(..before.unwrap_or(u64::MAX)).rev();
            let wanted = newest_first.filter(|(_, (of, _))| *of == generator);
            let views = wanted
                .map(|(number, (_, delivery))| DeliveryView { number: *number, delivery: delivery.clone() });
            Ok(views.take(limit.min(PAGE_ROWS_MAX)).collect())
        })
    }
}

impl World {
    /// Removes attempts of deliveries of before that moment and, with them, parts of retry sets that were dropped.
    pub(super) fn collect_deliveries(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let Webhooks { rows, retries, deliveries, .. } = &mut self.webhooks;
        let old = deliveries.iter().filter(|(_, (_, delivery))| delivery.at < before);
        let old: Vec<u64> = old.map(|(number, _)| *number).take(limit).collect();
        let is_dropped = |set: &RetrySet| rows.get(&set.generator).is_none_or(|row| row.epoch != set.epoch);
        let dropped = retries.keys().filter(|(set, _)| is_dropped(set)).take(limit - old.len());
        let dropped: Vec<_> = dropped.copied().collect();
        if !dry_run {
            old.iter().for_each(|number| drop(deliveries.remove(number)));
            dropped.iter().for_each(|key| drop(retries.remove(key)));
        }
        old.len() + dropped.len()
    }

    fn stored_webhooks(&self) -> impl Iterator<Item = StoredWebhook> {
        self.webhooks.rows.iter().filter_map(|(key, row)| {
            let generator = self.generators.get(*key)?.clone();
            let Row { epoch, listens, shape } = row;
            Some(StoredWebhook {
                generator,
                epoch: *epoch,
                listens: *listens,
                definition: shape.definition.clone(),
            })
        })
    }

    fn read_log(&self, read: &ReadLog) -> LogPage {
        let first = self.events.after(read.after).next().map(|stored| stored.number.0 - 1);
        let gone_to = self.events.gone().min(first.unwrap_or(i64::MAX)).max(read.after);
        let gone = (gone_to - read.after).unsigned_abs();
        let mut page = LogPage { events: Vec::new(), scanned: gone_to, is_end: false, gone };
        for (looked, stored) in self.events.after(read.after).enumerate() {
            if looked == read.scan_max || page.events.len() == read.limit {
                return page;
            }
            page.scanned = stored.number.0;
            if stored.event.namespace == read.namespace && read.topics.has(&stored.event.topic) {
                page.events.push((stored.number.0, stored.clone()));
            }
        }
        LogPage { is_end: true, ..page }
    }

    /// Writes what a turn of an endpoint's generator has done.
    pub(super) fn write_webhook_turn(&mut self, now: Timestamp, turn: &WebhookTurn) {
        let generator = turn.set.generator;
        for delivery in &turn.deliveries {
            self.webhooks.last_delivery += 1;
            self.webhooks.deliveries.insert(self.webhooks.last_delivery, (generator, delivery.clone()));
        }
        for write in &turn.retries {
            self.webhooks.write_retry(now, turn.set, write);
        }
        let has_more = turn.listen.as_ref().is_some_and(|read| {
            let page = self.read_log(&ReadLog { limit: 1, ..read.clone() });
            !page.events.is_empty() || !page.is_end
        });
        if let Some(row) = self.webhooks.rows.get_mut(&generator) {
            row.listens = turn.listen.is_some() && !has_more;
            if let Some(shape) = &turn.shape {
                row.shape = shape.clone();
            }
        }
        if has_more {
            self.generators.note(generator);
        }
    }

    /// Whether any endpoint wants to be told of jobs of this kind that end so.
    pub(super) fn interests_webhook(&self, namespace: &Namespace, kind: &Kind, state: State) -> bool {
        let names =
            |one: &Interest| one.state == state && one.kind.as_ref().is_none_or(|named| named == kind);
        self.webhooks.rows.iter().any(|(key, row)| {
            let is_its = self.generators.get(*key).is_some_and(|generator| generator.namespace == *namespace);
            is_its && row.shape.outcomes.iter().any(names)
        })
    }
}

impl Retry {
    fn is(&self, seen: SeenRetry) -> bool {
        (self.attempts, self.next_at) == (seen.attempts, Some(seen.next_at))
    }
}

impl Webhooks {
    fn write_retry(&mut self, now: Timestamp, set: RetrySet, write: &RetryWrite) {
        match write {
            RetryWrite::Later { event, id, topic, position, key, attempts, next_at } => {
                let retry = self.retries.entry((set, *event)).or_insert(Retry {
                    id: *id,
                    topic: topic.clone(),
                    position: *position,
                    key: None,
                    attempts: *attempts,
                    next_at: *next_at,
                });
                (retry.position, retry.key) = (*position, key.clone());
            }
            RetryWrite::Again { event, seen, attempts, next_at } => {
                if let Some(retry) = self.retries.get_mut(&(set, *event)).filter(|retry| retry.is(*seen)) {
                    (retry.attempts, retry.next_at) = (*attempts, Some(*next_at));
                }
            }
            RetryWrite::Done { event, key, seen } => {
                if self.retries.get(&(set, *event)).is_some_and(|retry| retry.is(*seen)) {
                    self.retries.remove(&(set, *event));
                }
                let Some(key) = key else { return };
                let same = self.retries.iter_mut().filter(|((of, _), _)| *of == set);
                let same = same.map(|(_, retry)| retry).filter(|retry| retry.key.as_ref() == Some(key));
                if let Some(next) = same.min_by_key(|retry| retry.position)
                    && next.next_at.is_none()
                {
                    next.next_at = Some(now);
                }
            }
        }
    }
}
