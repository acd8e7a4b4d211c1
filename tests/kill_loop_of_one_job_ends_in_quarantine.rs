//! A job that kills its worker three times ends as failed, says so, and never stops the queue.

use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::{JobId, State};

use crate::support::Site;

#[test]
fn kill_loop_of_one_job_ends_in_quarantine() {
    kill_loop_of_one_job_ends_in_quarantine_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn kill_loop_of_one_job_ends_in_quarantine_on_postgresql() {
    kill_loop_of_one_job_ends_in_quarantine_on(&Site::on_postgres());
}

/// CR-X1, its second half: the crash counts, so that a job that kills its worker does not do so for ever.
fn kill_loop_of_one_job_ends_in_quarantine_on(site: &Site) {
    let _up = site.up(["--workers", "1", "--concurrency", "2"]);
    let poison: JobId =
        site.run(["enqueue", "exec", "--", "sh", "-c", "kill -9 $PPID; sleep 5"]).trim().parse().unwrap();
    let others: Vec<JobId> =
        (0..20).map(|_| site.run(["enqueue", "exec", "--", "true"]).trim().parse().unwrap()).collect();

    site.wait_until("the poison job to end", Duration::from_secs(60), || {
        site.job(poison).view.state.is_terminal()
    });
    let job = site.job(poison);
    assert_eq!(job.view.state, State::Failed);
    assert_eq!(job.view.error.as_deref(), Some("worker lost 3 times"));
    let ends: Vec<AttemptEnd> = job.attempts.iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Lost; 3]);
    site.wait_until("the other jobs to complete", Duration::from_secs(60), || {
        others.iter().all(|id| {
            let view = site.job(*id).view;
            assert!(!view.state.is_terminal() || view.state == State::Completed, "{view:?}");
            view.state == State::Completed
        })
    });
    assert_eq!(
        site.taskwright(["jobs", "show", &poison.to_string()]).output().unwrap().status.code(),
        Some(4)
    );
}
