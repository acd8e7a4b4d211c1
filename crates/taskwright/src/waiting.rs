//! Waiting for jobs to end: told of news where somebody tells, and looking now and then where nobody does.
//!
//! When to look, and when to give up, is [`core::patience`](taskwright_core::patience); here are the clock, the store and what is
//! known of the jobs.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use taskwright_core::patience::{Found, Next, Patience, Wait};
use taskwright_core::{JobId, Namespace, State};
use taskwright_store::{Error as StoreError, Filter, JobView, Page, SharedStore, Store};
use tokio::sync::watch;

use crate::env::Env;
use crate::error::Error;

/// Ids of one question.
const LOOK_IDS: usize = 500;
/// The first and the longest time between two looks at a store that hints at news, but may miss some.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// What each job adds to that, so that looking never takes more than a part of the time.
const LOOK_PER_JOB: Duration = Duration::from_micros(100);
/// Looks before the time between them doubles.
const LOOKS_PER_STEP: u32 = 4;
/// How long a store that tells of news is listened to at a time.
const LISTEN_MAX: Duration = Duration::from_secs(30);
/// The pause before it is listened to again that had nothing to tell and would not wait.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);

/// What came of waiting.
#[derive(Debug)]
pub enum Waited {
    /// These are over, and not waited for any longer.
    Ended(Vec<JobView>),
    /// There are none of these (any more).
    Unknown(Vec<JobId>),
    /// Nothing is waited for any more.
    Over,
    /// The time is up, and so many jobs are not over.
    TimeUp {
        /// How many.
        open: usize,
    },
    /// What runs has shown no sign of progress for too long.
    Stalled {
        /// For how long.
        still: Duration,
        /// How many jobs are not over.
        open: usize,
    },
    /// The store did not answer, again and again.
    Unreachable {
        /// How often in a row.
        failures: u32,
        /// What came of the last question.
        error: StoreError,
    },
}

/// Jobs that are waited for; made by [`Client::wait_for`](crate::Client::wait_for).
pub struct Waiting {
    store: SharedStore,
    env: Env,
    namespace: Option<Namespace>,
    ids: Vec<JobId>,
    wait: Wait,
    hints: watch::Receiver<u64>,
    hints_open: bool,
    looks: u32,
    /// The last question to whoever tells of news failed: for once it is not asked.
    is_deaf: bool,
    /// It was answered early, with nothing new.
    was_early: bool,
    /// What was not told yet.
    unknown: Vec<JobId>,
    /// How much each running job has written.
    written: HashMap<JobId, u64>,
    running: Vec<JobId>,
    last_error: Option<StoreError>,
}

/// What one look found.
#[derive(Debug, Default)]
pub struct Seen {
    /// Not over.
    pub open: Vec<JobView>,
    /// Over.
    pub ended: Vec<JobView>,
    /// Not there.
    pub unknown: Vec<JobId>,
}

/// Looks at jobs, in the order of their ids here.
///
/// # Errors
///
/// When the store is out of order.
pub async fn look(
    store: &dyn Store,
    namespace: Option<&Namespace>,
    ids: &[JobId],
) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    for ids in ids.chunks(LOOK_IDS) {
        let mut found = HashMap::new();
        let filter = Filter { ids: ids.to_vec(), namespaces: namespace.cloned().into(), ..Filter::default() };
        let mut after = None;
        loop {
            let page = Page { after, limit: LOOK_IDS, oldest_first: true };
            let page = store.list(filter.clone(), page).await?;
            found.extend(page.jobs.into_iter().map(|job| (job.id, job)));
            match page.next {
                Some(next) if found.len() < ids.len() => after = Some(next),
                _ => break,
            }
        }
        for id in ids {
            match found.remove(id) {
                Some(job) if job.state.is_terminal() => seen.ended.push(job),
                Some(job) => seen.open.push(job),
                None => seen.unknown.push(*id),
            }
        }
    }
    Ok(seen)
}

impl Waiting {
    pub(crate) fn new(store: &SharedStore, env: &Env, ids: Vec<JobId>, patience: Patience) -> Self {
        let mut known = HashSet::new();
        let ids = ids.into_iter().filter(|id| known.insert(*id)).collect();
        Self {
            // Interest is registered before the first look.
            hints: store.hints(),
            hints_open: true,
            store: SharedStore::clone(store),
            env: env.clone(),
            namespace: None,
            ids,
            wait: Wait::new(patience, env.monotonic_us()),
            looks: 0,
            is_deaf: false,
            was_early: false,
            unknown: Vec::new(),
            written: HashMap::new(),
            running: Vec::new(),
            last_error: None,
        }
    }

    /// Takes jobs of other namespaces for unknown. Default: all.
    #[must_use]
    pub fn within(mut self, namespace: Option<Namespace>) -> Self {
        self.namespace = namespace;
        self
    }

    /// The next thing there is to tell. After anything but [`Ended`](Waited::Ended) and [`Unknown`](Waited::Unknown) it makes no
    /// sense to ask again.
    ///
    /// # Errors
    ///
    /// When the store is out of order in a way that does not pass.
    pub async fn next(&mut self) -> Result<Waited, Error> {
        if !self.unknown.is_empty() {
            return Ok(Waited::Unknown(std::mem::take(&mut self.unknown)));
        }
        loop {
            self.hints.borrow_and_update();
            self.looks += 1;
            let next = match look(&*self.store, self.namespace.as_ref(), &self.ids).await {
                Ok(seen) => {
                    let next = self.weigh(&seen);
                    self.unknown = seen.unknown;
                    if !seen.ended.is_empty() {
                        return Ok(Waited::Ended(seen.ended));
                    }
                    if !self.unknown.is_empty() {
                        return Ok(Waited::Unknown(std::mem::take(&mut self.unknown)));
                    }
                    next
                }
                Err(error) if error.is_transient() => {
                    self.last_error = Some(error);
                    self.wait.failed(self.env.monotonic_us())
                }
                Err(error) => return Err(error.into()),
            };
            let next = if next == Next::Doubt { self.doubt().await } else { next };
            match next {
                Next::Over => return Ok(Waited::Over),
                Next::TimeUp => return Ok(Waited::TimeUp { open: self.ids.len() }),
                Next::Stalled(still) => return Ok(Waited::Stalled { still, open: self.ids.len() }),
                Next::Unreachable(failures) => {
                    let error = self.last_error.take();
                    let error =
                        error.unwrap_or_else(|| StoreError::unavailable("the store", "it does not answer"));
                    return Ok(Waited::Unreachable { failures, error });
                }
                Next::Pause(pause) => self.env.sleep(pause).await,
                Next::Listen(limit) => self.listen(limit).await,
                Next::Doubt => {}
            }
        }
    }

    fn weigh(&mut self, seen: &Seen) -> Next {
        let mut mark = DefaultHasher::new();
        for job in &seen.open {
            (job.id, job.state, job.attempt).hash(&mut mark);
            if let Some(progress) = &job.progress {
                (progress.done, progress.total, &progress.message).hash(&mut mark);
            }
        }
        self.ids = seen.open.iter().map(|job| job.id).collect();
        let running = seen.open.iter().filter(|job| job.state == State::Running);
        self.running = running.map(|job| job.id).collect();
        let found = Found { open: self.ids.len(), running: self.running.len(), mark: mark.finish() };
        let is_told = !std::mem::take(&mut self.is_deaf);
        self.wait.found(self.env.monotonic_us(), found, is_told)
    }

    /// Whether what runs has written something since it was doubted last, or since its start.
    async fn doubt(&mut self) -> Next {
        let mut wrote = false;
        for id in self.running.clone() {
            loop {
                let from = self.written.get(&id).copied().unwrap_or(0);
                match self.store.logs(id, from, LOOK_IDS).await {
                    Ok(chunks) => match chunks.last() {
                        Some(last) => {
                            self.written.insert(id, last.number + 1);
                            wrote = true;
                        }
                        None => break,
                    },
                    Err(error) if error.is_transient() => {
                        self.last_error = Some(error);
                        return self.wait.failed(self.env.monotonic_us());
                    }
                    Err(_) => break,
                }
            }
        }
        self.wait.wrote(self.env.monotonic_us(), wrote)
    }

    /// Waits for news, but not for longer than this.
    async fn listen(&mut self, limit: Option<Duration>) {
        let at_most = limit.unwrap_or(LISTEN_MAX).min(LISTEN_MAX);
        if let Some(told) = self.ids.first().and_then(|id| self.store.follow(*id, at_most)) {
            if std::mem::take(&mut self.was_early) {
                self.env.sleep(LISTEN_PAUSE.min(at_most)).await;
            }
            let began_us = self.env.monotonic_us();
            match told.await {
                Ok(()) => {
                    let took = Duration::from_micros(self.env.monotonic_us().saturating_sub(began_us));
                    self.was_early = took < LISTEN_PAUSE.min(at_most);
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody tells of news; looking now and then");
                    self.is_deaf = true;
                }
            }
            return;
        }
        let jobs = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let grown = LOOK.0 * (1 << (self.looks / LOOKS_PER_STEP).min(10));
        let pause = grown.min(LOOK.1).max(LOOK_PER_JOB * jobs).min(at_most);
        // Hints come with every commit of a busy store: not sooner than the first pause.
        self.env.sleep(LOOK.0.max(LOOK_PER_JOB * jobs).min(pause)).await;
        tokio::select! {
            changed = self.hints.changed(), if self.hints_open => self.hints_open = changed.is_ok(),
            () = self.env.sleep(pause.saturating_sub(LOOK.0)) => {}
        }
    }
}
