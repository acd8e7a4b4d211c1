//! What holds in transactions of the callers on SQLite.
#![cfg(feature = "sqlite")]

mod a_job_in_the_callers_transaction_exists_only_if_that_commits;
mod an_attempt_ends_in_its_handlers_transaction;
