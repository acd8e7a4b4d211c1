//! What holds for the process room, with real processes: one promise a file.

mod support;

mod arguments_are_passed_verbatim;
mod attempts_in_processes_of_their_own;
mod children_are_limited;
mod children_do_their_steps_once;
mod children_run_the_program_of_their_worker;
mod dies_with_its_host;
mod dropped_run_kills_its_tree;
mod environment_is_an_allow_list;
mod exit_is_told_in_words;
mod files_are_not_inherited;
mod input_comes_from_bytes;
mod limits_are_kept;
mod orphans_are_reaped;
mod out_of_memory_is_recognised;
mod output_is_kept_as_bytes;
mod output_stays_bounded;
mod progress_is_reported;
mod signals_start_fresh;
mod spawn_errors_are_explained;
mod starts_in_its_directory;
mod stop_is_polite_then_final;
mod tree_cannot_escape;
mod usage_is_measured;
