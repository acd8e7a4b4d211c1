//! Room: what the jobs that were taken on weigh together, and what the fetcher may still ask for.
//!
//! The rule is [`taskwright_core::admission`]; a worker whose tasks weigh nothing, or that has no budget, never asks it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use taskwright_core::admission::{Admission, Answer, Ask, Claim};
use taskwright_core::{Budget, Kind, Weight};
use taskwright_store::ClaimedJob;
use tokio::sync::Notify;

use super::source;
use crate::attempt::lock;
use crate::registry::Registry;

/// What was taken on.
#[derive(Default)]
pub(crate) struct Room {
    load: Mutex<Weight>,
    /// Told when there is more room.
    pub(crate) freed: Notify,
}

/// The part of a worker's budget that one job has until it is dropped.
pub(crate) struct Permit {
    room: Arc<Room>,
    weight: Weight,
}

impl Room {
    fn load(&self) -> Weight {
        *lock(&self.load)
    }

    /// Takes room that the rule has said is there; what weighs nothing needs none.
    fn take(self: &Arc<Self>, weight: Weight) -> Option<Permit> {
        if weight.is_none() {
            return None;
        }
        let mut load = lock(&self.load);
        *load = load.plus(weight);
        Some(Permit { room: Arc::clone(self), weight })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut load = lock(&self.room.load);
        *load = load.minus(self.weight);
        drop(load);
        self.room.freed.notify_one();
    }
}

/// What the fetcher asks before each claim.
pub(super) struct Gate {
    rule: Admission,
    kinds: Vec<Kind>,
    numbers: HashMap<Kind, usize>,
    room: Arc<Room>,
}

impl Gate {
    /// `None` when the worker has room for everything at all times.
    pub(super) fn new(registry: &Registry, budget: Budget, room: &Arc<Room>) -> Option<Self> {
        let kinds = registry.kinds();
        let weights: Vec<Weight> = kinds.iter().map(|kind| registry.weight(kind)).collect();
        let rule = Admission::new(budget, &weights)?;
        let numbers = kinds.iter().cloned().enumerate().map(|(number, kind)| (kind, number)).collect();
        Some(Self { rule, kinds, numbers, room: Arc::clone(room) })
    }

    pub(super) fn ask(&mut self, now_us: u64, keeps: bool, want: usize, dice: f64) -> Ask {
        self.rule.ask(now_us, self.room.load(), keeps, want, dice)
    }

    /// The claim as the source wants it.
    pub(super) fn wish(&self, claim: &Claim) -> source::Wish {
        source::Wish {
            capacity: claim.most,
            kinds: Some(claim.kinds.iter().map(|kind| self.kinds[*kind].clone()).collect()),
            priority_max: claim.priority_max,
        }
    }

    /// Notes the answer; whether it is worth asking again at once.
    pub(super) fn answered(&mut self, now_us: u64, claim: &Claim, jobs: &[ClaimedJob], dice: f64) -> bool {
        let first = jobs.first().and_then(|job| Some((*self.numbers.get(&job.kind)?, job.priority)));
        self.rule.answered(now_us, claim, Answer { jobs: jobs.len(), first }, dice)
    }

    /// Whether a claim is for everything that this worker knows.
    pub(super) fn is_for_all(&self, claim: &Claim) -> bool {
        claim.priority_max.is_none() && claim.kinds.len() == self.kinds.len()
    }

    /// The kinds that weigh nothing.
    pub(super) fn weightless(&self) -> Vec<Kind> {
        let kinds = self.kinds.iter().enumerate();
        kinds
            .filter(|(number, _)| self.rule.weight(*number).is_none())
            .map(|(_, kind)| kind.clone())
            .collect()
    }

    pub(super) fn permit(&self, job: &ClaimedJob) -> Option<Permit> {
        let number = self.numbers.get(&job.kind)?;
        self.room.take(self.rule.weight(*number))
    }
}
