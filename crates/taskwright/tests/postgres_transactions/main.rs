//! Jobs and events in the callers' own transactions on PostgreSQL, by each driver and from plain SQL.
#![cfg(all(
    feature = "tokio-postgres-0_7",
    feature = "deadpool-postgres-0_14",
    feature = "sqlx-0_9",
    feature = "diesel-async-0_9"
))]

#[path = "../../../../tests/support/cluster.rs"]
mod cluster;

mod complete;
mod drivers;
mod emit;
mod enqueue;
mod latency;
mod sql;
mod support;
