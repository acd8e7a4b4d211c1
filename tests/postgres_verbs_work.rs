//! What an operator types on a PostgreSQL store: migrating, granting, looking for what is wrong; and no password is shown.

use std::process::{Command, Output};
use std::time::Duration;

use crate::support::Site;
use crate::support::cluster::{Cluster, Database, PASSWORD_GROUP};

/// The binary in a directory of its own, on a database without a store.
struct Desk {
    directory: tempfile::TempDir,
    database: Database<'static>,
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database: Cluster::shared().database() }
    }

    fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskwright"));
        command.args(args).current_dir(self.directory.path()).env("TASKWRIGHT_STORE", url);
        command.env("TASKWRIGHT_RUN_DIR", self.directory.path().join("run")).env_remove("TASKWRIGHT_CONFIG");
        command.env("TASKWRIGHT_LISTEN", "none");
        command
    }

    fn run(&self, url: &str, args: &[&str]) -> Output {
        self.command(url, args).output().unwrap()
    }

    /// Exit code, output and messages.
    fn said(&self, url: &str, args: &[&str]) -> (i32, String, String) {
        let output = self.run(url, args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn what_migrate_would_run_is_printed_and_is_a_migration_when_it_is_run_by_hand() {
    let desk = Desk::new();
    let url = desk.database.url();
    assert_eq!(desk.said(&url, &["migrate", "--check"]).0, 1);
    let (code, sql, _) = desk.said(&url, &["migrate", "--dry-run"]);
    assert_eq!(code, 0);
    assert_eq!(desk.database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'taskwright'"), "0");
    desk.database.sql(&sql);
    assert_eq!(desk.said(&url, &["migrate", "--check"]).0, 0);
    let (code, sql, said) = desk.said(&url, &["migrate", "--dry-run"]);
    assert_eq!((code, sql.as_str()), (0, ""));
    assert!(said.contains("is up to date"), "{said}");
    assert_eq!(desk.said(&url, &["jobs", "list"]).0, 0);
}

#[test]
fn a_verb_that_only_looks_makes_no_schema() {
    let desk = Desk::new();
    for verb in [["jobs", "list"], ["queues", "list"], ["workers", "list"]] {
        let (code, _, said) = desk.said(&desk.database.url(), &verb);
        assert!(code == 1 && said.contains("the database has no such schema yet"), "{said}");
    }
    assert_eq!(desk.database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'taskwright'"), "0");
}

#[test]
fn a_role_with_the_grants_runs_workers_and_may_not_migrate() {
    let desk = Desk::new();
    let role = desk.database.role("worker", "");
    let mine = desk.database.url_of(&role);
    let (code, _, said) = desk.said(&desk.database.url(), &["migrate", "--grant", &role]);
    assert!(code == 0 && said.contains("may run workers"), "{said}");
    for args in
        [&["enqueue", "exec", "--", "true"] as &[&str], &["worker", "--until-empty"], &["jobs", "list"]]
    {
        let (code, _, said) = desk.said(&mine, args);
        assert_eq!(code, 0, "{args:?}: {said}");
    }
    let (code, _, said) = desk.said(&format!("{mine}?schema=another"), &["migrate"]);
    assert!(code == 1 && said.contains("the role may not make one"), "{said}");
}

#[test]
fn doctor_finds_what_is_wrong_with_the_server() {
    let desk = Desk::new();
    let url = desk.database.url();
    let doctor = |url: &str| desk.said(url, &["doctor"]);
    let (code, said, _) = doctor(&url);
    assert!(code == 1 && said.contains("!!  schema   the database has no schema taskwright yet"), "{said}");
    desk.run(&url, &["migrate"]);
    let (_, said, _) = doctor(&url);
    for fine in
        ["ok  server ", "ok  tls ", "ok  schema ", "ok  role ", "ok  clock ", "ok  store ", "ok  workers "]
    {
        assert!(said.contains(fine), "{fine}: {said}");
    }
    // The server of ordinary tests is fast and forgets.
    assert!(said.contains("!!  durable  ") && said.contains("fsync"), "{said}");

    desk.database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = off", desk.database.name()));
    assert!(doctor(&url).1.contains("synchronous_commit is off"));
    let stranger = desk.database.url_of(&desk.database.role("stranger", ""));
    let (code, said, _) = doctor(&stranger);
    assert!(code == 1 && said.contains("!!  schema "), "{said}");
    let (code, said, _) = doctor(&url.replace(desk.database.name(), "no_such_database"));
    assert!(code == 1 && said.starts_with("!!  server ") && said.lines().count() == 2, "{said}");
}

/// PH-X8.
#[test]
fn ph_x8_what_selects_nothing_or_contradicts_itself_is_a_usage_error() {
    let desk = Desk::new();
    let url = desk.database.url();
    let (code, id, said) = desk.said(&url, &["enqueue", "exec", "--", "true"]);
    assert_eq!(code, 0, "{said}");
    for verb in ["cancel", "retry", "delete", "free"] {
        for selectors in [&[] as &[&str], &["--limit", "3"], &["--active", "--archived"]] {
            let (code, out, said) = desk.said(&url, &[&["jobs", verb], selectors].concat());
            assert_eq!((code, out.as_str()), (2, ""), "{verb} {selectors:?}: {said}");
        }
    }
    assert!(desk.said(&url, &["jobs", "list", "--state", "available"]).1.contains(id.trim()));
}

#[test]
fn bench_measures_in_a_schema_of_its_own_and_leaves_everything_as_it_was() {
    let desk = Desk::new();
    let url = desk.database.url();
    desk.run(&url, &["enqueue", "exec", "--", "true"]);
    for args in [
        "enqueue --jobs 300 --clients 2 --batch 1",
        "enqueue --jobs 300 --history 20 --scheduled 20 --backlog 20",
        "drain --jobs 2500 --nodes 2",
        "drain --jobs 300 --backlog 500",
        "drain --jobs 300 --hold-snapshot",
        "drain --jobs 300 --history 10001",
        "drain --jobs 300 --history 50 --backlog 50 --settled",
        "enqueue --jobs 50 --batch 1 --clients 2 --nodes 2 --compare-hints",
        "latency --jobs 5 --rate 100",
        "latency --jobs 5 --rate 100 --workers 1",
        "latency --jobs 5 --workers 1",
    ] {
        let words: Vec<&str> =
            ["bench"].into_iter().chain(args.split(' ')).chain(["--rounds", "1", "--json"]).collect();
        let (code, said, errors) = desk.said(&url, &words);
        assert_eq!(code, 0, "{args}: {errors}");
        let result: serde_json::Value = serde_json::from_str(&said).unwrap();
        let measured =
            if args.starts_with("latency") { &result["p50_us"] } else { &result["percent_of_raw"] };
        assert!(measured["median"].as_f64().unwrap() > 0.0, "{args}: {said}");
        if args.ends_with("snapshot") {
            let held = &result["held_snapshot"];
            assert!(held["percent_of_without"]["median"].as_f64().unwrap() > 0.0, "{said}");
            assert!(held["table_bytes_after"]["median"].as_f64().unwrap() > 0.0, "{said}");
        }
        if args.ends_with("hints") {
            assert!(result["without_hints"]["percent_with"]["median"].as_f64().unwrap() > 0.0, "{said}");
        }
        if args.contains("rate") {
            assert!(result["flow"]["jobs_per_second"]["median"].as_f64().unwrap() > 0.0, "{said}");
            assert!(result["flow"]["p50_us"]["median"].as_f64().unwrap() > 1.0, "{said}");
        }
    }
    let words =
        "bench http --jobs 60 --clients 4 --backlog 250 --streams 3 --idle 5 --rate 50 --rounds 1 --json";
    let (code, said, errors) = desk.said(&url, &words.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{errors}");
    super::http_serves_real_processes::assert_measured(&said);
    let schemas = "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname LIKE 'taskwright%'";
    assert_eq!(desk.database.sql(schemas), "taskwright");
    assert_eq!(desk.said(&url, &["jobs", "list", "--json"]).1.lines().count(), 1);
    // Nor when it is interrupted.
    let mut bench = desk.command(&url, &["bench", "drain", "--jobs", "1000000"]).spawn().unwrap();
    let measuring = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'taskwright_bench%'";
    while desk.database.sql(measuring) == "0" {}
    crate::support::signal(bench.id(), "INT");
    assert_eq!(bench.wait().unwrap().code(), Some(128 + 2));
    assert_eq!(desk.database.sql(schemas), "taskwright");
}

#[test]
fn the_next_bench_drops_what_a_killed_one_left_and_says_so() {
    let desk = Desk::new();
    let url = desk.database.url();
    let schemas =
        "SELECT coalesce(string_agg(nspname, ' '), '') FROM pg_namespace WHERE nspname LIKE 'taskwright%'";
    let mut bench = desk.command(&url, &["bench", "drain", "--jobs", "1000000"]).spawn().unwrap();
    while desk.database.sql(schemas).is_empty() {}
    bench.kill().unwrap();
    bench.wait().unwrap();
    let left = desk.database.sql(schemas);
    assert!(left.starts_with("taskwright_bench_") && !left.contains(' '), "{left}");
    // The server ends what the killed one had asked for last.
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'";
    while desk.database.sql(sessions) != "0" {}

    let (code, _, said) = desk.said(&url, &["bench", "enqueue", "--jobs", "10", "--rounds", "1"]);
    assert!(code == 0 && said.contains(&format!("dropped the schema {left}")), "{said}");
    assert_eq!(desk.database.sql(schemas), "");
}

#[test]
fn no_password_is_shown_by_any_verb_nor_in_the_arguments_of_a_process() {
    const SECRET: &str = "hunter2";
    let site = Site::on_postgres();
    let role = site.postgres().role("secretive", &format!("PASSWORD '{SECRET}' IN ROLE {PASSWORD_GROUP}"));
    site.run(["migrate", "--grant", &role]);
    let url = site.postgres().url_of(&format!("{role}:{SECRET}"));
    std::fs::write(site.path().join("taskwright.toml"), format!("[store]\nurl = \"{url}\"\n")).unwrap();
    let mut shown = String::new();
    for args in [
        ["config", "show"],
        ["config", "check"],
        ["jobs", "list"],
        ["doctor", "--json"],
        ["migrate", "--check"],
    ] {
        for more in ["--verbose", "--json"] {
            let output = site.taskwright(args).arg(more).env_remove("TASKWRIGHT_STORE").output().unwrap();
            shown += &String::from_utf8_lossy(&output.stdout);
            shown += &String::from_utf8_lossy(&output.stderr);
        }
    }
    assert!(shown.contains(&role) && !shown.contains(SECRET), "{shown}");

    let mut command = site.taskwright(["up", "--workers", "1"]);
    let up = site.start(command.env_remove("TASKWRIGHT_STORE"));
    site.wait_until("the worker", Duration::from_secs(20), || site.workers().len() == 1);
    for pid in [up.pid(), up.worker_pids()[0]] {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!arguments.contains(SECRET), "{arguments}");
    }
}
