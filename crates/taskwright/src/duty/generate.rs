//! Asks generators for work: those that this program knows and that are due.
//!
//! Every node does it, as with [`fire`](super::fire), and the leader goes first: who takes a generator has it alone until what
//! came of it is committed, or the lease is over. Each turn is a task of its own, so that one that is slow to answer holds up no
//! other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use taskwright_core::generator::Definition;
use taskwright_core::limit::{GENERATOR_LEASE, GENERATOR_OVERDUE};
use taskwright_core::{GeneratorName, Namespace, Priority, Timestamp};
use taskwright_store::{Error, Reply, SharedStore, StoredGenerator, TakeGenerators};
use tokio::sync::{Notify, Semaphore};

use super::fire::behind;
use super::lead::Terms;
use super::runner::{Duty, Next};
use super::turns::{Lot, Turns};
use crate::env::{Env, Spawned, micros};
use crate::generator::turn::Turn;
use crate::generator::{GeneratorSet, Known, KnownFamily, register};

/// Generators that one node asks at a time, beside those of families and our own.
const TURNS_MAX: usize = 16;
/// Of these, turns that are kept for generators whose items may be `realtime`.
const TURNS_URGENT: usize = 4;
/// Generators of our own that one node asks at a time: what they do is never urgent.
const TURNS_OWN: usize = 2;
/// The longest time between two looks: 1 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that hints ask for: 20 ms; while generators have been asked within the last 200 ms, 1 ms.
const HINT_EVERY: Duration = Duration::from_millis(20);
const HINT_EVERY_BUSY: Duration = Duration::from_millis(1);
const BUSY_FOR: Duration = Duration::from_millis(200);

pub(super) struct Generate {
    store: SharedStore,
    known: HashMap<(Namespace, GeneratorName), Arc<Known>>,
    families: Vec<Arc<KnownFamily>>,
    /// What members of families have to be able to make at least.
    worst: Option<Priority>,
    /// `None` when there is nobody else: then a look lasts until its turns are over.
    terms: Option<Terms>,
    /// Asked for a look, when a turn is over.
    over: Arc<Notify>,
    turns: Arc<Turns>,
    own_turns: Arc<Semaphore>,
    is_registered: AtomicBool,
    /// Until when (monotonic microseconds) hints are followed quickly.
    busy_until_us: AtomicU64,
}

/// Who has turns left.
struct Free {
    /// Those of no family,
    single: bool,
    /// or only those of them whose items may be `realtime`.
    single_urgent: bool,
    /// The families, by their place.
    families: Vec<usize>,
    /// How many turns may begin, whoever has them.
    turns: usize,
}

impl Generate {
    /// The duty, and what asks it for a look.
    pub(super) fn new(
        store: SharedStore,
        generators: &GeneratorSet,
        terms: Option<Terms>,
    ) -> (Self, Arc<Notify>) {
        let name = |known: &Known| (known.definition.namespace.clone(), known.definition.name.clone());
        let known = generators.iter().map(|known| (name(known), Arc::clone(known))).collect();
        let (families, over) = (generators.families().to_vec(), Arc::new(Notify::new()));
        let duty = Self {
            store,
            known,
            families,
            worst: generators.worst(),
            terms,
            over: Arc::clone(&over),
            turns: Arc::default(),
            own_turns: Arc::new(Semaphore::new(TURNS_OWN)),
            is_registered: AtomicBool::new(false),
            busy_until_us: AtomicU64::new(0),
        };
        (duty, over)
    }

    /// The turns that are under way, for whoever stops.
    pub(super) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// Makes the generators known to the store, the first time.
    async fn register(&self, env: &Env) -> Result<(), Error> {
        if self.is_registered.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.known.is_empty() {
            register(&self.store, env.now(), self.known.values()).await?;
        }
        self.is_registered.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether this node has taken a generator within the last moment.
    fn is_busy(&self, env: &Env) -> bool {
        env.monotonic_us() < self.busy_until_us.load(Ordering::Relaxed)
    }

    /// Who has turns left. Our own always have: they wait among themselves.
    fn free(&self) -> Free {
        let counts = self.turns.counts();
        let left = |lot: Lot, most: usize| most.saturating_sub(counts.get(&lot).copied().unwrap_or(0));
        let singles = left(Lot::Single, TURNS_MAX);
        let others = singles.saturating_sub(TURNS_URGENT);
        let (single, single_urgent) = (others > 0, singles > 0);
        let singles = if single { others } else { singles };
        let lots = self.families.iter().enumerate();
        let families = lots.map(|(at, family)| (at, left(Lot::Family(at), family.turns_max)));
        let families: Vec<(usize, usize)> = families.filter(|(_, left)| *left > 0).collect();
        // All of what is taken may be of one lot.
        let turns = families.iter().map(|(_, left)| *left).chain((singles > 0).then_some(singles)).min();
        let families = families.into_iter().map(|(at, _)| at).collect();
        Free { single, single_urgent, families, turns: turns.unwrap_or(TURNS_OWN) }
    }

    /// What is to be taken.
    fn take(&self, free: &Free, now: Timestamp, behind: Duration) -> TakeGenerators {
        let has_turn = |known: &Known| {
            let is_urgent = known.definition.best <= Priority::REALTIME;
            known.is_own() || free.single || (free.single_urgent && is_urgent)
        };
        let names = self.known.iter().filter(|(_, known)| has_turn(known)).map(|(name, _)| name.clone());
        let prefixes = free.families.iter().map(|at| self.families[*at].prefix.clone());
        let due = now.minus(behind);
        TakeGenerators {
            due,
            names: names.collect(),
            prefixes: prefixes.collect(),
            worst: self.worst,
            overdue: due.minus(GENERATOR_OVERDUE),
            ..TakeGenerators::at(now, GENERATOR_LEASE, free.turns)
        }
    }

    /// The generator that was taken, and whose turn it is; `None` for one that this program does not know, or does not understand.
    fn find(&self, taken: &StoredGenerator) -> Option<(Lot, Arc<Known>)> {
        if let Some(known) = self.known.get(&(taken.namespace.clone(), taken.name.clone())) {
            let lot = if known.is_own() { Lot::Own } else { Lot::Single };
            return Some((lot, Arc::clone(known)));
        }
        let at = self.families.iter().position(|family| family.has(taken.name.as_str()))?;
        let definition = match serde_json::from_str::<Definition>(&taken.definition) {
            Ok(definition) => definition,
            Err(error) => {
                tracing::warn!(generator = %taken.name, %error, "a generator is left to a program that knows it");
                return None;
            }
        };
        let known = self.families[at].make(definition.clone());
        let known = known.unwrap_or_else(|error| Known::broken(definition, error));
        Some((Lot::Family(at), Arc::new(known)))
    }

    /// Begins the turn of a generator that was taken.
    fn begin(&self, env: &Env, taken: StoredGenerator, known: Arc<Known>) -> Spawned<()> {
        let (store, env, over) = (Arc::clone(&self.store), env.clone(), Arc::clone(&self.over));
        let among = known.is_own().then(|| Arc::clone(&self.own_turns));
        env.clone().spawn("generator", async move {
            let turn =
                Turn { store: &store, env: &env, known: &known, taken: &taken, among: among.as_deref() };
            if let Err(error) = turn.run().await {
                tracing::warn!(generator = %taken.name, %error, "a generator is asked again later");
            }
            over.notify_one();
        })
    }
}

impl Duty for Generate {
    fn name(&self) -> &'static str {
        "generate"
    }

    fn follows_hints(&self) -> bool {
        true
    }

    fn hint_every(&self, env: &Env) -> Duration {
        if self.is_busy(env) { HINT_EVERY_BUSY } else { HINT_EVERY }
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            self.register(env).await?;
            let free = self.free();
            // Whoever has just had a generator need not let the leader go first, who has left it to this node.
            let behind = if self.is_busy(env) { Duration::ZERO } else { behind(self.terms.as_ref(), env) };
            let taken = self.store.take_generators(self.take(&free, env.now(), behind)).await?;
            let count = taken.generators.len();
            if count > 0 {
                self.busy_until_us.store(env.monotonic_us() + micros(BUSY_FOR), Ordering::Relaxed);
            }
            for generator in taken.generators {
                let Some((lot, known)) = self.find(&generator) else { continue };
                let (key, fence) = (generator.key, generator.fence);
                let turn = self.begin(env, generator, known);
                if self.terms.is_some() {
                    self.turns.add(key, fence, lot, turn);
                } else if let Err(error) = turn.await {
                    tracing::error!(%error, "a generator's turn died");
                }
            }
            // There may be more of those that have turns left.
            let is_full = count == free.turns;
            Ok(match (taken.next, &self.terms) {
                (_, None) if count > 0 => Next::More,
                _ if is_full => Next::More,
                (Some(next), _) => Next::At(next.plus(behind), LOOK_EVERY),
                (None, _) => Next::After(LOOK_EVERY),
            })
        })
    }
}
