//! `events`: say that something happened, and look at what was said.

use clap::{Args, Subcommand};
use taskwright::Event;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::{Args as Payload, EventId, Namespace, Topic};
use taskwright_store::StoredEvent;

use super::value::Limit;
use super::{Context, enqueue};
use crate::answer::event::{Emitted, Listed};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Emits events and looks at them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright events emit order.paid --payload '{\"order\": 4711}'
  taskwright events list")]
pub(super) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say that something happened, and print the id of the event
    Emit(Emit),
    /// List events, the newest first
    List(List),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright events emit order.paid --payload '{\"order\": 4711}' --key 4711

Schedules whose --event matches are offered it once. It is kept when no `up`
is there, and the same --id is stored once.")]
struct Emit {
    /// What it is about, like order.paid
    topic: Topic,
    /// What it carries: JSON, @FILE or `-` for standard input
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// What it is about more closely: events of one key may be merged
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// An id of your own, so that emitting twice is emitting once
    #[arg(long, value_name = "UUID")]
    id: Option<EventId>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright events list --topic order.paid -n 10
  taskwright events list --json > events.ndjson

A terminal gets 50 unless -n says otherwise, a pipe gets all that is kept.")]
struct List {
    /// Only those about this
    #[arg(long, value_name = "TOPIC")]
    topic: Option<Topic>,
    /// How many at most, or `all`
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<Limit>,
}

/// Events on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;

/// Events that are read at once.
const PAGE: usize = 500;

const COLUMNS: [Column; 6] = [
    Column::new("topic", 0),
    Column::new("key", 2),
    Column::new("age", 1).right(),
    Column::new("delivered", 4),
    Column::new("id", 5),
    Column::new("payload", 3).cut(),
];

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Emit(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
        }
    }
}

impl Emit {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let mut event = Event::new(self.topic.as_str()).namespace(context.namespace_or_default().as_str());
        if let Some(given) = &self.payload {
            let bytes = enqueue::text_of_flag(context, "--payload", given, ARGS_BYTES_MAX)?;
            let payload = Payload::from_json(bytes);
            event = event.raw_payload(payload.map_err(|error| {
                let fix = "pass one JSON value, for instance --payload '{\"order\": 7}'";
                Error::usage("the contents of --payload", error.why(), fix)
            })?);
        }
        if let Some(key) = self.key {
            event = event.key(key);
        }
        if let Some(id) = self.id {
            event = event.id(id);
        }
        // Checked before the store is made for it.
        event.clone().into_new(&context.env)?;
        let id = context.client_or_new().await?.emit(event).await?;
        if context.output.is_json() {
            context.output.json(&Emitted { id })?;
        } else {
            context.output.line(id.to_string())?;
        }
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let default = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let mut left = self.limit.map_or(default, |limit| limit.0);
        let mut table = Table::new(&COLUMNS);
        let (mut before, mut is_first) = (None, true);
        loop {
            let wanted = left.min(PAGE);
            let page = store.events(context.namespace.clone(), self.topic.clone(), before, wanted).await?;
            if page.is_empty() && is_first {
                context.output.note("no events");
            }
            print(context, &mut table, &page)?;
            is_first = false;
            left -= page.len();
            before = page.last().map(|oldest| oldest.number);
            if page.len() < wanted || left == 0 {
                break;
            }
        }
        if left == 0
            && !store.events(context.namespace.clone(), self.topic.clone(), before, 1).await?.is_empty()
        {
            context.output.note("there are more: -n N or -n all");
        }
        Ok(Exit::Ok)
    }
}

fn print(context: &Context, table: &mut Table, events: &[StoredEvent]) -> Result<(), Error> {
    let now = context.env.now();
    for stored in events {
        let event = &stored.event;
        if context.output.is_json() {
            context.output.json(&Listed::of(stored)?)?;
            continue;
        }
        let topic = match event.namespace == Namespace::default() {
            true => event.topic.to_string(),
            false => format!("{}/{}", event.namespace, event.topic),
        };
        let plain = |text: String| (text, Paint::Plain);
        let delivered = if stored.delivered { ("yes", Paint::Good) } else { ("not yet", Paint::Warn) };
        let payload = if event.payload.as_str() == "null" { "" } else { event.payload.as_str() };
        table.row(vec![
            plain(topic),
            plain(event.key.as_deref().map(text::one_line).unwrap_or_default()),
            (text::duration(now.since(stored.at)), Paint::Faint),
            (delivered.0.to_owned(), delivered.1),
            plain(event.id.to_string()),
            plain(text::one_line(payload)),
        ]);
    }
    if !table.is_empty() {
        context.output.table(table)?;
    }
    context.output.flush()
}
