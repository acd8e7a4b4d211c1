//! Very many generators of which most are idle: they are asked no more often for being many, and while what the others make fills
//! every slot that it may, an urgent job starts at once in one that is kept for it.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 1,000 generators and 300 urgent jobs instead of 60 and 10, and holds them to 20 ms.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use taskwright::{Client, Job, Namespace, Priority};

use crate::support::{Site, now, spread};

/// Generators that have something.
const BUSY: usize = 10;
/// 99 of 100 urgent jobs are started within this much time.
const START_P99_MAX: Duration = Duration::from_millis(20);

#[test]
fn many_idle_generators_cost_little_and_an_urgent_job_starts_at_once() {
    ask(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn many_idle_generators_cost_little_and_an_urgent_job_starts_at_once_on_postgresql() {
    ask(&Site::on_postgres());
}

fn ask(site: &Site) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (generators, urgent, idle_for) = if is_full { (1_000, 300, 30) } else { (60, 10, 2) };
    for (name, files) in [("busy", 2_000), ("idle", 0)] {
        fs::create_dir(site.path().join(name)).unwrap();
        (0..files).for_each(|n| fs::write(site.path().join(format!("{name}/{n}")), "x").unwrap());
    }
    let mut config = "[workers]\nreserve = 1\n".to_owned();
    for n in 0..generators {
        let path = if n < BUSY { "busy" } else { "idle" };
        write!(
            config,
            "[generators.g{n}]\ntype = \"directory\"\npath = \"{path}\"\ndebounce = \"0s\"\nrescan = \"1h\"\nwindow = 20\n\
             command = [\"sleep\", \"3\"]\n"
        )
        .unwrap();
    }
    fs::write(site.path().join("taskwright.toml"), config).unwrap();
    let up = site.up(["--workers", "1", "--concurrency", "4"]);
    let limit = Duration::from_secs(60);
    site.wait_until("every generator to be asked", limit, || {
        let polls = polls(site);
        polls.len() == generators && polls.iter().all(|polls| *polls > 0)
    });
    let idle = |polls: &[u64]| polls[BUSY..].iter().sum::<u64>();
    let before = (polls(site), cpu_time(up.pid()), now());
    site.pause(Duration::from_secs(idle_for));
    let asked = idle(&polls(site)) - idle(&before.0);
    let used = (cpu_time(up.pid()) - before.1).as_secs_f64() / before.2.elapsed().as_secs_f64();
    println!(
        "{generators} generators, {BUSY} of them busy: idle ones were asked {asked} times in {idle_for} s, {:.1} % of a core for the duties",
        used * 100.0
    );
    assert_eq!(asked, 0, "their next walk is an hour away");

    let client = Client::new(site.shared(), site.env.clone());
    let mut took = Vec::new();
    for _ in 0..urgent {
        let job = Job::new("exec").args(&serde_json::json!({"command": ["true"]})).unwrap();
        let stored = site.env.now();
        let id = site.ask(async |_| client.enqueue(job.priority(Priority::REALTIME)).await.unwrap().id);
        let over = site.ask(async |_| client.wait(id, Some(limit)).await.unwrap());
        took.push(over.attempts[0].started_at.unwrap().since(stored));
    }
    assert!(site.jobs(&[taskwright::State::Running]).len() >= 3, "the others fill their slots");
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    let (median, most) = spread(took);
    println!(
        "{urgent} urgent jobs were started after {median:?} (median), {p99:?} (99 of 100), {most:?} (at most)"
    );
    if is_full {
        assert!(p99 <= START_P99_MAX, "{p99:?}");
    } else {
        assert!(median < Duration::from_millis(1_500), "{median:?}: they waited for a slot of the others");
    }
    up.kill_all();
}

/// How often each generator was asked.
fn polls(site: &Site) -> Vec<u64> {
    let client = Client::new(site.shared(), site.env.clone());
    let mut views = site.ask(async |_| client.generators().list(Some(&Namespace::default())).await.unwrap());
    // Ours are there, too: collectors, and the one that rolls up.
    let number = |name: &str| name[1..].parse::<u32>().ok();
    views.retain(|view| number(view.definition.name.as_str()).is_some());
    views.sort_unstable_by_key(|view| number(view.definition.name.as_str()));
    views.into_iter().map(|view| view.record.counts.polls).collect()
}

/// What a process has used of the processors, without its children.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    // A tick is 10 ms on Linux.
    Duration::from_millis(
        10 * fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>(),
    )
}
