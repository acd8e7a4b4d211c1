//! Worker processes that have run for long enough are replaced at once; no job is lost, and none spends an attempt by it.

use std::collections::BTreeMap;
use std::time::Duration;

use taskwright::State;
use taskwright::store::{WorkerState, WorkerView};

use crate::support::Site;

const JOBS: usize = 50;

fn site(config: &str) -> Site {
    let site = Site::new();
    std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
    site
}

fn enqueue(site: &Site, jobs: usize) {
    let line = "{\"kind\": \"exec\", \"args\": {\"command\": [\"true\"]}}\n";
    std::fs::write(site.path().join("jobs.ndjson"), line.repeat(jobs)).unwrap();
    site.run(["enqueue", "--from-file", "jobs.ndjson"]);
}

/// Everyone who ever was.
fn all_workers(site: &Site) -> Vec<WorkerView> {
    site.ask(async |store| store.workers().await.unwrap())
}

fn wait_for_all(site: &Site) {
    site.wait_until("every job", Duration::from_secs(60), || {
        site.jobs(&[State::Completed, State::Failed, State::Cancelled, State::Dropped]).len() == JOBS
    });
    for job in site.jobs(&[]) {
        assert_eq!((job.state, job.attempt), (State::Completed, 1), "{job:?}");
    }
}

#[test]
fn fifty_jobs_by_ten_are_run_by_five_workers_one_after_the_other() {
    let site = site("[workers]\nprocesses = 1\nconcurrency = 4\nrecycle_after_jobs = 10\n");
    enqueue(&site, JOBS);
    let up = site.up([]);
    up.wait_for_line("is recycled: 10 jobs run");
    up.wait_for_line("was recycled; another is started");
    wait_for_all(&site);
    let mut ran = BTreeMap::<_, usize>::new();
    for job in site.jobs(&[State::Completed]) {
        *ran.entry(job.worker.unwrap()).or_default() += 1;
    }
    assert_eq!(ran.into_values().collect::<Vec<_>>(), [10; 5]);
    // The fifth ends, too, and a sixth waits for work.
    site.wait_until("the sixth worker", Duration::from_secs(30), || {
        all_workers(&site).len() == 6 && site.workers().len() == 1
    });
    let gone = all_workers(&site).into_iter().filter(|worker| worker.state == WorkerState::Stopped);
    for worker in gone {
        assert_eq!(worker.remark.as_deref(), Some("recycling: 10 jobs run"));
    }
    let listed = site.run(["workers", "list", "--all"]);
    assert_eq!(listed.matches("stopped (recycling: 10 jobs run)").count(), 5, "{listed}");
    assert!(up.stop().success());
}

#[test]
fn a_worker_that_waits_for_its_last_job_shows_why_it_takes_no_other() {
    let site = site("[workers]\nprocesses = 1\nconcurrency = 2\nrecycle_after_jobs = 2\n");
    let up = site.up([]);
    let script = "until [ -e go ]; do sleep 0.05; done";
    let last = site.run(["enqueue", "exec", "--", "sh", "-c", script]);
    site.run(["enqueue", "exec", "--", "true"]);
    let lists = || site.run(["workers", "list"]);
    site.wait_until("the worker to say so", Duration::from_secs(30), || {
        lists().contains("recycling: 2 jobs run")
    });
    std::fs::write(site.path().join("go"), "").unwrap();
    site.run(["jobs", "wait", last.trim()]);
    up.wait_for_line("was recycled; another is started");
    assert!(up.stop().success());
}

#[test]
fn workers_that_are_too_large_are_replaced_after_some_work_each() {
    // No process is that small: each is replaced at its first look after its first job.
    let site = site("[workers]\nprocesses = 2\nconcurrency = 1\nrecycle_above_rss = \"1MiB\"\n");
    let up = site.up([]);
    enqueue(&site, JOBS);
    up.wait_for_line("iB above 1 MiB");
    up.wait_for_line("was recycled; another is started");
    wait_for_all(&site);
    assert!(up.stop().success());
}

#[test]
fn a_worker_without_a_parent_ends_well_and_a_drain_that_was_cut_short_does_not() {
    let site = site("[workers]\nconcurrency = 1\nrecycle_after_jobs = 10\n");
    enqueue(&site, 25);
    let drain = || site.taskwright(["worker", "--until-empty"]).output().unwrap();
    let first = drain();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("is recycled: 10 jobs run"), "{said}");
    assert_eq!(first.status.code(), Some(8));
    assert!(site.taskwright(["worker"]).output().unwrap().status.success());
    assert_eq!(drain().status.code(), Some(0), "five were left");
    assert_eq!(site.jobs(&[State::Completed]).len(), 25);
}

/// `TASKWRIGHT_TEST_RECYCLES` makes it longer: see CONTRIBUTING.md.
#[test]
fn however_many_wear_out_somebody_is_left_to_work() {
    let recycles = std::env::var("TASKWRIGHT_TEST_RECYCLES").map_or(100, |many| many.parse().unwrap());
    let site = site("[workers]\nprocesses = 2\nconcurrency = 2\nrecycle_after_jobs = 1\n");
    enqueue(&site, recycles);
    let up = site.up([]);
    let mut left = recycles;
    while left > 0 {
        // Nobody would go on where no worker is left.
        site.wait_until("another job to be over", Duration::from_secs(30), || {
            let before = std::mem::replace(&mut left, site.jobs(&[State::Available, State::Running]).len());
            left < before || left == 0
        });
    }
    assert_eq!(site.jobs(&[State::Completed]).len(), recycles);
    assert!(up.stop().success());
}
