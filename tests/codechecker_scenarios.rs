//! What the tests of `CodeChecker` check of its background tasks (CC-1 to CC-17), against real servers: one `up` on SQLite, and three on
//! one PostgreSQL, of which each is asked for what another runs. The ids are those of `lineage.md`.
//!
//! Elsewhere, on one node and on three as well: CC-7, CC-8, CC-11 and CC-17, and what of the others needs callers who are known, in
//! `codechecker_roles.rs`; CC-18 and CC-19 in `a_stop_leaves_everything_where_policy_says.rs`; what they should have (CC-X1 to CC-X10) in
//! `codechecker_extras.rs`, but CC-X6, which is in `stop_of_up_is_polite_then_final.rs`.

use serde_json::{Value, json};
use taskwright::{JobId, State};

use crate::node::{Node, SOON, each, gated, open, start_all, stop_all, wait_for};
use crate::support::Site;

#[test]
fn cc_1_to_17_one_node() {
    cc_1_to_17_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn cc_1_to_17_three_nodes() {
    cc_1_to_17_on(&Site::on_postgres());
}

fn cc_1_to_17_on(site: &Site) {
    let nodes = start_all(site);
    cc_1_to_17(site, &each(&nodes));
    stop_all(nodes);
}

/// The nodes are its `workspace-manager`, `unprivileged` and `privileged`; each can be asked for any job.
fn cc_1_to_17(site: &Site, &[manager, unprivileged, privileged]: &[&Node; 3]) {
    let several = !std::ptr::eq(manager, privileged);
    let before = site.env.now();

    // CC-1: what runs on one node is seen from another.
    let first = unprivileged.submit(gated(site, "unprivileged", "one", "true"));
    wait_for(site, first, State::Running);
    let seen = manager.job(first);
    assert_eq!(seen["state"], "running");
    assert_eq!(
        (&seen["id"], &seen["namespace"], &seen["owner"]),
        (&json!(first), &json!("default"), &Value::Null)
    );
    assert_eq!((&seen["kind"], &seen["cancel_requested"]), (&json!("exec"), &json!(false)));

    // CC-2: its times are in order.
    open(site, "one");
    wait_for(site, first, State::Completed);
    let done = manager.job(first);
    assert_eq!((&done["state"], &done["cancel_requested"]), (&json!("completed"), &json!(false)));
    times_are_in_order(site, first);

    // CC-3
    let second = unprivileged.submit(gated(site, "unprivileged", "two", "exit 1"));
    wait_for(site, second, State::Running);
    open(site, "two");
    wait_for(site, second, State::Failed);
    assert_eq!(privileged.job(second)["cancel_requested"], false);

    // CC-4: the first request is the one that counts, wherever it is made.
    let third = unprivileged.submit(gated(site, "unprivileged", "never", "true"));
    wait_for(site, third, State::Running);
    let cancel = |node: &Node| node.cancel(third, Some("User requested cancellation."));
    assert_eq!(cancel(privileged), "requested");
    // CC-5
    assert_eq!(cancel(manager), "skipped");
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
