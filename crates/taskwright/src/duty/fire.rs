//! Fires schedules: makes the jobs that are due.
//!
//! Every node does it, since a firing that waits for another leader would be late, and since the store takes one decision
//! about a schedule however many are made. The leader goes first; the others look a moment later, when there is usually
//! nothing left.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_core::trigger::CustomTriggers;
use taskwright_store::{DueSchedules, Error, Reply, ScheduleKey, SharedStore, StoredSchedule, Written};

use super::lead::Terms;
use super::runner::{Duty, Next};
use crate::attempt::lock;
use crate::env::Env;
use crate::schedule::{Decider, Due, Facts};

/// Schedules that are written by one call.
const SCHEDULES_MAX: usize = 500;
/// Schedules that are left to other programs, stay due, and are passed over at each look: 10,000. With more of them the others wait
/// until some program takes these.
const PASSED_MAX: usize = 10_000;
/// The longest time between two looks: 1 s. Somebody may have registered a schedule that is due before the next known one, and
/// the hint may be missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Schedules of other nodes that are remembered, for the log alone.
const LEFT_MAX: usize = 2 * PASSED_MAX;
/// How much later than the leader the others look: 100 ms, and up to half as much more, so that they do not look together.
const FOLLOW_AFTER: Duration = Duration::from_millis(100);

pub(super) struct Fire {
    store: SharedStore,
    custom: Arc<CustomTriggers>,
    /// `None` when there is nobody else.
    terms: Option<Terms>,
    /// What was left to other nodes, so that the log says so once.
    left: Mutex<HashMap<ScheduleKey, u64>>,
    /// How many the look before has left to others: they come first again.
    passed: AtomicUsize,
}

impl Fire {
    pub(super) fn new(store: SharedStore, custom: Arc<CustomTriggers>, terms: Option<Terms>) -> Self {
        Self { store, custom, terms, left: Mutex::default(), passed: AtomicUsize::new(0) }
    }

    /// How much later than what is due this node looks.
    fn behind(&self, env: &Env) -> Duration {
        behind(self.terms.as_ref(), env)
    }

    /// Says once of each version of a schedule that it is for another node.
    fn leave(&self, stored: &StoredSchedule, why: &str) {
        let mut left = lock(&self.left);
        if left.len() >= LEFT_MAX {
            left.clear();
        }
        if left.insert(stored.key, stored.version) != Some(stored.version) {
            tracing::warn!(schedule = %stored.name, why, "a schedule is left to a program that knows it");
        }
    }

    /// Fires what is due as far as it is known here; when to look again, `None` when nobody here can say.
    async fn fire(&self, env: &Env, due: &DueSchedules) -> Result<Option<Timestamp>, Error> {
        let facts = Facts::read(&self.store, env.now(), &due.schedules).await?;
        let now = env.now();
        let decider = Decider { env, now, custom: &self.custom, alarms: &HashSet::new(), facts: &facts };
        let mut writes = Vec::with_capacity(due.schedules.len());
        let mut soonest = due.next;
        let mut passed = 0;
        for stored in &due.schedules {
            if writes.len() == SCHEDULES_MAX {
                // The rest at once.
                soonest = earlier(soonest, stored.next);
                break;
            }
            let write = match decider.due(stored) {
                Due::Write(write) => write,
                Due::Leave(why) => {
                    self.leave(stored, &why);
                    passed += 1;
                    continue;
                }
            };
            // What stays due for another node is no reason to look again at once.
            soonest = earlier(soonest, write.next.filter(|_| write.next != stored.next));
            writes.push(write);
        }
        self.passed.store(passed.min(PASSED_MAX), Ordering::Relaxed);
        if writes.is_empty() {
            // What is due beyond those that are left to others is reached by the next look.
            return Ok(soonest.filter(|_| passed < PASSED_MAX));
        }
        let fired: usize = writes.iter().map(|write| write.firings.len()).sum();
        let written = self.store.write_schedules(now, writes).await?;
        let stale = written.iter().filter(|written| **written == Written::Stale).count();
        if fired > 0 {
            tracing::debug!(fired, stale, "schedules have fired");
        }
        Ok(soonest)
    }
}

impl Duty for Fire {
    fn name(&self) -> &'static str {
        "fire"
    }

    fn follows_hints(&self) -> bool {
        true
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let behind = self.behind(env);
            let looked_at = env.now().minus(behind);
            let passed = self.passed.load(Ordering::Relaxed);
            let due = self.store.due_schedules(looked_at, SCHEDULES_MAX + passed).await?;
            let next = if due.schedules.is_empty() { due.next } else { self.fire(env, &due).await? };
            Ok(match next {
                Some(next) if next <= looked_at => Next::More,
                Some(next) => Next::At(next.plus(behind), LOOK_EVERY),
                None => Next::After(LOOK_EVERY),
            })
        })
    }
}

/// How much later than the leader this node looks at what is due: not at all if it leads, or is alone.
pub(super) fn behind(terms: Option<&Terms>, env: &Env) -> Duration {
    match terms {
        Some(terms) if !terms.borrow().is_some_and(|term| term.lasts(env)) => {
            FOLLOW_AFTER + FOLLOW_AFTER.mul_f64(env.dice() / 2.0)
        }
        _ => Duration::ZERO,
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
