//! What the runtime promises, on the memory store and a virtual clock: one promise a file, one binary for all, so that
//! they are linked once.

mod attempts_are_counted;
mod back_off_is_exact;
mod budget_is_kept;
mod buffered_jobs_go_back;
mod cancel_reaches_the_handler;
mod client_never_doubles_a_job;
mod events_reach_schedules;
mod files_become_events;
mod generators;
mod generators_come_in_families;
mod generators_follow_cursors;
mod generators_keep_dead_letters;
mod generators_rest_when_there_is_nothing;
mod generators_run_their_items;
mod generators_survive_nodes_and_stores;
mod jobs_are_handed_over;
mod jobs_run_and_complete;
mod limits_need_a_child_process;
mod logs_and_progress_arrive;
mod lost_workers_are_replaced;
mod order_follows_priority;
mod orders_are_obeyed;
mod panics_stay_in_their_attempt;
mod schedules_fire;
mod schedules_follow_their_policies;
mod schedules_survive_nodes_and_clocks;
mod shutdown_gives_back;
mod state_is_shared_by_type;
mod store_outages_are_survived;
mod support;
mod time_limits_are_kept;
mod workers_take_only_what_they_serve;
mod worn_out_workers_are_recycled;
