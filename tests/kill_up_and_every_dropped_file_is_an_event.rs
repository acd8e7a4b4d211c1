//! Real files dropped into a directory that a source looks at, half of them in two steps, others moved there; `up` killed
//! again and again meanwhile, and down for a while each time. A schedule makes a job of each event. Every file is done at
//! least once, none is lost, none is seen half, and each makes one event.
//!
//! `TASKWRIGHT_TEST_DROPPED` asks for another number of files, with a kill for each 500 of them: see CONTRIBUTING.md.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use taskwright::core::schedule::Overlap;
use taskwright::store::EventKey;
use taskwright::{Client, Kind, Schedule, State, Trigger};

use crate::support::{Dice, Site, now};

const FILES: usize = 600;
const KILLS: usize = 4;
const FILES_PER_KILL: usize = 500;
/// How long a file must stand still.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// The pause between two files, and between the two steps of one.
const PAUSE: Duration = Duration::from_millis(4);

const CONFIG: &str = r#"
[sources.inbox]
path = "inbox"
glob = "*.dat"
debounce = "1s"

[tasks.note]
command = "sh"
args = ["-c", 'echo "$1 $(wc -c < "$1")" >> done.log', "sh", "{path}"]
"#;

#[test]
fn kill_up_and_every_dropped_file_is_an_event() {
    kill_on(&Site::new(), FILES, KILLS);
}

#[cfg(feature = "postgres")]
#[test]
fn kill_up_and_every_dropped_file_is_an_event_on_postgresql() {
    kill_on(&Site::on_postgres(), FILES / 2, KILLS / 2);
}

/// So many files and kills, unless the environment asks for others.
fn kill_on(site: &Site, files: usize, kills: usize) {
    let asked = std::env::var("TASKWRIGHT_TEST_DROPPED").ok();
    let asked = asked.map(|count| count.parse::<usize>().expect("TASKWRIGHT_TEST_DROPPED is a number"));
    let files = asked.unwrap_or(files);
    let kills = asked.map_or(kills, |count| count.div_ceil(FILES_PER_KILL));
    fs::create_dir(site.path().join("inbox")).unwrap();
    fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    assert!(site.run(["config", "check"]).contains("1 task, 1 source"));
    register(site);

    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (down, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let began = now();
    let writer = Writer {
        site: site.path().to_owned(),
        dice: Dice::new(seed),
        down: down.clone(),
        dropped: dropped.clone(),
    };
    let writer = writer.start(files);
    let mut dice = Dice::new(seed / 2);
    let start = || site.up(["--workers", "2", "--concurrency", "4"]);
    let mut up = start();
    for kill in 1..=kills {
        // Spread over the time that the writer needs.
        let due = files * kill / (kills + 1);
        site.wait_until("files to be dropped", Duration::from_secs(300), || {
            dropped.load(Ordering::Relaxed) >= due
        });
        site.pause(Duration::from_millis(dice.below(300)));
        down.store(true, Ordering::Relaxed);
        if dice.below(2) == 0 {
            up.kill_all();
        } else {
            up.kill();
        }
        site.pause(Duration::from_millis(dice.below(500)));
        up = start();
        down.store(false, Ordering::Relaxed);
    }
    let written = writer.join().unwrap();
    println!(
        "{files} files dropped in {:?}, {} of them while nothing was up",
        began.elapsed(),
        written.while_down
    );
    assert!(written.while_down > 0, "the kills hit nothing");

    let limit = Duration::from_secs(60).max(Duration::from_millis(60 * files as u64));
    let unfinished = [State::Available, State::Running, State::Scheduled, State::Retryable];
    site.wait_until("every file to be an event", limit, || events(site) >= files);
    site.wait_until("every event to be delivered", limit, || {
        site.ask(async |store| store.undelivered(1).await.unwrap().is_empty())
    });
    site.wait_until("every job to end", limit, || site.jobs(&unfinished).is_empty());
    println!("all done {:?} after the first file", began.elapsed());
    assert!(up.stop().success());

    check(site, &written.sizes);
    site.check_integrity();
}

/// A schedule that makes a job of every new file.
fn register(site: &Site) {
    let on_file = Trigger::read("event", "file.created", None).unwrap();
    let schedule = Schedule::builder("on-file".parse().unwrap(), Kind::new("note").unwrap())
        .trigger(on_file)
        .args(serde_json::json!({"path": "{event.payload.path}"}))
        .overlap(Overlap::Allow)
        .build()
        .unwrap();
    let client = Client::new(site.store(), site.env.clone());
    site.ask(async |_| client.schedules().put(&schedule).await).unwrap();
}

/// How many events there are.
fn events(site: &Site) -> usize {
    site.ask(async |store| {
        let (mut count, mut before): (usize, Option<EventKey>) = (0, None);
        loop {
            let page = store.events(None, None, before, 1_000).await.unwrap();
            let Some(last) = page.last() else { return count };
            before = Some(last.number);
            count += page.len();
        }
    })
}

fn check(site: &Site, sizes: &HashMap<PathBuf, Option<u64>>) {
    let log = fs::read_to_string(site.path().join("done.log")).unwrap();
    let mut done: HashMap<PathBuf, usize> = HashMap::new();
    let mut half = Vec::new();
    for line in log.lines() {
        let (path, size) = line.rsplit_once(' ').unwrap();
        let size: u64 = size.trim().parse().unwrap();
        *done.entry(path.into()).or_default() += 1;
        if sizes[Path::new(path)].is_some_and(|expected| expected != size) {
            half.push(line);
        }
    }
    let lost: Vec<_> = sizes.keys().filter(|path| !done.contains_key(*path)).collect();
    let twice = done.values().filter(|times| **times > 1).count();
    let (jobs, events) = (site.jobs(&[State::Completed]).len(), events(site));
    println!(
        "{} files, {events} events, {jobs} jobs, {} runs, {twice} files done more than once, {} lost, {} seen half",
        sizes.len(),
        log.lines().count(),
        lost.len(),
        half.len(),
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(half.is_empty(), "seen half: {half:?}");
    assert_eq!((events, jobs), (sizes.len(), sizes.len()));
    assert_eq!(done.len(), sizes.len());
}

/// Who drops the files.
struct Writer {
    site: PathBuf,
    dice: Dice,
    down: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
}

/// What was dropped.
struct Written {
    /// What each has to have; `None` when this machine was so slow that half of the file stood still for long.
    sizes: HashMap<PathBuf, Option<u64>>,
    while_down: usize,
}

impl Writer {
    fn start(mut self, files: usize) -> JoinHandle<Written> {
        std::thread::spawn(move || {
            let mut written = Written { sizes: HashMap::new(), while_down: 0 };
            for number in 0..files {
                let path = self.site.join("inbox").join(format!("{number}.dat"));
                let text = "x".repeat(1 + usize::try_from(self.dice.below(4_000)).unwrap());
                let was_slow = self.drop_file(&path, &text);
                written.sizes.insert(path, (!was_slow).then_some(text.len() as u64));
                written.while_down += usize::from(self.down.load(Ordering::Relaxed));
                self.dropped.fetch_add(1, Ordering::Relaxed);
                pause(PAUSE);
            }
            written
        })
    }

    /// Drops a file in one of four ways; whether the machine stood still in the middle of it.
    fn drop_file(&mut self, path: &Path, text: &str) -> bool {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (way, part) = match self.dice.below(4) {
            0 => (Some(path.with_extension("part")), text.len() / 3),
            1 => (Some(path.with_file_name(format!(".{name}.x7F2"))), text.len() / 2),
            2 => (Some(self.site.join(name)), text.len()),
            _ => (None, text.len() / 2),
        };
        let to = way.as_deref().unwrap_or(path);
        let mut file = OpenOptions::new().create_new(true).append(true).open(to).unwrap();
        let began = now();
        file.write_all(&text.as_bytes()[..part]).unwrap();
        pause(PAUSE);
        file.write_all(&text.as_bytes()[part..]).unwrap();
        let took = began.elapsed();
        drop(file);
        if let Some(part) = way {
            fs::rename(part, path).unwrap();
            return false;
        }
        took > DEBOUNCE / 2
    }
}

#[allow(clippy::disallowed_methods, reason = "the writer is a program of its own, with a pace of its own")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
