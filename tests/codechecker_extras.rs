//! What the tests of `CodeChecker` leave out and should have (CC-X1 to CC-X5, CC-X7 to CC-X10), against real servers: one `up` on SQLite,
//! and three on one PostgreSQL, where what happens to one of them is seen from the others, and mended by them. The ids are those of
//! `lineage.md`.
//!
//! Elsewhere: CC-X6 in `stop_of_up_is_polite_then_final.rs`, and CC-X8 and CC-X9 once more, with callers who are known, in
//! `codechecker_roles.rs`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use taskwright::{JobId, State, Timestamp};

use crate::node::{NAMES, Node, SOON, each, gated, open, start_all, stop_all, wait_for};
use crate::support::{Site, lives, signal};

/// A command that is run in the directory of the site, in this queue.
fn script(site: &Site, queue: &str, script: &str) -> Value {
    let args = json!({ "command": ["sh", "-c", script], "cwd": site.path() });
    json!({ "kind": "exec", "queue": queue, "args": args })
}

#[test]
fn cc_x1_what_was_killed_with_its_server_is_recovered_at_once_by_the_next() {
    cc_x1(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x1_what_was_killed_with_one_of_three_servers_is_recovered_at_once_by_the_others() {
    cc_x1(&Site::on_postgres());
}

/// `CodeChecker` drops everything with a comment about the predecessor. Here what may run again does so, at once, however long the
/// lease is; what must not is dropped, with the reason. Where other nodes run on, they do it, and what only the killed one serves
/// waits for its successor.
fn cc_x1(site: &Site) {
    fn patient(up: &mut Command) -> &mut Command {
        up.args(["--workers", "1", "--concurrency", "4", "--lease", "10m"])
    }
    let start = |queues: &[&str]| Node::start_as(site, queues, patient);
    let first = start(&["own", "shared"]);
    let run = "echo $TASKWRIGHT_ATTEMPT >> ran-$TASKWRIGHT_JOB_ID; [ -e go ] || exec sleep 600";
    let enqueue = |queue: &str, delivery: &str| {
        let mut job = script(site, queue, run);
        job["delivery"] = json!(delivery);
        first.submit(job)
    };
    let ran = |id: JobId| std::fs::read_to_string(site.path().join(format!("ran-{id}"))).unwrap_or_default();
    let queues = ["own", "shared"];
    let [own, shared] = queues.map(|queue| enqueue(queue, "at_least_once"));
    let once = queues.map(|queue| enqueue(queue, "at_most_once"));
    site.wait_until("four to run", SOON, || [own, shared].iter().chain(&once).all(|id| !ran(*id).is_empty()));
    let waits = enqueue("own", "at_least_once");
    let others: Vec<Node> = match site.is_on_server() {
        true => vec![start(&["shared"]), start(&["shared"])],
        false => Vec::new(),
    };
    first.up.kill_all();
    open(site, "go");

    let at_once = Duration::from_secs(5);
    for node in &others {
        let took =
            site.wait_until("it to run on another node", SOON, || node.job(shared)["state"] == "completed");
        assert!(took < at_once, "{took:?}: by the end of a lease it would be 10 min");
        site.wait_until("its own to wait for it", at_once, || node.job(own)["state"] == "available");
        for id in once {
            assert_eq!(node.job(id)["state"], "dropped");
        }
        assert_eq!(node.job(waits)["state"], "available");
    }
    let here: usize =
        others.iter().map(|node| others[0].count(&format!("state=completed&{}", node.ran()))).sum();
    assert_eq!(here, others.len().min(1), "one of the others has run it");

    let again = start(&queues);
    let took = site.wait_until("the rest to complete", SOON, || site.jobs(&[State::Completed]).len() == 3);
    assert!(took < at_once, "{took:?}: by the end of a lease it would be 10 min");
    assert_eq!([own, shared, waits].map(ran), ["1\n2\n", "1\n2\n", "1\n"]);
    for id in once {
        let dropped = again.job(id);
        assert_eq!((&dropped["state"], &dropped["cancel_requested"]), (&json!("dropped"), &json!(false)));
        let reason = dropped["timeline"].as_array().and_then(|all| all.last()).unwrap()["reason"].to_string();
        assert!(reason.contains("lost"), "{reason}");
        assert_eq!(ran(id), "1\n");
    }
    assert!(again.up.stop().success());
    stop_all(others);
}

#[test]
fn cc_x2_a_killed_worker_is_replaced_within_a_second_and_its_job_runs_again() {
    cc_x2(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x2_a_killed_worker_of_one_of_three_nodes_is_replaced_within_a_second_and_its_job_runs_again() {
    cc_x2(&Site::on_postgres());
}

fn cc_x2(site: &Site) {
    let nodes = start_all(site);
    let [manager, node, privileged] = each(&nodes);
    let pids = || nodes.iter().map(|node| node.up.worker_pids()).collect::<Vec<_>>();
    let run = "touch r-$TASKWRIGHT_ATTEMPT; [ $TASKWRIGHT_ATTEMPT = 2 ] || exec sleep 600";
    let id = manager.submit(script(site, "unprivileged", run));
    site.wait_until("it to run", SOON, || site.path().join("r-1").exists());
    let (before, all_before) = (node.up.worker_pids(), pids());
    signal(before[0], "KILL");
    let took = site.wait_until("another worker", SOON, || {
        let now = node.up.worker_pids();
        now.len() == 1 && now != before && lives(now[0])
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    privileged.wait_for(site, id, State::Completed);
    assert_eq!(site.job(id).attempts.len(), 2);
    let changed = pids().into_iter().zip(all_before).filter(|(now, before)| now != before).count();
    assert_eq!(changed, 1, "the workers of other nodes are those that they were");
    stop_all(nodes);
}

#[test]
fn cc_x3_and_x4_a_cancel_ends_what_waits_and_asks_what_runs() {
    cc_x3_and_x4(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x3_and_x4_a_cancel_on_another_node_ends_what_waits_and_asks_what_runs() {
    cc_x3_and_x4(&Site::on_postgres());
}

fn cc_x3_and_x4(site: &Site) {
    let nodes = start_all(site);
    let [manager, unprivileged, privileged] = each(&nodes);
    // CC-X3: nobody runs it yet.
    let of_queue = |verb: &str| {
        let (status, _) = manager.ask("POST", &format!("/api/v1/queues/unprivileged/{verb}"), None);
        assert_eq!(status, 200, "{verb}");
    };
    of_queue("pause");
    let waits = unprivileged.submit(script(site, "unprivileged", "touch ran"));
    assert_eq!(privileged.cancel(waits, None), "done");
    assert_eq!(manager.job(waits)["state"], "cancelled");
    of_queue("resume");
    let next = unprivileged.submit(script(site, "unprivileged", "touch next"));
    manager.wait_for(site, next, State::Completed);
    assert!(!site.path().join("ran").exists(), "what was cancelled before its start never ran");
    assert!(site.path().join("next").exists() && site.job(waits).attempts.is_empty());
    // CC-X4: it hears the request, and completes all the same.
    let run = "trap 'touch heard' TERM; touch started; until [ -e heard ]; do sleep 0.02; done; exit 0";
    let ignores = unprivileged.submit(script(site, "unprivileged", run));
    site.wait_until("it to run", SOON, || site.path().join("started").exists());
    assert_eq!(privileged.cancel(ignores, None), "requested");
    manager.wait_for(site, ignores, State::Completed);
    let timeline = site.job(ignores).timeline;
    let was_asked = timeline.iter().any(|entry| entry.reason.as_deref() == Some("cancel requested"));
    assert!(was_asked, "that it was asked stays to be seen: {timeline:?}");
    for node in &nodes {
        assert_eq!(node.job(ignores)["cancel_requested"], true);
        assert_eq!(
            (node.count("cancel_requested=true&state=completed"), node.count("cancel_requested=true")),
            (1, 2)
        );
    }
    stop_all(nodes);
}

#[test]
fn cc_x5_what_a_task_says_when_it_fails_is_kept() {
    cc_x5(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x5_what_a_task_says_when_it_fails_is_told_by_every_node() {
    cc_x5(&Site::on_postgres());
}

fn cc_x5(site: &Site) {
    let nodes = start_all(site);
    let [manager, ..] = each(&nodes);
    let id = manager.submit(gated(site, "unprivileged", "go", FAILS));
    open(site, "go");
    wait_for(site, id, State::Failed);
    nodes.iter().for_each(|node| tells_what_it_said(node, id));
    stop_all(nodes);
}

const FAILS: &str = "echo 'no such mailbox' >&2; touch over; exit 3";

fn tells_what_it_said(node: &Node, id: JobId) {
    let told = node.job(id);
    assert_eq!(told["state"], "failed", "{told}");
    assert!(told["error"].as_str().unwrap().contains("no such mailbox"), "{told}");
    let log = node.get(&format!("/api/v1/jobs/{id}/logs"));
    assert!(log["items"][0]["text"].as_str().unwrap().contains("no such mailbox"), "{log}");
}

/// The server is gone, as by a crash, from before the task fails until it was tried in vain to write down what it said.
#[cfg(feature = "postgres")]
#[test]
fn cc_x5_what_a_task_says_while_the_database_is_down_is_kept_when_it_returns() {
    let cluster = crate::postgres_may_go_away::server("is down when a task fails");
    let site = Site::in_database(cluster.database());
    let nodes = start_all(&site);
    let [manager, unprivileged, privileged] = each(&nodes);
    let id = manager.submit(gated(&site, "unprivileged", "go", FAILS));
    site.wait_until("it to start", SOON, || site.path().join("started-go").exists());
    let pids: Vec<_> = nodes.iter().map(|node| (node.up.pid(), node.up.worker_pids())).collect();

    cluster.stop("immediate");
    open(&site, "go");
    site.wait_until("it to fail", SOON, || site.path().join("over").exists());
    unprivileged.up.wait_for_line("a write is repeated: ");
    for node in &nodes {
        let (status, told) = node.ask("GET", &format!("/api/v1/jobs/{id}"), None);
        assert_eq!(status, 503, "it knows nothing of it now, and says so: {told}");
    }
    cluster.start_again();

    site.wait_until("its end to be written", SOON, || {
        let (status, told) = privileged.ask("GET", &format!("/api/v1/jobs/{id}"), None);
        status == 200 && told["state"] == "failed"
    });
    for node in &nodes {
        // Of its connections, too, some are dead, and that is found when they are used.
        site.wait_until("each node to answer", SOON, || node.ask("GET", "/readyz", None).0 == 200);
        tells_what_it_said(node, id);
    }
    let told = manager.job(id);
    assert_eq!(told["attempts"].as_array().map(Vec::len), Some(1), "it ran once: {told}");
    let now: Vec<_> = nodes.iter().map(|node| (node.up.pid(), node.up.worker_pids())).collect();
    assert_eq!(now, pids, "no process has been replaced");
    stop_all(nodes);
}

/// The same for a file: there is no space for it from before the task fails until it was tried in vain to write down what it said.
#[test]
fn cc_x5_what_a_task_says_on_a_full_disk_is_kept_when_there_is_space_again() {
    let name = "codechecker_extras::cc_x5_what_a_task_says_on_a_full_disk_is_kept_when_there_is_space_again";
    if !crate::disk::may_mount(name) {
        return;
    }
    // Dropped after the disk, because a directory that something is mounted on cannot be removed.
    let site;
    let (directory, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = crate::disk::Disk::mount(directory.path(), "size=1m");
    site = Site::in_directory(directory);
    let node = Node::start(&site, &[]);
    let run = format!("touch started; until [ -e go ]; do sleep 0.02; done; {FAILS}");
    let args = json!({ "command": ["sh", "-c", run], "cwd": beside.path() });
    let id = node.submit(json!({ "kind": "exec", "max_attempts": 1, "args": args }));
    site.wait_until("it to start", SOON, || beside.path().join("started").exists());

    disk.fill();
    std::fs::write(beside.path().join("go"), "").unwrap();
    site.wait_until("it to fail", SOON, || beside.path().join("over").exists());
    node.up.wait_for_line("a write is repeated: ");
    assert_eq!(node.job(id)["state"], "running", "its end could not be written");
    disk.free();

    node.wait_for(&site, id, State::Failed);
    tells_what_it_said(&node, id);
    assert_eq!(site.job(id).attempts.len(), 1, "it ran once");
    assert!(node.up.stop().success());
}

#[test]
fn cc_x7_a_server_in_another_time_zone_tells_the_right_times() {
    cc_x7(&Site::new(), &["America/Regina"]);
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x7_three_servers_in_three_time_zones_tell_the_same_times_and_the_right_ones() {
    cc_x7(&Site::on_postgres(), &["America/Regina", "Asia/Kathmandu", "Pacific/Auckland"]);
}

fn cc_x7(site: &Site, zones: &[&str]) {
    let start = |number: usize, zone: &&str| {
        let queues = if zones.len() == 1 { &[][..] } else { &NAMES[number..=number] };
        Node::start_as(site, queues, |up| up.args(["--workers", "1"]).env("TZ", zone))
    };
    let nodes: Vec<Node> = zones.iter().enumerate().map(|(number, zone)| start(number, zone)).collect();
    let [manager, _, privileged] = each(&nodes);
    let before = site.env.now();
    let id = manager.submit(script(site, "unprivileged", "true"));
    privileged.wait_for(site, id, State::Completed);
    let after = site.env.now();
    let times = |node: &Node| {
        let told = node.job(id);
        ["created_at", "claimed_at", "ended_at"].map(|field| told[field].as_str().unwrap().to_owned())
    };
    for node in &nodes {
        assert_eq!(times(node), times(manager));
        for text in times(node) {
            let time: Timestamp = text.parse().unwrap();
            assert!(text.ends_with('Z') && before <= time && time <= after, "{text}: {before} to {after}");
        }
        assert_eq!(node.count(&format!("after={before}&before={after}")), 1);
    }
    stop_all(nodes);
}

#[test]
fn cc_x8_and_x9_what_means_nothing_is_nothing_and_never_more() {
    cc_x8_and_x9(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x8_and_x9_what_means_nothing_is_nothing_on_any_node() {
    cc_x8_and_x9(&Site::on_postgres());
}

fn cc_x8_and_x9(site: &Site) {
    let nodes = start_all(site);
    let [manager, ..] = each(&nodes);
    let id = manager.submit(gated(site, "unprivileged", "go", "true"));
    wait_for(site, id, State::Running);
    let unknown = site.env.job_id();
    for node in &nodes {
        // CC-X8: a name that nothing has, and a condition that there is not.
        for filter in ["queue=no-such", "namespace=no-such", "owner=nobody", "kind=no.such"] {
            assert_eq!(node.count(filter), 0, "{filter}");
        }
        let (status, _) = node.ask("GET", "/api/v1/jobs?product=typo", None);
        assert_eq!(status, 422);
        // CC-X9: an id that nobody has is told as what one may not see is.
        for (method, path) in [("GET", ""), ("GET", "/logs"), ("GET", "/wait"), ("POST", "/cancel")] {
            let body = (method == "POST").then(|| json!({}));
            let (status, problem) = node.ask(method, &format!("/api/v1/jobs/{unknown}{path}"), body);
            assert_eq!(
                (status, &problem["type"]),
                (404, &json!("urn:taskwright:problem:not-found")),
                "{path}"
            );
            assert!(!problem["detail"].to_string().contains(&unknown.to_string()), "{problem}");
        }
    }
    let cancel = site.taskwright(["jobs", "cancel", "--queue", "no-such", "--yes"]).output().unwrap();
    assert!(cancel.status.success() && cancel.stdout.is_empty(), "{cancel:?}");
    let cancel = site.taskwright(["jobs", "cancel", "--namespace", "no-such", "--yes"]).output().unwrap();
    assert_eq!(cancel.status.code(), Some(2), "a namespace alone selects nothing: {cancel:?}");
    assert!(!site.job(id).view.cancel_requested);
    open(site, "go");
    wait_for(site, id, State::Completed);
    stop_all(nodes);
}

#[test]
fn cc_x10_without_workers_jobs_are_accepted_and_it_is_told_that_nobody_runs_them() {
    cc_x10(&Site::new(), 1);
}

#[cfg(feature = "postgres")]
#[test]
fn cc_x10_without_workers_on_any_of_three_nodes_each_tells_that_nobody_runs_what_is_accepted() {
    cc_x10(&Site::on_postgres(), 3);
}

/// `CodeChecker` refuses what nobody would run; here it is durable, and waits; that nobody runs it is told wherever somebody looks.
fn cc_x10(site: &Site, servers: usize) {
    let nodes: Vec<Node> = (0..servers).map(|_| Node::start_without_workers(site)).collect();
    let id = nodes[0].submit(script(site, "default", "true"));
    for node in &nodes {
        assert_eq!(node.job(id)["state"], "available");
        assert_eq!(node.get("/api/v1/workers")["items"], json!([]));
    }
    let doctor = site.taskwright(["doctor"]).output().unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout).to_string();
    assert!(!doctor.status.success() && told.contains("none is alive, and jobs wait"), "{told}");
    let waited = site.taskwright(["jobs", "wait", &id.to_string(), "--timeout", "0s"]).output().unwrap();
    assert_eq!(waited.status.code(), Some(8));
    // Of a file there is one server at a time.
    let (stay, go) = if site.is_on_server() { (nodes, Vec::new()) } else { (Vec::new(), nodes) };
    stop_all(go);
    let workers = Node::start(site, &[]);
    for node in stay.iter().chain([&workers]) {
        node.wait_for(site, id, State::Completed);
    }
    assert!(workers.up.stop().success());
    stop_all(stay);
}
