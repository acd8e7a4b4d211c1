//! Fault 65: a command that uses more memory or CPU time than it may, together with everything it started, is stopped and told which
//! limit that was.

use std::time::Duration;

use taskwright::Limits;
use taskwright::core::resource::Passed;
use taskwright::process::{Command, Exit, Stop};

use crate::support::{Finished, drive, finish, host, remaining, sh};

const MIB: u64 = 1024 * 1024;

/// Holds 40 MiB until it is killed: `tail` keeps what may be the last lines.
const HOLDS_40_MIB: &str = "(head -c 40m /dev/zero; sleep 600) | tail > /dev/null";

fn limited_memory(script: &str, mib: u64) -> Command {
    Command { limits: Limits { max_rss: Some(mib * MIB), ..Limits::default() }, ..sh(script) }
}

fn limited_cpu(script: &str, limit: Duration) -> Command {
    Command { limits: Limits { max_cpu_time: Some(limit), ..Limits::default() }, ..sh(script) }
}

/// What was seen of memory by the limit that stopped it.
fn memory_seen(finished: &Finished) -> u64 {
    let Some(Stop::Limit(passed @ Passed::Memory { limit_bytes, seen_bytes })) = finished.output.stopped
    else {
        panic!("it is stopped for its memory: {:?}", finished.output)
    };
    let words = passed.to_string();
    assert!(words.starts_with(&format!("out of memory (limit {} MiB, used ", limit_bytes / MIB)), "{words}");
    seen_bytes
}

fn cpu_seen(finished: &Finished) -> Duration {
    let Some(Stop::Limit(Passed::CpuTime { seen, .. })) = finished.output.stopped else {
        panic!("it is stopped for its CPU time: {:?}", finished.output)
    };
    seen
}

#[tokio::test]
async fn the_memory_of_all_processes_of_a_command_counts_together() {
    let script = format!("{HOLDS_40_MIB} & echo child $!; {HOLDS_40_MIB} & echo child $!; wait");
    let finished = finish(&limited_memory(&script, 64)).await;
    let seen = memory_seen(&finished);
    assert!((64 * MIB..120 * MIB).contains(&seen), "{seen}");
    assert_eq!(finished.output.exit, Exit::Signal(9), "at once, without a grace");
    assert_eq!(remaining(finished.pids("child")), Vec::<i32>::new());
}

#[tokio::test]
async fn memory_of_a_process_that_left_its_parent_and_its_session_counts() {
    let script = format!("(setsid sh -c '{HOLDS_40_MIB}; true' &); sleep 600");
    let finished = finish(&limited_memory(&script, 30)).await;
    assert!(memory_seen(&finished) > 30 * MIB);
}

#[tokio::test]
async fn a_command_below_its_limits_is_left_alone() {
    let script = format!("{HOLDS_40_MIB} & until [ -e /proc/$! ]; do :; done; sleep 0.5; exit 7");
    let mut command = limited_memory(&script, 200);
    command.limits.max_cpu_time = Some(Duration::from_secs(100));
    let output = finish(&command).await.output;
    assert_eq!((output.stopped, output.exit), (None, Exit::Code(7)));
}

/// Five processes that share 60 MiB: their resident sets add up to more than 300.
const SHARES_60_MIB: &str = "
import mmap, os, sys
shared = mmap.mmap(-1, 60 << 20)
for _ in range(4):
    if os.fork() == 0:
        for page in range(0, 60 << 20, 4096): shared[page]
        sys.stdin.read()
        os._exit(0)
for page in range(0, 60 << 20, 4096): shared[page] = 1
print('ready', flush=True)
sys.stdin.read()
for _ in range(4): os.wait()
";

#[tokio::test]
async fn memory_that_processes_share_counts_once() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("not tested: there is no python3");
        return;
    }
    let mut command = Command::new("python3").args(["-c", SHARES_60_MIB]);
    command.limits.max_rss = Some(200 * MIB);
    // Standard input is empty, so that they all end as soon as they have touched everything.
    let finished =
        drive(&command, &host(), std::future::pending(), async |lines| lines.until("ready").await).await;
    let output = finished.unwrap().output;
    assert_eq!((output.stopped, output.exit), (None, Exit::Code(0)), "{output:?}");
}

#[tokio::test]
async fn the_cpu_time_of_all_processes_of_a_command_counts_together() {
    let limit = Duration::from_millis(500);
    let script = "(while :; do :; done) & (while :; do :; done) & wait";
    let finished = finish(&limited_cpu(script, limit)).await;
    let seen = cpu_seen(&finished);
    assert!((limit..Duration::from_secs(2)).contains(&seen), "{seen:?}");
    let words = finished.output.stopped.unwrap().to_string();
    assert!(words.starts_with("CPU time limit (0.5 s) exceeded (used "), "{words}");
    assert_eq!(finished.output.exit, Exit::Signal(15), "it is asked first");
}

#[tokio::test]
async fn cpu_time_of_children_that_have_ended_counts() {
    let short = "sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'";
    let finished =
        finish(&limited_cpu(&format!("while :; do {short}; done"), Duration::from_millis(400))).await;
    assert!(cpu_seen(&finished) < Duration::from_secs(2), "{finished:?}");
}

#[tokio::test]
async fn a_command_that_has_used_its_cpu_time_may_clean_up_within_its_grace() {
    let script = "trap 'echo cleaned; exit 9' TERM; while :; do :; done";
    let finished = finish(&limited_cpu(script, Duration::from_millis(200))).await;
    assert_eq!((finished.output.exit, finished.stdout_text()), (Exit::Code(9), "cleaned\n"));
    cpu_seen(&finished);
}

#[tokio::test]
async fn a_command_stands_back_behind_others_as_it_was_told() {
    let own: i32 = rustix::process::getpriority_process(None).unwrap();
    for nice in [0_u8, 18] {
        let mut command = sh("sh -c 'cut -d\" \" -f19 /proc/self/stat; ionice -p $$'");
        command.limits.nice = Some(nice);
        command.limits.ionice = Some("best-effort:6".parse().unwrap());
        let finished = finish(&command).await;
        // One who stands back already stays there.
        assert_eq!(finished.lines()[0].parse::<i32>().unwrap(), own.max(nice.into()));
        if finished.output.exit == Exit::Code(0) {
            assert_eq!(finished.lines()[1], "best-effort: prio 6");
        } else {
            eprintln!("not tested: there is no ionice");
        }
    }
}
