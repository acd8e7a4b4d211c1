//! The event that tells how a job ended.

use taskwright_core::Args;
use taskwright_core::outcome::JobOutcome;

use crate::error::Error;
use crate::event::NewEvent;

/// The event of an outcome.
pub(crate) fn event(outcome: &JobOutcome) -> Result<NewEvent, Error> {
    Ok(NewEvent {
        id: outcome.event_id(),
        namespace: outcome.namespace.clone(),
        topic: outcome.topic()?,
        key: Some(outcome.job.to_string()),
        payload: Args::of(&outcome.payload())?,
    })
}
