//! Fault 7: an attempt owns its processes, also those that called `setsid` or forked twice to get away.

use std::time::Duration;

use taskwright::process::{Exit, Stop, kill_tagged};

use crate::support::{ended, finish, handle, is_gone, remaining, sh, stop_when_ready};

/// Starts a process that announces itself, by each way out of the tree.
const ESCAPES: &str = r#"say='echo pid $$; while :; do sleep 1; done'
    setsid sh -c "$say" &
    (setsid sh -c "$say" &)
    (sh -c "$say" &)
    setsid env -i sh -c "$say" &
    setsid sh -c "trap '' TERM HUP; $say" &
    setsid sh -c "(env -i sh -c '$say' &); exec sleep 1000" &
    (setsid setsid sh -c "(sh -c '$say' &)" &)"#;

#[tokio::test]
async fn no_escaped_process_survives_a_stop() {
    // The line count is the signal that everybody has started.
    let script = format!("{ESCAPES}\nwhile :; do sleep 1; done");
    let mut command = sh(&format!(
        "({script}) | {{ n=0; while read -r l; do echo \"$l\"; n=$((n+1)); \
                                   [ $n = 7 ] && echo ready; done; }}"
    ));
    command.grace = Duration::from_millis(200);
    let finished = stop_when_ready(&command, Stop::Cancelled, |_| {}).await;
    let pids = finished.pids("pid ");
    assert_eq!(pids.len(), 7, "{:?}", finished.lines());
    assert!(remaining(pids).is_empty());
    assert!(finished.output.survivors.is_empty());
}

#[tokio::test]
async fn what_a_successful_command_leaves_running_is_killed_too() {
    let script = "mkfifo pipe; setsid sh -c 'echo pid $$; echo x > pipe; exec sleep 1000' & read -r x < pipe";
    let directory = tempfile::tempdir().unwrap();
    let mut command = sh(script);
    command.cwd = Some(directory.path().to_owned());
    let finished = finish(&command).await;
    assert_eq!(finished.output.exit, Exit::Code(0));
    let pids = finished.pids("pid ");
    assert!(pids.len() == 1 && is_gone(pids[0]), "{pids:?}");
}

#[tokio::test]
async fn an_orphan_that_holds_the_output_open_does_not_delay_the_end() {
    let finished = finish(&sh("setsid sleep 1000 & exit 0")).await;
    assert_eq!(finished.output.exit, Exit::Code(0));
    // Far less than the orphan sleeps, and than a kill is waited for.
    assert!(finished.output.wall_us < 4_000_000, "{:?}", finished.output.usage);
}

#[tokio::test]
async fn a_fork_bomb_in_a_session_of_its_own_is_stopped() {
    // Bounded, should the kill not work: each process starts two more, eight levels deep.
    let bomb = "b() { [ $1 -gt 0 ] || { sleep 1000; return; }; b $(($1-1)) & b $(($1-1)) & wait; }; b 8";
    let mut command = sh(&format!("setsid sh -c '{bomb}' & echo ready; wait"));
    command.grace = Duration::from_millis(50);
    command.tag = Some(("TASKWRIGHT_TEST_BOMB".to_owned(), std::process::id().to_string()));
    let finished = stop_when_ready(&command, Stop::Cancelled, |_| {}).await;
    assert!(finished.output.survivors.is_empty());
    assert_eq!(kill_tagged("TASKWRIGHT_TEST_BOMB", &std::process::id().to_string()), 0);
}

#[tokio::test]
async fn processes_of_a_lost_worker_are_found_by_their_tag() {
    let value = format!("{}-lost", std::process::id());
    // Not started by the room: nobody but the tag knows it.
    let mut lost = std::process::Command::new("setsid")
        .args(["sleep", "1000"])
        .env("TASKWRIGHT_TEST_TAG", &value)
        .spawn()
        .unwrap();
    let lost_handle = handle(lost.id() as i32);
    assert_eq!(kill_tagged("TASKWRIGHT_TEST_TAG", "another value"), 0);
    assert_eq!(kill_tagged("TASKWRIGHT_TEST_TAG", &value), 1);
    assert!(ended(&lost_handle));
    lost.wait().unwrap();
    assert_eq!(kill_tagged("TASKWRIGHT_TEST_TAG", &value), 0);
}
