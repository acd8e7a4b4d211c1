//! Webhooks: endpoints that are told of events.
//!
//! | file | what |
//! |---|---|
//! | `message` | what is sent, and who carries it |
//! | `family` | the generators `webhook:NAME`, which deliver |
//! | `turn` | one turn of one of them |
//! | `client` | what people do with endpoints |
//!
//! Events are read from their log and are never jobs: an endpoint costs a cursor, and a row for each event that could not be
//! delivered yet. Each is delivered at least once; when a node dies in the middle of a turn, what that has sent is sent again under the
//! same id. How messages get there is up to a [`Courier`]: this crate speaks no HTTP, and the daemon brings one that does.

mod client;
mod family;
mod message;
mod turn;

pub use self::client::{WebhookView, Webhooks};
pub use self::family::WebhookFamily;
pub use self::message::{Courier, Message};
