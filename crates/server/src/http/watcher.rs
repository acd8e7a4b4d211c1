//! Looks at jobs, and at the head of the event log, for everybody who waits for them: once for all, however many wait.
//!
//! A thousand clients that wait for jobs must not ask the store a thousand times. Each of them holds a subscription, and one
//! task looks, at every hint of the store and at the latest twice a second, and tells each of the newest there is to know.
//! Nothing is queued for a slow reader: it finds the newest when it comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskwright::Env;
use taskwright::env::Spawned;
use taskwright_core::JobId;
use taskwright_store::{Error as StoreError, Filter, JobView, Page, SharedStore};
use tokio::sync::{Notify, watch};

/// The longest time between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The shortest, however often the store hints.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// What each job adds to that, so that looking never takes more than a part of the time.
const PAUSE_PER_JOB: Duration = Duration::from_micros(100);
/// Jobs that are looked at in one question.
const PAGE: usize = 500;

/// What is known of a job that is watched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// Nobody has looked yet.
    NotYet,
    /// There is none (any more).
    Gone,
    /// As it was when somebody looked last.
    At(Arc<JobView>),
}

/// Looks for everybody.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    /// Ends with the server.
    _task: Spawned<()>,
}

struct Shared {
    jobs: Mutex<HashMap<JobId, watch::Sender<Look>>>,
    head: watch::Sender<i64>,
    /// Somebody new waits.
    news: Notify,
}

impl Watcher {
    /// Starts looking, as soon as somebody waits. Must be called within a runtime.
    pub(crate) fn start(store: SharedStore, env: Env) -> Self {
        let shared = Arc::new(Shared {
            jobs: Mutex::new(HashMap::new()),
            head: watch::Sender::new(0),
            news: Notify::new(),
        });
        let task = env.clone().spawn("watcher", look_for_ever(Arc::clone(&shared), store, env));
        Self { shared, _task: task }
    }

    /// What is known of a job, from a look that begins after this call.
    pub(crate) fn job(&self, id: JobId) -> watch::Receiver<Look> {
        let mut jobs = self.shared.lock();
        let receiver = match jobs.get(&id) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(Look::NotYet);
                jobs.insert(id, sender);
                receiver
            }
        };
        self.shared.news.notify_one();
        receiver
    }

    /// The position of the newest event in the log.
    pub(crate) fn head(&self) -> watch::Receiver<i64> {
        let receiver = self.shared.head.subscribe();
        self.shared.news.notify_one();
        receiver
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, watch::Sender<Look>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs that somebody waits for still.
    fn wanted(&self) -> Vec<JobId> {
        let mut jobs = self.lock();
        jobs.retain(|_, sender| sender.receiver_count() > 0);
        jobs.keys().copied().collect()
    }

    fn tell(&self, ids: &[JobId], found: &mut HashMap<JobId, JobView>) {
        let jobs = self.lock();
        for id in ids {
            let Some(sender) = jobs.get(id) else { continue };
            let look = found.remove(id).map_or(Look::Gone, |view| Look::At(Arc::new(view)));
            sender.send_if_modified(|known| {
                let is_news = *known != look;
                if is_news {
                    *known = look;
                }
                is_news
            });
        }
    }
}

async fn look_for_ever(shared: Arc<Shared>, store: SharedStore, env: Env) {
    let mut hints = store.hints();
    let mut hints_open = true;
    loop {
        hints.borrow_and_update();
        let ids = shared.wanted();
        let wants_head = shared.head.receiver_count() > 0;
        if ids.is_empty() && !wants_head {
            shared.news.notified().await;
            continue;
        }
        if let Err(error) = look(&shared, &store, &ids, wants_head).await {
            tracing::warn!(%error, "looking at jobs for those who wait");
        }
        let least =
            PAUSE_MIN.max(PAUSE_PER_JOB * u32::try_from(ids.len()).unwrap_or(u32::MAX)).min(PAUSE_MAX);
        tokio::select! {
            // Whoever is new is answered at once; the others find nothing new.
            () = shared.news.notified() => {}
            () = env.sleep(least) => tokio::select! {
                () = shared.news.notified() => {}
                changed = hints.changed(), if hints_open => hints_open = changed.is_ok(),
                () = env.sleep(PAUSE_MAX.saturating_sub(least)) => {}
            },
        }
    }
}

async fn look(
    shared: &Shared,
    store: &SharedStore,
    ids: &[JobId],
    wants_head: bool,
) -> Result<(), StoreError> {
    if wants_head {
        let head = store.log_head().await?;
        shared.head.send_if_modified(|known| std::mem::replace(known, head) != head);
    }
    for ids in ids.chunks(PAGE) {
        let filter = Filter { ids: ids.to_vec(), ..Filter::default() };
        let (mut found, mut after) = (HashMap::new(), None);
        loop {
            let page = store.list(filter.clone(), Page { after, limit: PAGE, oldest_first: true }).await?;
            found.extend(page.jobs.into_iter().map(|job| (job.id, job)));
            match page.next {
                Some(next) if found.len() < ids.len() => after = Some(next),
                _ => break,
            }
        }
        shared.tell(ids, &mut found);
    }
    Ok(())
}
