//! Generators: one in a listing, everything about one, what became of a change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::generator::{Backlog, Counts, GeneratorView, Paused};
use taskwright_core::{GeneratorName, Namespace, Priority, QueueName, Timestamp};

use super::millis;

/// A generator.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GeneratorListed")]
pub(crate) struct Listed {
    /// Its name.
    name: GeneratorName,
    /// The tenant.
    namespace: Namespace,
    /// on; full: as many items are outstanding as may be; failing: it is asked again after a while; paused.
    status: &'static str,
    /// How many items may be outstanding.
    window: u32,
    /// How many are.
    outstanding: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Errors in a row.
    failures: u32,
    /// What went wrong last, until a poll goes well.
    error: Option<String>,
    /// When it is asked next.
    next_poll: Option<Timestamp>,
    /// When it was asked last.
    last_poll: Option<Timestamp>,
    /// When it last had something.
    last_found: Option<Timestamp>,
}

/// Everything about a generator.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Generator")]
pub(crate) struct Whole {
    #[serde(flatten)]
    listed: Listed,
    /// Where its items wait.
    queue: QueueName,
    /// The best and the worst priority of its items.
    priorities: [Priority; 2],
    /// After how many milliseconds it is asked again when it had nothing: at least, and at most.
    idle_ms: [u64; 2],
    /// After how many errors in a row it rests.
    errors_max: u32,
    /// What it does, in words.
    about: Option<String>,
    /// The topics of events that it listens to.
    topics: Vec<String>,
    /// How many keys it is behind the newest row.
    backlog: Option<u64>,
    /// How far it is behind the newest row, in milliseconds.
    behind_ms: Option<u64>,
    /// Whether and why it rests.
    paused: Option<Paused>,
    /// Its own state.
    state: serde_json::Value,
    /// When it was registered.
    created_at: Timestamp,
    /// When its definition was changed last.
    changed_at: Timestamp,
}

/// How a generator is, in a word.
pub(crate) fn status(view: &GeneratorView) -> &'static str {
    let record = &view.record;
    if record.paused.is_some() {
        "paused"
    } else if record.failures > 0 {
        "failing"
    } else if record.counts.outstanding() >= u64::from(view.definition.window) {
        "full"
    } else {
        "on"
    }
}

/// When it is asked next; `None` while it rests, and until it is notified.
pub(crate) fn next_poll(view: &GeneratorView) -> Option<Timestamp> {
    view.record.poll_at.filter(|_| view.record.paused.is_none())
}

impl Listed {
    /// What a listing tells of a generator.
    pub(crate) fn of(view: &GeneratorView) -> Self {
        let (definition, record) = (&view.definition, &view.record);
        Self {
            name: definition.name.clone(),
            namespace: definition.namespace.clone(),
            status: status(view),
            window: definition.window,
            outstanding: record.counts.outstanding(),
            counts: record.counts,
            failures: record.failures,
            error: record.last_error.clone(),
            next_poll: next_poll(view),
            last_poll: record.last_poll,
            last_found: record.last_found,
        }
    }
}

impl Whole {
    /// What is told of a generator.
    pub(crate) fn of(view: &GeneratorView) -> Self {
        let definition = &view.definition;
        let (backlog, behind_ms) = match view.backlog() {
            Some(Backlog::Keys(keys)) => (Some(keys), None),
            Some(Backlog::Time(time)) => (None, Some(millis(time))),
            None => (None, None),
        };
        Self {
            listed: Listed::of(view),
            queue: definition.name.queue(),
            priorities: [definition.best, definition.worst],
            idle_ms: [millis(definition.idle_min), millis(definition.idle_max)],
            errors_max: definition.errors_max,
            about: definition.about.clone(),
            topics: definition.topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
            backlog,
            behind_ms,
            paused: view.record.paused.clone(),
            state: view.state.clone(),
            created_at: view.created_at,
            changed_at: view.changed_at,
        }
    }
}

/// A generator that was paused, resumed or notified.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GeneratorChanged")]
pub(crate) struct Changed {
    /// Whether that changed something.
    pub(crate) changed: bool,
    /// The generator.
    pub(crate) name: GeneratorName,
    /// Whether it rests now.
    pub(crate) paused: bool,
}

/// What became of a generator that was to be removed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GeneratorRemoved")]
pub(crate) struct Removed {
    /// The generator.
    pub(crate) name: GeneratorName,
    /// Whether this call removed it.
    pub(crate) removed: bool,
}
