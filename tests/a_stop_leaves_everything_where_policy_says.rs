//! Four long jobs for each CPU, and a TERM: within the grace and a second nothing runs, what had started is given back or dropped
//! as its policy says, with the reason in its timeline and no cancel, and what had not started waits. The next start runs the rest.
//! (CC-18, CC-19)

use std::path::Path;
use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, now};

/// What the jobs of a test are to become.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    /// As by default.
    GiveBack,
    /// Its delivery is at most once.
    Once,
    /// `on_shutdown = "drop"` of its task.
    Drop,
}

const GRACE: Duration = Duration::from_secs(3);

/// Says that it has started; ends at once if it may, and otherwise never.
const SCRIPT: &str = "touch s-$TASKWRIGHT_JOB_ID; [ -e go ] || exec sleep 600";

#[test]
fn within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest() {
    within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on_postgresql() {
    within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on(&Site::on_postgres());
}

fn within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on(site: &Site) {
    let config = format!(
        "[tasks.dropped]\ncommand = \"sh\"\nargs = [\"-c\", {SCRIPT:?}]\ncwd = {:?}\non_shutdown = \"drop\"\nenv_pass = [\"PATH\"]\n",
        site.path()
    );
    std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let policies = [Policy::GiveBack, Policy::Once, Policy::Drop];
    let jobs: Vec<(JobId, Policy)> = (0..4 * cpus)
        .map(|number| {
            let policy = policies[number % policies.len()];
            let id = match policy {
                Policy::GiveBack => site.run(["enqueue", "exec", "--", "sh", "-c", SCRIPT]),
                Policy::Once => site.run(["enqueue", "exec", "--at-most-once", "--", "sh", "-c", SCRIPT]),
                Policy::Drop => site.run(["enqueue", "dropped"]),
            };
            (id.trim().parse().unwrap(), policy)
        })
        .collect();
    let has_started = |id: JobId| Path::new(&site.path().join(format!("s-{id}"))).exists();
    let workers = cpus.to_string();
    let grace = format!("{}s", GRACE.as_secs());
    // Half of them run.
    let up = site.up(["--workers", &workers, "--concurrency", "2", "--grace", &grace]);
    site.wait_until("half of the jobs to run", Duration::from_secs(20), || {
        jobs.iter().filter(|(id, _)| has_started(*id)).count() == 2 * cpus
    });

    let began = now();
    assert!(up.stop().success());
    let took = began.elapsed();
    assert!(took <= GRACE + Duration::from_secs(1), "it took {took:?}");
    for (id, policy) in &jobs {
        let job = site.job(*id);
        let timeline = format!("{policy:?} {:?}", job.timeline);
        assert!(!job.view.cancel_requested, "dropping is no cancelling: {timeline}");
        let reason = job.timeline.last().and_then(|entry| entry.reason.clone()).unwrap_or_default();
        if has_started(*id) && *policy != Policy::GiveBack {
            assert_eq!((job.view.state, job.attempts.len()), (State::Dropped, 1), "{timeline}");
            assert!(reason.contains("the worker stops"), "{timeline}");
            let why = if *policy == Policy::Once { "must not run twice" } else { "on_shutdown is drop" };
            assert!(reason.contains(why), "{timeline}");
        } else {
            assert_eq!((job.view.state, job.view.attempt), (State::Available, 0), "{timeline}");
            assert!(job.attempts.is_empty(), "{timeline}");
        }
    }
    let dropped: Vec<JobId> = site.jobs(&[State::Dropped]).iter().map(|job| job.id).collect();
    assert!(!dropped.is_empty() && dropped.len() < 2 * cpus, "{}", dropped.len());

    std::fs::write(site.path().join("go"), "").unwrap();
    let again = site.up(["--workers", "2", "--concurrency", "4"]);
    site.wait_until("the rest to run", Duration::from_secs(20), || {
        site.jobs(&[State::Completed]).len() + dropped.len() == jobs.len()
    });
    for (id, _) in jobs.iter().filter(|(id, _)| !dropped.contains(id)) {
        assert_eq!(site.job(*id).view.attempt, 1, "no attempt was spent by the stop");
    }
    assert!(again.stop().success());
}
