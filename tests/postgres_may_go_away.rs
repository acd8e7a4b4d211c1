//! The server goes away and comes back: nobody ends because of that, and nothing that was acknowledged is lost.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Site, lives, signal};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn server(purpose: &'static str) -> &'static Cluster {
    // The site needs one that lives as long as the test's process.
    Box::leak(Box::new(Cluster::start(Flavour { idle_seconds_max: 5, purpose, ..Flavour::DURABLE })))
}

#[test]
fn a_server_that_crashes_and_comes_back_is_used_again_by_the_same_processes() {
    let cluster = server("crashes under load");
    let site = Site::in_database(cluster.database());
    let up = site.up(["--workers", "2", "--concurrency", "4"]);
    site.wait_until("both workers", SOON, || site.workers().len() == 2);
    let (mut pids, mut ids) = (up.worker_pids(), Vec::<JobId>::new());
    for _ in 0..3 {
        for _ in 0..10 {
            ids.push(enqueue(&site));
        }
        cluster.stop("immediate");
        assert!(!site.taskwright(["jobs", "list"]).output().unwrap().status.success());
        cluster.start_again();
    }
    site.wait_until("all to complete", Duration::from_secs(60), || {
        ids.iter().all(|id| is_completed(&site, *id))
    });
    let mut left = up.worker_pids();
    left.sort_unstable();
    pids.sort_unstable();
    assert_eq!(left, pids, "no process ended");
    assert!(up.stop().success());
}

#[test]
fn a_worker_that_starts_while_the_server_is_away_waits_for_it() {
    let cluster = server("is away at a start");
    let site = Site::in_database(cluster.database());
    let up = site.up(["--workers", "1"]);
    site.wait_until("the worker", SOON, || site.workers().len() == 1);
    cluster.stop("fast");
    let before = up.worker_pids()[0];
    signal(before, "KILL");
    up.wait_for_line("the store cannot be opened, and is tried again");
    cluster.start_again();
    let id = enqueue(&site);
    site.wait_until("a job to complete", SOON, || is_completed(&site, id));
    let after = up.worker_pids();
    assert!(after.len() == 1 && after[0] != before && lives(after[0]));
}

fn enqueue(site: &Site) -> JobId {
    site.run(["enqueue", "exec", "--", "true"]).trim().parse().unwrap()
}

/// Also of this process's own connections some are dead, and that is found when they are used.
fn is_completed(site: &Site, id: JobId) -> bool {
    let job = site.ask(async |store| store.job(id).await);
    match job {
        Ok(job) => job.unwrap().view.state == State::Completed,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            false
        }
    }
}
