//! What holds for the PostgreSQL store, against a real server: one promise a file.
#![cfg(feature = "postgres")]

#[path = "../../../../tests/support/cluster.rs"]
mod cluster;
#[path = "../../../../tests/support/proxy.rs"]
mod proxy;
#[path = "../../../../tests/support/reads.rs"]
mod reads;

mod a_killed_machine_is_seen_within_2_s;
mod a_lost_answer_makes_no_second_job;
mod a_lost_worker_holds_up_no_other;
mod a_store_that_cannot_be_opened_says_why;
mod a_thousand_schedules_are_a_handful_of_statements;
mod a_workers_role_can_only_work;
mod behind_pgbouncer;
mod benchmarks_tell_the_truth_and_tidy_up;
mod conformance;
mod connections_are_set_up;
mod dies_in_none_of_ten_ways;
mod errors_say_what_to_do;
mod history_reads_what_it_is_about;
mod late_commits_are_told;
mod migrations_are_applied_once;
mod nodes_that_ask_one_generator_count_each_item_once;
mod nodes_that_fire_the_same_schedules_fire_each_once;
mod plans_walk_indexes;
mod pruning_leaves_nothing;
mod roles_reach_nothing_else;
mod roll_ups_wait_for_late_completions;
mod rows_of_tables_beside_the_jobs_are_read;
mod streams_miss_nothing;
mod the_new_primary_is_found;
mod the_server_of_the_tests;
mod tls_believes_whom_it_is_told_to;
mod webhooks_read_the_log;
mod what_is_removed_leaves_nothing;
mod whoever_enqueues_tells_the_others;
mod whoever_listens_listens_again;
