//! S23: a command that the operator has run as another user reaches neither the store nor the worker, however readable what stands
//! around it is; and it is stopped like any other. Only root can make somebody else of a process; a test that cannot says so and passes.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::Site;

const SOON: Duration = Duration::from_secs(20);

/// As `docs/guide/config.md` has it.
const CONFIG: &str = r#"
[tasks.outsider]
command = "setpriv"
args = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--", "sh", "-c", "{script}"]
cwd = "/"
timeout = "5s"
max_attempts = 1

[tasks.insider]
command = "sh"
args = ["-c", "{script}"]
cwd = "/"
max_attempts = 1
"#;

#[test]
fn a_command_of_another_user_reaches_neither_the_store_nor_the_worker() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run a command as somebody else; run this test as root");
        return;
    }
    let site = Site::new();
    // It is the store that is closed, and not what it lies in.
    std::fs::set_permissions(site.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    let up = site.up(["--workers", "1"]);
    let run = |task: &str, script: &str| -> (State, String) {
        let args = serde_json::json!({ "script": script }).to_string();
        let id: JobId = site.run(["enqueue", task, "--args", &args]).trim().parse().unwrap();
        site.wait_until("it to end", SOON, || site.job(id).view.state.is_terminal());
        (site.job(id).view.state, site.run(["jobs", "logs", &id.to_string()]))
    };
    let store = site.database();
    // The parent of a command is its worker.
    let tries = format!(
        "id -un; test -e {} && echo around; cat {store} >/dev/null && echo read; true >> {store} && echo written; \
         ls {} && echo listed; cat /proc/$PPID/environ >/dev/null && echo environment; kill -0 $PPID && echo signalled; \
         grep NoNewPrivs /proc/self/status; exit 0",
        site.path().join("taskwright.toml").display(),
        store.parent().unwrap().display(),
        store = store.display(),
    );
    let reached = |told: &str| {
        let words = ["around", "read", "written", "listed", "environment", "signalled"];
        words.into_iter().filter(|word| told.lines().any(|line| line.ends_with(word))).collect::<Vec<_>>()
    };
    let (state, told) = run("insider", &tries);
    assert_eq!(state, State::Completed, "{told}");
    assert_eq!(reached(&told), ["around", "read", "written", "listed", "environment", "signalled"], "{told}");
    let (state, told) = run("outsider", &tries);
    assert_eq!(state, State::Completed, "{told}");
    assert_eq!(reached(&told), ["around"], "{told}");
    assert!(told.contains("nobody") && told.contains("NoNewPrivs:\t1"), "{told}");
    // Its worker stops it all the same, with all that it has started.
    let pids = "for n in 1 2; do sleep 600 & echo pid $!; done; wait";
    let (state, told) = run("outsider", pids);
    assert_eq!(state, State::Failed, "{told}");
    let started: Vec<u32> =
        told.lines().filter_map(|line| line.rsplit_once("pid ")?.1.trim().parse().ok()).collect();
    assert_eq!(started.len(), 2, "{told}");
    assert!(started.iter().all(|pid| !crate::support::lives(*pid)), "{told}");
    assert!(up.stop().success());
}
