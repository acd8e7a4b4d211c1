//! Three nodes fire schedules of a second each, and are killed at random: nothing fires twice, nothing is missed, and while
//! one of them lives nothing is late.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 1,000 schedules and two minutes instead of 200 and a quarter of one.

use std::collections::{BTreeMap, HashSet};
use std::process::{Child, Stdio};
use std::time::Duration;

use taskwright::core::schedule::{Misfire, Overlap};
use taskwright::store::{FiringOutcome, ScheduleKey, ScheduleStore};
use taskwright::{Client, JobId, Schedule, Timestamp, Trigger};

use crate::support::{Dice, Site, now};

const NODES: usize = 3;
/// While a node lives, 99 of 100 firings are made within this much time.
const LAG_P99_MAX: Duration = Duration::from_millis(250);

#[test]
fn nodes_that_are_killed_at_random_fire_each_second_once() {
    fire_under_kills(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn nodes_that_are_killed_at_random_fire_each_second_once_on_postgresql() {
    fire_under_kills(&Site::on_postgres());
}

fn fire_under_kills(site: &Site) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (schedules, lasting) = if is_full { (1_000, 120) } else { (200, 15) };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);

    let keys = register(site, schedules);
    let mut nodes: Vec<Child> = (0..NODES).map(|_| node(site)).collect();
    site.wait_until("a node to live", Duration::from_secs(20), || !site.workers().is_empty());
    let (began, lives_since) = (now(), site.env.now());
    let mut kills = 0;
    while began.elapsed() < Duration::from_secs(lasting) {
        site.pause(Duration::from_millis(500 + dice.below(3_000)));
        // One of them lives at any time: of three, one or two die at once.
        let first = dice.below(NODES as u64) as usize;
        let victims = &[first, (first + 1) % NODES][..1 + usize::from(dice.below(2) == 0)];
        for victim in victims {
            nodes[*victim].kill().unwrap();
            nodes[*victim].wait().unwrap();
            kills += 1;
        }
        site.pause(Duration::from_millis(dice.below(1_000)));
        for victim in victims {
            nodes[*victim] = node(site);
        }
    }
    let until = site.env.now();
    // What was due by then is fired by then.
    site.pause(Duration::from_secs(5));
    for mut node in nodes {
        node.kill().unwrap();
        node.wait().unwrap();
    }

    let all: Vec<_> = keys.iter().map(|(key, _)| fired(site, *key)).collect();
    let jobs: HashSet<JobId> = all.iter().flatten().map(|firing| firing.2).collect();
    assert_eq!(jobs.len(), all.iter().map(Vec::len).sum::<usize>(), "two occurrences, one job");
    all.iter().zip(&keys).for_each(|(fired, (_, registered_at))| check_one(fired, *registered_at, until));
    assert!(kills >= lasting / 5, "{kills} kills");
    // The first schedules are due, again and again, before all are registered and any node lives.
    let while_one_lives = all.iter().flatten().filter(|(due, ..)| *due >= lives_since && *due <= until);
    let mut lags: Vec<Duration> = while_one_lives.map(|(due, at, _)| at.since(*due)).collect();
    // What the history says is what there is: no job less, and none besides.
    assert_eq!(site.jobs(&[]).into_iter().map(|job| job.id).collect::<HashSet<_>>(), jobs);
    lags.sort();
    let p99 = lags[lags.len() * 99 / 100];
    let (p50, most) = (lags[lags.len() / 2], lags[lags.len() - 1]);
    println!(
        "{kills} kills, {} firings, none twice, none missed; lag of {} p50 {p50:?}, p99 {p99:?}, at most {most:?}",
        jobs.len(),
        lags.len()
    );
    if is_full {
        assert!(p99 <= LAG_P99_MAX, "{p99:?}");
    }
    site.check_integrity();
}

/// Schedules of a second each, all of whose missed occurrences are made up for.
fn register(site: &Site, count: usize) -> Vec<(ScheduleKey, Timestamp)> {
    let client = Client::new(site.shared(), site.env.clone());
    site.ask(async |_| {
        let mut keys = Vec::with_capacity(count);
        for n in 0..count {
            let schedule =
                Schedule::builder(format!("tick-{n}").parse().unwrap(), "nobody.runs.this".parse().unwrap())
                    .trigger(Trigger::read("every", "1s", None).unwrap())
                    .misfire(Misfire::all(10_000).unwrap())
                    .overlap(Overlap::Allow)
                    .build()
                    .unwrap();
            client.schedules().put(&schedule).await.unwrap();
            let view = client.schedules().get(&schedule.namespace, &schedule.name).await.unwrap();
            let view = view.unwrap();
            keys.push((view.key, view.created_at));
        }
        keys
    })
}

fn node(site: &Site) -> Child {
    let mut worker = site.taskwright(["worker", "--concurrency", "1"]);
    worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// When each occurrence was due, when it was fired, and the job that it made: all of them.
fn fired(site: &Site, key: ScheduleKey) -> Vec<(Timestamp, Timestamp, JobId)> {
    site.ask(async |store| {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let page = ScheduleStore::firings(store, key, before, 1_000).await.unwrap();
            let Some(last) = page.last() else { return all };
            before = Some(last.number);
            all.extend(page.iter().map(|firing| {
                let FiringOutcome::Fired { job, .. } = firing.outcome else { panic!("skipped: {firing:?}") };
                (firing.due, firing.at, job)
            }));
        }
    })
}

/// Every second from the registration on, each once.
fn check_one(fired: &[(Timestamp, Timestamp, JobId)], registered_at: Timestamp, until: Timestamp) {
    let mut times: BTreeMap<i64, u32> = BTreeMap::new();
    for (due, ..) in fired {
        *times.entry(due.as_micros()).or_default() += 1;
    }
    assert!(times.values().all(|count| *count == 1), "fired twice");
    let dues: Vec<i64> = times.into_keys().filter(|due| *due <= until.as_micros()).collect();
    let first = dues.first().expect("it fired") - registered_at.as_micros();
    assert!((0..=1_000_000).contains(&first), "the first seconds were missed: {first} us");
    let gaps = dues.windows(2).filter(|pair| pair[1] - pair[0] != 1_000_000).count();
    assert_eq!(gaps, 0, "a second was missed");
    let last = *dues.last().expect("it fired");
    assert!(until.as_micros() - last < 1_000_000, "the last seconds were missed");
}
