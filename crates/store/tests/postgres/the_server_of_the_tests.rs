//! The private server of the tests: shared, and gone soon after its last user.

use std::fs::File;

use crate::cluster::{Cluster, Flavour};

#[test]
fn a_server_is_stopped_when_its_last_user_has_gone() {
    let flavour = Flavour { idle_seconds_max: 1, purpose: "stops soon", ..Flavour::FAST };
    let first = Cluster::start(flavour);
    let second = Cluster::start(flavour);
    assert_eq!(first.directory(), second.directory());
    let (directory, socket) = (first.directory().to_owned(), first.socket());
    assert!(first.answers());
    drop(first);
    assert!(second.answers());
    drop(second);
    // The watchdog holds it until it has stopped the server.
    File::open(directory.join("watchdog.lock")).unwrap().lock_shared().unwrap();
    assert!(!socket.exists());
    assert!(!directory.join("run").exists());
}

#[test]
fn what_a_crash_left_behind_is_replaced() {
    let flavour = Flavour { idle_seconds_max: 1, purpose: "crashes", ..Flavour::FAST };
    let cluster = Cluster::start(flavour);
    let database = cluster.database();
    let server: i32 = std::fs::read_to_string(cluster.directory().join("run/data/postmaster.pid"))
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    std::mem::forget(database);
    let server = rustix::process::Pid::from_raw(server).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    let cluster = Cluster::start(flavour);
    assert_eq!(cluster.database().sql("SELECT 1 + 1"), "2");
}

#[test]
fn every_database_is_fresh_and_dropped() {
    let cluster = Cluster::shared();
    let (one, two) = (cluster.database(), cluster.database());
    one.sql("CREATE TABLE t (n int)");
    two.sql("CREATE TABLE t (n int)");
    let role = one.role("someone", "");
    let (name, all) =
        (one.name().to_owned(), "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles");
    assert!(two.sql(all).lines().any(|line| line == role));
    drop(one);
    assert!(!two.sql(all).contains(&name));
}

#[test]
fn a_template_is_prepared_once() {
    let flavour = Flavour { idle_seconds_max: 1, purpose: "templates", ..Flavour::FAST };
    let cluster = Cluster::start(flavour);
    let mut prepared = 0;
    for _ in 0..2 {
        cluster.template("prepared_1", |url| {
            assert!(url.ends_with("/prepared_1_unready"), "{url}");
            prepared += 1;
        });
        assert_eq!(cluster.database_like("prepared_1").sql("SELECT 1"), "1");
    }
    assert!(prepared <= 1, "an earlier run may have prepared it");
}
