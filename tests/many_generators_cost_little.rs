//! Very many generators of which most are idle: they are asked no more often for being many, and while bulk jobs and collectors
//! have all that they may have, an urgent job starts at once in the slot that is kept for it.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 1,000 generators and 300 urgent jobs instead of 60 and 10, prints the figures, and holds the start
//! to 20 ms.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use taskwright::store::NewEvent;
use taskwright::{Args, Client, Job, Namespace, Priority};

use crate::support::{Site, Up, now, spread};

/// Generators that have something.
const BUSY: usize = 10;
/// What an idle one rests: as long as generators do at most unless told otherwise.
const IDLE_S: usize = 300;
/// 99 of 100 urgent jobs are started within this much time.
const START_P99_MAX: Duration = Duration::from_millis(20);
/// What very many idle generators may add to what the duties use, of a core.
const IDLE_CORE_MAX: f64 = 0.05;

#[test]
fn many_idle_generators_cost_little_and_an_urgent_job_starts_at_once() {
    ask(&Site::new, "");
}

#[cfg(feature = "postgres")]
#[test]
fn many_idle_generators_cost_little_and_an_urgent_job_starts_at_once_on_postgresql() {
    ask(&Site::on_postgres, " on PostgreSQL");
}

fn ask(site: &dyn Fn() -> Site, on: &str) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (generators, idle_for) = if is_full { (1_000, 60) } else { (60, 2) };
    let (_, up, few) = idle(&site(), 2 * BUSY, idle_for);
    up.kill_all();
    let site = site();
    let (asked, up, many) = idle(&site, generators, idle_for);
    println!(
        "{generators} generators{on}, {BUSY} of them busy: idle ones were asked {asked} times in {idle_for} s; \
         the duties used {:.1} % of a core, and {:.1} % where there were {}",
        many * 100.0,
        few * 100.0,
        2 * BUSY
    );
    let expected = (generators - BUSY) * idle_for as usize / IDLE_S;
    assert!(
        asked as usize <= 2 * expected + generators / 20,
        "they were asked {asked} times, about {expected} was expected"
    );
    if is_full {
        assert!(many <= few + IDLE_CORE_MAX, "{many} beside {few} of a core");
    }
    urgent(&site, is_full, on);
    up.kill_all();
}

/// An `up` with so many generators; how often the idle ones were asked in so many seconds, and what it used of a core.
fn idle(site: &Site, generators: usize, for_s: u64) -> (u64, Up, f64) {
    for (name, files) in [("busy", 2_000), ("idle", 0)] {
        fs::create_dir(site.path().join(name)).unwrap();
        (0..files).for_each(|n| fs::write(site.path().join(format!("{name}/{n}")), "x").unwrap());
    }
    let mut config = "[workers]\nreserve = 1\n[retention]\nevents = \"0s\"\n".to_owned();
    for n in 0..generators {
        let (path, rescan_s) = if n < BUSY { ("busy", 60) } else { ("idle", IDLE_S) };
        write!(
            config,
            "[generators.g{n}]\ntype = \"directory\"\npath = \"{path}\"\ndebounce = \"0s\"\nrescan = \"{rescan_s}s\"\nwindow = 20\n\
             command = [\"sleep\", \"3\"]\n"
        )
        .unwrap();
    }
    fs::write(site.path().join("taskwright.toml"), config).unwrap();
    let up = site.up(["--workers", "1", "--concurrency", "4"]);
    site.wait_until("every generator to be asked", Duration::from_secs(60), || {
        let polls = polls(site);
        polls.len() == generators && polls.iter().all(|polls| *polls > 0)
    });
    let asked = || polls(site)[BUSY..].iter().sum::<u64>();
    let before = (asked(), cpu_time(up.pid()), now());
    site.pause(Duration::from_secs(for_s));
    let used = (cpu_time(up.pid()) - before.1).as_secs_f64() / before.2.elapsed().as_secs_f64();
    (asked() - before.0, up, used)
}

/// Has urgent jobs started while a bulk and the files have all other slots, and a collector has events to remove.
fn urgent(site: &Site, is_full: bool, on: &str) {
    let (urgent, events) = if is_full { (300, 400) } else { (10, 5) };
    let bulk = ["bulk", "create", "exec", "--size", "1000000", "--args", r#"{"command": ["sleep", "0.05"]}"#];
    site.run(bulk);
    let client = Client::new(site.shared(), site.env.clone());
    let event = || NewEvent {
        id: site.env.event_id(),
        namespace: Namespace::default(),
        topic: "noise".parse().unwrap(),
        key: None,
        payload: Args::of(&0).unwrap(),
    };
    for _ in 0..events {
        let batch = (0..1_000).map(|_| event()).collect();
        site.ask(async |store| store.emit(site.env.now(), batch).await.unwrap());
    }
    let removed = || {
        let collected = site.run(["gc", "show", "events", "--json"]);
        let view: serde_json::Value = serde_json::from_str(&collected).unwrap();
        view["removed"].as_u64().unwrap_or_default()
    };
    // Delivering them is another matter.
    site.wait_until("the events to be delivered", Duration::from_secs(120), || {
        site.ask(async |store| store.undelivered(1).await.unwrap()).is_empty()
    });
    let collect = || {
        let collector = "gc:events".parse().unwrap();
        site.ask(async |_| client.generators().notify(&Namespace::default(), &collector).await.unwrap());
    };
    let before = removed();
    let mut took = Vec::new();
    for n in 0..urgent {
        // It rests when it has found nothing that was delivered yet.
        if n % 10 == 0 {
            collect();
        }
        let job = Job::new("exec").args(&serde_json::json!({"command": ["true"]})).unwrap();
        let stored = site.env.now();
        let id = site.ask(async |_| client.enqueue(job.priority(Priority::REALTIME)).await.unwrap().id);
        let over = site.ask(async |_| client.wait(id, Some(Duration::from_secs(60))).await.unwrap());
        took.push(over.attempts[0].started_at.unwrap().since(stored));
    }
    let collected = removed() - before;
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    let (median, most) = spread(took);
    println!(
        "{urgent} urgent jobs{on} were started after {median:?} (median), {p99:?} (99 of 100), {most:?} (at most), \
         while {collected} events were collected"
    );
    assert!(site.jobs(&[taskwright::State::Available]).len() >= 10, "more waits than there are slots");
    if is_full {
        assert!(collected > 10_000, "the collector had nothing to do");
        assert!(p99 <= START_P99_MAX, "{p99:?}");
    } else {
        assert!(median < Duration::from_millis(1_500), "{median:?}: they waited for a slot of the others");
    }
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
