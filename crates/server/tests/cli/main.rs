//! What holds for the verbs of the command line, in one process: one promise a file.

mod cli;

mod a_flood_spares_stores_with_other_jobs;
mod bulks_are_created_shown_and_changed;
mod changes_tell_what_became_of_each_job;
mod exit_codes_tell_how_a_job_ended;
mod garbage_and_roll_ups_are_shown;
mod generators_are_shown_and_changed;
mod imports_files_of_jobs;
mod migrate_check_only_looks;
mod namespaces_say_who_may_cancel;
mod output_fits_its_reader;
mod principals_are_made_and_changed;
mod schedules_tell_what_they_fired;
mod services_are_listed;
mod the_audit_tells_who_did_what;
mod webhooks_are_added_and_changed;
mod whoever_acts_is_told;
