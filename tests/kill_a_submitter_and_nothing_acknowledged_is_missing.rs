//! A submitter whose acknowledged ids are journalled with fsync is killed 1,000 times in the middle of its work: every
//! id in the journal is in the store.

mod support;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use support::{Dice, Site};
use taskwright::JobId;

const KILLS: usize = 1_000;

#[test]
fn kill_a_submitter_and_nothing_acknowledged_is_missing() {
    let site = Site::new();
    let jobs = r#"{"kind":"exec","args":{"command":["true"]}}"#.to_owned() + "\n";
    std::fs::write(site.path().join("jobs.ndjson"), jobs.repeat(1_500)).unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut journal = OpenOptions::new().create(true).append(true).open(site.path().join("journal")).unwrap();

    let mut killed_at_work = 0;
    for _ in 0..KILLS {
        let mut submitter = site
            .taskwright(["enqueue", "--from-file", "jobs.ndjson"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ids = BufReader::new(submitter.stdout.take().unwrap());
        // At the latest after the first acknowledgement, somewhere in the work that follows.
        let after = 1 + dice.below(1_200);
        let mut acknowledged = String::new();
        for _ in 0..after {
            if ids.read_line(&mut acknowledged).unwrap() == 0 {
                break;
            }
        }
        site.pause(Duration::from_micros(dice.below(2_000)));
        killed_at_work += usize::from(submitter.try_wait().unwrap().is_none());
        submitter.kill().unwrap();
        submitter.wait().unwrap();
        // What it had printed before it died was acknowledged, too. A last line without its end was not printed.
        while ids.read_line(&mut acknowledged).unwrap() > 0 {}
        let whole = acknowledged.rfind('\n').map_or(0, |end| end + 1);
        journal.write_all(&acknowledged.as_bytes()[..whole]).unwrap();
        journal.sync_data().unwrap();
    }
    assert!(killed_at_work > KILLS * 9 / 10, "only {killed_at_work} were killed at work");

    let journal = std::fs::read_to_string(site.path().join("journal")).unwrap();
    let mut missing = 0;
    for line in journal.lines() {
        let id: JobId = line.parse().unwrap();
        missing += usize::from(
            site.ask(async |store| taskwright::store::Store::job(store, id).await.unwrap().is_none()),
        );
    }
    println!("{} acknowledged in {KILLS} kills, {missing} missing", journal.lines().count());
    assert_eq!(missing, 0);
    site.check_integrity();
}
