//! Generators: sources of work that are asked when there is room, instead of filling a queue in advance.
//!
//! | file | what |
//! |---|---|
//! | `item` | what a generator gives: a job that is made just in time |
//! | `turn` | asking one generator once, and committing what came of it |
//! | `cursor` | a generator over rows that the program fetches |
//! | `table` | one over the rows of a table that is beside the jobs |
//! | `progress` | how far a cursor generator has come |
//! | `directory` | a generator over the files of a directory |
//! | `deadline` | a generator that makes no items, but ends or hurries jobs that take too long |
//! | `family` | generators that come and go at run time |
//! | `client` | what people do with generators |
//! | `collector` | our own: each removes one sort of what is over for long |
//! | `roll_up` | our own: adds executions up per minute and hour |
//!
//! A program hands its generators to the [duties](crate::duty::DutyConfig::generators). Whichever node knows a generator may ask
//! it, and one does at a time. What it gives are ordinary jobs, in a queue of its own (`generator:NAME`): any node runs them, with
//! attempts, time limits, logs and all. Only so many are *outstanding* at a time, its window; what is not made yet costs no row.
//!
//! # Example
//!
//! A generator that counts to a thousand, and makes a job for each number:
//!
//! ```
//! use taskwright::generator::{Generator, GeneratorSet, Item, Next, Poll, PollError, Polled};
//!
//! struct Numbers;
//!
//! impl Generator for Numbers {
//!     fn name(&self) -> &str {
//!         "numbers"
//!     }
//!
//!     async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
//!         let done = poll.state.as_u64().unwrap_or(0);
//!         let end = 1_000.min(done + poll.room as u64);
//!         let items = (done..end).map(|n| Item::new("number").key(n.to_string()).args(&n));
//!         let items = items.collect::<Result<_, _>>()?;
//!         let next = if end < 1_000 { Next::Now } else { Next::Notified };
//!         Ok(Polled::new(items, end, next))
//!     }
//! }
//!
//! let config = taskwright::DutyConfig {
//!     generators: GeneratorSet::new().with(Numbers)?,
//!     ..Default::default()
//! };
//! # let _ = config;
//! # Ok::<(), taskwright::core::Error>(())
//! ```

mod client;
mod collector;
mod cursor;
mod deadline;
mod directory;
mod family;
mod item;
mod progress;
mod roll_up;
mod seal;
mod table;
pub(crate) mod turn;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use taskwright_core::generator::{Definition, ItemEnd, is_reserved};
use taskwright_core::{Error, Garbage, GeneratorName, JobId, Priority, Retention, Timestamp};
use taskwright_store::{NewGenerator, SharedStore};

pub use taskwright_core::generator::{Counts, Next, Paused, Record};
pub use taskwright_store::{AgainItem, Effect, GeneratorKey};

pub use self::client::{GeneratorView, Generators};
use self::collector::Collector;
pub use self::collector::{CollectorView, Collectors, DryRun, Keep, Removed};
pub use self::cursor::{CursorGenerator, Row};
pub use self::deadline::DeadlineGenerator;
pub use self::directory::{Directory, DirectoryGenerator, FoundFile};
use self::family::Families;
pub use self::family::Family;
pub(crate) use self::family::{AnyFamily, KnownFamily};
pub use self::item::Item;
pub use self::progress::{Backlog, Cursor};
use self::roll_up::RollUps;
use self::seal::Sealer;
pub use self::table::{Table, TableOrder};
use crate::bulk::BulkSet;
use crate::env::Env;

/// Why a generator could not be asked. Any error becomes one with `?`; the generator is asked again after a while, and paused
/// after too many in a row.
pub type PollError = Box<dyn std::error::Error + Send + Sync>;

/// A source of work that is asked when there is room. See the [module](self).
pub trait Generator: Send + Sync + 'static {
    /// What it is called, the same in all its lives: its state belongs to the name.
    fn name(&self) -> &str;

    /// What differs from the defaults: its window, the range of its priorities, how it is left alone when it has nothing.
    fn options(&self, defaults: Definition) -> Definition {
        defaults
    }

    /// Takes into its state what has become of items, each of which it is told once; before it is asked for more.
    ///
    /// A pure function: what it gives is stored together with the fact that the items were told, or not at all.
    ///
    /// # Errors
    ///
    /// The same items are told again, as after an error of a poll.
    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError> {
        let _ = settled;
        Ok(state)
    }

    /// What else is written when items have ended, with the fact that they were told; for the generators that Taskwright brings.
    fn settled_effects(&self, generator: GeneratorKey, settled: &[Settled]) -> Vec<Effect> {
        let _ = (generator, settled);
        Vec::new()
    }

    /// Whether it is asked as soon as there is room when [`settle`](Self::settle) has changed its state, whatever it said itself.
    fn follows_settling(&self) -> bool {
        false
    }

    /// Gives at most `room` items, and the state after them.
    ///
    /// The state is stored together with the items, or neither is: when somebody dies in between, the same state is asked again.
    /// One node asks at a time, for at most 25 s.
    ///
    /// # Errors
    ///
    /// It is asked again after 1 s, and after twice that each time up to 5 min; and paused after 10 errors in a row, unless its
    /// [options](Self::options) say otherwise. So it is when it panics, takes too long, or gives what is not accepted.
    fn poll(&self, poll: Poll) -> impl Future<Output = Result<Polled, PollError>> + Send;
}

/// What a generator is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// What the store calls the generator.
    pub generator: GeneratorKey,
    /// The state that it gave last; `null` at first.
    pub state: Value,
    /// How many items it may give; at least one.
    pub room: usize,
    /// Now, by the clock of the store.
    pub now: Timestamp,
}

/// What a generator answers.
#[derive(Clone, Debug)]
pub struct Polled {
    /// The items, at most as many as there was room for.
    pub items: Vec<Item>,
    /// Its state after these; at most 256 KiB as JSON.
    pub state: Value,
    /// When it wants to be asked next.
    pub next: Next,
    /// Dead letters that become items once more; they count as items, too. Each must be a failed job.
    pub again: Vec<AgainItem>,
    /// What else is written with these; for the generators that Taskwright brings itself.
    pub effects: Vec<Effect>,
}

impl Polled {
    /// Items, the state after them, and when to be asked next.
    pub fn new(items: Vec<Item>, state: impl Into<Value>, next: Next) -> Self {
        Self { items, state: state.into(), next, again: Vec::new(), effects: Vec::new() }
    }
}

/// What has become of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the generator called it.
    pub key: Option<String>,
    /// Its job.
    pub job: JobId,
    /// How it ended.
    pub end: ItemEnd,
    /// When that was seen.
    pub at: Timestamp,
    /// Attempts used.
    pub attempts: u32,
    /// What went wrong last, or why it ended.
    pub error: Option<String>,
}

/// The generators that a program brings. Cheap to clone.
#[derive(Clone, Default)]
pub struct GeneratorSet {
    known: Vec<Arc<Known>>,
    families: Families,
    /// What items have to be able to be at least; `None` takes any.
    worst: Option<Priority>,
}

impl GeneratorSet {
    /// No generators.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generator.
    ///
    /// # Errors
    ///
    /// When its name is no valid name, is kept for our own (`rollup`, and what begins with `gc:`) or is there already in its
    /// namespace, or is one of a family; or its options make no sense.
    pub fn with(self, generator: impl Generator) -> Result<Self, Error> {
        let name: GeneratorName = generator.name().parse()?;
        if is_reserved(&name) {
            return Err(Error::invalid(
                format!("the generator {name}"),
                "the name is kept for those that Taskwright brings itself",
                "give it another name: not `rollup` or `audit:seal`, and nothing that begins with `gc:`",
            ));
        }
        self.with_own(generator)
    }

    /// As [`with`](Self::with), whatever the name.
    fn with_own(mut self, generator: impl Generator) -> Result<Self, Error> {
        let definition = Definition::new(generator.name().parse()?);
        let name = definition.name.clone();
        let definition = Definition { name, ..generator.options(definition) }.checked()?;
        if self.known.iter().any(|known| known.is_called_as(&definition)) {
            return Err(Error::invalid(
                format!("the generator {}", definition.name),
                "it is added twice",
                "add each generator once, or give one of the two another name",
            ));
        }
        if let Some(family) = self.families.iter().find(|family| family.has(definition.name.as_str())) {
            return Err(is_of_family(&definition.name, family));
        }
        self.known.push(Arc::new(Known { definition, run: Box::new(Boxed(generator)) }));
        Ok(self)
    }

    /// Adds a family: generators that come and go at run time.
    ///
    /// # Errors
    ///
    /// When its prefix is no valid name, names of another family begin with it or it with those, or a generator is called so that is
    /// none of the family.
    pub fn with_family(self, family: impl Family) -> Result<Self, Error> {
        self.with_known_family(KnownFamily::new(family)?)
    }

    fn with_known_family(mut self, family: KnownFamily) -> Result<Self, Error> {
        if let Some(known) = self.known.iter().find(|known| family.has(known.definition.name.as_str())) {
            return Err(is_of_family(&known.definition.name, &family));
        }
        if let Some(other) =
            self.families.iter().find(|other| other.has(&family.prefix) || family.has(&other.prefix))
        {
            return Err(Error::invalid(
                format!("the family {:?} of generators", family.prefix),
                format!("one name can be of it and of the family {:?}", other.prefix),
                "add each family once, and let none begin like another",
            ));
        }
        self.families.push(Arc::new(family));
        Ok(self)
    }

    /// Adds the generators of bulks of these types.
    ///
    /// # Errors
    ///
    /// As [`with_family`](Self::with_family): the names of their generators begin with `bulk:TYPE:`.
    pub fn with_bulks(mut self, types: &BulkSet) -> Result<Self, Error> {
        for (prefix, family) in types.families() {
            self = self.with_known_family(KnownFamily::built_in(prefix, family)?)?;
        }
        Ok(self)
    }

    /// Only those that may make items of this priority or better: for a node that runs no others.
    #[must_use]
    pub fn up_to(mut self, worst: Priority) -> Self {
        self.known.retain(|known| known.definition.best <= worst);
        self.worst = Some(worst);
        self
    }

    /// These, and the generators of our own that every node knows: collectors, the one that rolls up, and the one that seals the audit.
    ///
    /// # Errors
    ///
    /// When a program has replaced what cannot be replaced; [`with`](Self::with) sees to it that none has.
    pub(crate) fn and_own(
        &self,
        store: &SharedStore,
        env: &Env,
        retention: &Retention,
    ) -> Result<Self, Error> {
        let set = self.clone().with_own(RollUps::new(store.clone(), env.clone()))?;
        let set = set.with_own(Sealer::new(store.clone()))?;
        Garbage::ALL.into_iter().try_fold(set, |set, garbage| {
            set.with_own(Collector::new(store.clone(), env.clone(), garbage, retention.of(garbage)))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.families.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.known.iter()
    }

    pub(crate) fn worst(&self) -> Option<Priority> {
        self.worst
    }

    pub(crate) fn families(&self) -> &[Arc<KnownFamily>] {
        &self.families
    }
}

fn is_of_family(name: &GeneratorName, family: &KnownFamily) -> Error {
    Error::invalid(
        format!("the generator {name}"),
        format!("names that begin with {:?} are those of a family", family.prefix),
        "give it another name",
    )
}

impl fmt::Debug for GeneratorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.known.iter().map(|known| &known.definition.name);
        f.debug_list().entries(names).entries(&self.families).finish()
    }
}

/// A generator that this program knows.
pub(crate) struct Known {
    pub(crate) definition: Definition,
    pub(crate) run: Box<dyn AnyGenerator>,
}

impl Known {
    /// Whether it is one that Taskwright brings itself.
    pub(crate) fn is_own(&self) -> bool {
        is_reserved(&self.definition.name)
    }

    fn is_called_as(&self, other: &Definition) -> bool {
        self.definition.name == other.name && self.definition.namespace == other.namespace
    }
}

/// What a poll gives, whatever generator it is of.
pub(crate) type Polling<'a> = Pin<Box<dyn Future<Output = Result<Polled, PollError>> + Send + 'a>>;

/// Any generator.
pub(crate) trait AnyGenerator: Send + Sync + 'static {
    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError>;

    fn settled_effects(&self, generator: GeneratorKey, settled: &[Settled]) -> Vec<Effect> {
        let _ = (generator, settled);
        Vec::new()
    }

    fn follows_settling(&self) -> bool {
        false
    }

    fn poll(&self, poll: Poll, env: &Env) -> Polling<'_>;

    /// Looks around at the beginning of a turn, whether there is room or not; for at most 3 s. What it does by itself must not
    /// matter if it is done twice.
    fn look<'a>(&'a self, looking: Looking<'a>) -> Look<'a> {
        let state = looking.state.clone();
        Box::pin(std::future::ready(Ok(Looked { state, resumes: false })))
    }

    /// What else is written at the end of a turn, from what is then known: a pure function.
    fn conclude(&self, state: &Value, record: &Record) -> Result<Vec<Effect>, PollError> {
        let _ = (state, record);
        Ok(Vec::new())
    }
}

/// What there is to look at when a turn begins.
#[derive(Clone, Copy)]
pub(crate) struct Looking<'a> {
    pub(crate) store: &'a SharedStore,
    pub(crate) env: &'a Env,
    pub(crate) definition: &'a Definition,
    pub(crate) record: &'a Record,
    pub(crate) state: &'a Value,
}

/// What came of looking around.
pub(crate) struct Looked {
    /// The state to go on with.
    pub(crate) state: Value,
    /// Whether a pause is over.
    pub(crate) resumes: bool,
}

/// Looking around.
pub(crate) type Look<'a> = Pin<Box<dyn Future<Output = Result<Looked, PollError>> + Send + 'a>>;

struct Boxed<G>(G);

impl<G: Generator> AnyGenerator for Boxed<G> {
    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError> {
        self.0.settle(state, settled)
    }

    fn settled_effects(&self, generator: GeneratorKey, settled: &[Settled]) -> Vec<Effect> {
        self.0.settled_effects(generator, settled)
    }

    fn follows_settling(&self) -> bool {
        self.0.follows_settling()
    }

    fn poll(&self, poll: Poll, _: &Env) -> Polling<'_> {
        Box::pin(self.0.poll(poll))
    }
}

/// Makes generators known to the store. What those that it knows have done stays.
pub(crate) async fn register(
    store: &SharedStore,
    now: Timestamp,
    known: impl Iterator<Item = &Arc<Known>> + Send,
) -> Result<(), taskwright_store::Error> {
    let first = "null".to_owned();
    let new =
        |known: &Arc<Known>| NewGenerator::first(&known.definition, &Record::new(now), first.clone(), now);
    let mut news: Vec<NewGenerator> = known.map(new).collect();
    // Listings are in this order: those of the program before our own.
    news.sort_by_cached_key(|new| (is_reserved(&new.name), new.namespace.clone(), new.name.clone()));
    let names: Vec<_> = news.iter().map(|new| (new.namespace.clone(), new.name.clone())).collect();
    let changed = store.put_generators(now, news).await?;
    // What somebody has changed holds at once.
    for ((namespace, name), _) in names.into_iter().zip(changed).filter(|(_, changed)| *changed) {
        store.notify_generator(now, namespace, name).await?;
    }
    Ok(())
}
