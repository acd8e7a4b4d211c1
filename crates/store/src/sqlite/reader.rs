//! Reading beside the writer: a few connections, each used by one call at a time, off the async threads.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::read_error;
use crate::Reply;
use crate::error::Error;

/// Reads that run at once.
const READERS_MAX: usize = 4;

type Open = dyn Fn() -> Result<Connection, Error> + Send + Sync;

/// The connections for reading.
#[derive(Clone)]
pub(super) struct Readers {
    open: Arc<Open>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(open: impl Fn() -> Result<Connection, Error> + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(open), idle: Arc::default(), permits: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `work` on one snapshot of the store.
    pub(super) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        let readers = self.clone();
        Box::pin(async move {
            let permit = readers.permits.clone().acquire_owned().await.map_err(|_| Error::closed())?;
            let done = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                readers.read_here(work)
            });
            done.await.unwrap_or_else(|_| Err(Error::closed()))
        })
    }

    /// Looks up a row or two by index, by one statement, which is a snapshot of its own: on this very thread, since to wake another one
    /// would take longer than that. When every connection is in use it is [`read`](Self::read) elsewhere.
    pub(super) fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        let Ok(_permit) = self.permits.try_acquire() else { return self.read(work) };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(conn) = idle else { return self.read(work) };
        let result = work(&conn);
        self.give_back(conn);
        Box::pin(std::future::ready(result))
    }

    fn give_back(&self, conn: Connection) {
        if !self.permits.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }

    fn read_here<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => (self.open)()?,
        };
        conn.execute_batch("BEGIN").map_err(read_error)?;
        let result = work(&conn);
        // A read transaction has nothing to lose; a connection that cannot even end one is not used again.
        if conn.execute_batch("COMMIT").is_ok() {
            self.give_back(conn);
        }
        result
    }

    /// Closes the connections; later reads fail.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
