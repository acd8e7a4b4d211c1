//! What shows other machines that the workers of this process live: one session with an advisory lock for each worker.
//!
//! The server ends the session as soon as the process is gone, however it ended, and others see that the locks are missing
//! (see [`absence`](super::absence)). The session does nothing else, so that nothing else can end it. A live process may
//! still lose it: an operator ends it, the server restarts, the network fails. Then it is made again, first at once and
//! then ever more slowly, and until it is there nothing must follow from the missing locks:
//!
//! - A row of `tether` says on which run of which server a worker holds its lock. It is written once the lock is held,
//!   and on any other run the lock proves nothing.
//! - When the session cannot be made again at once, the rows are taken back through the pool. Then the lease decides.
//!
//! A server that is stopped keeps the session and says nothing. When the database is found to be elsewhere (see
//! [`whereabouts`](super::whereabouts)), the session is made there, and the one on the old server is left.
//!
//! The locks are shared ones. Nobody takes them otherwise, so they never wait: not even for an earlier session of this
//! process, which a server may believe in for hours after the network failed. That one is ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskwright_core::WorkerId;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{Connections, config_with};
use super::error::store_error;
use super::reach::{first, login_wait_max};
use super::tls;
use super::url::Settings;
use super::wake::pause_for;
use super::whereabouts::Whereabouts;
use crate::error::{Area, Error};

/// The pauses before the second attempt to make the session again, and the longest; the first attempt is made at once.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How often the silent session is used, so that nothing on the way forgets it.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long the server may take to answer whoever wants locks of it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// How long it may take to take back what the rows say: others wait for a second before they believe in a loss.
const WITHDRAW_WAIT_MAX: Duration = Duration::from_millis(500);

/// The session is not ended for being idle. When its machine is cut off, the server keeps it for two minutes: the lease is
/// to end before, since a worker that is cut off stops its handlers by that and not by its session.
const OPTIONS: &str = "-c idle_session_timeout=0 -c statement_timeout=10s -c lock_timeout=5s -c tcp_keepalives_idle=60 -c tcp_keepalives_interval=15 \
                       -c tcp_keepalives_count=4 -c tcp_user_timeout=120000";

/// The numbers that locks can tell apart: two workers that have the same one look alike, and are found by their lease.
pub(super) const NUMBER_MASK: i64 = 0x7fff_ffff;

/// The run of the server, as SQL: its start time in microseconds.
pub(super) const SERVER: &str = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

/// The first half of the advisory locks of a schema's workers: the database's locks are shared with other schemas, and
/// with whatever else uses it.
pub(super) fn lock_class(schema: &str) -> u32 {
    let hash = blake3::hash(format!("taskwright tether {schema}").as_bytes());
    let mut class = [0; 4];
    class.copy_from_slice(&hash.as_bytes()[..4]);
    u32::from_be_bytes(class)
}

/// Holds the session of this process, once it has a worker.
#[derive(Default)]
pub(super) struct Tether {
    wanted: Arc<Wanted>,
    /// Aborted when the store is dropped.
    tasks: Mutex<JoinSet<()>>,
}

/// The workers that are to be seen, with their numbers.
#[derive(Default)]
struct Wanted {
    workers: Mutex<BTreeMap<WorkerId, i64>>,
    changed: Notify,
}

impl Tether {
    /// Begins to show that a worker lives. That takes a moment, in which its lease decides; so it does for good behind
    /// PgBouncer, where nobody has a session.
    pub(super) fn enter(&self, connections: &Connections, worker: WorkerId, number: i64) {
        if connections.settings().pgbouncer {
            return;
        }
        self.wanted.workers().insert(worker, number);
        self.wanted.changed.notify_one();
        let mut tasks = self.tasks();
        if tasks.is_empty() {
            let (connections, wanted) = (connections.clone(), self.wanted.clone());
            tasks.spawn(async move { keep(&connections, &wanted).await });
        }
    }

    /// Shows no longer that a worker lives.
    pub(super) fn leave(&self, worker: WorkerId) {
        if self.wanted.workers().remove(&worker).is_some() {
            self.wanted.changed.notify_one();
        }
    }

    /// Ends the session.
    pub(super) fn stop(&self) {
        self.wanted.workers().clear();
        self.tasks().abort_all();
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<WorkerId, i64>> {
        // Each change is complete in itself.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> BTreeSet<i64> {
        self.workers().values().copied().collect()
    }
}

async fn keep(connections: &Connections, wanted: &Wanted) {
    let mut failures = 0;
    let mut lost_one = false;
    let mut moves = connections.whereabouts().moves();
    loop {
        moves.borrow_and_update();
        let error = match Tied::start(connections.settings()).await {
            Ok(mut tied) => tokio::select! {
                error = hold(&mut tied, connections.whereabouts(), wanted, lost_one, &mut failures) => error,
                _ = moves.changed() => lost(),
            },
            Err(error) => error,
        };
        if failures == 0 {
            tracing::warn!(%error, "the session by which other machines see this process is lost; it is made again");
        } else {
            tracing::debug!(%error, failures, "the session by which other machines see this process cannot be made");
        }
        lost_one = true;
        if failures > 0 {
            withdraw(connections, wanted).await;
        }
        pause_for(retry_pause(failures, wanted)).await;
        failures += 1;
    }
}

/// Holds the locks that are wanted until the session fails.
async fn hold(
    tied: &mut Tied,
    whereabouts: &Whereabouts,
    wanted: &Wanted,
    lost_one: bool,
    failures: &mut u32,
) -> Error {
    let mut ends_others = lost_one;
    loop {
        match timeout(ANSWER_WAIT_MAX, tied.hold(&wanted.numbers())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return store_error(error),
            Err(_) => return lost(),
        }
        *failures = 0;
        if std::mem::take(&mut ends_others) && timeout(ANSWER_WAIT_MAX, tied.end_earlier()).await.is_err() {
            return lost();
        }
        tokio::select! {
            () = wanted.changed.notified() => {}
            _ = tied.driver.join_next() => return lost(),
            () = pause_for(PING_EVERY) => {
                // However long it takes, unless another server has taken its place: one that does not answer still knows
                // that we are connected.
                tokio::select! {
                    answer = tied.client.batch_execute("") => if let Err(error) = answer {
                        return store_error(error);
                    },
                    () = whereabouts.moved() => return lost(),
                }
            }
        }
    }
}

/// Takes back that anything follows from missing locks. Where that fails too, nobody else is likely to be told more.
async fn withdraw(connections: &Connections, wanted: &Wanted) {
    let numbers = array(&wanted.numbers());
    let withdrawn = timeout(WITHDRAW_WAIT_MAX, async {
        let mut connection = connections.get().await?;
        let tx = connection.begin().await?;
        tx.run(&format!("DELETE FROM tether WHERE worker = ANY({numbers})")).await?;
        tx.commit().await
    });
    if !matches!(withdrawn.await, Ok(Ok(()))) {
        tracing::debug!("others may still expect the session of this process");
    }
}

/// How long to wait before the next attempt, after so many that failed since the session was held. Spread by up to a
/// fifth, by the numbers of the workers, so that processes that lost their sessions together do not come together.
fn retry_pause(failures: u32, wanted: &Wanted) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let pause = RETRY_PAUSE.0.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_PAUSE.1);
    let first = wanted.numbers().first().copied().unwrap_or_default().unsigned_abs();
    // The golden ratio spreads numbers that follow each other.
    let share = (first.wrapping_add(u64::from(failures)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 401;
    pause.mul_f64(0.8 + f64::from(u32::try_from(share).unwrap_or(0)) / 1_000.0)
}

/// A session, and the workers whose locks it holds.
struct Tied {
    client: Client,
    class: i32,
    held: BTreeSet<i64>,
    /// Drives the connection; ends with it.
    driver: JoinSet<()>,
}

impl Tied {
    async fn start(settings: &Settings) -> Result<Self, Error> {
        let connector = tls::connector(settings)?;
        let config = config_with(settings, &format!("-c search_path={} {OPTIONS}", settings.schema()));
        let connecting = first(&config, |host| {
            let connector = connector.clone();
            async move { host.connect(connector).await }
        });
        let connecting = timeout(login_wait_max(&config), connecting);
        let (client, connection) = connecting.await.map_err(|_| lost())?.map_err(store_error)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error is the end of the task, which is seen.
            let _ = connection.await;
        });
        let class = lock_class(settings.schema()).cast_signed();
        Ok(Self { client, class, held: BTreeSet::new(), driver })
    }

    /// Holds the locks of these workers and of no others, and says so.
    async fn hold(&mut self, wanted: &BTreeSet<i64>) -> Result<(), tokio_postgres::Error> {
        let class = self.class;
        let (new, gone) = (wanted - &self.held, &self.held - wanted);
        if !new.is_empty() {
            let numbers = array(&new);
            // In this order: whoever sees the row must find the lock.
            self.client
                .batch_execute(&format!(
                    "SELECT pg_advisory_lock_shared({class}, (n & {NUMBER_MASK})::integer) FROM unnest({numbers}) AS n;
                     INSERT INTO tether (worker, server) SELECT n, {SERVER} FROM unnest({numbers}) AS n
                     ON CONFLICT (worker) DO UPDATE SET server = EXCLUDED.server"
                ))
                .await?;
        }
        if !gone.is_empty() {
            let numbers = array(&gone);
            self.client.batch_execute(&format!("DELETE FROM tether WHERE worker = ANY({numbers})")).await?;
            self.client
                .batch_execute(&format!(
                    "SELECT pg_advisory_unlock_shared({class}, (n & {NUMBER_MASK})::integer) FROM unnest({numbers}) AS n"
                ))
                .await?;
        }
        self.held.clone_from(wanted);
        Ok(())
    }

    /// Ends the sessions that hold locks of our workers beside this one: earlier ones of this process that the server has
    /// not yet found to be gone, and that would show us alive after our end.
    async fn end_earlier(&self) {
        let (class, numbers) = (self.class.cast_unsigned(), array(&self.held));
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE {LOCKS} AND classid = {class} AND objid::bigint = ANY({numbers}) AND pid <> pg_backend_pid()"
        );
        if let Err(error) = self.client.batch_execute(&sql).await {
            tracing::debug!(%error, "an earlier session of this process stays until the server finds it gone");
        }
    }
}

/// Advisory locks of this database that consist of two numbers and are held.
pub(super) const LOCKS: &str = "locktype = 'advisory' AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Numbers as an array in SQL.
fn array(numbers: &BTreeSet<i64>) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("'{{{}}}'::bigint[]", numbers.join(","))
}

fn lost() -> Error {
    Error::new(
        Area::Busy,
        "stay connected to the server",
        "the connection was lost, or cannot be made",
        "check that PostgreSQL is running and can be reached",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_made_again_at_once_and_then_ever_more_slowly() {
        let wanted = Wanted::default();
        wanted.workers().insert(WorkerId::from_parts(1, [1; 10]), 42);
        assert_eq!(retry_pause(0, &wanted), Duration::ZERO);
        let mut longest = Duration::from_millis(100);
        for failures in 1..=40 {
            let pause = retry_pause(failures, &wanted);
            assert!(pause >= longest.mul_f64(0.8) && pause <= longest.mul_f64(1.21), "{failures}: {pause:?}");
            longest = (longest * 2).min(Duration::from_secs(10));
        }
    }

    #[test]
    fn processes_that_fail_together_do_not_come_together() {
        let pauses: BTreeSet<Duration> = (1..=100)
            .map(|number| {
                let wanted = Wanted::default();
                wanted.workers().insert(WorkerId::from_parts(1, [1; 10]), number);
                retry_pause(3, &wanted)
            })
            .collect();
        assert!(pauses.len() > 50, "{pauses:?}");
    }
}
