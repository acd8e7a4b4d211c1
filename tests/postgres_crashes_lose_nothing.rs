//! The server crashes and its sessions are killed again and again, while jobs are enqueued and run: nothing that was
//! acknowledged is lost, nothing runs more often than its attempts say, work goes on at once, and no process of ours ends.
//!
//! `TASKWRIGHT_TEST_RESTARTS` and `TASKWRIGHT_TEST_KILLED_SESSIONS` make it longer: see CONTRIBUTING.md.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright::store::JobView;
use taskwright::{JobId, State};

use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Dice, Site, Up, children_of, signal, spread};

const SOON: Duration = Duration::from_secs(30);

/// How long after the server is back the first job may be claimed.
const CLAIM_GAP_MAX: Duration = Duration::from_secs(2);

/// One in so many sessions is not ended, but its process killed, upon which the server ends all of them and recovers.
const CRASH_EVERY: usize = 20;

/// Enqueuers wait while so many jobs are not done. There is always something to claim, and the end is not far.
const BACKLOG_MAX: usize = 400;

/// Jobs of one file.
const BATCH_JOBS: usize = 25;

/// Each run leaves a line, all of one length.
const SCRIPT: &str = r#"echo "$TASKWRIGHT_JOB_ID $TASKWRIGHT_ATTEMPT" >> runs.log"#;
const LINE_BYTES: u64 = 39;

#[test]
fn crashes_of_the_server_and_kills_of_its_sessions_lose_nothing() {
    let (restarts, kills) =
        (asked("TASKWRIGHT_TEST_RESTARTS", 2), asked("TASKWRIGHT_TEST_KILLED_SESSIONS", 20));
    let purpose = "crashes while jobs run";
    // The site needs one that lives as long as the test's process.
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::start(Flavour { idle_seconds_max: 5, purpose, ..Flavour::DURABLE })));
    let site = Site::in_database(cluster.database());
    write_files(&site);
    let start = || site.up(["--workers", "2", "--concurrency", "4"]);
    let ups = [start(), start()];
    site.wait_until("all workers", SOON, || site.workers().len() == 4);
    let before = processes(&ups);

    let (acknowledged, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut faults = Faults { site: &site, cluster, dice: Dice::new(seed()), away: Vec::new() };
    let crashes = std::thread::scope(|scope| {
        for file in ["one.ndjson", "many.ndjson"] {
            let (site, acknowledged, over) = (&site, &acknowledged, &over);
            scope.spawn(move || enqueue(site, file, acknowledged, over));
        }
        let faults = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| faults.all(restarts, kills)));
        over.store(true, Ordering::SeqCst);
        faults.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });

    site.wait_until("every job to end", Duration::from_secs(120), || {
        site.jobs(&[State::Available, State::Running, State::Scheduled, State::Retryable]).is_empty()
    });
    assert_eq!(processes(&ups), before, "no process ended");
    let acknowledged = acknowledged.into_inner().unwrap();
    println!("{restarts} restarts and {kills} killed sessions, of which {crashes} crashed the server");
    check_jobs(&site, &acknowledged);
    check_gaps(&site, &faults.away);
    for up in ups {
        assert!(up.stop().success());
    }
}

/// A count that the environment may ask for.
fn asked(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name);
    given.map_or(otherwise, |count| count.parse().unwrap_or_else(|_| panic!("{name} is a number of times")))
}

fn seed() -> u64 {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    seed
}

fn write_files(site: &Site) {
    let command = ["sh", "-c", SCRIPT];
    let job = serde_json::json!({"kind": "exec", "args": {"command": command, "cwd": site.path()}});
    let line = format!("{job}\n");
    std::fs::write(site.path().join("one.ndjson"), &line).unwrap();
    std::fs::write(site.path().join("many.ndjson"), line.repeat(BATCH_JOBS)).unwrap();
    std::fs::write(site.path().join("runs.log"), "").unwrap();
}

/// Every process of ours, the children of each `up` too.
fn processes(ups: &[Up]) -> Vec<u32> {
    let mut all: Vec<u32> =
        ups.iter().flat_map(|up| std::iter::once(up.pid()).chain(up.worker_pids())).collect();
    all.sort_unstable();
    all
}

/// How many runs have left their line.
fn runs(site: &Site) -> usize {
    usize::try_from(std::fs::metadata(site.path().join("runs.log")).unwrap().len() / LINE_BYTES).unwrap()
}

/// Enqueues a file over and over, each time in a process of its own. Whatever that prints is acknowledged, also when it
/// fails after that.
fn enqueue(site: &Site, file: &str, acknowledged: &Mutex<Vec<JobId>>, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if acknowledged.lock().unwrap().len() > runs(site) + BACKLOG_MAX {
            site.pause(Duration::from_millis(10));
            continue;
        }
        let output = site.taskwright(["enqueue", "--from-file", file, "--any-kind"]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        acknowledged.lock().unwrap().extend(printed.lines().map(|line| line.parse::<JobId>().unwrap()));
    }
}

/// What happens to the server.
struct Faults<'a> {
    site: &'a Site,
    cluster: &'static Cluster,
    dice: Dice,
    /// From when to when it was away, in microseconds.
    away: Vec<(i64, i64)>,
}

impl Faults<'_> {
    /// All faults, the restarts spread among the kills; how many of these crashed the server.
    fn all(&mut self, restarts: usize, kills: usize) -> usize {
        let (mut killed, mut crashes) = (0, 0);
        for restart in 1..=restarts {
            while killed < kills * restart / restarts {
                killed += 1;
                match killed % CRASH_EVERY {
                    0 => {
                        self.kill_a_session();
                        crashes += 1;
                    }
                    _ => self.end_a_session(),
                }
                self.site.pause(Duration::from_millis(self.dice.below(200)));
            }
            self.restart();
        }
        crashes
    }

    fn restart(&mut self) {
        self.is_away_while(|faults| {
            faults.cluster.stop("immediate");
            faults.cluster.start_again();
        });
    }

    /// Ends the session of one of ours, whoever has it; one must be there.
    fn end_a_session(&self) {
        let sql = format!("SELECT pg_terminate_backend(pid) FROM ({ANY_SESSION}) s");
        let ended = || self.site.postgres().sql(&sql) == "t";
        self.site.wait_until("a session", SOON, ended);
    }

    /// Kills the process of such a session.
    fn kill_a_session(&mut self) {
        let server = self.cluster.directory().join("run/data/postmaster.pid");
        let server = std::fs::read_to_string(server).unwrap();
        let server = server.lines().next().unwrap().parse().unwrap();
        let mut victim = String::new();
        self.site.wait_until("a session", SOON, || {
            victim = self.site.postgres().sql(ANY_SESSION);
            !victim.is_empty()
        });
        let before = children_of(server);
        self.is_away_while(|faults| {
            signal(victim.parse().unwrap(), "KILL");
            faults.site.wait_until("the server to recover", SOON, || {
                let left = children_of(server);
                before.iter().all(|pid| !left.contains(pid)) && faults.cluster.answers()
            });
        });
    }

    /// Takes the server away and brings it back; goes on once jobs run again, so that the next fault meets a busy one.
    fn is_away_while(&mut self, fault: impl FnOnce(&Self)) {
        let began = self.site.env.now().as_micros();
        fault(self);
        self.away.push((began, self.site.env.now().as_micros()));
        let before = runs(self.site);
        self.site.wait_until("jobs to run again", SOON, || runs(self.site) > before + 10);
    }
}

/// The process of a session on this database, but for the one that asks.
const ANY_SESSION: &str = "SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    ORDER BY random() LIMIT 1";

fn check_jobs(site: &Site, acknowledged: &[JobId]) {
    let jobs: HashMap<JobId, JobView> = site.jobs(&State::ALL).into_iter().map(|job| (job.id, job)).collect();
    let lost = acknowledged.iter().filter(|id| !jobs.contains_key(*id)).count();
    let log = std::fs::read_to_string(site.path().join("runs.log")).unwrap();
    let mut ran: HashMap<(JobId, u32), u32> = HashMap::new();
    for line in log.lines() {
        let (id, attempt) = line.split_once(' ').unwrap();
        *ran.entry((id.parse().unwrap(), attempt.parse().unwrap())).or_default() += 1;
    }
    let twice =
        ran.iter().filter(|((id, attempt), times)| **times > 1 || *attempt > jobs[id].attempt).count();
    let attempts: u32 = jobs.values().map(|job| job.attempt).sum();
    println!(
        "{} jobs acknowledged, {} stored; {lost} lost, {twice} runs without an attempt; {} runs of {attempts} attempts",
        acknowledged.len(),
        jobs.len(),
        log.lines().count(),
    );
    assert_eq!((lost, twice), (0, 0));
    for job in jobs.values() {
        assert_eq!(job.state, State::Completed, "{}: {:?}", job.id, job.error);
        assert!(ran.contains_key(&(job.id, job.attempt)), "{}: it completed without having run", job.id);
    }
}

/// Holds the times between claims against the times in which the server was away.
fn check_gaps(site: &Site, away: &[(i64, i64)]) {
    let jobs = site.jobs(&State::ALL);
    let mut claims: Vec<i64> = jobs.iter().map(|job| job.claimed_at.unwrap().as_micros()).collect();
    claims.sort_unstable();
    let micros = |us: i64| Duration::from_micros(us.unsigned_abs());
    // Around each time away the longest one, and all others.
    let (mut around, mut beyond) = (vec![Duration::ZERO; away.len()], Duration::ZERO);
    for (from, to) in claims.windows(2).map(|pair| (pair[0], pair[1])) {
        let gap = micros(to - from);
        let mut gone = Duration::ZERO;
        for (longest, (began, ended)) in around.iter_mut().zip(away) {
            let shared = to.min(*ended) - from.max(*began);
            if shared > 0 {
                gone += micros(shared);
                *longest = gap.max(*longest);
            }
        }
        beyond = beyond.max(gap.saturating_sub(gone));
    }
    let (gone, gone_max) = spread(away.iter().map(|(began, ended)| micros(ended - began)).collect());
    let (gap, gap_max) = spread(around);
    println!("the server was away for {gone:?} (median), {gone_max:?} (longest)");
    println!("around that nothing was claimed for {gap:?} (median), {gap_max:?} (longest)");
    println!("no time without a claim was longer than the server was away and {beyond:?}");
    assert!(beyond <= CLAIM_GAP_MAX, "{beyond:?}");
}
