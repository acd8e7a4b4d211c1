//! The part of the store that keeps webhooks.

use std::sync::atomic::Ordering;

use taskwright_core::{EventId, GeneratorName, Namespace, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use super::super::schedule::page;
use super::super::session::{Session, get};
use super::super::subject;
use super::super::webhook::{self, Bounds};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::generator::GeneratorKey;
use crate::subject::Subject;
use crate::webhook::{
    DeliveryView, Listening, LogPage, NewWebhook, ReadLog, RetrySet, StoredRetry, StoredWebhook,
    WebhookStore, WebhookWrite, check_redelivery,
};

impl WebhookStore for PostgresStore {
    fn add_webhook(&self, now: Timestamp, new: NewWebhook) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::of_generators([&new.generator]), session => webhook::add(session, now, &new))
        })
    }

    fn write_webhook(&self, _: Timestamp, write: WebhookWrite) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::of_generator(write.generator.generator), session => webhook::write(session, &write), if |done: &bool| *done)
        })
    }

    fn remove_webhook(&self, _: Timestamp, generator: GeneratorKey) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::of_generator(generator), session => webhook::remove(session, generator))
        })
    }

    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        Box::pin(async move { snapshot!(self, session => webhook::find(session, &namespace, &generator)) })
    }

    fn webhooks(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredWebhook>> {
        Box::pin(async move {
            snapshot!(self, session => webhook::list(session, namespace.as_ref(), after, limit))
        })
    }

    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>> {
        Box::pin(async move {
            self.look(webhook::LISTENING, &[]).await?.iter().map(webhook::read_listening).collect()
        })
    }

    fn wake_webhooks(&self, now: Timestamp, generators: Vec<GeneratorKey>) -> Reply<'_, ()> {
        Box::pin(async move { transact!(self, session => webhook::wake(session, now, &generators)) })
    }

    fn log_head(&self) -> Reply<'_, i64> {
        Box::pin(async move {
            let rows = self.look(webhook::HEAD, &[]).await?;
            rows.first().map_or(Ok(0), |row| get(row, 0))
        })
    }

    fn read_log(&self, read: ReadLog) -> Reply<'_, LogPage> {
        Box::pin(async move {
            let rows = self.look(webhook::LOG, &Bounds::of(&read).parameters()).await?;
            webhook::read_page(&rows, &read)
        })
    }

    fn retries(&self, set: RetrySet, limit: usize) -> Reply<'_, Vec<StoredRetry>> {
        Box::pin(async move {
            let (epoch, most) = (set.epoch.cast_signed(), page(limit));
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&set.generator.0, Type::INT8), (&epoch, Type::INT8), (&most, Type::INT8)];
            self.look(webhook::RETRIES, &values).await?.iter().map(webhook::read_retry).collect()
        })
    }

    fn retry_count(&self, set: RetrySet, limit: usize) -> Reply<'_, usize> {
        Box::pin(async move {
            let (epoch, most) = (set.epoch.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX));
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&set.generator.0, Type::INT8), (&epoch, Type::INT8), (&most, Type::INT8)];
            let rows = self.look(webhook::RETRY_COUNT, &values).await?;
            let count = rows.first().map_or(Ok(0), |row| get::<i64>(row, 0))?;
            Ok(usize::try_from(count).unwrap_or_default())
        })
    }

    fn waiting_keys(&self, set: RetrySet, keys: Vec<String>) -> Reply<'_, Vec<String>> {
        Box::pin(async move {
            let epoch = set.epoch.cast_signed();
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&set.generator.0, Type::INT8), (&epoch, Type::INT8), (&keys, Type::TEXT_ARRAY)];
            self.look(webhook::WAITING, &values).await?.iter().map(|row| get(row, 0)).collect()
        })
    }

    fn redeliver(&self, now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            check_redelivery(&events)?;
            transact!(self, session => webhook::redeliver(session, now, set, &events))
        })
    }

    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>> {
        Box::pin(async move {
            let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
            let most = page(limit);
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&generator.0, Type::INT8), (&before, Type::INT8), (&most, Type::INT8)];
            self.look(webhook::DELIVERIES, &values).await?.iter().map(webhook::read_delivery).collect()
        })
    }
}
