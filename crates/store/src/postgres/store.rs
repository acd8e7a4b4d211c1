//! The store: each call is a transaction on a connection of the pool, repeated when it met another one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskwright_core::audit::Behalf;
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, JobId, Namespace, NewJob, QueueName, Timestamp, Verdict, WorkerId};
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::absence::Absences;
use super::change::{self, By};
use super::connect::{Connections, Parameters};
use super::error::{is_conflict, is_duplicate};
use super::held::{Held, Where};
use super::near::Near;
use super::rest::Rest;
use super::session::{Lanes, Parts, Session, Uuid, get};
use super::stuck::Stuck;
use super::sweep;
use super::tether::Tether;
use super::unanswered::Unanswered;
use super::url::Settings;
use super::wake::Bell;
use super::{enqueue, finish, lead, list, query, restored, run_directory, schema, subject, worker};
use crate::change::{Change, Changed, Seen};
use crate::claim::{Claim, Claimed, JobKey};
use crate::error::{Area, Error};
use crate::finish::{Finish, LogEntry, ProgressReport};
use crate::lead::Fence;
use crate::presence::{Presence, Present};
use crate::query::{Filter, JobDetail, LogChunk, Page, Paged, QueueView, WorkerView};
use crate::subject::Subject;
use crate::sweep::{Promoted, Reclaimed};
use crate::worker::{NewWorker, Order, Registration, Signals};
use crate::{Counters, Enqueued, Reply, SharedStore, Store, StoreInfo, Takers};

/// How often a transaction is begun that loses against others (deadlock, serialization).
const TRIES_MAX: u32 = 5;

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Does the work in a transaction, and answers once that is committed. What lost against another transaction is done
/// again: nothing of it took place.
///
/// With `if`, it is rolled back unless that holds of the answer.
///
/// Macros, because a function that takes the work as an async closure gives no future that is known to be `Send`.
///
/// With `about`, the entry of whoever stands behind the call tells what that was and is.
macro_rules! transact {
    ($store:expr, about $about:expr, $session:ident => $work:expr) => {
        transact!($store, about $about, $session => $work, if |_: &_| true)
    };
    ($store:expr, about $about:expr, $session:ident => $work:expr, if $keep:expr) => {{
        let about = $store.behalf.is_some().then(|| $about);
        transact!($store, $session => async {
            let before = subject::before($session, about.as_ref()).await?;
            let done = $work.await?;
            subject::after($session, about.as_ref(), before, &done).await?;
            Ok::<_, $crate::Error>(done)
        }, if $keep)
    }};
    ($store:expr, $session:ident => $work:expr) => {
        transact!($store, $session => $work, if |_: &_| true)
    };
    ($store:expr, $session:ident => $work:expr, if $keep:expr) => {
        transact!($store, $store.connections.get(), $session => $work, if $keep)
    };
    ($store:expr, $connection:expr, $session:ident => $work:expr, if $keep:expr) => {{
        let store = $store;
        store.counts.calls.fetch_add(1, Ordering::Relaxed);
        let mut tries = 1;
        loop {
            let done = async {
                let mut connection = $connection.await?;
                let tx = connection.begin().await?;
                let mut own = Session::new(&tx, &store.lanes);
                let $session = &mut own;
                let done = $work.await?;
                if !$keep(&done) {
                    return Ok(done);
                }
                $session.tell(store.behalf.as_deref(), &done).await?;
                let parts = own.into_parts();
                tx.commit().await?;
                store.committed(parts);
                Ok(done)
            };
            match done.await {
                Err(error) if is_conflict(&error) && tries < TRIES_MAX => tries += 1,
                done => break done,
            }
        }
    }};
}

/// Does the work on one snapshot.
macro_rules! snapshot {
    ($store:expr, $session:ident => $work:expr) => {{
        let store = $store;
        let mut connection = store.connections.get().await?;
        let tx = connection.begin_snapshot().await?;
        let mut own = Session::new(&tx, &store.lanes);
        let $session = &mut own;
        let done = $work.await?;
        tx.commit().await?;
        Ok(done)
    }};
}

mod attachment;
mod bulk;
mod collect;
mod event;
mod generator;
mod history;
mod hot;
mod identity;
mod lost;
mod moves;
mod schedule;
mod service;
mod source;
mod step;
mod webhook;

/// A store in a schema of a PostgreSQL database. See the [module documentation](super).
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// On whose behalf it writes.
    behalf: Option<Arc<Behalf>>,
}

/// What all ways to the store in this process have in common.
pub struct Shared {
    connections: Connections,
    /// The version of its schema, which may be newer than ours.
    schema: u32,
    lanes: Lanes,
    held: Held,
    unanswered: Unanswered,
    bell: Bell,
    presence: Presence,
    /// The workers that registered through this value: they are present as long as it lives.
    present: Mutex<HashMap<WorkerId, Arc<Present>>>,
    /// What shows them to other machines.
    tether: Tether,
    /// What was seen of the workers of other machines.
    absences: Absences,
    /// Lost workers that are tried again later.
    stuck: Stuck,
    rest: Rest,
    /// Held by a batch until it has its place among others: see [`Self::enqueue_streamed_behind`].
    turn: tokio::sync::Mutex<()>,
    /// Which run of which machine this is, and which of its directories for presence: see [`run_directory`].
    boot: String,
    counts: Counts,
    takers: Takers,
}

impl std::ops::Deref for PostgresStore {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    statements: AtomicU64,
    commits: AtomicU64,
}

impl PostgresStore {
    /// Connects to the database and migrates the schema. Workers of this machine show their presence in a directory
    /// below `run`.
    ///
    /// # Errors
    ///
    /// As [`Connections::open`] and [`migrate`](super::migrate); when the directory cannot be made or is somebody else's.
    pub async fn open(settings: Settings, run: &Path, now: Timestamp) -> Result<Self, Error> {
        let connections = Connections::open(settings).await?;
        let before = schema::migrate(&connections, now).await?;
        restored::adopt_if_restored(&connections).await?;
        let (directory, boot, who) = meeting_place(&connections, run).await?;
        let shared = Shared {
            connections,
            schema: before.max(schema::VERSION),
            lanes: Lanes::default(),
            held: Held::default(),
            unanswered: Unanswered::default(),
            bell: Bell::new(Near::open(&directory, &boot, who)),
            presence: Presence::new(directory),
            present: Mutex::default(),
            tether: Tether::default(),
            absences: Absences::default(),
            stuck: Stuck::default(),
            rest: Rest::default(),
            turn: tokio::sync::Mutex::default(),
            boot,
            counts: Counts::default(),
            takers: Takers::default(),
        };
        Ok(Self { shared: Arc::new(shared), behalf: None })
    }

    /// The same, for what is no mutation of anybody's.
    fn without_behalf(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), behalf: None }
    }

    /// Counts what a transaction did that is committed now, and tells others of it.
    fn committed(&self, parts: Parts) {
        self.lanes.remember_all(parts.met);
        self.held.set_apart(&parts.apart);
        self.counts.statements.fetch_add(parts.statements, Ordering::Relaxed);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        if parts.hint {
            self.ring();
        }
    }

    /// Has whoever waits for news look.
    pub(super) fn ring(&self) {
        self.bell.ring(&self.connections);
    }

    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// Runs one statement in a transaction of its own.
    pub(super) async fn once(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let mut tries = 1;
        loop {
            match self.connections.get().await?.once(sql, parameters).await {
                Err(error) if is_conflict(&error) && tries < TRIES_MAX => tries += 1,
                done => {
                    let done = done?;
                    self.committed(Parts { statements: 1, ..Parts::default() });
                    return Ok(done);
                }
            }
        }
    }

    /// Runs one statement that only reads: for what is looked at again and again.
    pub(super) async fn look(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.connections.get().await?.once(sql, parameters).await
    }
}

impl Shared {
    /// Establishes the presence of a worker, unless an earlier call whose answer got lost has done so.
    fn enter(&self, worker: WorkerId) -> Result<Arc<Present>, Error> {
        let mut workers = self.workers_here();
        if let Some(present) = workers.get(&worker) {
            return Ok(present.clone());
        }
        let present = Arc::new(self.presence.enter(worker).map_err(no_presence)?);
        workers.insert(worker, present.clone());
        Ok(present)
    }

    /// Takes back the start marks of attempts that were not counted.
    fn unstart(&self, worker: WorkerId, fences: &HashSet<(i64, u32)>) {
        let present = self.workers_here().get(&worker).cloned();
        if let Some(present) = present {
            present.unstart(fences);
        }
    }

    fn leave(&self, worker: WorkerId) {
        self.held.forget(worker);
        self.unanswered.settle(worker);
        if let Some(present) = self.workers_here().remove(&worker) {
            present.leave();
        }
        self.tether.leave(worker);
    }

    fn leave_all(&self) {
        self.tether.stop();
        self.workers_here().drain().for_each(|(_, present)| present.leave());
    }

    fn workers_here(&self) -> MutexGuard<'_, HashMap<WorkerId, Arc<Present>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.leave_all();
    }
}

/// The directory in which the processes of this machine that use this store meet, what tells it from all others, and what tells
/// this handle from the others there.
async fn meeting_place(connections: &Connections, run: &Path) -> Result<(PathBuf, String, u64), Error> {
    let mut connection = connections.get().await?;
    let tx = connection.begin().await?;
    let lanes = Lanes::default();
    let mut session = Session::new(&tx, &lanes);
    let row = session.first("SELECT id::text, gen_random_uuid()::text FROM store LIMIT 1", &[]).await?;
    let row = row.ok_or_else(|| super::session::vanished("the store's id"))?;
    let (store, random) = (get::<String>(&row, 0)?, get::<String>(&row, 1)?);
    tx.commit().await?;
    let (directory, place) = run_directory::enter(&run.join(store), &random)?;
    let who = random.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Ok((directory, place, who.unwrap_or_default()))
}

fn no_presence(error: std::io::Error) -> Error {
    Error::new(
        Area::ReadOnly,
        "the worker's presence file",
        "it cannot be made in the run directory",
        "give this user the right to write there, and check that the disk is not full",
    )
    .with_source(error)
}

impl Store for PostgresStore {
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore {
        Arc::new(Self { shared: Arc::clone(&self.shared), behalf: Some(Arc::new(behalf)) })
    }

    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            enqueue::check(&jobs)?;
            if let Some(rows) = self.streamed(now, &jobs)
                && let Some(enqueued) = self.enqueue_plain(&rows).await?
            {
                return Ok(enqueued);
            }
            transact!(self, session => enqueue::enqueue(session, now, &jobs))
        })
    }

    fn enqueue_told(&self, now: Timestamp, jobs: Vec<(NewJob, Arc<Behalf>)>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            let (jobs, behalves): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            enqueue::check(&jobs)?;
            if let Some(rows) = enqueue::plain(&self.lanes, now, &jobs)
                && let Some(stored) = self.enqueue_plain_told(&rows, &behalves).await?
            {
                return Ok(stored);
            }
            transact!(self.without_behalf(), session => enqueue::enqueue_told(session, now, &jobs, &behalves))
        })
    }

    fn enqueue_behind(
        &self,
        now: Timestamp,
        jobs: Vec<NewJob>,
        mut previous: oneshot::Receiver<()>,
    ) -> Reply<'_, Option<Vec<Enqueued>>> {
        Box::pin(async move {
            enqueue::check(&jobs)?;
            if let Some(rows) = self.streamed(now, &jobs).filter(|rows| rows.len() > 1) {
                match self.enqueue_streamed_behind(&rows, &mut previous).await {
                    Err(error) if is_duplicate(&error) => {}
                    stored => return Ok(stored?.map(|()| enqueue::all_new(&jobs))),
                }
            }
            match previous.await {
                Ok(()) => self.enqueue(now, jobs).await.map(Some),
                Err(_) => Ok(None),
            }
        })
    }

    fn enqueue_to(&self, now: Timestamp, job: NewJob, claim: Claim) -> Reply<'_, (Enqueued, Claimed)> {
        Box::pin(async move {
            let jobs = vec![job];
            // With an entry of the audit there is no handing over: that is one statement, which has no room for it.
            if self.behalf.is_none()
                && let Some(rows) = self.streamed(now, &jobs)
                && let Some(stored) = self.enqueue_and_claim(&rows[0], &claim).await?
            {
                return Ok(stored);
            }
            let stored = self.enqueue(now, jobs).await?;
            Ok((stored[0], Claimed::default()))
        })
    }

    fn takers(&self) -> Option<&Takers> {
        Some(&self.takers)
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        Box::pin(async move { self.claim_jobs(&claim).await })
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move { self.end_attempts(now, worker, &ends).await })
    }

    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move {
            let given = transact!(self, session => finish::give_back(session, &self.held, now, worker, &jobs, &reason))?;
            let gone = jobs.iter().zip(&given).filter(|(_, verdict)| **verdict == Verdict::Accepted);
            self.held.remove(worker, gone.map(|((key, _), _)| key.0));
            self.unstart(worker, &jobs.iter().map(|(key, attempt)| (key.0, *attempt)).collect());
            Ok(given)
        })
    }

    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(
            async move { transact!(self, session => finish::report(session, &self.held, worker, &reports)) },
        )
    }

    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(
            async move { transact!(self, session => finish::log(session, &self.held, worker, &entries)) },
        )
    }

    fn set_apart(&self, worker: WorkerId, jobs: Vec<(JobKey, u32)>) -> Reply<'_, ()> {
        Box::pin(async move {
            let places = self.held.find(worker, jobs.iter().map(|(key, _)| key.0));
            if places.iter().all(|place| *place == Where::Running) {
                return Ok(());
            }
            transact!(self, session => finish::set_apart_of(session, &self.held, worker, &jobs))
        })
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        Box::pin(async move {
            let present = self.enter(worker.id)?;
            // On the connection that will tell that it lives: so there is one from the beginning.
            let registered = transact!(
                self, self.connections.lifeline(),
                session => worker::register(session, now, monotonic_us, &worker, &self.boot), if |_: &_| true
            );
            match registered {
                Ok(number) => self.tether.enter(&self.connections, worker.id, number),
                Err(error) => {
                    self.leave(worker.id);
                    return Err(error);
                }
            }
            Ok(Registration { marks: present })
        })
    }

    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals> {
        Box::pin(async move {
            let renewed = |_: &_| true;
            transact!(self, self.connections.lifeline(), session => worker::renew(session, now, monotonic_us, worker), if renewed)
        })
    }

    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals> {
        Box::pin(async move {
            let mut connection = self.connections.lifeline().await?;
            worker::read_signals(
                &connection.once(worker::SIGNALS, &[(&Uuid::from(worker), Type::UUID)]).await?,
            )
        })
    }

    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()> {
        Box::pin(async move {
            transact!(self, session => worker::unregister(session, &self.presence, now, worker))?;
            self.leave(worker);
            self.presence.forget(worker);
            Ok(())
        })
    }

    fn remark(&self, worker: WorkerId, remark: String) -> Reply<'_, ()> {
        Box::pin(async move { transact!(self, session => worker::remark(session, worker, &remark)) })
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        Box::pin(async move { transact!(self, session => worker::order(session, &workers, order)) })
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        Box::pin(async move {
            let by = By { now, actor: &actor, reason: reason.as_deref() };
            transact!(self, about Subject::Jobs(ids.clone(), change), session => change::change(session, &ids, change, &by))
        })
    }

    fn change_seen(
        &self,
        now: Timestamp,
        seen: Vec<Seen>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        Box::pin(async move {
            let by = By { now, actor: &actor, reason: reason.as_deref() };
            let about = || Subject::Jobs(seen.iter().map(|seen| seen.id).collect(), change);
            transact!(self, about about(), session => change::change_seen(session, &seen, change, &by))
        })
    }

    fn pause(
        &self,
        _now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        _actor: Actor,
    ) -> Reply<'_, bool> {
        Box::pin(async move {
            let about = || Subject::Queue(namespace.clone(), queue.clone());
            transact!(self, about about(), session => change::pause(session, &namespace, &queue, paused))
        })
    }

    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        Box::pin(async move {
            let by = By { now, actor: &actor, reason: Some("queue purged") };
            transact!(self, session => change::purge(session, &namespace, &queue, limit, &by))
        })
    }

    fn lead(&self, _monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>> {
        Box::pin(async move { lead::lead(self, node, lease).await })
    }

    fn resign(&self, node: WorkerId) -> Reply<'_, ()> {
        Box::pin(async move { transact!(self, session => lead::resign(session, node)) })
    }

    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted> {
        Box::pin(async move {
            let (next_due, some_rest) = sweep::read_waiting(&self.look(sweep::WAITING, &[]).await?)?;
            if some_rest {
                self.wake_lanes(now).await?;
            }
            match next_due {
                Some(due) if due <= now => transact!(self, session => sweep::promote(session, now, limit)),
                _ => Ok(Promoted { next_due, ..Promoted::default() }),
            }
        })
    }

    fn reclaim(&self, now: Timestamp, monotonic_us: u64, sight: Sight) -> Reply<'_, Reclaimed> {
        Box::pin(async move { self.reclaim_lost(now, monotonic_us, sight).await })
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        Box::pin(async move { snapshot!(self, session => query::job(session, id)) })
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        Box::pin(async move { snapshot!(self, session => list::list(session, &filter, &page)) })
    }

    fn last_chances(&self, attempts: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>> {
        Box::pin(async move { snapshot!(self, session => sweep::last_chances(session, &attempts)) })
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        Box::pin(async move { snapshot!(self, session => query::logs(session, id, from, limit)) })
    }

    fn queues(&self, _now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        Box::pin(async move { snapshot!(self, session => query::queues(session, namespace.as_ref())) })
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        Box::pin(async move { snapshot!(self, session => query::workers(session)) })
    }

    fn hints(&self) -> tokio::sync::watch::Receiver<u64> {
        self.bell.connect(&self.connections);
        self.bell.listen()
    }

    fn unannounced(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.bell.connect(&self.connections);
        Some(self.bell.listen_for_unannounced())
    }

    fn rouse(&self) {
        self.bell.rouse();
    }

    fn now(&self) -> Reply<'_, Option<Timestamp>> {
        Box::pin(async move {
            let told = self.connections.get().await?.once(NOW, &[]).await?;
            told.first().map(|row| get(row, 0).map(Timestamp::from_micros)).transpose()
        })
    }

    fn info(&self) -> StoreInfo {
        StoreInfo {
            kind: "postgres",
            url: self.connections.settings().url(),
            engine: self.connections.engine(),
            schema: self.schema,
        }
    }

    fn counters(&self) -> Counters {
        let commits = self.counts.commits.load(Ordering::Relaxed);
        Counters {
            calls: self.counts.calls.load(Ordering::Relaxed),
            statements: self.counts.statements.load(Ordering::Relaxed),
            commits,
            // The server flushes its log once a commit; it may serve several with one flush, and tells nobody.
            flushes: commits,
        }
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.bell.stop().await;
            self.connections.close();
            self.leave_all();
            Ok(())
        })
    }
}
