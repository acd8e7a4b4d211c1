//! A server that is asked over HTTP: one `up` of several, or the only one.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use taskwright::{JobId, State, WorkerId};

use crate::caller::Caller;
use crate::support::{Site, Up};

/// How long a test waits for what comes at once on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What the three of one store are called: each serves the queue of its name.
pub(crate) const NAMES: [&str; 3] = ["manager", "unprivileged", "privileged"];

/// A server, and where it answers.
pub(crate) struct Node {
    pub(crate) up: Up,
    pub(crate) address: String,
    /// Its workers.
    pub(crate) workers: Vec<WorkerId>,
}

impl Node {
    /// Starts one whose worker runs four jobs at once of these queues: of all, if none is named.
    pub(crate) fn start(site: &Site, queues: &[&str]) -> Self {
        Self::start_as(site, queues, |up| up.args(["--workers", "1", "--concurrency", "4"]))
    }

    /// The same, with these arguments and variables.
    pub(crate) fn start_as(
        site: &Site,
        queues: &[&str],
        how: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let before: Vec<WorkerId> = site.workers().iter().map(|worker| worker.id).collect();
        let (up, address) = Self::listen(site, queues, how);
        up.wait_for_line("Ctrl-C stops it");
        let mut workers = Vec::new();
        site.wait_until("its worker", SOON, || {
            let new = site.workers().into_iter().map(|worker| worker.id).filter(|id| !before.contains(id));
            workers = new.collect();
            !workers.is_empty()
        });
        Self { up, address, workers }
    }

    /// Starts one that accepts jobs and runs none.
    pub(crate) fn start_without_workers(site: &Site) -> Self {
        let (up, address) = Self::listen(site, &[], |up| up.args(["--workers", "0"]));
        up.wait_for_line("workers  none: jobs are accepted and wait");
        up.wait_for_line("Ctrl-C stops it");
        Self { up, address, workers: Vec::new() }
    }

    fn listen(site: &Site, queues: &[&str], how: impl FnOnce(&mut Command) -> &mut Command) -> (Up, String) {
        let mut command = site.taskwright(["up"]);
        if !queues.is_empty() {
            let file = site.path().join(format!("{}.toml", queues.join("-")));
            std::fs::write(&file, format!("[workers]\nqueues = {queues:?}\n")).unwrap();
            command.arg("--config").arg(file);
        }
        how(command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0"));
        let up = site.start_until(&mut command, "http     http://");
        let line = up.last_line();
        let address = line.rsplit_once("http://").unwrap().1.split_whitespace().next().unwrap();
        (up, address.to_owned())
    }

    /// Asks, as the user of this machine.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, text) = Caller::new(&self.address, false).ask(method, path, &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// What it says of a job.
    pub(crate) fn job(&self, id: JobId) -> Value {
        self.get(&format!("/api/v1/jobs/{id}"))
    }

    /// Waits until it says so of a job.
    pub(crate) fn wait_for(&self, site: &Site, id: JobId, state: State) -> Duration {
        site.wait_until(&format!("{id} to be {state}"), SOON, || self.job(id)["state"] == state.to_string())
    }

    pub(crate) fn submit(&self, job: Value) -> JobId {
        let (status, stored) = self.ask("POST", "/api/v1/jobs", Some(job));
        assert_eq!(status, 201, "{stored}");
        stored["id"].as_str().unwrap().parse().unwrap()
    }

    /// Asks for the end of a job; what came of it.
    pub(crate) fn cancel(&self, id: JobId, reason: Option<&str>) -> Value {
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let (status, became) = self.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), Some(body));
        assert_eq!(status, 200, "{became}");
        became["result"].clone()
    }

    /// The jobs that a filter lists.
    pub(crate) fn list(&self, filter: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/jobs?limit=100&{filter}"));
        answer["items"].as_array().unwrap().clone()
    }

    pub(crate) fn count(&self, filter: &str) -> usize {
        self.list(filter).len()
    }

    /// What runs on it now, as a filter.
    pub(crate) fn runs(&self) -> String {
        self.workers.iter().map(|id| format!("worker={id}")).collect::<Vec<_>>().join("&")
    }

    /// What runs on it now, or ran on it last, as a filter.
    pub(crate) fn ran(&self) -> String {
        self.workers.iter().map(|id| format!("last_worker={id}")).collect::<Vec<_>>().join("&")
    }
}

/// Starts those that a scenario is about: three on a database server, each serving the queue of its name, and one on a file, which
/// serves all. [`each`] gives them by their parts.
pub(crate) fn start_all(site: &Site) -> Vec<Node> {
    match site.is_on_server() {
        true => NAMES.map(|name| Node::start(site, &[name])).into(),
        false => vec![Node::start(site, &[])],
    }
}

/// Its `workspace-manager`, `unprivileged` and `privileged`: where there is one, it is each of them.
pub(crate) fn each(nodes: &[Node]) -> [&Node; 3] {
    [0, 1, 2].map(|number| &nodes[number % nodes.len()])
}

/// Stops them, in good order.
pub(crate) fn stop_all(nodes: Vec<Node>) {
    for node in nodes {
        assert!(node.up.stop().success());
    }
}

/// A command that ends when it may, in its queue.
pub(crate) fn gated(site: &Site, queue: &str, gate: &str, then: &str) -> Value {
    let script = format!("touch started-{gate}; until [ -e {gate} ]; do sleep 0.02; done; {then}");
    json!({
        "kind": "exec", "queue": queue, "max_attempts": 1,
        "args": { "command": ["sh", "-c", script], "cwd": site.path() },
    })
}

/// Lets what waits for this gate end.
pub(crate) fn open(site: &Site, gate: &str) {
    std::fs::write(site.path().join(gate), "").unwrap();
}

/// Waits until the store says so of a job.
pub(crate) fn wait_for(site: &Site, id: JobId, state: State) {
    site.wait_until(&format!("{id} to be {state}"), SOON, || site.job(id).view.state == state);
}
