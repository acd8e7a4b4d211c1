//! Whatever stands behind the log may fail (a full disk, a pipe that nobody reads any more): work goes on without it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, children_of, signal};

/// Killed when the test ends, however that is.
struct Silent(Child);

impl Drop for Silent {
    fn drop(&mut self) {
        let workers = children_of(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        workers.into_iter().for_each(|pid| signal(pid, "KILL"));
    }
}

#[test]
fn log_that_cannot_be_written_stops_nothing() {
    let site = Site::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = site.taskwright(["up", "--workers", "1"]);
    let up = Silent(command.process_group(0).stdout(Stdio::null()).stderr(full).spawn().unwrap());
    // A command that leaves a process behind in its first attempt: that is worth a warning.
    let script = r#"
        if [ "$TASKWRIGHT_ATTEMPT" != 1 ]; then exit 0; fi
        setsid sleep 600 &
        sleep 600"#;
    for _ in 0..2 {
        let id: JobId = site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap();
        site.wait_until("the job to run", Duration::from_secs(10), || {
            site.job(id).view.state == State::Running
        });
        // The command has to get as far as leaving its child behind.
        site.wait_until("the command's child", Duration::from_secs(10), || is_running(&id.to_string()));
        let [worker] = children_of(up.0.id())[..] else { panic!("one worker") };
        signal(worker, "KILL");
        site.wait_until("the job to complete", Duration::from_secs(10), || {
            site.job(id).view.state == State::Completed
        });
    }
    let id: JobId = site.run(["enqueue", "exec", "--in", "1s", "--", "true"]).trim().parse().unwrap();
    site.wait_until("what was scheduled", Duration::from_secs(10), || {
        site.job(id).view.state == State::Completed
    });
}

/// Whether a `sleep` runs that was started for this job.
fn is_running(job: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.map(|entry| entry.path()).any(|process| {
        let read = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        read("comm") == b"sleep\n"
            && read("environ")
                .split(|byte| *byte == 0)
                .any(|entry| entry.strip_prefix(b"TASKWRIGHT_JOB_ID=").is_some_and(|id| id == job.as_bytes()))
    })
}
