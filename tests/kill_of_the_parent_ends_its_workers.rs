//! When `up` is killed its workers notice, hand back what they hold and end; and a new `up` takes over at once.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, lives};

#[test]
fn kill_of_the_parent_ends_its_workers() {
    kill_of_the_parent_ends_its_workers_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn kill_of_the_parent_ends_its_workers_on_postgresql() {
    kill_of_the_parent_ends_its_workers_on(&Site::on_postgres());
}

fn kill_of_the_parent_ends_its_workers_on(site: &Site) {
    let up = site.up(["--workers", "2", "--grace", "1s"]);
    let long: JobId = site.run(["enqueue", "exec", "--", "sleep", "600"]).trim().parse().unwrap();
    site.wait_until("the job to run", Duration::from_secs(10), || {
        site.job(long).view.state == State::Running
    });
    let workers = up.worker_pids();
    assert_eq!(workers.len(), 2);

    up.kill();
    site.wait_until("the workers to end", Duration::from_secs(15), || !workers.iter().any(|pid| lives(*pid)));
    let job = site.job(long);
    assert_eq!(job.view.state, State::Available, "it was handed back");
    assert!(job.attempts.is_empty(), "and its attempt was not spent: {:?}", job.attempts);

    let _up = site.up(["--workers", "1"]);
    site.wait_until("the job to run again", Duration::from_secs(5), || {
        site.job(long).view.state == State::Running
    });
    assert_eq!(site.job(long).view.attempt, 1);
}
