//! Leads, or waits to: of all nodes on a store one at a time does the duties that one does for all.
//!
//! The leader holds a lease, which it renews three times within; the others ask as often, and one of them follows when
//! the lease has run out, or was given up. A leader that cannot renew stops by itself before another one can begin, as far
//! as calls are concerned that it has not yet made.

use std::time::Duration;

use taskwright_core::WorkerId;
use taskwright_store::{Fence, Reply, SharedStore};
use tokio::sync::watch;

use super::runner::{Duty, Next};
use crate::env::{Env, micros};

/// How long a leader leads without being heard of: 3 s. With the time between two looks, another one follows within 5 s.
const LEASE: Duration = Duration::from_secs(3);
/// How often the leader renews, and the others ask: every second.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// For how long this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    fence: Fence,
    /// In monotonic microseconds.
    until_us: u64,
}

impl Term {
    /// Whether this node still leads.
    pub(crate) fn lasts(self, env: &Env) -> bool {
        env.monotonic_us() < self.until_us
    }
}

/// The lead, as it is known here; `None` while another node has it.
pub(crate) type Terms = watch::Receiver<Option<Term>>;

pub(super) struct Lead {
    store: SharedStore,
    node: WorkerId,
    terms: watch::Sender<Option<Term>>,
}

impl Lead {
    pub(super) fn new(store: SharedStore, node: WorkerId) -> (Self, Terms) {
        let (terms, known) = watch::channel(None);
        (Self { store, node, terms }, known)
    }

    fn note(&self, term: Option<Term>) {
        let before = self.terms.send_replace(term);
        let fence = |term: Option<Term>| term.map(|term| term.fence.0);
        match (fence(before), fence(term)) {
            (before, Some(fence)) if before != Some(fence) => {
                tracing::debug!(node = %self.node, fence, "this node does the duties");
            }
            (Some(fence), None) => {
                tracing::info!(node = %self.node, fence, "another node does the duties now");
            }
            _ => {}
        }
    }
}

impl Duty for Lead {
    fn name(&self) -> &'static str {
        "lead"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            // Before it leads: what is due is due by the clock that all share.
            env.follow(&*self.store).await?;
            // The lease counts from before the call, however long that takes.
            let until_us = env.monotonic_us().saturating_add(micros(LEASE));
            let fence = self.store.lead(env.monotonic_us(), self.node, LEASE).await?;
            self.note(fence.map(|fence| Term { fence, until_us }));
            Ok(Next::After(ASK_EVERY))
        })
    }
}

/// A duty that is done only by the leader.
pub(super) struct Led<D> {
    duty: D,
    terms: Terms,
}

impl<D> Led<D> {
    pub(super) fn new(duty: D, terms: Terms) -> Self {
        Self { duty, terms }
    }
}

/// Waits until this node leads.
pub(crate) async fn leads(terms: &Terms, env: &Env) {
    let mut terms = terms.clone();
    loop {
        let term = *terms.borrow_and_update();
        if term.is_some_and(|term| term.lasts(env)) {
            return;
        }
        if terms.changed().await.is_err() {
            // Nobody asks for the lead any more: it is over here.
            std::future::pending::<()>().await;
        }
    }
}

impl<D: Duty> Duty for Led<D> {
    fn name(&self) -> &'static str {
        self.duty.name()
    }

    fn follows_hints(&self) -> bool {
        self.duty.follows_hints()
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            leads(&self.terms, env).await;
            self.duty.run_once(env).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::testing::{Call, FaultyStore, Sim, When, simulate};
    use crate::{Duties, DutyConfig};

    /// A node, and how often it promoted.
    struct Node {
        store: Arc<FaultyStore>,
        duties: Duties,
    }

    impl Node {
        fn start(sim: &Sim, memory: &MemoryStore) -> Self {
            let store = FaultyStore::new(Arc::new(memory.handle()));
            let shared: SharedStore = store.clone();
            Self { duties: Duties::start(&shared, &sim.env(), &DutyConfig::default()), store }
        }

        fn looks(&self, call: Call) -> u64 {
            self.store.count(call)
        }
    }

    /// Starts a leader, and then one that waits to follow.
    async fn two_nodes(sim: &Sim) -> (Node, Node) {
        let memory = MemoryStore::new();
        let first = Node::start(sim, &memory);
        sim.advance(Duration::from_millis(100)).await;
        let second = Node::start(sim, &memory);
        sim.advance(Duration::from_secs(10)).await;
        assert!(first.looks(Call::Promote) >= 8);
        assert_eq!(second.looks(Call::Promote), 0);
        assert!(second.looks(Call::Reclaim) >= 15, "every node looks for lost workers");
        (first, second)
    }

    #[test]
    fn one_node_does_the_duties_and_another_follows_within_5_s_of_its_end() {
        simulate(1, async |sim| {
            let (first, second) = two_nodes(&sim).await;
            // Its store lives on, so that only the lease tells.
            drop(first.duties);
            sim.advance(Duration::from_secs(5)).await;
            assert!(second.looks(Call::Promote) > 0);
        });
    }

    #[test]
    fn a_node_that_stops_in_good_order_is_followed_at_the_next_look() {
        simulate(2, async |sim| {
            let (first, second) = two_nodes(&sim).await;
            first.duties.stop().await;
            sim.advance(Duration::from_millis(1_200)).await;
            assert!(second.looks(Call::Promote) > 0);
        });
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_when_its_lease_ends_and_leads_again_when_it_can() {
        simulate(3, async |sim| {
            let node = Node::start(&sim, &MemoryStore::new());
            sim.advance(Duration::from_secs(5)).await;
            let asked = node.looks(Call::Lead);
            node.store.fail(Call::Lead, asked + 1..=u64::MAX, When::Before);
            sim.advance(LEASE).await;
            let before = node.looks(Call::Promote);
            // However long it takes: it leads again soon after.
            sim.advance(Duration::from_secs(120)).await;
            assert_eq!(node.looks(Call::Promote), before);
            node.store.heal();
            sim.advance(Duration::from_millis(2_300)).await;
            assert!(node.looks(Call::Promote) > before);
        });
    }
}
