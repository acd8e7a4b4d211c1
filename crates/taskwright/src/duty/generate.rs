//! Asks generators for work: those that this program knows and that are due.
//!
//! Every node does it, as with [`fire`](super::fire), and the leader goes first: who takes a generator has it alone until what
//! came of it is committed, or the lease is over. Each turn is a task of its own, so that one that is slow to answer holds up no
//! other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::generator::Record;
use taskwright_core::limit::GENERATOR_LEASE;
use taskwright_core::{GeneratorName, Namespace};
use taskwright_store::{
    Error, GeneratorKey, NewGenerator, Reply, SharedStore, StoredGenerator, TakeGenerators,
};
use tokio::sync::Notify;

use super::fire::behind;
use super::lead::Terms;
use super::runner::{Duty, Next};
use crate::attempt::lock;
use crate::env::{Env, Spawned, micros};
use crate::generator::turn::Turn;
use crate::generator::{GeneratorSet, Known};

/// Generators that one node asks at a time.
const TURNS_MAX: usize = 16;
/// The longest time between two looks: 1 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that hints ask for: 20 ms; while generators have been asked within the last 200 ms, 1 ms.
const HINT_EVERY: Duration = Duration::from_millis(20);
const HINT_EVERY_BUSY: Duration = Duration::from_millis(1);
const BUSY_FOR: Duration = Duration::from_millis(200);

pub(super) struct Generate {
    store: SharedStore,
    known: HashMap<(Namespace, GeneratorName), Arc<Known>>,
    /// `None` when there is nobody else: then a look lasts until its turns are over.
    terms: Option<Terms>,
    /// Asked for a look, when a turn is over.
    over: Arc<Notify>,
    turns: Mutex<HashMap<GeneratorKey, Spawned<()>>>,
    is_registered: AtomicBool,
    /// Until when (monotonic microseconds) hints are followed quickly.
    busy_until_us: AtomicU64,
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
        let over = Arc::new(Notify::new());
        let (turns, is_registered, busy_until_us) =
            (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        (Self { store, known, terms, over: Arc::clone(&over), turns, is_registered, busy_until_us }, over)
    }

    /// Makes the generators known to the store, the first time.
    async fn register(&self, env: &Env) -> Result<(), Error> {
        if self.is_registered.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = env.now();
        let new = |known: &Arc<Known>| {
            let definition = &known.definition;
            let record = Record::new(now);
            NewGenerator {
                namespace: definition.namespace.clone(),
                name: definition.name.clone(),
                // Names, numbers and durations: nothing in them cannot be written.
                definition: serde_json::to_string(definition).unwrap_or_default(),
                next: record.next_look(definition, now),
                record: serde_json::to_string(&record).unwrap_or_default(),
                state: "null".to_owned(),
            }
        };
        let known: Vec<_> = self.known.iter().collect();
        let changed =
            self.store.put_generators(now, known.iter().map(|(_, known)| new(known)).collect()).await?;
        // What somebody has changed holds at once.
        let changed = known.iter().zip(changed).filter(|(_, changed)| *changed);
        for ((namespace, name), _) in changed.map(|(known, _)| known) {
            self.store.notify_generator(now, namespace.clone(), name.clone()).await?;
        }
        self.is_registered.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether this node has taken a generator within the last moment.
    fn is_busy(&self, env: &Env) -> bool {
        env.monotonic_us() < self.busy_until_us.load(Ordering::Relaxed)
    }

    /// How many more turns may begin.
    fn free(&self) -> usize {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| !turn.is_finished());
        TURNS_MAX - turns.len().min(TURNS_MAX)
    }

    /// Begins the turn of a generator that was taken.
    fn begin(&self, env: &Env, taken: StoredGenerator, known: Arc<Known>) -> Spawned<()> {
        let (store, env, over) = (Arc::clone(&self.store), env.clone(), Arc::clone(&self.over));
        env.clone().spawn("generator", async move {
            let turn = Turn { store: &store, env: &env, known: &known, taken: &taken };
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
            if free == 0 {
                return Ok(Next::After(LOOK_EVERY));
            }
            // Whoever has just had a generator need not let the leader go first, who has left it to this node.
            let behind = if self.is_busy(env) { Duration::ZERO } else { behind(self.terms.as_ref(), env) };
            let now = env.now();
            let names = self.known.keys().cloned().collect();
            let take =
                TakeGenerators { now, due: now.minus(behind), names, lease: GENERATOR_LEASE, limit: free };
            let taken = self.store.take_generators(take).await?;
            let count = taken.generators.len();
            if count > 0 {
                self.busy_until_us.store(env.monotonic_us() + micros(BUSY_FOR), Ordering::Relaxed);
            }
            for generator in taken.generators {
                let name = (generator.namespace.clone(), generator.name.clone());
                // Only these were asked for.
                let Some(known) = self.known.get(&name) else { continue };
                let key = generator.key;
                let turn = self.begin(env, generator, Arc::clone(known));
                if self.terms.is_some() {
                    lock(&self.turns).insert(key, turn);
                } else if let Err(error) = turn.await {
                    tracing::error!(%error, "a generator's turn died");
                }
            }
            Ok(match (taken.next, &self.terms) {
                (_, None) if count > 0 => Next::More,
                (Some(next), _) => Next::At(next.plus(behind), LOOK_EVERY),
                (None, _) => Next::After(LOOK_EVERY),
            })
        })
    }
}
