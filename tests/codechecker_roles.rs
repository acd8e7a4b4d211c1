//! What `CodeChecker` checks of who may see and do what (CC-7, CC-8, CC-11, CC-17; of CC-10, CC-12, CC-13, CC-15 and CC-16 what needs
//! callers who are known; CC-X8 and CC-X9), against real servers that know their callers by tokens: three `up` on one PostgreSQL, of which
//! each may be asked for any job, and one on SQLite.
//!
//! Its users are `root`, a superuser, and `admin`, who is admin of one product. Jobs without a product are those of the namespace
//! `shared`, where `alice` and `bob` are members and `viewer` looks on; the product is the namespace `product`.

use std::time::Duration;

use serde_json::{Value, json};
use taskwright::{JobId, State};

use crate::caller::Caller;
use crate::support::{Site, Up};

const SOON: Duration = Duration::from_secs(20);

/// A server that asks for tokens, whose workers serve a queue of its own.
struct Node {
    up: Up,
    address: String,
    queue: &'static str,
}

/// A status, and what came with it.
type Answer = (u16, Value);

impl Node {
    fn start(site: &Site, queue: &'static str) -> Self {
        // What members run are tasks of the operator: it waits for its gate, and ends as its arguments say.
        let script = "touch started-$1; until [ -e \"gate-$1\" ]; do sleep 0.02; done; exit $2";
        let directory = site.path().display();
        let tasks = format!(
            "[tasks.\"dummy.gated\"]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}, \"sh\", \"{{gate}}\", \"{{code}}\"]\n\
             cwd = \"{directory}\"\nmax_attempts = 1\n"
        );
        let file = site.path().join(format!("{queue}.toml"));
        std::fs::write(&file, format!("[workers]\nqueues = [\"{queue}\"]\n{tasks}")).unwrap();
        let mut command = site.taskwright(["up", "--workers", "1", "--concurrency", "8"]);
        command.arg("--config").arg(file).env("TASKWRIGHT_LISTEN", "127.0.0.1:0");
        let up = site.start_until(&mut command, "http     http://");
        let address = up.last_line().rsplit_once("http://").unwrap().1.trim().to_owned();
        let address = address.split_whitespace().next().unwrap().to_owned();
        up.wait_for_line("Ctrl-C stops it");
        Self { up, address, queue }
    }

    /// Asks as whoever has this token.
    fn ask(&self, who: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, text) = Caller::new(&self.address, false).bearing(who).ask(method, path, &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn get(&self, who: &str, path: &str) -> Answer {
        self.ask(who, "GET", path, None)
    }

    fn cancel(&self, who: &str, id: JobId) -> Answer {
        self.ask(who, "POST", &format!("/api/v1/jobs/{id}/cancel"), Some(json!({})))
    }

    fn submit(&self, who: &str, namespace: &str, gate: &str, code: u8) -> JobId {
        let job = json!({
            "kind": "dummy.gated", "queue": self.queue, "args": { "gate": gate, "code": code.to_string() },
        });
        let (status, stored) =
            self.ask(who, "POST", &format!("/api/v1/jobs?namespace={namespace}"), Some(job));
        assert_eq!(status, 201, "{stored}");
        stored["id"].as_str().unwrap().parse().unwrap()
    }

    /// The ids that a filter lists for somebody, the oldest first.
    fn list(&self, who: &str, filter: &str) -> Vec<JobId> {
        let (status, answer) = self.get(who, &format!("/api/v1/jobs?limit=100&oldest_first=true&{filter}"));
        assert_eq!(status, 200, "{filter}: {answer}");
        let items = answer["items"].as_array().unwrap();
        items.iter().map(|job| job["id"].as_str().unwrap().parse().unwrap()).collect()
    }

    fn count(&self, who: &str, filter: &str) -> usize {
        self.list(who, filter).len()
    }
}

/// Everybody's tokens.
struct Tokens {
    root: String,
    admin: String,
    alice: String,
    bob: String,
    viewer: String,
}

impl Tokens {
    fn make(site: &Site) -> Self {
        let make = |name: &str, namespace: &str, role: &str| {
            site.run(["tokens", "create", name, "--namespace", namespace, "--role", role]).trim().to_owned()
        };
        Self {
            root: site.run(["tokens", "create", "root", "--superuser"]).trim().to_owned(),
            admin: make("admin", "product", "admin"),
            alice: make("alice", "shared", "member"),
            bob: make("bob", "shared", "member"),
            viewer: make("viewer", "shared", "viewer"),
        }
    }
}

fn open(site: &Site, gate: &str) {
    std::fs::write(site.path().join(format!("gate-{gate}")), "").unwrap();
}

fn wait_for(site: &Site, id: JobId, state: State) {
    site.wait_until(&format!("{id} to be {state}"), SOON, || site.job(id).view.state == state);
}

#[test]
fn one_node() {
    let site = Site::new();
    let tokens = Tokens::make(&site);
    let node = Node::start(&site, "unprivileged");
    roles(&site, &tokens, &[&node, &node, &node]);
    assert!(node.up.stop().success());
}

#[cfg(feature = "postgres")]
#[test]
fn three_nodes() {
    let site = Site::on_postgres();
    let tokens = Tokens::make(&site);
    let nodes = ["manager", "unprivileged", "privileged"].map(|queue| Node::start(&site, queue));
    roles(&site, &tokens, &nodes.each_ref());
    for node in nodes {
        assert!(node.up.stop().success());
    }
}

fn roles(site: &Site, tokens: &Tokens, nodes: &[&Node; 3]) {
    nobody_is_let_in_without_a_token(site, nodes);
    let before = site.env.now();
    let first = what_is_submitted_on_one_node_is_steered_from_another(site, tokens, nodes);
    who_has_no_right_sees_nothing(site, tokens, nodes, &first);
    what_the_submitter_has_read_is_consumed_and_nothing_else_is(site, tokens, nodes, &first);
    filters_find_what_one_may_see(site, tokens, nodes, &first, &before.to_string());
}

fn nobody_is_let_in_without_a_token(site: &Site, nodes: &[&Node; 3]) {
    let unknown = format!("/api/v1/jobs/{}", site.env.job_id());
    for node in nodes {
        for path in ["/api/v1/jobs", "/api/v1/workers", &unknown] {
            let (status, _) = Caller::new(&node.address, false).ask("GET", path, "").unwrap();
            assert_eq!(status, 401, "{path}");
            let (status, _) = node.get("tw_0000", path);
            assert_eq!(status, 401, "{path}");
        }
    }
}

/// CC-1 to CC-6 and CC-9 with those who do it; three jobs of alice: completed, failed, cancelled.
fn what_is_submitted_on_one_node_is_steered_from_another(
    site: &Site,
    tokens: &Tokens,
    &[manager, unprivileged, privileged]: &[&Node; 3],
) -> [JobId; 3] {
    let submit = |gate, code| unprivileged.submit(&tokens.alice, "shared", gate, code);
    let ids = [submit("one", 0), submit("two", 1), submit("never", 0)];
    for id in ids {
        wait_for(site, id, State::Running);
    }
    for node in [manager, privileged] {
        let (status, job) = node.get(&tokens.alice, &format!("/api/v1/jobs/{}", ids[0]));
        assert_eq!(
            (status, &job["state"], &job["owner"]),
            (200, &json!("running"), &json!("token:alice@shared"))
        );
    }
    open(site, "one");
    open(site, "two");
    wait_for(site, ids[0], State::Completed);
    wait_for(site, ids[1], State::Failed);

    // A viewer and another member see the job, and may not end it; an admin of something else does not see it.
    for (who, expected) in [(&tokens.viewer, 403), (&tokens.bob, 403), (&tokens.admin, 404)] {
        let (status, answer) = privileged.cancel(who, ids[2]);
        assert_eq!(status, expected, "{answer}");
    }
    assert!(!site.job(ids[2]).view.cancel_requested);
    // CC-4: the first request that may is the one that counts. CC-5: the second is told so.
    let (status, became) = privileged.cancel(&tokens.root, ids[2]);
    assert_eq!((status, &became["result"]), (200, &json!("requested")), "{became}");
    let (status, became) = manager.cancel(&tokens.alice, ids[2]);
    assert!(status == 200 && became["result"] != "requested", "{became}");
    // CC-6: who it was stands in the timeline.
    wait_for(site, ids[2], State::Cancelled);
    let timeline = site.job(ids[2]).timeline;
    let asked = timeline.iter().find(|entry| entry.reason.as_deref() == Some("cancel requested"));
    assert_eq!(asked.map(|entry| entry.actor.to_string()).as_deref(), Some("token:root"), "{timeline:?}");
    // CC-9
    for node in [manager, unprivileged, privileged] {
        assert_eq!(node.list(&tokens.root, ""), ids);
        for state in ["completed", "failed", "cancelled"] {
            assert_eq!(node.count(&tokens.root, &format!("state={state}")), 1, "{state}");
        }
    }
    ids
}

/// CC-7, CC-8, CC-11, CC-17, CC-X8, CC-X9.
fn who_has_no_right_sees_nothing(
    site: &Site,
    tokens: &Tokens,
    &[manager, unprivileged, privileged]: &[&Node; 3],
    ids: &[JobId; 3],
) {
    let admin = &tokens.admin;
    // CC-7 and CC-8: what is about all of a namespace is refused to who has no right on it, whether there is one or not.
    for path in ["jobs", "jobs/stream", "queues", "stats", "jobs/history", "schedules", "events", "audit"] {
        let ask = |namespace: &str| manager.get(admin, &format!("/api/v1/{path}?namespace={namespace}"));
        let (of_theirs, of_none) = (ask("shared"), ask("no-such"));
        assert_eq!(of_theirs.0, 403, "{path}: {}", of_theirs.1);
        assert_eq!(without_request(of_theirs), without_request(of_none), "{path}");
    }
    // Their own product is empty, and that is no error. What names none holds what one may see: nothing here.
    for filter in ["namespace=product", "", "no_owner=true", "owner=*"] {
        assert_eq!(privileged.list(admin, filter), [], "{filter}");
    }
    // CC-X8: a name that nothing has is no wider.
    assert_eq!(privileged.get(admin, "/api/v1/jobs?product=typo").0, 422);
    // CC-11: asked for by their ids, all of them, none comes, and it is no error.
    let by_id = ids.map(|id| format!("id={id}")).join("&");
    assert_eq!(manager.list(admin, &by_id), []);
    assert_eq!(manager.list(&tokens.viewer, &by_id), ids);

    // CC-17 and CC-X9: one by one they are told as what there is not, whatever is asked, and whoever asks who may not.
    let unknown = site.env.job_id();
    let places = ["", "/result", "/progress", "/logs", "/wait", "/events"].map(|place| ("GET", place));
    let verbs = ["/cancel", "/retry", "/delete", "/comments"].map(|verb| ("POST", verb));
    for node in [manager, unprivileged, privileged] {
        for (method, place) in places.into_iter().chain(verbs) {
            let ask = |id: JobId| {
                let body = match place {
                    "/comments" => Some(json!({ "text": "mine?" })),
                    _ => (method == "POST").then(|| json!({})),
                };
                let (status, answer) = node.ask(admin, method, &format!("/api/v1/jobs/{id}{place}"), body);
                let text = answer.to_string().replace(&id.to_string(), "ID");
                without_request((status, serde_json::from_str(&text).unwrap()))
            };
            let (of_foreign, of_unknown) = (ask(ids[0]), ask(unknown));
            assert_eq!(of_foreign.0, 404, "{method} {place}: {}", of_foreign.1);
            assert_eq!(of_foreign, of_unknown, "{method} {place}");
        }
    }
    // CC-17: and asking has not consumed it, nor changed anything else.
    for id in ids {
        let job = site.job(*id);
        assert!(job.view.consumed_at.is_none() && job.comments.is_empty(), "{job:?}");
    }
    // What is submitted is for members, and to a namespace of one's own.
    let job = || Some(json!({ "kind": "dummy.gated", "args": { "gate": "none", "code": "0" } }));
    assert_eq!(manager.ask(&tokens.viewer, "POST", "/api/v1/jobs", job()).0, 403);
    assert_eq!(manager.ask(admin, "POST", "/api/v1/jobs?namespace=shared", job()).0, 403);
    let exec = json!({ "kind": "exec", "args": { "command": ["true"] } });
    assert_eq!(manager.ask(&tokens.alice, "POST", "/api/v1/jobs", Some(exec)).0, 403);
}

/// What an answer says but for the name of its request.
fn without_request((status, mut answer): Answer) -> Answer {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("instance");
        fields.remove("error_id");
    }
    (status, answer)
}

/// CC-13: only a submitter who reads how a job ended consumes it, on whichever node; listings do not.
fn what_the_submitter_has_read_is_consumed_and_nothing_else_is(
    site: &Site,
    tokens: &Tokens,
    &[manager, unprivileged, privileged]: &[&Node; 3],
    ids: &[JobId; 3],
) {
    let consumed = |count: usize| {
        let counts = |node: &Node| {
            (node.count(&tokens.root, "consumed=true"), node.count(&tokens.root, "consumed=false"))
        };
        assert_eq!(counts(manager), (count, 3 - count));
        assert_eq!(counts(unprivileged), (count, 3 - count));
    };
    manager.list(&tokens.alice, "");
    for who in [&tokens.root, &tokens.bob, &tokens.viewer] {
        for id in ids {
            assert_eq!(privileged.get(who, &format!("/api/v1/jobs/{id}")).0, 200);
        }
    }
    consumed(0);
    let by_wait = privileged.get(&tokens.alice, &format!("/api/v1/jobs/{}/wait?timeout=0s", ids[2]));
    assert_eq!(by_wait.0, 200);
    consumed(1);
    assert_eq!(manager.get(&tokens.alice, &format!("/api/v1/jobs/{}", ids[1])).0, 200);
    consumed(2);
    assert_eq!(privileged.get(&tokens.alice, &format!("/api/v1/jobs/{}/result", ids[0])).0, 200);
    consumed(3);
    let at = site.job(ids[0]).view.consumed_at;
    assert_eq!(manager.get(&tokens.alice, &format!("/api/v1/jobs/{}", ids[0])).0, 200);
    assert_eq!(site.job(ids[0]).view.consumed_at, at, "the first time is the one that counts");
    // The cancel flag on one, off on two: here as how it ended.
    assert_eq!(manager.count(&tokens.root, "state=cancelled"), 1);
    assert_eq!(manager.count(&tokens.root, "state=completed&state=failed"), 2);
}

/// CC-10, CC-12, CC-14, CC-15 and CC-16: four more, two of bob's on one node and two of admin's on the other, one of each to fail.
fn filters_find_what_one_may_see(
    site: &Site,
    tokens: &Tokens,
    &[manager, unprivileged, privileged]: &[&Node; 3],
    first: &[JobId; 3],
    before: &str,
) {
    let now = site.env.now();
    // CC-12
    assert_eq!(manager.count(&tokens.root, &format!("before={now}")), 3);
    assert_eq!(manager.count(&tokens.root, &format!("after={now}")), 0);
    assert_eq!(manager.count(&tokens.root, &format!("before={before}")), 0);

    let mut more = Vec::new();
    for (node, who, namespace) in
        [(unprivileged, &tokens.bob, "shared"), (privileged, &tokens.admin, "product")]
    {
        more.extend([0, 1].map(|code| node.submit(who, namespace, "more", code)));
    }
    for id in &more {
        wait_for(site, *id, State::Running);
    }
    let after = format!("after={now}");
    // CC-15: all conditions together, at once.
    assert_eq!(manager.list(&tokens.root, &format!("{after}&state=running&kind=dummy.gated")), more);
    open(site, "more");
    for id in &more {
        site.wait_until("it to end", SOON, || site.job(*id).view.state.is_terminal());
    }
    let several = manager.queue != privileged.queue;
    let of_queue =
        |queue: &str, many: usize, one: usize| (format!("queue={queue}"), if several { many } else { one });
    let root = &tokens.root;
    // CC-10: by where they ran.
    for (filter, count) in [
        (format!("worker={}", site.env.worker_id()), 0),
        ("queue=no-such".to_owned(), 0),
        of_queue("unprivileged", 5, 7),
        of_queue("privileged", 2, 0),
        of_queue("manager", 0, 0),
        // CC-16: a star is anything, in letters of either case.
        ("queue=*PRIVILEGED".to_owned(), 7),
        ("kind=*Dummy*".to_owned(), 7),
        ("owner=token:*@shared&owner=TOKEN:admin@*".to_owned(), 7),
    ] {
        assert_eq!(manager.count(root, &filter), count, "{filter}");
    }
    // CC-14 and CC-15: listing has consumed none of them, whoever did it.
    for who in [&tokens.bob, &tokens.admin, root] {
        privileged.list(who, "");
    }
    for (filter, count) in [
        ("", 4),
        ("no_owner=true", 0),
        ("owner=token:admin@product", 2),
        ("owner=token:bob@shared", 2),
        ("owner=token:root", 0),
        ("namespace=product", 2),
        ("state=completed", 2),
        ("state=failed", 2),
        ("state=cancelled", 0),
        ("consumed=true", 0),
        ("consumed=false", 4),
    ] {
        assert_eq!(manager.count(root, &format!("{after}&{filter}")), count, "{filter}");
    }
    // Each sees of it what is theirs to see, on any node.
    for node in [manager, unprivileged, privileged] {
        for (who, count) in
            [(root, 7), (&tokens.alice, 5), (&tokens.bob, 5), (&tokens.viewer, 5), (&tokens.admin, 2)]
        {
            assert_eq!(node.count(who, "kind=*"), count);
        }
        assert_eq!(node.list(&tokens.admin, "namespace=product"), more[2..]);
        assert_eq!(node.get(&tokens.bob, "/api/v1/jobs?namespace=product").0, 403);
    }
    // An admin ends what anybody has submitted in their namespace, and nothing elsewhere.
    let theirs = unprivileged.submit(&tokens.root, "product", "long", 0);
    assert_eq!(privileged.cancel(&tokens.admin, theirs).0, 200);
    assert_eq!(privileged.cancel(&tokens.alice, theirs).0, 404);
    open(site, "long");
    site.wait_until("it to end", SOON, || site.job(theirs).view.state.is_terminal());
    for id in first {
        assert!(site.job(*id).view.state.is_terminal());
    }
}
