//! The part of the store that keeps events.

use std::sync::atomic::Ordering;

use taskwright_core::{Namespace, Timestamp, Topic};
use tokio_postgres::types::Type;

use super::super::event::{self, Columns};
use super::super::schedule;
use super::super::session::Session;
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::event::{EventKey, EventStore, NewEvent, StoredEvent, check_events};
use crate::schedule::{ScheduleWrite, StoredSchedule};

impl EventStore for PostgresStore {
    fn emit(&self, now: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()> {
        Box::pin(async move {
            check_events(&events)?;
            let columns = Columns::of(now, &events);
            if self.behalf.is_some() {
                return transact!(self, session => event::emit(session, &columns));
            }
            self.once(event::EMIT, &columns.parameters()).await?;
            self.bell.ring(&self.connections);
            Ok(())
        })
    }

    fn undelivered(&self, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        Box::pin(async move {
            let most = schedule::page(limit);
            let rows = self.look(event::UNDELIVERED, &[(&most, Type::INT8)]).await?;
            rows.iter().map(event::read_event).collect()
        })
    }

    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(async move { snapshot!(self, session => schedule::listeners(session)) })
    }

    fn deliver(&self, now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, session => event::deliver(session, now, &events, &writes), if |delivered: &bool| *delivered)
        })
    }

    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        Box::pin(async move {
            let (namespace, topic) = (namespace.as_ref(), topic.as_ref());
            snapshot!(self, session => event::list(session, namespace, topic, before, limit))
        })
    }
}
