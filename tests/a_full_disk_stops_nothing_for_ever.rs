//! A job that ends while the disk is full is written down when there is space again, and no process gives up meanwhile.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::disk::Disk;
use crate::support::Site;

#[test]
fn a_job_that_ends_on_a_full_disk_is_completed_when_there_is_space_again() {
    if !crate::disk::may_mount(
        "a_full_disk_stops_nothing_for_ever::a_job_that_ends_on_a_full_disk_is_completed_when_there_is_space_again",
    ) {
        return;
    }
    // Dropped after the disk, because a directory that something is mounted on cannot be removed.
    let site;
    let (directory, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Disk::mount(directory.path(), "size=1m");
    site = Site::in_directory(directory);
    let up = site.up(["--workers", "1"]);

    let script = "touch started; until [ -e go ]; do sleep 0.01; done";
    let place = beside.path().to_str().unwrap();
    let id = site.run(["enqueue", "exec", "--cwd", place, "--", "sh", "-c", script]);
    let id: JobId = id.trim().parse().unwrap();
    site.wait_until("the job to start", Duration::from_secs(20), || beside.path().join("started").exists());
    let (daemon, workers) = (up.pid(), up.worker_pids());

    disk.fill();
    std::fs::write(beside.path().join("go"), "").unwrap();
    up.wait_for_line("a write is repeated: ");
    assert_eq!(site.job(id).view.state, State::Running, "the end of the job could not be written");

    disk.free();
    site.wait_until("the job to be completed", Duration::from_secs(15), || {
        site.job(id).view.state == State::Completed
    });
    let job = site.job(id);
    assert_eq!((job.view.attempt, job.attempts.len()), (1, 1), "it ran once");
    assert_eq!((up.pid(), up.worker_pids()), (daemon, workers), "no process has been replaced");
    site.check_integrity();

    // And work goes on.
    site.run(["jobs", "wait", "--timeout", "20s", site.run(["enqueue", "exec", "--", "true"]).trim()]);
    assert!(up.stop().success());
}
