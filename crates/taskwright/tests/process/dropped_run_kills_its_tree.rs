//! A run that nobody waits for any more leaves no process behind.

use taskwright::process::{Reports, run};

use crate::support::{Lines, host, is_over, pids, sh};

#[tokio::test]
async fn dropping_the_future_kills_the_command_and_its_escaped_descendants() {
    let script = "trap '' TERM; echo pid $$; say='echo pid $$; echo ready; exec sleep 1000'
                  setsid sh -c \"$say\" & wait";
    let (command, host) = (sh(script), host());
    let (reports, chunks, _newest) = Reports::channels();
    let mut lines = Lines::new(chunks);
    tokio::select! {
        _ = run(&command, &host, reports, std::future::pending()) => unreachable!("it sleeps"),
        () = lines.until("ready") => {}
    }
    let pids = pids(&lines.seen, "pid ");
    assert_eq!(pids.len(), 2, "{:?}", lines.seen);
    // Reaped ones are gone already; the others must end.
    for pid in pids {
        assert!(is_over(pid), "{pid} runs on");
    }
    drop(host);
}

#[tokio::test]
async fn dropping_the_future_before_the_command_has_started_leaves_nothing() {
    let value = format!("{}-early", std::process::id());
    let mut command = sh("exec sleep 1000");
    command.tag = Some(("TASKWRIGHT_TEST_TAG".to_owned(), value.clone()));
    let host = host();
    let (reports, _chunks, _newest) = Reports::channels();
    {
        let mut run = Box::pin(run(&command, &host, reports, std::future::pending()));
        let once = std::future::poll_fn(|context| {
            let _ = run.as_mut().poll(context);
            std::task::Poll::Ready(())
        });
        once.await;
    }
    // The keeper does one thing after the other, so that a second run ends after the first was dealt with.
    crate::support::drive(&sh("exit 0"), &host, std::future::pending(), async |_| {}).await.unwrap();
    // Killed is not gone yet: on a busy machine the system needs a while for it.
    for pid in with_variable(&format!("TASKWRIGHT_TEST_TAG={value}")) {
        assert!(is_over(pid), "{pid} runs on");
    }
    assert_eq!(taskwright::process::kill_tagged("TASKWRIGHT_TEST_TAG", &value), 0);
}

/// The processes that were given this variable.
fn with_variable(entry: &str) -> Vec<i32> {
    let of = |pid: &i32| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let has = |pid: &i32| of(pid).split(|byte| *byte == 0).any(|one| one == entry.as_bytes());
    let all =
        std::fs::read_dir("/proc").unwrap().filter_map(|one| one.unwrap().file_name().to_str()?.parse().ok());
    all.filter(has).collect()
}
