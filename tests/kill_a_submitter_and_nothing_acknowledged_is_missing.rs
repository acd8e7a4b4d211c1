//! A submitter whose acknowledged ids are journalled with fsync is killed again and again in the middle of its work: every
//! id in the journal is in the store.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use taskwright::JobId;
use taskwright::store::sqlite::rusqlite::Connection;

use crate::support::{Dice, Site};

#[test]
fn kill_a_submitter_and_nothing_acknowledged_is_missing() {
    kill_on(&Site::new(), 1_000, stored_ids);
}

#[cfg(feature = "postgres")]
#[test]
fn kill_a_submitter_and_nothing_acknowledged_is_missing_on_postgresql() {
    kill_on(&Site::on_postgres(), 100, |site| site.jobs(&[]).iter().map(|job| job.id).collect());
}

fn kill_on(site: &Site, kills: usize, stored_ids: impl Fn(&Site) -> HashSet<JobId>) {
    let jobs = r#"{"kind":"exec","args":{"command":["true"]}}"#.to_owned() + "\n";
    std::fs::write(site.path().join("jobs.ndjson"), jobs.repeat(1_500)).unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut journal = OpenOptions::new().create(true).append(true).open(site.path().join("journal")).unwrap();

    let mut killed_at_work = 0;
    while killed_at_work < kills {
        let mut submitter = site
            .taskwright(["enqueue", "--from-file", "jobs.ndjson"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ids = BufReader::new(submitter.stdout.take().unwrap());
        // At the latest after the first acknowledgement, somewhere in the work that follows.
        let after = 1 + dice.below(900);
        let mut acknowledged = String::new();
        for _ in 0..after {
            if ids.read_line(&mut acknowledged).unwrap() == 0 {
                break;
            }
        }
        site.pause(Duration::from_micros(dice.below(1_000)));
        // One that had ended by itself does not count.
        killed_at_work += usize::from(submitter.try_wait().unwrap().is_none());
        submitter.kill().unwrap();
        submitter.wait().unwrap();
        // What it had printed before it died was acknowledged, too. A last line without its end was not printed.
        while ids.read_line(&mut acknowledged).unwrap() > 0 {}
        let whole = acknowledged.rfind('\n').map_or(0, |end| end + 1);
        journal.write_all(&acknowledged.as_bytes()[..whole]).unwrap();
        journal.sync_data().unwrap();
    }
    let journal = std::fs::read_to_string(site.path().join("journal")).unwrap();
    let stored = stored_ids(site);
    let missing = journal.lines().filter(|id| !stored.contains(&id.parse::<JobId>().unwrap())).count();
    println!("{} acknowledged in {kills} kills, {missing} missing", journal.lines().count());
    assert_eq!(missing, 0);
    site.check_integrity();
}

/// Every id in the store, read behind its back.
fn stored_ids(site: &Site) -> HashSet<JobId> {
    let conn = Connection::open(site.database()).unwrap();
    let mut ids = conn.prepare("SELECT id FROM taskwright_job").unwrap();
    let ids = ids.query_map([], |row| row.get(0).map(JobId::from_bytes)).unwrap();
    ids.map(Result::unwrap).collect()
}
