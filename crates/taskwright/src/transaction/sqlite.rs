//! Transactions of rusqlite on the store's file.

use taskwright_core::{EventId, NewJob};
use taskwright_store::sqlite::{complete_in, emit_in, enqueue_in, rusqlite};
use taskwright_store::{Enqueued, NewEvent};

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
        Ok(answer(enqueue_in(self, client.now(), &jobs?)?))
    }

    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> Result<EventId, Error> {
        let event = event?;
        emit_in(self, client.now(), std::slice::from_ref(&event))?;
        Ok(event.id)
    }

    fn complete(self, completion: Result<Completion, Error>) -> Result<(), Error> {
        let Completion { attempt, end } = completion?;
        Ok(complete_in(self, end.ended_at, attempt.host.worker, &end)?)
    }
}
