//! The moves of all jobs, for everybody who follows some of them: read once for all, however many they are.
//!
//! As long as anybody follows, one task reads from the store what moved, and puts the newest into a ring of bounded size, written as it will
//! be sent. Each follower goes along the ring at its own pace and takes what matches. Who falls so far behind that the ring has gone
//! on is told that they missed something; nothing waits for them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskwright::Env;
use taskwright::env::Spawned;
use taskwright_core::{JobId, Priority, State, Timestamp};
use taskwright_store::{Error as StoreError, JobView, MovePlace, Moves, SharedStore};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

/// For how long others note moves after the last renewal: whoever comes back within that misses nothing.
const LEASE: Duration = Duration::from_secs(60);
/// How often that is renewed.
const RENEW_US: u64 = 10_000_000;
/// The longest time between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The shortest, however often the store hints; and at least as long as the last look took, so that half of the time is left.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Jobs of one look.
const LOOK: usize = 500;
/// Looks in a row that do not come to the end: beyond, what lies between is passed over.
const BEHIND_MAX: u32 = 40;
/// Moves in the ring, and what they take as text.
const RING_MAX: usize = 10_000;
const RING_BYTES_MAX: usize = 16 << 20;
/// Jobs of which it is remembered what was told last.
const TOLD_MAX: usize = 20_000;

/// Those who come back that are read for at a time: a thousand whose server was restarted must not ask all at once.
const CATCHING_UP_MAX: usize = 4;

/// Reads for everybody.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    catching_up: Semaphore,
    /// Ends with the server.
    _task: Spawned<()>,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Where the ring ends, once it is followed: the number of the move that comes next.
    end: watch::Sender<Option<u64>>,
    /// Somebody new follows.
    news: Notify,
    /// Looks at the store so far.
    looks: AtomicU64,
}

/// What moved, as it is sent.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// A job.
    Job(Arc<Moved>),
    /// Something that is not known.
    Missed,
}

/// A job that moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) job: JobView,
    /// The job as text.
    pub(crate) json: String,
    /// The place from which on whoever has read this misses nothing.
    pub(crate) id: Arc<str>,
}

/// The newest moves.
#[derive(Default)]
struct Ring {
    moves: VecDeque<Move>,
    bytes: usize,
    /// The number of the first.
    first: u64,
    /// The place behind the last.
    place: Arc<str>,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.moves.len() as u64
    }

    fn push(&mut self, one: Move) {
        self.bytes += bytes(&one);
        self.moves.push_back(one);
        while self.moves.len() > RING_MAX || self.bytes > RING_BYTES_MAX {
            let Some(gone) = self.moves.pop_front() else { return };
            self.bytes -= bytes(&gone);
            self.first += 1;
        }
    }
}

fn bytes(one: &Move) -> usize {
    match one {
        Move::Job(moved) => moved.json.len(),
        Move::Missed => 0,
    }
}

impl Tail {
    /// Starts reading, as soon as somebody follows. Must be called within a runtime.
    pub(crate) fn start(store: SharedStore, env: Env) -> Self {
        let shared = Arc::new(Shared {
            ring: Mutex::default(),
            end: watch::Sender::new(None),
            news: Notify::new(),
            looks: AtomicU64::new(0),
        });
        let task = env.clone().spawn("tail", follow_for_ever(Arc::clone(&shared), store, env));
        Self { shared, catching_up: Semaphore::new(CATCHING_UP_MAX), _task: task }
    }

    /// Waits for the turn of somebody who comes back, and holds it until what this gives is dropped.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.catching_up.acquire().await.ok()
    }

    /// How often the store was looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.shared.looks.load(Ordering::Relaxed)
    }

    /// Follows what moves from now on.
    pub(crate) fn follow(&self) -> Follower {
        let ends = self.shared.end.subscribe();
        self.shared.news.notify_one();
        Follower { shared: Arc::clone(&self.shared), ends, next: None }
    }
}

/// Somebody who follows.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    ends: watch::Receiver<Option<u64>>,
    /// The number of the move that it takes next, once it has begun.
    next: Option<u64>,
}

impl Follower {
    /// Waits until what moves is read, and gives the place from which on this follows.
    pub(crate) async fn begin(&mut self) -> Option<Arc<str>> {
        self.ends.wait_for(Option::is_some).await.ok()?;
        let ring = self.shared.lock();
        self.next = Some(ring.end());
        Some(Arc::clone(&ring.place))
    }

    /// The next moves, at most so many, and the place behind them if they are the last.
    pub(crate) fn take(&mut self, most: usize) -> (Vec<Move>, Option<Arc<str>>) {
        self.ends.borrow_and_update();
        let ring = self.shared.lock();
        let next = self.next.unwrap_or_else(|| ring.end());
        let mut moves = Vec::new();
        let from = match next.checked_sub(ring.first) {
            Some(from) => usize::try_from(from).unwrap_or(usize::MAX),
            // The ring has gone on: it is left to the reader to find out what became of the rest.
            None => {
                moves.push(Move::Missed);
                ring.moves.len()
            }
        };
        moves.extend(ring.moves.iter().skip(from).take(most).cloned());
        let next = if from >= ring.moves.len() { ring.end() } else { next + moves.len() as u64 };
        self.next = Some(next);
        (moves, (next == ring.end()).then(|| Arc::clone(&ring.place)))
    }

    /// Is ready when something moved since it was [taken](Self::take) last; `false` when the server is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        self.ends.changed().await.is_ok()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_followed(&self) -> bool {
        self.end.receiver_count() > 0
    }

    /// If nobody follows, what is known ends here: whoever follows from then on begins anew.
    fn rest(&self) -> bool {
        let mut ring = self.lock();
        // Whoever comes just now finds either that it is followed, or that it has to be begun.
        if self.is_followed() {
            return false;
        }
        let first = ring.end();
        *ring = Ring { first, ..Ring::default() };
        self.end.send_replace(None);
        true
    }

    /// Puts what moved into the ring.
    fn tell(&self, moved: Vec<Move>, place: &str) {
        let is_news = !moved.is_empty();
        let mut ring = self.lock();
        moved.into_iter().for_each(|one| ring.push(one));
        ring.place = place.into();
        let end = Some(ring.end());
        drop(ring);
        self.end.send_if_modified(|known| std::mem::replace(known, end).is_none() || is_news);
    }
}

/// What is told of a job: a move is whatever changes it.
type Told = (State, u32, Priority, Timestamp, bool, Option<Timestamp>);

fn told(job: &JobView) -> Told {
    (job.state, job.attempt, job.priority, job.run_at, job.cancel_requested, job.ended_at)
}

/// What was told last of the jobs that moved last, so that it is not told twice.
#[derive(Default)]
struct Memory {
    told: HashMap<JobId, Told>,
    order: VecDeque<JobId>,
}

impl Memory {
    fn is_news(&mut self, job: &JobView) -> bool {
        match self.told.insert(job.id, told(job)) {
            Some(before) => before != told(job),
            None => {
                self.order.push_back(job.id);
                if self.order.len() > TOLD_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.told.remove(&oldest);
                }
                true
            }
        }
    }
}

/// Moves as they are sent. Whoever has read the last of them goes on behind all, and whoever has read fewer begins with them again.
pub(crate) fn written(moves: Vec<JobView>, before: &MovePlace, behind: &MovePlace) -> Vec<Move> {
    let (before, behind): (Arc<str>, Arc<str>) = (before.to_string().into(), behind.to_string().into());
    let last = moves.len().saturating_sub(1);
    let write = |(n, job): (usize, JobView)| {
        // Names, numbers and texts: it can be written.
        let json = serde_json::to_string(&job).unwrap_or_default();
        let id = Arc::clone(if n == last { &behind } else { &before });
        Move::Job(Arc::new(Moved { job, json, id }))
    };
    moves.into_iter().enumerate().map(write).collect()
}

async fn follow_for_ever(shared: Arc<Shared>, store: SharedStore, env: Env) {
    loop {
        if !shared.is_followed() {
            shared.news.notified().await;
            continue;
        }
        if let Err(error) = follow(&shared, &store, &env).await {
            tracing::warn!(%error, "reading what moved for those who follow");
            env.sleep(PAUSE_MAX).await;
        }
    }
}

/// Reads what moves, until nobody follows. After an error whoever follows misses what moved until it is begun again.
async fn follow(shared: &Shared, store: &SharedStore, env: &Env) -> Result<(), StoreError> {
    store.listen(LEASE).await?;
    // From the second one on all is noted.
    let mut place = store.listen(LEASE).await?;
    let mut renewed_us = env.monotonic_us();
    let is_again = shared.end.borrow().is_some();
    shared.tell(if is_again { vec![Move::Missed] } else { Vec::new() }, &place.to_string());
    let (mut memory, mut hints, mut hints_open) = (Memory::default(), store.hints(), true);
    let mut behind = 0;
    while shared.is_followed() || !shared.rest() {
        hints.borrow_and_update();
        let began_us = env.monotonic_us();
        if began_us.saturating_sub(renewed_us) >= RENEW_US {
            store.listen(LEASE).await?;
            renewed_us = began_us;
        }
        shared.looks.fetch_add(1, Ordering::Relaxed);
        let Moves { jobs, place: next, is_end, missed } = store.moves(place.clone(), LOOK).await?;
        let news = jobs.into_iter().filter(|job| memory.is_news(job)).collect();
        let mut moved = written(news, &place, &next);
        place = next;
        behind = if is_end { 0 } else { behind + 1 };
        if behind > BEHIND_MAX {
            place = store.listen(LEASE).await?;
            behind = 0;
            moved.push(Move::Missed);
        } else if missed {
            moved.push(Move::Missed);
        }
        shared.tell(moved, &place.to_string());
        let took = Duration::from_micros(env.monotonic_us().saturating_sub(began_us));
        let least = took.clamp(PAUSE_MIN, PAUSE_MAX);
        env.sleep(least).await;
        if is_end {
            tokio::select! {
                changed = hints.changed(), if hints_open => hints_open = changed.is_ok(),
                () = env.sleep(PAUSE_MAX.saturating_sub(least)) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let (end, looks) = (watch::Sender::new(None), AtomicU64::new(0));
        Shared { ring: Mutex::default(), end, news: Notify::new(), looks }
    }

    fn follower(shared: &Arc<Shared>) -> Follower {
        Follower { shared: Arc::clone(shared), ends: shared.end.subscribe(), next: None }
    }

    /// Stands for moves, of which only the number counts.
    fn moves(many: usize) -> Vec<Move> {
        (0..many).map(|_| Move::Missed).collect()
    }

    #[tokio::test]
    async fn each_follower_goes_along_the_ring_at_its_own_pace() {
        let shared = Arc::new(shared());
        let (mut one, mut other) = (follower(&shared), follower(&shared));
        shared.tell(moves(3), "a");
        assert_eq!(one.begin().await.as_deref(), Some("a"));
        shared.tell(moves(5), "b");
        assert_eq!(other.begin().await.as_deref(), Some("b"));
        let (taken, place) = one.take(4);
        assert_eq!((taken.len(), place), (4, None));
        let (taken, place) = one.take(4);
        assert_eq!((taken.len(), place.as_deref()), (1, Some("b")));
        assert_eq!(other.take(4).0.len(), 0);
    }

    #[tokio::test]
    async fn who_falls_too_far_behind_is_told_once_and_goes_on_at_the_end() {
        let shared = Arc::new(shared());
        let mut slow = follower(&shared);
        shared.tell(Vec::new(), "a");
        slow.begin().await;
        shared.tell(moves(RING_MAX + 7), "b");
        let (taken, place) = slow.take(100);
        assert_eq!((taken.len(), place.as_deref()), (1, Some("b")));
        shared.tell(moves(2), "c");
        assert_eq!(slow.take(100).0.len(), 2);
        assert_eq!(shared.lock().moves.len(), RING_MAX);
    }
}
