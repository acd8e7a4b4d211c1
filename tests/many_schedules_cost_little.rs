//! Very many schedules: those that are due at once become jobs at once, and those that are not cost nothing.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 100,000 schedules of which 10,000 are due in one second, and prints how long these took and
//! what an idle `up` used; otherwise it is a tenth of each, and no time is looked at.

use std::time::Duration;

use taskwright::{Client, Schedule, State, Timestamp, Trigger};

use crate::support::{Site, now};

/// An idle `up` uses less than this share of a core.
const IDLE_CORE_MAX: f64 = 0.01;
/// Until all that is due at once has become jobs.
const DUE_MAX: Duration = Duration::from_secs(2);

#[test]
fn what_is_due_at_once_becomes_jobs_at_once_among_very_many() {
    become_jobs(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn what_is_due_at_once_becomes_jobs_at_once_among_very_many_on_postgresql() {
    become_jobs(&Site::on_postgres());
}

fn become_jobs(site: &Site) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (all, at_once) = if is_full { (100_000, 10_000) } else { (10_000, 1_000) };
    // Time to register them, and to look at an `up` that has nothing to do.
    let due = site.env.now().plus(Duration::from_secs(if is_full { 180 } else { 40 }));
    let later = |n: u64| due.plus(Duration::from_secs(3_600 + n % 80_000));
    let schedules: Vec<Schedule> =
        (0..all).map(|n| schedule(n, if n < at_once { due } else { later(n) })).collect();
    let began = now();
    let client = Client::new(site.shared(), site.env.clone());
    site.ask(async |_| client.schedules().put_all(&schedules).await.unwrap());
    println!("{all} schedules registered in {:?}", began.elapsed());

    let up = site.up(["--workers", "1", "--concurrency", "1"]);
    site.pause(Duration::from_secs(3));
    let before = (cpu_time(up.pid()), now());
    site.pause(Duration::from_secs(if is_full { 30 } else { 2 }));
    let used = (cpu_time(up.pid()) - before.0).as_secs_f64() / before.1.elapsed().as_secs_f64();
    let left = due.since(site.env.now());
    assert!(!left.is_zero(), "the registration took too long");
    assert_eq!(site.jobs(&[]).len(), 0);
    site.pause(left);
    let jobs = |site: &Site| site.jobs(&[State::Available]).len() as u64;
    site.wait_until("all to become jobs", Duration::from_secs(60), || jobs(site) >= at_once);
    // When somebody sees them all, and not when it was decided to make them.
    let took = site.env.now().since(due);
    println!("idle up: {:.2} % of a core; {at_once} due at once were jobs after {took:?}", used * 100.0);
    if is_full {
        assert!(used < IDLE_CORE_MAX && took <= DUE_MAX);
    }
    site.pause(Duration::from_secs(1));
    assert_eq!(jobs(site), at_once, "each once, and no other");
    assert!(up.stop().success());
}

fn schedule(n: u64, due: Timestamp) -> Schedule {
    Schedule::builder(format!("once-{n}").parse().unwrap(), "nobody.runs.this".parse().unwrap())
        .trigger(Trigger::read("at", &due.to_string(), None).unwrap())
        .build()
        .unwrap()
}

/// What a process has used of the processors, with its children.
fn cpu_time(pid: u32) -> Duration {
    let ticks = |pid: u32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    let all = ticks(pid) + crate::support::children_of(pid).into_iter().map(ticks).sum::<u64>();
    // A tick is 10 ms on Linux.
    Duration::from_millis(all * 10)
}
