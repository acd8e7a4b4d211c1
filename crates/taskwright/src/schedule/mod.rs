//! Schedules: durable rules that make jobs, and what people do with them.
//!
//! A schedule is registered through [`Client::schedules`], and lives in the store. The [duties](crate::duty) fire it: any
//! node may, and one is heard. Its jobs are jobs like any other.

mod decide;
mod facts;
mod register;
mod view;

use taskwright_core::schedule::{PlanLimits, fire_by_hand, plan};
use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{JobId, Namespace, Schedule, ScheduleName, ScheduleState, Timestamp};
use taskwright_store::{
    Definition, Error as StoreError, Fires, FiringView, NewFiring, Previous, ScheduleWrite, SharedStore,
    StoredSchedule, Target, Written,
};

pub(crate) use self::decide::{Decider, Due, Listener};
pub(crate) use self::facts::Facts;
pub use self::register::Registration;
pub use self::view::{ScheduleStatus, ScheduleView};
use crate::client::Client;
use crate::env::Env;
use crate::error::Error;

/// How often a change is tried again when others change the same schedule meanwhile.
const TRIES_MAX: usize = 32;

/// How many schedules are read at once.
const PAGE: usize = 500;

/// What people do with schedules. Made by [`Client::schedules`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright::core::trigger::Trigger;
/// use taskwright::store::memory::MemoryStore;
/// use taskwright::{Client, Env, Schedule};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let client = Client::new(Arc::new(MemoryStore::new()), Env::system());
/// let nightly = Schedule::builder("reports.nightly".parse()?, "report".parse()?)
///     .trigger(Trigger::read("cron", "30 2 * * *", Some("Europe/Berlin".parse()?))?)
///     .args(serde_json::json!({"until": "{due}", "since": "{previous_due}"}))
///     .build()?;
/// client.schedules().put(&nightly).await?;
/// assert_eq!(client.schedules().list(None).await?.len(), 1);
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Schedules {
    store: SharedStore,
    env: Env,
}

/// What a registration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Registered,
    /// It was registered before, with another definition. What it has fired stays fired.
    Changed,
    /// It was registered before just so.
    Unchanged,
}

impl Client {
    /// The schedules of the store.
    pub fn schedules(&self) -> Schedules {
        Schedules { store: self.store().clone(), env: self.env().clone() }
    }
}

impl Schedules {
    /// Registers a schedule, or changes the one of the same name: it keeps what it has done, and an operator's pause.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn put(&self, schedule: &Schedule) -> Result<Put, Error> {
        let put = self.put_all(std::slice::from_ref(schedule)).await?;
        // One answer for one schedule.
        Ok(put[0])
    }

    /// Registers many schedules, as [`put`](Self::put) does each, and answers in their order. They are written some hundreds at
    /// once.
    ///
    /// # Errors
    ///
    /// When the store is out of order; those that were written before stay.
    pub async fn put_all(&self, schedules: &[Schedule]) -> Result<Vec<Put>, Error> {
        let mut answers = Vec::with_capacity(schedules.len());
        for chunk in schedules.chunks(PAGE) {
            let mut puts = vec![None; chunk.len()];
            for _ in 0..TRIES_MAX {
                self.put_some(chunk, &mut puts).await?;
                if puts.iter().all(Option::is_some) {
                    break;
                }
            }
            for (put, schedule) in puts.into_iter().zip(chunk) {
                answers.push(put.ok_or_else(|| contended(&schedule.name))?);
            }
        }
        Ok(answers)
    }

    /// Writes those that have no answer yet; those that somebody else wrote meanwhile still have none after that.
    async fn put_some(&self, schedules: &[Schedule], puts: &mut [Option<Put>]) -> Result<(), Error> {
        let now = self.env.now();
        let (mut writes, mut written) = (Vec::new(), Vec::new());
        let left: Vec<usize> = (0..schedules.len()).filter(|place| puts[*place].is_none()).collect();
        let name = |place: &usize| (schedules[*place].namespace.clone(), schedules[*place].name.clone());
        let stored = self.store.schedules_named(left.iter().map(name).collect()).await?;
        for (place, stored) in left.into_iter().zip(stored) {
            match registration(&schedules[place], stored, now)? {
                Some((put, write)) => {
                    writes.push(write);
                    written.push((place, put));
                }
                None => puts[place] = Some(Put::Unchanged),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let done = self.store.write_schedules(now, writes).await?;
        for ((place, put), done) in written.into_iter().zip(done) {
            puts[place] = matches!(done, Written::Done(_)).then_some(put);
        }
        Ok(())
    }

    /// One schedule.
    ///
    /// # Errors
    ///
    /// When the store is out of order, or the schedule was registered by a newer program that this one does not understand.
    pub async fn get(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleView>, Error> {
        let stored = self.store.schedule(namespace.clone(), name.clone()).await?;
        stored.as_ref().map(ScheduleView::read).transpose()
    }

    /// All schedules, of one namespace or of all, in the order of their registration.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(&self, namespace: Option<&Namespace>) -> Result<Vec<ScheduleView>, Error> {
        let mut views = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.schedules(namespace.cloned(), after, PAGE).await?;
            for stored in &page {
                views.push(ScheduleView::read(stored)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key),
                _ => return Ok(views),
            }
        }
    }

    /// Lets a schedule rest until it is [resumed](Self::resume), also across restarts and edits. `false` when it rested already.
    ///
    /// # Errors
    ///
    /// When there is no such schedule ([`Error::is_not_found`]), or the store is out of order.
    pub async fn pause(&self, namespace: &Namespace, name: &ScheduleName) -> Result<bool, Error> {
        self.change(namespace, name, |view, now| {
            let paused = !view.state.paused;
            paused.then(|| view.state.clone().pause(now))
        })
        .await
    }

    /// Lets a schedule go on with the next time that is due after now; what was due meanwhile is skipped. `false` when it did
    /// not rest.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, namespace: &Namespace, name: &ScheduleName) -> Result<bool, Error> {
        self.change(namespace, name, |view, now| {
            view.state.paused.then(|| view.state.clone().resume(&view.schedule, now))
        })
        .await
    }

    /// Makes a job of the schedule now, as if `at` (or now) were the due time. Its next times stay what they are.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause); also when the arguments cannot be made.
    pub async fn fire(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
        at: Option<Timestamp>,
    ) -> Result<JobId, Error> {
        for _ in 0..TRIES_MAX {
            let (stored, view) = self.read(namespace, name).await?;
            let now = self.env.now();
            let firing = fire_by_hand(&view.state, at, now);
            let job = decide::job(&self.env, now, &view.schedule, &firing, None)?;
            let (id, mut state) = (job.id, view.state);
            state.opened(&view.schedule, id);
            let firing = NewFiring {
                trigger: None,
                due: firing.due,
                previous_due: firing.previous_due,
                event: None,
                what: Fires::Job(firing.kind, Box::new(job)),
            };
            let (target, state, next) = (target(&stored), written(&state), stored.next);
            let write = ScheduleWrite {
                target,
                definition: None,
                state,
                next,
                cancel: Previous::default(),
                firings: vec![firing],
            };
            if self.write(write).await? {
                return Ok(id);
            }
        }
        Err(contended(name))
    }

    /// Removes a schedule; `false` when there was none. Its jobs stay.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn remove(&self, namespace: &Namespace, name: &ScheduleName) -> Result<bool, Error> {
        match self.store.schedule(namespace.clone(), name.clone()).await? {
            Some(stored) => Ok(self.store.remove_schedule(stored.key).await?),
            None => Ok(false),
        }
    }

    /// What a schedule fired and skipped, newest first, before the one of number `before`, at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn firings(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<FiringView>, Error> {
        let stored = self.store.schedule(namespace.clone(), name.clone()).await?;
        let stored = stored.ok_or_else(|| Error::no_such_schedule(name))?;
        Ok(self.store.firings(stored.key, before, limit).await?)
    }

    /// Changes the state of a schedule, unless there is nothing to change.
    async fn change(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
        change: impl Fn(&ScheduleView, Timestamp) -> Option<ScheduleState>,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            let (stored, view) = self.read(namespace, name).await?;
            let now = self.env.now();
            let Some(state) = change(&view, now) else { return Ok(false) };
            let next = first_look(&view.schedule, &state, now);
            let (target, state) = (target(&stored), written(&state));
            let write = ScheduleWrite {
                target,
                definition: None,
                state,
                next,
                cancel: Previous::default(),
                firings: Vec::new(),
            };
            if self.write(write).await? {
                return Ok(true);
            }
        }
        Err(contended(name))
    }

    async fn read(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<(StoredSchedule, ScheduleView), Error> {
        let stored = self.store.schedule(namespace.clone(), name.clone()).await?;
        let stored = stored.ok_or_else(|| Error::no_such_schedule(name))?;
        let view = ScheduleView::read(&stored)?;
        Ok((stored, view))
    }

    /// Whether the write was not stale.
    async fn write(&self, write: ScheduleWrite) -> Result<bool, Error> {
        let written = self.store.write_schedules(self.env.now(), vec![write]).await?;
        Ok(matches!(written[..], [Written::Done(_)]))
    }
}

/// When whoever fires has to look at a schedule that was changed now: at once, if anything is due or to be noted.
fn first_look(schedule: &Schedule, state: &ScheduleState, now: Timestamp) -> Option<Timestamp> {
    let custom = CustomTriggers::default();
    let plan = plan(schedule, state, now, &PlanLimits::new(&custom));
    let has_news = !(plan.firings.is_empty() && plan.skipped.is_empty() && plan.faults.is_empty());
    if has_news || state.queued.is_some() { Some(now) } else { plan.next }
}

fn target(stored: &StoredSchedule) -> Target {
    Target::Stored { key: stored.key, version: stored.version }
}

/// The state as it is stored.
pub(crate) fn written(state: &ScheduleState) -> String {
    // Maps with text keys, numbers and text: nothing in it cannot be written.
    serde_json::to_string(state).unwrap_or_default()
}

fn unwritable(schedule: &Schedule, error: &serde_json::Error) -> Error {
    taskwright_core::Error::invalid(
        format!("the schedule {}", schedule.name),
        format!("it cannot be written as JSON: {error}"),
        "use values that are text, finite numbers, lists and maps with text keys",
    )
    .into()
}

/// What registers a schedule now beside what is stored of its name; `None` when it is registered just so.
fn registration(
    schedule: &Schedule,
    stored: Option<StoredSchedule>,
    now: Timestamp,
) -> Result<Option<(Put, ScheduleWrite)>, Error> {
    let (namespace, name) = (schedule.namespace.clone(), schedule.name.clone());
    let (put, target, state) = match stored {
        None => (Put::Registered, Target::New { namespace, name }, ScheduleState::new(schedule, now)),
        Some(stored) if stored.definition == json(schedule)? => return Ok(None),
        Some(stored) => {
            let before = ScheduleView::read(&stored)?;
            let state = before.state.edited(Some(&before.schedule), schedule, now);
            (Put::Changed, target(&stored), state)
        }
    };
    Ok(Some((put, write_of(schedule, target, &state, now)?)))
}

/// A schedule with its state, as it is to be from now on.
fn write_of(
    schedule: &Schedule,
    target: Target,
    state: &ScheduleState,
    now: Timestamp,
) -> Result<ScheduleWrite, Error> {
    let (listens, outcomes) = (schedule.has_event_trigger(), schedule.outcome_interests());
    Ok(ScheduleWrite {
        target,
        definition: Some(Definition { json: json(schedule)?, listens, outcomes }),
        next: first_look(schedule, state, now),
        state: written(state),
        cancel: Previous::default(),
        firings: Vec::new(),
    })
}

fn json(schedule: &Schedule) -> Result<String, Error> {
    serde_json::to_string(schedule).map_err(|error| unwritable(schedule, &error))
}

fn contended(name: &ScheduleName) -> Error {
    StoreError::unavailable(format!("the schedule {name}"), "others changed it each time that it was written")
        .into()
}
