//! Events, and who waits for them.

use std::collections::{BTreeMap, BTreeSet};

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{EventId, Namespace, Timestamp, Topic};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::event::{EventKey, EventStore, NewEvent, StoredEvent, check_events};
use crate::schedule::{ScheduleWrite, StoredSchedule};

/// All events.
#[derive(Debug, Default)]
pub(super) struct Events {
    rows: BTreeMap<EventKey, StoredEvent>,
    ids: BTreeMap<EventId, EventKey>,
    undelivered: BTreeSet<EventKey>,
    last_key: i64,
    /// The highest key of an event that is not kept any more.
    gone: i64,
}

impl EventStore for MemoryStore {
    fn emit(&self, now: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()> {
        self.act(|world| {
            check_events(&events)?;
            for event in events {
                world.emit(now, event);
            }
            Ok(())
        })
    }

    fn undelivered(&self, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        self.ask(|world| {
            let keys = world.events.undelivered.iter().take(limit);
            Ok(keys.map(|key| world.events.rows[key].clone()).collect())
        })
    }

    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>> {
        self.ask(|world| Ok(world.listening()))
    }

    fn deliver(&self, now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> Reply<'_, bool> {
        self.act(|world| {
            let is_current = events.iter().all(|key| world.events.undelivered.contains(key))
                && writes.iter().all(|write| world.is_fresh(&write.target));
            if !is_current {
                return Ok(false);
            }
            for write in writes {
                world.write_schedule(now, write)?;
            }
            for key in events {
                world.events.undelivered.remove(&key);
                if let Some(row) = world.events.rows.get_mut(&key) {
                    row.delivered = true;
                }
            }
            Ok(true)
        })
    }

    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        self.ask(|world| {
            let newest_first = world.events.rows.range(..before.unwrap_or(EventKey(i64::MAX))).rev();
            let wanted = newest_first
                .map(|(_, row)| row)
                .filter(|row| namespace.as_ref().is_none_or(|namespace| *namespace == row.event.namespace))
                .filter(|row| topic.as_ref().is_none_or(|topic| *topic == row.event.topic));
            Ok(wanted.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }
}

impl Events {
    /// The key of the newest event; 0 when there was none.
    pub(super) fn head(&self) -> i64 {
        self.last_key
    }

    /// The highest key of an event that is not kept any more; 0 when all are.
    pub(super) fn gone(&self) -> i64 {
        self.gone
    }

    pub(super) fn get(&self, key: EventKey) -> Option<&StoredEvent> {
        self.rows.get(&key)
    }

    pub(super) fn by_id(&self, id: EventId) -> Option<&StoredEvent> {
        self.rows.get(self.ids.get(&id)?)
    }

    /// The events with higher keys, in their order.
    pub(super) fn after(&self, key: i64) -> impl Iterator<Item = &StoredEvent> {
        self.rows.range(EventKey(key.saturating_add(1))..).map(|(_, row)| row)
    }
}

impl World {
    pub(super) fn emit(&mut self, now: Timestamp, event: NewEvent) {
        if self.events.ids.contains_key(&event.id) {
            return;
        }
        self.events.last_key += 1;
        let number = EventKey(self.events.last_key);
        self.events.ids.insert(event.id, number);
        self.events.undelivered.insert(number);
        self.events.rows.insert(number, StoredEvent { number, at: now, event, delivered: false });
        self.tell_news();
    }

    pub(super) fn collect_events(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let old = self.events.rows.values().filter(|row| row.delivered && row.at < before);
        let old: Vec<EventKey> = old.map(|row| row.number).take(limit).collect();
        if dry_run {
            return old.len();
        }
        for key in &old {
            self.events.gone = self.events.gone.max(key.0);
            if let Some(row) = self.events.rows.remove(key) {
                self.events.ids.remove(&row.event.id);
            }
        }
        old.len()
    }
}
