//! What the command line does to principals and jobs is told in the audit, and a change of that is noticed.

use std::sync::Arc;

use taskwright::store::SharedStore;
use taskwright::store::sqlite::rusqlite::Connection;
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright_server::output::Terminal;
use taskwright_server::{App, Exit, Io};

use crate::cli::{Cli, Ran, Shared};

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_change_of_a_principal_and_each_comment_leaves_an_entry() {
    let cli = Cli::new();
    let id = cli.job("probe");
    cli.run("tokens create ci --role member --actor alice");
    cli.run("tokens revoke ci --actor bob");
    cli.run_words(&["jobs", "comment", &id.to_string(), "the customer knows", "--actor", "carol"]);
    // Whoever runs the tests: what else changes something is told by itself.
    let me = parsed(&cli.run("audit list --action jobs.enqueue --json").out)[0]["who"].to_string();
    let told: Vec<_> = parsed(&cli.run("audit list --json").out)
        .iter()
        .map(|one| format!("{} {} {} {}", one["position"], one["who"], one["action"], one["outcome"]))
        .collect();
    assert_eq!(
        told,
        [
            r#"4 "carol" "jobs.comment" "done""#.to_owned(),
            r#"3 "bob" "tokens.revoke" "done""#.to_owned(),
            r#"2 "alice" "tokens.create" "done""#.to_owned(),
            format!(r#"1 {me} "jobs.enqueue" "stored {id}""#),
        ]
    );
    let by = |args: &str| parsed(&cli.run(&format!("audit list --json {args}")).out).len();
    assert_eq!((by("--who ALICE"), by("--action tokens.*"), by("-n 1")), (1, 2, 1));
    assert_eq!((by(&format!("--object {id}")), by("--namespace shop"), by("--after 1h")), (1, 0, 4));
    assert_eq!(by("--before 1h"), 0);
    assert_eq!(cli.run("audit list").out.lines().count(), 5);
}

#[test]
fn what_a_retention_was_set_to_is_told_of_each() {
    let cli = Cli::new();
    for set in ["completed failed --keep 36h", "failed --forever", "failed --default"] {
        assert_eq!(cli.run(&format!("gc set {set}")).exit, Exit::Ok);
    }
    let told = parsed(&cli.run("audit list --action gc.set --json").out);
    let mut objects: Vec<_> = told.iter().map(|one| one["object"].as_str().unwrap()).collect();
    // The first time they are made known, too.
    objects.dedup();
    let expected =
        ["failed keep default", "failed keep forever", "failed keep 1d12h", "completed keep 1d12h"];
    assert_eq!(objects, expected);
}

#[test]
fn a_comment_is_shown_with_the_job() {
    let mut cli = Cli::new();
    let id = cli.job("probe").to_string();
    let ran = cli.run_words(&["jobs", "comment", &id, "look\nat \u{9}this", "--actor", "alice"]);
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("{id}  commented\n")), "{}", ran.err);
    cli.input("from a pipe\n");
    assert_eq!(cli.run(&format!("jobs comment {id} -")).exit, Exit::Ok);
    let comments = parsed(&cli.run(&format!("jobs show {id} --json")).out)[0]["comments"].clone();
    assert_eq!((&comments[0]["actor"], &comments[1]["text"]), (&"alice".into(), &"from a pipe".into()));
    let shown = cli.run(&format!("jobs show {id}")).out;
    assert!(shown.contains("Comments") && shown.contains("    look\n") && shown.contains("alice"), "{shown}");
    let unknown = cli.run("jobs comment 01890000-0000-7000-8000-000000000000 x");
    assert_eq!(unknown.exit, Exit::Operational, "{}", unknown.err);
    assert_eq!(cli.run(&format!("--namespace shop jobs comment {id} x")).exit, Exit::Operational);
    let bad = cli.run_words(&["jobs", "comment", &id, "\u{1b}[31mred"]);
    assert!(bad.exit == Exit::Usage && !bad.err.contains('\u{1b}'), "{}", bad.err);
    assert_eq!(cli.run("jobs list --consumed yes --json").out, "");
    assert_eq!(parsed(&cli.run("jobs list --consumed no --json").out).len(), 1);
    assert_eq!(cli.run("jobs list --consumed perhaps").exit, Exit::Usage);
}

/// A command on an SQLite file.
fn run(path: &std::path::Path, args: &[&str]) -> Ran {
    let store: SharedStore = Arc::new(SqliteStore::open(path, Options::default()).unwrap());
    let (out, err) = (Shared::default(), Shared::default());
    let io = Io {
        input: Box::new(std::io::empty()),
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        terminal: Terminal::default(),
    };
    let args = std::iter::once("taskwright").chain(args.iter().copied());
    let exit = taskwright_server::run_on(store, App::new(), args, io);
    Ran { exit, out: out.text(), err: err.text() }
}

/// S27: change one row, and `audit verify` finds it.
#[test]
fn s27_a_row_that_was_changed_by_hand_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    for name in ["a", "b", "c", "d"] {
        assert_eq!(run(&path, &["tokens", "create", name, "--role", "member"]).exit, Exit::Ok);
    }
    let whole = run(&path, &["audit", "verify"]);
    assert_eq!(whole.exit, Exit::Ok, "{}", whole.err);
    let place = whole.out.trim();
    assert!(place.starts_with("4:") && place.len() == 66, "{place}");
    assert_eq!(run(&path, &["audit", "verify", "--expect", place]).exit, Exit::Ok);

    let alter = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        let other = copy.path().join("taskwright.db");
        std::fs::copy(&path, &other).unwrap();
        Connection::open(&other).unwrap().execute_batch(sql).unwrap();
        let ran = run(&other, &["audit", "verify", "--json"]);
        assert_eq!(ran.exit, Exit::Operational, "{sql}");
        parsed(&ran.out)[0]["position"].as_u64().unwrap()
    };
    let table = "taskwright_audit";
    assert_eq!(
        alter(&format!("UPDATE {table} SET body = replace(body, 'create', 'revoke') WHERE position = 2")),
        2
    );
    assert_eq!(alter(&format!("DELETE FROM {table} WHERE position = 3")), 3);
    assert_eq!(alter(&format!("DELETE FROM {table} WHERE position = 4")), 4);
    assert_eq!(alter(&format!("DELETE FROM {table} WHERE position = 1")), 1);
    assert_eq!(alter(&format!("UPDATE {table} SET hash = zeroblob(32) WHERE position = 1")), 1);
    assert_eq!(alter("UPDATE taskwright_audit_ends SET head_position = 3"), 3);

    // All of it anew, and no trace within: but not through the place that was kept.
    let sql = format!(
        "DELETE FROM {table}; UPDATE taskwright_audit_ends SET head_position = 0, head_hash = zeroblob(32)"
    );
    Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    for name in ["e", "f", "g", "h"] {
        assert_eq!(run(&path, &["tokens", "create", name, "--role", "member"]).exit, Exit::Ok);
    }
    assert_eq!(run(&path, &["audit", "verify"]).exit, Exit::Ok);
    let ran = run(&path, &["audit", "verify", "--expect", place]);
    assert!(ran.exit == Exit::Operational && ran.err.contains("entry 4"), "{}", ran.err);
    assert_eq!(run(&path, &["audit", "verify", "--expect", "4:ab"]).exit, Exit::Usage);
}

#[test]
fn a_file_of_jobs_leaves_one_entry_of_what_was_stored() {
    let mut cli = Cli::new();
    let mut import = |lines: &str| {
        cli.input(lines);
        cli.run("--namespace shop enqueue --from-file - --any-kind");
        let told = parsed(&cli.run("audit list --json").out);
        told.iter().map(|one| format!("{} {}", one["action"], one["outcome"])).collect::<Vec<_>>()
    };
    let three = "{\"kind\": \"a\", \"unique\": \"k\"}\n{\"kind\": \"a\"}\n{\"kind\": \"a\"}\n";
    assert_eq!(import(three), [r#""jobs.enqueue" "stored 3 jobs""#]);
    // Of a file that is wrong at its end, too, and not of what was there already.
    assert_eq!(import("{\"kind\": \"a\"}\nnonsense\n")[0], r#""jobs.enqueue" "stored 1 job""#);
    assert_eq!(import("{\"kind\": \"a\", \"unique\": \"k\"}\n").len(), 2);
    assert_eq!(import("nonsense\n").len(), 2);
    assert_eq!(parsed(&cli.run("audit list --namespace shop --json").out).len(), 2);
}
