//! Generators as a store keeps them: a state and a record that it does not read, when to look at them, and which jobs are
//! outstanding items of theirs.
//!
//! Whoever asks a generator [takes](GeneratorStore::take_generators) it first, for the length of a lease, and then
//! [commits](GeneratorStore::commit_generator) what came of it: new state, new items and settled ones in one transaction, and
//! only if nobody has taken or written the generator in between. So an item is made once and counted once, wherever
//! somebody dies.

use std::time::Duration;

use taskwright_core::generator::{Definition, ItemEnd, Record};
use taskwright_core::limit::{
    GENERATOR_BATCH_MAX, GENERATOR_OVERDUE, GENERATOR_STATE_BYTES_MAX, ITEM_KEY_BYTES_MAX,
};
use taskwright_core::{
    Error as Refused, GeneratorName, JobId, Namespace, NewJob, Priority, State, Timestamp,
};

use crate::Reply;
use crate::bulk::BulkWrite;
use crate::error::Error;
use crate::file::{FileWrite, KnownFile};
use crate::table::{RowsAfter, TableRows};
use crate::webhook::WebhookTurn;

/// What a store does for generators. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait GeneratorStore: Send + Sync + 'static {
    /// Makes generators known, or changes the definitions of those that are: what they have done stays. Answers in their order
    /// whether that changed anything.
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>>;

    /// Takes generators that are due: nobody else can take them until the lease is over or what is done about them is
    /// committed. One whose lease is over is due.
    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators>;

    /// Has the lease of a generator end at another moment; now lets go of it. `false` when somebody else has taken it since, or
    /// nobody has it any more.
    fn renew_generator(&self, generator: GeneratorKey, fence: u64, until: Timestamp) -> Reply<'_, bool>;

    /// Writes what came of asking a generator, all of it or nothing: `false`, and nothing is done, when somebody else has taken
    /// or written it since it was taken, when one of the settled items has not ended as was
    /// seen, when one of those that are to run again is no failed job, or when an effect does not fit.
    ///
    /// The generator can be taken again after that, 100 ms later if that was `false`; but not by a commit that came too late.
    fn commit_generator(&self, now: Timestamp, commit: GeneratorCommit) -> Reply<'_, bool>;

    /// Writes what somebody changed about a generator; `false`, and nothing is done, when its version is another. Whoever has
    /// taken it cannot commit any more.
    fn write_generator(&self, now: Timestamp, write: GeneratorWrite) -> Reply<'_, bool>;

    /// Gives a generator a notice: it is due at once, or when whoever has taken it has committed. One that rests gets it, too,
    /// and goes on resting. `false` when there is no such generator.
    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool>;

    /// Says that so many items of generators have ended: one of which as many have ended, since it was taken last, as its newest
    /// commit waits for ([`look_after`](GeneratorCommit::look_after)) is due at once, or when whoever has taken it has
    /// committed. A hint: nothing happens where there is no such generator, and ends that nobody tells of are found all the same.
    ///
    /// Answers in their order after how many more ends each will be due; 0 when it is, or waits for none.
    fn items_ended(&self, now: Timestamp, ended: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>>;

    /// Outstanding items of a generator that have ended, in the order of the ids of their jobs, at most `limit`.
    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>>;

    /// What is remembered of these files of a generator, in their order.
    fn files_of(&self, generator: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>>;

    /// What is remembered of files of a generator, in the order of the bytes of their paths, after `after`, at most `limit`.
    fn files(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, KnownFile)>>;

    /// Rows of a table that lies beside the jobs, in the same file or database. Those whose key, or time, is NULL are in no order, and are
    /// not among them.
    fn rows_after(&self, rows: RowsAfter) -> Reply<'_, TableRows>;

    /// One generator.
    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>>;

    /// Generators of one namespace or of all, in the order of their registration, after `after`, at most `limit`.
    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>>;

    /// The generators that listen to topics of events, in the order of their registration.
    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>>;

    /// Removes a generator with its state and the files that it remembers; `false` when there was none. The jobs that it made stay, and are items no more.
    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool>;
}

/// Names a generator to the store. Never given again, not even after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GeneratorKey(pub i64);

/// A generator that is to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGenerator {
    /// The tenant.
    pub namespace: Namespace,
    /// The name.
    pub name: GeneratorName,
    /// As JSON: a [`Definition`](taskwright_core::generator::Definition).
    pub definition: String,
    /// As JSON: a [`Record`](taskwright_core::generator::Record). For one that is new.
    pub record: String,
    /// The generator's own state, as JSON. For one that is new.
    pub state: String,
    /// When somebody has to look at it. For one that is new.
    pub next: Option<Timestamp>,
    /// The best priority of its items.
    pub best: Priority,
    /// Whether it listens to topics of events.
    pub listens: bool,
}

impl NewGenerator {
    /// A generator as it is registered.
    pub fn first(definition: &Definition, record: &Record, state: String, now: Timestamp) -> Self {
        Self {
            namespace: definition.namespace.clone(),
            name: definition.name.clone(),
            // Names, numbers and durations: nothing in them cannot be written.
            definition: serde_json::to_string(definition).unwrap_or_default(),
            next: record.next_look(definition, now),
            record: serde_json::to_string(record).unwrap_or_default(),
            state,
            best: definition.best,
            listens: !definition.topics.is_empty(),
        }
    }
}

/// A generator that listens to topics of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningGenerator {
    /// The tenant.
    pub namespace: Namespace,
    /// The name.
    pub name: GeneratorName,
    /// As JSON: a [`Definition`](taskwright_core::generator::Definition).
    pub definition: String,
}

/// A generator as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredGenerator {
    /// Its key.
    pub key: GeneratorKey,
    /// The tenant.
    pub namespace: Namespace,
    /// The name.
    pub name: GeneratorName,
    /// As JSON: a [`Definition`](taskwright_core::generator::Definition).
    pub definition: String,
    /// As JSON: a [`Record`](taskwright_core::generator::Record).
    pub record: String,
    /// The generator's own state, as JSON.
    pub state: String,
    /// Whether it rests.
    pub paused: bool,
    /// When somebody has to look at it; the end of the lease while it is taken.
    pub next: Option<Timestamp>,
    /// Until when it is taken.
    pub lease_until: Option<Timestamp>,
    /// How many notices were given to it.
    pub notices: u64,
    /// How often it was taken: who takes it gets a number that nobody had before.
    pub fence: u64,
    /// Counts the writes, from 1.
    pub version: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition was changed last.
    pub changed_at: Timestamp,
}

/// Which generators are to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeGenerators {
    /// Now.
    pub now: Timestamp,
    /// Those that are due at this moment, which may lie before now.
    pub due: Timestamp,
    /// One of these,
    pub names: Vec<(Namespace, GeneratorName)>,
    /// or one whose name begins with one of these, in whatever namespace,
    pub prefixes: Vec<String>,
    /// and whose items may have this priority or a better one; `None` takes any.
    pub worst: Option<Priority>,
    /// Those that were due at this moment already come first, and then those with the best items.
    pub overdue: Timestamp,
    /// For how long from now on.
    pub lease: Duration,
    /// How many at most.
    pub limit: usize,
}

impl TakeGenerators {
    /// None yet, of those that are due now.
    pub fn at(now: Timestamp, lease: Duration, limit: usize) -> Self {
        let (names, prefixes, worst) = (Vec::new(), Vec::new(), None);
        Self { now, due: now, names, prefixes, worst, overdue: now.minus(GENERATOR_OVERDUE), lease, limit }
    }
}

/// Generators that were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenGenerators {
    /// The generators, in the order in which they came.
    pub generators: Vec<StoredGenerator>,
    /// When, after `due`, somebody has to look at a generator, be it one of those that were asked for or another.
    pub next: Option<Timestamp>,
}

/// What came of asking a generator.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorCommit {
    /// Which.
    pub generator: GeneratorKey,
    /// The version that was taken.
    pub version: u64,
    /// The fence that it was taken with.
    pub fence: u64,
    /// The notices that had been given to it by then: when there are more by now, it is due at once.
    pub notices: u64,
    /// How it goes.
    pub record: String,
    /// Its own state; `None` leaves it.
    pub state: Option<String>,
    /// Whether it rests.
    pub paused: bool,
    /// When somebody has to look again.
    pub next: Option<Timestamp>,
    /// After how many ends of items, told by [`items_ended`](GeneratorStore::items_ended), somebody has to look before that.
    pub look_after: u32,
    /// What it made. At most [`GENERATOR_BATCH_MAX`].
    pub items: Vec<NewItem>,
    /// What has ended. At most [`GENERATOR_BATCH_MAX`], each once.
    pub settled: Vec<SettledItem>,
    /// Dead letters that become outstanding items once more, each of which must be a failed job. At most
    /// [`GENERATOR_BATCH_MAX`], each once, and none that is settled here.
    pub again: Vec<AgainItem>,
    /// What else is written, in this order.
    pub effects: Vec<Effect>,
}

/// What a generator that Taskwright brings itself writes besides its state and its items, in the same transaction.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Writes about files of a generator.
    Files(GeneratorKey, FileWrite),
    /// What a turn of the generator of an endpoint of webhooks has done.
    Webhook(Box<WebhookTurn>),
    /// What is told of a bulk, and what becomes of its parent.
    Bulk(BulkWrite),
}

impl Effect {
    /// Whether the generator is removed with this commit.
    pub(crate) fn ends_generator(&self) -> bool {
        matches!(self, Self::Bulk(write) if write.end.is_some())
    }
}

/// An item that is made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem {
    /// What the generator calls it; at most [`ITEM_KEY_BYTES_MAX`].
    pub key: Option<String>,
    /// Its job.
    pub job: NewJob,
}

/// An item that is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledItem {
    /// Its job.
    pub job: JobId,
    /// How it was seen to have ended. The job is removed, unless its end [keeps](ItemEnd::keeps_job) it.
    pub end: ItemEnd,
}

/// A dead letter that becomes an item once more: its job runs again, with all its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgainItem {
    /// Its job.
    pub job: JobId,
    /// What the generator calls it.
    pub key: Option<String>,
}

/// What somebody changes about a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorWrite {
    /// Which.
    pub generator: GeneratorKey,
    /// The version that was read.
    pub version: u64,
    /// How it goes.
    pub record: String,
    /// Whether it rests.
    pub paused: bool,
    /// When somebody has to look at it; not before a lease is over that it is taken with.
    pub next: Option<Timestamp>,
    /// Its own state; `None` leaves it.
    pub state: Option<String>,
}

/// So many items of a generator have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemsEnded {
    /// The tenant.
    pub namespace: Namespace,
    /// The generator.
    pub name: GeneratorName,
    /// How many.
    pub count: u32,
}

/// An outstanding item that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedItem {
    /// Its job.
    pub job: JobId,
    /// What the generator calls it.
    pub key: Option<String>,
    /// The state of its job; `None` when that was removed.
    pub state: Option<State>,
    /// Attempts used.
    pub attempts: u32,
    /// What went wrong last, or why it ended.
    pub error: Option<String>,
}

/// Refuses more than one call may write, and what is too long: the same on every store.
pub(crate) fn check_commit(commit: &GeneratorCommit) -> Result<(), Error> {
    let most = commit.items.len().max(commit.settled.len()).max(commit.again.len());
    let key = commit.items.iter().filter_map(|item| item.key.as_ref()).map(String::len).max().unwrap_or(0);
    let state = commit.state.as_ref().map_or(0, String::len);
    let refused = if most > GENERATOR_BATCH_MAX {
        Refused::too_large(
            format!("{most} items of a generator"),
            format!("one call takes at most {GENERATOR_BATCH_MAX}"),
            "give no more items than there was said to be room for",
        )
    } else if key > ITEM_KEY_BYTES_MAX {
        Refused::too_large(
            "the key of an item",
            format!("it has {key} bytes, {ITEM_KEY_BYTES_MAX} are allowed"),
            "use a short text that tells the item from others, or leave it out",
        )
    } else if state > GENERATOR_STATE_BYTES_MAX {
        Refused::too_large(
            "the state of a generator",
            format!("it has {state} bytes, {GENERATOR_STATE_BYTES_MAX} are allowed"),
            "keep only how far it has come, and put the rest into the items' arguments",
        )
    } else {
        return Ok(());
    };
    Err(refused.into())
}
