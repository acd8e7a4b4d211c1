//! What holds on PostgreSQL alone: one clock, and jobs and events in the callers' own transactions, by each driver and from
//! plain SQL.
#![cfg(all(
    feature = "tokio-postgres-0_7",
    feature = "deadpool-postgres-0_14",
    feature = "sqlx-0_9",
    feature = "diesel-async-0_9"
))]

#[path = "../../../../tests/support/cluster.rs"]
mod cluster;
#[path = "../lineage/deaths.rs"]
mod deaths;
#[path = "../lineage/scenarios.rs"]
mod scenarios;

mod a_crate_outside_uses_its_transactions;
mod clocks_of_machines_may_differ;
mod complete;
mod complete_under_kills;
mod drivers;
mod emit;
mod enqueue;
mod killed_workers_lose_nothing;
mod latency;
mod sql;
mod support;
mod tasks_take_transactions;
mod the_lineage_holds;
mod the_queue_of_crates_io;
