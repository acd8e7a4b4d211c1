//! `generators show`.

use clap::Args;
use taskwright::generator::{Backlog, GeneratorView};
use taskwright_core::{GeneratorName, Timestamp};

use crate::answer::generator::{Whole, next_poll};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Output, Paint};
use crate::text;

/// Shows a generator.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators show webhooks
  taskwright generators show webhooks --json")]
pub(super) struct Show {
    /// The generator
    name: GeneratorName,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let view = super::found(context, &self.name).await?;
        if context.output.is_json() {
            context.output.json(&Whole::of(&view))?;
        } else {
            facts(&context.output, &view, context.env.now())?;
            look::body(&context.output, "State", &view.state.to_string())?;
        }
        Ok(Exit::Ok)
    }
}

fn fact(output: &Output, name: &str, value: impl AsRef<str>) -> Result<(), Error> {
    output.line(format!("  {} {}", output.paint(&format!("{name:<11}"), Paint::Faint), value.as_ref()))
}

fn facts(output: &Output, view: &GeneratorView, now: Timestamp) -> Result<(), Error> {
    let (definition, record) = (&view.definition, &view.record);
    let (status, paint) = super::status(view);
    let name = output.paint(definition.name.as_str(), Paint::Strong);
    output.line(format!("{name}  {}", output.paint(status, paint)))?;
    if let Some(about) = &definition.about {
        fact(output, "about", text::one_line(about))?;
    }
    if !definition.topics.is_empty() {
        let topics: Vec<&str> = definition.topics.iter().map(|topic| topic.as_str()).collect();
        fact(output, "topics", topics.join(", "))?;
    }
    fact(output, "next poll", next_in_words(view, now))?;
    if let Some(paused) = &record.paused {
        let reason = paused.reason.as_ref().map(|reason| format!(": {}", text::one_line(reason)));
        let by = text::one_line(paused.by.as_str());
        fact(
            output,
            "paused",
            format!("{} by {by}{}", text::full(paused.at, now), reason.unwrap_or_default()),
        )?;
    }
    if let Some(error) = &record.last_error {
        let error = text::one_line(error);
        fact(output, "last error", format!("{error} ({} in a row)", record.failures))?;
    }
    for (name, at) in [("last poll", record.last_poll), ("last found", record.last_found)] {
        if let Some(at) = at {
            fact(output, name, text::full(at, now))?;
        }
    }
    match view.backlog() {
        Some(Backlog::Keys(keys)) => fact(output, "backlog", format!("{keys} keys to the newest row"))?,
        Some(Backlog::Time(time)) => {
            fact(output, "backlog", format!("{} to the newest row", text::duration(time)))?;
        }
        None => {}
    }
    let counts = &record.counts;
    fact(output, "outstanding", format!("{} of {} at most", counts.outstanding(), definition.window))?;
    fact(output, "made", format!("{} in {} polls", counts.made, counts.polls))?;
    let ends = [
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.dropped, "dropped"),
        (counts.removed, "removed"),
    ];
    let ends: Vec<String> =
        ends.iter().filter(|(count, _)| *count > 0).map(|(count, end)| format!("{count} {end}")).collect();
    if !ends.is_empty() {
        fact(output, "of these", ends.join(", "))?;
    }
    let (best, worst) = (definition.best, definition.worst);
    let priority = if best == worst { best.to_string() } else { format!("{best} to {worst}") };
    fact(output, "items", format!("queue {}, priority {priority}", definition.name.queue()))?;
    let (min, max) = (text::duration(definition.idle_min), text::duration(definition.idle_max));
    fact(output, "idle", format!("asked again after {min} to {max}"))?;
    if definition.namespace != taskwright_core::Namespace::default() {
        fact(output, "namespace", definition.namespace.as_str())?;
    }
    fact(output, "registered", text::full(view.created_at, now))
}

/// What there is to say about when it is asked next.
fn next_in_words(view: &GeneratorView, now: Timestamp) -> String {
    let name = &view.definition.name;
    if view.record.paused.is_some() {
        return format!("never, until `taskwright generators resume {name}`");
    }
    if view.lease_until.is_some_and(|until| until > now) {
        return "somebody is asking it".to_owned();
    }
    match next_poll(view) {
        None => format!("when it is notified, as by `taskwright generators poll {name}`"),
        Some(_) if super::status(view).0 == "full" => "when items have ended".to_owned(),
        Some(at) => text::full(at, now),
    }
}
