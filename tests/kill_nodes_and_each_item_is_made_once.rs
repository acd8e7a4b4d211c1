//! Three nodes ask one generator and run what it makes, and are killed at random: each item is made once and counted once, and every
//! file is done.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 20,000 files and 60 kills instead of 600 and 6.

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use taskwright::generator::Counts;
use taskwright::{Client, Namespace, State};

use crate::support::{Dice, Site, now};

const NODES: usize = 3;

const CONFIG: &str = r#"
[generators.notes]
type = "directory"
path = "tree"
debounce = "0s"
rescan = "1s"
window = 50
max_attempts = "none"
backoff = "fixed:1s"
command = ["sh", "-c", 'sleep 0.02; echo "$1" >> done.log', "sh", "{name}"]
"#;

#[test]
fn nodes_that_are_killed_at_random_make_each_item_once() {
    make_under_kills(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn nodes_that_are_killed_at_random_make_each_item_once_on_postgresql() {
    make_under_kills(&Site::on_postgres());
}

fn make_under_kills(site: &Site) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let (files, kills) = if is_full { (20_000, 60) } else { (600, 6) };
    fs::create_dir(site.path().join("tree")).unwrap();
    for n in 0..files {
        fs::write(site.path().join(format!("tree/{n}")), "x").unwrap();
    }
    fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut nodes: Vec<Child> = (0..NODES).map(|_| node(site)).collect();
    let (began, mut struck) = (now(), 0);
    let all = files as u64;
    let is_done = || counts(site).is_some_and(|counts| counts.settled() >= all);
    while struck < kills && !is_done() {
        site.pause(Duration::from_millis(200 + dice.below(600)));
        let victim = dice.below(NODES as u64) as usize;
        nodes[victim].kill().unwrap();
        nodes[victim].wait().unwrap();
        struck += 1;
        site.pause(Duration::from_millis(dice.below(300)));
        nodes[victim] = node(site);
    }
    let limit = Duration::from_secs(120).max(Duration::from_millis(30 * all));
    site.wait_until("every item to be settled", limit, is_done);
    for node in &mut nodes {
        node.kill().unwrap();
        node.wait().unwrap();
    }
    let counts = counts(site).unwrap();
    println!("{struck} kills, {counts:?} after {:?}", began.elapsed());
    assert!(struck > 0, "the kills hit nothing");
    assert_eq!((counts.made, counts.completed + counts.failed), (all, all), "each was made once");
    // Who lost three workers in a row is a dead letter, and no more.
    assert_eq!(site.jobs(&[State::Failed]).len() as u64, counts.failed);
    assert_eq!(site.jobs(&[]).len() as u64, counts.failed);
    let log = fs::read_to_string(site.path().join("done.log")).unwrap();
    let done: HashSet<&str> = log.lines().collect();
    assert!(done.len() as u64 >= counts.completed, "{} files were done", done.len());
    site.check_integrity();
}

fn node(site: &Site) -> Child {
    let mut worker = site.taskwright(["worker", "--concurrency", "4"]);
    worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn counts(site: &Site) -> Option<Counts> {
    let client = Client::new(site.shared(), site.env.clone());
    let name = "notes".parse().unwrap();
    let view = site.ask(async |_| client.generators().get(&Namespace::default(), &name).await.unwrap());
    view.map(|view| view.record.counts)
}
