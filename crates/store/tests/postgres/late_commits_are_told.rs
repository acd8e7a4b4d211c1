//! Who follows the moves of jobs is told of those, too, whose transaction ends long after others with higher numbers; nobody else waits.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{self, Client, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{MovePlace, SharedStore};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

const LEASE: Duration = Duration::from_secs(600);

/// How often it is looked whether the others have ended, 20 ms apart.
const LOOKS_MAX: u32 = 1_500;

/// The jobs that moved behind the place, which goes on.
async fn told(store: &SharedStore, place: &mut MovePlace) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let moves = store.moves(place.clone(), 100).await.unwrap();
        assert!(!moves.missed);
        ids.extend(moves.jobs.iter().map(|job| job.id.to_string()));
        *place = moves.place;
        if moves.is_end {
            return ids;
        }
    }
}

async fn session(database: &Database<'_>, sessions: &mut JoinSet<()>) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    sessions.spawn(async move { drop(connection.await) });
    client
}

#[tokio::test]
async fn a_job_of_a_long_transaction_is_told_when_that_commits() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let store: SharedStore = Arc::new(store);
    let process = Process::of(Arc::clone(&store));
    let mut sessions = JoinSet::new();
    let before = session(&database, &mut sessions).await;
    let late = session(&database, &mut sessions).await;
    let undone = session(&database, &mut sessions).await;
    let enqueue = "SELECT taskwright.enqueue('mail')::text";
    // One has stored its job before anybody listens, and the others after.
    before.batch_execute("BEGIN").await.unwrap();
    let first: String = before.query_one(enqueue, &[]).await.unwrap().get(0);
    process.enqueue(0, [job(1)]).await;
    store.listen(LEASE).await.unwrap();
    let mut place = store.listen(LEASE).await.unwrap();
    late.batch_execute("BEGIN").await.unwrap();
    let second: String = late.query_one(enqueue, &[]).await.unwrap().get(0);
    undone.batch_execute("BEGIN").await.unwrap();
    undone.query_one(enqueue, &[]).await.unwrap();
    for n in 2..10 {
        process.enqueue(1, [job(n)]).await;
        assert_eq!(told(&store, &mut place).await, [id(n).to_string()], "others do not wait");
    }
    // What was read goes on from its text, too, without missing what is late.
    let mut other: MovePlace = place.to_string().parse().unwrap();
    undone.batch_execute("ROLLBACK").await.unwrap();
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(told(&store, &mut place).await, [second.as_str()]);
    before.batch_execute("COMMIT").await.unwrap();
    assert_eq!(told(&store, &mut place).await, [first.as_str()]);
    let again = told(&store, &mut other).await;
    assert!(again.contains(&first) && again.contains(&second), "{again:?}");
    // Once nobody is left who could have a number that is missing, in any database of the server, which other tests use, too, nothing
    // is looked for any more but what is new.
    let mut looks = 0;
    while !told(&store, &mut place.to_string().parse().unwrap()).await.is_empty() {
        looks += 1;
        assert!(looks < LOOKS_MAX, "{place:?}");
        late.batch_execute("SELECT pg_sleep(0.02)").await.unwrap();
        assert!(told(&store, &mut place).await.is_empty());
    }
    store.close().await.unwrap();
    drop((before, late, undone));
    sessions.join_all().await;
}
