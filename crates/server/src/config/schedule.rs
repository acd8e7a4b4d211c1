//! `[schedules.NAME]`: one task, when it fires, and policies.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde_json::{Value, json};
use taskwright_core::schedule::ScheduleBuilder;
use taskwright_core::trigger::{Condition, EventFilter, OnEvent, TRIGGER_KEYS, TopicPattern, read_moment};
use taskwright_core::{Kind, Schedule, ScheduleName, Trigger, Zone};

use super::TaskConfig;
use super::reader::Section;
use super::task::job_settings;
use crate::error::Error;
use crate::schedule::check_args;

/// Reads one section; `None`, and told, when it makes no schedule.
pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    tasks: &BTreeMap<String, TaskConfig>,
) -> Option<Schedule> {
    let named = ScheduleName::new(name);
    if let Err(error) = &named {
        section.tell_here(format!("the schedule {name:?}"), error.why(), error.fix());
    }
    let kind = section.parsed("task", "the name of a task", |text| Ok(Kind::new(text)?));
    if !section.has("task") {
        let what = format!("[schedules.{name}] has no `task`");
        section.tell_here(what, "a schedule makes jobs of one task", "add task = \"NAME\"");
    }
    let zone = section.parsed("timezone", "a zone like \"Europe/Berlin\"", |text| Ok(Zone::new(text)?));
    // Without the right clock, times could only be misjudged.
    let is_zone_known = zone.is_some() || !section.has("timezone");
    let triggers = triggers(name, section, zone.as_ref());
    let kind_or_any = kind.clone().or_else(|| Kind::new("any").ok())?;
    let builder = Schedule::builder(named.clone().or_else(|_| ScheduleName::new("any")).ok()?, kind_or_any);
    let builder = policies(builder, section, zone.as_ref());
    let task = kind.as_ref().and_then(|kind| tasks.get(kind.as_str()));
    let builder = job_settings(section).or_of(task).apply(builder);
    let args = section.json("args");
    let has_bad_args = args.is_none() && section.has("args");
    section.finish();
    let (_, kind, triggers) = (named.ok()?, kind?, triggers?);
    if has_bad_args || !is_zone_known {
        return None;
    }
    let args = args.unwrap_or_else(|| "null".to_owned());
    if let Err(error) = check_args(kind.as_str(), &args, task) {
        let report = &error.reports()[0];
        let fix = "say what it lacks in `args`, for instance args = { name = \"{due}\" }";
        section.tell_at("args", report.what.clone(), &report.why, fix);
        return None;
    }
    let builder = triggers.into_iter().fold(builder.args_json(args), ScheduleBuilder::trigger);
    match builder.build() {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            section.tell_here(format!("[schedules.{name}]: {}", error.what()), error.why(), error.fix());
            None
        }
    }
}

/// When it fires; `None`, and told, when that is not said, or not so that it is understood.
fn triggers(name: &str, section: &Section<'_>, zone: Option<&Zone>) -> Option<Vec<Trigger>> {
    let coalesce = section.boolean("coalesce").unwrap_or_default();
    let mut triggers = Vec::new();
    for key in TRIGGER_KEYS {
        for item in section.one_or_more(key) {
            triggers.push(match item.table().filter(|_| key == "event") {
                Some(table) => on_event(&table),
                None => item.read(form(key), |text| Trigger::read(key, text, zone.cloned())),
            });
        }
    }
    for trigger in triggers.iter_mut().flatten() {
        if let Trigger::Event(event) = trigger {
            event.coalesce = coalesce;
        }
    }
    if triggers.is_empty() {
        let fix = "add one or more of every, cron, at, after, daily, monthly and event";
        section.tell_here(format!("[schedules.{name}] does not say when"), "nothing would ever fire it", fix);
        return None;
    }
    if coalesce && !section.has("event") {
        let why = "only events have keys by which they are merged, and there is no `event`";
        section.tell_at(
            "coalesce",
            "`coalesce` without an event".to_owned(),
            why,
            "add an `event`, or leave it out",
        );
        return None;
    }
    triggers.into_iter().collect()
}

/// What stands behind a key.
fn form(key: &str) -> &'static str {
    match key {
        "every" | "after" => "a duration like \"5m\", or a list of them",
        "cron" => "an expression like \"0 8 * * 1-5\", or a list of them",
        "at" => "a time like \"2026-12-24T18:00\", or a list of them",
        "daily" => "a time of day like \"08:00\", or a list of them",
        "monthly" => "a day and a time like \"31 08:00\", or a list of them",
        _ => "a topic like \"order.created\", with conditions or as a table, or a list of them",
    }
}

/// `{ topic = "order.*", where = { total = { gt = 100 }, country = ["DE", "AT"], vip = true } }`.
fn on_event(table: &Section<'_>) -> Option<Trigger> {
    let topic = table.parsed("topic", "a topic like \"order.*\"", |text| Ok(TopicPattern::new(text)?));
    if !table.has("topic") {
        table.tell_here("an event without a `topic`".to_owned(), "it could be any", "add topic = \"NAME\"");
    }
    let conditions = table.table_as_json("where");
    let filter = conditions.map(|fields| filter(&fields)).transpose();
    table.finish();
    match filter {
        Ok(filter) => {
            let filter = filter.unwrap_or_default();
            Some(Trigger::Event(OnEvent { topic: topic?, filter, coalesce: false }))
        }
        Err(error) => {
            let report = &error.reports()[0];
            table.tell_at("where", report.what.clone(), &report.why, &report.fix);
            None
        }
    }
}

/// The comparisons of a [`Condition`].
const COMPARISONS: [&str; 7] = ["eq", "in", "exists", "lt", "le", "gt", "ge"];

fn filter(fields: &serde_json::Map<String, Value>) -> Result<EventFilter, Error> {
    let refuse = |path: &str, why: String| {
        let fix = r#"write { country = "DE", status = ["a", "b"], total = { gt = 100 }, vip = { exists = true } }; there are eq, in, exists, lt, le, gt, ge"#;
        Error::usage(format!("the condition on `{path}`"), why, fix)
    };
    let mut conditions = Vec::new();
    for (path, is) in fields {
        let comparisons = match is {
            Value::Object(comparisons) => comparisons.clone(),
            Value::Array(_) => [("in".to_owned(), is.clone())].into_iter().collect(),
            _ => [("eq".to_owned(), is.clone())].into_iter().collect(),
        };
        for (comparison, value) in comparisons {
            if !COMPARISONS.contains(&comparison.as_str()) {
                return Err(refuse(path, format!("there is no comparison `{comparison}`")));
            }
            let condition = json!({ "path": path, comparison: value });
            let condition: Condition =
                serde_json::from_value(condition).map_err(|error| refuse(path, error.to_string()))?;
            conditions.push(condition);
        }
    }
    Ok(EventFilter::new(conditions)?)
}

fn policies(mut builder: ScheduleBuilder, section: &Section<'_>, zone: Option<&Zone>) -> ScheduleBuilder {
    let moment =
        |key| section.moment(key, "a time like \"2026-12-24T18:00\"", |text| read_moment(text, zone));
    let misfire =
        section.parsed("misfire", "\"skip\", \"once\" or \"all up to 10\"", |text| Ok(text.parse()?));
    let overlap =
        section.parsed("overlap", "\"skip\", \"queue_one\", \"allow\" or \"cancel_previous\"", |text| {
            Ok(text.parse()?)
        });
    if let Some(misfire) = misfire {
        builder = builder.misfire(misfire);
    }
    if let Some(overlap) = overlap {
        builder = builder.overlap(overlap);
    }
    if let Some(jitter) = section.duration("jitter") {
        builder = builder.jitter(jitter);
    }
    if let Some(start) = moment("start") {
        builder = builder.starts_at(start);
    }
    if let Some(end) = moment("end") {
        builder = builder.ends_at(end);
    }
    if let Some(max) = section.whole("max_firings", 1, u32::MAX).and_then(|max| NonZeroU64::new(max.into())) {
        builder = builder.max_firings(max);
    }
    if let Some(owner) = section.parsed("owner", "a name", |text| Ok(text.parse()?)) {
        builder = builder.owner(owner);
    }
    if let Some(enabled) = section.boolean("enabled") {
        builder = builder.enabled(enabled);
    }
    builder
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(section: &str) -> Config {
        Config::parse("taskwright.toml", &format!("[schedules.a]\ntask = \"t\"\n{section}")).unwrap()
    }

    /// What is wrong, each with its place and the text that is pointed at.
    fn problems(text: &str) -> Vec<String> {
        let error = Config::parse("taskwright.toml", text).unwrap_err();
        let told = error.reports().iter().map(|report| {
            let place = report.place.as_ref().unwrap();
            let pointed: String = place.text.chars().skip(place.column - 1).take(place.width).collect();
            format!("{}:{} `{pointed}` {}", place.line, place.column, report.why)
        });
        told.collect()
    }

    #[test]
    fn every_trigger_may_be_there_several_times_and_in_each_form() {
        let config = read(
            "every = [\"5m\", 90]\ncron = '0 8 * * 1-5'\nat = 2026-12-24T18:00:00\nafter = \"1h\"\n\
             daily = 08:00:00\nmonthly = [\"last 03:00\"]\ntimezone = \"Europe/Berlin\"\n\
             event = [\"a.b where n > 1\", { topic = \"c.*\", where = { n = { gt = 1, le = 9 }, s = \"x\", l = [1, 2] } }]\n",
        );
        assert_eq!(
            config.schedules["a"].triggers.describe(),
            "every 5 minutes; every 1 minute 30 seconds; every weekday at 08:00 Europe/Berlin; \
             once at 2026-12-24 18:00 Europe/Berlin; once, 1 hour after registration; every day at 08:00 Europe/Berlin; \
             at 03:00 Europe/Berlin on the last day of every month; on event a.b where n > 1; \
             on event c.* where l in [1,2] and n > 1 and n <= 9 and s = \"x\""
        );
    }

    #[test]
    fn arguments_are_a_table_or_json_and_dates_are_texts() {
        for (args, json) in [
            (
                "{ n = 7, f = 1.5, on = true, at = 2026-01-01, list = [\"{due}\"] }",
                r#"{"at":"2026-01-01","f":1.5,"list":["{due}"],"n":7,"on":true}"#,
            ),
            ("'{\"b\": 1.0,  \"a\": []}'", r#"{"b": 1.0,  "a": []}"#),
            ("[1, 2]", "[1,2]"),
        ] {
            let config = read(&format!("every = \"1m\"\nargs = {args}\n"));
            let schedule = &config.schedules["a"];
            let ours: serde_json::Value = serde_json::from_str(schedule.args.as_str()).unwrap();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(json).unwrap());
        }
    }

    #[test]
    fn the_settings_of_its_task_hold_where_it_says_nothing() {
        let config = Config::parse(
            "taskwright.toml",
            "[schedules.a]\ntask = \"t\"\nevery = \"1m\"\nqueue = \"mine\"\n\
             [tasks.t]\ncommand = \"true\"\nqueue = \"theirs\"\npriority = \"bulk\"\nmax_attempts = 2\ntimeout = 9\n",
        )
        .unwrap();
        let schedule = &config.schedules["a"];
        assert_eq!(schedule.queue.as_str(), "mine");
        assert_eq!(schedule.priority, taskwright_core::Priority::BULK);
        assert_eq!(schedule.max_attempts.unwrap().to_string(), "2");
        assert_eq!(schedule.timeout.unwrap().as_secs(), 9);
    }

    /// NU-X5: an invalid cron expression is refused when it is read, with the place of the fault in the file.
    #[test]
    fn nu_x5_a_fault_in_an_expression_is_pointed_at_within_the_file() {
        assert_eq!(
            problems(
                "[schedules.a]\ntask = \"t\"\ncron = [\"0 8 * * *\", \"0 25 * * *\"]\nmonthly = '31 24:00'\n"
            ),
            [
                "3:25 `25` the hour 25 is not between 0 and 23 (at column 3)",
                "4:15 `24` the hour is not a number from 0 to 23 (at column 4)",
            ]
        );
        assert_eq!(
            problems("[schedules.a]\ntask = \"t\"\nevent = 'order.created where total >> 5'\n"),
            ["3:36 `>` there is no comparison: =, in, exists, missing, <, <=, > or >= (at column 27)"]
        );
    }

    #[test]
    fn what_makes_no_schedule_is_told() {
        let found = problems(
            "[schedules.a]\nevery = \"1m\"\ncrom = \"\"\n[schedules.b]\ntask = \"t\"\n[schedules.c]\ntask = \"t\"\n\
             every = \"1m\"\nstart = \"2027-01-01T00:00\"\nend = 2026-01-01T00:00:00Z\n[schedules.d]\ntask = \"t\"\n\
             every = \"1m\"\nargs = \"{\"\ncoalesce = true\nenabled = 1\n[schedules.e]\ntask = \"exec\"\nevery = \"1m\"\n",
        );
        let whys: Vec<&str> = found.iter().map(|told| told.split("` ").nth(1).unwrap_or(told)).collect();
        let begin = |why: &str| whys.iter().any(|told| told.starts_with(why));
        assert!(begin("a schedule makes jobs of one task"), "{found:#?}");
        assert!(found.iter().any(|told| told.starts_with("3:1 `crom`")), "{found:#?}");
        assert!(begin("nothing would ever fire it"), "{found:#?}");
        assert!(begin("its end is not later than its start"), "{found:#?}");
        assert!(begin("only events have keys"), "{found:#?}");
        assert!(begin("it must be true or false"), "{found:#?}");
        assert!(begin("it is missing"), "{found:#?}");
        assert_eq!(found.len(), 8, "{found:#?}");
    }
}
