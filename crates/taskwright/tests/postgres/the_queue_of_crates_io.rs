//! What crates.io asks of its worker and of the database together (CR and SW of the lineage); the rest is in
//! `runtime/the_queue_of_crates_io.rs`.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use taskwright::env::Spawned;
use taskwright::{Client, Context, Job, Registry, Summary, TaskError, Worker, task};
use tokio::sync::mpsc;

use crate::support::{SOON, Site};

/// The session of a store that listens: it glances.
const LISTENER: &str = "SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_current_snapshot%'";
/// Within which a job starts, on a busy machine: the poll of one second, or what is told.
const BOUND: Duration = Duration::from_secs(5);
/// More jobs than a new session finds by itself.
const TOLD: usize = 10;

/// Who listens, when it is another one than before.
async fn listener(site: &Site, before: &str) -> String {
    let found = async {
        loop {
            let pid = site.database.sql(LISTENER);
            if !pid.is_empty() && pid != before {
                return pid;
            }
            site.env.sleep(Duration::from_millis(10)).await;
        }
    };
    site.env.timeout(SOON, found).await.expect("somebody listens")
}

type Running = Spawned<Result<Summary, taskwright::Error>>;

/// A worker that looks so often, a client elsewhere, of which the worker hears or which it finds when it looks, and the starts of jobs.
async fn worker(site: &Site, poll: Duration) -> (Running, Client, mpsc::UnboundedReceiver<()>) {
    let (starts, started) = mpsc::unbounded_channel();
    let registry = Registry::new().handler("order", move |_: Context| {
        starts.send(()).unwrap();
        async { Ok::<_, TaskError>(()) }
    });
    let worker = Worker::builder(site.store.clone(), registry.unwrap(), site.env.clone()).poll(poll);
    let running = site.env.spawn("worker", worker.run(std::future::pending()));
    (running, Client::new(site.another().await, site.env.clone()), started)
}

/// Enqueues a job, which starts within the bound.
async fn runs(site: &Site, client: &Client, started: &mut mpsc::UnboundedReceiver<()>) {
    client.enqueue(Job::new("order")).await.unwrap();
    site.env.timeout(BOUND, started.recv()).await.expect("it starts within the bound").unwrap();
}

/// CR-X7: given that the connection of who listens is cut, jobs run within one poll interval,
#[tokio::test]
async fn cr_x7_where_the_listener_is_cut_jobs_run_within_one_poll_interval() {
    let site = Site::new().await;
    let (_worker, client, mut started) = worker(&site, Duration::from_secs(1)).await;
    let mut before = listener(&site, "").await;
    for _ in 0..3 {
        site.database.sql(&format!("SELECT pg_terminate_backend({before})"));
        runs(&site, &client, &mut started).await;
        before = listener(&site, &before).await;
    }
}

/// CR-X7: .. and what is told is heard again: nobody looks within the hour.
#[tokio::test]
async fn cr_x7_where_the_listener_was_cut_jobs_are_told_of_again() {
    let site = Site::new().await;
    let (_worker, client, mut started) = worker(&site, Duration::from_secs(3_600)).await;
    let mut before = listener(&site, "").await;
    for _ in 0..3 {
        site.database.sql(&format!("SELECT pg_terminate_backend({before})"));
        before = listener(&site, &before).await;
        for _ in 0..TOLD {
            runs(&site, &client, &mut started).await;
        }
    }
}

/// SW-7: its arguments reach the task, and with them as many connections of the program's pool as it takes.
#[task("transfer", max_attempts = 1)]
async fn transfer(name: String, #[state] pool: &PgPool) -> Result<(String, i32, i32), TaskError> {
    let (mut from, mut to) = (pool.acquire().await?, pool.acquire().await?);
    let one: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *from).await?;
    let other: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *to).await?;
    Ok((name, one, other))
}

#[tokio::test]
async fn sw_7_a_task_takes_two_connections_of_the_pool_at_once() {
    let site = Site::new().await;
    let pool = PgPoolOptions::new().max_connections(2).connect(&site.url()).await.unwrap();
    let worker = site.worker(Registry::new().state(pool.clone()).register::<Transfer>().unwrap());
    for name in ["a", "b"] {
        let job = site.client.enqueue(Transfer { name: name.to_owned() }).await.unwrap();
        site.over(job.id).await;
        let (said, one, other) = job.output().await.unwrap();
        assert_eq!(said, name);
        assert_ne!(one, other, "two sessions at once");
    }
    // They are in the pool again: both can be had at once.
    let _both = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    assert_eq!(worker.stop().await.completed, 2);
}
