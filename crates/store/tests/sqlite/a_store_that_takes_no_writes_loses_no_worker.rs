//! With a full disk nobody can renew a lease, while everybody can read: a lease that ran out meanwhile says nothing.

use std::sync::Arc;

use taskwright_core::sight::Sight;
use taskwright_store::conformance::fixture::*;
use taskwright_store::sqlite::rusqlite::Connection;
use taskwright_store::sqlite::{Options, SqliteStore};

#[tokio::test]
async fn a_lease_that_ran_out_while_nothing_could_be_written_gets_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let process = Process::of(Arc::new(SqliteStore::open(&path, Options::default()).unwrap()));
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    worker.start(1).await;
    let look = async |second, sight: &Sight| {
        process.store().reclaim(at(second), monotonic_us(second), sight.clone()).await
    };
    let mut sight = Sight::default();
    for second in 0..=30 {
        if second % 5 == 0 {
            worker.renew(second).await;
        }
        sight = look(second, &sight).await.unwrap().sight;
    }

    let full =
        "CREATE TRIGGER full BEFORE UPDATE ON taskwright_worker BEGIN SELECT raise(ABORT, 'full'); END";
    let disk = Connection::open(&path).unwrap();
    disk.execute_batch(full).unwrap();
    for second in 31..=46 {
        match look(second, &sight).await {
            Ok(looked) => sight = looked.sight,
            Err(error) => assert!(second > 36, "nobody was overdue: {error}"),
        }
    }
    disk.execute_batch("DROP TRIGGER full").unwrap();

    for second in 47..=61 {
        let looked = look(second, &sight).await.unwrap();
        assert_eq!(looked.workers, [], "after {second} s it can renew its lease");
        assert!(looked.look_again_in.is_some());
        sight = looked.sight;
    }
    let lost = look(62, &sight).await.unwrap().workers;
    assert_eq!((lost.len(), lost[0].how.as_str()), (1, "its lease ran out"));
}

#[tokio::test]
async fn looks_at_workers_in_time_write_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("t.db"), Options::default()).unwrap());
    let process = Process::of(store);
    let worker = process.worker(1).await;
    worker.renew(0).await;
    let before = process.store().counters().commits;
    for second in 0..=6 {
        process.reclaim(second).await;
    }
    assert_eq!(process.store().counters().commits, before);
    process.reclaim(7).await;
    assert_eq!(process.store().counters().commits, before + 1, "it is overdue");
}
