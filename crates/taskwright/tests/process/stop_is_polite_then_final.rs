//! Fault 6: TERM first, KILL for the whole group after the grace period, and nobody is left.

use std::time::Duration;

use taskwright::process::{Exit, Stop};

use crate::support::{finish, remaining, sh, stop_when_ready};

/// Deaf to TERM, with a deaf child; both say who they are.
const DEAF: &str = "trap '' TERM
    sh -c 'echo grandchild $$; while :; do sleep 1; done' &
    echo child $$
    echo ready
    while :; do sleep 1; done";

#[tokio::test]
async fn a_command_that_hears_term_may_clean_up_and_choose_its_exit_code() {
    let command = sh("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    let finished = stop_when_ready(&command, Stop::Cancelled, |_| {}).await;
    assert_eq!(finished.output.exit, Exit::Code(7));
    assert_eq!(finished.output.stopped, Some(Stop::Cancelled));
    assert_eq!(finished.lines(), ["ready", "bye"]);
}

#[tokio::test]
async fn a_descendant_may_clean_up_even_after_the_command_itself_has_ended() {
    let command = sh(
        "sh -c 'trap \"sleep 0.3; echo cleaned; exit\" TERM; echo ready; while :; do sleep 0.05; done' & \
                      wait",
    );
    let finished = stop_when_ready(&command, Stop::Shutdown, |_| {}).await;
    assert_eq!(finished.output.exit, Exit::Signal(15));
    assert_eq!(finished.lines(), ["ready", "cleaned"]);
}

#[tokio::test]
async fn a_deaf_command_is_killed_with_its_children_after_the_grace_period() {
    let mut command = sh(DEAF);
    command.grace = Duration::from_millis(300);
    let finished = stop_when_ready(&command, Stop::Cancelled, |_| {}).await;
    assert_eq!(finished.output.exit.to_string(), "killed by signal 9 (KILL)");
    let all = [finished.pids("child "), finished.pids("grandchild ")].concat();
    assert_eq!(all.len(), 2, "{:?}", finished.lines());
    assert!(remaining(all).is_empty());
    let wall = Duration::from_micros(finished.output.wall_us);
    assert!(wall >= command.grace && wall <= command.grace + Duration::from_secs(1), "{wall:?}");
}

#[tokio::test]
async fn the_timeout_stops_a_command_that_nobody_else_stops() {
    let mut command = sh(DEAF);
    command.timeout = Some(Duration::from_millis(200));
    command.grace = Duration::from_millis(100);
    let output = finish(&command).await.output;
    assert_eq!((output.stopped, output.exit), (Some(Stop::Timeout), Exit::Signal(9)));
    assert!(output.survivors.is_empty());
}

#[tokio::test]
async fn a_stopped_process_is_woken_to_hear_term() {
    let command = sh("trap 'exit 3' TERM; (echo ready; kill -STOP $$); while :; do sleep 0.05; done");
    let output = stop_when_ready(&command, Stop::Cancelled, |_| {}).await.output;
    assert_eq!(output.exit, Exit::Code(3));
}
