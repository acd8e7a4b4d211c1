//! The whole binary, as its users meet it, with real stores, real children and real kills: one promise a file.

#[path = "support/authority.rs"]
mod authority;
#[path = "support/caller.rs"]
mod caller;
#[path = "support/disk.rs"]
mod disk;
#[path = "support/node.rs"]
mod node;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/receiver.rs"]
mod receiver;
mod support;

mod a_full_disk_stops_nothing_for_ever;
mod a_stop_leaves_everything_where_policy_says;
mod an_older_program_works_on_a_newer_schema;
mod attachments_reach_their_jobs;
mod codechecker_extras;
mod codechecker_roles;
mod codechecker_scenarios;
mod commands_of_another_user_reach_nothing;
mod doctor_is_asked_over_http;
mod documents;
mod every_example_ends_well;
mod every_file_becomes_an_item_once;
mod http_serves_real_processes;
mod hup_reloads_the_config_file;
mod jobs_top_tells_who_uses_the_machine;
mod kill_a_submitter_and_nothing_acknowledged_is_missing;
mod kill_anything_and_every_file_is_done;
mod kill_loop_of_one_job_ends_in_quarantine;
mod kill_nodes_and_each_item_is_made_once;
mod kill_nodes_and_each_second_fires_once;
mod kill_of_a_worker_leaves_no_orphan;
mod kill_of_the_parent_ends_its_workers;
mod kill_up_and_every_dropped_file_is_an_event;
mod kill_workers_and_every_bulk_item_is_counted;
mod limits_of_commands_are_named;
mod log_that_cannot_be_written_stops_nothing;
mod many_generators_cost_little;
mod many_schedules_cost_little;
mod narrow_tokens_store_jobs;
mod no_canary_leaves_its_namespace;
mod nodes_have_names;
mod pause_a_worker_and_its_writes_change_nothing;
#[cfg(feature = "postgres")]
mod postgres_crashes_lose_nothing;
#[cfg(feature = "postgres")]
mod postgres_may_go_away;
#[cfg(feature = "postgres")]
mod postgres_notifications_become_events;
#[cfg(feature = "postgres")]
mod postgres_outlives_its_machines;
#[cfg(feature = "postgres")]
mod postgres_serves_many_ups;
#[cfg(feature = "postgres")]
mod postgres_verbs_work;
mod profiles_name_servers;
mod programs_bring_their_tasks;
mod programs_bring_their_triggers;
mod revoked_means_revoked;
mod rolling_restarts_lose_nothing;
mod schedules_next_agrees_with_an_oracle;
mod schedules_obey_the_command_line;
mod schedules_of_the_config_file_are_kept;
mod services_hold_up_nobody;
mod stop_of_a_worker_blocks_nobody_for_long;
mod stop_of_up_is_polite_then_final;
mod tls_is_spoken_and_renewed;
mod webhooks_are_a_firehose;
mod webhooks_follow_the_config_file;
mod webhooks_prove_who_sends;
mod worn_out_workers_are_replaced;
