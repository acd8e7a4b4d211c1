//! `bulk show`.

use clap::Args;
use taskwright::bulk::BulkView;
use taskwright_core::{JobId, State, Timestamp};

use super::far;
use crate::answer::bulk::Whole;
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Output, Paint};
use crate::text;

/// Shows a bulk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk show ID
  taskwright bulk show ID --json")]
pub(super) struct Show {
    /// The parent of the bulk
    id: JobId,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let view = super::found(context, self.id).await?;
        if context.output.is_json() {
            context.output.json(&Whole::of(&view))?;
        } else {
            facts(&context.output, &view, context.env.now())?;
            look::body(&context.output, "Parameters", &view.definition.params.to_string())?;
        }
        Ok(Exit::Ok)
    }
}

fn fact(output: &Output, name: &str, value: impl AsRef<str>) -> Result<(), Error> {
    output.line(format!("  {} {}", output.paint(&format!("{name:<11}"), Paint::Faint), value.as_ref()))
}

fn facts(output: &Output, view: &BulkView, now: Timestamp) -> Result<(), Error> {
    let (parent, tally, definition) = (&view.parent, &view.tally, &view.definition);
    let id = output.paint(&parent.id.to_string(), Paint::Strong);
    output.line(format!("{id}  {} {}", definition.kind, parent.state))?;
    if let Some(error) = &parent.error {
        fact(output, "reason", text::one_line(error))?;
    }
    fact(output, "settled", far(tally))?;
    let ends = [
        (tally.completed, "completed"),
        (tally.failed, "failed"),
        (tally.cancelled, "cancelled"),
        (tally.dropped, "dropped"),
        (tally.removed, "removed"),
        (tally.made.saturating_sub(tally.settled()), "outstanding"),
    ];
    let ends: Vec<String> =
        ends.iter().filter(|(count, _)| *count > 0).map(|(count, end)| format!("{count} {end}")).collect();
    if !ends.is_empty() {
        fact(output, "of these", ends.join(", "))?;
    }
    if tally.refused > 0 {
        let trouble = parent.progress.as_ref().and_then(|progress| progress.message.as_deref());
        let newest = trouble.map(|trouble| format!("; the newest: {}", text::one_line(trouble)));
        let many = text::count(usize::try_from(tally.refused).unwrap_or(usize::MAX), "item");
        fact(output, "not made", format!("{many}, counted as failed{}", newest.unwrap_or_default()))?;
    }
    fact(output, "on failure", definition.on_failure.to_string())?;
    if let Some(author) = &definition.author {
        fact(output, "author", text::one_line(author.as_str()))?;
    }
    if let Some(authority) = &definition.authority {
        fact(output, "by rights of", format!("{authority}, asked again before each part"))?;
    }
    if let Some(generator) = &view.generator {
        let record = &generator.record;
        if let Some(paused) = &record.paused {
            let reason = paused.reason.as_ref().map(|reason| format!(": {}", text::one_line(reason)));
            let by = text::one_line(paused.by.as_str());
            let told = format!("{} by {by}{}", text::full(paused.at, now), reason.unwrap_or_default());
            fact(output, "paused", told)?;
        }
        if let Some(error) = &record.last_error {
            fact(output, "last error", format!("{} ({} in a row)", text::one_line(error), record.failures))?;
        }
        fact(
            output,
            "window",
            format!("{} at a time, priority {}", generator.definition.window, parent.priority),
        )?;
    }
    if tally.failed > tally.refused && parent.state != State::Blocked {
        let retry = format!("`taskwright bulk retry {}` runs again what failed", parent.id);
        fact(output, "failed", retry)?;
    }
    fact(output, "created", text::full(parent.created_at, now))?;
    match parent.ended_at {
        Some(at) => fact(output, "ended", text::full(at, now)),
        None => Ok(()),
    }
}
