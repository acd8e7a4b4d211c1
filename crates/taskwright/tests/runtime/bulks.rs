//! Bulks for tests: a type that does as a test says, and nodes that know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use taskwright::bulk::{Bulk, BulkPoll, BulkSet, BulkType, BulkView, Bulks, Made, Prepared};
use taskwright::generator::{GeneratorSet, Item, PollError};
use taskwright::store::{Filter, Page, SharedStore};
use taskwright::{Duties, DutyConfig, Env, JobId, Owner};

use crate::support::World;

/// A type of bulk: as many items of the kind `test` as its parameters say.
#[derive(Clone, Default)]
pub(crate) struct Numbers {
    /// Whether its author may not have it done.
    pub(crate) is_forbidden: Arc<AtomicBool>,
    /// How often it cannot be asked before it can.
    pub(crate) errors: Arc<AtomicU64>,
}

impl BulkType for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }

    async fn prepare(&self, params: Value, _: &Env) -> Result<Prepared, PollError> {
        let size = params.as_u64().ok_or("the parameters are no number")?;
        Ok(Prepared { params, size: Some(size) })
    }

    async fn items(&self, poll: BulkPoll) -> Result<Made, PollError> {
        let left = |errors: u64| errors.checked_sub(1);
        if self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err("it cannot be asked now".into());
        }
        let size = poll.params.as_u64().unwrap();
        let end = size.min(poll.made + poll.room as u64);
        let items = (poll.made..end).map(|n| Item::new("test").args(&n));
        Ok(Made::new(items.collect::<Result<_, _>>()?, end == size))
    }

    async fn may(&self, author: Option<&Owner>, _: &Value) -> Result<bool, PollError> {
        Ok(author.is_none() || !self.is_forbidden.load(Ordering::Relaxed))
    }
}

/// The types that nodes know.
pub(crate) fn types(numbers: &Numbers) -> BulkSet {
    BulkSet::built_in().with(numbers.clone()).unwrap()
}

/// So many items.
pub(crate) fn numbers(size: u64) -> Bulk {
    Bulk::new("numbers").params(&size).unwrap()
}

impl World {
    /// A node of its own that knows these bulks.
    pub(crate) fn bulk_node(&self, numbers: &Numbers) -> Duties {
        self.bulk_node_on(Arc::new(self.memory.handle()), numbers)
    }

    pub(crate) fn bulk_node_on(&self, store: SharedStore, numbers: &Numbers) -> Duties {
        let generators = GeneratorSet::new().with_bulks(&types(numbers)).unwrap();
        let config = DutyConfig { generators, ..DutyConfig::default() };
        Duties::start(&store, &self.sim.env(), &config)
    }

    pub(crate) fn bulks(&self, numbers: &Numbers) -> Bulks {
        self.client.bulks(&types(numbers))
    }

    pub(crate) async fn bulk(&self, id: JobId) -> BulkView {
        self.bulks(&Numbers::default()).get(id).await.unwrap().unwrap()
    }

    /// How many jobs there are.
    pub(crate) async fn job_count(&self) -> usize {
        let page = Page { after: None, limit: 1_000, oldest_first: true };
        self.store().list(Filter::default(), page).await.unwrap().jobs.len()
    }
}
