//! What people do with bulks.

use serde::Serialize;
use serde_json::Value;
use taskwright_core::bulk::{self, OnFailure, State, Tally};
use taskwright_core::generator::{Definition, Record};
use taskwright_core::name::BulkTypeName;
use taskwright_core::{
    Actor, Args, Authority, Error as Refused, JobId, Namespace, NewJob, Owner, Priority, QueueName,
};
use taskwright_store::{
    Change, Changed, Filter, JobKey, JobView, NewBulk, NewGenerator, Page, Seen, StoredBulk,
};

use super::BulkSet;
use super::family::progress_of;
use crate::client::Client;
use crate::error::Error;
use crate::generator::GeneratorView;

/// Errors in a row after which a bulk is paused.
const ERRORS_MAX: u32 = 5;
/// Dead letters that are run again by one call.
const RETRIES: usize = 500;

/// A bulk that is about to be created: a type, its parameters, and whatever differs from the defaults.
#[derive(Clone, Debug)]
pub struct Bulk {
    kind: String,
    params: Value,
    id: Option<JobId>,
    namespace: Namespace,
    author: Option<Owner>,
    authority: Option<Authority>,
    priority: Priority,
    window: u32,
    on_failure: OnFailure,
}

impl Bulk {
    /// A bulk of this type without parameters.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            params: Value::Null,
            id: None,
            namespace: Namespace::default(),
            author: None,
            authority: None,
            priority: Priority::BULK,
            window: 1_000,
            on_failure: OnFailure::Continue,
        }
    }

    /// What its type makes items of.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON.
    pub fn params(mut self, params: &impl Serialize) -> Result<Self, Refused> {
        self.params = serde_json::to_value(params).map_err(|error| {
            Refused::invalid(
                "the parameters of a bulk",
                error.to_string(),
                "use a type whose map keys are text",
            )
        })?;
        Ok(self)
    }

    /// An id that the caller made (with [`Env::job_id`](crate::Env::job_id)): creating it twice makes one bulk.
    #[must_use]
    pub fn id(mut self, id: JobId) -> Self {
        self.id = Some(id);
        self
    }

    /// The tenant that parent and items belong to. Default `default`.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Who wants it: the owner of parent and items, in whose name they run. Default nobody.
    #[must_use]
    pub fn author(mut self, author: Owner) -> Self {
        self.author = Some(author);
        self
    }

    /// By whose rights items are made: before each part of them it is asked again whether this one may create such a bulk, and once it
    /// may not, the bulk stops and fails. For programs that create bulks for others. Default: those of the program itself.
    #[must_use]
    pub fn authority(mut self, authority: Option<Authority>) -> Self {
        self.authority = authority;
        self
    }

    /// How urgent the items are. Default `bulk`.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How many items may be made and not settled at a time. Default 1,000; 1 to 10,000.
    #[must_use]
    pub fn window(mut self, window: u32) -> Self {
        self.window = window;
        self
    }

    /// What happens when items fail. Default: they are counted, and the bulk completes.
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }
}

/// A bulk as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkView {
    /// The job that stands for it.
    pub parent: JobView,
    /// What was said about it.
    pub definition: bulk::Definition,
    /// How its items have ended so far.
    pub tally: Tally,
    /// Its generator, which is gone once it is over; `None` in lists.
    pub generator: Option<GeneratorView>,
    /// What a list goes on behind.
    pub key: JobKey,
    /// What its generator is, or was, called.
    pub generator_name: taskwright_core::GeneratorName,
}

/// What people do with bulks. Made by [`Client::bulks`].
///
/// # Example
///
/// ```
/// # use taskwright::bulk::{Bulk, BulkSet};
/// # use taskwright::{Actor, Client};
/// # async fn example(client: Client) -> Result<(), taskwright::Error> {
/// let bulks = client.bulks(&BulkSet::built_in());
/// let params = serde_json::json!({"kind": "page.render", "size": 10_000_000, "args": {"page": "{index}"}});
/// let id = bulks.create(Bulk::new("count").params(&params)?.on_failure("1%".parse()?)).await?;
/// client.wait(id, None).await?;
/// println!("{:?}", bulks.get(id).await?.map(|bulk| bulk.tally));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulks {
    client: Client,
    types: BulkSet,
}

impl Client {
    /// The bulks of the store. The types are needed for [creating](Bulks::create) some.
    pub fn bulks(&self, types: &BulkSet) -> Bulks {
        Bulks { client: self.clone(), types: types.clone() }
    }
}

impl Bulks {
    /// Creates a bulk, and gives the id of its parent: a job to be waited for and cancelled like any other. When the answer is
    /// there, the bulk is durable.
    ///
    /// # Errors
    ///
    /// When the type is not known here, something about the bulk is not accepted, or the store is out of order.
    pub async fn create(&self, bulk: Bulk) -> Result<JobId, Error> {
        let env = self.client.env();
        let name = BulkTypeName::new(&bulk.kind)?;
        let known = || self.types.names().collect::<Vec<_>>().join(", ");
        let kind = self.types.find(&name).ok_or_else(|| {
            let fix = format!("use one of {}, or the program that knows it", known());
            Refused::unknown(format!("the type of bulk {name}"), "this program does not know it", fix)
        })?;
        let prepared = kind.prepare(bulk.params.clone(), env).await.map_err(|error| {
            let what = format!("the parameters of the bulk of type {name}");
            Refused::invalid(what, error.to_string(), "see the type for what it takes")
        })?;
        let definition = bulk::Definition {
            kind: name,
            params: prepared.params,
            size: prepared.size,
            author: bulk.author.clone(),
            on_failure: bulk.on_failure,
            authority: bulk.authority.clone(),
        };
        let new = self.new_bulk(bulk, definition.checked()?)?;
        let id = new.parent.id;
        self.client.store().create_bulk(env.now(), new).await?;
        Ok(id)
    }

    fn new_bulk(&self, bulk: Bulk, definition: bulk::Definition) -> Result<NewBulk, Error> {
        let env = self.client.env();
        let (id, now) = (bulk.id.unwrap_or_else(|| env.job_id()), env.now());
        let parent = NewJob {
            namespace: bulk.namespace.clone(),
            owner: bulk.author,
            queue: QueueName::new(bulk::QUEUE)?,
            priority: bulk.priority,
            ..NewJob::new(id, bulk::parent_kind()?, Args::of(&definition)?)
        };
        let generator = Definition {
            namespace: bulk.namespace,
            best: bulk.priority,
            worst: bulk.priority,
            window: bulk.window,
            errors_max: ERRORS_MAX,
            ..Definition::new(bulk::generator_name(&definition.kind, id)?)
        };
        let (generator, record) = (generator.checked()?, Record::new(now));
        let state = State::new(definition);
        let tally = Tally::of(&state, &record.counts);
        Ok(NewBulk {
            parent,
            generator: NewGenerator::first(&generator, &record, json(&state), now),
            definition: json(&state.definition),
            progress: progress_of(&tally, None),
            tally: json(&tally),
        })
    }

    /// One bulk, with its generator if it is not over.
    ///
    /// # Errors
    ///
    /// When the store is out of order, or a newer program wrote it that this one does not understand.
    pub async fn get(&self, id: JobId) -> Result<Option<BulkView>, Error> {
        let store = self.client.store();
        let (Some(stored), Some(parent)) = (store.bulk(id).await?, store.job(id).await?) else {
            return Ok(None);
        };
        let mut view = view(stored, parent.view)?;
        let generators = self.client.generators();
        view.generator = generators.get(&view.parent.namespace, &view.generator_name).await?;
        Ok(Some(view))
    }

    /// Bulks, of one namespace or of all, newest first, behind `after`, at most `limit` (1,000), and where to go on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(
        &self,
        namespace: Option<&Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Result<(Vec<BulkView>, Option<JobKey>), Error> {
        let store = self.client.store();
        let bulks = store.bulks(namespace.cloned(), after, limit).await?;
        let next = bulks.last().filter(|_| bulks.len() >= limit).map(|bulk| bulk.key);
        if bulks.is_empty() {
            return Ok((Vec::new(), None));
        }
        let filter = Filter { ids: bulks.iter().map(|bulk| bulk.parent).collect(), ..Filter::default() };
        let page = Page { after: None, limit: bulks.len(), oldest_first: false };
        let parents = store.list(filter, page).await?.jobs;
        let mut views = Vec::with_capacity(bulks.len());
        for stored in bulks {
            // One that was removed since is left out.
            if let Some(parent) = parents.iter().find(|parent| parent.id == stored.parent) {
                views.push(view(stored, parent.clone())?);
            }
        }
        Ok((views, next))
    }

    /// Lets a bulk rest until it is [resumed](Self::resume): once this has returned it makes nothing more. What it has made runs
    /// on, and is counted when it goes on. `false` when it rested already.
    ///
    /// # Errors
    ///
    /// When there is no such bulk ([`Error::is_not_found`]), it is over, or the store is out of order.
    pub async fn pause(&self, id: JobId, by: &Actor, reason: Option<&str>) -> Result<bool, Error> {
        let view = self.running(id).await?;
        let generators = self.client.generators();
        generators.pause(&view.parent.namespace, &view.generator_name, by, reason).await
    }

    /// Lets a bulk go on, also one that paused after errors. `false` when it did not rest.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, id: JobId) -> Result<bool, Error> {
        let view = self.running(id).await?;
        self.client.generators().resume(&view.parent.namespace, &view.generator_name).await
    }

    /// Cancels a bulk: nothing more is made, what waits is cancelled, and what runs is asked to stop. What was counted stays.
    /// `false` when it was over already.
    ///
    /// # Errors
    ///
    /// When there is no such bulk ([`Error::is_not_found`]), or the store is out of order.
    pub async fn cancel(&self, id: JobId, by: Actor, reason: Option<String>) -> Result<bool, Error> {
        self.client.store().bulk(id).await?.ok_or_else(|| Error::no_such_bulk(id))?;
        self.client.cancel(id, by, reason).await
    }

    /// Runs again what failed of a bulk, also of one that is over, and gives how many. The counts of the bulk stay what they were:
    /// how these end now is told by the jobs.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel).
    pub async fn retry(&self, id: JobId, by: &Actor) -> Result<usize, Error> {
        let bulk = self.client.store().bulk(id).await?.ok_or_else(|| Error::no_such_bulk(id))?;
        let generators = self.client.generators();
        let (mut after, mut retried) = (None, 0);
        loop {
            let (letters, next) =
                generators.dead_letters(&bulk.namespace, &bulk.generator, after, RETRIES).await?;
            // One that somebody has run again or removed meanwhile is left alone.
            let seen = letters.iter().map(Seen::from).collect();
            let (store, now) = (self.client.store(), self.client.env().now());
            let changed =
                store.change_seen(now, seen, Change::Redo { repeat: false }, by.clone(), None).await?;
            retried += changed.iter().filter(|changed| **changed == Changed::Done).count();
            after = next;
            if after.is_none() {
                return Ok(retried);
            }
        }
    }

    /// A bulk that has a generator.
    async fn running(&self, id: JobId) -> Result<BulkView, Error> {
        let view = self.get(id).await?.ok_or_else(|| Error::no_such_bulk(id))?;
        if view.generator.is_some() {
            return Ok(view);
        }
        let why = format!("it is {}", view.parent.state);
        let fix = "look at it with `taskwright bulk show`; nothing was changed";
        Err(Refused::invalid(format!("the bulk {id}"), why, fix).into())
    }
}

/// As JSON. Names, numbers and values that were JSON: nothing in it cannot be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn view(stored: StoredBulk, parent: JobView) -> Result<BulkView, Error> {
    let unknown = |error: serde_json::Error| {
        let why = format!("it was written by another version of this program: {error}");
        Refused::unknown(format!("the bulk {}", stored.parent), why, "use the program that created it")
    };
    Ok(BulkView {
        parent,
        definition: serde_json::from_str(&stored.definition).map_err(unknown)?,
        tally: serde_json::from_str(&stored.tally).map_err(unknown)?,
        generator: None,
        key: stored.key,
        generator_name: stored.generator.clone(),
    })
}
