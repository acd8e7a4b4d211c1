//! `schedules show`.

use std::time::Duration;

use clap::Args;
use taskwright::schedule::{ScheduleStatus, ScheduleView};
use taskwright_core::schedule::Origin;
use taskwright_core::{Schedule, ScheduleName, State, Timestamp};
use taskwright_store::FiringView;

use super::history;
use crate::answer::schedule::{FIRINGS, Whole, last_fired, next_due, state};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Output, Paint};
use crate::text;

/// Shows a schedule.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules show tick
  taskwright schedules show tick --json")]
pub(super) struct Show {
    /// The schedule
    name: ScheduleName,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let namespace = context.namespace_or_default();
        if let Some(schedule) = super::only_configured(context, &self.name).await? {
            return not_registered(context, &schedule);
        }
        let mut view = super::found(context, &self.name).await?;
        // What has ended since somebody last looked is not open.
        let states = context.store().await?.states(view.state.open.clone()).await?;
        let mut states = states.into_iter();
        let is_open = |state: Option<State>| state.is_some_and(|state| !state.is_terminal());
        view.state.open.retain(|_| states.next().is_some_and(is_open));
        let firings = super::client(context).await?.firings(&namespace, &self.name, None, FIRINGS).await?;
        let now = context.env.now();
        let status = view.status(now, context.app.triggers());
        if context.output.is_json() {
            context.output.json(&Whole::of(view, firings, context.app.triggers(), now))?;
        } else {
            facts(context, &view, status, &firings)?;
            look::body(&context.output, "Arguments", view.schedule.args.as_str())?;
            if !firings.is_empty() {
                look::heading(&context.output, "Firings")?;
                history::print(context, &view, &firings, "  ")?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// What is only in the config file.
fn not_registered(context: &Context, schedule: &Schedule) -> Result<Exit, Error> {
    let output = &context.output;
    if output.is_json() {
        output.json(&Whole::not_registered(schedule))?;
    } else {
        title(output, schedule, ("new", Paint::Warn))?;
        definition(output, schedule, context.env.now())?;
        look::body(output, "Arguments", schedule.args.as_str())?;
    }
    output.note(format!("{} is not registered yet: `taskwright up` registers it", schedule.name));
    Ok(Exit::Ok)
}

/// The state of a schedule in a word, and its colour.
pub(super) const fn painted(status: ScheduleStatus) -> (&'static str, Paint) {
    let paint = match status {
        ScheduleStatus::On => Paint::Good,
        ScheduleStatus::Paused => Paint::Warn,
        ScheduleStatus::Disabled | ScheduleStatus::Done => Paint::Faint,
    };
    (state(status), paint)
}

fn title(output: &Output, schedule: &Schedule, (state, paint): (&str, Paint)) -> Result<(), Error> {
    let name = output.paint(schedule.name.as_str(), Paint::Strong);
    output.line(format!("{name}  {}", output.paint(state, paint)))
}

fn fact(output: &Output, name: &str, value: String) -> Result<(), Error> {
    output.line(format!("  {} {value}", output.paint(&format!("{name:<10}"), Paint::Faint)))
}

fn facts(
    context: &Context,
    view: &ScheduleView,
    status: ScheduleStatus,
    firings: &[FiringView],
) -> Result<(), Error> {
    let (output, now) = (&context.output, context.env.now());
    let (schedule, state) = (&view.schedule, &view.state);
    title(output, schedule, painted(status))?;
    fact(output, "next", next_in_words(context, view, status))?;
    if let Some(at) = last_fired(firings) {
        fact(output, "last", text::full(at, now))?;
    }
    let max = schedule.max_firings.map(|max| format!(" of {max}")).unwrap_or_default();
    fact(output, "fired", format!("{}{max} by itself", times(state.fired)))?;
    if let Some((newest, others)) = state.open.split_last() {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        fact(output, "open job", format!("{newest}{more}"))?;
    }
    if let Some(queued) = &state.queued {
        let due = text::clock(queued.due);
        fact(output, "waits", format!("the one due {due}, until the job before it is over"))?;
    }
    definition(output, schedule, now)?;
    fact(output, "registered", text::full(view.created_at, now))?;
    if view.changed_at != view.created_at {
        fact(output, "changed", text::full(view.changed_at, now))?;
    }
    Ok(())
}

/// What there is to say about when it fires next.
fn next_in_words(context: &Context, view: &ScheduleView, status: ScheduleStatus) -> String {
    let name = &view.schedule.name;
    match (status, next_due(view, status, context.app.triggers(), context.env.now())) {
        (ScheduleStatus::Done, _) => "nothing: it is done".to_owned(),
        (ScheduleStatus::Disabled, _) => "nothing: its definition says `enabled = false`".to_owned(),
        (ScheduleStatus::Paused, _) => format!("nothing, until `taskwright schedules resume {name}`"),
        (ScheduleStatus::On, Some(next)) => text::full(next, context.env.now()),
        (ScheduleStatus::On, None) => "when an event arrives".to_owned(),
    }
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn definition(output: &Output, schedule: &Schedule, now: Timestamp) -> Result<(), Error> {
    fact(output, "task", schedule.kind.to_string())?;
    let is_one = schedule.triggers.iter().len() == 1;
    for named in &schedule.triggers {
        let when = text::one_line(&named.trigger.describe());
        fact(output, "when", if is_one { when } else { format!("{when}  ({})", named.id) })?;
    }
    let mut policies = format!("misfire {}, overlap {}", schedule.misfire, schedule.overlap);
    if schedule.jitter > Duration::ZERO {
        policies.push_str(&format!(", jitter up to {}", text::measured(schedule.jitter)));
    }
    fact(output, "policies", policies)?;
    for (name, at) in [("from", schedule.window.start()), ("until", schedule.window.end())] {
        if let Some(at) = at {
            fact(output, name, text::full(at, now))?;
        }
    }
    let mut jobs = format!("queue {}, priority {}", schedule.queue, schedule.priority);
    if let Some(max) = schedule.max_attempts {
        jobs.push_str(&format!(", {max} attempts at most"));
    }
    if let Some(backoff) = schedule.backoff {
        jobs.push_str(&format!(", back-off {backoff}"));
    }
    if let Some(timeout) = schedule.timeout {
        jobs.push_str(&format!(", at most {} each", text::duration(timeout)));
    }
    fact(output, "jobs", jobs)?;
    if let Some(owner) = &schedule.owner {
        fact(output, "owner", text::one_line(owner.as_str()))?;
    }
    if schedule.namespace != taskwright_core::Namespace::default() {
        fact(output, "namespace", schedule.namespace.to_string())?;
    }
    fact(
        output,
        "comes from",
        match &schedule.origin {
            Origin::Code => "a program".to_owned(),
            Origin::Cli => "the command line".to_owned(),
            Origin::Config { file } => text::one_line(file),
            Origin::Principal { by } => format!("{by}, as long as it may"),
        },
    )
}
