//! `webhooks deliveries`.

use clap::Args;
use taskwright_core::WebhookName;
use taskwright_core::webhook::DeliveryEnd;
use taskwright_store::DeliveryView;

use crate::cli::Context;
use crate::cli::value::Limit;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists what was tried.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks deliveries billing
  taskwright webhooks deliveries billing --failed -n 10
  taskwright webhooks deliveries billing --json > deliveries.ndjson

Kept for 7 days ([retention] deliveries). A terminal gets 50 unless -n says
otherwise, a pipe gets all that is kept.")]
pub(super) struct Deliveries {
    /// The endpoint
    name: WebhookName,
    /// Only attempts that did not succeed
    #[arg(long)]
    failed: bool,
    /// How many at most, or `all`
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<Limit>,
}

/// Attempts on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;
/// Attempts that are read at once.
const PAGE: usize = 500;

const COLUMNS: [Column; 7] = [
    Column::new("age", 1).right(),
    Column::new("topic", 2),
    Column::new("attempt", 4).right(),
    Column::new("end", 0),
    Column::new("took", 5).right(),
    Column::new("event", 3),
    Column::new("answer", 1).cut(),
];

impl Deliveries {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let view = super::found(context, &self.name).await?;
        let store = context.store().await?;
        let default = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let mut left = self.limit.map_or(default, |limit| limit.0);
        let (mut before, mut count) = (None, 0);
        while left > 0 {
            let page = store.deliveries(view.generator, before, PAGE).await?;
            before = page.last().map(|oldest| oldest.number);
            let is_last = page.len() < PAGE;
            let wanted = |one: &DeliveryView| !self.failed || one.delivery.end != DeliveryEnd::Delivered;
            let shown: Vec<DeliveryView> = page.into_iter().filter(wanted).take(left).collect();
            (left, count) = (left - shown.len(), count + shown.len());
            print(context, &shown)?;
            if is_last {
                break;
            }
        }
        if count == 0 {
            context.output.note("nothing was tried");
        }
        Ok(Exit::Ok)
    }
}

/// Prints attempts.
pub(super) fn print(context: &Context, tried: &[DeliveryView]) -> Result<(), Error> {
    let now = context.env.now();
    let mut table = Table::new(&COLUMNS);
    for view in tried {
        if context.output.is_json() {
            context.output.json(view)?;
            continue;
        }
        let one = &view.delivery;
        let plain = |text: String| (text, Paint::Plain);
        let paint = match one.end {
            DeliveryEnd::Delivered => Paint::Good,
            DeliveryEnd::Failed => Paint::Warn,
            DeliveryEnd::GaveUp => Paint::Bad,
        };
        let said = [one.error.as_deref(), one.answer.as_deref()].into_iter().flatten().map(text::one_line);
        table.row(vec![
            (text::duration(now.since(one.at)), Paint::Faint),
            plain(one.topic.to_string()),
            plain(one.attempt.to_string()),
            (one.end.as_str().replace('_', " "), paint),
            plain(text::measured(std::time::Duration::from_millis(one.took_ms.into()))),
            plain(one.event.to_string()),
            plain(said.collect::<Vec<_>>().join(": ")),
        ]);
    }
    if !table.is_empty() {
        context.output.table(&mut table)?;
    }
    context.output.flush()
}
