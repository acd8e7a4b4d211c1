//! Asking one generator once: what has ended is settled, the generator is asked for more if it is due and there is room, and all
//! of that is committed together.

use std::future::{pending, poll_fn};
use std::task::Poll as Ready;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::Timestamp;
use taskwright_core::generator::{self, ItemEnd, Next, Record};
use taskwright_core::limit::{
    GENERATOR_BATCH_MAX, GENERATOR_HOLD_MAX, GENERATOR_LEASE, GENERATOR_RENEW_EVERY,
    GENERATOR_STATE_BYTES_MAX, POLL_MAX,
};
use taskwright_store::{
    AgainItem, Effect, EndedItem, Error, GeneratorCommit, NewItem, Reply, SettledItem, SharedStore,
    StoredGenerator,
};
use tokio::sync::Semaphore;

use super::{Known, Looked, Looking, Poll, Polled, Settled};
use crate::env::{Env, micros};
use crate::worker::panic::caught;

/// How long it is waited before a call is made again that may not have taken place. Together less than the lease.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// How long a generator may look around. Together with a poll it is less than it is held.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// One turn of a generator that was taken.
pub(crate) struct Turn<'a> {
    pub(crate) store: &'a SharedStore,
    pub(crate) env: &'a Env,
    pub(crate) known: &'a Known,
    pub(crate) taken: &'a StoredGenerator,
    /// Has a permit for each turn that may be under way beside this one.
    pub(crate) among: Option<&'a Semaphore>,
}

/// What came of a turn.
struct Came {
    record: Record,
    /// `None` leaves it as it is.
    state: Option<Value>,
    items: Vec<NewItem>,
    settled: Vec<SettledItem>,
    again: Vec<AgainItem>,
    effects: Vec<Effect>,
    /// Whether more may have ended.
    more: bool,
}

/// What a poll gave.
struct Made {
    items: Vec<NewItem>,
    state: Value,
    next: Next,
    again: Vec<AgainItem>,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    /// Does it, and keeps the lease meanwhile. A turn that comes too late has done nothing, which is no error: somebody else has
    /// had the generator since.
    ///
    /// # Errors
    ///
    /// When the store is out of order. Whoever looks after the end of the lease takes the generator again.
    pub(crate) async fn run(self) -> Result<(), Error> {
        tokio::select! {
            biased;
            done = self.take_turn() => done,
            () = self.keep() => {
                tracing::debug!(generator = %self.taken.name, "somebody else has taken a generator");
                Ok(())
            }
        }
    }

    /// Renews the lease; returns when somebody else has the generator.
    async fn keep(&self) {
        let until_us = self.env.monotonic_us() + micros(GENERATOR_HOLD_MAX);
        loop {
            self.env.sleep(GENERATOR_RENEW_EVERY).await;
            if self.env.monotonic_us() > until_us {
                return pending().await;
            }
            let until = self.env.now().plus(GENERATOR_LEASE);
            match self.store.renew_generator(self.taken.key, self.taken.fence, until).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(generator = %self.taken.name, %error, "a lease is renewed later");
                }
            }
        }
    }

    async fn take_turn(&self) -> Result<(), Error> {
        let _permit = match self.among {
            // It is never closed.
            Some(among) => among.acquire().await.ok(),
            None => None,
        };
        let taken = self.taken;
        let record = match serde_json::from_str::<Record>(&taken.record) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(generator = %taken.name, %error, "a generator is left to a program that knows it");
                return Ok(());
            }
        };
        let looked = self.look(&record).await;
        let ended = self.again(|| self.store.ended_items(taken.key, GENERATOR_BATCH_MAX)).await?;
        let asked = match looked {
            Ok(looked) => self.ask(record.clone(), looked, ended).await,
            Err(error) => Err(error),
        };
        let came = match asked {
            Ok(came) => came,
            Err(error) => self.failure(record.clone(), &error),
        };
        let done = match self.commit(&came).await {
            // What is not accepted now will not be later: it is the generator's error.
            Err(error) if error.is_domain() => self.commit(&self.failure(record, &error.to_string())).await?,
            done => done?,
        };
        if !done {
            tracing::debug!(generator = %taken.name, "what came of asking a generator came too late");
        }
        Ok(())
    }

    /// Settles what has ended, and asks for more. An error is one of settling: then nothing is settled.
    async fn ask(
        &self,
        mut record: Record,
        (before, looked): (Value, Looked),
        ended: Vec<EndedItem>,
    ) -> Result<Came, String> {
        let definition = &self.known.definition;
        let now = self.env.now();
        if looked.resumes {
            record.resume(now);
        }
        let more = ended.len() == GENERATOR_BATCH_MAX;
        let told: Vec<Settled> = ended.into_iter().filter_map(|item| Settled::of(item, now)).collect();
        let settled = told.iter().map(|item| SettledItem { job: item.job, end: item.end }).collect();
        let (mut state, run) = (looked.state, &self.known.run);
        let (mut items, mut again, mut effects) = (Vec::new(), Vec::new(), Vec::new());
        if !told.is_empty() {
            state = caught(|| run.settle(state, &told))?.map_err(|error| in_words(&*error))?;
            effects = caught(|| run.settled_effects(self.taken.key, &told))?;
            record.settle(now, told.iter().map(|item| item.end));
            if state != before && run.follows_settling() {
                record.ask_now(now);
            }
        }
        let room = record.room(definition, now, self.taken.notices);
        if room > 0 {
            let made = self.poll(Poll { generator: self.taken.key, state: state.clone(), room, now }).await;
            let (now, notices, dice) = (self.env.now(), self.taken.notices, self.env.dice());
            match made {
                Ok(made) => {
                    let moved = made.state != state || !made.effects.is_empty();
                    let count = made.items.len() + made.again.len();
                    let polled = generator::Polled { items: count, moved, next: made.next };
                    record.polled(definition, now, notices, polled, dice);
                    (items, again, state) = (made.items, made.again, made.state);
                    effects.extend(made.effects);
                }
                Err(error) => self.note_failure(&mut record, &error),
            }
        }
        let concluded = caught(|| run.conclude(&state, &record))?;
        effects.extend(concluded.map_err(|error| in_words(&*error))?);
        let state = (state != before).then_some(state);
        Ok(Came { record, state, items, settled, again, effects, more })
    }

    /// Has the generator look around; its state before that, and what came of it.
    async fn look(&self, record: &Record) -> Result<(Value, Looked), String> {
        let state: Value = serde_json::from_str(&self.taken.state)
            .map_err(|error| format!("its state cannot be read: {error}"))?;
        let Known { definition, run } = self.known;
        let (store, env, state) = (self.store, self.env, &state);
        let mut looking = caught(|| run.look(Looking { store, env, definition, record, state }))?;
        let looked = poll_fn(|cx| match caught(|| looking.as_mut().poll(cx)) {
            Ok(looked) => looked.map(|looked| looked.map_err(|error| in_words(&*error))),
            Err(panic) => Ready::Ready(Err(panic)),
        });
        let looked = env.timeout(LOOK_MAX, looked).await;
        let looked =
            looked.ok_or_else(|| format!("looking around took longer than {} s", LOOK_MAX.as_secs()))?;
        Ok((state.clone(), looked?))
    }

    /// Asks the generator. What it gives that is not accepted is an error, too, and so is a panic.
    async fn poll(&self, poll: Poll) -> Result<Made, String> {
        let Known { definition, run } = self.known;
        let room = poll.room;
        let mut polling = caught(|| run.poll(poll, self.env))?;
        let polled = poll_fn(|cx| match caught(|| polling.as_mut().poll(cx)) {
            Ok(polled) => polled.map(|polled| polled.map_err(|error| in_words(&*error))),
            Err(panic) => Ready::Ready(Err(panic)),
        });
        let polled = self.env.timeout(POLL_MAX, polled).await;
        let polled = polled.ok_or_else(|| format!("it took longer than {} s", POLL_MAX.as_secs()))??;
        let count = polled.items.len() + polled.again.len();
        if count > room {
            return Err(format!("it gave {count} items where there was room for {room}"));
        }
        let bytes = polled.state.to_string().len();
        if bytes > GENERATOR_STATE_BYTES_MAX {
            return Err(format!("its state has {bytes} bytes, {GENERATOR_STATE_BYTES_MAX} are allowed"));
        }
        let mut polled = polled;
        let items = std::mem::take(&mut polled.items).into_iter();
        let items = items.map(|item| item.into_new(self.env, definition));
        let items = items.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let Polled { state, next, again, effects, .. } = polled;
        Ok(Made { items, state, next, again, effects })
    }

    /// What is written when nothing came of it but an error.
    fn failure(&self, mut record: Record, error: &str) -> Came {
        self.note_failure(&mut record, error);
        let (items, settled, again, effects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Came { record, state: None, items, settled, again, effects, more: false }
    }

    fn note_failure(&self, record: &mut Record, error: &str) {
        let (now, notices, dice) = (self.env.now(), self.taken.notices, self.env.dice());
        record.failed(&self.known.definition, now, notices, error, dice);
        let (generator, failures) = (&self.taken.name, record.failures);
        match &record.paused {
            Some(_) => {
                tracing::error!(%generator, error, failures, "a generator failed too often and is paused");
            }
            None => {
                tracing::warn!(%generator, error, failures, "a generator failed and is asked again later");
            }
        }
    }

    async fn commit(&self, came: &Came) -> Result<bool, Error> {
        let (record, taken, now) = (&came.record, self.taken, self.env.now());
        let next = record.next_look(&self.known.definition, now);
        let commit = GeneratorCommit {
            generator: taken.key,
            version: taken.version,
            fence: taken.fence,
            notices: taken.notices,
            // Numbers, text and moments: nothing in it cannot be written.
            record: serde_json::to_string(record).unwrap_or_default(),
            state: came.state.as_ref().map(Value::to_string),
            paused: record.paused.is_some(),
            next: if came.more { next.map(|_| now) } else { next },
            look_after: record.look_after(&self.known.definition),
            items: came.items.clone(),
            settled: came.settled.clone(),
            again: came.again.clone(),
            effects: came.effects.clone(),
        };
        self.again(|| self.store.commit_generator(self.env.now(), commit.clone())).await
    }

    /// Makes a call, and makes it again while the store is out of order. Each of them may be repeated.
    async fn again<'s, T>(&'s self, call: impl Fn() -> Reply<'s, T>) -> Result<T, Error> {
        for delay in AGAIN_AFTER {
            match call().await {
                Err(error) if error.is_transient() => self.env.sleep(delay).await,
                answer => return answer,
            }
        }
        call().await
    }
}

impl Settled {
    /// What a generator is told of an item; `None` for one that has not ended.
    fn of(item: EndedItem, at: Timestamp) -> Option<Self> {
        let EndedItem { job, key, state, attempts, error } = item;
        ItemEnd::of(state).map(|end| Self { key, job, end, at, attempts, error })
    }
}

/// An error with what caused it.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(": ");
        words.push_str(&error.to_string());
        source = error.source();
    }
    words
}
