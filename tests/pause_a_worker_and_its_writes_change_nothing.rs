//! A worker that is stopped for one and a half leases is a zombie when it wakes: its job has been done elsewhere, and
//! whatever it still writes changes nothing.

mod support;

use std::time::Duration;

use support::{Site, signal};
use taskwright::core::attempt::AttemptEnd;
use taskwright::{JobId, State};

const LEASE: Duration = Duration::from_secs(5);

#[test]
fn pause_a_worker_and_its_writes_change_nothing() {
    let site = Site::new();
    let up = site.up(["--workers", "2", "--concurrency", "1", "--lease", "5s", "--verbose"]);
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
    let told = up.wait_for_line("declared lost");
    println!("the zombie says: {told}");

    site.wait_until("the zombie to come back as another", Duration::from_secs(15), || {
        site.workers().iter().any(|worker| worker.pid == pid && worker.id != zombie)
    });
    let after = site.job(id);
    assert_eq!(after.view.state, State::Completed);
    assert_eq!(after.attempts, done.attempts, "nothing that the zombie wrote was kept");
    assert_eq!(site.run(["jobs", "logs", &id.to_string()]), "attempt 2\n");
}
