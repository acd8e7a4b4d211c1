//! A worker that is stopped for one and a half leases is a zombie when it wakes: its job has been done elsewhere, and
//! whatever it still writes changes nothing.

use std::time::Duration;

use taskwright::core::Verdict;
use taskwright::core::attempt::{AttemptEnd, Facts, decide};
use taskwright::store::sqlite::rusqlite::Connection;
use taskwright::store::{Finish, JobKey, LogEntry, LogStream, Progress, ProgressReport};
use taskwright::{Backoff, JobId, MaxAttempts, Outcome, State, WorkerId};

use crate::support::{Site, signal};

const LEASE: Duration = Duration::from_secs(5);

#[test]
fn pause_a_worker_and_its_writes_change_nothing() {
    let site = Site::new();
    let _up = site.up(["--workers", "2", "--concurrency", "1", "--lease", "5s"]);
    site.wait_until("both workers", Duration::from_secs(10), || site.workers().len() == 2);
    // The first attempt lasts beyond its worker's lease, the second is quick.
    let script = r#"if mkdir first 2>/dev/null; then sleep 9; fi; echo "attempt $TASKWRIGHT_ATTEMPT""#;
    let id: JobId = site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap();
    site.wait_until("the job to run", Duration::from_secs(10), || site.path().join("first").exists());
    let zombie = site.job(id).view.worker.unwrap();
    let pid = site.workers().into_iter().find(|worker| worker.id == zombie).unwrap().pid;

    signal(pid, "STOP");
    site.pause(LEASE * 3 / 2);
    site.wait_until("the job to be done elsewhere", Duration::from_secs(10), || {
        site.job(id).view.state == State::Completed
    });
    let done = site.job(id);
    assert_eq!(done.attempts.len(), 2);
    assert_eq!(done.attempts[0].end, AttemptEnd::Lost);
    assert_ne!(done.attempts[1].worker, zombie);
    signal(pid, "CONT");
    site.wait_until("the zombie to come back as another", Duration::from_secs(15), || {
        site.workers().iter().any(|worker| worker.pid == pid && worker.id != zombie)
    });
    // It noticed by itself, or was told, before it wrote anything? Then write in its name whatever it could have written.
    let accepted = write_as(&site, zombie, id);
    assert_eq!(accepted, 0);

    let after = site.job(id);
    assert_eq!(after.view.state, State::Completed);
    assert_eq!(after.attempts, done.attempts, "nothing that the zombie wrote was kept");
    assert_eq!(after.timeline, done.timeline);
    assert_eq!(site.run(["jobs", "logs", &id.to_string()]), "attempt 2\n");
}

/// Every kind of write of the zombie's attempt, as late as can be; how many were accepted.
fn write_as(site: &Site, zombie: WorkerId, id: JobId) -> usize {
    let conn = Connection::open(site.database()).unwrap();
    let find = "SELECT seq FROM taskwright_job WHERE id = ?1";
    let key = JobKey(conn.query_row(find, [id.as_bytes()], |row| row.get(0)).unwrap());
    let (now, attempt) = (site.env.now(), 1);
    let fail = Outcome::Fail { error: "the zombie says so".to_owned() };
    let facts = Facts {
        attempt,
        max_attempts: MaxAttempts::default(),
        backoff: Backoff::default(),
        delivery: taskwright::Delivery::default(),
        on_shutdown: taskwright::OnShutdown::default(),
        cancel_requested: false,
        now,
        dice: 0.5,
    };
    let end = Finish {
        key,
        attempt,
        started_at: now,
        ended_at: now,
        decision: decide(fail, &facts),
        usage: None,
        follow_ups: Vec::new(),
        snoozes_max: 0,
    };
    let report = ProgressReport { key, attempt, at: now, progress: Progress::default() };
    let entry = LogEntry { key, attempt, at: now, stream: LogStream::Log, bytes: b"boo".to_vec() };
    let verdicts = site.ask(async |store| {
        let mut verdicts = store.finish(now, zombie, vec![end]).await.unwrap();
        verdicts.extend(store.report(zombie, vec![report]).await.unwrap());
        verdicts.extend(store.log(zombie, vec![entry]).await.unwrap());
        verdicts.extend(store.give_back(now, zombie, vec![(key, attempt)], String::new()).await.unwrap());
        verdicts
    });
    println!("{} writes of the zombie: {verdicts:?}", verdicts.len());
    verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted).count()
}
