//! The yardstick of `taskwright bench`: what plain PostgreSQL does with the same rows, and what the server says of
//! itself meanwhile.
//!
//! One table with a primary key and nothing else, one statement a batch, prepared, each its own transaction: the least
//! that any durable queue on PostgreSQL must do. It keeps no history, knows no fence and loses what it claims.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::error::store_error;
use super::url::Settings;
use super::{leftover, tls};
use crate::error::Error;

/// A schema of its own to measure in, with a connection that is not the store's.
pub struct Range {
    pub(super) settings: Settings,
    pub(super) plain: Plain,
}

/// What the tables of the schema hold that is of no use, and how large they are, by the server's own account, which may
/// be late by a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Rows that were deleted or replaced and not cleared away.
    pub dead_rows: u64,
    /// Bytes on the disk, indexes included.
    pub bytes: u64,
}

/// What the whole server has written to its log, by its own account: sessions add their part when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Bytes.
    pub bytes: u64,
    /// Flushes to the disk; `None` where the server keeps them elsewhere (from PostgreSQL 18 on).
    pub flushes: Option<u64>,
}

/// A session that holds a snapshot until it is dropped.
pub struct HeldSnapshot {
    _plain: Plain,
}

impl Range {
    /// Connects, and has a schema that is nobody else's if `tag` is not: lower-case letters, digits and `_`, at most 32.
    /// It is made by whoever opens a store there, or by the first measurement. As long as this lives,
    /// [`clear_leftovers`](Self::clear_leftovers) of others leaves it alone.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or the tag is none.
    pub async fn connect(settings: Settings, tag: &str) -> Result<Self, Error> {
        let settings = leftover::with_schema_of(settings, tag)?;
        let plain = Plain::connect(&settings).await?;
        leftover::claim(&plain, &settings).await?;
        Ok(Self { settings, plain })
    }

    /// How a store in the schema is opened.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Drops the schema with everything in it.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn clear(&self) -> Result<(), Error> {
        self.plain.run(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.settings.schema())).await
    }

    /// How long plain inserts of a row per payload take: `batch` rows a statement, on `clients` connections at once.
    ///
    /// `stopwatch` gives monotonic time.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn insert(
        &self,
        payloads: &Arc<Vec<Vec<u8>>>,
        batch: usize,
        clients: usize,
        stopwatch: &dyn Fn() -> Duration,
    ) -> Result<Duration, Error> {
        self.make_table().await?;
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(Plain::connect(&self.settings).await?);
        }
        let share = payloads.len().div_ceil(clients.max(1));
        let schema = self.settings.schema();
        let started = stopwatch();
        let mut inserting = JoinSet::new();
        for (number, plain) in connections.into_iter().enumerate() {
            let (payloads, schema) = (payloads.clone(), schema.to_owned());
            inserting.spawn(async move {
                let mine = payloads.iter().skip(number * share).take(share).map(Vec::as_slice);
                plain.insert(&schema, &mine.collect::<Vec<_>>(), batch).await
            });
        }
        while let Some(done) = inserting.join_next().await {
            done.map_err(|error| Error::unavailable("the plain inserts", error.to_string()))??;
        }
        Ok(stopwatch() - started)
    }

    /// How long it takes to take all those rows away again, `batch` a statement, reading what a worker would need.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn claim(&self, batch: usize, stopwatch: &dyn Fn() -> Duration) -> Result<Duration, Error> {
        let schema = self.settings.schema();
        let sql = format!(
            "DELETE FROM {schema}.raw_task WHERE id = ANY(ARRAY(
                 SELECT id FROM {schema}.raw_task ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
             RETURNING id, kind, args"
        );
        let claim = self.plain.client.prepare(&sql).await.map_err(store_error)?;
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        let started = stopwatch();
        loop {
            let rows = self.plain.client.query(&claim, &[&batch]).await.map_err(store_error)?;
            if rows.is_empty() {
                return Ok(stopwatch() - started);
            }
        }
    }

    /// What the server says of the tables.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn tables(&self) -> Result<Tables, Error> {
        let sql = "SELECT coalesce(sum(n_dead_tup), 0)::bigint, coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
                   FROM pg_stat_all_tables WHERE schemaname = $1";
        let row = self.plain.client.query_one(sql, &[&self.settings.schema()]).await.map_err(store_error)?;
        Ok(Tables {
            dead_rows: row.get::<_, i64>(0).unsigned_abs(),
            bytes: row.get::<_, i64>(1).unsigned_abs(),
        })
    }

    /// What the server says of its log; `None` when it does not.
    pub async fn log(&self) -> Option<Log> {
        let sql = "SELECT wal_bytes::bigint, (to_jsonb(wal) ->> 'wal_sync')::bigint FROM pg_stat_wal wal";
        let row = self.plain.client.query_one(sql, &[]).await.ok()?;
        let flushes = row.get::<_, Option<i64>>(1).map(i64::unsigned_abs);
        Some(Log { bytes: row.get::<_, i64>(0).unsigned_abs(), flushes })
    }

    /// Has another session look at the database as it is now, until the value is dropped: nothing that is deleted after
    /// this can be cleared away.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn hold_snapshot(&self) -> Result<HeldSnapshot, Error> {
        let plain = Plain::connect(&self.settings).await?;
        plain
            .run(
                "BEGIN ISOLATION LEVEL REPEATABLE READ;
                 SET LOCAL idle_in_transaction_session_timeout = 0;
                 SELECT count(*) FROM pg_class",
            )
            .await?;
        Ok(HeldSnapshot { _plain: plain })
    }

    async fn make_table(&self) -> Result<(), Error> {
        let schema = self.settings.schema();
        self.plain
            .run(&format!(
                "CREATE SCHEMA IF NOT EXISTS {schema};
                 DROP TABLE IF EXISTS {schema}.raw_task;
                 CREATE TABLE {schema}.raw_task (
                     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue text NOT NULL, kind text NOT NULL,
                     priority smallint NOT NULL, state smallint NOT NULL, run_at bigint NOT NULL, args bytea NOT NULL)"
            ))
            .await
    }
}

/// A connection with nothing set up.
pub(super) struct Plain {
    pub(super) client: Client,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

impl Plain {
    async fn connect(settings: &Settings) -> Result<Self, Error> {
        let connector = tls::connector(settings)?;
        let (client, connection) = settings.config.connect(connector).await.map_err(store_error)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever uses the client is told.
            let _ = connection.await;
        });
        Ok(Self { client, _driver: driver })
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(store_error)
    }

    async fn insert(&self, schema: &str, payloads: &[&[u8]], batch: usize) -> Result<(), Error> {
        let into = format!("INSERT INTO {schema}.raw_task (queue, kind, priority, state, run_at, args)");
        let values = "'default', 'noop', 2000, 0, 1700000000000000";
        let sql = match batch {
            1 => format!("{into} VALUES ({values}, $1)"),
            _ => format!("{into} SELECT {values}, args FROM unnest($1::bytea[]) args"),
        };
        let insert = self.client.prepare(&sql).await.map_err(store_error)?;
        for rows in payloads.chunks(batch) {
            let inserted = match batch {
                1 => self.client.execute(&insert, &[&rows[0]]).await,
                _ => self.client.execute(&insert, &[&rows]).await,
            };
            inserted.map_err(store_error)?;
        }
        Ok(())
    }
}
