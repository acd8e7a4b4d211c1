//! Workers on several machines, one of which dies or is cut off: the others go on with its jobs, soon, and nothing that the
//! one writes afterwards is accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::store::WorkerView;
use taskwright::{JobId, State, WorkerId};

use crate::support::cluster::{Cluster, Flavour};
use crate::support::machines::{Machine, Network};
use crate::support::{Site, now, signal, spread};

/// Long, for what is not measured.
const SOON: Duration = Duration::from_secs(20);

/// The shortest lease that a worker may have.
const LEASE: Duration = Duration::from_secs(5);

/// Runs until told to, but in the first attempt only.
const SCRIPT: &str = r#"[ "$TASKWRIGHT_ATTEMPT" = 1 ] || exit 0; until [ -e FILE ]; do sleep 0.02; done"#;

/// A site whose database can be reached from the machines.
fn site_of(network: &Network) -> Site {
    let cluster = network.in_hub(|| {
        let flavour = Flavour { idle_seconds_max: 1, tcp: true, purpose: "machines", ..Flavour::FAST };
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(flavour)));
        // One that an earlier test has left is in the hub of that.
        cluster.stop("immediate");
        cluster.start_again();
        cluster
    });
    Site::in_database(cluster.database())
}

/// Starts a worker process on a machine, which shares nothing with others but the database, and waits until it is there.
fn start(site: &Site, machine: &Machine, name: &str) -> WorkerView {
    let before: BTreeSet<WorkerId> = site.workers().iter().map(|worker| worker.id).collect();
    let store = format!("postgres://postgres@{}/{}?sslmode=disable", machine.server, site.postgres().name());
    let started = machine
        .starter()
        .arg(env!("CARGO_BIN_EXE_taskwright"))
        .args(["worker", "--concurrency", "4", "--lease", "5s"])
        .env("TASKWRIGHT_STORE", store)
        .env("TASKWRIGHT_RUN_DIR", site.path().join(name))
        .env("TASKWRIGHT_LISTEN", "none")
        .env_remove("TASKWRIGHT_CONFIG")
        .current_dir(site.path())
        .status()
        .unwrap();
    assert!(started.success());
    let mut found = None;
    site.wait_until("the worker", SOON, || {
        found = site.workers().into_iter().find(|worker| !before.contains(&worker.id));
        found.is_some()
    });
    let worker = found.unwrap();
    assert!(machine.pids().contains(&worker.pid), "it runs on that machine");
    worker
}

/// Waits until others can see each of the workers that live by its session.
fn wait_until_seen(site: &Site) {
    site.wait_until("the sessions", SOON, || {
        let tied = "SELECT count(*) FROM taskwright.worker LEFT JOIN taskwright.tether USING (worker)
                    WHERE state = 0 AND server IS NULL";
        site.postgres().sql(tied) == "0"
    });
}

/// Jobs that run until the file is there.
fn enqueue(site: &Site, count: usize, file: &str) -> Vec<JobId> {
    let script = SCRIPT.replace("FILE", file);
    let enqueue = || site.run(["enqueue", "exec", "--", "sh", "-c", &script]).trim().parse().unwrap();
    (0..count).map(|_| enqueue()).collect()
}

fn wait_until_running_on(site: &Site, worker: &WorkerView, jobs: &[JobId]) {
    site.wait_until("the jobs to run there", SOON, || {
        jobs.iter().all(|id| {
            let view = site.job(*id).view;
            view.state == State::Running && view.worker == Some(worker.id)
        })
    });
}

/// Asserts that the job was lost by the one worker and completed by the other.
fn assert_moved(site: &Site, job: JobId, from: &WorkerView, to: &WorkerView) {
    let detail = site.job(job);
    let attempts: Vec<_> = detail.attempts.iter().map(|record| (record.end, record.worker)).collect();
    assert_eq!(attempts, [(AttemptEnd::Lost, from.id), (AttemptEnd::Completed, to.id)], "{job}");
    assert_eq!(detail.view.state, State::Completed);
}

#[test]
fn jobs_of_a_machine_whose_worker_is_killed_run_elsewhere_within_2_s() {
    let Some(network) = Network::of(2) else { return };
    let site = site_of(&network);
    let mut doomed = start(&site, network.machine(0), "run0");
    let mut times = Vec::new();
    for round in 1..=4 {
        let jobs = enqueue(&site, 4, "never");
        wait_until_running_on(&site, &doomed, &jobs);
        // Each is the other's successor in turn, and comes when all is taken.
        let next = round % 2;
        let successor = start(&site, network.machine(next), &format!("run{next}"));
        wait_until_seen(&site);
        signal(doomed.pid, "KILL");
        let killed = now();
        site.wait_until("the jobs to run elsewhere", SOON, || {
            jobs.iter().all(|id| site.job(*id).view.attempt == 2)
        });
        times.push(killed.elapsed());
        site.wait_until("the jobs to complete", SOON, || {
            jobs.iter().all(|id| site.job(*id).view.state == State::Completed)
        });
        jobs.iter().for_each(|job| assert_moved(&site, *job, &doomed, &successor));
        doomed = successor;
    }
    let (middle, longest) = spread(times.clone());
    println!("running elsewhere after {middle:?} in the middle, {longest:?} at the longest: {times:?}");
    assert!(longest <= Duration::from_secs(2), "{times:?}");
}

#[test]
fn a_machine_that_is_cut_off_loses_its_jobs_within_its_lease_and_5_s_and_comes_back_as_another() {
    let Some(network) = Network::of(2) else { return };
    let site = site_of(&network);
    let cut_off = start(&site, network.machine(0), "run0");
    let (running, ending) = (enqueue(&site, 2, "never"), enqueue(&site, 2, "now"));
    let all: Vec<JobId> = running.iter().chain(&ending).copied().collect();
    wait_until_running_on(&site, &cut_off, &all);
    let other = start(&site, network.machine(1), "run1");
    wait_until_seen(&site);

    network.machine(0).cut();
    let cut = now();
    // These end there, and the end cannot be written.
    std::fs::write(site.path().join("now"), "").unwrap();
    site.wait_until("the jobs to complete elsewhere", SOON, || {
        all.iter().all(|id| site.job(*id).view.state == State::Completed)
    });
    let took = cut.elapsed();
    println!("completed elsewhere after {took:?}");
    assert!(took <= LEASE + Duration::from_secs(5), "{took:?}");

    network.machine(0).mend();
    let mut back = None;
    site.wait_until("the machine to come back", SOON, || {
        back = site.workers().into_iter().find(|worker| worker.pid == cut_off.pid);
        back.is_some()
    });
    let back = back.unwrap();
    assert_ne!(back.id, cut_off.id);
    // It works again: what only it can take now, it takes.
    signal(other.pid, "TERM");
    site.wait_until("the other to leave", SOON, || site.workers().len() == 1);
    let last = enqueue(&site, 1, "now");
    site.wait_until("it to work", SOON, || site.job(last[0]).view.state == State::Completed);
    assert_eq!(site.job(last[0]).attempts[0].worker, back.id);
    // By now it has written all that it had to write.
    all.iter().for_each(|job| assert_moved(&site, *job, &cut_off, &other));
}
