//! TERM lets what runs finish within the grace and hands back the rest, unspent; a second signal within two seconds is the
//! same wish; a later one ends everything at once, and the exit code names the signal. (CC-X6: the one server on SQLite, and one of three
//! on one PostgreSQL, where another runs what it left.)

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use taskwright::store::TakeGenerators;
use taskwright::{JobId, State};

use crate::node::{Node, stop_all};
use crate::receiver::Receiver;
use crate::support::{Site, lives, signal};

#[test]
fn what_finishes_in_time_completes_and_what_does_not_is_handed_back_unspent() {
    what_finishes_in_time_completes_and_what_does_not_is_handed_back_unspent_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn what_finishes_in_time_completes_and_what_does_not_is_handed_back_unspent_on_postgresql() {
    what_finishes_in_time_completes_and_what_does_not_is_handed_back_unspent_on(&Site::on_postgres());
}

/// CR-X10: given TERM, no new jobs are begun, running ones get the grace, it exits with 0, and what did not end is in the queue again.
fn what_finishes_in_time_completes_and_what_does_not_is_handed_back_unspent_on(site: &Site) {
    let up = site.up(["--workers", "1", "--concurrency", "3", "--grace", "4s"]);
    let start = |script: &str| -> JobId {
        site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap()
    };
    let short = start("touch started; until [ -e go ]; do sleep 0.05; done; echo done");
    let long = start("sleep 600");
    site.wait_until("both to run", Duration::from_secs(10), || {
        [short, long].iter().all(|id| site.job(*id).view.state == State::Running)
            && site.path().join("started").exists()
    });
    signal(up.pid(), "TERM");
    up.wait_for_line("stopping");
    // There is room for it, and nobody takes it.
    let late = start("touch late");
    std::fs::write(site.path().join("go"), "").unwrap();
    assert!(up.stop().success());
    assert_eq!(site.job(late).view.state, State::Available);
    assert!(!site.path().join("late").exists());

    assert_eq!(site.job(short).view.state, State::Completed);
    let back = site.job(long);
    assert_eq!((back.view.state, back.view.attempt), (State::Available, 0), "{:?}", back.timeline);
    assert!(back.attempts.is_empty());
}

#[test]
fn a_stop_lets_go_of_an_endpoint_that_does_not_answer_and_of_the_lead() {
    a_stop_lets_go_of_an_endpoint_that_does_not_answer_and_of_the_lead_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn a_stop_lets_go_of_an_endpoint_that_does_not_answer_and_of_the_lead_on_postgresql() {
    a_stop_lets_go_of_an_endpoint_that_does_not_answer_and_of_the_lead_on(&Site::on_postgres());
}

fn a_stop_lets_go_of_an_endpoint_that_does_not_answer_and_of_the_lead_on(site: &Site) {
    // It answers when the test is over.
    let (over, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let receiver = Receiver::start(move |_| {
        let _ = waits.lock().unwrap().recv();
        ("200 OK", String::new())
    });
    site.run(["webhooks", "add", "slow", receiver.url().as_str(), "--allow-private"]);
    let up = site.up(["--workers", "0"]);
    site.run(["events", "emit", "order.paid"]);
    site.wait_until("the endpoint to be asked", Duration::from_secs(10), || receiver.count() == 1);
    assert!(up.stop().success());

    // Another node has both at once, and not when a lease has run out.
    let free = site.ask(async |store| {
        let (now, lease) = (site.env.now(), Duration::from_secs(5));
        let webhooks = vec!["webhook:".to_owned()];
        let take = TakeGenerators { prefixes: webhooks, ..TakeGenerators::at(now, lease, 9) };
        let taken = store.take_generators(take).await.unwrap().generators.len();
        let lead = store.lead(site.env.monotonic_us(), site.env.worker_id(), lease).await.unwrap();
        (taken, lead.is_some())
    });
    assert_eq!(free, (1, true));
    drop(over);
}

#[test]
fn a_second_signal_that_is_meant_ends_everything_at_once() {
    a_second_signal_that_is_meant_ends_everything_at_once_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn a_second_signal_that_is_meant_ends_everything_of_one_node_at_once_and_another_runs_it_again() {
    a_second_signal_that_is_meant_ends_everything_at_once_on(&Site::on_postgres());
}

fn a_second_signal_that_is_meant_ends_everything_at_once_on(site: &Site) {
    let up = site.up(["--workers", "1"]);
    // The second attempt ends at once: it is there to show that there is one.
    let script =
        r#"[ "$TASKWRIGHT_ATTEMPT" = 1 ] || exit 0; sleep 600 & echo $! > new && mv new grandchild; wait"#;
    let id: JobId = site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap();
    let file = site.path().join("grandchild");
    site.wait_until("it to run", Duration::from_secs(10), || file.exists());
    let grandchild: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    std::fs::remove_file(&file).unwrap();
    let others: Vec<Node> = match site.is_on_server() {
        true => vec![Node::start(site, &[]), Node::start(site, &[])],
        false => Vec::new(),
    };
    let pid = up.pid();
    signal(pid, "INT");
    up.wait_for_line("stopping");
    // A bounce of the same key: nothing more happens.
    signal(pid, "INT");
    site.pause(Duration::from_millis(2_200));
    assert_eq!(site.workers().len(), 1 + others.len(), "the worker is still waiting for its job");
    let status = up.signal_and_wait("INT");
    assert_eq!(status.code(), Some(128 + 2), "{status}");
    if others.is_empty() {
        assert!(!lives(grandchild), "what the command had started is gone before `up` is");
    } else {
        // Another node of this machine may have been the first to see that the worker was killed: then it is its turn to clean up.
        site.wait_until("what the command had started to be gone", Duration::from_secs(1), || {
            !lives(grandchild)
        });
    }

    // The others do it, or who comes next.
    let again = others.is_empty().then(|| site.up(["--workers", "1"]));
    site.wait_until("the job to run again", Duration::from_secs(10), || site.job(id).view.attempt == 2);
    for node in &others {
        node.wait_for(site, id, State::Completed);
        assert_eq!(node.job(id)["cancel_requested"], false);
    }
    let ran = others.iter().filter(|node| node.count(&node.ran()) == 1).count();
    assert_eq!(ran, others.len().min(1), "one of the others has run it");
    drop(again);
    stop_all(others);
}

#[test]
fn up_stays_when_all_its_workers_were_told_to_stop() {
    up_stays_when_all_its_workers_were_told_to_stop_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn up_stays_when_all_its_workers_were_told_to_stop_on_postgresql() {
    up_stays_when_all_its_workers_were_told_to_stop_on(&Site::on_postgres());
}

fn up_stays_when_all_its_workers_were_told_to_stop_on(site: &Site) {
    let up = site.up(["--workers", "2"]);
    site.wait_until("both workers", Duration::from_secs(10), || site.workers().len() == 2);
    site.run(["workers", "stop", "--all"]);
    up.wait_for_line("no worker process is left: jobs are accepted and wait");

    // Its duties go on: what is due becomes available.
    let id: JobId = site.run(["enqueue", "exec", "--in", "1s", "--", "true"]).trim().parse().unwrap();
    assert_eq!(site.job(id).view.state, State::Scheduled);
    site.wait_until("the job to be due", Duration::from_secs(10), || {
        site.job(id).view.state == State::Available
    });
    assert!(up.worker_pids().is_empty());
    assert!(up.stop().success());
}
