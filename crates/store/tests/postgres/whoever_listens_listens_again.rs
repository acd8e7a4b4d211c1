//! A session that listens and is ended is made again: what others tell is heard as before.

use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::Store;
use taskwright_store::postgres::{PostgresStore, Settings};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::cluster::Cluster;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const WAIT_MAX: Duration = Duration::from_secs(20);
/// More than what a new session gives by itself.
const TOLD: usize = 10;

/// The sessions of a store that glance, which are those that listen.
const LISTENERS: &str = "SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_current_snapshot%'";

/// Who listens, when it is another one than before.
async fn listener(client: &Client, before: Option<i32>) -> i32 {
    let found = async {
        loop {
            let pids = client.query(LISTENERS, &[]).await.unwrap();
            if let [one] = &pids[..]
                && Some(one.get(0)) != before
            {
                return one.get(0);
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT_MAX, found).await.expect("somebody listens")
}

/// As whoever leads the duties would: of its transactions no glance makes anything, so that only who listens hears.
const TELL: &str =
    "BEGIN; UPDATE taskwright.leader SET fence = fence + 1; NOTIFY taskwright_hint, 'by hand'; COMMIT";

/// Tells so many times, and each is heard before the next.
async fn tell_and_be_heard(client: &Client, hints: &mut watch::Receiver<u64>) {
    for number in 0..TOLD {
        hints.mark_unchanged();
        client.batch_execute(TELL).await.unwrap();
        timeout(WAIT_MAX, hints.changed()).await.unwrap_or_else(|_| panic!("{number} is not heard")).unwrap();
    }
}

#[tokio::test]
async fn what_is_told_is_heard_after_the_session_was_ended() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), NOW).await.unwrap();
    let mut hints = store.hints();
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);

    client
        .execute("INSERT INTO taskwright.leader VALUES (true, gen_random_uuid(), 1, 0)", &[])
        .await
        .unwrap();

    let mut before = listener(&client, None).await;
    tell_and_be_heard(&client, &mut hints).await;
    for _ in 0..3 {
        client.execute("SELECT pg_terminate_backend($1)", &[&before]).await.unwrap();
        before = listener(&client, Some(before)).await;
        tell_and_be_heard(&client, &mut hints).await;
    }
}
