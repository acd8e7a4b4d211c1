//! A tree of files and a command that hashes each: all are hashed once, and once more only those that have changed since. No row is
//! there for a file that is not an item yet, and none is left of an item that is done.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 50,000 files instead of 300, and prints how long each part took.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskwright::{Client, Namespace};

use crate::support::{Site, now};

const CHANGED: usize = 100;

const CONFIG: &str = r#"
[generators.hashes]
type = "directory"
path = "tree"
glob = "*.dat"
debounce = "0s"
rescan = "1h"
window = 1000
command = ["sh", "-c", 'sha256sum "$1" >> sums.log', "sh", "{path}"]
"#;

#[test]
fn every_file_becomes_an_item_once_and_once_more_when_it_changes() {
    hash(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn every_file_becomes_an_item_once_and_once_more_when_it_changes_on_postgresql() {
    hash(&Site::on_postgres());
}

fn hash(site: &Site) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let files = if is_full { 50_000 } else { 300 };
    let paths: Vec<PathBuf> = (0..files).map(|n| file(site.path(), n)).collect();
    for (n, path) in paths.iter().enumerate() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("file {n}")).unwrap();
    }
    fs::write(site.path().join("tree/not-one-of-them.txt"), "x").unwrap();
    fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    assert!(site.run(["config", "check"]).contains("1 generator"));

    let up = site.up(["--workers", "2", "--concurrency", "4"]);
    let began = now();
    let all = files as u64;
    let limit = Duration::from_secs(60).max(Duration::from_millis(20 * all));
    site.wait_until("every file to be hashed", limit, || settled(site).is_some_and(|done| done.0 == all));
    println!("{files} files hashed in {:?}", began.elapsed());
    assert_eq!(sums(site).len(), files);

    let changed = CHANGED.min(files / 3);
    for (n, path) in paths.iter().enumerate().take(changed) {
        fs::write(path, format!("file {n}, changed")).unwrap();
    }
    fs::remove_file(&paths[files - 1]).unwrap();
    let began = now();
    site.run(["generators", "poll", "hashes"]);
    site.wait_until("the changed files to be hashed", limit, || {
        settled(site).is_some_and(|done| done.0 == all + changed as u64)
    });
    println!("{changed} of {files} files had changed: hashed {:?} after somebody asked", began.elapsed());
    // And nothing else, whoever asks.
    let walks = settled(site).unwrap().1;
    site.run(["generators", "poll", "hashes"]);
    site.wait_until("another walk", limit, || settled(site).is_some_and(|done| done.1 > walks));
    println!("a walk that finds nothing is over {:?} after that", began.elapsed());
    assert!(up.stop().success());
    assert_eq!(settled(site).unwrap().0, all + changed as u64);
    // A command may run again when its worker was taken for lost; but only what has changed has another hash.
    let twice = sums(site).into_values().filter(|sums| sums.len() == 2).count();
    assert_eq!(twice, changed);
    assert_eq!(site.jobs(&[]).len(), 0, "nothing is left of them");
    site.check_integrity();
}

fn file(site: &Path, n: usize) -> PathBuf {
    site.join(format!("tree/{}/{}/{n}.dat", n % 10, n / 10 % 50))
}

/// Items that completed, and walks that are over. No item is made that is not done in the end.
fn settled(site: &Site) -> Option<(u64, u64)> {
    let client = Client::new(site.shared(), site.env.clone());
    let name = "hashes".parse().unwrap();
    let view = site.ask(async |_| client.generators().get(&Namespace::default(), &name).await.unwrap())?;
    let counts = view.record.counts;
    assert_eq!(counts.settled(), counts.completed, "{counts:?}");
    Some((counts.completed, view.state["walks"].as_u64().unwrap_or(0)))
}

/// The hashes of each file.
fn sums(site: &Site) -> HashMap<String, HashSet<String>> {
    let mut sums: HashMap<String, HashSet<String>> = HashMap::new();
    for line in fs::read_to_string(site.path().join("sums.log")).unwrap().lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        assert_eq!(sum.len(), 64);
        sums.entry(path.to_owned()).or_default().insert(sum.to_owned());
    }
    sums
}
