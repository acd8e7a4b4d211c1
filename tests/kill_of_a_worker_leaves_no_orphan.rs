//! What a killed worker's command had started, also out of its session, is gone before long: the job runs again, and
//! two of it at once is one too many.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, lives, signal};

#[test]
fn kill_of_a_worker_leaves_no_orphan() {
    kill_of_a_worker_leaves_no_orphan_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn kill_of_a_worker_leaves_no_orphan_on_postgresql() {
    kill_of_a_worker_leaves_no_orphan_on(&Site::on_postgres());
}

fn kill_of_a_worker_leaves_no_orphan_on(site: &Site) {
    let up = site.up(["--workers", "1"]);
    let script = r#"
        if [ "$TASKWRIGHT_ATTEMPT" != 1 ]; then exit 0; fi
        setsid sh -c 'echo $$ > escaped; exec sleep 600' &
        echo $$ > direct
        exec sleep 600"#;
    let id: JobId = site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap();
    let pid_in = |file: &str| -> Option<u32> {
        std::fs::read_to_string(site.path().join(file)).ok()?.trim().parse().ok()
    };
    site.wait_until("both processes", Duration::from_secs(10), || {
        pid_in("direct").is_some() && pid_in("escaped").is_some()
    });

    signal(up.worker_pids()[0], "KILL");
    site.wait_until("the job to complete", Duration::from_secs(10), || {
        site.job(id).view.state == State::Completed
    });
    for file in ["direct", "escaped"] {
        let pid = pid_in(file).unwrap();
        site.wait_until(&format!("the {file} process to be gone"), Duration::from_secs(10), || !lives(pid));
    }
}
