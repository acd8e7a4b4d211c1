//! Four long jobs for each CPU, and a TERM: within the grace and a second nothing runs, what had started is given back or dropped
//! as its policy says, with the reason in its timeline and no cancel, and what had not started waits. The next start runs the rest.
//! (CC-18, CC-19: the one server on SQLite, and one of three on one PostgreSQL, where the others run on and are asked.)

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskwright::{JobId, State};

use crate::node::{Node, SOON, gated, open, stop_all};
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
fn within_the_grace_and_a_second_nothing_runs_on_one_of_three_nodes_and_the_others_run_on() {
    within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on(&Site::on_postgres());
}

fn within_the_grace_and_a_second_nothing_runs_and_the_next_start_runs_the_rest_on(site: &Site) {
    let config = format!(
        "[workers]\nqueues = [\"default\"]\n[tasks.dropped]\ncommand = \"sh\"\nargs = [\"-c\", {SCRIPT:?}]\ncwd = {:?}\n\
         on_shutdown = \"drop\"\nenv_pass = [\"PATH\"]\n",
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
    let others = Others::start(site);
    let workers = cpus.to_string();
    let grace = format!("{}s", GRACE.as_secs());
    // Half of them run.
    let up = site.up(["--workers", &workers, "--concurrency", "2", "--grace", &grace]);
    site.wait_until("half of the jobs to run", SOON, || {
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
        others.tell(&job.view.id, job.view.state, &reason);
    }
    others.run_on();
    let dropped: Vec<JobId> = site.jobs(&[State::Dropped]).iter().map(|job| job.id).collect();
    assert!(!dropped.is_empty() && dropped.len() < 2 * cpus, "{}", dropped.len());

    open(site, "go");
    let again = site.up(["--workers", "2", "--concurrency", "4"]);
    site.wait_until("the rest to run", SOON, || {
        let completed = site.jobs(&[State::Completed]);
        jobs.iter().filter(|(id, _)| completed.iter().any(|job| job.id == *id)).count() + dropped.len()
            == jobs.len()
    });
    for (id, _) in jobs.iter().filter(|(id, _)| !dropped.contains(id)) {
        assert_eq!(site.job(*id).view.attempt, 1, "no attempt was spent by the stop");
    }
    others.end(site);
    assert!(again.stop().success());
}

/// The other two of three nodes, each with a job of its own that runs meanwhile; nobody, where there is one node.
struct Others(Vec<(Node, JobId)>);

impl Others {
    fn start(site: &Site) -> Self {
        let queues: &[&str] = if site.is_on_server() { &["second", "third"] } else { &[] };
        let start = |queue: &&str| {
            let node = Node::start(site, &[*queue]);
            let id = node.submit(gated(site, queue, "others-go", "true"));
            node.wait_for(site, id, State::Running);
            (node, id)
        };
        Self(queues.iter().map(start).collect())
    }

    /// Each of them tells the same of a job of the one that was stopped.
    fn tell(&self, id: &JobId, state: State, reason: &str) {
        for (node, _) in &self.0 {
            let told = node.job(*id);
            assert_eq!(
                (&told["state"], &told["cancel_requested"]),
                (&json!(state.to_string()), &json!(false))
            );
            let last = told["timeline"]
                .as_array()
                .and_then(|all| all.last())
                .map_or(&Value::Null, |last| &last["reason"]);
            assert_eq!(last.as_str().unwrap_or_default(), reason, "{told}");
        }
    }

    /// What they run was not touched.
    fn run_on(&self) {
        for (node, id) in &self.0 {
            assert_eq!(node.count(&format!("state=running&id={id}&{}", node.runs())), 1);
        }
    }

    fn end(self, site: &Site) {
        open(site, "others-go");
        let (nodes, ids): (Vec<Node>, Vec<JobId>) = self.0.into_iter().unzip();
        for id in ids {
            nodes[0].wait_for(site, id, State::Completed);
            assert_eq!(site.job(id).view.attempt, 1);
        }
        stop_all(nodes);
    }
}
