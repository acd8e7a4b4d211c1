//! The parts of the store that roll up what ended, and remove what is over.

use std::sync::atomic::Ordering;

use super::super::session::Session;
use super::super::{collect, rollup};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::collect::{Collect, CollectStore, Collected};
use crate::rollup::{RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp};

impl CollectStore for PostgresStore {
    fn collect(&self, collect: Collect) -> Reply<'_, Collected> {
        Box::pin(async move { transact!(self, session => collect::collect(session, &collect)) })
    }
}

impl RollUpStore for PostgresStore {
    fn roll_up(&self, most: usize) -> Reply<'_, RolledUp> {
        Box::pin(async move { transact!(self, session => rollup::roll_up(session, most)) })
    }

    fn roll_ups(
        &self,
        filter: RollUpFilter,
        after: Option<RollUpPlace>,
        limit: usize,
    ) -> Reply<'_, RollUpPage> {
        Box::pin(
            async move { snapshot!(self, session => rollup::page(session, &filter, after.as_ref(), limit)) },
        )
    }
}
