//! A server is replaced again and again under load: no request fails, no job is lost, and no attempt is burnt; who waits for a
//! job is told its end, and who follows a stream misses nothing. (50 times with `TASKWRIGHT_TEST_FULL=1`.)

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ClientConfig;
use taskwright::{JobId, State};

use crate::authority::Authority;
use crate::caller::{Caller, Event};
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
    under_load_nothing_fails_on(&Site::new(), None);
}

#[test]
fn under_load_no_request_over_tls_fails() {
    under_load_nothing_fails_on(&Site::new(), Some(&Authority::new("ours")));
}

#[cfg(feature = "postgres")]
#[test]
fn under_load_no_request_fails_no_job_is_lost_and_no_attempt_is_burnt_on_postgresql() {
    under_load_nothing_fails_on(&Site::on_postgres(), None);
}

#[cfg(feature = "postgres")]
#[test]
fn under_load_no_request_over_tls_fails_on_postgresql() {
    under_load_nothing_fails_on(&Site::on_postgres(), Some(&Authority::new("ours")));
}

/// Who asks while the server is replaced, and what they were told.
struct Load {
    address: String,
    tls: Option<Arc<ClientConfig>>,
    root: String,
    member: String,
    /// Nobody asks for more.
    is_over: AtomicBool,
    /// Nobody follows any more.
    is_read: AtomicBool,
    /// The jobs whose end the stream of jobs has told.
    ends: Mutex<BTreeSet<JobId>>,
    /// The numbers that events carry, as the stream of events has told them.
    numbers: Mutex<Vec<u64>>,
}

/// What became of what somebody asked.
#[derive(Default)]
struct Outcome {
    requests: u64,
    failures: Vec<String>,
    stored: Vec<JobId>,
}

impl Outcome {
    fn ask(
        &mut self,
        caller: &mut Caller,
        wanted: u16,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<String> {
        self.requests += 1;
        match caller.ask(method, path, body) {
            Ok((status, body)) if status == wanted => Some(body),
            other => {
                self.failures.push(format!("{other:?}"));
                None
            }
        }
    }

    fn store(&mut self, caller: &mut Caller, job: &str) -> Option<JobId> {
        let body = self.ask(caller, 201, "POST", "/api/v1/jobs", job)?;
        let from = body.find("\"id\":\"").unwrap() + 6;
        let id = body[from..from + 36].parse().unwrap();
        self.stored.push(id);
        Some(id)
    }
}

impl Load {
    fn caller(&self, keeps: bool, token: &str) -> Caller {
        Caller::new(&self.address, keeps).bearing(token).believing(self.tls.clone())
    }

    /// Stores jobs as fast as they are answered.
    fn submit(&self, keeps: bool) -> Outcome {
        let (mut caller, mut outcome) = (self.caller(keeps, &self.root), Outcome::default());
        while !self.is_over.load(Ordering::Relaxed) {
            // Every few of them run for longer than a restart takes.
            let ms = if outcome.requests % 50 == 0 { 800 } else { 0 };
            let job = format!(r#"{{"kind":"flood","args":{{"for_ms":{ms}}}}}"#);
            outcome.store(&mut caller, &job);
            if outcome.requests % 5 == 0 {
                outcome.ask(&mut caller, 200, "GET", "/readyz", "");
            }
            thread::yield_now();
        }
        outcome
    }

    /// Stores a job, waits for its end by long polls, and begins anew.
    fn wait(&self) -> Outcome {
        let (mut caller, mut outcome) = (self.caller(true, &self.member), Outcome::default());
        while !self.is_over.load(Ordering::Relaxed) {
            let Some(id) = outcome.store(&mut caller, r#"{"kind":"nap"}"#) else { continue };
            let path = format!("/api/v1/jobs/{id}/wait?timeout=20s");
            // A server that is left answers at once, with the job as it is.
            while let Some(job) = outcome.ask(&mut caller, 200, "GET", &path, "")
                && !job.contains("\"state\":\"completed\"")
            {}
        }
        outcome
    }

    /// Emits events, numbered.
    fn emit(&self) -> Outcome {
        let (mut caller, mut outcome) = (self.caller(true, &self.member), Outcome::default());
        while !self.is_over.load(Ordering::Relaxed) {
            let event = format!(r#"{{"topic":"restart.number","payload":{}}}"#, outcome.requests);
            outcome.ask(&mut caller, 201, "POST", "/api/v1/events", &event);
            thread::yield_now();
        }
        outcome
    }

    /// Follows a stream, as a browser does: behind the last id when it ends. Says once when it has begun.
    fn follow(&self, path: &str, begun: impl FnOnce(), tell: impl Fn(&Event)) -> Outcome {
        let (caller, mut outcome) = (self.caller(false, &self.member), Outcome::default());
        let (mut last_id, mut begun) = (None, Some(begun));
        while !self.is_read.load(Ordering::Relaxed) {
            outcome.requests += 1;
            let mut events = match caller.follow(path, last_id.as_deref()) {
                Ok(events) => events,
                Err(why) => {
                    outcome.failures.push(why);
                    continue;
                }
            };
            loop {
                let event = match events.next() {
                    Ok(Some(event)) => event,
                    other => {
                        outcome.failures.push(format!("{path} ended without a word: {other:?}"));
                        break;
                    }
                };
                last_id = event.id.clone().or(last_id);
                match &*event.name {
                    "end" => break,
                    "start" => begun.take().into_iter().for_each(|begun| begun()),
                    "missed" | "cut-off" => outcome.failures.push(format!("{path}: {event:?}")),
                    _ => tell(&event),
                }
            }
        }
        outcome
    }

    fn follow_jobs(&self, begun: impl FnOnce()) -> Outcome {
        self.follow("/api/v1/jobs/stream?state=completed", begun, |event| {
            if event.name == "job" {
                let job: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                self.ends.lock().unwrap().insert(job["id"].as_str().unwrap().parse().unwrap());
            }
        })
    }

    fn follow_events(&self, begun: impl FnOnce()) -> Outcome {
        self.follow("/api/v1/events/stream?topic=restart.*", begun, |event| {
            if event.name == "event" {
                let told: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                self.numbers.lock().unwrap().push(told["payload"].as_u64().unwrap());
            }
        })
    }
}

/// Does it on a thread of its own. When the test fails, nobody waits for that.
fn beside<T: Send + 'static>(
    load: &Arc<Load>,
    work: impl FnOnce(&Load) -> T + Send + 'static,
) -> JoinHandle<T> {
    let load = Arc::clone(load);
    thread::spawn(move || work(&load))
}

fn configure(site: &Site, authority: Option<&Authority>) {
    let mut config = "[tasks.nap]\ncommand = \"sleep\"\nargs = [\"0.3\"]\n".to_owned();
    if let Some(authority) = authority {
        authority.write(site.path(), &["127.0.0.1"]);
        config += "[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    }
    std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
}

fn under_load_nothing_fails_on(site: &Site, authority: Option<&Authority>) {
    let restarts = if std::env::var_os("TASKWRIGHT_TEST_FULL").is_some() { 50 } else { 3 };
    configure(site, authority);
    let root = site.run(["tokens", "create", "root", "--superuser"]).trim().to_owned();
    let member = site.run(["tokens", "create", "member", "--role", "member"]).trim().to_owned();
    let (mut up, address) = start(site, "up");
    let load = Arc::new(Load {
        address: address.clone(),
        tls: authority.map(Authority::believed),
        root,
        member,
        is_over: false.into(),
        is_read: false.into(),
        ends: Mutex::default(),
        numbers: Mutex::default(),
    });
    let (begun, begins) = std::sync::mpsc::channel();
    let (one, other) = (begun.clone(), begun);
    let readers = [
        beside(&load, move |load| load.follow_jobs(|| one.send(()).unwrap())),
        beside(&load, move |load| load.follow_events(|| other.send(()).unwrap())),
    ];
    (0..readers.len()).for_each(|_| begins.recv_timeout(Duration::from_secs(30)).unwrap());
    let emitter = beside(&load, Load::emit);
    let mut callers: Vec<_> =
        [true, true, false, false].map(|keeps| beside(&load, move |load| load.submit(keeps))).into();
    callers.push(beside(&load, Load::wait));
    let mut took = Vec::new();
    for _ in 0..restarts {
        let began = now();
        let next = replace(site, "up", &address);
        let old = std::mem::replace(&mut up, next);
        assert!(old.wait().success());
        took.push(began.elapsed());
    }
    load.is_over.store(true, Ordering::Relaxed);
    let emitted = emitter.join().unwrap();
    let asked: Vec<Outcome> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    let stored: BTreeSet<JobId> = asked.iter().flat_map(|caller| caller.stored.iter().copied()).collect();
    assert!(stored.len() > 20 * restarts, "{}", stored.len());
    site.wait_until("all jobs to end", Duration::from_secs(120), || {
        site.jobs(&[State::Available, State::Running, State::Scheduled, State::Retryable]).is_empty()
    });
    site.wait_until("the streams to tell the last of it", Duration::from_secs(30), || {
        load.ends.lock().unwrap().is_superset(&stored)
            && load.numbers.lock().unwrap().last().is_some_and(|last| last + 1 == emitted.requests)
    });
    // What a server tells that is being stopped is the end of a stream, too.
    load.is_read.store(true, Ordering::Relaxed);
    assert!(up.stop().success());
    let read = readers.map(|reader| reader.join().unwrap());
    let outcomes: Vec<&Outcome> = asked.iter().chain([&emitted]).chain(&read).collect();
    let requests: u64 = outcomes.iter().map(|outcome| outcome.requests).sum();
    let failures: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.failures).collect();
    let some = &failures[..failures.len().min(5)];
    assert!(failures.is_empty(), "{} of {requests} failed: {some:#?}", failures.len());
    let ended: BTreeMap<JobId, (State, u32)> =
        site.jobs(&[]).into_iter().map(|job| (job.id, (job.state, job.attempt))).collect();
    for id in &stored {
        assert_eq!(ended.get(id), Some(&(State::Completed, 1)), "{id}: {:?}", site.job(*id).timeline);
    }
    assert_eq!(ended.len(), stored.len(), "nothing is there twice");
    let numbers = load.numbers.lock().unwrap();
    assert!(numbers.iter().copied().eq(0..emitted.requests), "each event once, in order: {numbers:?}");
    let (middle, longest) = spread(took);
    println!(
        "{restarts} rolling restarts: {requests} requests, 0 failed; {} jobs, all completed by their first attempt, their \
         ends told by a stream of {} connections; {} events by one of {}; a restart took {middle:?}, {longest:?} at most",
        stored.len(),
        read[0].requests,
        numbers.len(),
        read[1].requests,
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

/// Whoever is refused the lock is told to kill the one that has it: that has to be the one that runs.
#[test]
fn a_follower_that_is_refused_is_not_named_as_the_one_that_runs() {
    let site = Site::new();
    // Without a port to be known by, whoever follows is found by the store.
    let up = |words: &[&str]| {
        let mut command = site.taskwright(["up", "--workers", "0"]);
        command.args(words).env("TASKWRIGHT_LISTEN", "127.0.0.1:0");
        command
    };
    let first = site.start(&mut up(&[]));
    let refused = up(&["--replace", "--listen", "0.0.0.0:0"]).output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains(&format!("taking the place of process {}", first.pid())), "{told}");
    assert!(told.contains("without TLS"), "{told}");
    let names = |running: &Up| {
        let second = up(&[]).output().unwrap();
        let told = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("(process {})", running.pid())), "{told}");
        assert!(told.contains(&format!("`kill {}`", running.pid())), "{told}");
    };
    names(&first);
    // One that has taken over is.
    let second = site.start_until(&mut up(&["--replace"]), "ends when its work is done");
    assert!(first.wait().success());
    names(&second);
    assert!(second.stop().success());
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
