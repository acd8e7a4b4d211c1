//! The one thread that writes, and its group commit.
//!
//! Callers hand in closures. Whatever has gathered while the last transaction was being flushed goes into the next
//! one together, so that one flush to the disk serves everybody who waited for it, and a lone caller waits for nobody.
//! Nobody is answered before the commit that holds their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use taskwright_core::audit::Behalf;
use tokio::sync::oneshot;

use super::audit;
use super::error::write_error;
use super::flush::Flushes;
use super::session::{Lanes, Session};
use super::subject;
use crate::audit::outcome;
use crate::error::{Area, Error};
use crate::subject::{Subject, difference};
use crate::{Counters, Reply};

/// Calls that share one transaction at most.
const GROUP_CALLS_MAX: usize = 64;

/// The writer has nothing to do for this long: time to move the log into the database file.
const IDLE_BEFORE_CHECKPOINT: Duration = Duration::from_millis(50);

/// Statements after which a checkpoint is worth its flushes.
const CHECKPOINT_STATEMENTS: u64 = 1_000;

/// The way to the thread, for what is done on behalf of somebody or of nobody.
pub(super) struct Writer {
    thread: Arc<Thread>,
    behalf: Option<Arc<Behalf>>,
}

/// The thread; it ends with the last way to it.
struct Thread {
    calls: Sender<Box<dyn Call>>,
    counts: Arc<Counts>,
    handle: std::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    statements: AtomicU64,
    commits: AtomicU64,
    flushes: Flushes,
}

impl Writer {
    /// Starts the thread. `on_hint` is called after a commit that others should hear of.
    pub(super) fn start(conn: Connection, on_hint: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (calls, inbox) = channel();
        let counts = Arc::new(Counts::default());
        // `checkpoint` does it, where it is counted.
        conn.pragma_update(None, "wal_autocheckpoint", 0).map_err(std::io::Error::other)?;
        let state = Loop {
            conn,
            lanes: Lanes::default(),
            counts: counts.clone(),
            on_hint: Box::new(on_hint),
            unmoved: 0,
        };
        let handle = std::thread::Builder::new()
            .name("taskwright-writer".to_owned())
            .spawn(move || state.run(&inbox))?;
        let thread = Thread { calls, counts, handle: std::sync::Mutex::new(Some(handle)) };
        Ok(Self { thread: Arc::new(thread), behalf: None })
    }

    /// The same, for what is done on behalf of somebody.
    pub(super) fn on_behalf_of(&self, behalf: Behalf) -> Self {
        Self { thread: Arc::clone(&self.thread), behalf: Some(Arc::new(behalf)) }
    }

    /// The same, for what is no mutation of anybody's.
    pub(super) fn without_behalf(&self) -> Self {
        Self { thread: Arc::clone(&self.thread), behalf: None }
    }

    /// Runs `work` in a transaction, and answers once that is committed.
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        self.write_about(None, work)
    }

    /// The same, for a call that somebody makes about something: the entry tells what that was and is.
    pub(super) fn write_about<T: Send + 'static>(
        &self,
        about: Option<Subject>,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        let work = told(self.behalf.clone(), about, work);
        self.submit(Typed { peek: no_peek, work: Some(work), result: None, reply: None })
    }

    /// What a call is about, if somebody stands behind it.
    pub(super) fn about(&self, subject: impl FnOnce() -> Subject) -> Option<Subject> {
        self.behalf.is_some().then(subject)
    }

    /// Like [`write`](Self::write), but looks first, outside of any transaction: when `peek` has an answer, nothing is
    /// written. For calls that mostly find nothing to do.
    pub(super) fn write_unless<T: Send + 'static>(
        &self,
        peek: impl FnMut(&mut Session<'_>) -> Result<Option<T>, Error> + Send + 'static,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        let work = told(self.behalf.clone(), None, work);
        self.submit(Typed { peek, work: Some(work), result: None, reply: None })
    }

    fn submit<T, P, W>(&self, mut call: Typed<T, P, W>) -> Reply<'static, T>
    where
        T: Send + 'static,
        P: FnMut(&mut Session<'_>) -> Result<Option<T>, Error> + Send + 'static,
        W: FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        call.reply = Some(reply);
        // A failed send drops the call and with it the reply: the receiver below then says that the store is closed.
        drop(self.thread.calls.send(Box::new(call)));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(Error::closed())) })
    }

    pub(super) fn counters(&self) -> Counters {
        let counts = &self.thread.counts;
        Counters {
            calls: counts.calls.load(Ordering::Relaxed),
            statements: counts.statements.load(Ordering::Relaxed),
            commits: counts.commits.load(Ordering::Relaxed),
            flushes: counts.flushes.count(),
        }
    }

    /// Has the thread finish what was asked, close its connection, and end.
    pub(super) fn stop(&self) {
        self.thread.stop();
    }
}

/// Work that leaves behind, in its savepoint, an entry of the audit, if somebody stands behind it and it changed something, and what
/// it moved, if somebody follows that.
fn told<T: Send + 'static>(
    behalf: Option<Arc<Behalf>>,
    about: Option<Subject>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static,
) -> impl FnOnce(&mut Session<'_>) -> Result<T, Error> + Send + 'static {
    move |session| {
        let before = about.as_ref().map(|about| subject::look(session, about)).transpose()?;
        let answer = work(session)?;
        session.note_moves()?;
        if let Some(behalf) = behalf
            && let Some(outcome) = outcome(&answer)
        {
            let mut entry = behalf.entry(outcome);
            if let (Some(about), Some(before)) = (&about, before) {
                entry = entry.changing(difference(&before, &subject::look(session, about)?, &answer));
            }
            audit::append(session, &entry)?;
        }
        Ok(answer)
    }
}

impl Thread {
    fn stop(&self) {
        drop(self.calls.send(Box::new(Stop)));
        let handle = self.handle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(handle) = handle {
            // A panic of the thread has been printed; everybody who waited has been told that the store is closed.
            drop(handle.join());
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One request to the writer.
trait Call: Send {
    /// Looks without a transaction; `true` when that was all.
    fn peek(&mut self, session: &mut Session<'_>) -> bool;
    /// Does the work; `false` when it must be undone.
    fn work(&mut self, session: &mut Session<'_>) -> bool;
    /// Answers, after the commit or its failure.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
    /// Whether the thread is to end.
    fn is_stop(&self) -> bool {
        false
    }
}

struct Typed<T, P, W> {
    peek: P,
    work: Option<W>,
    result: Option<Result<T, Error>>,
    reply: Option<oneshot::Sender<Result<T, Error>>>,
}

fn no_peek<T>(_: &mut Session<'_>) -> Result<Option<T>, Error> {
    Ok(None)
}

impl<T, P, W> Call for Typed<T, P, W>
where
    T: Send,
    P: FnMut(&mut Session<'_>) -> Result<Option<T>, Error> + Send,
    W: FnOnce(&mut Session<'_>) -> Result<T, Error> + Send,
{
    fn peek(&mut self, session: &mut Session<'_>) -> bool {
        self.result = (self.peek)(session).transpose();
        self.result.is_some()
    }

    fn work(&mut self, session: &mut Session<'_>) -> bool {
        let result = self.work.take().map(|work| work(session));
        let ok = matches!(result, Some(Ok(_)));
        self.result = result;
        ok
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (self.result, committed) {
            // An error of the call itself says more than the failure of a commit that did not hold it.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(Error::closed()),
        };
        if let Some(reply) = self.reply {
            // The caller may have gone away; the work stands.
            drop(reply.send(result));
        }
    }
}

struct Stop;

impl Call for Stop {
    fn peek(&mut self, _: &mut Session<'_>) -> bool {
        true
    }

    fn work(&mut self, _: &mut Session<'_>) -> bool {
        true
    }

    fn answer(self: Box<Self>, _: Result<(), Error>) {}

    fn is_stop(&self) -> bool {
        true
    }
}

/// Why a group of calls was undone as a whole.
enum Undone {
    /// SQLite refused to begin, to go on or to commit.
    Refused(rusqlite::Error),
    /// A call failed in such a way that SQLite undid everything; that call has the reason.
    BySqlite,
}

impl From<rusqlite::Error> for Undone {
    fn from(error: rusqlite::Error) -> Self {
        Self::Refused(error)
    }
}

impl Undone {
    /// The error for one of the calls.
    fn error(&self) -> Error {
        match self {
            // The engine's error cannot be copied whole; its code says what matters.
            Self::Refused(rusqlite::Error::SqliteFailure(code, text)) => {
                write_error(rusqlite::Error::SqliteFailure(*code, text.clone()))
            }
            Self::Refused(other) => {
                write_error(rusqlite::Error::ToSqlConversionFailure(other.to_string().into()))
            }
            Self::BySqlite => Error::new(
                Area::Failed,
                "write to the store",
                "another call in the same transaction failed, and SQLite undid all of it",
                "try again; nothing was stored",
            ),
        }
    }
}

/// What the thread owns.
struct Loop {
    conn: Connection,
    lanes: Lanes,
    counts: Arc<Counts>,
    on_hint: Box<dyn Fn() + Send>,
    /// Statements since the last checkpoint of ours: about as many pages have changed.
    unmoved: u64,
}

impl Loop {
    fn run(mut self, inbox: &Receiver<Box<dyn Call>>) {
        while let Some(first) = self.next(inbox) {
            let mut stop = first.is_stop();
            let mut group = vec![first];
            while group.len() < GROUP_CALLS_MAX && !stop {
                let Ok(call) = inbox.try_recv() else { break };
                stop = call.is_stop();
                group.push(call);
            }
            self.serve(group);
            if stop {
                return;
            }
        }
    }

    /// Waits for a call; moves the log into the database file when none comes for a while.
    fn next(&mut self, inbox: &Receiver<Box<dyn Call>>) -> Option<Box<dyn Call>> {
        if self.unmoved >= CHECKPOINT_STATEMENTS {
            match inbox.recv_timeout(IDLE_BEFORE_CHECKPOINT) {
                Ok(call) => return Some(call),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        inbox.recv().ok()
    }

    fn serve(&mut self, mut group: Vec<Box<dyn Call>>) {
        self.counts.calls.fetch_add(group.len() as u64, Ordering::Relaxed);
        let mut session = Session::new(&self.conn, &mut self.lanes);
        let mut writing = Vec::with_capacity(group.len());
        for mut call in group.drain(..) {
            if call.peek(&mut session) {
                call.answer(Ok(()));
            } else {
                writing.push(call);
            }
        }
        self.counts.statements.fetch_add(session.statements, Ordering::Relaxed);
        if writing.is_empty() {
            return;
        }
        match self.transaction(&mut writing) {
            Ok(hint) => {
                let is_log_long = self.committed();
                if hint {
                    (self.on_hint)();
                }
                writing.into_iter().for_each(|call| call.answer(Ok(())));
                // Nobody waits for the log to be moved on but those who come next.
                if is_log_long {
                    self.checkpoint();
                }
            }
            Err(undone) => self.fail(writing, &undone),
        }
    }

    /// Runs every call in one transaction, each in a savepoint of its own when there are several; whether others
    /// should hear of it.
    fn transaction(&mut self, calls: &mut [Box<dyn Call>]) -> Result<bool, Undone> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut hint = false;
        let mut statements = 0;
        for call in calls.iter_mut() {
            self.conn.execute_batch("SAVEPOINT call")?;
            let mut session = Session::new(&self.conn, &mut self.lanes);
            let ok = call.work(&mut session);
            hint |= ok && session.hint;
            statements += session.statements;
            if !ok {
                self.lanes.forget();
                // A full disk, for one, has SQLite undo the whole transaction by itself.
                if self.conn.is_autocommit() {
                    return Err(Undone::BySqlite);
                }
                self.conn.execute_batch("ROLLBACK TO call")?;
            }
            self.conn.execute_batch("RELEASE call")?;
        }
        self.conn.execute_batch("COMMIT")?;
        self.unmoved += statements;
        self.counts.statements.fetch_add(statements, Ordering::Relaxed);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        Ok(hint)
    }

    /// Notes the commit; whether the log has become so long that it is to be moved on.
    fn committed(&self) -> bool {
        // NOOP does nothing, and tells how long the log is.
        let pages = self.conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)");
        let pages = pages.and_then(|mut pragma| pragma.query_row([], |row| row.get("log")));
        // Where SQLite cannot tell, the commit stands all the same.
        pages.is_ok_and(|pages: i64| self.counts.flushes.committed(u64::try_from(pages).unwrap_or(0)))
    }

    /// Nothing of the group took place: undo what is open, and tell everybody.
    fn fail(&mut self, calls: Vec<Box<dyn Call>>, undone: &Undone) {
        self.lanes.forget();
        if !self.conn.is_autocommit() {
            // When even that fails the connection is broken, and so will be the next call's answer.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        for call in calls {
            call.answer(Err(undone.error()));
        }
    }

    fn checkpoint(&mut self) {
        self.unmoved = 0;
        // Passive: it never waits for readers, and what it could not move it moves next time.
        let moved = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get("log")?, row.get("checkpointed")?))
        });
        match moved {
            Ok((in_log, moved)) => self.counts.flushes.checkpointed(in_log, moved),
            Err(error) => tracing::warn!(%error, "a checkpoint of the store failed; it is tried again"),
        }
    }
}
