//! `webhooks redeliver`.

use std::collections::HashSet;

use clap::Args;
use taskwright::webhook::WebhookView;
use taskwright_core::limit::EMIT_EVENTS_MAX;
use taskwright_core::webhook::DeliveryEnd;
use taskwright_core::{EventId, Timestamp, WebhookName};

use crate::answer::webhook::Redelivered;
use crate::cli::Context;
use crate::cli::value::Moment;
use crate::error::{Error, Exit};
use crate::text;

/// Delivers events again, or for the first time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks redeliver billing 01890000-0000-7000-8000-000000000000
  taskwright webhooks redeliver billing --after 2h --failed
  taskwright webhooks redeliver billing --after 2026-11-24T18:00:00Z --yes

Events are delivered beside all others, whatever became of them before, and
under the same id: receivers can tell.")]
pub(super) struct Redeliver {
    /// The endpoint
    name: WebhookName,
    /// The events
    #[arg(value_name = "EVENT", conflicts_with_all = ["after", "before", "failed"])]
    events: Vec<EventId>,
    /// All of its topics that were emitted at or after this time, or this long ago
    #[arg(long, value_name = "T", required_unless_present = "events", allow_hyphen_values = true)]
    after: Option<Moment>,
    /// And before this time
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    before: Option<Moment>,
    /// Of these only those that were tried and have not been delivered
    #[arg(long)]
    failed: bool,
    /// Do not ask, however many there are
    #[arg(long, short)]
    yes: bool,
}

/// Events that are redelivered without asking.
const ASK_ABOVE: usize = 20;
/// Rows that are read at once.
const PAGE: usize = 500;

impl Redeliver {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let view = super::found(context, &self.name).await?;
        let now = context.env.now();
        let events = match self.after {
            None => self.events.clone(),
            Some(after) => {
                let from = after.resolve(now);
                let to = self.before.map_or(Timestamp::MAX, |before| before.resolve(now));
                match self.failed {
                    true => undelivered(context, &view, from, to).await?,
                    false => of_topics(context, &view, from, to).await?,
                }
            }
        };
        if events.len() > ASK_ABOVE && !self.yes {
            let question =
                format!("deliver {} to {} again? [y/N] ", text::count(events.len(), "event"), self.name);
            if !context.output.can_ask() {
                return Err(Error::usage(
                    format!("redelivering {}", text::count(events.len(), "event")),
                    format!("more than {ASK_ABOVE} need a yes, and there is nobody to ask"),
                    "pass --yes",
                ));
            }
            if !matches!(context.ask(&question)?.trim(), "y" | "Y" | "yes") {
                return Err(Error::operational("redelivering", "you said no", "nothing was changed"));
            }
        }
        let webhooks = super::client(context).await?;
        let mut unknown = Vec::new();
        let mut done = 0;
        for part in events.chunks(EMIT_EVENTS_MAX) {
            let found = webhooks.redeliver(&view.namespace, &self.name, part.to_vec()).await?;
            done += found.iter().filter(|found| **found).count();
            unknown.extend(part.iter().zip(found).filter(|(_, found)| !found).map(|(id, _)| *id));
        }
        if context.output.is_json() {
            let name = self.name.clone();
            context.output.json(&Redelivered { events: done, name, unknown: unknown.clone() })?;
        } else {
            context.output.line(format!("{}  {} to be delivered", self.name, text::count(done, "event")))?;
        }
        match unknown.first() {
            None => Ok(Exit::Ok),
            Some(first) => Err(Error::operational(
                format!("the event {first}"),
                match unknown.len() {
                    1 => "there is no such event in this namespace".to_owned(),
                    more => format!("it and {} others are not there in this namespace", more - 1),
                },
                "see them with `taskwright events list`; events are kept for 7 days by default",
            )),
        }
    }
}

/// The events of the topics of an endpoint that were emitted within that time, the oldest first.
async fn of_topics(
    context: &Context,
    view: &WebhookView,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<EventId>, Error> {
    let store = context.store().await?;
    let (mut before, mut found) = (None, Vec::new());
    loop {
        let page = store.events(Some(view.namespace.clone()), None, before, PAGE).await?;
        before = page.last().map(|oldest| oldest.number);
        let is_over = page.len() < PAGE || page.iter().all(|stored| stored.at < from);
        let wanted = page.into_iter().filter(|stored| (from..to).contains(&stored.at));
        let wanted = wanted.filter(|stored| view.endpoint.topics.has(&stored.event.topic));
        found.extend(wanted.map(|stored| stored.event.id));
        if is_over {
            found.reverse();
            return Ok(found);
        }
    }
}

/// The events that were tried within that time, and not delivered then or since; the oldest first.
async fn undelivered(
    context: &Context,
    view: &WebhookView,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<EventId>, Error> {
    let store = context.store().await?;
    let (mut before, mut delivered, mut found) = (None, HashSet::new(), Vec::new());
    loop {
        let page = store.deliveries(view.generator, before, PAGE).await?;
        before = page.last().map(|oldest| oldest.number);
        let is_over = page.len() < PAGE || page.iter().all(|one| one.delivery.at < from);
        for one in page.into_iter().map(|view| view.delivery) {
            let is_new = one.end == DeliveryEnd::Delivered;
            // Whatever was tried later was looked at before.
            if delivered.insert(one.event) && !is_new && (from..to).contains(&one.at) {
                found.push(one.event);
            }
        }
        if is_over {
            found.reverse();
            return Ok(found);
        }
    }
}
