//! Fault 8: when the worker is killed, its commands die with it; what they started is found by its tag.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use taskwright::process::{Reports, kill_tagged, run};

use crate::support::{Lines, ended, handle, host, sh};

const TAG: &str = "TASKWRIGHT_TEST_HOST";

/// Not a test by itself: the worker that the test below kills.
#[tokio::test]
#[ignore = "started by the other test of this file"]
async fn worker() {
    let mut command = sh("setsid sh -c 'echo 2 $$; exec sleep 1000' & echo 1 $$; wait");
    command.tag = std::env::var(TAG).ok().map(|value| (TAG.to_owned(), value));
    let (reports, chunks, _newest) = Reports::channels();
    let (mut lines, host) = (Lines::new(chunks), host());
    let print = async {
        while lines.seen.len() < 2 {
            lines.advance().await;
        }
        println!("\n{}", lines.seen.join("\n"));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = run(&command, &host, reports, std::future::pending()) => {}
        () = print => {}
    }
}

fn start_worker(tag: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dies_with_its_host::worker", "--ignored", "--nocapture"])
        .env(TAG, tag)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_worker_takes_its_command_along_and_the_rest_is_found_by_its_tag() {
    let tag = std::process::id().to_string();
    let mut worker = start_worker(&tag);
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut found: Vec<(i32, i32)> = lines
        .filter_map(|line| {
            line.split_once(' ').and_then(|(n, pid)| Some((n.parse().ok()?, pid.parse().ok()?)))
        })
        .take(2)
        .collect();
    found.sort_unstable();
    let (command, grandchild) = (handle(found[0].1), handle(found[1].1));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(ended(&command), "the kernel kills the direct child");
    assert_eq!(kill_tagged(TAG, &tag), 1, "the grandchild lives on until somebody looks for it");
    assert!(ended(&grandchild));
}
