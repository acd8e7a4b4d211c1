//! A process that only enqueues hears nothing itself, and tells the others all the same, also when it ends at once.

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use taskwright_core::{Args, JobId, Kind, NewJob, Timestamp};
use taskwright_store::Store;
use taskwright_store::postgres::{PostgresStore, Settings};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::cluster::{Cluster, Database};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// CR-6: a notification comes within 5 s.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Somebody who hears what is told, by a connection that does nothing else.
struct Ear {
    heard: mpsc::UnboundedReceiver<i32>,
    _tasks: JoinSet<()>,
}

impl Ear {
    async fn at(database: &Database<'_>) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(told) = message
                    && tell.send(told.process_id()).is_err()
                {
                    return;
                }
            }
        });
        client.batch_execute("LISTEN taskwright_hint").await.unwrap();
        tasks.spawn(async move {
            let _open = client;
            std::future::pending::<()>().await;
        });
        Self { heard, _tasks: tasks }
    }

    /// Which session told something.
    async fn hear(&mut self) -> i32 {
        tokio::time::timeout(WAIT_MAX, self.heard.recv()).await.expect("something is told").unwrap()
    }
}

async fn open(url: &str, run: &Path) -> PostgresStore {
    PostgresStore::open(Settings::parse(url).unwrap(), run, NOW).await.unwrap()
}

fn job(n: u8) -> NewJob {
    let args = Args::of(&()).unwrap();
    NewJob::new(JobId::from_parts(1_700_000_000_000, [n; 10]), Kind::new("work").unwrap(), args)
}

/// CR-6: given that somebody listens to the channel, a job that is enqueued is told there.
#[tokio::test]
async fn cr_6_a_process_that_only_enqueues_tells_the_others() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let store = open(&database.url(), run.path()).await;
    let mut ear = Ear::at(&database).await;
    for n in 0..3 {
        store.enqueue(NOW, vec![job(n)]).await.unwrap();
        ear.hear().await;
    }
}

#[tokio::test]
async fn a_store_that_is_closed_has_told_of_what_it_did_last() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let mut ear = Ear::at(&database).await;
    let store = open(&database.url(), run.path()).await;
    store.enqueue(NOW, vec![job(1)]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    ear.hear().await;
}

#[tokio::test]
async fn nobody_is_told_where_hints_are_off() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let silent = open(&format!("{}?notify=false", database.url()), run.path()).await;
    let telling = open(&database.url(), run.path()).await;
    let mut ear = Ear::at(&database).await;
    silent.enqueue(NOW, vec![job(1)]).await.unwrap();
    silent.close().await.unwrap();
    telling.enqueue(NOW, vec![job(2)]).await.unwrap();
    telling.close().await.unwrap();
    ear.hear().await;
    assert!(ear.heard.try_recv().is_err(), "one of the two told");
}
