//! What the tests of `CodeChecker` check of its background tasks (CC-1 to CC-19), and what they should have (CC-X1 to CC-X10), against
//! real servers: one `up` on SQLite, and three on one PostgreSQL. The ids are those of `lineage.md`.
//!
//! Elsewhere: CC-7, CC-8, CC-11 and CC-17, and what of the others needs callers who are known, in `codechecker_roles.rs`; CC-18 and CC-19 in `a_stop_leaves_everything_where_policy_says.rs`; CC-X6 in `stop_of_up_is_polite_then_final.rs`; the
//! outage of CC-X5 in `store_outages_are_survived.rs` of the runtime.

use std::time::Duration;

use serde_json::{Value, json};
use taskwright::{JobId, State, Timestamp, WorkerId};

use crate::caller::Caller;
use crate::support::{Site, Up, lives, signal};

const SOON: Duration = Duration::from_secs(20);

/// A server, and where it answers.
struct Node {
    up: Up,
    address: String,
    /// Its workers.
    workers: Vec<WorkerId>,
}

impl Node {
    /// Starts one whose workers serve one queue, if it is named.
    fn start(site: &Site, queue: Option<&str>, variables: &[(&str, &str)]) -> Self {
        let before: Vec<WorkerId> = site.workers().iter().map(|worker| worker.id).collect();
        let mut command = site.taskwright(["up", "--workers", "1", "--concurrency", "4"]);
        if let Some(queue) = queue {
            let file = site.path().join(format!("{queue}.toml"));
            std::fs::write(&file, format!("[workers]\nqueues = [\"{queue}\"]\n")).unwrap();
            command.arg("--config").arg(file);
        }
        command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
        let up = site.start_until(&mut command, "http     http://");
        let address = up.last_line().rsplit_once("http://").unwrap().1.to_owned();
        up.wait_for_line("Ctrl-C stops it");
        let mut workers = Vec::new();
        site.wait_until("its worker", SOON, || {
            let new = site.workers().into_iter().map(|worker| worker.id).filter(|id| !before.contains(id));
            workers = new.collect();
            !workers.is_empty()
        });
        Self { up, address, workers }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, text) = Caller::new(&self.address, false).ask(method, path, &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn submit(&self, job: Value) -> JobId {
        let (status, stored) = self.ask("POST", "/api/v1/jobs", Some(job));
        assert_eq!(status, 201, "{stored}");
        stored["id"].as_str().unwrap().parse().unwrap()
    }

    /// The jobs that a filter lists.
    fn list(&self, filter: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/jobs?limit=100&{filter}"));
        answer["items"].as_array().unwrap().clone()
    }

    fn count(&self, filter: &str) -> usize {
        self.list(filter).len()
    }

    /// What runs on it now, as a filter.
    fn runs(&self) -> String {
        self.workers.iter().map(|id| format!("worker={id}")).collect::<Vec<_>>().join("&")
    }

    /// What runs on it now, or ran on it last, as a filter.
    fn ran(&self) -> String {
        self.workers.iter().map(|id| format!("last_worker={id}")).collect::<Vec<_>>().join("&")
    }
}

/// A command that ends when it may, in its queue.
fn gated(site: &Site, queue: &str, gate: &str, then: &str) -> Value {
    let script = format!("touch started-{gate}; until [ -e {gate} ]; do sleep 0.02; done; {then}");
    json!({
        "kind": "exec", "queue": queue, "max_attempts": 1,
        "args": { "command": ["sh", "-c", script], "cwd": site.path() },
    })
}

fn open(site: &Site, gate: &str) {
    std::fs::write(site.path().join(gate), "").unwrap();
}

fn wait_for(site: &Site, id: JobId, state: State) {
    site.wait_until(&format!("{id} to be {state}"), SOON, || site.job(id).view.state == state);
}

#[test]
fn cc_1_to_17_one_node() {
    let site = Site::new();
    let node = Node::start(&site, None, &[]);
    cc_1_to_17(&site, &[&node, &node, &node]);
    assert!(node.up.stop().success());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_1_to_17_three_nodes() {
    let site = Site::on_postgres();
    let nodes = ["manager", "unprivileged", "privileged"].map(|queue| Node::start(&site, Some(queue), &[]));
    cc_1_to_17(&site, &nodes.each_ref());
    for node in nodes {
        assert!(node.up.stop().success());
    }
}

/// The nodes are its `workspace-manager`, `unprivileged` and `privileged`; each can be asked for any job.
fn cc_1_to_17(site: &Site, &[manager, unprivileged, privileged]: &[&Node; 3]) {
    let several = !std::ptr::eq(manager, privileged);
    let before = site.env.now();

    // CC-1: what runs on one node is seen from another.
    let first = unprivileged.submit(gated(site, "unprivileged", "one", "true"));
    wait_for(site, first, State::Running);
    let seen = manager.get(&format!("/api/v1/jobs/{first}"));
    assert_eq!(seen["state"], "running");
    assert_eq!(
        (&seen["id"], &seen["namespace"], &seen["owner"]),
        (&json!(first), &json!("default"), &Value::Null)
    );
    assert_eq!((&seen["kind"], &seen["cancel_requested"]), (&json!("exec"), &json!(false)));

    // CC-2: its times are in order.
    open(site, "one");
    wait_for(site, first, State::Completed);
    let done = manager.get(&format!("/api/v1/jobs/{first}"));
    assert_eq!((&done["state"], &done["cancel_requested"]), (&json!("completed"), &json!(false)));
    times_are_in_order(site, first);

    // CC-3
    let second = unprivileged.submit(gated(site, "unprivileged", "two", "exit 1"));
    wait_for(site, second, State::Running);
    open(site, "two");
    wait_for(site, second, State::Failed);
    assert_eq!(privileged.get(&format!("/api/v1/jobs/{second}"))["cancel_requested"], false);

    // CC-4: the first request is the one that counts, wherever it is made.
    let third = unprivileged.submit(gated(site, "unprivileged", "never", "true"));
    wait_for(site, third, State::Running);
    let cancel = |node: &Node| {
        let body = json!({ "reason": "User requested cancellation." });
        node.ask("POST", &format!("/api/v1/jobs/{third}/cancel"), Some(body))
    };
    let (status, became) = cancel(privileged);
    assert_eq!((status, &became["result"]), (200, &json!("requested")), "{became}");
    // CC-5
    let (_, became) = cancel(manager);
    assert_ne!(became["result"], "requested", "{became}");
    // CC-6
    wait_for(site, third, State::Cancelled);
    let job = site.job(third);
    let told = format!("{:?}", job.timeline);
    let asked = "cancel requested: User requested cancellation.";
    let asked = job.timeline.iter().find(|entry| entry.reason.as_deref() == Some(asked));
    let actor = asked.unwrap_or_else(|| panic!("{told}")).actor.to_string();
    assert!(!actor.is_empty() && actor != "system", "{told}");
    assert!(
        job.view.error.as_deref().is_some_and(|error| error.contains(&actor)),
        "{:?}: {told}",
        job.view.error
    );
    times_are_in_order(site, third);

    // CC-9
    let states = |node: &Node| {
        let mut states: Vec<String> =
            node.list("").iter().map(|job| job["state"].as_str().unwrap().to_owned()).collect();
        states.sort();
        states
    };
    assert_eq!(states(manager), ["cancelled", "completed", "failed"]);
    assert_eq!(states(manager), states(privileged));

    // CC-10: its machines are the servers, which are told apart by their workers. They are all on one host.
    let host = manager.list("")[0]["host"].as_str().unwrap().to_owned();
    assert_eq!((manager.count("host=no-such-machine"), manager.count(&format!("host={host}"))), (0, 3));
    assert_eq!(manager.count(&format!("last_worker={}", site.env.worker_id())), 0);
    assert_eq!(manager.count(&unprivileged.ran()), 3);
    if several {
        assert_eq!((manager.count(&privileged.ran()), manager.count(&manager.ran())), (0, 0));
    }
    assert_eq!(manager.count(&unprivileged.runs()), 0, "they run there no more");

    // CC-12: bounds are inclusive.
    let now = site.env.now();
    for (what, job) in
        [("", &done["created_at"]), ("claimed_", &done["claimed_at"]), ("ended_", &done["ended_at"])]
    {
        let count = |query: String| manager.count(&query);
        let (until, since) = (count(format!("{what}before={now}")), count(format!("{what}after={now}")));
        assert_eq!((until, since), (3, 0), "{what}");
        let at = job.as_str().unwrap();
        assert_eq!(count(format!("{what}after={at}&{what}before={at}")), 1, "{what} {at}");
        assert_eq!(count(format!("{what}before={before}")), 0, "{what}");
    }

    // CC-13: the submitter has read none of them; listings and looks by others are no reading.
    assert_eq!((manager.count("cancel_requested=true"), manager.count("cancel_requested=false")), (1, 2));
    assert_eq!(manager.count("cancel_requested=true&state=cancelled"), 1);
    assert_eq!((manager.count("consumed=false"), manager.count("consumed=true")), (3, 0));

    // CC-14: two more without an owner on one node, two of admin's on the other, one of each to fail.
    let since = site.env.now();
    let mut more = Vec::new();
    for (node, queue, owner) in
        [(unprivileged, "unprivileged", None), (privileged, "privileged", Some("admin"))]
    {
        for then in ["true", "exit 1"] {
            let mut job = gated(site, queue, "more", then);
            job["owner"] = json!(owner);
            more.push(node.submit(job));
        }
    }
    assert_eq!(manager.count(""), 7);
    let after = format!("after={since}");
    assert_eq!(manager.count(&after), 4);
    for id in &more {
        wait_for(site, *id, State::Running);
    }
    // CC-15: what has started is found at once by all conditions together, and what has ended once it has.
    let started = format!("{after}&claimed_after={since}");
    let ended = format!("{started}&ended_after={since}");
    assert_eq!((manager.count(&format!("{started}&state=running&kind=exec")), manager.count(&ended)), (4, 0));
    if several {
        for node in [unprivileged, privileged] {
            assert_eq!(manager.count(&format!("{after}&{}", node.runs())), 2);
        }
    }
    open(site, "more");
    for id in &more {
        site.wait_until("it to end", SOON, || site.job(*id).view.state.is_terminal());
    }
    for (filter, count) in [
        ("", 4),
        ("state=completed", 2),
        ("state=failed", 2),
        ("cancel_requested=true", 0),
        ("consumed=true", 0),
    ] {
        assert_eq!(manager.count(&format!("{ended}&{filter}")), count, "{filter}");
    }
    // CC-14: each of the two has run two of them.
    if several {
        for node in [unprivileged, privileged] {
            assert_eq!(manager.count(&format!("{after}&{}", node.ran())), 2);
        }
    }
    for (filter, count) in [
        ("queue=unprivileged", 2),
        ("queue=privileged", 2),
        ("queue=privileged&queue=unprivileged", 4),
        ("no_owner=true", 2),
        ("owner=admin", 2),
        ("owner=root", 0),
        ("owner=root&owner=admin", 2),
        ("state=completed", 2),
        ("state=failed", 2),
        ("state=cancelled", 0),
        ("consumed=true", 0),
        ("owner=admin&state=failed&queue=privileged&kind=exec", 1),
    ] {
        let filter = format!("{after}&{filter}");
        assert_eq!(manager.count(&filter), count, "{filter}");
    }
    // CC-16: a star is anything, in letters of either case.
    let machine = format!("host=*{}", host[1..].to_uppercase());
    for filter in [machine.as_str(), "queue=*privileged", "kind=*XE*", "queue=UN*&queue=P*"] {
        assert_eq!(manager.count(filter), 7, "{filter}");
    }
}

fn times_are_in_order(site: &Site, id: JobId) {
    let job = site.job(id);
    let started = job.attempts.last().and_then(|attempt| attempt.started_at).unwrap();
    let ended = job.view.ended_at.unwrap();
    assert!(job.view.created_at <= started && started < ended, "{:?}", job.timeline);
}

#[test]
fn cc_x1_what_was_killed_with_its_server_is_recovered_at_once_by_the_next() {
    cc_x1(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x1_what_was_killed_with_its_server_is_recovered_at_once_by_the_next_on_postgresql() {
    cc_x1(&Site::on_postgres());
}

/// `CodeChecker` drops everything with a comment about the predecessor. Here what may run again does so, at once, however long the
/// lease is; what must not is dropped, with the reason.
fn cc_x1(site: &Site) {
    let start = || site.up(["--workers", "1", "--concurrency", "2", "--lease", "10m"]);
    let up = start();
    let script = "echo $TASKWRIGHT_ATTEMPT >> ran-$TASKWRIGHT_JOB_ID; [ -e go ] || exec sleep 600";
    let enqueue = |once: bool| -> JobId {
        let printed = match once {
            true => site.run(["enqueue", "exec", "--at-most-once", "--", "sh", "-c", script]),
            false => site.run(["enqueue", "exec", "--", "sh", "-c", script]),
        };
        printed.trim().parse().unwrap()
    };
    let (runs, once) = (enqueue(false), enqueue(true));
    let ran = |id: JobId| std::fs::read_to_string(site.path().join(format!("ran-{id}"))).unwrap_or_default();
    site.wait_until("both to run", SOON, || !ran(runs).is_empty() && !ran(once).is_empty());
    let waits = enqueue(false);
    up.kill_all();
    open(site, "go");

    let again = start();
    let took = site.wait_until("the rest to complete", SOON, || site.jobs(&[State::Completed]).len() == 2);
    assert!(took < Duration::from_secs(5), "{took:?}: by the end of a lease it would be 10 min");
    assert_eq!((ran(runs).as_str(), ran(waits).as_str()), ("1\n2\n", "1\n"));
    let dropped = site.job(once);
    assert_eq!((dropped.view.state, dropped.view.cancel_requested), (State::Dropped, false));
    let reason = dropped.timeline.last().and_then(|entry| entry.reason.clone()).unwrap_or_default();
    assert!(reason.contains("lost"), "{reason}");
    assert_eq!(ran(once), "1\n");
    assert!(again.stop().success());
}

#[test]
fn cc_x2_a_killed_worker_is_replaced_within_a_second_and_its_job_runs_again() {
    let site = Site::new();
    let up = site.up(["--workers", "1"]);
    let script = "touch r-$TASKWRIGHT_ATTEMPT; [ $TASKWRIGHT_ATTEMPT = 2 ] || exec sleep 600";
    let id: JobId = site.run(["enqueue", "exec", "--", "sh", "-c", script]).trim().parse().unwrap();
    site.wait_until("it to run", SOON, || site.path().join("r-1").exists());
    let before = up.worker_pids();
    signal(before[0], "KILL");
    let took = site.wait_until("another worker", SOON, || {
        let now = up.worker_pids();
        now.len() == 1 && now != before && lives(now[0])
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    wait_for(&site, id, State::Completed);
    assert_eq!(site.job(id).attempts.len(), 2);
    assert!(up.stop().success());
}

#[test]
fn cc_x3_and_x4_a_cancel_ends_what_waits_and_asks_what_runs() {
    cc_x3_and_x4(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x3_and_x4_a_cancel_ends_what_waits_and_asks_what_runs_on_postgresql() {
    cc_x3_and_x4(&Site::on_postgres());
}

fn cc_x3_and_x4(site: &Site) {
    // CC-X3: nobody runs it yet.
    let accepts = Node::start_without_workers(site);
    let waits = accepts
        .submit(json!({ "kind": "exec", "args": { "command": ["touch", "ran"], "cwd": site.path() } }));
    let (_, became) = accepts.ask("POST", &format!("/api/v1/jobs/{waits}/cancel"), Some(json!({})));
    assert_eq!(became["result"], "done", "{became}");
    assert_eq!(accepts.get(&format!("/api/v1/jobs/{waits}"))["state"], "cancelled");
    assert!(accepts.up.stop().success());
    let node = Node::start(site, None, &[]);
    // CC-X4: it hears the request, and completes all the same.
    let script = "trap 'touch heard' TERM; touch started; until [ -e heard ]; do sleep 0.02; done; exit 0";
    let deaf = json!({ "kind": "exec", "args": { "command": ["sh", "-c", script], "cwd": site.path() } });
    let ignores = node.submit(deaf);
    site.wait_until("it to run", SOON, || site.path().join("started").exists());
    node.ask("POST", &format!("/api/v1/jobs/{ignores}/cancel"), Some(json!({})));
    wait_for(site, ignores, State::Completed);
    let timeline = site.job(ignores).timeline;
    let was_asked = timeline.iter().any(|entry| entry.reason.as_deref() == Some("cancel requested"));
    assert!(was_asked, "that it was asked stays to be seen: {timeline:?}");
    assert_eq!(node.get(&format!("/api/v1/jobs/{ignores}"))["cancel_requested"], true);
    assert_eq!(
        (node.count("cancel_requested=true&state=completed"), node.count("cancel_requested=true")),
        (1, 2)
    );
    assert!(!site.path().join("ran").exists(), "what was cancelled before its start never ran");
    assert!(site.job(waits).attempts.is_empty());
    assert!(node.up.stop().success());
}

#[test]
fn cc_x5_what_a_task_says_when_it_fails_is_kept() {
    let site = Site::new();
    let node = Node::start(&site, None, &[]);
    let id = node.submit(gated(&site, "default", "go", "echo 'no such mailbox' >&2; exit 3"));
    open(&site, "go");
    wait_for(&site, id, State::Failed);
    let told = node.get(&format!("/api/v1/jobs/{id}"));
    assert!(told["error"].as_str().unwrap().contains("no such mailbox"), "{told}");
    let log = node.get(&format!("/api/v1/jobs/{id}/logs"));
    assert!(log["items"][0]["text"].as_str().unwrap().contains("no such mailbox"), "{log}");
    assert!(node.up.stop().success());
}

#[test]
fn cc_x7_a_server_in_another_time_zone_tells_the_right_times() {
    let site = Site::new();
    let node = Node::start(&site, None, &[("TZ", "America/Regina")]);
    let before = site.env.now();
    let id = node.submit(json!({ "kind": "exec", "args": { "command": ["true"] } }));
    wait_for(&site, id, State::Completed);
    let after = site.env.now();
    let told = node.get(&format!("/api/v1/jobs/{id}"));
    for field in ["created_at", "ended_at"] {
        let text = told[field].as_str().unwrap();
        let time: Timestamp = text.parse().unwrap();
        assert!(
            text.ends_with('Z') && before <= time && time <= after,
            "{field} {text}: {before} to {after}"
        );
    }
    assert_eq!(node.count(&format!("after={before}&before={after}")), 1);
    assert!(node.up.stop().success());
}

#[test]
fn cc_x8_and_x9_what_means_nothing_is_nothing_and_never_more() {
    let site = Site::new();
    let node = Node::start(&site, None, &[]);
    let id = node.submit(gated(&site, "default", "go", "true"));
    wait_for(&site, id, State::Running);
    // CC-X8: a name that nothing has, and a condition that there is not.
    for filter in ["queue=no-such", "namespace=no-such", "owner=nobody", "kind=no.such"] {
        assert_eq!(node.count(filter), 0, "{filter}");
    }
    let (status, _) = node.ask("GET", "/api/v1/jobs?product=typo", None);
    assert_eq!(status, 422);
    let cancel = site.taskwright(["jobs", "cancel", "--queue", "no-such", "--yes"]).output().unwrap();
    assert!(cancel.status.success() && cancel.stdout.is_empty(), "{cancel:?}");
    let cancel = site.taskwright(["jobs", "cancel", "--namespace", "no-such", "--yes"]).output().unwrap();
    assert_eq!(cancel.status.code(), Some(2), "a namespace alone selects nothing: {cancel:?}");
    assert!(!site.job(id).view.cancel_requested);
    // CC-X9: an id that nobody has is told as what one may not see is.
    let unknown = site.env.job_id();
    for (method, path) in [("GET", ""), ("GET", "/logs"), ("GET", "/wait"), ("POST", "/cancel")] {
        let body = (method == "POST").then(|| json!({}));
        let (status, problem) = node.ask(method, &format!("/api/v1/jobs/{unknown}{path}"), body);
        assert_eq!((status, &problem["type"]), (404, &json!("urn:taskwright:problem:not-found")), "{path}");
        assert!(!problem["detail"].to_string().contains(&unknown.to_string()), "{problem}");
    }
    open(&site, "go");
    wait_for(&site, id, State::Completed);
    assert!(node.up.stop().success());
}

/// CC-X10. `CodeChecker` refuses what nobody would run; here it is durable, and waits; that nobody runs it is told wherever somebody
/// looks.
#[test]
fn cc_x10_without_workers_jobs_are_accepted_and_it_is_told_that_nobody_runs_them() {
    let site = Site::new();
    let node = Node::start_without_workers(&site);
    let id = node.submit(json!({ "kind": "exec", "args": { "command": ["true"] } }));
    assert_eq!(node.get(&format!("/api/v1/jobs/{id}"))["state"], "available");
    assert_eq!(node.get("/api/v1/workers")["items"], json!([]));
    let doctor = site.taskwright(["doctor"]).output().unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout).to_string();
    assert!(!doctor.status.success() && told.contains("no worker"), "{told}");
    let waited = site.taskwright(["jobs", "wait", &id.to_string(), "--timeout", "0s"]).output().unwrap();
    assert_eq!(waited.status.code(), Some(8));
    assert!(node.up.stop().success());
    let workers = Node::start(&site, None, &[]);
    wait_for(&site, id, State::Completed);
    assert!(workers.up.stop().success());
}

impl Node {
    /// One that accepts jobs and runs none.
    fn start_without_workers(site: &Site) -> Self {
        let mut command = site.taskwright(["up", "--workers", "0"]);
        command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0");
        let up = site.start_until(&mut command, "http     http://");
        let address = up.last_line().rsplit_once("http://").unwrap().1.to_owned();
        up.wait_for_line("workers  none: jobs are accepted and wait");
        up.wait_for_line("Ctrl-C stops it");
        Self { up, address, workers: Vec::new() }
    }
}
