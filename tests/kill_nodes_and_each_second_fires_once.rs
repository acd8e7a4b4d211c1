//! Three nodes fire schedules of a second each, and are killed at random: nothing fires twice, nothing is missed, and while
//! one of them lives nothing is late.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 1,000 schedules and two minutes instead of 200 and a quarter of one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use taskwright::core::schedule::{Misfire, Overlap};
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::store::{Filter, FiringOutcome, Page, ScheduleKey, ScheduleStore, Store};
use taskwright::{Client, Env, JobId, Schedule, Timestamp, Trigger};

use crate::support::{Dice, Site, now};

const NODES: usize = 3;
/// While a node lives, 99 of 100 firings are made within this much time.
const LAG_P99_MAX: Duration = Duration::from_millis(250);

#[test]
fn nodes_that_are_killed_at_random_fire_each_second_once() {
    let site = Site::new();
    let path = site.database();
    fire_under_kills(&site, async move || {
        Arc::new(SqliteStore::open(&path, Options { now: Env::system().now() }).unwrap()) as Arc<dyn Store>
    });
}

#[cfg(feature = "postgres")]
#[test]
fn nodes_that_are_killed_at_random_fire_each_second_once_on_postgresql() {
    use taskwright::store::postgres::{PostgresStore, Settings};

    let site = Site::on_postgres();
    let (url, run) = (site.postgres().url(), site.path().join("watch"));
    fire_under_kills(&site, async move || {
        let settings = Settings::parse(&url).unwrap();
        Arc::new(PostgresStore::open(settings, &run, Env::system().now()).await.unwrap()) as Arc<dyn Store>
    });
}

fn fire_under_kills(site: &Site, watched: impl AsyncFn() -> Arc<dyn Store> + Send + 'static) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (schedules, lasting) = if is_full { (1_000, 120) } else { (200, 15) };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);

    let keys = register(site, schedules);
    let watch = Watch::begin(watched);
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

    let seen = watch.end();
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
    let p99 = |lags: &[Duration]| lags[lags.len() * 99 / 100];
    let tell = |what: &str, lags: &[Duration]| {
        let (p50, most) = (lags[lags.len() / 2], lags[lags.len() - 1]);
        println!("{what} of {}: p50 {p50:?}, p99 {:?}, at most {most:?}", lags.len(), p99(lags));
    };
    println!("{kills} kills, {} firings, none twice, none missed", jobs.len());
    tell("lag until it was decided", &lags);
    // The newest job stands for those that were stored with it.
    let due_of: HashMap<JobId, Timestamp> = all.iter().flatten().map(|(due, _, job)| (*job, *due)).collect();
    let while_one_lives = seen.iter().filter_map(|(job, at)| due_of.get(job).map(|due| (*due, *at)));
    let while_one_lives = while_one_lives.filter(|(due, _)| *due >= lives_since && *due <= until);
    let mut visible: Vec<Duration> = while_one_lives.map(|(due, at)| at.since(due)).collect();
    visible.sort();
    assert!(visible.len() as u64 >= lasting, "{} new jobs were seen in {lasting} s", visible.len());
    tell("lag until somebody who looked every 5 ms saw a new job", &visible);
    if is_full {
        assert!(p99(&lags) <= LAG_P99_MAX && p99(&visible) <= LAG_P99_MAX);
    }
    site.check_integrity();
}

/// Somebody who looks for a new job every 5 ms, on a connection of its own.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(JobId, Timestamp)>>,
}

impl Watch {
    fn begin(open: impl AsyncFn() -> Arc<dyn Store> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // A runtime of its own: that of the site runs only while it is asked something.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (store, env) = (open().await, Env::system());
                let page = Page { after: None, limit: 1, oldest_first: false };
                let mut seen: Vec<(JobId, Timestamp)> = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let newest = store.list(Filter::default(), page).await.unwrap().jobs;
                    if let Some(job) =
                        newest.first().filter(|job| seen.last().is_none_or(|(id, _)| *id != job.id))
                    {
                        seen.push((job.id, env.now()));
                    }
                    env.sleep(Duration::from_millis(5)).await;
                }
                seen
            })
        });
        Self { stop, thread }
    }

    /// Each newest job, and when it was seen first.
    fn end(self) -> Vec<(JobId, Timestamp)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
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
