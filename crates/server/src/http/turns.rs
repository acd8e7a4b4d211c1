//! Whose request is worked on when several ask: whoever asks much waits behind their own requests, and not before those of others.
//!
//! As long as one principal asks alone, all that it asks is worked on at once. Once somebody else has asked within the last
//! [`BESIDE`], each principal has so many of its requests worked on at a time, first come, first served; what there is beyond waits,
//! and costs nothing but its connection. Counted in this process; [0039](../../../../docs/design/0039-fair-turns.md) has the figures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskwright_core::Actor;
use taskwright_store::SharedStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller::Caller;
use super::state::Limits;

/// For how long somebody who has asked counts as one who asks.
const BESIDE: Duration = Duration::from_secs(1);

/// Requests of one principal beside others, where the store is in this process: as many as it writes together while one is waited for.
const AT_ONCE_HERE: u32 = 4;
/// The same where each request waits for another machine: so many are under way without anything to do.
const AT_ONCE_ELSEWHERE: u32 = 64;

/// Who asks, and whose requests are worked on.
pub(crate) struct Turns {
    at_once: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last two who asked, the last one first, and when that was, in microseconds of the monotonic clock.
    lately: [Option<(Actor, u64)>; 2],
    /// Of those who have asked beside others, as many permits as they may have requests worked on.
    each: HashMap<Actor, Line>,
}

/// What one principal has worked on beside others.
#[derive(Clone)]
struct Line {
    room: Arc<Semaphore>,
    size: u32,
}

impl State {
    /// Notes that somebody asks, and says whether somebody else does, too.
    fn ask(&mut self, who: &Actor, now_us: u64) -> bool {
        match &mut self.lately {
            [Some((last, at_us)), _] if last == who => *at_us = now_us,
            lately => {
                lately.swap(0, 1);
                lately[0] = Some((who.clone(), now_us));
            }
        }
        let beside_us = crate::answer::micros(BESIDE);
        self.lately[1].as_ref().is_some_and(|(_, at_us)| now_us.saturating_sub(*at_us) < beside_us)
    }

    /// The line of somebody. Those that nobody stands in are forgotten.
    fn line(&mut self, who: &Actor, size: u32) -> Arc<Semaphore> {
        if let Some(line) = self.each.get(who).filter(|line| line.size == size) {
            return Arc::clone(&line.room);
        }
        self.each.retain(|_, line| Arc::strong_count(&line.room) > 1);
        let room = Arc::new(Semaphore::new(size as usize));
        self.each.insert(who.clone(), Line { room: Arc::clone(&room), size });
        room
    }
}

impl Turns {
    /// For a server on this store.
    pub(crate) fn on(store: &SharedStore) -> Self {
        let is_elsewhere = store.info().kind == "postgres";
        let at_once = if is_elsewhere { AT_ONCE_ELSEWHERE } else { AT_ONCE_HERE };
        Self { at_once, state: Mutex::default() }
    }

    /// Waits until it is the caller's turn, which lasts until what this gives is dropped. The local user never waits: there is
    /// nobody else then.
    pub(crate) fn of(
        &self,
        caller: &Caller,
        limits: &Limits,
        now_us: u64,
    ) -> impl Future<Output = Turn> + Send + use<> {
        let room = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let are_others = caller.owner().is_some() && state.ask(caller.actor(), now_us);
            are_others.then(|| state.line(caller.actor(), limits.requests_at_once.unwrap_or(self.at_once)))
        };
        async move {
            match room {
                None => Turn(None),
                // It is never closed.
                Some(room) => Turn(room.acquire_owned().await.ok()),
            }
        }
    }
}

/// A turn that lasts.
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Turn(#[expect(dead_code, reason = "is held")] Option<OwnedSemaphorePermit>);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn actor(name: &str) -> Actor {
        Actor::new(name).unwrap()
    }

    #[test]
    fn whoever_has_asked_within_a_second_counts_as_one_who_asks() {
        let (mut state, alice, bob) = (State::default(), actor("alice"), actor("bob"));
        assert!(!state.ask(&alice, 0));
        assert!(!state.ask(&alice, 10));
        assert!(state.ask(&bob, 20));
        assert!(state.ask(&alice, 20 + SECOND_US - 1));
        assert!(!state.ask(&alice, 20 + SECOND_US), "a second ago");
        assert!(state.ask(&bob, 30 + SECOND_US));
        assert!(state.ask(&actor("carol"), 40 + SECOND_US));
        assert!(state.ask(&alice, 50 + SECOND_US));
        assert!(!state.ask(&alice, 40 + 2 * SECOND_US));
    }

    #[tokio::test]
    async fn lines_that_nobody_stands_in_are_forgotten() {
        let (mut state, alice) = (State::default(), actor("alice"));
        let held = state.line(&alice, 2).acquire_owned().await;
        for number in 0..1_000 {
            drop(state.line(&actor(&format!("user{number}")), 2));
        }
        assert_eq!(state.each.len(), 2, "one who has a turn, and the last one");
        assert_eq!(state.line(&alice, 2).available_permits(), 1);
        assert_eq!(state.line(&alice, 3).available_permits(), 3, "as many as may be now");
        drop(held);
    }
}
