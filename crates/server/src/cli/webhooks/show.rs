//! `webhooks show`.

use clap::Args;
use taskwright_core::webhook::{Backlog, Order, RETRIES_MAX};
use taskwright_core::{Timestamp, WebhookName};

use super::deliveries;
use crate::answer::webhook::{RETRIES_SEEN, Whole};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Output, Paint};
use crate::text;

/// Shows an endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks show billing
  taskwright webhooks show billing --json

The secret is never shown: `webhooks rotate` gives a new one.")]
pub(super) struct Show {
    /// The endpoint
    name: WebhookName,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let whole = super::whole(context, &self.name).await?;
        if context.output.is_json() {
            context.output.json(&whole)?;
            return Ok(Exit::Ok);
        }
        let now = context.env.now();
        print_facts(&context.output, &whole, now)?;
        let Whole { gone_max: gone, retries, next_retry, deliveries: tried, .. } = whole;
        let lost = if gone > 0 { format!("; {gone} of these are not kept any more") } else { String::new() };
        let backlog = whole.listed.backlog_max;
        fact(&context.output, "backlog", format!("{backlog} events at most{lost}"))?;
        if let Some(next) = next_retry {
            let most = if retries == RETRIES_SEEN { " or more" } else { "" };
            let next = text::full(next, now);
            fact(&context.output, "retries", format!("{retries}{most}, the next {next}"))?;
        }
        if let Some(at) = whole.listed.missed_at {
            let missed = whole.listed.missed_max;
            let at = text::full(at, now);
            let why = "were not kept until it could be told of them ([retention] events)";
            fact(&context.output, "missed", format!("{missed} events at most {why}, last {at}"))?;
        }
        if !tried.is_empty() {
            look::heading(&context.output, "Tried last")?;
            deliveries::print(context, &tried)?;
        }
        Ok(Exit::Ok)
    }
}

fn fact(output: &Output, name: &str, value: impl AsRef<str>) -> Result<(), Error> {
    output.line(format!("  {} {}", output.paint(&format!("{name:<11}"), Paint::Faint), value.as_ref()))
}

fn print_facts(output: &Output, whole: &Whole, now: Timestamp) -> Result<(), Error> {
    let view = &whole.listed;
    let (status, paint) = (view.status.as_str(), super::painted(&view.status));
    output.line(format!(
        "{}  {}",
        output.paint(view.name.as_str(), Paint::Strong),
        output.paint(status, paint)
    ))?;
    fact(output, "url", text::one_line(&view.url))?;
    let topics: Vec<&str> = view.topics.iter().map(|topic| topic.as_str()).collect();
    fact(output, "topics", topics.join(", "))?;
    if let Some(disabled) = &view.disabled {
        let reason = disabled.reason.as_ref().map(|reason| format!(": {}", text::one_line(reason)));
        let what = match disabled.backlog {
            Backlog::Park => "parked",
            Backlog::Drop => "dropped",
        };
        let by = text::one_line(disabled.by.as_str());
        let at = text::full(disabled.at, now);
        fact(
            output,
            "disabled",
            format!("{at} by {by}{}; the backlog is {what}", reason.unwrap_or_default()),
        )?;
    }
    if let Some(since) = view.failing_since {
        fact(output, "failing", format!("since {}; one event is tried every 5 min", text::full(since, now)))?;
    }
    if view.full {
        let name = &view.name;
        let fix =
            format!("mend the receiver, or forget all with `taskwright webhooks disable {name} --drop`");
        let what = format!("{RETRIES_MAX} events wait to be tried again, and no new one is sent");
        fact(output, "full", format!("{what}: {fix}"))?;
    }
    if let Some(paused) = &whole.paused {
        let reason = paused.reason.as_ref().map(|reason| format!(": {}", text::one_line(reason)));
        let name = &view.name;
        let resume = format!("`taskwright generators resume webhook:{name}`");
        fact(output, "paused", format!("until {resume}{}", reason.unwrap_or_default()))?;
    }
    let order = match view.order {
        Order::Free => "events that fail are overtaken",
        Order::Key => "events of one key wait for each other",
    };
    fact(
        output,
        "requests",
        format!(
            "{} at a time, {} each; {order}",
            view.in_flight,
            text::duration(std::time::Duration::from_millis(view.timeout_ms))
        ),
    )?;
    if view.allow_private {
        fact(output, "address", "may be private")?;
    }
    if let Some(until) = view.old_secret_until.filter(|until| now < *until) {
        fact(output, "secrets", format!("two, the old one until {}", text::full(until, now)))?;
    }
    if let Some(error) = &whole.error {
        fact(output, "last error", text::one_line(error))?;
    }
    if view.namespace != taskwright_core::Namespace::default() {
        fact(output, "namespace", view.namespace.as_str())?;
    }
    fact(output, "added", text::full(view.created_at, now))
}
