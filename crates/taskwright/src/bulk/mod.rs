//! Bulk jobs: one parent, and as many items as there are, each made as a job of its own when there is room for it.
//!
//! | file | what |
//! |---|---|
//! | `family` | the generator of a bulk: makes items, counts how they end, and ends the parent |
//! | `client` | what people do with bulks |
//! | `count`, `lines` | the types of bulk that Taskwright brings |
//!
//! The parent is an ordinary job that is blocked until its items are settled: `jobs show`, `jobs wait` and `jobs cancel` work on
//! it, and its result is a [`Tally`]. A bulk of ten million items is one job, one generator and one row about it; at most its
//! window (1,000 unless it says otherwise) of items is stored at a time. No crash can keep it from ending: the commit that settles
//! the last item ends the parent.
//!
//! A program hands the [types](BulkSet) that it knows to the [duties](crate::duty::DutyConfig::generators), with
//! [`GeneratorSet::with_bulks`](crate::generator::GeneratorSet::with_bulks).
//!
//! # Example
//!
//! A type of bulk that greets everybody in a list, as long as its author may do that:
//!
//! ```
//! use taskwright::bulk::{BulkPoll, BulkSet, BulkType, Made, Prepared};
//! use taskwright::generator::{GeneratorSet, Item, PollError};
//! use taskwright::{Env, Owner};
//!
//! struct Greetings;
//!
//! impl BulkType for Greetings {
//!     fn name(&self) -> &str {
//!         "greetings"
//!     }
//!
//!     async fn prepare(&self, params: serde_json::Value, _: &Env) -> Result<Prepared, PollError> {
//!         let names = params.as_array().ok_or("the parameters are no list of names")?.len();
//!         Ok(Prepared { size: Some(names as u64), params })
//!     }
//!
//!     async fn items(&self, poll: BulkPoll) -> Result<Made, PollError> {
//!         let names = poll.params.as_array().ok_or("the parameters are no list of names")?;
//!         let from = poll.made as usize;
//!         let end = names.len().min(from + poll.room);
//!         let items = names[from..end].iter().map(|name| Item::new("greet").args(name));
//!         Ok(Made::new(items.collect::<Result<_, _>>()?, end == names.len()))
//!     }
//!
//!     async fn may(&self, author: Option<&Owner>, _: &serde_json::Value) -> Result<bool, PollError> {
//!         Ok(author.is_some_and(|author| author.as_str() != "mallory"))
//!     }
//! }
//!
//! let types = BulkSet::new().with(Greetings)?;
//! let generators = GeneratorSet::new().with_bulks(&types)?;
//! # let _ = generators;
//! # Ok::<(), taskwright::core::Error>(())
//! ```

mod client;
mod count;
mod family;
mod lines;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use taskwright_core::bulk::GENERATOR_PREFIX;
use taskwright_core::name::BulkTypeName;
use taskwright_core::{Error, JobId, Owner};

pub use taskwright_core::bulk::{OnFailure, Tally};

pub use self::client::{Bulk, BulkView, Bulks};
use self::count::Count;
pub(crate) use self::family::BulkFamily;
use self::lines::Lines;
use crate::env::Env;
use crate::generator::{Item, PollError};

/// Who makes the items of bulks of one type. See the [module](self).
pub trait BulkType: Send + Sync + 'static {
    /// What it is called, the same in all its lives: stored bulks name it. Its generators are called `bulk:NAME:ID`.
    fn name(&self) -> &str;

    /// Looks at the parameters of a bulk that is about to be created, where it is created: what is kept of them, and how many
    /// items it will have, if that can be told.
    ///
    /// # Errors
    ///
    /// The bulk is not created.
    fn prepare(&self, params: Value, env: &Env) -> impl Future<Output = Result<Prepared, PollError>> + Send;

    /// Gives at most `room` items from where the last call ended. What it gives is stored together with its cursor, or neither is.
    ///
    /// # Errors
    ///
    /// As of a [poll](crate::generator::Generator::poll): it is asked again later, and after five errors in a row the bulk is
    /// paused.
    fn items(&self, poll: BulkPoll) -> impl Future<Output = Result<Made, PollError>> + Send;

    /// Whether the author may have this done. Asked before every call of [`items`](Self::items); once it says no, no more items
    /// are made, and the bulk fails when those that were made are settled. Default: yes.
    ///
    /// # Errors
    ///
    /// When it cannot be told for now: as of [`items`](Self::items).
    fn may(
        &self,
        author: Option<&Owner>,
        params: &Value,
    ) -> impl Future<Output = Result<bool, PollError>> + Send {
        let _ = (author, params);
        async { Ok(true) }
    }
}

/// What is kept of the parameters of a bulk.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What [`items`](BulkType::items) is given; at most 64 KiB as JSON.
    pub params: Value,
    /// How many items there will be, if that is known.
    pub size: Option<u64>,
}

/// What a type of bulk is asked.
#[derive(Clone, Debug)]
pub struct BulkPoll {
    /// The parent.
    pub parent: JobId,
    /// What was kept of the parameters.
    pub params: Value,
    /// What the last call gave; `null` at first.
    pub cursor: Value,
    /// How many items were made: the index of the next one.
    pub made: u64,
    /// How many items may be given; at least one.
    pub room: usize,
    /// Time, and threads that may block.
    pub env: Env,
}

/// What a type of bulk gives.
#[derive(Clone, Debug)]
pub struct Made {
    /// The items; one without a key gets its index as that. None, and not the last, is for now: it is asked again later.
    pub items: Vec<Item>,
    /// Where to go on.
    pub cursor: Value,
    /// Whether that was the last of them.
    pub is_last: bool,
    /// What could not be made items: each counts as an item that failed.
    pub refused: Option<Refused>,
}

/// Items that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// Why the newest of them cannot; of a longer text the first 1,024 bytes are kept.
    pub trouble: String,
}

impl Made {
    /// Items of a type that needs no cursor, because it goes by how many were made.
    pub fn new(items: Vec<Item>, is_last: bool) -> Self {
        Self { items, cursor: Value::Null, is_last, refused: None }
    }
}

/// The types of bulk that a program knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct BulkSet(Vec<Arc<dyn AnyBulkType>>);

impl BulkSet {
    /// No types.
    pub fn new() -> Self {
        Self::default()
    }

    /// The types that Taskwright brings: `count`, which makes items with the numbers from 0 on, and `lines`, which makes one of
    /// each line of a file.
    pub fn built_in() -> Self {
        Self(vec![Arc::new(Count), Arc::new(Lines)])
    }

    /// Adds a type.
    ///
    /// # Errors
    ///
    /// When its name is no valid name, too long, or there already.
    pub fn with(mut self, kind: impl BulkType) -> Result<Self, Error> {
        let name = BulkTypeName::new(BulkType::name(&kind))?;
        taskwright_core::bulk::generator_name(&name, JobId::from_bytes([0; 16]))?;
        if self.find(&name).is_some() {
            return Err(Error::invalid(
                format!("the type of bulk {name}"),
                "it is added twice",
                "add each type once, or give one of the two another name",
            ));
        }
        self.0.push(Arc::new(kind));
        Ok(self)
    }

    /// The names of the types, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|kind| kind.name())
    }

    pub(crate) fn find(&self, name: &BulkTypeName) -> Option<&Arc<dyn AnyBulkType>> {
        self.0.iter().find(|kind| kind.name() == name.as_str())
    }

    /// A family of generators for each type: those whose names begin with `bulk:TYPE:`.
    pub(crate) fn families(&self) -> impl Iterator<Item = (String, BulkFamily)> + '_ {
        let family = |kind: &Arc<dyn AnyBulkType>| {
            (format!("{GENERATOR_PREFIX}{}:", kind.name()), BulkFamily::new(Arc::clone(kind)))
        };
        self.0.iter().map(family)
    }
}

impl fmt::Debug for BulkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// What a type of bulk answers, whatever type it is.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PollError>> + Send + 'a>>;

/// Any type of bulk.
pub(crate) trait AnyBulkType: Send + Sync + 'static {
    fn name(&self) -> &str;

    fn prepare<'a>(&'a self, params: Value, env: &'a Env) -> Answer<'a, Prepared>;

    fn items(&self, poll: BulkPoll) -> Answer<'_, Made>;

    fn may<'a>(&'a self, author: Option<&'a Owner>, params: &'a Value) -> Answer<'a, bool>;
}

impl<B: BulkType> AnyBulkType for B {
    fn name(&self) -> &str {
        BulkType::name(self)
    }

    fn prepare<'a>(&'a self, params: Value, env: &'a Env) -> Answer<'a, Prepared> {
        Box::pin(BulkType::prepare(self, params, env))
    }

    fn items(&self, poll: BulkPoll) -> Answer<'_, Made> {
        Box::pin(BulkType::items(self, poll))
    }

    fn may<'a>(&'a self, author: Option<&'a Owner>, params: &'a Value) -> Answer<'a, bool> {
        Box::pin(BulkType::may(self, author, params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that makes nothing.
    struct Named(&'static str);

    impl BulkType for Named {
        fn name(&self) -> &str {
            self.0
        }

        async fn prepare(&self, params: Value, _: &Env) -> Result<Prepared, PollError> {
            Ok(Prepared { params, size: Some(0) })
        }

        async fn items(&self, _: BulkPoll) -> Result<Made, PollError> {
            Ok(Made::new(Vec::new(), true))
        }
    }

    /// PH-18: all bulk job types load with unique keys.
    #[test]
    fn ph_18_every_type_of_bulk_has_a_name_of_its_own() {
        let types = BulkSet::built_in();
        assert_eq!(types.names().collect::<Vec<_>>(), ["count", "lines"]);
        assert!(types.clone().with(Named("count")).unwrap_err().is_invalid());
        let types = types.with(Named("mine")).unwrap();
        assert_eq!(types.names().collect::<Vec<_>>(), ["count", "lines", "mine"]);
        // As generators, too: none begins as another does.
        let generators = crate::generator::GeneratorSet::new().with_bulks(&types).unwrap();
        assert!(generators.with_bulks(&BulkSet::built_in()).is_err());
        assert!(BulkSet::new().with(Named("mine")).unwrap().with(Named("mine:too")).is_ok());
        let long: &'static str = Box::leak("x".repeat(80).into_boxed_str());
        for bad in ["", "a b", long] {
            assert!(BulkSet::new().with(Named(bad)).is_err(), "{bad:?}");
        }
    }
}
