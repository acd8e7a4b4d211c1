//! Webhooks: which events an endpoint is told of, when it is tried, and when it is left alone.
//!
//! | file | question it answers |
//! |---|---|
//! | `endpoint` | who is told, of what, how |
//! | `attempt` | what an answer means, and when an event is tried again |
//! | `breaker` | whether an endpoint is tried at all |
//! | `secret` | how a receiver knows that a message is ours |
//! | `address` | which addresses are nobody's business |
//!
//! Events are read from their log and never queued: what an endpoint has not been told yet is the distance between its *cursor* and
//! the head of the log. An event that could not be delivered goes to the *retry set*, and the cursor moves on, unless the set is
//! full. While the breaker is open the cursor stands still, and only one event is tried now and then.

mod address;
mod attempt;
mod breaker;
mod endpoint;
mod secret;

pub use self::address::is_public;
pub use self::attempt::{ATTEMPTS_MAX, Answer, DeliveryEnd, Verdict, next_attempt, verdict};
pub use self::breaker::{Breaker, Gate};
pub use self::endpoint::{Backlog, Disabled, Endpoint, OldSecret, Order, Origin, Topics};
pub use self::secret::Secret;

use std::time::Duration;

use crate::error::Error;
use crate::name::{GeneratorName, WebhookName};
use crate::time::Timestamp;

/// What the names of the generators of webhooks begin with.
pub const GENERATOR_PREFIX: &str = "webhook:";

/// The time limit of one request: 15 s, and no longer.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(15);

/// Events that one endpoint may have in its retry set: 10,000. Beyond that the cursor stands still until some are delivered or
/// given up; only what people redeliver goes there all the same.
pub const RETRIES_MAX: usize = 10_000;

/// How long the secret before a rotation signs beside the new one: 24 h.
pub const ROTATION: Duration = Duration::from_secs(86_400);

/// How far an endpoint has come; the state of its generator.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The position in the log up to which everything was tried at least once, or is of no interest.
    pub cursor: i64,
    /// Whether it is tried.
    pub breaker: Breaker,
    /// Whether the next turn begins with the retry set: it takes turns with the log, so that neither starves.
    pub retries_first: bool,
    /// Whether the retry set is full ([`RETRIES_MAX`]), so that the cursor stands still.
    pub full: bool,
    /// Events that were not kept any more when the endpoint could have been told of them, at most: who they were for is not known.
    pub missed: u64,
    /// When that was found last.
    pub missed_at: Option<Timestamp>,
}

impl Progress {
    /// Notes that so many events were not kept any more.
    pub fn miss(&mut self, now: Timestamp, events: u64) {
        if events > 0 {
            (self.missed, self.missed_at) = (self.missed.saturating_add(events), Some(now));
        }
    }
}

impl WebhookName {
    /// The generator that delivers to the endpoint: `webhook:NAME`.
    ///
    /// # Errors
    ///
    /// Never: there is room for the prefix.
    pub fn generator(&self) -> Result<GeneratorName, Error> {
        GeneratorName::new(&format!("{GENERATOR_PREFIX}{self}"))
    }

    /// The endpoint that a generator delivers to, if that is what it does.
    pub fn of_generator(generator: &GeneratorName) -> Option<Self> {
        Self::new(generator.as_str().strip_prefix(GENERATOR_PREFIX)?).ok()
    }
}
