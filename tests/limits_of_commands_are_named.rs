//! A command task that uses more than it may says so in its error, as an ordinary failure; and `jobs show` tells what each
//! attempt used.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::Site;

const CONFIG: &str = r#"
[workers]
processes = 1
concurrency = 8
budget = { cpu = 2, memory = "1GiB" }

[exec]
max_cpu_time = "400ms"

[tasks.hoards]
command = "sh"
args = ["-c", "(head -c 200m /dev/zero; sleep 600) | tail > /dev/null"]
max_rss = "64MiB"
max_attempts = 2
backoff = "fixed:1ms"

[tasks.spins]
command = "sh"
args = ["-c", "while :; do :; done"]
max_cpu_time = "300ms"
nice = 19
ionice = "idle"
max_attempts = 1

[tasks.writes]
command = "sh"
args = ["-c", "dd if=/dev/zero of=data bs=1M count=8 conv=fsync status=none; rm data"]

[tasks.weighs]
command = "sh"
args = ["-c", "echo + >> log; sleep 0.2; echo - >> log"]
weight = { cpu = 0.75, memory = "300MiB" }
"#;

fn site() -> Site {
    // Build directories may lie on a file system in memory, where nothing is written to storage.
    let site = Site::in_directory(tempfile::tempdir_in("/var/tmp").unwrap());
    std::fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    site
}

fn over(site: &Site, id: &str) -> taskwright::store::JobDetail {
    let id: JobId = id.trim().parse().unwrap();
    site.wait_until("the job's end", Duration::from_secs(60), || site.job(id).view.state.is_terminal());
    site.job(id)
}

#[test]
fn a_limit_that_was_passed_is_named_and_the_job_is_tried_again() {
    let site = site();
    let up = site.up([]);
    let hoards = over(&site, &site.run(["enqueue", "hoards"]));
    assert_eq!((hoards.view.state, hoards.attempts.len()), (State::Failed, 2));
    for attempt in &hoards.attempts {
        let error = attempt.error.as_deref().unwrap();
        assert!(error.starts_with("out of memory (limit 64 MiB, used "), "{error}");
        assert!(error.ends_with("; killed by signal 9 (KILL)"), "{error}");
    }
    let spins = over(&site, &site.run(["enqueue", "spins"]));
    let error = spins.view.error.unwrap();
    assert!(error.starts_with("CPU time limit (0.3 s) exceeded (used "), "{error}");
    let spins = ["enqueue", "exec", "--max-attempts", "1", "--", "sh", "-c", "while :; do :; done"];
    let error = over(&site, &site.run(spins)).view.error.unwrap();
    assert!(error.starts_with("CPU time limit (0.4 s) exceeded (used "), "{error}");
    assert!(up.stop().success());
}

#[test]
fn the_bytes_that_an_attempt_wrote_are_shown() {
    let site = site();
    let up = site.up([]);
    let id = site.run(["enqueue", "writes"]);
    let written = over(&site, &id).attempts[0].usage.unwrap().written_bytes;
    let shown = site.run(["jobs", "show", id.trim()]);
    assert!(shown.contains("WRITTEN"), "{shown}");
    // Where the file system is one in memory, 0 is the right answer.
    assert!(written == 0 || (written >= 8 << 20 && shown.contains("8.0 MiB")), "{written}: {shown}");
    assert!(up.stop().success());
}

#[test]
fn jobs_of_a_task_with_a_weight_run_as_many_at_once_as_the_budget_allows() {
    let site = site();
    for _ in 0..9 {
        site.run(["enqueue", "weighs"]);
    }
    let up = site.up([]);
    site.wait_until("every job", Duration::from_secs(60), || site.jobs(&[State::Completed]).len() == 9);
    let log = std::fs::read_to_string(site.path().join("log")).unwrap();
    let (mut now, mut most) = (0, 0);
    for line in log.lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(most, 2, "two of 0.75 CPU in a budget of 2: {log}");
    assert!(up.stop().success());
}

#[test]
fn config_show_tells_limits_weights_and_the_budget() {
    let site = site();
    assert_eq!(site.run(["config", "check"]), "taskwright.toml: ok, 4 tasks\n");
    let shown = site.run(["config", "show"]);
    for line in [
        "budget     2 CPU, 1 GiB",
        "max CPU time 400 ms",
        "max RSS 64 MiB",
        "nice 19",
        "ionice idle",
        "weighs 0.75 CPU, 300 MiB",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&site.run(["config", "show", "--json"])).unwrap();
    let task = &json["config"]["tasks"]["hoards"];
    assert_eq!(task["limits"]["max_rss"], 64 << 20);
    assert_eq!(json["config"]["workers"]["budget"]["cpu_milli"], 2_000);
}

/// S23: what a worker starts gets no more rights than it has, if the config says so.
#[test]
fn with_no_new_privs_nothing_is_to_be_had_by_sudo() {
    for (config, expected) in [("[workers]\nprocesses = 1\nno_new_privs = true\n", "1"), ("", "0")] {
        let site = Site::new();
        std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
        let up = site.up(["--workers", "1"]);
        let script = "grep NoNewPrivs: /proc/self/status > privs";
        let job = over(&site, &site.run(["enqueue", "exec", "--", "sh", "-c", script]));
        assert_eq!(job.view.state, State::Completed);
        let told = std::fs::read_to_string(site.path().join("privs")).unwrap();
        assert_eq!(told.split_whitespace().last(), Some(expected), "{told}");
        up.stop();
    }
}
