//! Roll-ups: what ended is added up per minute and per hour, and read back for windows of any length.
//!
//! Each end of an attempt leaves a *slip* in the transaction in which it is written, or is one: on PostgreSQL a completion says
//! by itself what ended. Rolling up takes slips away and adds them to roll-ups in one transaction, so that each end is
//! counted once, whatever dies, and however soon its job is removed.

use std::collections::BTreeMap;

use taskwright_core::rollup::{Grain, RollUp};
use taskwright_core::{Kind, Namespace, QueueName, Timestamp};

use crate::Reply;
use taskwright_core::Pattern;

/// The part of a [`Store`](crate::Store) that keeps roll-ups.
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait RollUpStore: Send + Sync + 'static {
    /// Adds ends that are not in roll-ups yet to those of their minute and their hour; about `most` executions, at least one
    /// if there is one. May be repeated, and called by several at once.
    fn roll_up(&self, most: usize) -> Reply<'_, RolledUp>;

    /// Roll-ups of a window, by time, namespace, queue and kind in that order, after `after`. A page may be short, even
    /// empty, and still go on.
    fn roll_ups(
        &self,
        filter: RollUpFilter,
        after: Option<RollUpPlace>,
        limit: usize,
    ) -> Reply<'_, RollUpPage>;
}

/// What rolling up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledUp {
    /// Executions that are in roll-ups now.
    pub executions: u64,
    /// Whether the limit cut the work short.
    pub more: bool,
}

/// Which roll-ups: AND between the fields, OR within one. An empty list means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpFilter {
    /// Of spans of this length.
    pub grain: Grain,
    /// That began at this moment or later,
    pub from: Timestamp,
    /// and before this one.
    pub to: Timestamp,
    /// Of this namespace; `None` is all.
    pub namespace: Option<Namespace>,
    /// Of these kinds.
    pub kinds: Vec<Pattern>,
    /// Of these queues.
    pub queues: Vec<Pattern>,
}

impl RollUpFilter {
    pub(crate) fn includes(&self, place: &RollUpPlace) -> bool {
        (self.from..self.to).contains(&place.at)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == place.namespace)
            && Pattern::any(&self.kinds, place.kind.as_str())
            && Pattern::any(&self.queues, place.queue.as_str())
    }
}

/// What a roll-up is about, and where it stands among those of its grain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RollUpPlace {
    /// When its span began.
    pub at: Timestamp,
    /// The tenant.
    pub namespace: Namespace,
    /// The queue.
    pub queue: QueueName,
    /// The task.
    pub kind: Kind,
}

/// A part of a listing of roll-ups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollUpPage {
    /// The roll-ups.
    pub roll_ups: Vec<(RollUpPlace, RollUp)>,
    /// Where to go on; `None` at the end.
    pub next: Option<RollUpPlace>,
}

/// Ends on their way into roll-ups, by what they are added to.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    sums: BTreeMap<(Grain, RollUpPlace), RollUp>,
    executions: u64,
}

impl Sums {
    /// Adds what ended in one minute, to that and to its hour.
    pub(crate) fn add(&mut self, minute: RollUpPlace, ended: &RollUp) {
        self.executions += ended.executions();
        let hour = RollUpPlace { at: Grain::Hour.start(minute.at), ..minute.clone() };
        for key in [(Grain::Minute, minute), (Grain::Hour, hour)] {
            self.sums.entry(key).or_default().merge(ended);
        }
    }

    pub(crate) fn executions(&self) -> u64 {
        self.executions
    }

    pub(crate) fn into_sums(self) -> BTreeMap<(Grain, RollUpPlace), RollUp> {
        self.sums
    }
}
