//! Finished jobs by the million, for a benchmark that wants them to lie around: what a real drain left is repeated.
//!
//! A completed job leaves its row of `job` and its part of a `completion` (docs/design/0005-postgres-shape.md). Both are
//! copied within the server, with other ids, numbers and times. A copied job is in the stream of its lane, behind the head:
//! its transaction is the one that copies, and so that moves the head past itself.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::error::store_error;
use super::raw::Range;
use crate::error::{Area, Error};

/// What there is to repeat.
struct Model {
    lo: i64,
    hi: i64,
    /// Numbers that a copy is apart from the one before it.
    span: i64,
}

impl Range {
    /// Repeats, so many times, the jobs of the schema, all of which must have completed at their first attempt and left
    /// nothing but their times. A repetition ended just before it was made. `stopwatch` gives monotonic time.
    ///
    /// # Errors
    ///
    /// When there are other jobs than such; and as every call to the server.
    pub async fn repeat_history(&self, times: u64, stopwatch: &dyn Fn() -> Duration) -> Result<(), Error> {
        let model = self.model().await?;
        let (began, mut later_us) = (stopwatch(), 0);
        let copy = self.plain.client.prepare(&self.named(COPY)).await.map_err(store_error)?;
        for number in 1..=i64::try_from(times).unwrap_or(i64::MAX) {
            let apart = number * model.span;
            // Never the same twice: the time is what tells the ids apart.
            let elapsed_us = i64::try_from((stopwatch() - began).as_micros()).unwrap_or(i64::MAX);
            later_us = elapsed_us.max(later_us + 1_000);
            let last = model.hi + apart;
            self.row(TAKE_NUMBERS, &[&self.settings.schema(), &last]).await?;
            let parameters: &[&(dyn ToSql + Sync)] = &[&model.lo, &model.hi, &apart, &later_us];
            self.plain.client.execute(&copy, parameters).await.map_err(store_error)?;
        }
        self.plain.run(&self.named(FORGET_HEADS)).await
    }

    /// Keeps autovacuum away from the tables: what is stored from now on is neither cleared up nor analysed.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn keep_unsettled(&self) -> Result<(), Error> {
        self.each_table("SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)").await
    }

    /// Does at once what autovacuum does within minutes, and leaves the tables to it again.
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn settle(&self) -> Result<(), Error> {
        self.each_table("RESET (autovacuum_enabled, toast.autovacuum_enabled)").await?;
        for table in self.tables_by_name().await? {
            self.plain.run(&format!("VACUUM (ANALYZE) {}.{table}", self.settings.schema())).await?;
        }
        Ok(())
    }

    /// Writes out what was stored, so that the server does not do it while something is measured. Whether it did: the role
    /// must be allowed to (`pg_checkpoint`).
    pub async fn checkpoint(&self) -> bool {
        self.plain.run("CHECKPOINT").await.is_ok()
    }

    async fn model(&self) -> Result<Model, Error> {
        let row = self.row(&self.named(MODEL), &[]).await?;
        let (jobs, done): (i64, i64) = (row.get(0), row.get(1));
        if jobs == 0 || jobs != done {
            return Err(Error::new(
                Area::Domain,
                "repeat finished jobs",
                format!("{done} of the {jobs} jobs in the schema are plainly completed"),
                "drain a few jobs that do nothing first, and nothing else",
            ));
        }
        let (lo, hi): (i64, i64) = (row.get(2), row.get(3));
        Ok(Model { lo, hi, span: hi - lo + 1 })
    }

    async fn each_table(&self, change: &str) -> Result<(), Error> {
        let schema = self.settings.schema();
        let tables = self.tables_by_name().await?;
        let sql: String =
            tables.iter().map(|table| format!("ALTER TABLE {schema}.{table} {change};")).collect();
        self.plain.run(&sql).await
    }

    async fn tables_by_name(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1 ORDER BY 1";
        let rows = self.plain.client.query(sql, &[&self.settings.schema()]).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The statement with the schema's name in it.
    fn named(&self, sql: &str) -> String {
        sql.replace("SCHEMA.", &format!("{}.", self.settings.schema()))
    }

    async fn row(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<tokio_postgres::Row, Error> {
        self.plain.client.query_one(sql, parameters).await.map_err(store_error)
    }
}

/// How many jobs there are and how many of them completions have, and their first and last number.
const MODEL: &str = "
    SELECT (SELECT count(*) FROM SCHEMA.job),
           (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM SCHEMA.completion c CROSS JOIN unnest(c.seqs) AS r),
           (SELECT min(seq) FROM SCHEMA.job), (SELECT max(seq) FROM SCHEMA.job)";

/// Nobody else is given the numbers up to this one. Before they are used: this is not undone with a transaction.
const TAKE_NUMBERS: &str =
    "SELECT setval(pg_get_serial_sequence(quote_ident($1::text) || '.job', 'seq'), $2)";

/// Repeats the jobs from `$1` to `$2`, with numbers that are `$3` higher and moments that are `$4` microseconds later. An id
/// keeps its tail, which is random, and gets its own time.
const COPY: &str = "
    WITH job AS (
        INSERT INTO SCHEMA.job (seq, id, lane, created_at, run_at, timeout_us, max_attempts, attempts_base, first_state,
                                at_most_once, is_streamed, owner, backoff, args)
        SELECT j.seq + $3,
               encode(overlay(uuid_send(j.id)
                   PLACING substring(int8send((j.created_at + $4) / 1000) FROM 3) FROM 1 FOR 6), 'hex')::uuid,
               j.lane, j.created_at + $4, j.run_at + $4, j.timeout_us, j.max_attempts, j.attempts_base, j.first_state,
               j.at_most_once, j.is_streamed, j.owner, j.backoff, j.args
        FROM SCHEMA.job j WHERE j.seq BETWEEN $1 AND $2 ORDER BY j.seq),
    completion AS (
        INSERT INTO SCHEMA.completion (worker, claimed_at, lo, hi, seqs, times)
        SELECT c.worker, c.claimed_at + $4, c.lo + $3, c.hi + $3,
               (SELECT range_agg(int8range(lower(r) + $3, upper(r) + $3)) FROM unnest(c.seqs) AS r), c.times
        FROM SCHEMA.completion c WHERE c.hi BETWEEN $1 AND $2 ORDER BY c.completion)
    INSERT INTO SCHEMA.lane_head (lane, n, xid, seq, late_xid, late_seq)
    SELECT h.lane, h.n + 1, pg_current_xact_id(), $2 + $3, '{}', '{}'
    FROM SCHEMA.lane l CROSS JOIN LATERAL (
        SELECT h.lane, h.n FROM SCHEMA.lane_head h WHERE h.lane = l.lane ORDER BY h.n DESC LIMIT 1) h";

/// Removes the heads that claims would have removed in the course of a drain.
const FORGET_HEADS: &str = "
    DELETE FROM SCHEMA.lane_head h USING (SELECT lane, max(n) AS n FROM SCHEMA.lane_head GROUP BY lane) newest
    WHERE h.lane = newest.lane AND h.n < newest.n - 64";
