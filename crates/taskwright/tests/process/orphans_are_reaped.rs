//! Orphans come back to this process, and none of them stays as a zombie; children of others are left to
//! them.

use crate::support::{drive, ended, finish, handle, hasty_host, host, remaining, sh};

#[tokio::test]
async fn no_zombie_is_left_after_the_end_of_a_command() {
    let orphan = "(setsid sh -c 'echo pid $$' &)";
    let finished = finish(&sh(&format!("{orphan}; {orphan}; (sh -c 'echo pid $$' &); exec sleep 0.2"))).await;
    let pids = finished.pids("pid ");
    assert_eq!(pids.len(), 3, "{:?}", finished.lines());
    assert!(remaining(pids).is_empty());
}

#[tokio::test]
async fn the_exit_status_of_a_child_of_somebody_else_is_not_taken() {
    let mut other = std::process::Command::new("setsid").args(["sh", "-c", "exit 5"]).spawn().unwrap();
    assert!(ended(&handle(other.id() as i32)));
    let host = host();
    for _ in 0..3 {
        let end = drive(&sh("exit 0"), &host, std::future::pending(), async |_| {}).await.unwrap();
        assert!(end.output.exit.is_success());
    }
    assert_eq!(other.wait().unwrap().code(), Some(5));
}

#[tokio::test]
async fn the_processor_time_of_orphans_counts() {
    let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done > pipe";
    for orphan in [format!("(sh -c '{burn}' &)"), format!("(setsid sh -c '{burn}; exec sleep 1000' &)")] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = sh(&format!("mkfifo pipe; {orphan}; read -r x < pipe"));
        command.cwd = Some(directory.path().to_owned());
        let usage = finish(&command).await.output.usage;
        assert!(usage.cpu_user_us >= 20_000, "{orphan}: {usage:?}");
    }
}

#[tokio::test]
async fn an_orphan_that_ends_early_is_reaped_and_counted_while_the_command_still_runs() {
    let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo $$ > pipe";
    let wait = "read -r pid < pipe; while [ -e /proc/$pid ]; do sleep 0.02; done; echo reaped";
    let directory = tempfile::tempdir().unwrap();
    let mut command = sh(&format!("mkfifo pipe; (sh -c '{burn}' &); {wait}"));
    command.cwd = Some(directory.path().to_owned());
    // The keeper looks after orphans every two seconds of its time.
    let host = hasty_host(50);
    let finished = drive(&command, &host, std::future::pending(), async |_| {}).await.unwrap();
    assert_eq!(finished.lines(), ["reaped"]);
    assert!(finished.output.usage.cpu_user_us >= 20_000, "{:?}", finished.output.usage);
}
