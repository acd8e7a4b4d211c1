//! Real files, one job each that hashes and compresses it; kills of random workers, of the parent, and of
//! everything at once, every third one with another on its heels. Every file ends right, no job is
//! lost, and none ran more often than its attempts say.
//!
//! `TASKWRIGHT_TEST_KILLS` asks for another number of kills, and `TASKWRIGHT_TEST_KILL_ALL=1` for kills of everything only: see
//! CONTRIBUTING.md.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::{Dice, Site, Up, now, spread};

/// With fewer left there would be nothing to kill any more: so many more come then.
const FILES_LEAST: usize = 500;

/// What took longer is told with what happened meanwhile.
const NOTABLE: Duration = Duration::from_millis(500);

/// How many files there are, and how many kills.
#[derive(Clone, Copy)]
struct Scale {
    files: usize,
    kills: usize,
}

impl Scale {
    /// So many, unless the environment asks for another number of kills. A fast machine has more files done between two of them:
    /// there may be more files in the end.
    fn asked(files: usize, kills: usize) -> Self {
        let asked = std::env::var("TASKWRIGHT_TEST_KILLS");
        let asked = asked.map_or(kills, |count| count.parse().expect("TASKWRIGHT_TEST_KILLS is a number"));
        Self { files, kills: asked }
    }
}

const UNFINISHED: [State; 4] = [State::Available, State::Running, State::Scheduled, State::Retryable];

/// What one job does. The results appear whole or not at all, and each run leaves a line first.
const SCRIPT: &str = r#"
echo "$TASKWRIGHT_JOB_ID $TASKWRIGHT_ATTEMPT" >> runs.log
sha256sum < "$1" > "results/$2.sum.$$" && gzip -nc "$1" > "results/$2.gz.$$" && sleep 0.04 &&
mv "results/$2.sum.$$" "results/$2.sum" && mv "results/$2.gz.$$" "results/$2.gz"
"#;

#[test]
fn kill_anything_and_every_file_is_done() {
    kill_on(&Site::new(), Scale::asked(2_000, 50));
}

#[cfg(feature = "postgres")]
#[test]
fn kill_anything_and_every_file_is_done_on_postgresql() {
    kill_on(&Site::on_postgres(), Scale::asked(1_000, 20));
}

fn kill_on(site: &Site, scale: Scale) {
    std::fs::create_dir(site.path().join("results")).unwrap();
    let mut work = Work { site, files: real_files(), ids: Vec::new() };
    work.enqueue(scale.files);

    let again = kill_at_random(site, scale.kills, &mut work);
    let ids = work.ids;
    let up = start(site);
    let began = now();
    let limit = Duration::from_secs(240);
    site.wait_until("every job to end", limit, || site.jobs(&UNFINISHED).is_empty());
    println!("drained in {:?} after the last kill", began.elapsed());
    assert!(up.stop().success());

    check_jobs(site, &ids);
    check_results(site, &work.files[..ids.len()]);
    site.check_integrity();
    for (what, durations) in
        [("worker", again.worker), ("parent", again.parent), ("everything", again.everything)]
    {
        let count = durations.len();
        if count == 0 {
            continue;
        }
        let (median, max) = spread(durations);
        println!(
            "kill of {what}: {count} times; its jobs went on after {median:?} (median), {max:?} (longest)"
        );
        // 1 s when only a worker died, 2 s from a restart on.
        let promised = Duration::from_secs(if what == "worker" { 1 } else { 2 });
        assert!(max < promised, "{what}: {max:?} at the longest, {promised:?} promised");
    }
}

/// How long it took until every job that had been running went on.
#[derive(Default)]
struct Again {
    worker: Vec<Duration>,
    parent: Vec<Duration>,
    everything: Vec<Duration>,
}

fn start(site: &Site) -> Up {
    site.up(["--workers", "2", "--concurrency", "2"])
}

fn kill_at_random(site: &Site, wanted: usize, work: &mut Work<'_>) -> Again {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut again = Again::default();
    let mut up = start(site);
    let mut kills = 0;
    while kills < wanted {
        // In a long run it should be seen how far it is; and with no file left nothing can be killed.
        let left = site.jobs(&UNFINISHED).len();
        println!("{kills} kills, {left} files left");
        if left < FILES_LEAST {
            work.enqueue(FILES_LEAST);
        }
        site.wait_until("something to run", Duration::from_secs(20), || {
            !site.jobs(&[State::Running]).is_empty()
        });
        site.pause(Duration::from_millis(dice.below(150)));
        // Every third time a second kill comes before the first one's work has gone on. Not a third: a job that loses three
        // workers in a row is quarantined, which is another promise with a test of its own.
        let mut strikes = Vec::new();
        up = strike(site, up, &mut dice, &mut strikes);
        if dice.below(3) == 0 {
            site.pause(Duration::from_millis(dice.below(60)));
            up = strike(site, up, &mut dice, &mut strikes);
        }
        // A worker that has not been replaced yet cannot be killed again: that is none of the kills.
        kills +=
            strikes.iter().filter(|strike| strike.what != What::Worker || !strike.victims.is_empty()).count();
        let began = now();
        let held = || strikes.iter().flat_map(|strike| &strike.held);
        site.wait_until("the jobs of the killed to go on", Duration::from_secs(20), || {
            held().all(|(id, attempt)| has_gone_on(site, *id, *attempt))
        });
        if began.elapsed() > NOTABLE {
            println!("{:?} until these went on:", began.elapsed());
            held().for_each(|(id, attempt)| println!("{attempt}: {:#?}", site.job(*id).timeline));
        }
        let what = strikes.iter().map(|strike| strike.what).max().unwrap();
        if what == What::Parent {
            // The workers of a killed parent finish what they run; the new parent's own have to take over.
            site.wait_until("the new workers to work", Duration::from_secs(20), || {
                !running_on(site, &up.worker_pids()).is_empty()
            });
        }
        match what {
            What::Worker => again.worker.push(began.elapsed()),
            What::Parent => again.parent.push(began.elapsed()),
            What::Everything => again.everything.push(began.elapsed()),
        }
        // Nor may the next kill be the third for a job.
        site.wait_until("the jobs of the killed to end", Duration::from_secs(20), || {
            let is_gone = |pid: &u32| site.workers().iter().all(|worker| worker.pid != *pid);
            held().all(|(id, _)| site.job(*id).view.state.is_terminal())
                && strikes.iter().flat_map(|strike| &strike.victims).all(is_gone)
                && !is_any_job_at_a_second_attempt(site)
        });
        site.check_integrity();
    }
    up.kill_all();
    again
}

/// What was killed, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Worker,
    Parent,
    Everything,
}

/// One kill.
struct Strike {
    what: What,
    victims: Vec<u32>,
    /// What ran on the victims just before: only jobs of the killed have to go on elsewhere.
    held: Vec<(JobId, u32)>,
}

/// Kills something and notes it; what is up after that.
fn strike(site: &Site, up: Up, dice: &mut Dice, strikes: &mut Vec<Strike>) -> Up {
    let kind = if std::env::var_os("TASKWRIGHT_TEST_KILL_ALL").is_some() { 3 } else { dice.below(4) };
    let (what, victims) = match kind {
        0 | 1 => (What::Worker, pick(&up.worker_pids(), dice)),
        2 => (What::Parent, Vec::new()),
        _ => (What::Everything, up.worker_pids()),
    };
    let held = running_on(site, &victims);
    let up = match what {
        What::Worker => {
            victims.iter().for_each(|pid| crate::support::signal(*pid, "KILL"));
            up
        }
        What::Parent => {
            up.kill();
            start(site)
        }
        What::Everything => {
            up.kill_all();
            start(site)
        }
    };
    strikes.push(Strike { what, victims, held });
    up
}

/// Whether a job that lost a worker has not ended yet.
fn is_any_job_at_a_second_attempt(site: &Site) -> bool {
    let waits = || site.jobs(&[State::Available, State::Scheduled, State::Retryable]);
    site.jobs(&[State::Running]).iter().any(|job| job.attempt > 1)
        || waits().iter().any(|job| job.attempt > 0)
}

/// One of the workers, unless none has been started yet after the last kill.
fn pick(pids: &[u32], dice: &mut Dice) -> Vec<u32> {
    let nth = usize::try_from(dice.below(pids.len().max(1) as u64)).unwrap();
    pids.get(nth).copied().into_iter().collect()
}

fn running_on(site: &Site, pids: &[u32]) -> Vec<(JobId, u32)> {
    let on: Vec<_> = site
        .workers()
        .into_iter()
        .filter(|worker| pids.contains(&worker.pid))
        .map(|worker| worker.id)
        .collect();
    site.jobs(&[State::Running])
        .into_iter()
        .filter(|job| job.worker.is_some_and(|worker| on.contains(&worker)))
        .map(|job| (job.id, job.attempt))
        .collect()
}

/// Whether a job that was being run in this attempt has ended, runs again, or was handed back because it had not been
/// started.
fn has_gone_on(site: &Site, id: JobId, attempt: u32) -> bool {
    let job = site.job(id);
    job.view.state.is_terminal()
        || job.view.attempt > attempt
        || job.timeline.iter().any(|entry| entry.cause == Some(taskwright::core::Cause::GiveBack))
}

fn check_jobs(site: &Site, ids: &[JobId]) {
    let log = std::fs::read_to_string(site.path().join("runs.log")).unwrap();
    let mut runs: HashMap<JobId, HashMap<u32, u32>> = HashMap::new();
    for line in log.lines() {
        let (id, attempt) = line.split_once(' ').unwrap();
        *runs.entry(id.parse().unwrap()).or_default().entry(attempt.parse().unwrap()).or_default() += 1;
    }
    let mut lost = 0;
    for id in ids {
        let job = site.job(*id);
        assert_eq!(job.view.state, State::Completed, "{id}: {:?}", job.view.error);
        let ran = &runs[id];
        let recorded = u32::try_from(job.attempts.len()).unwrap();
        assert!(ran.values().all(|times| *times == 1), "{id}: an attempt ran twice: {ran:?}");
        assert!(ran.keys().all(|attempt| *attempt <= recorded), "{id}: {ran:?}, recorded {recorded}");
        lost += recorded - 1;
    }
    println!("{lost} attempts were lost to kills");
    assert!(lost > 0, "the kills hit nothing");
}

fn check_results(site: &Site, files: &[PathBuf]) {
    for (number, file) in files.iter().enumerate() {
        let results = site.path().join("results");
        let sum = std::fs::read_to_string(results.join(format!("{number}.sum"))).unwrap();
        assert_eq!(sum, sha256(file, false), "{}", file.display());
        assert_eq!(sum, sha256(&results.join(format!("{number}.gz")), true), "{}", file.display());
    }
}

/// What `sha256sum` says of a file, or of what is compressed in it.
fn sha256(file: &Path, compressed: bool) -> String {
    let script = if compressed { "gzip -dc \"$1\" | sha256sum" } else { "sha256sum < \"$1\"" };
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Real files of this machine: documentation, and what else there is until there are enough.
/// Files, and the jobs that have been made of the first of them.
struct Work<'a> {
    site: &'a Site,
    files: Vec<PathBuf>,
    ids: Vec<JobId>,
}

impl Work<'_> {
    /// Makes jobs of so many more files.
    fn enqueue(&mut self, count: usize) {
        let from = self.ids.len();
        let files = self.files.get(from..from + count).expect("this machine has enough files");
        write_jobs(self.site, from, files);
        let printed = self.site.run(["enqueue", "--from-file", "jobs.ndjson", "--any-kind"]);
        self.ids.extend(printed.lines().map(|line| line.parse::<JobId>().unwrap()));
        assert_eq!(self.ids.len(), from + count);
    }
}

fn real_files() -> Vec<PathBuf> {
    let found = Command::new("find")
        .args(["/usr/share/doc", "/usr/share", "/usr/lib", "-type", "f", "-size", "-64k", "-readable"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let mut files: Vec<PathBuf> = String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    files
}

/// Writes down what is to be enqueued of files, the first of which is the one of number `from`.
fn write_jobs(site: &Site, from: usize, files: &[PathBuf]) {
    let mut lines = String::new();
    for (number, file) in (from..).zip(files) {
        let job = serde_json::json!({
            "kind": "exec",
            "args": {
                "command": ["sh", "-c", SCRIPT, "sh", file, number.to_string()],
                "cwd": site.path(),
            },
            // A kill counts as an attempt; this test kills more often than anybody would forgive.
            "max_attempts": 50,
        });
        lines.push_str(&job.to_string());
        lines.push('\n');
    }
    std::fs::write(site.path().join("jobs.ndjson"), lines).unwrap();
}
