//! How a generator goes: what it made and what became of that, when it is asked next, and whether it is.

use std::time::Duration;

use super::{Definition, ItemEnd};
use crate::limit::{GENERATOR_BATCH_MAX, TEXT_BYTES_MAX};
use crate::name::{Actor, clipped};
use crate::retry::Backoff;
use crate::time::Timestamp;

/// The delay after an error: 1 s, doubling up to 5 min.
const ERROR_BACKOFF: Backoff =
    Backoff::Exponential { base: Duration::from_secs(1), cap: Duration::from_secs(300) };
/// The share by which an idle back-off is spread to both sides, so that generators that began together do not stay together.
const SPREAD: f64 = 0.1;
/// How often it is looked whether outstanding items have ended: after a tenth of the time in which nothing happened, so that
/// a look costs a generator whose items take `t` at most `t / 10` of waiting; but not before, and not later than this.
const LOOK_SHARE: u32 = 10;
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(30);

/// How a generator goes. A store keeps it as JSON that it does not read, beside the state that is the generator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it is asked next; `None` until it is notified.
    pub poll_at: Option<Timestamp>,
    /// How long it is left alone if it has nothing once more.
    pub idle: Option<Duration>,
    /// Errors in a row.
    pub failures: u32,
    /// What went wrong last, until a poll goes well.
    pub last_error: Option<String>,
    /// When it was asked last.
    pub last_poll: Option<Timestamp>,
    /// When it last had something.
    pub last_found: Option<Timestamp>,
    /// Since when no item was made or settled.
    pub quiet_since: Option<Timestamp>,
    /// How many of the notices that were given to it have been followed.
    pub notices: u64,
    /// Whether and why it rests.
    pub paused: Option<Paused>,
    /// What it has done.
    pub counts: Counts,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Paused {
    /// Since when.
    pub at: Timestamp,
    /// Who paused it.
    pub by: Actor,
    /// Why.
    pub reason: Option<String>,
}

/// What a generator has done since it was registered. Each item that was made is outstanding or counted under one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Counts {
    /// How often it was asked.
    pub polls: u64,
    /// Items that it made.
    pub made: u64,
    /// Items that completed.
    pub completed: u64,
    /// Items that failed for good, whatever became of their jobs after that.
    pub failed: u64,
    /// Items that were cancelled.
    pub cancelled: u64,
    /// Items that were dropped.
    pub dropped: u64,
    /// Items whose jobs had been removed before anybody saw how they ended.
    pub removed: u64,
}

impl Counts {
    /// Items that were made and are settled.
    pub fn settled(&self) -> u64 {
        self.completed + self.failed + self.cancelled + self.dropped + self.removed
    }

    /// Items that were made and are not settled.
    pub fn outstanding(&self) -> u64 {
        self.made.saturating_sub(self.settled())
    }
}

/// When a generator wants to be asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As soon as there is room: more is there.
    Now,
    /// After the idle back-off: this was all, or there was nothing.
    Idle,
    /// At this moment.
    At(Timestamp),
    /// When somebody notifies it.
    Notified,
}

/// What a poll gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// How many items.
    pub items: usize,
    /// Whether it changed the generator's state.
    pub moved: bool,
    /// When it wants to be asked next.
    pub next: Next,
}

impl Record {
    /// The record of a generator that is registered now: it is asked at once.
    pub fn new(now: Timestamp) -> Self {
        Self { poll_at: Some(now), ..Self::default() }
    }

    /// For how many items the generator is asked now; 0 when it is not asked. `notices` is how many were given to it.
    pub fn room(&self, definition: &Definition, now: Timestamp, notices: u64) -> usize {
        let is_due = self.poll_at.is_some_and(|at| at <= now) || notices != self.notices;
        if self.paused.is_some() || !is_due { 0 } else { self.free(definition) }
    }

    /// How many items may be made in one go.
    fn free(&self, definition: &Definition) -> usize {
        let free = u64::from(definition.window).saturating_sub(self.counts.outstanding());
        usize::try_from(free).unwrap_or(usize::MAX).min(GENERATOR_BATCH_MAX)
    }

    /// After how many ends of outstanding items somebody has to look, before [`next_look`](Self::next_look): so many that half
    /// the window is free then, or as many as one look settles, or all. At least 1.
    pub fn look_after(&self, definition: &Definition) -> u32 {
        let outstanding = self.counts.outstanding();
        let half = u64::from(definition.window / 2);
        let ends = if outstanding > half { outstanding - half } else { outstanding };
        u32::try_from(ends.min(GENERATOR_BATCH_MAX as u64)).unwrap_or(u32::MAX).max(1)
    }

    /// Counts items that have ended.
    pub fn settle(&mut self, now: Timestamp, ends: impl IntoIterator<Item = ItemEnd>) {
        for end in ends {
            let count = match end {
                ItemEnd::Completed => &mut self.counts.completed,
                ItemEnd::Failed => &mut self.counts.failed,
                ItemEnd::Cancelled => &mut self.counts.cancelled,
                ItemEnd::Dropped => &mut self.counts.dropped,
                ItemEnd::Removed => &mut self.counts.removed,
            };
            *count += 1;
            self.quiet_since = Some(now);
        }
    }

    /// Has it asked at once, as if that were what it had said.
    pub fn ask_now(&mut self, now: Timestamp) {
        self.poll_at = Some(self.poll_at.map_or(now, |at| at.min(now)));
    }

    /// Notes what a poll gave. `dice` from [0, 1) spreads the idle back-off.
    pub fn polled(
        &mut self,
        definition: &Definition,
        now: Timestamp,
        notices: u64,
        polled: Polled,
        dice: f64,
    ) {
        self.asked(now, notices);
        (self.failures, self.last_error) = (0, None);
        self.counts.made += polled.items as u64;
        if polled.items > 0 {
            (self.last_found, self.quiet_since) = (Some(now), Some(now));
        }
        let progressed = polled.items > 0 || polled.moved;
        self.poll_at = match polled.next {
            Next::Now if progressed => Some(now),
            Next::At(at) if at > now || progressed => Some(at),
            Next::Notified => None,
            // Who has nothing and asks for no rest would be asked without end.
            Next::Now | Next::Idle | Next::At(_) => {
                let idle = match self.idle {
                    Some(idle) if polled.items == 0 => {
                        idle.saturating_mul(2).clamp(definition.idle_min, definition.idle_max)
                    }
                    _ => definition.idle_min,
                };
                self.idle = Some(idle);
                Some(now.plus(idle.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * dice)))
            }
        };
        if polled.items > 0 {
            self.idle = None;
        }
    }

    /// Notes that a poll failed: it is asked again after a while, or paused when it was the last of too many in a row.
    pub fn failed(&mut self, definition: &Definition, now: Timestamp, notices: u64, error: &str, dice: f64) {
        self.asked(now, notices);
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(clipped(error, TEXT_BYTES_MAX));
        self.poll_at = Some(now.plus(ERROR_BACKOFF.jittered(self.failures, dice)));
        if self.failures >= definition.errors_max {
            let reason = format!("{} errors in a row, the last: {error}", self.failures);
            let reason = Some(clipped(&reason, TEXT_BYTES_MAX));
            self.paused = Some(Paused { at: now, by: Actor::system(), reason });
        }
    }

    fn asked(&mut self, now: Timestamp, notices: u64) {
        self.counts.polls += 1;
        self.last_poll = Some(now);
        self.notices = notices;
    }

    /// Lets it rest. `false` when it rested already.
    pub fn pause(&mut self, now: Timestamp, by: Actor, reason: Option<String>) -> bool {
        let rested = self.paused.is_some();
        if !rested {
            self.paused = Some(Paused { at: now, by, reason });
        }
        !rested
    }

    /// Lets it go on: it is asked at once, and its errors are forgiven. `false` when it did not rest.
    pub fn resume(&mut self, now: Timestamp) -> bool {
        let rested = self.paused.take().is_some();
        if rested {
            (self.failures, self.idle, self.poll_at) = (0, None, Some(now));
            // What ended while it rested is settled soon, and not only when a long quiet would have it.
            self.quiet_since = Some(now);
        }
        rested
    }

    /// When somebody has to look at it, to ask it or to settle what it made; `None` while it rests, and when there is nothing to
    /// do until it is notified.
    pub fn next_look(&self, definition: &Definition, now: Timestamp) -> Option<Timestamp> {
        if self.paused.is_some() {
            return None;
        }
        let poll = self.poll_at.filter(|_| self.free(definition) > 0);
        let settle = (self.counts.outstanding() > 0).then(|| {
            let quiet = self.quiet_since.map_or(Duration::ZERO, |since| now.since(since));
            now.plus((quiet / LOOK_SHARE).clamp(LOOK_MIN, LOOK_MAX))
        });
        match (poll, settle) {
            (Some(poll), Some(settle)) => Some(poll.min(settle)),
            (poll, settle) => poll.or(settle),
        }
    }
}
