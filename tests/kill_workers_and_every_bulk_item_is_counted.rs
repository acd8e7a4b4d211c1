//! PH-X13: all workers of a bulk are killed again and again, and every fifth time everything; its counts are right, and each
//! item ran.
//!
//! `TASKWRIGHT_TEST_FULL=1` has 200,000 items and 20 kills, and a bulk of 10,000,000 beside them.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use taskwright::bulk::{Bulk, BulkSet};
use taskwright::{Client, State};

use crate::support::{Dice, Site, Up, now, signal};

/// A bulk is created in less, however large it is; held to on request.
const CREATED_MAX: Duration = Duration::from_millis(100);

/// How many items there are, and how often all workers are killed.
struct Scale {
    items: u64,
    kills: u64,
    /// Whether each item writes down that it ran, which takes longer.
    leaves_traces: bool,
}

impl Scale {
    fn asked() -> Self {
        match std::env::var("TASKWRIGHT_TEST_FULL").is_ok() {
            true => Self { items: 200_000, kills: 20, leaves_traces: false },
            false => Self { items: 600, kills: 4, leaves_traces: true },
        }
    }
}

#[test]
fn ph_x13_kill_workers_and_every_bulk_item_is_counted() {
    kill_on(&Site::new(), &Scale::asked());
}

#[cfg(feature = "postgres")]
#[test]
fn ph_x13_kill_workers_and_every_bulk_item_is_counted_on_postgresql() {
    kill_on(&Site::on_postgres(), &Scale::asked());
}

#[test]
fn ten_million_items_are_created_at_once_and_stored_as_one() {
    let site = Site::new();
    site.run(["migrate"]);
    let size = || std::fs::metadata(site.database()).unwrap().len();
    let before = size();
    let id = create(&site, 10_000_000, &["flood"]);
    assert!(size() - before < 100_000, "{before} to {} bytes", size());
    ten_million(&site, id);
}

#[cfg(feature = "postgres")]
#[test]
fn ten_million_items_are_created_at_once_and_stored_as_one_on_postgresql() {
    let site = Site::on_postgres();
    site.run(["migrate"]);
    let id = create(&site, 10_000_000, &["flood"]);
    ten_million(&site, id);
}

/// Looks at a bulk of so many; how long another takes to be created is measured in this process, and printed.
fn ten_million(site: &Site, id: String) {
    let bulks = Client::new(site.shared(), site.env.clone()).bulks(&BulkSet::built_in());
    let more = || {
        let params = serde_json::json!({"kind": "flood", "size": 10_000_000, "args": {}});
        Bulk::new("count").params(&params).unwrap()
    };
    // The first one opens the connection.
    let ids: Vec<_> = (0..2)
        .map(|_| {
            let began = now();
            let id = site.ask(async |_| bulks.create(more()).await.unwrap());
            println!("a bulk of 10,000,000 was created in {:?}", began.elapsed());
            (id, began.elapsed())
        })
        .collect();
    if std::env::var_os("TASKWRIGHT_TEST_FULL").is_some() {
        assert!(ids[1].1 < CREATED_MAX, "{:?}", ids[1].1);
    }
    for (id, _) in ids {
        site.run(["bulk", "cancel", &id.to_string()]);
    }
    let up = start(site);
    site.wait_until("some to run", Duration::from_secs(60), || count(site, &id, "settled") > 1_000);
    assert_eq!(count(site, &id, "failed"), 0);
    // At one moment: a listing by pages would meet also what was made while it walked.
    let queues = site.ask(async |store| store.queues(site.env.now(), None).await.unwrap());
    let rows: u64 = queues.iter().map(|queue| queue.available + queue.running + queue.waiting).sum();
    assert!(rows <= 1_001, "{rows}");
    // What was counted stays, and adds up, when somebody has had enough.
    site.run(["bulk", "cancel", &id]);
    site.wait_until("the bulk to be wound up", Duration::from_secs(60), || {
        show(site, &id)["window"].is_null()
    });
    let told = show(site, &id);
    assert_eq!((&told["state"], &told["settled"]), (&Value::from("cancelled"), &told["made"]));
    assert!(site.jobs(&[State::Available, State::Running]).is_empty());
    assert!(up.stop().success());
}

fn kill_on(site: &Site, scale: &Scale) {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let command = r#"{"command": ["sh", "-c", "echo {index} >> ran.log"]}"#;
    let what: &[&str] = if scale.leaves_traces { &["exec", "--args", command] } else { &["flood"] };
    let began = now();
    let id = create(site, scale.items, what);
    println!("created in {:?}, by a process of its own", began.elapsed());

    let mut up = start(site);
    for kill in 1..=scale.kills {
        let due = scale.items * kill / (scale.kills + 2);
        site.wait_until("the next kill", Duration::from_secs(300), || count(site, &id, "settled") >= due);
        site.pause(Duration::from_millis(dice.below(100)));
        if kill.is_multiple_of(5) {
            up.kill_all();
            up = start(site);
        } else {
            up.worker_pids().into_iter().for_each(|pid| signal(pid, "KILL"));
        }
    }
    site.wait_until("the bulk to be over", Duration::from_secs(600), || {
        show(site, &id)["state"] != "blocked"
    });
    let told = show(site, &id);
    println!("{} items after {} kills in {:?}: {told}", scale.items, scale.kills, began.elapsed());
    assert!(up.stop().success());
    assert_eq!(told["state"], "completed");
    for counted in ["size", "made", "settled"] {
        assert_eq!(told[counted], scale.items, "{counted}");
    }
    // What lost three workers in a row is quarantined: failed, and counted as that.
    let (completed, failed) = (count(site, &id, "completed"), count(site, &id, "failed"));
    assert_eq!(completed + failed, scale.items);
    assert!(failed <= 16 * scale.kills, "{failed} failed: no more than ran at a time can be lost by a kill");
    assert_eq!(site.jobs(&[State::Failed]).len() as u64, failed);
    assert!(site.jobs(&[State::Available, State::Running, State::Scheduled, State::Retryable]).is_empty());
    if scale.leaves_traces {
        let ran = std::fs::read_to_string(site.path().join("ran.log")).unwrap();
        let ran: HashSet<u64> = ran.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(ran.len() as u64 >= completed, "{} of {completed}", ran.len());
    }
    site.check_integrity();
}

fn start(site: &Site) -> Up {
    site.up(["--workers", "2", "--concurrency", "8"])
}

/// Creates a bulk, and gives the id of its parent.
fn create(site: &Site, items: u64, what: &[&str]) -> String {
    let items = items.to_string();
    let mut command = site.taskwright(["bulk", "create", "--size", &items]);
    let printed = command.args(what).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}

fn show(site: &Site, id: &str) -> Value {
    serde_json::from_str(&site.run(["bulk", "show", id, "--json"])).unwrap()
}

fn count(site: &Site, id: &str, what: &str) -> u64 {
    show(site, id)[what].as_u64().unwrap()
}
