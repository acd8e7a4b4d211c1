//! What holds for the SQLite store, on real files: one promise a file.

mod a_restart_finds_everything_as_it_was;
mod a_schema_of_another_program_is_refused;
mod a_store_that_cannot_be_opened_says_why;
mod a_store_that_takes_no_writes_loses_no_worker;
mod conformance;
mod conformance_in_memory;
mod enqueue_in_a_transaction_of_the_caller;
mod rows_of_tables_beside_the_jobs_are_read;
mod two_processes_never_get_the_same_job;
mod what_is_removed_leaves_nothing;
