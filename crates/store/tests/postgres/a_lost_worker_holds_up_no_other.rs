//! What keeps the jobs of one lost worker from going on keeps those of no other: not a row that cannot be written, and not
//! a transaction that somebody has left open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskwright_core::{State, Timestamp};
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{Client, Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{ClaimedJob, Reclaimed};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

/// Processes of one machine.
struct Machine {
    database: Database<'static>,
    run: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { database: Cluster::shared().database(), run: tempfile::tempdir().unwrap() }
    }

    async fn process(&self) -> Process {
        let settings = Settings::parse(&self.database.url()).unwrap();
        let opened = PostgresStore::open(settings, self.run.path(), Timestamp::from_micros(0)).await;
        Process::of(Arc::new(opened.unwrap()))
    }

    /// A process whose worker `n` has claimed and started so many jobs.
    async fn doomed(&self, n: u8, many: usize) -> (Process, Vec<ClaimedJob>) {
        let process = self.process().await;
        let claimed = {
            let worker = process.worker(n).await;
            let claimed = worker.claim(worker.ask(1, many)).await;
            claimed.iter().for_each(|job| worker.mark(job));
            claimed
        };
        assert_eq!(claimed.len(), many);
        (process, claimed)
    }

    /// A session of a user's, who completes a job and goes on.
    async fn completing(&self, sessions: &mut JoinSet<()>, n: u8, job: &ClaimedJob) -> Client {
        let (client, connection) =
            self.database.url().parse::<Config>().unwrap().connect(NoTls).await.unwrap();
        sessions.spawn(async move { drop(connection.await) });
        let (worker, seq) = (worker_id(n), job.key.0);
        client
            .batch_execute(&format!("BEGIN; SELECT taskwright.complete_job('{worker}', {seq}, 1, 1)"))
            .await
            .unwrap();
        client
    }
}

fn found(reclaimed: &Reclaimed) -> Vec<(taskwright_core::WorkerId, usize)> {
    reclaimed.workers.iter().map(|lost| (lost.id, lost.requeued)).collect()
}

#[allow(clippy::disallowed_methods, reason = "a test measures what a person would")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_row_that_cannot_be_written_keeps_only_the_jobs_of_its_worker() {
    let machine = Machine::new();
    let desk = machine.process().await;
    desk.enqueue(0, jobs(1..=2)).await;
    let (first, claimed) = machine.doomed(1, 1).await;
    let (second, _) = machine.doomed(2, 1).await;
    // What nothing of ours writes: an attempt that is over, of a job that runs it.
    let seq = claimed[0].key.0;
    machine.database.sql(&format!(
        "INSERT INTO taskwright.attempt (seq, attempt, outcome, moved_to, worker, claimed_at, ended_at)
         VALUES ({seq}, 1, 1, 5, 1, 1, 1)"
    ));
    drop((first, second));
    for monotonic in 1..=3 {
        let expected = if monotonic == 1 { vec![(worker_id(2), 1)] } else { Vec::new() };
        assert_eq!(found(&desk.reclaim(monotonic).await), expected);
    }
    assert_eq!(desk.state(2).await, State::Available);

    machine.database.sql("DELETE FROM taskwright.attempt");
    assert_eq!(found(&desk.reclaim(10).await), [(worker_id(1), 1)]);
    assert_eq!(desk.state(1).await, State::Available);
}

#[tokio::test]
async fn an_open_transaction_keeps_only_the_job_that_it_completes() {
    for commits in [true, false] {
        let machine = Machine::new();
        let desk = machine.process().await;
        desk.enqueue(0, jobs(1..=3)).await;
        let (first, claimed) = machine.doomed(1, 2).await;
        let (second, _) = machine.doomed(2, 1).await;
        // As `Context::complete_in` does.
        first.store().set_apart(worker_id(1), vec![(claimed[0].key, 1)]).await.unwrap();
        let mut sessions = JoinSet::new();
        let user = machine.completing(&mut sessions, 1, &claimed[0]).await;
        drop((first, second));

        let began = now();
        let reclaimed = desk.reclaim(2).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(found(&reclaimed), [(worker_id(1), 1), (worker_id(2), 1)]);
        assert!(reclaimed.look_again_in.is_some());
        assert_eq!(
            [desk.state(1).await, desk.state(2).await, desk.state(3).await],
            [State::Running, State::Available, State::Available]
        );
        assert_eq!(found(&desk.reclaim(3).await), []);

        user.batch_execute(if commits { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
        assert_eq!(found(&desk.reclaim(4).await), [], "it is lost once");
        let expected = if commits { State::Completed } else { State::Available };
        assert_eq!(desk.state(1).await, expected);
        let left = machine.database.sql("SELECT count(*) FROM taskwright.worker WHERE jobs_left");
        assert_eq!(left, "0", "nobody looks there any more");
    }
}

#[tokio::test]
async fn jobs_of_one_claim_go_on_once_the_transaction_that_completes_one_of_them_has_ended() {
    let machine = Machine::new();
    let desk = machine.process().await;
    desk.enqueue(0, jobs(1..=3)).await;
    let (first, claimed) = machine.doomed(1, 2).await;
    let (second, _) = machine.doomed(2, 1).await;
    let mut sessions = JoinSet::new();
    let user = machine.completing(&mut sessions, 1, &claimed[0]).await;
    drop((first, second));
    assert_eq!(found(&desk.reclaim(2).await), [(worker_id(1), 0), (worker_id(2), 1)]);
    assert_eq!(desk.state(3).await, State::Available);
    user.batch_execute("COMMIT").await.unwrap();
    desk.reclaim(3).await;
    let detail = desk.detail(2).await;
    assert_eq!((desk.state(1).await, detail.view.state), (State::Completed, State::Available));
    assert_eq!(detail.attempts.len(), 1, "it had been started");
}

#[tokio::test]
async fn a_worker_whose_lease_nobody_could_write_is_not_lost() {
    let machine = Machine::new();
    let desk = machine.process().await;
    let hung = machine.process().await;
    desk.enqueue(0, [job(1)]).await;
    let worker = hung.worker(1).await;
    worker.start(1).await;
    let (user, connection) = machine.database.url().parse::<Config>().unwrap().connect(NoTls).await.unwrap();
    let mut sessions = JoinSet::new();
    sessions.spawn(async move { drop(connection.await) });
    user.batch_execute("BEGIN; SELECT FROM taskwright.worker FOR UPDATE").await.unwrap();
    let late = LEASE_S + 1;
    let looked = desk.reclaim(late).await;
    assert_eq!(found(&looked), [], "it could not have renewed its lease either");
    assert!(looked.look_again_in.is_some());
    user.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(found(&desk.reclaim(late).await), [(worker.id, 1)]);
}
