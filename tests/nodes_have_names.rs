//! A node has a name, its machine's or one of its own: workers and jobs are listed and found by it, and whoever starts again under the
//! same name goes on with what a predecessor left.

use std::time::Duration;

use taskwright::State;

use crate::support::{Site, Up};

const SOON: Duration = Duration::from_secs(20);

fn up(site: &Site, name: &str) -> Up {
    site.start(site.taskwright(["up", "--workers", "1", "--concurrency", "2"]).env("TASKWRIGHT_NODE", name))
}

fn nodes(site: &Site) -> Vec<String> {
    site.workers().into_iter().map(|worker| worker.host).collect()
}

fn jobs_at(site: &Site, name: &str) -> usize {
    site.run(["jobs", "list", "--host", name, "--json"]).lines().count()
}

#[test]
fn workers_and_jobs_are_found_by_the_name_of_their_node() {
    check(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn workers_and_jobs_are_found_by_the_name_of_their_node_on_postgresql() {
    check(&Site::on_postgres());
}

fn check(site: &Site) {
    let first = up(site, "blue-3");
    site.wait_until("a worker", SOON, || nodes(site) == ["blue-3"]);
    let gate = site.path().join("gate");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    site.run(["enqueue", "exec", "--", "sh", "-c", &wait]);
    site.wait_until("the job to run", SOON, || site.jobs(&[State::Running]).len() == 1);
    assert!(site.run(["workers", "list"]).contains("blue-3"));
    assert_eq!((jobs_at(site, "BLUE-*"), jobs_at(site, "green")), (1, 0));
    // Workers are told by it as jobs are found by it, and nobody is told in vain unnoticed.
    let quiet = |host: &str| site.taskwright(["workers", "quiet", "--host", host]).output().unwrap();
    let none = quiet("green");
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(String::from_utf8(none.stderr).unwrap().contains("no worker of it is alive"));
    let told = quiet("BLUE-*");
    assert!(told.status.success() && String::from_utf8(told.stdout).unwrap().contains("told"));

    // It dies as a machine does, and is started again under the same name: nobody waits for a lease, which is 15 s.
    first.kill_all();
    let again = up(site, "blue-3");
    let recovered = site.wait_until("the job to run again", SOON, || {
        site.jobs(&[State::Running]).iter().any(|job| job.attempt == 2)
    });
    assert!(recovered < Duration::from_secs(10), "{recovered:?}");
    std::fs::write(gate, "").unwrap();
    site.wait_until("the job to end", SOON, || site.jobs(&[State::Completed]).len() == 1);
    assert!(again.stop().success());

    // The config file says it, too, and the flag says more; a variable that is set to nothing says nothing.
    std::fs::write(site.path().join("taskwright.toml"), "[workers]\nnode = \"green\"\n").unwrap();
    let third = up(site, "");
    site.wait_until("a worker", SOON, || nodes(site) == ["green"]);
    assert!(third.stop().success());
    let fourth = site.up(["--workers", "1", "--node", "red"]);
    site.wait_until("a worker", SOON, || nodes(site) == ["red"]);
    assert!(fourth.stop().success());
}
