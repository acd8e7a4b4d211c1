//! The generator of a bulk: makes items of what its type gives, counts how they end, and ends the parent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::bulk::{self, State, Tally};
use taskwright_core::generator::{Definition, Next, Record};
use taskwright_core::name::clipped;
use taskwright_core::{Actor, JobId, State as JobState};
use taskwright_store::{
    BulkWrite, Change, Effect, Error as StoreError, Filter, Page, Pattern, Progress, SharedStore,
};

use super::{AnyBulkType, BulkPoll, Made, Refused};
use crate::env::Env;
use crate::generator::{
    AnyFamily, AnyGenerator, Item, Known, Looked, Looking, Poll, PollError, Polled, Polling, Settled,
};
use crate::identity::Authorities;

/// Items that are cancelled by one call.
const CANCELS: usize = 500;
/// Of the reason why an item cannot be made: as much as a progress may say.
const TROUBLE_BYTES_MAX: usize = 1_024;
/// How long items of a cancelled bulk are cancelled in one look.
const CANCELLING_MAX: Duration = Duration::from_secs(2);

/// The generators of bulks of one type.
pub(crate) struct BulkFamily(Arc<dyn AnyBulkType>);

impl BulkFamily {
    pub(crate) fn new(kind: Arc<dyn AnyBulkType>) -> Self {
        Self(kind)
    }
}

impl AnyFamily for BulkFamily {
    fn make(&self, definition: Definition) -> Result<Known, PollError> {
        let (_, parent) = definition.name.as_str().rsplit_once(':').ok_or("its name has no parent in it")?;
        let run = BulkGenerator { kind: Arc::clone(&self.0), parent: parent.parse()? };
        Ok(Known { definition, run: Box::new(run) })
    }
}

/// The generator of one bulk.
struct BulkGenerator {
    kind: Arc<dyn AnyBulkType>,
    parent: JobId,
}

impl AnyGenerator for BulkGenerator {
    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError> {
        let mut state = read(state)?;
        state.settle(settled.iter().map(|item| item.end));
        Ok(serde_json::to_value(state)?)
    }

    fn poll(&self, poll: Poll, env: &Env) -> Polling<'_> {
        let env = env.clone();
        Box::pin(async move { self.make(poll, env).await })
    }

    fn look<'a>(&'a self, looking: Looking<'a>) -> super::Answer<'a, Looked> {
        Box::pin(async move {
            let mut state = read(looking.state.clone())?;
            match looking.store.job(self.parent).await {
                Ok(parent) => state.look_at(parent.map(|parent| parent.view.state)),
                // The commit finds out.
                Err(error) => {
                    tracing::debug!(parent = %self.parent, %error, "the parent of a bulk was not looked at");
                }
            }
            self.ask_again(&mut state, &looking).await?;
            if state.cancelled && looking.record.counts.outstanding() > 0 {
                let cancelling = cancel_items(looking.store, looking.env, looking.definition);
                if let Some(Err(error)) = looking.env.timeout(CANCELLING_MAX, cancelling).await {
                    tracing::warn!(parent = %self.parent, %error, "items of a cancelled bulk are cancelled later");
                }
            }
            Ok(Looked { resumes: state.cancelled, state: serde_json::to_value(state)? })
        })
    }

    fn conclude(&self, state: &Value, record: &Record) -> Result<Vec<Effect>, PollError> {
        let state = read(state.clone())?;
        let tally = Tally::of(&state, &record.counts);
        let end = state.end(&record.counts);
        let progress = progress_of(&tally, state.trouble.clone());
        let (parent, is_over, tally) = (self.parent, state.cancelled, serde_json::to_string(&tally)?);
        Ok(vec![Effect::Bulk(BulkWrite { parent, is_over, tally, progress, end })])
    }
}

impl BulkGenerator {
    /// Asks whether whoever created the bulk may have its items made now. When that cannot be told, none are.
    async fn ask_again(&self, state: &mut State, looking: &Looking<'_>) -> Result<(), PollError> {
        let Looking { store, env, definition, .. } = looking;
        if !state.goes_on() {
            return Ok(());
        }
        // As it was stored with the bulk: a program that does not know of authorities writes the state without it.
        let Some(bulk) = store.bulk(self.parent).await? else { return Ok(()) };
        let Some(authority) = serde_json::from_str::<bulk::Definition>(&bulk.definition)?.authority else {
            return Ok(());
        };
        let authorities = Authorities::read(store, env.now(), [authority.clone()]).await?;
        if !authorities.allow(Some(&authority), state.definition.making(&definition.namespace)) {
            tracing::warn!(parent = %self.parent, %authority, "a bulk stops: who created it may not have this any more");
            state.forbid(&authority);
        }
        Ok(())
    }

    async fn make(&self, poll: Poll, env: Env) -> Result<Polled, PollError> {
        let mut state = read(poll.state.clone())?;
        if !state.goes_on() {
            return Ok(Polled::new(Vec::new(), poll.state, Next::Notified));
        }
        let bulk::Definition { params, author, .. } = state.definition.clone();
        if !self.kind.may(author.as_ref(), &params).await? {
            state.stopped = Some("its author may not have this done any more".to_owned());
            return Ok(Polled::new(Vec::new(), serde_json::to_value(state)?, Next::Notified));
        }
        let (cursor, made) = (state.cursor.clone(), state.made);
        let asked = BulkPoll { parent: self.parent, params, cursor, made, room: poll.room, env };
        let Made { mut items, cursor, is_last, refused } = self.kind.items(asked).await?;
        let next = match (is_last, items.is_empty() && refused.is_none()) {
            (true, _) => Next::Notified,
            (false, true) => Next::Idle,
            (false, false) => Next::Now,
        };
        if let Some(Refused { count, trouble }) = refused {
            tracing::warn!(parent = %self.parent, count, trouble, "items of a bulk cannot be made, and count as failed");
            state.refuse(count, clipped(&trouble, TROUBLE_BYTES_MAX));
            if state.stopped.is_some() {
                items.clear();
            }
        }
        let items: Vec<Item> =
            (made..).zip(items).map(|(index, item)| item.of_bulk(index, author.as_ref())).collect();
        state.made += items.len() as u64;
        (state.cursor, state.is_last) = (cursor, is_last);
        Ok(Polled::new(items, serde_json::to_value(state)?, next))
    }
}

/// How far a parent is, and what could not be made.
pub(super) fn progress_of(tally: &Tally, trouble: Option<String>) -> Progress {
    Progress { done: tally.settled(), total: tally.size, message: trouble }
}

fn read(state: Value) -> Result<State, PollError> {
    serde_json::from_value(state).map_err(|error| format!("its state cannot be read: {error}").into())
}

/// Cancels what waits in the queue of a bulk, and asks what runs to stop.
async fn cancel_items(store: &SharedStore, env: &Env, definition: &Definition) -> Result<(), StoreError> {
    let (namespace, queue) = (definition.namespace.clone(), definition.name.queue());
    while store.purge(env.now(), namespace.clone(), queue.clone(), Actor::system(), CANCELS).await? == CANCELS
    {
    }
    let filter = Filter {
        namespaces: namespace.into(),
        queues: vec![Pattern::new(queue.as_str())],
        states: vec![JobState::Running],
        ..Filter::default()
    };
    let mut page = Page { after: None, limit: CANCELS, oldest_first: true };
    loop {
        let paged = store.list(filter.clone(), page).await?;
        // Patterns match letters of either case.
        let running = paged.jobs.iter().filter(|job| job.queue == queue && !job.cancel_requested);
        let ids: Vec<JobId> = running.map(|job| job.id).collect();
        if !ids.is_empty() {
            let reason = Some("its bulk was cancelled".to_owned());
            store.change(env.now(), ids, Change::Cancel, Actor::system(), reason).await?;
        }
        page.after = paged.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}
