//! Generators for tests: what they were asked and told is noted, and what they answer a test says.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use taskwright::core::generator::Definition;
use taskwright::generator::{
    Generator, GeneratorSet, GeneratorView, Item, Next, Poll, PollError, Polled, Settled,
};
use taskwright::store::SharedStore;
use taskwright::{Duties, DutyConfig, Namespace};

use crate::support::{Notes, World};

/// A generator `feed` that answers as a test says.
pub(crate) struct Scripted<F> {
    pub(crate) answer: F,
    pub(crate) window: u32,
    pub(crate) told: Notes<Settled>,
}

impl<F> Scripted<F> {
    pub(crate) fn new(answer: F) -> Self {
        Self { answer, window: 100, told: Notes::new() }
    }
}

impl<F, R> Generator for Scripted<F>
where
    F: Fn(Poll) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Polled, PollError>> + Send,
{
    fn name(&self) -> &str {
        "feed"
    }

    fn options(&self, defaults: Definition) -> Definition {
        Definition { window: self.window, ..defaults }
    }

    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError> {
        settled.iter().for_each(|one| self.told.add(one.clone()));
        Ok(state)
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        (self.answer)(poll).await
    }
}

/// The next items of 0 to `end`, at most as many as there is room for: jobs of the kind `test`.
pub(crate) fn count_to(end: u64, poll: &Poll) -> Polled {
    let from = poll.state.as_u64().unwrap_or(0);
    let to = end.min(from + poll.room as u64);
    let item = |n: u64| Item::new("test").key(n.to_string()).args(&n).unwrap();
    let next = if to < end { Next::Now } else { Next::Notified };
    Polled::new((from..to).map(item).collect(), to, next)
}

/// Nothing, and the state as it was.
pub(crate) fn nothing(poll: Poll, next: Next) -> Polled {
    Polled::new(Vec::new(), poll.state, next)
}

impl World {
    /// A node of its own that knows this generator.
    pub(crate) fn generating(&self, generator: impl Generator) -> Duties {
        self.generating_on(Arc::new(self.memory.handle()), generator)
    }

    pub(crate) fn generating_on(&self, store: SharedStore, generator: impl Generator) -> Duties {
        let generators = GeneratorSet::new().with(generator).unwrap();
        let config = DutyConfig { generators, ..DutyConfig::default() };
        Duties::start(&store, &self.sim.env(), &config)
    }

    /// The generator `feed`.
    pub(crate) async fn feed(&self) -> GeneratorView {
        let found = self.client.generators().get(&Namespace::default(), &"feed".parse().unwrap()).await;
        found.unwrap().unwrap()
    }

    /// Lets time pass until so many items of `feed` are settled.
    pub(crate) async fn settled(&self, count: u64) -> GeneratorView {
        for _ in 0..100_000 {
            // It is registered once the node has begun.
            self.sim.advance(Duration::from_millis(50)).await;
            let found = self.client.generators().get(&Namespace::default(), &"feed".parse().unwrap()).await;
            match found.unwrap() {
                Some(feed) if feed.record.counts.settled() >= count => return feed,
                _ => {}
            }
        }
        panic!("{:?}", self.feed().await.record);
    }
}
