//! `schedules next`.

use std::collections::HashMap;

use clap::Args;
use taskwright::schedule::ScheduleStatus;
use taskwright_core::schedule::upcoming;
use taskwright_core::trigger::Trigger;
use taskwright_core::{Schedule, ScheduleName, ScheduleState, Timestamp, TriggerId, Zone};

use super::flags::TriggerFlags;
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Prints when a schedule is due next, or what an expression means.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules next report -n 10
  taskwright schedules next --cron '0 8 * * 1-5' --timezone Europe/Berlin
  taskwright schedules next --monthly '31 08:00' --from 2026-01-01T00:00:00Z

It is what would be due if nothing were paused. With --json a line each:
{\"due\": \"2026-11-27T07:00:00.000000Z\", \"trigger\": \"cron\", \"when\": \"every day at 08:00 Europe/Berlin\"}.")]
pub(super) struct Next {
    /// The schedule
    #[arg(required_unless_present_any = TRIGGERS, conflicts_with_all = TRIGGERS, conflicts_with = "timezone")]
    name: Option<ScheduleName>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    limit: u32,
    /// After this time [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Option<String>,
    #[command(flatten)]
    triggers: TriggerFlags,
}

const TRIGGERS: [&str; 7] = ["every", "cron", "at", "after", "daily", "monthly", "event"];

/// How many are looked for at most.
const COUNT_MAX: i64 = 10_000;

/// What is due, and by which trigger.
type Due = Vec<(Timestamp, TriggerId)>;

impl Next {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let now = context.env.now();
        let from = match &self.from {
            Some(text) => self.triggers.moment("--from", text)?,
            None => now,
        };
        let (schedule, due) = match &self.name {
            Some(name) => self.of_stored(context, name, from).await?,
            None => self.of_flags(context, from)?,
        };
        print(context, &schedule, &due, now)?;
        if due.is_empty() {
            context.output.note(match schedule.has_event_trigger() {
                true => "nothing is due by time: it waits for events",
                false if has_rule_of_its_own(&schedule) => {
                    "when it is due is known to the program that brings its trigger, and to no other"
                }
                false => "nothing is due any more",
            });
        }
        Ok(Exit::Ok)
    }

    fn of_flags(&self, context: &Context, from: Timestamp) -> Result<(Schedule, Due), Error> {
        let name = ScheduleName::new("expression")?;
        let mut builder = Schedule::builder(name, taskwright_core::Kind::new("expression")?);
        for trigger in self.triggers.read()? {
            builder = builder.trigger(trigger);
        }
        let schedule = builder.build()?;
        let due = self.of_new(context, &schedule, from);
        Ok((schedule, due))
    }

    /// As if it were registered at that time.
    fn of_new(&self, context: &Context, schedule: &Schedule, from: Timestamp) -> Due {
        let state = ScheduleState::new(schedule, from);
        upcoming(schedule, &state, from, self.limit as usize, context.app.triggers())
    }

    async fn of_stored(
        &self,
        context: &Context,
        name: &ScheduleName,
        from: Timestamp,
    ) -> Result<(Schedule, Due), Error> {
        if let Some(schedule) = super::only_configured(context, name).await? {
            context.output.note(format!("{name} is not registered yet: as if `up` registered it then"));
            let due = self.of_new(context, &schedule, from);
            return Ok((schedule, due));
        }
        let view = super::found(context, name).await?;
        let custom = context.app.triggers();
        match view.status(context.env.now(), custom) {
            ScheduleStatus::Paused => {
                context.output.note(format!("{name} is paused: none of these fires until it is resumed"));
            }
            ScheduleStatus::Disabled => {
                context.output.note(format!("{name} is not enabled: none of these fires"));
            }
            ScheduleStatus::On | ScheduleStatus::Done => {}
        }
        if let Some(ours) = super::configured(context, name.as_str()).filter(|ours| *ours != view.schedule) {
            let file = &ours.origin;
            context.output.note(format!("{file} says otherwise: that holds from the next start of `up`"));
        }
        let due = view.upcoming(from, self.limit as usize, custom);
        Ok((view.schedule, due))
    }
}

/// Whether some program brings a trigger of it.
fn has_rule_of_its_own(schedule: &Schedule) -> bool {
    schedule.triggers.iter().any(|named| matches!(named.trigger, Trigger::Custom(_)))
}

fn print(context: &Context, schedule: &Schedule, due: &Due, now: Timestamp) -> Result<(), Error> {
    if context.output.is_json() {
        let all = crate::answer::schedule::Due::all(schedule, due);
        return all.iter().try_for_each(|due| context.output.json(due));
    }
    let words: HashMap<&TriggerId, String> =
        schedule.triggers.iter().map(|named| (&named.id, named.trigger.describe())).collect();
    let zone_of = |id: &TriggerId| schedule.triggers.get(id).and_then(|trigger| trigger.zone());
    let has_zones = due.iter().any(|(_, id)| zone_of(id).is_some_and(|zone| !zone.is_utc()));
    let mut columns = vec![Column::new("due", 0)];
    if has_zones {
        columns.push(Column::new("on the wall", 1));
    }
    columns.push(Column::new("from now", 2));
    columns.push(Column::new("trigger", 3).cut());
    let mut table = Table::new(&columns);
    let plain = |text: String| (text, Paint::Plain);
    for (due, id) in due {
        let mut row = vec![plain(precise(*due))];
        if has_zones {
            let wall = |zone: &Zone| format!("{} {zone}", zone.clock(*due));
            row.push(plain(zone_of(id).map(wall).unwrap_or_default()));
        }
        row.push((text::relative(*due, now), Paint::Faint));
        row.push(plain(words.get(id).map_or_else(|| id.to_string(), |words| text::one_line(words))));
        table.row(row);
    }
    if table.is_empty() { Ok(()) } else { context.output.table(&mut table) }
}

/// To the second, or to the millisecond where that is something else.
fn precise(at: Timestamp) -> String {
    let text = text::clock(at);
    match at.as_micros().rem_euclid(1_000_000) / 1_000 {
        0 => text,
        ms => text.replace(" UTC", &format!(".{ms:03} UTC")),
    }
}
