//! Receivers for tests: what they were sent is noted, and what they answer a test says.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::webhook::{Answer, Endpoint, RETRIES_MAX};
use taskwright::core::{EventId, Garbage, WebhookName};
use taskwright::generator::GeneratorSet;
use taskwright::store::{Collect, NewEvent, SharedStore};
use taskwright::webhook::{Courier, Message, WebhookFamily, WebhookView, Webhooks};
use taskwright::{Args, Duties, DutyConfig, Env, Namespace};

use crate::support::{Notes, World};

/// What a receiver makes of a message, and after how long.
type Answers = dyn Fn(&Sent) -> (u16, Duration) + Send + Sync;

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) url: String,
    pub(crate) id: String,
    pub(crate) ms: u64,
    pub(crate) message: Message,
}

impl Sent {
    /// The number that the event carries.
    pub(crate) fn number(&self) -> u64 {
        let body: serde_json::Value = serde_json::from_slice(&self.message.body).unwrap();
        body["data"].as_u64().unwrap()
    }
}

/// Receivers at all URLs.
#[derive(Clone)]
pub(crate) struct Receivers {
    env: Env,
    answers: Arc<Answers>,
    pub(crate) sent: Notes<Sent>,
}

impl Receivers {
    pub(crate) fn new(
        world: &World,
        answers: impl Fn(&Sent) -> (u16, Duration) + Send + Sync + 'static,
    ) -> Self {
        Self { env: world.sim.env(), answers: Arc::new(answers), sent: Notes::new() }
    }

    /// The numbers that arrived at a URL, in that order.
    pub(crate) fn numbers(&self, url: &str) -> Vec<u64> {
        self.sent.all().iter().filter(|sent| sent.url == url).map(Sent::number).collect()
    }
}

impl Courier for Receivers {
    async fn send(&self, message: Message) -> Answer {
        let ms = self.env.monotonic_us() / 1_000;
        let sent = Sent { url: message.url.clone(), id: message.id.clone(), ms, message };
        let (status, after) = (self.answers)(&sent);
        self.sent.add(sent);
        self.env.sleep(after).await;
        let error = (status >= 300).then(|| format!("it answered {status}"));
        let retry_after = (status == 429).then(|| Duration::from_secs(60));
        Answer { status: Some(status), retry_after, error, ..Answer::default() }
    }
}

pub(crate) fn called(name: &str) -> WebhookName {
    name.parse().unwrap()
}

/// The URL of the endpoint of that name.
pub(crate) fn url(name: &str) -> String {
    format!("https://{name}.example.org/hook")
}

impl World {
    /// A node that delivers to webhooks.
    pub(crate) fn delivering(&self, receivers: &Receivers) -> Duties {
        self.delivering_on(self.store(), receivers)
    }

    pub(crate) fn delivering_on(&self, store: SharedStore, receivers: &Receivers) -> Duties {
        self.delivering_with(store, receivers, RETRIES_MAX)
    }

    /// One that lets endpoints have so many events in their retry sets.
    pub(crate) fn delivering_with(
        &self,
        store: SharedStore,
        receivers: &Receivers,
        retries_max: usize,
    ) -> Duties {
        let family = WebhookFamily::new(Arc::clone(&store), self.sim.env(), receivers.clone());
        let family = family.with_retries_max(retries_max);
        let generators = GeneratorSet::new().with_family(family).unwrap();
        Duties::start(&store, &self.sim.env(), &DutyConfig { generators, ..DutyConfig::default() })
    }

    pub(crate) fn webhooks(&self) -> Webhooks {
        self.client.webhooks()
    }

    /// Adds an endpoint.
    pub(crate) async fn endpoint(&self, name: &str, change: impl FnOnce(Endpoint) -> Endpoint) {
        let endpoint = change(Endpoint::new(url(name), self.webhooks().secret().unwrap()));
        assert!(self.webhooks().add(&Namespace::default(), &called(name), &endpoint).await.unwrap());
    }

    pub(crate) async fn webhook(&self, name: &str) -> WebhookView {
        self.webhooks().get(&Namespace::default(), &called(name)).await.unwrap().unwrap()
    }

    /// How many events an endpoint has in its retry set.
    pub(crate) async fn retry_count(&self, name: &str) -> usize {
        let view = self.webhook(name).await;
        self.webhooks().retry_count(&view, 100_000).await.unwrap()
    }

    /// Removes all events that were delivered to schedules by now.
    pub(crate) async fn forget_events(&self) {
        let before = self.sim.env().now();
        let collect =
            Collect { garbage: Garbage::Events, before, after: None, limit: 10_000, dry_run: false };
        assert!(self.store().collect(collect).await.unwrap().rows > 0);
    }

    /// Events that carry these numbers, of three keys.
    pub(crate) async fn happens(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<EventId> {
        let env = self.sim.env();
        let event = |n: u64| NewEvent {
            id: env.event_id(),
            namespace: Namespace::default(),
            topic: "order.paid".parse().unwrap(),
            key: Some(format!("customer {}", n % 3)),
            payload: Args::of(&n).unwrap(),
        };
        let events: Vec<NewEvent> = numbers.into_iter().map(event).collect();
        let ids = events.iter().map(|event| event.id).collect();
        for part in events.chunks(1_000) {
            self.store().emit(env.now(), part.to_vec()).await.unwrap();
        }
        ids
    }
}
