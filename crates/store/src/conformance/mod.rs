//! What every store must do, as scenarios that any store can be put through.
//!
//! A store that wants to be held to them gives a [`Harness`] and one line:
//!
//! ```ignore
//! taskwright_store::conformance!(MyHarness::new());
//! ```
//!
//! which becomes one test a scenario. There is one file a verb; a scenario's name is the sentence that it proves, so
//! it has no other description. Time is a value that the scenario chooses, and nothing ever waits for a clock.

pub mod fixture;
pub mod oracle;
pub mod traces;

use std::future::Future;

use crate::SharedStore;

/// Gives a scenario the store that it is about.
pub trait Harness {
    /// Opens the store once more: another process on the same jobs. The first call finds no jobs.
    fn open(&self) -> impl Future<Output = SharedStore> + Send;
}

macro_rules! files {
    ($($file:ident)*) => {
        $(
            #[allow(missing_docs, reason = "the name of a scenario is the sentence that it proves")]
            pub mod $file;
        )*
    };
}

files! {
    attachment audit bulk cancel change claim enqueue event fence find finish follow_up generator generator_sources generator_turns hand hint history identity lead lineage log moves order promote prune query queue reclaim rollup schedule service source step submitter timeline unique webhook worker
}

/// Makes a test of every scenario, in modules named by their files.
///
/// The expression gives a fresh [`Harness`](crate::conformance::Harness) for each test. The crate that uses it needs
/// `tokio` with the features `macros` and `rt`.
#[macro_export]
macro_rules! conformance {
    (@tests ($harness:expr) $($file:ident: [$($name:ident),* $(,)?])*) => {
        $(
            mod $file {
                #[allow(unused_imports, reason = "the harness may be named by a full path")]
                use super::*;

                $(
                    #[tokio::test]
                    async fn $name() {
                        let harness = $harness;
                        $crate::conformance::$file::$name(&harness).await;
                    }
                )*
            }
        )*
    };
    ($harness:expr) => {
        $crate::conformance! { @tests ($harness)
            attachment: [
                what_is_attached_to_a_held_job_is_read_piece_by_piece,
                the_same_name_again_takes_the_place_of_the_first,
                only_a_held_job_takes_attachments,
                attachments_go_with_their_job_and_with_an_expired_hold,
                a_job_has_no_more_attachments_than_it_may,
                two_who_attach_at_once_both_do,
            ]
            audit: [
                what_is_done_on_behalf_of_somebody_leaves_an_entry,
                jobs_that_came_together_leave_an_entry_each,
                what_is_done_on_behalf_of_nobody_leaves_none,
                each_sort_of_mutation_says_how_it_went,
                what_changed_nothing_leaves_no_entry,
                an_entry_tells_what_was_there_before_and_what_is_there_since,
                entries_about_one_thing_hand_over_from_each_to_the_next,
                entries_about_one_user_hand_over_from_each_to_the_next,
                entries_about_one_endpoint_hand_over_from_each_to_the_next,
                a_generator_that_rests_and_goes_on_is_what_it_was,
                what_is_done_to_jobs_is_told_of_those_that_changed,
                a_handle_on_behalf_of_somebody_is_the_same_store,
                plain_jobs_in_every_number_leave_one_entry_a_call,
                entries_of_two_processes_make_one_chain,
                entries_are_found_by_what_they_say_page_by_page,
                old_entries_go_and_the_rest_can_still_be_verified,
            ]
            bulk: [
                a_bulk_is_a_blocked_job_and_a_generator,
                a_bulk_that_is_created_again_is_left_alone,
                what_is_told_of_a_bulk_is_written_with_the_commit,
                a_parent_completes_with_the_commit_that_settles_the_last_item,
                a_parent_fails_when_its_generator_says_so,
                nothing_is_made_once_a_parent_is_cancelled,
                a_cancelled_parent_has_its_generator_asked_even_if_that_rests,
                a_purge_that_takes_a_parent_is_a_cancel,
                a_parent_is_not_run_again,
                what_is_told_of_a_bulk_goes_with_its_parent,
                bulks_are_listed_newest_first_page_by_page,
            ]
            cancel: [
                a_waiting_job_is_cancelled_at_once,
                a_cancelled_job_says_who_and_why,
                a_cancel_without_a_reason_leaves_the_error_to_be_seen,
                a_running_job_is_asked_to_stop,
                only_the_first_request_counts,
                a_job_that_is_over_cannot_be_cancelled,
                each_id_of_a_call_is_answered_for_itself,
                a_worker_is_told_until_the_job_ends,
                after_a_request_nothing_starts_again,
                work_that_was_done_counts_in_spite_of_a_request,
                a_permanent_failure_stays_one_in_spite_of_a_request,
                a_worker_that_stops_ends_what_was_to_be_cancelled,
                a_request_is_not_carried_over_to_a_later_run,
            ]
            change: [
                what_is_over_can_be_redone,
                what_is_completed_can_be_repeated,
                what_waits_for_its_time_can_be_run_now,
                what_is_held_can_be_released,
                what_waits_can_be_delayed,
                a_delay_to_a_moment_that_has_passed_is_refused,
                what_waits_can_get_another_priority,
                what_ran_before_runs_once_with_its_new_priority,
                a_new_priority_stays_in_the_timeline,
                only_what_is_over_can_be_deleted,
                a_deleted_job_can_be_stored_anew,
                a_redo_adds_as_many_attempts_as_the_job_had_at_first,
                a_redone_job_shows_what_went_wrong_last,
                a_release_of_a_job_whose_time_lies_ahead_schedules_it,
                a_release_after_its_time_makes_a_job_available,
                every_change_is_told_with_its_actor_and_reason,
                what_runs_can_be_freed_and_runs_again_at_once,
                a_freed_job_runs_again_though_no_attempt_is_left,
                what_does_not_run_is_not_freed,
                a_job_that_must_not_run_twice_is_not_freed,
                a_job_that_is_freed_after_a_cancel_request_is_cancelled,
            ]
            claim: [
                a_claim_gives_no_more_than_was_asked,
                a_claim_is_held_at_its_limit,
                a_claimed_job_runs_on_its_worker,
                two_processes_never_get_the_same_job,
                only_available_jobs_are_claimed,
                a_kind_that_is_not_served_stays,
                a_queue_that_is_not_served_stays,
                a_namespace_that_is_not_served_stays,
                a_worker_for_realtime_leaves_the_rest,
                a_worker_that_is_not_registered_gets_nothing,
                a_worker_that_has_stopped_gets_nothing,
                a_worker_that_was_declared_lost_gets_nothing,
            ]
            enqueue: [
                a_job_without_a_time_is_available_at_once,
                a_job_with_a_later_time_is_scheduled,
                a_time_that_has_passed_counts_as_now,
                a_held_job_is_held_whatever_its_time,
                answers_come_in_the_order_of_the_jobs,
                an_empty_batch_stores_nothing,
                a_repeated_id_is_stored_once,
                a_repeated_id_leaves_the_stored_job_alone,
                a_batch_repeated_after_a_lost_answer_stores_each_job_once,
                a_batch_over_the_limit_is_refused_whole,
                a_batch_behind_another_is_inserted_after_it,
                a_batch_behind_one_that_was_not_stored_is_not_stored,
                a_batch_behind_another_leaves_stored_jobs_alone,
                everything_that_was_submitted_reaches_the_worker,
                everything_that_was_submitted_is_shown,
            ]
            event: [
                an_event_is_found_as_it_was_emitted,
                an_event_that_is_emitted_again_is_stored_once,
                too_many_events_at_once_are_refused_whole,
                only_those_that_listen_are_offered_events,
                a_delivery_makes_the_jobs_and_ends_the_wait,
                two_who_deliver_the_same_event_deliver_it_once,
                a_delivery_that_is_stale_delivers_nothing,
                an_event_that_nobody_waits_for_is_delivered_too,
                events_are_listed_page_by_page,
                delivered_events_are_forgotten_in_time_and_others_are_not,
                an_event_is_heard_of,
                ends_of_jobs_are_told_when_they_are_of_interest,
                only_ends_that_somebody_waits_for_are_told,
                many_jobs_that_complete_at_once_are_each_told,
                a_job_and_its_end_tell_which_schedule_made_it,
                nothing_is_told_once_nobody_is_interested,
                an_end_in_another_namespace_is_not_told,
            ]
            fence: [
                a_worker_cannot_end_the_job_of_another,
                an_attempt_with_another_number_is_stale,
                an_attempt_ends_once,
                an_attempt_ends_once_also_within_a_batch,
                a_job_is_given_back_once_within_a_batch,
                each_end_of_a_batch_is_fenced_for_itself,
                a_worker_that_nobody_knows_is_stale,
                a_zombie_cannot_complete_a_reclaimed_job,
                a_zombie_cannot_complete_a_job_that_was_given_back_for_it,
                an_attempt_from_before_a_redo_is_stale,
                the_key_of_a_deleted_job_is_never_given_again,
                progress_and_logs_are_fenced,
                the_writes_of_a_stopped_worker_are_stale,
            ]
            find: [
                attempts_are_found_by_when_they_were_claimed,
                jobs_are_found_by_when_they_were_over,
                that_a_cancel_was_asked_for_is_told_from_then_on,
                a_job_is_found_by_who_runs_it_or_ran_it_last,
                a_job_is_found_by_the_machine_that_it_ran_on_last,
                several_namespaces_are_listed_together,
                arguments_are_found_by_what_stands_at_a_path,
                a_search_in_arguments_is_narrowed_by_all_else,
                pages_of_a_search_have_no_gap_and_no_double,
                a_page_looks_into_the_arguments_of_so_many_jobs_and_no_more,
                a_page_looks_into_so_many_bytes_of_arguments_and_no_more,
                where_a_listing_goes_on_tells_of_no_job_that_it_does_not_show,
                available_jobs_are_listed_whole_whatever_lies_among_them,
                a_page_ends_however_little_of_what_it_looks_at_matches,
            ]
            finish: [
                a_completed_job_keeps_its_result,
                a_result_is_gone_once_the_job_runs_again,
                an_attempt_leaves_its_record,
                a_completed_attempt_leaves_its_record_too,
                a_failed_attempt_waits_for_its_next_one,
                three_attempts_are_three_executions,
                a_permanent_failure_is_the_last_attempt,
                a_handler_may_cancel_its_job,
                a_snooze_does_not_count_as_an_attempt,
                a_job_that_is_given_back_keeps_its_attempt,
                an_end_that_the_rules_forbid_refuses_the_whole_call,
                a_batch_of_every_end_takes_each_to_its_place,
            ]
            follow_up: [
                ph_x5_follow_ups_are_stored_with_the_completion,
                ph_x5_an_end_that_is_no_completion_makes_no_follow_ups,
                a_stale_completion_makes_no_follow_ups,
                follow_ups_of_a_second_attempt_and_of_a_job_with_a_key_are_stored,
                a_completion_counts_with_its_follow_ups_or_not_at_all,
                one_snooze_too_many_fails_the_job,
                ph_x4_a_snoozed_job_can_be_awakened,
                ph_x4_nothing_but_a_snoozed_job_is_awakened,
            ]
            generator: [
                a_generator_is_found_as_it_was_registered,
                a_new_definition_keeps_what_was_done,
                only_what_is_due_and_asked_for_is_taken,
                whatever_begins_as_is_asked_for_is_taken,
                who_takes_a_generator_has_it_until_the_lease_is_over,
                a_commit_makes_items_and_moves_the_state_together,
                a_commit_that_is_repeated_makes_nothing_twice,
                items_are_jobs_like_any_other,
                items_are_found_however_they_ended,
                what_others_put_into_the_queue_is_no_item,
                settled_items_are_removed_and_dead_letters_stay,
                an_item_is_settled_once,
                an_item_that_runs_again_meanwhile_is_not_settled,
                a_pause_leaves_nothing_to_whoever_asks_at_that_time,
                whoever_rests_is_not_given_back_to_be_asked,
                a_notice_makes_a_generator_due_as_soon_as_it_is_free,
                a_generator_is_due_once_enough_of_its_items_have_ended,
                generators_are_listed_page_by_page,
                a_removed_generator_is_gone_and_its_jobs_stay,
                too_much_at_once_is_refused_whole,
                what_makes_a_generator_due_and_what_it_makes_is_heard_of,
            ]
            generator_sources: [
                files_are_remembered_with_a_commit_and_found_by_their_paths,
                files_go_with_their_generator_and_a_stale_commit_writes_none,
                a_dead_letter_becomes_an_item_once_more_with_all_its_attempts,
                a_letter_that_is_dead_no_more_makes_the_whole_commit_stale,
                an_item_is_shown_with_its_generator_and_its_key_also_as_a_dead_letter,
                a_job_is_changed_only_where_it_was_seen,
                what_is_where_it_was_seen_is_changed_as_by_its_id,
                a_running_job_that_was_to_fail_has_failed_however_it_stops,
                only_what_runs_fails_and_only_what_waits_is_dropped,
                rows_of_a_table_with_a_name_that_cannot_be_one_are_refused,
            ]
            generator_turns: [
                a_lease_that_is_renewed_lasts_longer_and_one_that_is_let_go_of_is_over,
                what_was_taken_by_another_is_not_renewed,
                those_with_better_items_come_first_but_not_for_ever,
                members_of_families_are_taken_only_if_their_items_may_be_so_good,
                generators_that_listen_are_told_with_their_newest_definition,
                jobs_in_the_queue_of_a_generator_that_is_gone_are_claimed,
            ]
            hand: [
                a_job_is_handed_over_as_it_is_stored,
                what_was_handed_over_can_be_given_back_and_tried_again,
                what_a_lost_worker_was_handed_goes_to_another,
                nothing_overtakes_what_waits_in_its_lane,
                a_job_goes_to_the_queue_when_the_worker_may_not_have_it,
                a_job_for_a_worker_that_is_gone_goes_to_the_queue,
                a_job_of_a_paused_queue_waits_there,
                a_job_that_is_stored_already_is_handed_over_to_nobody,
                many_are_handed_over_between_claims_and_each_runs_once,
            ]
            hint: [
                whatever_makes_work_is_hinted_at,
                whatever_a_worker_must_know_is_hinted_at,
                a_hint_reaches_another_process,
                a_closed_handle_refuses_and_leaves_others_alone,
                a_store_says_what_it_is_and_what_it_did,
            ]
            history: [
                an_execution_tells_what_its_attempt_left_behind,
                what_left_nothing_but_its_times_is_told_alike,
                what_ended_last_comes_first_whichever_was_stored_first,
                what_runs_or_waits_was_not_executed,
                pages_of_executions_have_no_gap_and_no_double,
                executions_are_found_by_names_ends_and_workers,
                times_of_executions_are_inclusive_on_both_ends,
                the_executions_of_some_jobs_are_found,
                a_job_that_is_run_again_keeps_its_executions,
                a_removed_job_takes_its_executions_along,
                a_lost_execution_has_no_start_and_a_later_one_waits_from_its_end,
                a_long_result_is_cut,
                statistics_are_by_namespace_queue_and_kind,
                statistics_of_a_sample_are_of_the_newest,
            ]
            identity: [
                a_token_is_found_by_its_secret_as_it_was_made,
                a_token_is_good_until_it_expires_or_is_revoked,
                a_name_is_taken_once_in_its_namespace_until_it_is_revoked,
                the_token_of_a_name_is_the_one_that_is_not_revoked,
                tokens_are_listed_newest_first_page_by_page,
                a_use_is_noted_and_an_earlier_one_is_not,
                the_first_token_is_made_once_by_whoever_comes_first,
                a_store_with_a_user_needs_no_first_token,
                a_user_is_found_as_it_was_added_and_changed,
                users_are_listed_by_name_page_by_page,
                somebody_is_superuser_at_all_times,
                of_two_last_superusers_one_stays,
                a_session_is_found_with_its_user_as_that_is_now,
                sessions_end_with_the_password_and_with_the_user,
                sessions_that_are_over_are_removed_with_a_new_one,
                who_may_cancel_is_said_for_each_namespace,
            ]
            lead: [
                the_first_who_asks_leads_and_no_other,
                a_leader_that_asks_again_stays_what_it_is,
                a_lease_that_ran_out_lets_another_lead_with_a_greater_fence,
                a_leader_that_resigns_is_followed_at_once,
                nobody_can_resign_for_the_leader,
                of_many_who_ask_at_once_one_leads,
            ]
            lineage: [
                ph_1_a_queued_job_is_given,
                ph_2_a_job_that_somebody_has_is_not_given_again,
                ph_3_of_two_equal_jobs_the_older_comes_first,
                ph_4_a_job_whose_worker_was_lost_keeps_its_place_and_cannot_stop_the_queue,
                ph_5_a_job_that_is_done_is_completed,
                ph_6_a_permanent_failure_ends_a_job_as_failed,
                ph_7_an_ordinary_failure_ends_no_job_and_is_told,
                ph_8_a_job_has_as_many_executions_as_it_may_have_attempts,
                ph_9_nothing_comes_before_a_long_back_off_is_over,
                ph_10_a_job_may_take_as_long_as_its_worker_lives,
                ph_11_of_two_jobs_that_were_lost_the_older_comes_first,
                ph_12_the_lower_number_comes_first_and_equals_in_their_order,
                ph_x1_a_new_job_that_is_to_wait_is_not_given_before_its_time,
                ph_x2_what_a_worker_says_whose_lease_ran_out_is_refused,
                ph_x3_a_retry_and_a_new_job_go_by_their_priorities,
                ph_x6_a_running_job_that_is_cancelled_ends_once,
                ph_x7_a_completed_job_runs_again_only_when_it_is_said_twice,
            ]
            log: [
                entries_are_kept_as_they_came,
                entries_are_numbered_per_job,
                numbers_go_on_over_attempts,
                a_log_is_read_in_parts,
                the_newest_progress_is_shown,
                progress_ends_with_its_attempt,
            ]
            moves: [
                each_move_of_a_job_is_told,
                what_completes_at_once_and_what_holds_a_key_is_told_too,
                what_happens_in_another_process_is_told_here,
                jobs_of_a_lost_worker_are_told,
                who_goes_on_from_the_text_of_a_place_misses_nothing,
                many_moves_come_a_part_at_a_time_and_none_twice,
                a_job_that_is_gone_is_not_told,
                a_place_that_nobody_gave_is_missed_and_does_not_wait,
            ]
            order: [
                the_lower_priority_number_goes_first,
                within_a_priority_the_older_goes_first,
                within_a_moment_the_order_of_insertion_decides,
                waiting_lifts_a_bulk_job_over_a_fresh_realtime_one,
                ageing_counts_from_when_a_job_became_available,
                a_promoted_job_stands_where_its_time_puts_it,
                a_job_that_goes_back_keeps_its_place,
                a_job_of_a_lost_worker_keeps_its_place,
                a_released_job_queues_from_its_release,
                a_job_that_is_run_now_queues_from_now,
                a_redone_job_queues_from_its_redo,
                a_new_priority_counts_at_once_and_waiting_still_does,
                a_claim_of_many_is_in_the_order_of_the_rule,
            ]
            promote: [
                nothing_is_due_in_an_empty_store,
                a_job_is_promoted_at_its_time_and_not_before,
                the_earliest_due_goes_first_when_the_limit_cuts,
                a_retryable_job_is_promoted_after_its_back_off,
                a_hold_expires_after_an_hour,
                a_released_job_has_no_hold_that_could_expire,
                a_delayed_job_is_due_at_its_new_time,
            ]
            prune: [
                what_is_not_over_is_never_removed,
                each_state_is_kept_as_long_as_it_is_to_be,
                what_is_to_be_kept_for_ever_is,
                a_removed_job_leaves_nothing_behind,
                a_removed_job_takes_nothing_of_those_that_ended_with_it,
                a_job_that_was_redone_is_not_removed_for_its_earlier_end,
                a_pruning_in_small_steps_removes_everything,
                a_worker_that_is_gone_for_a_week_is_forgotten,
                an_attempt_still_names_a_worker_that_was_forgotten,
                ph_x9_garbage_goes_in_batches_until_none_is_left,
                a_dry_run_tells_what_would_go_and_removes_nothing,
            ]
            query: [
                who_asks_sees_whole_namespaces_and_elsewhere_what_is_its_own,
                an_unknown_job_is_not_there,
                a_listing_shows_what_the_job_shows,
                each_state_is_found,
                a_job_in_two_lists_of_states_is_found_once,
                a_job_that_completed_is_found_once_however_often_it_ran,
                names_match_in_either_case_and_with_stars,
                queues_match_as_kinds_do,
                a_namespace_matches_exactly,
                owners_match_by_pattern_or_by_there_being_none,
                workers_match_what_they_run_now,
                creation_times_are_inclusive_on_both_ends,
                priorities_and_failures_match_between_bounds,
                ids_are_found_and_unknown_ones_are_passed_over,
                all_fields_of_a_filter_must_match,
                pages_follow_insertion_in_both_directions,
                pages_have_no_gap_and_no_double_while_jobs_come_and_move,
                pages_of_what_runs_and_what_completed_have_no_gap_and_no_double,
                a_listing_goes_on_where_a_job_was_removed,
                a_page_is_held_at_its_limit,
            ]
            queue: [
                nothing_is_claimed_from_a_paused_queue,
                a_queue_may_be_paused_before_it_has_jobs,
                pausing_twice_changes_nothing_the_second_time,
                a_pause_is_of_one_namespace,
                what_runs_in_a_paused_queue_goes_on,
                a_purge_cancels_what_waits_in_the_queue,
                a_purge_takes_the_oldest_up_to_its_limit,
                a_purge_leaves_out_what_lies_between_the_jobs_of_its_queue,
                a_queue_is_shown_with_what_it_holds,
            ]
            reclaim: [
                nobody_is_lost_while_processes_and_leases_last,
                the_death_of_a_process_is_seen_at_once,
                a_lease_that_ran_out_loses_its_worker,
                a_lease_that_ran_out_counts_only_for_whoever_has_had_the_store_in_sight,
                the_start_of_an_attempt_that_did_not_count_is_forgotten,
                other_workers_keep_their_jobs,
                a_started_job_of_a_lost_worker_has_spent_its_attempt,
                an_unstarted_job_of_a_lost_worker_keeps_its_attempt,
                the_mark_of_an_earlier_attempt_is_none_for_this_one,
                three_lost_workers_in_a_row_quarantine_a_job,
                a_job_that_lost_two_workers_in_a_row_has_its_last_chance,
                an_attempt_that_ended_in_between_breaks_the_row_of_losses,
                a_redo_forgives_the_losses_before_it,
                a_loss_in_the_last_attempt_fails_the_job,
                a_job_that_must_not_run_twice_is_dropped_if_it_may_have_run,
                a_job_that_was_to_be_cancelled_is_cancelled,
                a_closed_handle_counts_as_a_dead_process,
            ]
            rollup: [
                each_end_is_in_the_roll_ups_of_its_minute_and_its_hour,
                what_is_rolled_up_is_counted_once_however_often_it_is_asked,
                what_was_removed_before_it_was_rolled_up_is_counted,
                what_was_removed_after_it_was_rolled_up_is_not_counted_again,
                items_of_generators_are_counted_though_they_go_at_once,
                a_job_that_is_run_again_counts_once_more,
                what_does_not_count_as_an_attempt_is_not_counted,
                two_processes_that_roll_up_count_each_end_once,
                a_retry_waits_from_its_moment_and_a_requeued_job_from_the_loss,
                what_was_claimed_together_counts_as_long_as_each_has_waited,
                roll_ups_are_told_page_by_page_by_what_they_are_about,
                roll_ups_of_spans_that_are_over_for_long_go,
            ]
            schedule: [
                a_schedule_is_found_as_it_was_registered,
                many_schedules_are_found_by_their_names_in_the_order_of_the_question,
                a_name_is_registered_once_in_its_namespace,
                what_was_read_before_somebody_wrote_is_not_written,
                one_of_a_call_that_is_stale_does_not_hold_up_the_others,
                an_occurrence_makes_one_job_whatever_the_state_says,
                what_fires_are_jobs_like_any_other,
                the_states_of_many_jobs_are_told_at_once,
                what_is_due_comes_in_its_order_with_the_time_of_the_rest,
                what_is_not_due_by_time_is_never_due,
                what_was_skipped_is_told_with_its_reason,
                who_makes_way_is_cancelled_only_if_the_write_is_not_stale,
                a_firing_whose_key_is_held_stands_for_the_job_that_holds_it,
                a_changed_definition_is_told_with_its_time,
                schedules_are_listed_page_by_page,
                a_removed_schedule_is_gone_and_its_jobs_stay,
                firings_are_told_page_by_page_and_forgotten_in_time,
                an_event_makes_one_job_for_each_trigger,
                a_forgotten_skip_lets_no_occurrence_fire_again,
                a_new_schedule_without_a_definition_is_refused,
                too_many_schedules_at_once_are_refused_whole,
                a_schedule_that_fires_is_heard_of,
                jobs_of_a_kind_that_is_not_known_are_stored_all_the_same,
            ]
            service: [
                what_a_process_tells_of_its_services_is_seen_by_others,
                what_is_told_takes_the_place_of_what_was,
                a_process_that_ends_in_good_order_is_forgotten,
                a_process_that_is_not_heard_of_any_more_is_told_as_such_and_forgotten_after_a_day,
                a_process_has_no_more_services_than_it_may,
                texts_of_services_are_cut_and_kept,
                a_listing_of_services_shows_those_last_heard_of,
            ]
            source: [
                a_source_at_its_place_has_one_key,
                a_file_is_remembered_and_told_together,
                a_file_without_an_event_is_only_remembered,
                a_sighting_that_is_repeated_changes_and_tells_nothing,
                only_what_looks_as_it_was_said_to_is_changed_or_forgotten,
                a_file_that_was_forgotten_can_come_again,
                what_was_seen_is_found_by_path_and_page_by_page,
                too_many_sightings_at_once_are_refused_whole,
                a_source_shows_how_it_is,
                a_source_that_nobody_runs_is_forgotten_in_time,
                what_a_source_tells_is_heard_of,
            ]
            step: [
                what_an_attempt_kept_is_there_for_the_next_in_its_order,
                an_attempt_that_does_not_hold_the_job_keeps_no_step,
                a_step_that_is_kept_once_more_is_replaced,
                a_step_gives_no_more_than_it_may,
                a_failed_job_that_runs_again_has_its_steps_and_a_completed_one_does_them_again,
                an_attempt_that_kept_a_step_is_not_one_of_three_lost_in_a_row,
            ]
            submitter: [
                a_request_that_is_sent_again_stores_nothing,
                a_request_is_known_by_the_job_that_holds_its_unique_key,
                a_request_is_known_for_a_day,
                of_requests_that_come_at_once_one_stores_its_jobs,
                a_request_that_is_refused_is_not_known,
                whose_a_job_is_can_be_asked_alone,
                comments_are_shown_with_the_job_in_their_order,
                comments_go_with_their_job,
                too_many_comments_and_bad_ones_are_refused,
                comments_at_the_same_time_are_all_there,
                reading_how_a_job_ended_is_noted_once_and_only_by_its_owner,
                each_way_to_end_can_be_read,
                a_job_that_runs_again_has_another_end_to_be_read,
                jobs_whose_end_was_read_may_go_earlier,
                a_held_job_that_nobody_released_is_dropped_and_can_be_read,
            ]
            timeline: [
                a_life_is_told_from_its_creation_to_its_end,
                a_job_without_an_owner_was_made_by_the_system,
                the_claim_of_a_running_attempt_is_told,
                an_attempt_that_does_not_count_leaves_the_way_back,
                a_cancel_of_a_running_job_is_told_as_request_and_end,
                an_attempt_that_was_lost_is_told_as_lost_whatever_was_asked_of_it,
                what_happens_in_one_moment_is_told_in_its_order,
            ]
            unique: [
                a_key_that_is_held_answers_with_its_holder,
                a_key_is_taken_within_a_batch,
                a_waiting_key_is_free_once_its_job_is_claimed,
                a_waiting_key_is_not_taken_again_by_a_job_that_goes_back,
                an_active_key_is_held_until_its_job_is_over,
                a_completed_job_of_a_batch_lets_its_key_go,
                keys_of_other_kinds_and_namespaces_are_others,
                a_cancelled_job_lets_its_key_go,
                a_repeated_id_is_answered_before_its_key_is_looked_at,
                a_redo_takes_a_waiting_key_again_until_the_next_claim,
                a_redo_takes_an_active_key_again_until_the_job_is_over,
                a_redo_is_skipped_while_another_job_holds_the_key,
                of_two_redone_jobs_with_one_key_the_first_gets_it,
                the_key_of_a_held_job_is_free_once_its_hold_has_expired,
            ]
            webhook: [
                an_endpoint_is_found_as_it_was_added,
                the_log_is_read_in_order_and_in_parts,
                an_event_of_another_tenant_or_topic_is_passed_over,
                who_listens_is_woken_and_who_does_not_is_left_alone,
                a_turn_that_is_about_to_listen_hears_of_what_came_meanwhile,
                what_was_tried_is_found_newest_first_and_forgotten_in_time,
                the_retry_set_gives_what_is_next,
                events_of_one_key_wait_for_each_other,
                a_retry_whose_event_is_not_kept_says_so,
                events_that_are_not_kept_any_more_are_counted,
                an_event_that_was_never_stored_is_not_missed,
                ph_x10_dropping_a_backlog_costs_the_same_however_large_it_is,
                a_change_of_an_endpoint_fences_the_turn_under_way,
                events_are_redelivered_whatever_became_of_them,
                a_redelivery_outlives_the_turn_that_is_under_way,
                a_removed_endpoint_is_gone_with_its_generator,
                ends_of_jobs_are_told_for_endpoints_that_name_them,
            ]
            worker: [
                a_registered_worker_is_shown,
                a_worker_is_shown_with_what_it_runs_and_when_it_was_seen,
                what_a_worker_says_about_itself_is_shown_also_after_its_end,
                a_registration_may_be_repeated,
                a_worker_that_is_not_alive_cannot_renew,
                nobody_has_anything_to_tell_an_unknown_worker,
                a_worker_that_stops_leaves_its_jobs_as_its_start_marks_say,
                unregistering_again_does_nothing,
                a_stopped_worker_is_not_lost_when_its_process_ends,
                an_order_reaches_the_living,
                a_stop_is_not_undone_by_a_quiet,
                the_living_are_shown_first,
            ]
        }
    };
}

#[cfg(test)]
mod tests {
    /// A scenario that is missing from the list would never run.
    #[test]
    fn every_scenario_is_in_the_list() {
        let list = include_str!("mod.rs");
        let files = [
            include_str!("attachment.rs"),
            include_str!("audit.rs"),
            include_str!("bulk.rs"),
            include_str!("cancel.rs"),
            include_str!("change.rs"),
            include_str!("claim.rs"),
            include_str!("enqueue.rs"),
            include_str!("event.rs"),
            include_str!("fence.rs"),
            include_str!("find.rs"),
            include_str!("finish.rs"),
            include_str!("follow_up.rs"),
            include_str!("generator.rs"),
            include_str!("generator_sources.rs"),
            include_str!("generator_turns.rs"),
            include_str!("hint.rs"),
            include_str!("history.rs"),
            include_str!("identity.rs"),
            include_str!("lead.rs"),
            include_str!("lineage.rs"),
            include_str!("log.rs"),
            include_str!("moves.rs"),
            include_str!("order.rs"),
            include_str!("promote.rs"),
            include_str!("prune.rs"),
            include_str!("query.rs"),
            include_str!("queue.rs"),
            include_str!("reclaim.rs"),
            include_str!("rollup.rs"),
            include_str!("schedule.rs"),
            include_str!("service.rs"),
            include_str!("source.rs"),
            include_str!("submitter.rs"),
            include_str!("timeline.rs"),
            include_str!("unique.rs"),
            include_str!("webhook.rs"),
            include_str!("worker.rs"),
        ];
        for text in files {
            // Those that are given a harness; others help them.
            let scenarios =
                text.split("\npub async fn ").skip(1).filter_map(|rest| rest.split_once("(harness"));
            let names = scenarios.map(|(name, _)| name).filter(|name| !name.contains('('));
            for name in names {
                assert!(list.contains(&format!(" {name},")), "{name} is missing from `conformance!`");
            }
        }
    }
}
