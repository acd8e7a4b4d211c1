//! What people do with generators.

use taskwright_core::generator::{Definition, Record};
use taskwright_core::{Actor, GeneratorName, JobId, Namespace, State, Timestamp, bulk};
use taskwright_store::{
    Error as StoreError, Filter, GeneratorWrite, JobView, NewGenerator, Page, Pattern, SharedStore,
    StoredGenerator,
};

use super::progress::{Backlog, Progress};
use crate::client::Client;
use crate::env::Env;
use crate::error::Error;

/// How often a change is tried again when the generator is written meanwhile.
const TRIES_MAX: usize = 32;

/// How many generators are read at once.
const PAGE: usize = 500;

/// What people do with generators. Made by [`Client::generators`].
///
/// # Example
///
/// ```
/// # use taskwright::{Actor, Client, Namespace};
/// # async fn example(client: Client) -> Result<(), taskwright::Error> {
/// let (generators, namespace) = (client.generators(), Namespace::default());
/// for view in generators.list(None).await? {
///     println!("{}: {} outstanding", view.definition.name, view.record.counts.outstanding());
/// }
/// generators.notify(&namespace, &"webhooks".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Generators {
    store: SharedStore,
    env: Env,
}

/// A generator as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorView {
    /// What the program says about it that registered it last.
    pub definition: Definition,
    /// How it goes.
    pub record: Record,
    /// Its own state.
    pub state: serde_json::Value,
    /// When somebody looks at it next; `None` while it rests, or until it is notified.
    pub next: Option<Timestamp>,
    /// Until when somebody has it to ask it.
    pub lease_until: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition was changed last.
    pub changed_at: Timestamp,
}

impl GeneratorView {
    /// Reads what a store has.
    ///
    /// # Errors
    ///
    /// When a newer program registered it that this one does not understand.
    pub fn read(stored: &StoredGenerator) -> Result<Self, Error> {
        let unknown = |error: serde_json::Error| {
            taskwright_core::Error::unknown(
                format!("the generator {}", stored.name),
                format!("it was written by another version of this program: {error}"),
                "use the program that registered it",
            )
        };
        Ok(Self {
            definition: serde_json::from_str(&stored.definition).map_err(unknown)?,
            record: serde_json::from_str(&stored.record).map_err(unknown)?,
            state: serde_json::from_str(&stored.state).map_err(unknown)?,
            next: stored.next,
            lease_until: stored.lease_until,
            created_at: stored.created_at,
            changed_at: stored.changed_at,
        })
    }
}

impl GeneratorView {
    /// How much a [cursor generator](super::CursorGenerator) that knows its head had before it when it was asked last.
    pub fn backlog(&self) -> Option<Backlog> {
        Progress::read(&self.state).ok()?.backlog()
    }
}

impl Client {
    /// The generators of the store.
    pub fn generators(&self) -> Generators {
        Generators { store: self.store().clone(), env: self.env().clone() }
    }
}

impl Generators {
    /// One generator.
    ///
    /// # Errors
    ///
    /// When the store is out of order, or the generator was registered by a newer program that this one does not understand.
    pub async fn get(
        &self,
        namespace: &Namespace,
        name: &GeneratorName,
    ) -> Result<Option<GeneratorView>, Error> {
        let stored = self.store.generator(namespace.clone(), name.clone()).await?;
        stored.as_ref().map(GeneratorView::read).transpose()
    }

    /// All generators, of one namespace or of all, in the order of their registration.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(&self, namespace: Option<&Namespace>) -> Result<Vec<GeneratorView>, Error> {
        let mut views = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.generators(namespace.cloned(), after, PAGE).await?;
            for stored in &page {
                views.push(GeneratorView::read(stored)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key),
                _ => return Ok(views),
            }
        }
    }

    /// Registers a generator of a [family](super::Family), with the state that it begins with: nodes that know the family ask it from
    /// then on. One that is there keeps its state and what it has done, and gets this definition. `false` when that changed nothing.
    ///
    /// # Errors
    ///
    /// When the definition makes no sense, or the store is out of order.
    pub async fn register(&self, definition: &Definition, state: serde_json::Value) -> Result<bool, Error> {
        let definition = definition.clone().checked()?;
        let now = self.env.now();
        let new = NewGenerator::first(&definition, &Record::new(now), state.to_string(), now);
        let changed = self.store.put_generators(now, vec![new]).await?;
        Ok(changed.first() == Some(&true))
    }

    /// Lets a generator rest until it is [resumed](Self::resume), also across restarts: once this has returned it makes nothing
    /// more. The items that it has made run on, and are settled when it goes on. `false` when it rested already.
    ///
    /// # Errors
    ///
    /// When there is no such generator ([`Error::is_not_found`]), or the store is out of order.
    pub async fn pause(
        &self,
        namespace: &Namespace,
        name: &GeneratorName,
        by: &Actor,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        let pause = |record: &mut Record, now| record.pause(now, by.clone(), reason.map(str::to_owned));
        let paused = self.change(namespace, name, pause).await?;
        // A bulk that is over is wound up, and must not rest before that: its items would run on and nobody count them. Looked at
        // only now, since it may have been cancelled meanwhile; whoever cancels it later wakes it.
        if let Some(parent) = bulk::parent_of(name)
            && let Some(job) = self.store.job(parent).await?
            && job.view.state.is_terminal()
        {
            self.resume(namespace, name).await?;
            return Err(taskwright_core::Error::invalid(
                format!("the bulk {parent}"),
                format!("it is {}, and what it made is being wound up", job.view.state),
                "look at it with `taskwright bulk show`; nothing was changed",
            )
            .into());
        }
        Ok(paused)
    }

    /// Lets a generator go on: it is asked at once, and errors before that are forgiven. `false` when it did not rest.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, namespace: &Namespace, name: &GeneratorName) -> Result<bool, Error> {
        self.change(namespace, name, |record, now| record.resume(now)).await
    }

    /// Says that a generator may have something: it is asked at once, or as soon as there is room, whatever it said itself. One
    /// that rests goes on resting.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn notify(&self, namespace: &Namespace, name: &GeneratorName) -> Result<(), Error> {
        match self.store.notify_generator(self.env.now(), namespace.clone(), name.clone()).await? {
            true => Ok(()),
            false => Err(Error::no_such_generator(name)),
        }
    }

    /// Removes a generator with its state; `false` when there was none. The jobs that it made stay, and a program that knows it
    /// registers it anew at its next start.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn remove(&self, namespace: &Namespace, name: &GeneratorName) -> Result<bool, Error> {
        match self.store.generator(namespace.clone(), name.clone()).await? {
            Some(stored) => Ok(self.store.remove_generator(stored.key).await?),
            None => Ok(false),
        }
    }

    /// The dead letters of a generator, newest first, after `after`, at most `limit` (1,000), and where to go on: items that failed
    /// for good, and have been neither retried nor deleted since. They are jobs like any other that failed.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn dead_letters(
        &self,
        namespace: &Namespace,
        name: &GeneratorName,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<JobView>, Option<JobId>), Error> {
        let queue = name.queue();
        let filter = Filter {
            namespaces: namespace.clone().into(),
            queues: vec![Pattern::new(queue.as_str())],
            states: vec![State::Failed],
            ..Filter::default()
        };
        let page = self.store.list(filter, Page { after, limit, oldest_first: false }).await?;
        // Patterns match letters of either case.
        let letters = page.jobs.into_iter().filter(|job| job.queue == queue);
        Ok((letters.collect(), page.next))
    }

    /// Changes the record of a generator, unless there is nothing to change.
    async fn change(
        &self,
        namespace: &Namespace,
        name: &GeneratorName,
        change: impl Fn(&mut Record, Timestamp) -> bool,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            let stored = self.store.generator(namespace.clone(), name.clone()).await?;
            let stored = stored.ok_or_else(|| Error::no_such_generator(name))?;
            let GeneratorView { definition, mut record, .. } = GeneratorView::read(&stored)?;
            let now = self.env.now();
            if !change(&mut record, now) {
                return Ok(false);
            }
            let write = GeneratorWrite {
                generator: stored.key,
                version: stored.version,
                paused: record.paused.is_some(),
                next: record.next_look(&definition, now),
                // Numbers, text and moments: nothing in it cannot be written.
                record: serde_json::to_string(&record).unwrap_or_default(),
                state: None,
            };
            if self.store.write_generator(now, write).await? {
                return Ok(true);
            }
        }
        let what = format!("the generator {name}");
        Err(StoreError::unavailable(what, "it was written by others each time that it was changed").into())
    }
}
