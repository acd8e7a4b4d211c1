//! Several `up`s on one database share the work; what one of them held when everything of it is killed, the other does.

use std::collections::HashSet;
use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, Up, now};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn two_ups_on_one_database_share_the_work_and_one_outlives_the_other() {
    let site = Site::on_postgres();
    let start = || site.up(["--workers", "1", "--concurrency", "2"]);
    let (first, second) = (start(), start());
    site.wait_until("a worker of each", SOON, || site.workers().len() == 2);
    let script = r#"[ "$TASKWRIGHT_ATTEMPT" = 1 ] || exit 0; until [ -e go ]; do sleep 0.05; done"#;
    let ids: Vec<JobId> = (0..4).map(|_| enqueue(&site, script)).collect();
    site.wait_until("each to hold two", SOON, || {
        held_by(&site, &first).len() == 2 && held_by(&site, &second).len() == 2
    });

    let held = held_by(&site, &first);
    first.kill_all();
    // Both slots of the other are taken until its jobs end.
    std::fs::write(site.path().join("go"), "").unwrap();
    site.wait_until("all to complete", SOON, || {
        ids.iter().all(|id| site.job(*id).view.state == State::Completed)
    });
    for id in ids {
        let attempts = site.job(id).attempts.len();
        assert_eq!(attempts, if held.contains(&id) { 2 } else { 1 }, "{id}");
    }
    assert!(second.stop().success());
}

#[test]
fn after_a_kill_of_everything_every_job_runs_again_and_none_is_lost() {
    let site = Site::on_postgres();
    let start = || site.up(["--workers", "2", "--concurrency", "4"]);
    let up = start();
    let line = |rest: &str| {
        let script = format!("echo $TASKWRIGHT_JOB_ID >> started; {rest}");
        format!("{}\n", serde_json::json!({"kind": "exec", "args": {"command": ["sh", "-c", script]}}))
    };
    // Most of them are not over before they may be.
    let lines = line("sleep 0.05").repeat(40) + &line("until [ -e go ]; do sleep 0.02; done").repeat(160);
    std::fs::write(site.path().join("jobs.ndjson"), lines).unwrap();
    let printed = site.run(["enqueue", "--from-file", "jobs.ndjson"]);
    let ids: Vec<JobId> = printed.lines().map(|line| line.parse().unwrap()).collect();
    site.wait_until("some to have run", SOON, || site.jobs(&[State::Completed]).len() > 20);
    up.kill_all();
    let unfinished = ids.iter().filter(|id| !site.job(**id).view.state.is_terminal()).count();
    assert!(unfinished > 0, "the kill came too late");
    std::fs::write(site.path().join("go"), "").unwrap();

    let _up = start();
    site.wait_until("all to complete", Duration::from_secs(60), || {
        site.jobs(&[State::Completed]).len() == ids.len()
    });
    let started = std::fs::read_to_string(site.path().join("started")).unwrap();
    let started: HashSet<&str> = started.lines().collect();
    assert_eq!(started.len(), ids.len());
    let lost = ids.iter().filter(|id| site.job(**id).attempts.len() > 1).count();
    assert!(lost > 0, "something ran when everything was killed");
}

fn enqueue(site: &Site, script: &str) -> JobId {
    site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap()
}

/// The jobs that run on the workers of this `up`.
fn held_by(site: &Site, up: &Up) -> Vec<JobId> {
    let pids = up.worker_pids();
    let workers: Vec<_> =
        site.workers().into_iter().filter(|worker| pids.contains(&worker.pid)).map(|w| w.id).collect();
    let running = site.jobs(&[State::Running]).into_iter();
    running
        .filter(|job| job.worker.is_some_and(|worker| workers.contains(&worker)))
        .map(|job| job.id)
        .collect()
}

/// What is done on one node at a time is done by another within 5 s after that one has died.
#[test]
fn the_duties_of_an_up_that_is_killed_are_taken_over_within_5_s() {
    let site = Site::on_postgres();
    let start = || site.up(["--workers", "1", "--concurrency", "1"]);
    let lead =
        || site.postgres().sql("SELECT node || ' ' || fence FROM taskwright.leader WHERE node IS NOT NULL");
    let first = start();
    site.wait_until("the first to lead", SOON, || !lead().is_empty());
    let second = start();
    site.wait_until("a worker of each", SOON, || site.workers().len() == 2);
    let before = lead();
    first.kill_all();
    let killed = now();
    site.wait_until("the second to lead", SOON, || lead() != before);
    let took = killed.elapsed();
    println!("the duties were taken over after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(second.stop().success());
}
