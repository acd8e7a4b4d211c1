//! A server is replaced again and again under load: no request fails, no job is lost, and no attempt is burnt. (50 times with
//! `TASKWRIGHT_TEST_FULL=1`.)

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use taskwright::{JobId, State};

use crate::caller::Caller;
use crate::support::{Site, Up, now, signal, spread};

fn replace(site: &Site, verb: &str, address: &str) -> Up {
    let mut command = site.taskwright([verb, "--replace"]);
    command.env("TASKWRIGHT_LISTEN", address);
    if verb == "up" {
        command.args(["--workers", "2", "--concurrency", "4", "--grace", "10s"]);
    }
    site.start_until(&mut command, "ends when its work is done")
}

fn start(site: &Site, verb: &str) -> (Up, String) {
    // A port of its own: it has to be known before, for the next one to find this one by.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut command = site.taskwright([verb]);
    command.env("TASKWRIGHT_LISTEN", &address);
    if verb == "up" {
        command.args(["--workers", "2", "--concurrency", "4", "--grace", "10s"]);
    }
    (site.start(&mut command), address)
}

#[test]
fn under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt() {
    under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt_on_postgresql() {
    under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt_on(&Site::on_postgres());
}

fn under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt_on(site: &Site) {
    let restarts = if std::env::var_os("TASKWRIGHT_TEST_FULL").is_some() { 50 } else { 3 };
    let (mut up, address) = start(site, "up");
    let over = AtomicBool::new(false);
    let submit = |keeps: bool| {
        let mut caller = Caller::new(&address, keeps);
        let mut stored = Vec::new();
        let (mut requests, mut failures) = (0_u64, Vec::new());
        while !over.load(Ordering::Relaxed) {
            // Every few of them run for longer than a restart takes.
            let ms = if requests % 50 == 0 { 800 } else { 0 };
            let body = format!(r#"{{"kind":"flood","args":{{"for_ms":{ms}}}}}"#);
            requests += 1;
            match caller.ask("POST", "/api/v1/jobs", &body) {
                Ok((201, body)) => {
                    let from = body.find("\"id\":\"").unwrap() + 6;
                    stored.push(body[from..from + 36].parse::<JobId>().unwrap());
                }
                other => failures.push(format!("{other:?}")),
            }
            if requests % 5 == 0 {
                requests += 1;
                match caller.ask("GET", "/readyz", "") {
                    Ok((200, _)) => {}
                    other => failures.push(format!("{other:?}")),
                }
            }
            thread::yield_now();
        }
        (requests, stored, failures)
    };
    let mut took = Vec::new();
    let results = thread::scope(|scope| {
        let callers: Vec<_> =
            [true, true, false, false].map(|keeps| scope.spawn(move || submit(keeps))).into();
        for _ in 0..restarts {
            let began = now();
            let next = replace(site, "up", &address);
            let old = std::mem::replace(&mut up, next);
            assert!(old.wait().success());
            took.push(began.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let requests: u64 = results.iter().map(|(requests, ..)| requests).sum();
    let failures: Vec<&String> = results.iter().flat_map(|(.., failures)| failures).collect();
    assert!(
        failures.is_empty(),
        "{} of {requests} failed: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    let stored: Vec<JobId> = results.iter().flat_map(|(_, stored, _)| stored.iter().copied()).collect();
    assert!(stored.len() > 20 * restarts, "{}", stored.len());
    site.wait_until("all jobs to end", Duration::from_secs(120), || {
        site.jobs(&[State::Available, State::Running, State::Scheduled, State::Retryable]).is_empty()
    });
    let ended: BTreeMap<JobId, (State, u32)> =
        site.jobs(&[]).into_iter().map(|job| (job.id, (job.state, job.attempt))).collect();
    for id in &stored {
        assert_eq!(ended.get(id), Some(&(State::Completed, 1)), "{id}: {:?}", site.job(*id).timeline);
    }
    assert_eq!(ended.len(), stored.len(), "nothing is there twice");
    assert!(up.stop().success());
    let (middle, longest) = spread(took);
    println!(
        "{restarts} rolling restarts: {requests} requests, 0 failed; {} jobs, all completed by their first attempt; \
         a restart took {middle:?}, {longest:?} at most",
        stored.len()
    );
}

#[test]
fn a_serve_is_replaced_too_and_a_follower_that_fails_changes_nothing() {
    let site = Site::new();
    let (first, address) = start(&site, "serve");
    let mut caller = Caller::new(&address, true);
    assert_eq!(caller.ask("GET", "/readyz", "").unwrap().0, 200);

    // One that cannot start.
    let bad = site.path().join("bad.toml");
    std::fs::write(&bad, "[server]\ntls_cert = \"none.pem\"\ntls_key = \"none.pem\"\n").unwrap();
    let mut command = site.taskwright(["serve", "--replace", "--config", bad.to_str().unwrap()]);
    let failed = command.env("TASKWRIGHT_LISTEN", &address).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert_eq!(caller.ask("GET", "/readyz", "").unwrap().0, 200);

    let second = replace(&site, "serve", &address);
    // A connection of the first is answered, and told to go.
    assert!(caller.connection.is_some());
    let body = r#"{"kind":"exec","args":{"command":["true"]}}"#;
    assert_eq!(caller.ask("POST", "/api/v1/jobs", body).unwrap().0, 201);
    assert!(caller.connection.is_none(), "it was told to connect again");
    assert!(first.wait().success());
    assert_eq!(caller.ask("GET", "/readyz", "").unwrap().0, 200);
    assert!(second.stop().success());
    // Nobody is there to be replaced: it starts as ever.
    let mut command = site.taskwright(["serve", "--replace"]);
    let third = site.start(command.env("TASKWRIGHT_LISTEN", &address));
    assert!(third.stop().success());
}

#[test]
fn a_socket_of_the_service_manager_lets_callers_wait_while_the_program_is_replaced() {
    let site = Site::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // As systemd does: descriptor 3, and two variables.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let activate = || {
        let binary = site.taskwright([]);
        let script = format!("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" up --workers 1 3<&{number}");
        // Not every sh knows descriptors of two digits.
        let mut command = Command::new("bash");
        command.args(["-c", &script]).arg(binary.get_program()).current_dir(site.path());
        command.env_remove("TASKWRIGHT_LISTEN").env_remove("RUST_LOG").env_remove("TASKWRIGHT_STORE");
        site.start(&mut command)
    };
    let first = activate();
    let mut kept = Caller::new(&address, true);
    assert_eq!(kept.ask("GET", "/readyz", "").unwrap().0, 200);
    signal(first.pid(), "TERM");
    // Whoever is connected is answered, and told to connect again.
    assert_eq!(kept.ask("GET", "/healthz", "").unwrap().0, 200);
    assert!(first.wait().success());
    // Nobody listens now, and nobody is refused.
    let waiting = thread::spawn(move || {
        let body = r#"{"kind":"exec","args":{"command":["true"]}}"#;
        Caller::new(&address, false).ask("POST", "/api/v1/jobs", body)
    });
    let second = activate();
    assert_eq!(waiting.join().unwrap().unwrap().0, 201);
    site.wait_until("the job to run", Duration::from_secs(10), || site.jobs(&[State::Completed]).len() == 1);
    assert!(second.stop().success());
}
