//! A clock that a test owns.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::SharedStore;

use super::faulty::FaultyStore;
use crate::attempt::lock;
use crate::env::{Clock, Env, Randomness, Sleep, micros};

/// When every virtual clock begins: 2026-01-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Sleepers that are woken while the test waits for something, and not for time, before it is taken for one that waits for what never
/// comes.
const STEPS_MAX: u64 = 2_000_000;

/// A clock that stands still until somebody moves it.
#[derive(Clone, Default)]
pub struct VirtualClock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    elapsed_us: u64,
    /// By how much somebody has set the wall clock: forwards, or backwards.
    set_by_us: i64,
    /// By moment, then in the order in which they lay down.
    sleepers: BTreeMap<(u64, u64), Waker>,
    newest_sleeper: u64,
    /// Waits until everybody who can go on has gone on.
    settling: Option<Waker>,
    settled: bool,
    /// Sleepers that were woken since the test last let time pass.
    steps: u64,
    /// Until when the test lets time pass, however many wake.
    until_us: u64,
    /// Who works elsewhere, and is waited for.
    held: u32,
}

/// Time stands still as long as it is there.
pub(super) struct Held(VirtualClock);

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.0.0).held -= 1;
    }
}

impl VirtualClock {
    /// A clock at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::default()
    }

    /// An environment on this clock, with randomness from the seed.
    pub fn env(&self, seed: u64) -> Env {
        Env::new(self.clone(), Randomness::seeded(seed))
    }

    /// Moves on to the next moment that somebody sleeps for and wakes that one sleeper; `false` when nobody sleeps.
    pub fn step(&self) -> bool {
        let mut state = lock(&self.0);
        let Some(((due_us, _), waker)) = state.sleepers.pop_first() else { return false };
        state.elapsed_us = state.elapsed_us.max(due_us);
        if state.elapsed_us > state.until_us {
            state.steps += 1;
        }
        let (steps, at) = (state.steps, state.now());
        drop(state);
        assert!(steps <= STEPS_MAX, "the simulation waits for something that has not come by {at}");
        waker.wake();
        true
    }

    /// Sets the wall clock forwards, as somebody or a time server may; the monotonic clock goes on as it was.
    pub fn set_forwards(&self, by: Duration) {
        lock(&self.0).set_by_us += i64::try_from(micros(by)).unwrap_or(i64::MAX);
    }

    /// Sets the wall clock backwards.
    pub fn set_backwards(&self, by: Duration) {
        lock(&self.0).set_by_us -= i64::try_from(micros(by)).unwrap_or(i64::MAX);
    }

    /// Stops time until what this gives is dropped: somebody works on another thread.
    pub(super) fn hold(&self) -> Held {
        lock(&self.0).held += 1;
        Held(self.clone())
    }

    /// What happens when nobody has anything left to do.
    fn idle(&self) {
        let mut state = lock(&self.0);
        if state.held > 0 {
            // Whoever works elsewhere wakes somebody here.
            return;
        }
        let due_now = state.sleepers.keys().next().is_some_and(|(due_us, _)| *due_us <= state.elapsed_us);
        if !due_now && let Some(waker) = state.settling.take() {
            state.settled = true;
            drop(state);
            waker.wake();
        } else {
            drop(state);
            self.step();
        }
    }
}

impl State {
    fn now(&self) -> Timestamp {
        let now = BEGIN.plus(Duration::from_micros(self.elapsed_us));
        Timestamp::from_micros(now.as_micros() + self.set_by_us)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        lock(&self.0).now()
    }

    fn monotonic_us(&self) -> u64 {
        lock(&self.0).elapsed_us
    }

    fn waits_for_work(&self) -> bool {
        true
    }

    fn sleep_until_us(&self, monotonic_us: u64) -> Sleep {
        Box::pin(VirtualSleep { clock: self.clone(), due_us: monotonic_us, number: None })
    }
}

struct VirtualSleep {
    clock: VirtualClock,
    due_us: u64,
    /// Its number among the sleepers, once it lay down.
    number: Option<u64>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = lock(&clock.0);
        if state.elapsed_us >= self.due_us {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            state.newest_sleeper += 1;
            state.newest_sleeper
        });
        state.sleepers.insert((self.due_us, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.clock.0).sleepers.remove(&(self.due_us, number));
        }
    }
}

/// A simulation under way.
#[derive(Clone)]
pub struct Sim {
    clock: VirtualClock,
    env: Env,
}

impl Sim {
    /// The environment of the simulation.
    pub fn env(&self) -> Env {
        self.env.clone()
    }

    /// The clock of the simulation.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// A store whose calls can be made to [fail](FaultyStore::fail). Time stands still while one of them is under way, so that a store which
    /// works on threads of its own, as [`SqliteStore`](crate::store::sqlite::SqliteStore) does, can be simulated with.
    pub fn hold(&self, store: SharedStore) -> Arc<FaultyStore> {
        FaultyStore::held(store, self.clock.clone())
    }

    /// Lets this much time pass: everybody who sleeps until then wakes in order, and does what there is to do.
    pub async fn advance(&self, duration: Duration) {
        let until_us = self.env.monotonic_us().saturating_add(micros(duration));
        {
            let mut state = lock(&self.clock.0);
            (state.steps, state.until_us) = (0, until_us);
        }
        self.env.sleep_until_us(until_us).await;
        self.settle().await;
    }

    /// Lets everybody do what there is to do, without time passing.
    pub async fn settle(&self) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.clock.0);
            if std::mem::take(&mut state.settled) {
                return Poll::Ready(());
            }
            state.settling = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Runs a test on a virtual clock, on one thread. The seed decides every random number, and so the whole run.
///
/// While the test waits for anything at all, time passes by itself whenever nobody has anything to do.
///
/// # Panics
///
/// When the test does, and when it waits for what does not come.
pub fn simulate<T>(seed: u64, test: impl AsyncFnOnce(Sim) -> T) -> T {
    let clock = VirtualClock::new();
    let idle = clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || idle.idle())
        .build()
        // Fails only when the system is out of file descriptors.
        .expect("a tokio runtime");
    let env = clock.env(seed);
    runtime.block_on(test(Sim { clock, env }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_in_order_and_at_their_moment() {
        simulate(1, async |sim| {
            let woken = Arc::new(Mutex::new(Vec::new()));
            let sleepers: Vec<_> = [3, 1, 2, 1]
                .into_iter()
                .enumerate()
                .map(|(number, seconds)| {
                    let (env, woken) = (sim.env(), Arc::clone(&woken));
                    sim.env().spawn("sleeper", async move {
                        env.sleep(Duration::from_secs(seconds)).await;
                        lock(&woken).push((number, env.monotonic_us() / 1_000_000));
                    })
                })
                .collect();
            sim.advance(Duration::from_secs(2)).await;
            assert_eq!(*lock(&woken), [(1, 1), (3, 1), (2, 2)]);
            for sleeper in sleepers {
                sleeper.await.unwrap();
            }
            assert_eq!(lock(&woken).last(), Some(&(0, 3)));
        });
    }

    #[test]
    fn an_hour_passes_at_once_and_a_timeout_is_exact() {
        simulate(1, async |sim| {
            let hour = Duration::from_secs(3_600);
            let begin = sim.env().now();
            assert_eq!(sim.env().timeout(hour, std::future::pending::<()>()).await, None);
            assert_eq!(sim.env().now(), begin.plus(hour));
        });
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let run = |seed| simulate(seed, async |sim| (sim.env().job_id(), sim.env().dice()));
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn time_that_a_test_lets_pass_may_be_as_long_as_it_likes() {
        simulate(1, async |sim| {
            let env = sim.env();
            let _ticks = sim.env().spawn("ticks", async move {
                loop {
                    env.sleep(Duration::from_secs(1)).await;
                }
            });
            lock(&sim.clock().0).steps = STEPS_MAX - 10;
            sim.advance(Duration::from_secs(60)).await;
            assert_eq!(lock(&sim.clock().0).steps, 0);
            sim.env().sleep(Duration::from_secs(60)).await;
            assert!(lock(&sim.clock().0).steps >= 60, "what it waits for otherwise is counted");
        });
    }

    #[test]
    #[should_panic(expected = "waits for something that has not come")]
    fn a_simulation_that_waits_for_ever_is_ended() {
        simulate(1, async |sim| {
            lock(&sim.clock().0).steps = STEPS_MAX - 1_000;
            loop {
                sim.env().sleep(Duration::from_secs(1)).await;
            }
        });
    }
}
