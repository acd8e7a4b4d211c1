//! The one place that asks for time, randomness and ids, and that spawns.
//!
//! Everything else in this crate is handed an [`Env`]. In a program it is [`Env::system`]; in a test it is one on a
//! [virtual clock](crate::testing::VirtualClock) with a seed, and then the whole runtime does the same thing on every
//! run and never waits. `clippy.toml` forbids the calls that would go around it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use taskwright_core::{EventId, JobId, ProcessId, Timestamp, TokenId, WorkerId};

/// Time, randomness, ids and tasks. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Env(Arc<Inner>);

struct Inner {
    clock: Box<dyn Clock>,
    /// By how many microseconds the wall clock that all machines share is ahead of this one's.
    ahead_us: AtomicI64,
    randomness: Randomness,
    /// The newest id: Unix milliseconds in the upper 48 bits, a counter within the millisecond below.
    newest_id: AtomicU64,
}

/// Where an [`Env`] has its time from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: for everything that people see or plan. It may jump.
    fn now(&self) -> Timestamp;

    /// Microseconds of a clock that never jumps and goes on counting while the machine sleeps or not, as the system
    /// has it. Values of different processes of one boot compare.
    fn monotonic_us(&self) -> u64;

    /// Is ready at this moment of the monotonic clock.
    fn sleep_until_us(&self, monotonic_us: u64) -> Sleep;

    /// Whether time stands still while anybody works, as in a simulation. Default no.
    fn waits_for_work(&self) -> bool {
        false
    }
}

/// Is ready when its time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Env {
    /// The clock, the randomness and the tokio runtime of the system.
    pub fn system() -> Self {
        Self::new(SystemClock, Randomness::system())
    }

    /// Time and randomness of the caller's choice.
    pub fn new(clock: impl Clock, randomness: Randomness) -> Self {
        let (ahead_us, newest_id) = (AtomicI64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { clock: Box::new(clock), ahead_us, randomness, newest_id }))
    }

    /// The wall clock: that of the store, as far as it is [known](Self::follow), or else this machine's.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.machine_now().as_micros().saturating_add(self.ahead_us()))
    }

    /// The wall clock of this machine.
    pub fn machine_now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Whether the clock is one of a simulation, which no other process has.
    pub(crate) fn is_simulated(&self) -> bool {
        self.0.clock.waits_for_work()
    }

    pub(crate) fn ahead_us(&self) -> i64 {
        self.0.ahead_us.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ahead_us(&self, ahead_us: i64) {
        self.0.ahead_us.store(ahead_us, Ordering::Relaxed);
    }

    /// Microseconds of the clock that never jumps; for leases and intervals.
    pub fn monotonic_us(&self) -> u64 {
        self.0.clock.monotonic_us()
    }

    /// Is ready after this much time.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.clock.sleep_until_us(self.monotonic_us().saturating_add(micros(duration)))
    }

    /// Is ready at this moment of the monotonic clock.
    pub fn sleep_until_us(&self, monotonic_us: u64) -> Sleep {
        self.0.clock.sleep_until_us(monotonic_us)
    }

    /// What the future gives, or `None` when it takes longer than `limit` and was dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut limit = self.sleep(limit);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// A random number from [0, 1).
    pub fn dice(&self) -> f64 {
        // The upper 53 bits are what an f64 can hold exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let whole = (self.0.randomness.next() >> 11) as f64;
        whole / (1_u64 << 53) as f64
    }

    /// A duration spread by up to `share` to both sides, so that what began together does not go on together.
    pub fn spread(&self, duration: Duration, share: f64) -> Duration {
        duration.mul_f64(1.0 - share + 2.0 * share * self.dice())
    }

    /// Fills bytes with randomness.
    pub fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.0.randomness.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// A new job id, greater than every one before it from this `Env`.
    pub fn job_id(&self) -> JobId {
        let (unix_ms, random) = self.id_parts();
        JobId::from_parts(unix_ms, random)
    }

    /// A new event id, greater than every id before it from this `Env`.
    pub fn event_id(&self) -> EventId {
        let (unix_ms, random) = self.id_parts();
        EventId::from_parts(unix_ms, random)
    }

    /// A new worker id, greater than every id before it from this `Env`.
    pub fn worker_id(&self) -> WorkerId {
        let (unix_ms, random) = self.id_parts();
        WorkerId::from_parts(unix_ms, random)
    }

    /// A new id of a process, greater than every id before it from this `Env`.
    pub fn process_id(&self) -> ProcessId {
        let (unix_ms, random) = self.id_parts();
        ProcessId::from_parts(unix_ms, random)
    }

    /// A new token id, greater than every id before it from this `Env`.
    pub fn token_id(&self) -> TokenId {
        let (unix_ms, random) = self.id_parts();
        TokenId::from_parts(unix_ms, random)
    }

    /// Time and tail of an id: 16 bits of counter in the places that RFC 9562, section 6.2, method 1 names, and 58
    /// bits of randomness, so that nobody guesses an id from its neighbour.
    fn id_parts(&self) -> (u64, [u8; 10]) {
        const COUNTER_BITS: u32 = 16;
        let floor = self.now().as_unix_millis() << COUNTER_BITS;
        let step = |newest: u64| Some((newest + 1).max(floor));
        let newest = match self.0.newest_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            // `step` never refuses, so both arms hold the value before.
            Ok(before) | Err(before) => (before + 1).max(floor),
        };
        let counter = (newest & 0xffff) as u16;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.0.randomness.next().to_le_bytes());
        // The version takes the upper half of the first byte, the variant the upper two bits of the third.
        random[..2].copy_from_slice(&(counter >> 4).to_be_bytes());
        random[2] = (((counter & 0xf) as u8) << 2) | (random[2] & 0b11);
        (newest >> COUNTER_BITS, random)
    }

    /// Runs a future as a task of its own on the tokio runtime that is current.
    ///
    /// The task ends when its handle is dropped: nothing runs that nobody owns.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Spawned<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        let handle = tokio::spawn(future);
        Spawned { name, handle }
    }
}

impl Env {
    /// Runs what blocks its thread on a thread for such work, and gives what that gives. A panic of the work goes on here.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.is_simulated() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime shuts down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Env {
    /// Runs a future on a thread of its own, with the tokio runtime that is current: it may hold that thread up, and nobody waits
    /// for it when the program ends. It ends by itself; on a clock that [waits for work](Clock::waits_for_work) it is a task,
    /// which ends with what this gives.
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn spawn_apart<F>(&self, name: &'static str, future: F) -> std::io::Result<Option<Spawned<()>>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.is_simulated() {
            return Ok(Some(self.spawn(name, future)));
        }
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name(format!("taskwright-{name}"))
            .spawn(move || runtime.block_on(future))?;
        Ok(None)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Env({})", self.now())
    }
}

/// A task that [`Env::spawn`] started: a future of what it gives. Dropping the handle ends the task.
pub struct Spawned<T> {
    name: &'static str,
    handle: tokio::task::JoinHandle<T>,
}

impl<T> Spawned<T> {
    /// What it was named.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends it at its next await; whoever waits for it hears when it is gone.
    pub(crate) fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Spawned<T> {
    /// `Err` when the task panicked or its runtime shut down.
    type Output = Result<T, Died>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.handle).poll(cx));
        Poll::Ready(joined.map_err(|error| Died { task: self.name, error }))
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// A task that ended without a result.
#[derive(Debug, thiserror::Error)]
#[error("the task {task} died")]
pub struct Died {
    task: &'static str,
    #[source]
    error: tokio::task::JoinError,
}

/// Where an [`Env`] has its random numbers from.
pub struct Randomness(Source);

enum Source {
    System,
    Seeded(AtomicU64),
}

impl Randomness {
    /// The operating system's, fetched in pages by each thread.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A sequence that the seed decides (`SplitMix64`: Steele, Lea, Flood 2014). For tests: anybody can predict it.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(AtomicU64::new(seed)))
    }

    fn next(&self) -> u64 {
        match &self.0 {
            Source::System => PAGE.with_borrow_mut(Page::next),
            Source::Seeded(state) => {
                const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
                let mut z = state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }
}

/// Random bytes that one thread has in store, so that an id costs no system call.
struct Page {
    bytes: [u8; Self::BYTES],
    used: usize,
}

impl Page {
    const BYTES: usize = 2_048;

    fn next(&mut self) -> u64 {
        if self.used == Self::BYTES {
            #[allow(clippy::disallowed_methods, reason = "this is the one place")]
            // Linux gives randomness to everybody once it has booted; without it no id could be made.
            getrandom::fill(&mut self.bytes).expect("the operating system gives randomness");
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + 8];
        self.used += 8;
        let mut random = [0; 8];
        random.copy_from_slice(taken);
        // What was given out must not lie in memory for whoever reads it later.
        taken.fill(0);
        u64::from_le_bytes(random)
    }
}

thread_local! {
    static PAGE: RefCell<Page> = const { RefCell::new(Page { bytes: [0; Page::BYTES], used: Page::BYTES }) };
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp::from_micros(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
    }

    fn monotonic_us(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // It counts from the boot on, so it is never negative.
        now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
    }

    fn sleep_until_us(&self, monotonic_us: u64) -> Sleep {
        let left = Duration::from_micros(monotonic_us.saturating_sub(self.monotonic_us()));
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        Box::pin(tokio::time::sleep(left))
    }
}

/// Whole microseconds of a duration, held at `u64::MAX`.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_rise_strictly_also_within_one_millisecond() {
        let env = Env::system();
        let ids: Vec<JobId> = (0..200_000).map(|_| env.job_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn ids_of_many_threads_are_never_the_same() {
        let env = Env::system();
        let make = || (0..20_000).map(|_| env.job_id()).collect::<Vec<_>>();
        let all: Vec<JobId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn an_id_is_a_version_7_uuid_of_its_time() {
        let env = Env::system();
        let before = env.now().as_unix_millis();
        let id = env.job_id();
        let bytes = id.as_bytes();
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (7, 0b10), "{id}");
        let ms = bytes[..6].iter().fold(0, |ms, byte| (ms << 8) | u64::from(*byte));
        assert!((before..=env.now().as_unix_millis() + 1).contains(&ms), "{id}");
    }

    #[test]
    fn the_dice_fall_everywhere_in_the_unit_interval() {
        for randomness in [Randomness::system(), Randomness::seeded(7)] {
            let env = Env::new(SystemClock, randomness);
            let mut tenths = [0; 10];
            for _ in 0..10_000 {
                let dice = env.dice();
                assert!((0.0..1.0).contains(&dice));
                tenths[(dice * 10.0) as usize] += 1;
            }
            assert!(tenths.iter().all(|count| (800..1_200).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn a_seed_decides_every_number() {
        let numbers = |seed| {
            let env = Env::new(SystemClock, Randomness::seeded(seed));
            (env.dice(), env.dice())
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn the_system_clocks_do_not_go_backwards() {
        let env = Env::system();
        let (wall, monotonic) = (env.now(), env.monotonic_us());
        assert!(env.now() >= wall && env.monotonic_us() >= monotonic);
        assert!(wall.to_string().as_str() > "2025", "{wall}");
    }
}
