//! Duties: the maintenance that keeps a store in order while nobody asks for anything.
//!
//! A duty is one small activity that looks at the store as a whole and makes good whatever is due: scheduled jobs
//! become available (`promote`), schedules make their jobs (`fire`), events reach who waits for them (`deliver`), generators
//! are asked for work (`generate`), jobs of lost workers go on (`reclaim`). Each is driven by a runner of its own. What is over for long
//! is removed, and what ended is added up, by [generators](crate::generator) of our own.
//!
//! One node does them for all, the leader (`lead`), with these exceptions. Every node looks for lost workers, for who would
//! find the leader's own? And the end of a process is seen first on its own machine. Every node fires, delivers and asks
//! generators, a moment after the leader, so that nothing is late when the leader dies.
//!
//! # For whoever adds one
//!
//! - **Idempotent.** Any number of processes may do the same duties on the same store at the same time: a leader that was
//!   deposed and does not know yet is one of them. What one has done, the next finds done.
//! - **One way for the event and for the scan.** A hint that something happened only makes the same look come sooner.
//!   So a hint that got lost costs a moment and nothing else.
//! - **Constant work.** A call does a bounded amount and says whether more is left; a backlog is many calls and not a
//!   long one.
//! - **No memory.** What a duty must know from the time before belongs into the store.
//! - **Errors are for the runner.** It logs, waits longer each time, and goes on.

mod deliver;
mod fire;
mod generate;
pub(crate) mod lead;
mod reclaim;
pub(crate) mod runner;
mod turns;

mod promote;

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{Retention, WorkerId};
use taskwright_store::{LostWorker, SharedStore};

use self::deliver::Deliver;
use self::fire::Fire;
use self::generate::Generate;
use self::lead::{Lead, Led, Terms};
use self::promote::Promote;
use self::reclaim::{Haste, Reclaim};
use self::turns::Turns;
use crate::env::{Env, Spawned};
use crate::generator::GeneratorSet;
#[cfg(feature = "postgres")]
use crate::source::channel::ChannelSource;
use crate::source::file::FileSource;
use crate::source::{EventSource, Origin};

/// Which duties are done and how. Defaults are in [`Default`].
#[derive(Clone, Debug)]
pub struct DutyConfig {
    /// How often lost workers are looked for. Default 500 ms.
    pub reclaim_every: Duration,
    /// How long what is over is kept. Default 7 days for completed jobs, 30 days for others.
    pub retention: Retention,
    /// The trigger rules that the program brings itself. Default none.
    pub triggers: Arc<CustomTriggers>,
    /// The event sources that this node runs. Default none.
    pub sources: Vec<EventSource>,
    /// The generators that the program brings. Default none.
    pub generators: GeneratorSet,
}

impl Default for DutyConfig {
    fn default() -> Self {
        Self {
            reclaim_every: Duration::from_millis(500),
            retention: Retention::default(),
            triggers: Arc::default(),
            sources: Vec::new(),
            generators: GeneratorSet::default(),
        }
    }
}

/// The duties of one process, under way: those of every node, and the others for as long as it leads. Dropping the value
/// ends them; a call that is under way then may still take place, which is harmless. [`stop`](Duties::stop) also lets
/// another node lead at once, and not only when the lease has run out.
pub struct Duties {
    store: SharedStore,
    node: WorkerId,
    haste: Arc<Haste>,
    runners: Vec<Spawned<()>>,
    turns: Arc<Turns>,
    env: Env,
}

impl Duties {
    /// Starts every duty.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(store: &SharedStore, env: &Env, config: &DutyConfig) -> Self {
        Self::start_with(store, env, config, |_| ())
    }

    /// Starts every duty; `on_lost` is told of each worker that this process found gone, after its jobs were decided
    /// about: for whoever can clean up after it on this machine.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start_with(
        store: &SharedStore,
        env: &Env,
        config: &DutyConfig,
        on_lost: impl Fn(&LostWorker) + Send + Sync + 'static,
    ) -> Self {
        let store = || Arc::clone(store);
        let reclaim = Reclaim::new(store(), config.reclaim_every, Box::new(on_lost));
        let (haste, hurried) = (reclaim.haste(), reclaim.haste().asked());
        let node = env.worker_id();
        let (lead, terms) = Lead::new(store(), node);
        let promote = Led::new(Promote::new(store()), terms.clone());
        let fire = Fire::new(store(), config.triggers.clone(), Some(terms.clone()));
        let deliver = Deliver::new(store(), config.triggers.clone(), Some(terms.clone()));
        let mut runners = vec![
            runner::spawn(env, store(), lead, None),
            runner::spawn(env, store(), promote, None),
            runner::spawn(env, store(), reclaim, Some(hurried)),
            runner::spawn(env, store(), fire, None),
            runner::spawn(env, store(), deliver, None),
        ];
        let generators = all_generators(&store(), env, config);
        let (generate, over) = Generate::new(store(), &generators, Some(terms.clone()));
        let turns = generate.turns();
        runners.push(runner::spawn(env, store(), generate, Some(over)));
        runners.extend(config.sources.iter().map(|source| run_source(&store(), env, source, &terms)));
        Self { store: store(), node, haste, runners, turns, env: env.clone() }
    }

    /// Looks for lost workers at once, and again soon: for whoever has just seen one die.
    pub fn reclaim_now(&self) {
        self.haste.hurry();
    }

    /// Ends the duties in good order: if this node led, another can do so at once, and ask the generators that this one was asking.
    /// Takes up to 2 s while these are slow to answer.
    pub async fn stop(self) {
        drop(self.runners);
        self.turns.stop(&self.store, &self.env).await;
        if let Err(error) = self.store.resign(self.node).await {
            tracing::debug!(%error, "another node leads when the lease has run out");
        }
    }
}

/// Runs an event source beside the duties: each machine looks at what is its own, and the leader at what all see alike.
fn run_source(store: &SharedStore, env: &Env, source: &EventSource, terms: &Terms) -> Spawned<()> {
    match &source.of {
        Origin::Files(files) => {
            let (duty, asked) = FileSource::new(Arc::clone(store), source.clone(), files.clone());
            match files.shared {
                true => runner::spawn(env, Arc::clone(store), Led::new(duty, terms.clone()), Some(asked)),
                false => runner::spawn(env, Arc::clone(store), duty, Some(asked)),
            }
        }
        #[cfg(feature = "postgres")]
        Origin::Channel(channel) => {
            let duty = ChannelSource::new(Arc::clone(store), source.clone(), channel.clone(), terms.clone());
            runner::spawn(env, Arc::clone(store), duty, None)
        }
    }
}

/// Does every duty once, as far as it is due now, whoever leads. For tests, and for a worker that only drains a store. Where workers
/// seem to be gone it waits until that is certain: for as long as their leases last, and at most a minute. `on_lost` is told of each worker that was found gone, as by [`Duties::start_with`].
///
/// # Errors
///
/// When the store is out of order.
pub async fn run_once(
    store: &SharedStore,
    env: &Env,
    config: &DutyConfig,
    on_lost: impl Fn(&LostWorker) + Send + Sync + 'static,
) -> Result<(), taskwright_store::Error> {
    let store = || Arc::clone(store);
    Reclaim::new(store(), config.reclaim_every, Box::new(on_lost)).until_certain(env).await?;
    runner::exhaust(&Fire::new(store(), config.triggers.clone(), None), env).await?;
    runner::exhaust(&Deliver::new(store(), config.triggers.clone(), None), env).await?;
    runner::exhaust(&Promote::new(store()), env).await?;
    let generators = all_generators(&store(), env, config);
    runner::exhaust(&Generate::new(store(), &generators, None).0, env).await
}

/// The generators of the program, and our own.
fn all_generators(store: &SharedStore, env: &Env, config: &DutyConfig) -> GeneratorSet {
    // A set can hold none of our names.
    config
        .generators
        .and_own(store, env, &config.retention)
        .expect("nobody else has the names of our generators")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use taskwright_store::NewWorker;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::testing::simulate;

    #[test]
    fn a_single_round_tells_of_each_worker_that_it_found_gone() {
        simulate(1, async |sim| {
            let env = sim.env();
            let store: SharedStore = Arc::new(MemoryStore::new());
            let (id, lease) = (env.worker_id(), Duration::from_secs(15));
            let (host, queues) = ("here".to_owned(), Vec::new());
            let worker = NewWorker { id, host, pid: 7, concurrency: 1, queues, lease };
            store.register(env.now(), env.monotonic_us(), worker).await.unwrap();
            sim.advance(lease * 2).await;

            let told = Arc::new(Mutex::new(Vec::new()));
            for _ in 0..2 {
                let told = Arc::clone(&told);
                let note = move |lost: &LostWorker| told.lock().unwrap().push(lost.id);
                run_once(&store, &env, &DutyConfig::default(), note).await.unwrap();
            }
            assert_eq!(*told.lock().unwrap(), [id]);
        });
    }
}
