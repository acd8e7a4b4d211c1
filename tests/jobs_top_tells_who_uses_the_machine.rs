//! `jobs top`, `jobs stats` and `jobs history` tell what real commands did: one burns CPU, one takes memory, one fails, and
//! one still runs.

use std::time::Duration;

use serde_json::Value;
use taskwright::{JobId, State};

use crate::support::Site;

const CONFIG: &str = r#"
[tasks.burner]
command = "sh"
args = ["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]

[tasks.hoarder]
command = "sh"
args = ["-c", "x=$(head -c 60000000 /dev/zero | tr '\\0' x); :"]

[tasks.broken]
command = "false"
max_attempts = 2
backoff = "fixed:1ms"

[tasks.sleeper]
command = "sleep"
args = ["600"]
"#;

#[test]
fn jobs_top_tells_who_uses_the_machine() {
    jobs_top_tells_who_uses_the_machine_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn jobs_top_tells_who_uses_the_machine_on_postgresql() {
    jobs_top_tells_who_uses_the_machine_on(&Site::on_postgres());
}

fn jobs_top_tells_who_uses_the_machine_on(site: &Site) {
    std::fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    let _up = site.up(["--workers", "1"]);
    let enqueue = |kind| -> JobId { site.run(["enqueue", kind]).trim().parse().unwrap() };
    let (burner, hoarder, broken) = (enqueue("burner"), enqueue("hoarder"), enqueue("broken"));
    let sleeper = enqueue("sleeper");
    let is = |id, state| site.job(id).view.state == state;
    site.wait_until("the jobs to be where they should", Duration::from_secs(60), || {
        is(burner, State::Completed)
            && is(hoarder, State::Completed)
            && is(broken, State::Failed)
            && is(sleeper, State::Running)
    });

    let (running, tasks) = top(site, "cpu");
    assert_eq!(running.len(), 1, "{running:?}");
    assert_eq!(running[0]["id"], sleeper.to_string());
    assert!(running[0]["run_us"].as_u64().unwrap() > 0 && running[0]["usage"].is_null(), "{running:?}");
    let of = |kind: &str| tasks.iter().find(|task| task["kind"] == kind).unwrap();
    let used = |kind: &str, what: &str| of(kind)["usage"][what].as_u64().unwrap();
    assert!(used("burner", "cpu_user_us") > used("broken", "cpu_user_us"), "{tasks:?}");
    assert!(used("hoarder", "rss_peak_bytes") > 50_000_000, "{tasks:?}");
    assert!(used("burner", "rss_peak_bytes") < 50_000_000, "{tasks:?}");
    assert_eq!((&of("broken")["executions"], &of("broken")["measured"]), (&2.into(), &2.into()));
    assert_eq!(tasks.len(), 3, "what has not ended is not among what was used: {tasks:?}");

    // Each order is that of its figures.
    for (by, figure) in [("cpu", "cpu"), ("rss", "rss_peak_bytes"), ("time", "run_us"), ("io", "io")] {
        let (_, tasks) = top(site, by);
        let figures: Vec<u64> = tasks.iter().map(|task| figure_of(task, figure)).collect();
        assert!(figures.is_sorted_by(|a, b| a >= b), "--by {by}: {tasks:?}");
    }
    assert_eq!(top(site, "rss").1[0]["kind"], "hoarder");
    let one = lines(&site.run(["jobs", "top", "--by", "rss", "-n", "1", "--json"]));
    let rows: Vec<&str> = one.iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(rows, ["running", "task"]);

    let stats = lines(&site.run(["jobs", "stats", "--kind", "b*", "--json"]));
    let kinds: Vec<&str> = stats.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["broken", "burner"]);
    assert_eq!((&stats[0]["success_rate"], &stats[0]["outcomes"]["failed"]), (&0.0.into(), &2.into()));
    assert_eq!((&stats[1]["success_rate"], &stats[1]["executions"]), (&1.0.into(), &1.into()));
    assert!(stats[1]["run_p95_us"].as_u64().unwrap() > 0 && !stats[1]["wait_p50_us"].is_null(), "{stats:?}");
    assert_eq!(stats[1]["workers"][0]["worker"], site.workers()[0].id.to_string());

    let history = lines(&site.run(["jobs", "history", "--json", "--outcome", "failed"]));
    let attempts: Vec<u64> = history.iter().map(|row| row["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [2, 1]);
    assert!(history.iter().all(|row| row["job"] == broken.to_string() && row["error"].is_string()));
    let of_one = lines(&site.run(["jobs", "history", &burner.to_string(), "--json"]));
    assert_eq!((of_one.len(), &of_one[0]["outcome"]), (1, &"completed".into()));
    let before = lines(&site.run(["jobs", "history", "--until", "1d", "--json"]));
    assert!(before.is_empty(), "{before:?}");
}

/// The two sorts of rows.
fn top(site: &Site, by: &str) -> (Vec<Value>, Vec<Value>) {
    lines(&site.run(["jobs", "top", "--by", by, "--json"]))
        .into_iter()
        .partition(|row| row["row"] == "running")
}

fn figure_of(task: &Value, figure: &str) -> u64 {
    let used = |what: &str| task["usage"][what].as_u64().unwrap_or(0);
    match figure {
        "cpu" => used("cpu_user_us") + used("cpu_system_us"),
        "io" => used("read_bytes") + used("written_bytes"),
        "run_us" => task["run_us"].as_u64().unwrap(),
        other => used(other),
    }
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
