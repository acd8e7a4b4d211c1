//! HUP reads the config file again: tasks, workers, schedules, limits and the log go by it at once, while what runs goes on; what
//! needs a restart is named; and a file with a mistake changes nothing.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Site, lives, signal};

fn id_of(printed: &str) -> JobId {
    printed.trim().parse().unwrap()
}

#[test]
fn what_can_be_is_put_into_effect_while_jobs_run_and_the_rest_is_named() {
    what_can_be_is_put_into_effect_while_jobs_run_and_the_rest_is_named_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn what_can_be_is_put_into_effect_while_jobs_run_and_the_rest_is_named_on_postgresql() {
    what_can_be_is_put_into_effect_while_jobs_run_and_the_rest_is_named_on(&Site::on_postgres());
}

fn what_can_be_is_put_into_effect_while_jobs_run_and_the_rest_is_named_on(site: &Site) {
    let file = site.path().join("taskwright.toml");
    std::fs::write(
        &file,
        "[tasks.old]\ncommand = \"true\"\n[schedules.gone]\ntask = \"old\"\nevery = \"1h\"\n",
    )
    .unwrap();
    let up = site.up(["--workers", "1", "--grace", "1s"]);
    let mut before = Vec::new();
    site.wait_until("the worker", Duration::from_secs(10), || {
        before = up.worker_pids();
        before.len() == 1
    });
    let script = "touch begun; until [ -e go ]; do sleep 0.05; done";
    let long = id_of(&site.run(["enqueue", "exec", "--", "sh", "-c", script]));
    site.wait_until("it to run", Duration::from_secs(10), || site.path().join("begun").exists());

    let text = "[log]\nlevel = \"info\"\n[server]\nlisten = \"127.0.0.1:1\"\nstreams_max = 7\n[workers]\nconcurrency = 2\n\
                [tasks.new]\ncommand = \"touch\"\nargs = [\"ran\"]\n[schedules.fresh]\ntask = \"new\"\nevery = \"1h\"\n\
                [retention]\nfailed = \"2d\"\n";
    std::fs::write(&file, text).unwrap();
    signal(up.pid(), "HUP");
    let told = up.wait_for_line("reloaded ");
    for section in ["log", "workers", "tasks", "schedules", "retention", "server"] {
        assert!(told.contains(section), "{told}");
    }
    up.wait_for_line("server.listen stays the default until a restart");
    up.wait_for_line("schedule fresh registered");
    up.wait_for_line("schedule gone removed");
    up.wait_for_line("1 worker process started");
    // A task of the new file runs in a new worker, while the old one ends what it runs, beyond the grace.
    let new = id_of(&site.run(["enqueue", "new"]));
    site.wait_until("the new task to run", Duration::from_secs(10), || {
        site.job(new).view.state == State::Completed
    });
    assert!(site.path().join("ran").exists());
    assert!(lives(before[0]) && site.job(long).view.state == State::Running);
    std::fs::write(site.path().join("go"), "").unwrap();
    site.wait_until("the old worker to end", Duration::from_secs(10), || {
        let pids = up.worker_pids();
        pids.len() == 1 && pids != before
    });
    let done = site.job(long);
    assert_eq!((done.view.state, done.view.attempt, done.attempts.len()), (State::Completed, 1, 1));

    // A mistake changes nothing, and everything goes on.
    std::fs::write(&file, "[workers]\nprocesses = \"many\"\n").unwrap();
    let after = up.worker_pids();
    signal(up.pid(), "HUP");
    up.wait_for_line("`processes` in [workers] is a string");
    up.wait_for_line("nothing was reloaded: the config stays as it was");
    assert_eq!(up.worker_pids(), after);
    std::fs::write(&file, text).unwrap();
    signal(up.pid(), "HUP");
    up.wait_for_line("it says what it said before");
    assert_eq!(up.worker_pids(), after);

    // None accept only; and some again.
    std::fs::write(
        &file,
        format!("{text}[workers.budget]\ncpu = 1\n").replace("concurrency = 2", "processes = 0"),
    )
    .unwrap();
    // A flag comes first.
    signal(up.pid(), "HUP");
    up.wait_for_line("1 worker process started");
    assert!(up.stop().success());
    let up = site.up([]);
    assert!(up.worker_pids().is_empty(), "0 accepts jobs and runs none");
    let waits = id_of(&site.run(["enqueue", "new"]));
    std::fs::write(&file, text.replace("concurrency = 2", "processes = 2")).unwrap();
    signal(up.pid(), "HUP");
    up.wait_for_line("2 worker processes started");
    site.wait_until("it to run", Duration::from_secs(10), || site.job(waits).view.state == State::Completed);
    assert!(up.stop().success());
}

#[test]
fn a_worker_of_its_own_says_that_it_does_not_reload() {
    let site = Site::new();
    let worker = {
        let mut command = site.taskwright(["worker"]);
        command.env("RUST_LOG", "taskwright=debug");
        site.start_until(&mut command, "the worker is registered")
    };
    signal(worker.pid(), "HUP");
    worker.wait_for_line("nothing was reloaded");
    assert!(worker.stop().success());
}

#[test]
fn a_terminal_that_goes_away_ends_what_was_started_in_it_in_good_order() {
    let site = Site::new();
    let binary = site.taskwright([]).get_program().to_str().unwrap().to_owned();
    let inside = format!("exec {binary} up --workers 1 2> log");
    // `script` makes a terminal, which goes with it.
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", &inside, "/dev/null"]).current_dir(site.path());
    script.env("TASKWRIGHT_LISTEN", "none").env_remove("TASKWRIGHT_STORE").env_remove("RUST_LOG");
    script.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut terminal = script.spawn().unwrap();
    let log = || std::fs::read_to_string(site.path().join("log")).unwrap_or_default();
    site.wait_until("it to be up", Duration::from_secs(20), || log().contains("Ctrl-C stops it"));
    let lock = site.path().join(".taskwright/taskwright.db-run/up.lock");
    let pid: u32 = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    site.wait_until("it to end", Duration::from_secs(20), || !lives(pid));
    assert!(log().contains("stopping: the terminal is gone"), "{}", log());
    assert!(site.workers().is_empty());
}
