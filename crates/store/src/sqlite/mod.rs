//! The embedded store: one SQLite file, shared by any number of processes on one machine.
//!
//! | file | what |
//! |---|---|
//! | `writer` | the one thread that writes, and its group commit |
//! | `reader` | reading beside it |
//! | `session` | one connection inside a transaction |
//! | `schema` | migrations |
//! | `place` | the one way into each table that says where a job is |
//! | `held`, `completions` | what was claimed together, and what completed together |
//! | `presence` | who is there, and what they started |
//! | `lead` | who does the duties |
//! | `wake` | hints between processes |
//! | the rest | one file a verb, as in the other stores |
//!
//! WAL journal, `synchronous=FULL` (an acknowledged commit survives a power cut), `BEGIN IMMEDIATE` for everything that
//! writes, no memory mapping. Beside `NAME.db` live `NAME.db-wal` and `NAME.db-shm` (SQLite's) and `NAME.db-run/` (ours:
//! presence, hints). Leases are in monotonic time of this boot, so that a clock that is set does not expire them.

mod attachment;
mod audit;
mod bulk;
mod change;
mod claim;
mod collect;
mod completions;
mod enqueue;
mod error;
mod event;
mod file;
mod finish;
mod flush;
mod generator;
mod held;
mod history;
mod identity;
mod lead;
mod list;
mod many_rows;
mod moves;
mod open;
mod outcome;
mod place;
#[cfg(test)]
mod plans;
mod query;
mod ranges;
mod raw;
mod reader;
mod rollup;
mod schedule;
mod schema;
mod service;
mod session;
mod source;
mod step;
mod subject;
mod submitter;
mod sweep;
mod table;
mod timeline;
mod wake;
mod webhook;
mod worker;
mod writer;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskwright_core::audit::Behalf;
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, JobId, Namespace, NewJob, QueueName, Timestamp, Verdict, WorkerId};

pub use open::{Options, connect, is_in_memory, pending_sql, schema_version};
pub use raw::{RawLimit, raw_limit};
/// The SQLite driver, for [`enqueue_in`]: its transaction must be of this version.
pub use rusqlite;
pub use schema::VERSION as SCHEMA_VERSION;

use self::change::By;
use self::lead::Lead;
use self::open::Opened;
use self::reader::Readers;
use self::session::{Lanes, Session};
use self::wake::{Bell, Listener};
use self::writer::Writer;
use crate::audit::entries;
use crate::change::{Change, Changed, Seen};
use crate::claim::{Claim, Claimed, JobKey};
use crate::error::{Area, Error};
use crate::event::NewEvent;
use crate::finish::{Finish, LogEntry, ProgressReport, uncounted};
use crate::lead::Fence;
use crate::presence::{Presence, Present};
use crate::query::{Filter, JobDetail, LogChunk, Page, Paged, QueueView, WorkerView};
use crate::subject::Subject;
use crate::sweep::{Promoted, Reclaimed};
use crate::worker::{NewWorker, Order, Registration, Signals};
use crate::{Counters, Enqueued, Reply, SharedStore, Store, StoreInfo, Takers};

/// A store in one SQLite file. See the [module documentation](self).
pub struct SqliteStore {
    writer: Writer,
    shared: Arc<Shared>,
}

/// What all ways to the store in this process have in common.
#[doc(hidden)]
pub struct Shared {
    readers: Readers,
    bell: Bell,
    listener: Mutex<Option<Listener>>,
    presence: Presence,
    /// The workers that registered through this value: they are present as long as it lives.
    present: Mutex<HashMap<WorkerId, Arc<Present>>>,
    lead: Arc<Lead>,
    boot: Arc<str>,
    opened: Opened,
    takers: Takers,
}

impl std::ops::Deref for SqliteStore {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl SqliteStore {
    /// Opens the store in the file, which is made if it is missing, and migrates it.
    ///
    /// # Errors
    ///
    /// When the directory or file cannot be made or written, is no database, is damaged, is of a newer version that needs a
    /// newer program ([`Error::is_version`]), or when the SQLite that is linked has the bug that loses committed writes.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let opened = Opened::prepare(path, options)?;
        Self::of(opened.connect_writer()?, opened)
    }

    /// A new store in memory, for tests: what the file is, without its log and its flushes, so that nothing outlives the process, and
    /// whoever reads and whoever writes wait for each other. Beside it is a directory in that for temporary files, which is removed with
    /// the store.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn in_memory(options: Options) -> Result<Self, Error> {
        let (opened, conn) = Opened::in_memory(options)?;
        Self::of(conn, opened)
    }

    /// The same once more, as another process has it: with a writer, a presence and workers of its own. So a test has several processes on a
    /// store in memory.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn handle(&self) -> Result<Self, Error> {
        let opened = self.opened.clone();
        Self::of(opened.connect_writer()?, opened)
    }

    /// A connection of the caller's own to the database of the store, set up as the store's are: for the tables of a program that are in there, and for
    /// transactions in which jobs are enqueued ([`enqueue_in`]).
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn connect(&self) -> Result<rusqlite::Connection, Error> {
        self.opened.connect(2_000)
    }

    fn of(writer_conn: rusqlite::Connection, opened: Opened) -> Result<Self, Error> {
        let bell = Bell::new(&opened.run_directory.join("wake"));
        let rung = bell.clone();
        let writer = Writer::start(writer_conn, move || rung.ring()).map_err(|_| out_of_threads())?;
        let for_readers = opened.clone();
        let shared = Shared {
            readers: Readers::new(move || for_readers.connect_reader()),
            bell,
            listener: Mutex::new(None),
            lead: Arc::new(Lead::new(&opened.run_directory, Presence::new(opened.run_directory.clone()))),
            presence: Presence::new(opened.run_directory.clone()),
            present: Mutex::default(),
            boot: crate::presence::boot_id().into(),
            opened,
            takers: Takers::default(),
        };
        Ok(Self { writer, shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Establishes the presence of a worker, unless an earlier call whose answer got lost has done so.
    fn enter(&self, worker: WorkerId) -> std::io::Result<Arc<Present>> {
        let mut workers = self.workers_here();
        if let Some(present) = workers.get(&worker) {
            return Ok(present.clone());
        }
        let present = Arc::new(self.presence.enter(worker)?);
        workers.insert(worker, present.clone());
        Ok(present)
    }

    fn leave(&self, worker: WorkerId) {
        if let Some(present) = self.workers_here().remove(&worker) {
            present.leave();
        }
    }

    /// Takes back the start marks of attempts that were not counted.
    fn unstart(&self, worker: WorkerId, fences: &HashSet<(i64, u32)>) {
        let present = self.workers_here().get(&worker).cloned();
        if let Some(present) = present {
            present.unstart(fences);
        }
    }

    fn leave_all(&self) {
        self.lead.leave();
        self.workers_here().drain().for_each(|(_, present)| present.leave());
    }

    fn workers_here(&self) -> MutexGuard<'_, HashMap<WorkerId, Arc<Present>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts hearing other processes, once somebody listens.
    fn start_listening(&self) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.is_none() {
            let started = self
                .opened
                .connect_reader()
                .and_then(|conn| {
                    Listener::start(self.opened.run_directory.join("wake"), self.bell.clone(), conn)
                        .map_err(|_| out_of_threads())
                })
                .inspect_err(|error| {
                    tracing::warn!(%error, "other processes are not heard; polling finds their jobs");
                });
            *listener = started.ok();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.leave_all();
    }
}

/// Stores new jobs inside the caller's own transaction, which is open on a connection to the same file: they exist if and only if that
/// commits.
///
/// The transaction should be an immediate one. Nobody is told of the commit; a worker finds the jobs within 100 ms.
///
/// # Errors
///
/// As [`Store::enqueue`]; also when no transaction is open there, and when the file has not been migrated by [`SqliteStore::open`].
pub fn enqueue_in(
    tx: &rusqlite::Connection,
    now: Timestamp,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, Error> {
    must_be_begun(tx)?;
    let mut lanes = Lanes::default();
    let mut session = Session::new(tx, &mut lanes);
    let stored = enqueue::enqueue(&mut session, now, jobs)?;
    session.note_moves()?;
    Ok(stored)
}

/// Stores events inside the caller's own transaction on the same file: they happened if and only if that commits.
///
/// # Errors
///
/// As [`EventStore::emit`](crate::EventStore::emit); also when no transaction is open there, and when the file has not been migrated by [`SqliteStore::open`].
pub fn emit_in(tx: &rusqlite::Connection, now: Timestamp, events: &[NewEvent]) -> Result<(), Error> {
    must_be_begun(tx)?;
    let mut lanes = Lanes::default();
    event::emit(&mut Session::new(tx, &mut lanes), now, events)
}

/// Ends a running attempt as `end` says inside the caller's own transaction on the same file: the job is completed if and
/// only if that commits. For the handler of that attempt.
///
/// # Errors
///
/// When the attempt does not run (any more) on this worker, or somebody has asked for the job to be cancelled. The
/// transaction must then be rolled back. Also when none is open there.
pub fn complete_in(
    tx: &rusqlite::Connection,
    now: Timestamp,
    worker: WorkerId,
    end: &Finish,
) -> Result<(), Error> {
    must_be_begun(tx)?;
    let mut lanes = Lanes::default();
    let mut session = Session::new(tx, &mut lanes);
    finish::complete_one(&mut session, now, worker, end)?;
    session.note_moves()
}

/// Appends to the log of a running attempt inside the caller's own transaction on the same file, in which the store itself cannot write.
/// Entries of an attempt that does not run (any more) on this worker are left out.
///
/// # Errors
///
/// When no transaction is open there, or the file cannot be written.
pub fn log_in(tx: &rusqlite::Connection, worker: WorkerId, entries: Vec<LogEntry>) -> Result<(), Error> {
    must_be_begun(tx)?;
    let mut lanes = Lanes::default();
    finish::log(&mut Session::new(tx, &mut lanes), worker, entries).map(drop)
}

/// Refuses a connection on which nobody has begun a transaction: each statement would be one of its own.
fn must_be_begun(tx: &rusqlite::Connection) -> Result<(), Error> {
    if !tx.is_autocommit() {
        return Ok(());
    }
    Err(Error::new(
        Area::Refused,
        "the caller's transaction",
        "none is open on this connection",
        "begin one, and do not end it yourself before this call",
    ))
}

fn out_of_threads() -> Error {
    Error::new(
        Area::Failed,
        "the store",
        "no thread could be started",
        "raise the limit on processes of this user (ulimit -u), and try again",
    )
}

impl Store for SqliteStore {
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore {
        Arc::new(Self { writer: self.writer.on_behalf_of(behalf), shared: Arc::clone(&self.shared) })
    }

    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        self.writer.write(move |session| enqueue::enqueue(session, now, &jobs))
    }

    fn enqueue_told(&self, now: Timestamp, jobs: Vec<(NewJob, Arc<Behalf>)>) -> Reply<'_, Vec<Enqueued>> {
        self.writer.without_behalf().write(move |session| {
            let (jobs, behalves): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            let stored = enqueue::enqueue(session, now, &jobs)?;
            audit::append_all(session, &entries(&stored, &behalves))?;
            Ok(stored)
        })
    }

    fn enqueue_to(&self, now: Timestamp, job: NewJob, claim: Claim) -> Reply<'_, (Enqueued, Claimed)> {
        self.writer.write(move |session| {
            let hint = session.hint;
            let stored = enqueue::enqueue(session, now, std::slice::from_ref(&job))?;
            let stored = *stored.first().ok_or_else(|| session::vanished("a job"))?;
            let claimed = match claim::claim(session, &claim) {
                Err(error) if error.is_lost() => Claimed::default(),
                claimed => claimed?,
            };
            // What is taken already is no news for anybody.
            session.hint = hint || !claimed.jobs.iter().any(|job| job.id == stored.id);
            Ok((stored, claimed))
        })
    }

    fn takers(&self) -> Option<&Takers> {
        Some(&self.takers)
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        let ask = claim.clone();
        self.writer.write_unless(
            move |session| claim::peek(session, &ask),
            move |session| claim::claim(session, &claim),
        )
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        let uncounted = uncounted(&ends);
        let ended = self.writer.write(move |session| finish::finish(session, now, worker, ends));
        Box::pin(async move {
            let verdicts = ended.await?;
            self.unstart(worker, &uncounted);
            Ok(verdicts)
        })
    }

    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>> {
        let fences = jobs.iter().map(|(key, attempt)| (key.0, *attempt)).collect();
        let given = self.writer.write(move |session| finish::give_back(session, now, worker, jobs, &reason));
        Box::pin(async move {
            let verdicts = given.await?;
            self.unstart(worker, &fences);
            Ok(verdicts)
        })
    }

    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        self.writer.write(move |session| finish::report(session, worker, reports))
    }

    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        self.writer.write(move |session| finish::log(session, worker, entries))
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        let present = match self.enter(worker.id) {
            Ok(present) => present,
            Err(error) => return Box::pin(std::future::ready(Err(no_presence(error)))),
        };
        let id = worker.id;
        let boot = self.boot.clone();
        let registered =
            self.writer.write(move |session| worker::register(session, now, monotonic_us, &worker, &boot));
        Box::pin(async move {
            if let Err(error) = registered.await {
                self.leave(id);
                return Err(error);
            }
            Ok(Registration { marks: present })
        })
    }

    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals> {
        self.writer.write(move |session| worker::renew(session, now, monotonic_us, worker))
    }

    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals> {
        self.readers.read(move |conn| worker::signals(conn, worker))
    }

    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()> {
        let presence = self.presence.clone();
        let ended = self.writer.write(move |session| worker::unregister(session, &presence, now, worker));
        Box::pin(async move {
            ended.await?;
            self.leave(worker);
            self.presence.forget(worker);
            Ok(())
        })
    }

    fn remark(&self, worker: WorkerId, remark: String) -> Reply<'_, ()> {
        self.writer.write(move |session| worker::remark(session, worker, &remark))
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        self.writer.write(move |session| worker::order(session, &workers, order))
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        let about = self.writer.about(|| Subject::Jobs(ids.clone(), change));
        self.writer.write_about(about, move |session| {
            change::change(session, &ids, change, &By { now, actor: &actor, reason: reason.as_deref() })
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
        let about = self.writer.about(|| Subject::Jobs(seen.iter().map(|seen| seen.id).collect(), change));
        self.writer.write_about(about, move |session| {
            change::change_seen(session, &seen, change, &By { now, actor: &actor, reason: reason.as_deref() })
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
        let about = self.writer.about(|| Subject::Queue(namespace.clone(), queue.clone()));
        self.writer.write_about(about, move |session| change::pause(session, &namespace, &queue, paused))
    }

    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        self.writer.write(move |session| {
            let by = By { now, actor: &actor, reason: Some("queue purged") };
            change::purge(session, &namespace, &queue, limit, &by)
        })
    }

    fn lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>> {
        let lead = self.lead.clone();
        self.readers.read(move |_| lead.lead(monotonic_us, node, lease))
    }

    fn resign(&self, node: WorkerId) -> Reply<'_, ()> {
        let lead = self.lead.clone();
        self.readers.read(move |_| lead.resign(node))
    }

    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted> {
        self.writer.write_unless(
            move |session| sweep::peek_due(session, now),
            move |session| sweep::promote(session, now, limit),
        )
    }

    fn reclaim(&self, now: Timestamp, monotonic_us: u64, mut sight: Sight) -> Reply<'_, Reclaimed> {
        sight.look(monotonic_us);
        let peek_sight = sight.clone();
        let (presence, boot) = (self.presence.clone(), self.boot.clone());
        let (peek_presence, peek_boot) = (presence.clone(), boot.clone());
        let reclaimed = self.writer.write_unless(
            move |session| {
                let observer = sweep::Observer {
                    presence: &peek_presence,
                    boot: &peek_boot,
                    monotonic_us,
                    sight: &peek_sight,
                };
                sweep::peek_lost(session, &observer)
            },
            move |session| {
                let observer =
                    sweep::Observer { presence: &presence, boot: &boot, monotonic_us, sight: &sight };
                sweep::reclaim(session, &observer, now)
            },
        );
        Box::pin(async move {
            let reclaimed = reclaimed.await?;
            for lost in &reclaimed.workers {
                self.leave(lost.id);
                self.presence.forget(lost.id);
            }
            Ok(reclaimed)
        })
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        self.readers.read(move |conn| query::job(conn, id))
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        self.readers.read(move |conn| list::list(conn, &filter, &page))
    }

    fn last_chances(&self, attempts: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>> {
        self.readers.read(move |conn| sweep::last_chances(conn, &attempts))
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        self.readers.read(move |conn| query::logs(conn, id, from, limit))
    }

    fn queues(&self, _now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        self.readers.read(move |conn| query::queues(conn, namespace.as_ref()))
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        self.readers.read(query::workers)
    }

    fn hints(&self) -> tokio::sync::watch::Receiver<u64> {
        self.start_listening();
        self.bell.listen()
    }

    fn info(&self) -> StoreInfo {
        StoreInfo {
            kind: "sqlite",
            url: format!("sqlite:{}", self.opened.path.display()),
            engine: format!("SQLite {}", rusqlite::version()),
            schema: self.opened.schema,
        }
    }

    fn counters(&self) -> Counters {
        self.writer.counters()
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.writer.stop();
            self.readers.close();
            self.leave_all();
            Ok(())
        })
    }
}

fn no_presence(error: std::io::Error) -> Error {
    Error::new(
        Area::ReadOnly,
        "the worker's presence file",
        "it cannot be made in the directory beside the store (NAME.db-run)",
        "give this user the right to write there, and check that the disk is not full",
    )
    .with_source(error)
}
