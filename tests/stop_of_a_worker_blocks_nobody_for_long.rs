//! A worker that is stopped (SIGSTOP) in the middle of its transaction holds the lock of the store. `up` kills it, and
//! everything goes on; nobody has to continue it.

use std::time::Duration;

use taskwright::{Job, JobId, State};

use crate::support::{Site, Up, now, signal};

/// How long everything may take to go on.
const GOES_ON: Duration = Duration::from_secs(10);

#[test]
fn stop_of_a_worker_blocks_nobody_for_long() {
    let site = Site::new();
    let up = site.up(["--workers", "2", "--concurrency", "4"]);
    site.wait_until("both workers", Duration::from_secs(10), || site.workers().len() == 2);
    keep_busy(&site);

    let stopped = stop_one_in_its_transaction(&site, &up);
    let began = now();
    up.wait_for_line(&format!("worker process {stopped} was stopped (SIGSTOP) while the store is blocked"));
    let add = ["enqueue", "exec", "--priority", "realtime", "--", "true"];
    let id: JobId = site.run(add).trim().parse().unwrap();
    site.wait_until("a new job to complete", GOES_ON, || site.job(id).view.state == State::Completed);
    site.wait_until("both workers", GOES_ON, || {
        let workers = site.workers();
        workers.len() == 2 && workers.iter().all(|worker| worker.pid != stopped)
    });
    let lasted = began.elapsed();
    assert!(lasted < GOES_ON, "{lasted:?}");
    site.check_integrity();
}

/// Jobs that end at once, because they say nothing: more than are run before the lock is held.
fn keep_busy(site: &Site) {
    site.ask(async |store| {
        for _ in 0..20 {
            let jobs = (0..1_000).map(|_| Job::new("exec").into_new(&site.env).unwrap()).collect();
            store.enqueue(site.env.now(), jobs).await.unwrap();
        }
    });
}

/// Stops a worker again and again, until it is within a transaction; its process.
fn stop_one_in_its_transaction(site: &Site, up: &Up) -> u32 {
    let pid = up.worker_pids()[0];
    for tries in 1..=1_000 {
        signal(pid, "STOP");
        if is_blocked(site) {
            println!("process {pid} held the lock when it was stopped for the {tries}th time");
            return pid;
        }
        signal(pid, "CONT");
        if tries % 50 == 0 {
            // An idle worker is never within a transaction.
            keep_busy(site);
        }
        site.pause(Duration::from_millis(3));
    }
    panic!("the worker was never stopped within a transaction");
}

/// Whether an enqueue is not answered within a second.
fn is_blocked(site: &Site) -> bool {
    site.ask(async |store| {
        let job = Job::new("exec").into_new(&site.env).unwrap();
        let stored = store.enqueue(site.env.now(), vec![job]);
        site.env.timeout(Duration::from_secs(1), stored).await.is_none()
    })
}
