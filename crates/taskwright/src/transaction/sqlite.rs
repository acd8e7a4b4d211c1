//! Transactions of rusqlite on the store's file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use taskwright_core::{Error as DomainError, EventId, NewJob};
use taskwright_store::sqlite::{complete_in, emit_in, enqueue_in, rusqlite};
use taskwright_store::{Enqueued, NewEvent, StoreInfo};

use super::sealed::Sealed;
use super::{CallersTransaction, Completion};
use crate::client::Client;
use crate::error::Error;

impl Sealed for &rusqlite::Transaction<'_> {}

impl CallersTransaction for &rusqlite::Transaction<'_> {
    type Answer<T: Send + 'static> = Result<T, Error>;

    fn enqueue<T: Send + 'static>(
        self,
        client: &Client,
        jobs: Result<Vec<NewJob>, Error>,
        answer: fn(Vec<Enqueued>) -> T,
    ) -> Result<T, Error> {
        let jobs = jobs?;
        check_place(self, &client.store().info())?;
        Ok(answer(enqueue_in(self, client.now(), &jobs)?))
    }

    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> Result<EventId, Error> {
        let event = event?;
        check_place(self, &client.store().info())?;
        emit_in(self, client.now(), std::slice::from_ref(&event))?;
        Ok(event.id)
    }

    fn complete(self, completion: Result<Completion, Error>) -> Result<(), Error> {
        let Completion { attempt, end } = completion?;
        check_place(self, &attempt.host.store.info())?;
        Ok(complete_in(self, end.ended_at, attempt.host.worker, &end)?)
    }
}

/// Refuses a transaction on another file than that of the store: whoever runs the jobs of this one would never see those.
fn check_place(tx: &rusqlite::Transaction<'_>, store: &StoreInfo) -> Result<(), Error> {
    let refuse = |why: String| {
        let fix = "begin it on the file of the store, or use the calls without a transaction";
        Err(DomainError::invalid("the transaction", why, fix).into())
    };
    let Some(file) = store.url.strip_prefix("sqlite:") else {
        return refuse(format!(
            "it is one of SQLite, and the jobs are in a store of the kind {}",
            store.kind
        ));
    };
    let file = file.strip_prefix(":memory:").unwrap_or(file);
    let other = tx.path().unwrap_or_default();
    // A file has many names.
    let which = |path: &str| std::fs::metadata(Path::new(path)).ok().map(|file| (file.dev(), file.ino()));
    match (other == file, which(other), which(file)) {
        (true, ..) => Ok(()),
        (false, Some(other), Some(file)) if other == file => Ok(()),
        _ => refuse(format!("it is on {other:?}, and the jobs are in {file:?}")),
    }
}
