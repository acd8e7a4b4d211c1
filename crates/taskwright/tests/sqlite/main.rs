//! What holds on SQLite alone: transactions of the callers, and several nodes on one file.
#![cfg(feature = "sqlite")]

#[path = "../lineage/deaths.rs"]
mod deaths;
#[path = "../lineage/scenarios.rs"]
mod scenarios;

mod a_generators_items_are_counted_once_by_two_nodes;
mod a_job_in_the_callers_transaction_exists_only_if_that_commits;
mod an_attempt_ends_in_its_handlers_transaction;
mod killed_workers_lose_nothing;
mod tasks_take_transactions;
mod the_lineage_holds;
