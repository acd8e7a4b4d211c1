//! With the caller's own transaction, a job exists if and only if that commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use taskwright_core::{NewJob, State, UniqueScope};
use taskwright_store::conformance::fixture::*;
use taskwright_store::sqlite::rusqlite::{Connection, TransactionBehavior};
use taskwright_store::sqlite::{Options, SqliteStore, enqueue_in};
use taskwright_store::{Enqueued, Filter};

struct Scene {
    process: Process,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let process = Process::of(Arc::new(SqliteStore::open(&path, Options::default()).unwrap()));
    Scene { process, path, _directory: directory }
}

/// The caller's own connection, with a table of its own.
fn application(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("CREATE TABLE IF NOT EXISTS invoice (number INTEGER)").unwrap();
    conn
}

fn invoices(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM invoice", [], |row| row.get(0)).unwrap()
}

fn keyed(n: u32) -> NewJob {
    NewJob { unique: unique("invoice:1", UniqueScope::Active), queue: queue("invoices"), ..job(n) }
}

#[tokio::test]
async fn a_job_is_there_with_what_the_caller_wrote() {
    let Scene { process, path, _directory } = scene();
    let mut conn = application(&path);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    tx.execute("INSERT INTO invoice VALUES (1)", []).unwrap();
    let stored = enqueue_in(&tx, at(1), &[keyed(1), job(2), keyed(3)]).unwrap();
    let existing: Vec<_> = stored.iter().map(|Enqueued { id, existing }| (number(*id), *existing)).collect();
    assert_eq!(existing, [(1, false), (2, false), (1, true)]);
    assert!(!process.has(1).await, "others do not see it before the commit");
    tx.commit().unwrap();
    assert_eq!(invoices(&conn), 1);
    assert_eq!((process.state(1).await, process.state(2).await), (State::Available, State::Available));
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let Scene { process, path, _directory } = scene();
    let mut conn = application(&path);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    tx.execute("INSERT INTO invoice VALUES (1)", []).unwrap();
    enqueue_in(&tx, at(1), &[keyed(1), job(2)]).unwrap();
    tx.rollback().unwrap();
    assert_eq!(invoices(&conn), 0);
    assert_eq!(process.list(Filter::default()).await, NONE);
    assert_eq!(process.store().queues(at(2), None).await.unwrap(), []);
    assert!(!process.enqueue(2, [keyed(3)]).await[0].existing, "nor is the unique key taken");
    let worker = process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(3).await), [3]);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let Scene { process, path, _directory } = scene();
    let mut conn = application(&path);
    drop({
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        enqueue_in(&tx, at(1), &[job(1)]).unwrap();
        tx
    });
    assert!(!process.has(1).await);
}

#[tokio::test]
async fn a_commit_that_nobody_tells_of_is_noticed() {
    let Scene { process, path, _directory } = scene();
    let mut hints = process.store().hints();
    hints.mark_unchanged();
    let mut conn = application(&path);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    enqueue_in(&tx, at(1), &[job(1)]).unwrap();
    tx.commit().unwrap();
    hints.changed().await.unwrap();
}

#[tokio::test]
async fn a_file_without_a_store_is_refused_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut conn = application(&directory.path().join("other.db"));
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    enqueue_in(&tx, at(1), &[job(1)]).unwrap_err();
    tx.execute("INSERT INTO invoice VALUES (1)", []).unwrap();
    tx.commit().unwrap();
    assert_eq!(invoices(&conn), 1);
}
