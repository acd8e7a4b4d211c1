//! Every statement that is executed often finds its rows by an index, however much there is: the plans of SQLite are
//! kept, so that a change of one is seen, and none may walk a table that grows with the jobs.

use rusqlite::Connection;
use taskwright_core::{NewJob, State};

use super::open::Options;
use super::{SqliteStore, change, claim, finish, list, place, query, sweep, worker};
use crate::conformance::fixture::*;
use crate::{Filter, Pattern};

/// Jobs of each sort: enough that a walk over them would hurt, and that SQLite would rather not.
const JOBS: u32 = 20_000;

/// What may be walked, by table or by the letter that stands for it: queues, lanes and workers, jobs that run, and values
/// that were passed. None of it grows with the jobs.
const SMALL: [&str; 8] = ["taskwright_queue", "q", "l", "k", "taskwright_running", "x", "rarray", "CONSTANT"];

const STATEMENTS: &[(&str, &str)] = &[
    ("claim: worker", worker::ALIVE),
    ("claim: paused queues", claim::PAUSED),
    ("claim: next lane", claim::NEXT_LANE),
    ("claim: more of a lane", claim::REFILL),
    ("claim: read", claim::READ_PREFIX),
    ("claim: run", claim::RUN_PREFIX),
    ("claim: take", claim::TAKE_PREFIX),
    ("claim: keep key", claim::KEEP_KEY),
    ("claim: release key", claim::RELEASE_KEY),
    ("claim: key released", claim::KEY_RELEASED),
    ("finish: fences", finish::FENCES),
    ("finish: completed", finish::END_COMPLETED),
    ("finish: one", finish::END_ONE),
    ("finish: report", finish::REPORT),
    ("finish: log", finish::APPEND_LOG),
    ("move: time", place::MOVE_TIME),
    ("move: to ready", place::PUT_READY),
    ("move: from ready", place::TAKE_READY),
    ("move: from waiting", place::TAKE_WAITING),
    ("move: from over", place::TAKE_OVER),
    ("move: keep key", place::KEEP_KEY),
    ("move: free key", place::FREE_KEY),
    ("purge: next in lane", change::NEXT_IN_LANE),
    ("purge: next waiting", change::NEXT_WAITING),
    ("redo: holder of the key", change::KEY_HOLDER),
    ("redo: retake key", change::RETAKE_KEY),
    ("redo: forget key", change::FORGET_KEY),
    ("promote: next due", sweep::NEXT_DUE),
    ("promote: due", sweep::DUE),
    ("promote: take", sweep::PROMOTE),
    ("reclaim: living", sweep::LIVING),
    ("reclaim: lose", sweep::LOSE),
    ("reclaim: held", sweep::HELD),
    ("reclaim: last ends", sweep::LAST_ENDS),
    ("renew", worker::RENEW),
    ("signals: cancels", worker::CANCELS),
];

/// A store with many scheduled and many finished jobs.
async fn filled() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let conn = store.opened.connect_reader().unwrap();
    let process = Process::of(std::sync::Arc::new(store));
    let worker = process.worker(1).await;
    for from in (0..JOBS).step_by(1_000) {
        let scheduled = |n| NewJob { run_at: Some(at(9_999)), ..job(n) };
        process.enqueue(0, (from..from + 1_000).map(scheduled)).await;
        process.enqueue(0, jobs(JOBS + from..JOBS + from + 1_000)).await;
        let claimed = worker.claim(worker.ask(1, 1_000)).await;
        worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
    }
    (directory, conn)
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Parameters that are not bound are NULL; plans do not depend on them.
    let rows = explain.raw_query().mapped(|row| row.get("detail"));
    rows.collect::<Result<_, _>>().unwrap()
}

/// The steps of a plan that walk something that grows.
fn walks(plan: &[String]) -> Vec<&str> {
    let walked = |step: &&String| {
        step.strip_prefix("SCAN ")
            .is_some_and(|rest| !SMALL.contains(&rest.split(' ').next().unwrap_or(rest)))
    };
    plan.iter().filter(walked).map(String::as_str).collect()
}

fn filters() -> Vec<(&'static str, Filter)> {
    let states = |states: &[State]| Filter { states: states.to_vec(), ..Filter::default() };
    let mail = || vec![Pattern::new("mail")];
    vec![
        ("everything", Filter::default()),
        ("an id", Filter { ids: vec![id(7)], ..Filter::default() }),
        ("running", states(&[State::Running])),
        ("scheduled or failed", states(&[State::Scheduled, State::Failed])),
        ("completed", states(&[State::Completed])),
        ("of a kind", Filter { kinds: mail(), ..Filter::default() }),
        ("completed, of a kind", Filter { kinds: mail(), ..states(&[State::Completed]) }),
        ("since", Filter { created_from: Some(at(1)), ..Filter::default() }),
    ]
}

/// The statements of listings: what gives the candidates for each filter, and what reads one job whole.
fn listings(conn: &Connection) -> Vec<(&'static str, String)> {
    let named = |(name, filter)| list::statements(conn, &filter).into_iter().map(move |sql| (name, sql));
    let mut all: Vec<_> = filters().into_iter().flat_map(named).collect();
    all.push(("one job by number", format!("{} WHERE j.seq = ?1", query::view_query())));
    all.push(("one job by id", format!("{} WHERE j.id = ?1", query::view_query())));
    all
}

fn with_indent(name: &str, plan: &[String]) -> String {
    format!("{name}\n    {}\n", plan.join("\n    "))
}

#[tokio::test]
async fn no_statement_of_the_hot_paths_walks_what_grows() {
    let (_directory, conn) = filled().await;
    let mut plans = String::new();
    for (name, sql) in STATEMENTS {
        let plan = plan(&conn, sql);
        assert!(walks(&plan).is_empty(), "{name}: {plan:?}");
        plans.push_str(&with_indent(name, &plan));
    }
    insta::assert_snapshot!("hot_paths", plans);
}

#[tokio::test]
async fn no_listing_walks_what_grows() {
    let (_directory, conn) = filled().await;
    let mut plans = String::new();
    for (name, sql) in listings(&conn) {
        let plan = plan(&conn, &sql);
        assert!(walks(&plan).is_empty(), "{name}: {sql} {plan:?}");
        plans.push_str(&with_indent(name, &plan));
    }
    insta::assert_snapshot!("listings", plans);
}

/// Statistics, which anybody may have SQLite gather, must not turn a plan for the worse.
#[tokio::test]
async fn statistics_do_not_make_a_plan_worse() {
    let (directory, conn) = filled().await;
    let path = directory.path().join("taskwright.db");
    Connection::open(&path).unwrap().execute_batch("ANALYZE").unwrap();
    let listings = listings(&conn).into_iter().map(|(_, sql)| sql);
    for sql in STATEMENTS.iter().map(|(_, sql)| (*sql).to_owned()).chain(listings) {
        let plan = plan(&conn, &sql);
        assert!(walks(&plan).is_empty(), "{sql}: {plan:?}");
    }
}

#[tokio::test]
async fn a_statement_that_walks_is_noticed() {
    let (_directory, conn) = filled().await;
    for sql in [
        "SELECT seq FROM taskwright_job WHERE owner = ?1",
        "SELECT j.seq FROM taskwright_job j JOIN taskwright_waiting w ON w.attempts = j.run_at",
        "SELECT seq FROM taskwright_ready WHERE seq = ?1",
    ] {
        assert!(!walks(&plan(&conn, sql)).is_empty(), "{sql}");
    }
}
