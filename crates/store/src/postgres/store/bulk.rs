//! The part of the store that keeps bulk jobs.

use std::sync::atomic::Ordering;

use taskwright_core::{JobId, Namespace, Timestamp};

use super::super::bulk;
use super::super::session::Session;
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::bulk::{BulkStore, NewBulk, StoredBulk};
use crate::claim::JobKey;
use crate::{Enqueued, Reply};

impl BulkStore for PostgresStore {
    fn create_bulk(&self, now: Timestamp, new: NewBulk) -> Reply<'_, Enqueued> {
        Box::pin(async move { transact!(self, session => bulk::create(session, now, &new)) })
    }

    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>> {
        Box::pin(async move { snapshot!(self, session => bulk::find(session, parent)) })
    }

    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>> {
        Box::pin(
            async move { snapshot!(self, session => bulk::list(session, namespace.as_ref(), after, limit)) },
        )
    }
}
