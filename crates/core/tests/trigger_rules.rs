//! When each kind of trigger is due: once, at a rate, by the calendar, and through edits.

use std::sync::Arc;

use taskwright_core::schedule::{PlanLimits, Schedule, ScheduleState, plan};
use taskwright_core::trigger::{CustomTriggers, Trigger, TriggerRule, TriggerState, next_due, next_n};
use taskwright_core::{Error, Timestamp};

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read(key: &str, text: &str) -> Trigger {
    Trigger::read(key, text, None).unwrap()
}

fn schedule(trigger: Trigger) -> Schedule {
    Schedule::builder("s".parse().unwrap(), "k".parse().unwrap()).trigger(trigger).build().unwrap()
}

/// The due times that fire when the schedule is planned at these moments, each with the state that the one before left.
fn fired(schedule: &Schedule, state: &mut ScheduleState, nows: &[&str]) -> Vec<String> {
    let custom = CustomTriggers::default();
    let mut due = Vec::new();
    for now in nows {
        let plan = plan(schedule, state, moment(now), &PlanLimits::new(&custom));
        due.extend(plan.firings.iter().map(|firing| firing.due.to_string()));
        *state = plan.new_state;
    }
    due
}

/// PH-13: a one-time trigger at T is due at T, and after it has run never.
#[test]
fn ph_13_a_one_time_trigger_is_due_once() {
    let at = moment("2026-05-01T12:00:00Z");
    let trigger = read("at", "2026-05-01T12:00:00Z");
    let registered = TriggerState::new(moment("2026-04-01T00:00:00Z"));
    assert_eq!(next_due(&trigger, &registered, at).unwrap(), Some(at));
    let ran = TriggerState { last_due: Some(at), spent: true, fired: 1, ..registered };
    assert_eq!(next_due(&trigger, &ran, at).unwrap(), None);

    let after = read("after", "1h");
    assert_eq!(next_due(&after, &registered, at).unwrap(), Some(moment("2026-04-01T01:00:00Z")));
    assert_eq!(next_due(&after, &ran, at).unwrap(), None);
}

/// PH-13, edited: "never fires twice, even after an edit", and not when it is taken out and put back.
#[test]
fn ph_13_a_one_time_trigger_that_has_fired_does_not_fire_again_after_an_edit() {
    let first = schedule(read("at", "2026-05-01T12:00:00Z"));
    let mut state = ScheduleState::new(&first, moment("2026-04-01T00:00:00Z"));
    assert_eq!(fired(&first, &mut state, &["2026-05-01T12:00:01Z"]).len(), 1);

    let later = schedule(read("at", "2026-06-01T12:00:00Z"));
    let now = moment("2026-05-02T00:00:00Z");
    let mut edited = state.clone().edited(Some(&first), &later, now);
    assert_eq!(fired(&later, &mut edited, &["2026-06-01T12:00:01Z"]), [""; 0]);

    let without = schedule(read("daily", "08:00"));
    let back = state.edited(Some(&first), &without, now).edited(Some(&without), &later, now);
    let mut back = back;
    assert_eq!(fired(&later, &mut back, &["2026-06-01T12:00:01Z"]), [""; 0]);
}

/// PH-14: a daily trigger in UTC over a change of daylight saving elsewhere is due at the same time each day.
#[test]
fn ph_14_a_daily_trigger_in_utc_keeps_its_time_over_a_change_elsewhere() {
    let state = TriggerState::new(moment("2015-03-05T16:17:18Z"));
    let due = next_n(&read("daily", "16:17:18"), &state, state.registered_at, 8).unwrap();
    let expected: Vec<Timestamp> =
        (6..14).map(|day| moment(&format!("2015-03-{day:02}T16:17:18Z"))).collect();
    assert_eq!(due, expected);
}

/// PH-15: a daily trigger at 23:59:59 across the leap second of 2012-06-30 is due at the same time each day.
#[test]
fn ph_15_a_daily_trigger_keeps_its_time_over_a_leap_second() {
    let state = TriggerState::new(moment("2012-06-29T00:00:00Z"));
    let due = next_n(&read("daily", "23:59:59"), &state, state.registered_at, 3).unwrap();
    assert_eq!(
        due,
        [moment("2012-06-29T23:59:59Z"), moment("2012-06-30T23:59:59Z"), moment("2012-07-01T23:59:59Z")]
    );
}

/// PH-16: a daily trigger edited from 06:07:08 to 01:23:45 after three firings goes on the next day at the new time; to a
/// later time as well. No day is lost or doubled.
#[test]
fn ph_16_a_daily_trigger_whose_time_is_edited_neither_loses_nor_doubles_a_day() {
    for (new_time, expected) in
        [("01:23:45", "2026-05-04T01:23:45.000000Z"), ("23:00", "2026-05-04T23:00:00.000000Z")]
    {
        let before = schedule(read("daily", "06:07:08"));
        let mut state = ScheduleState::new(&before, moment("2026-05-01T00:00:00Z"));
        let days = ["2026-05-01T06:07:09Z", "2026-05-02T06:07:09Z", "2026-05-03T06:07:09Z"];
        assert_eq!(fired(&before, &mut state, &days).len(), 3);

        let after = schedule(read("daily", new_time));
        let mut state = state.edited(Some(&before), &after, moment("2026-05-03T12:00:00Z"));
        let hours: Vec<String> =
            (0..48).map(|hour| format!("2026-05-0{}T{:02}:30:00Z", 3 + hour / 24, hour % 24)).collect();
        let hours: Vec<&str> =
            hours.iter().map(String::as_str).filter(|hour| *hour > "2026-05-03T12").collect();
        assert_eq!(fired(&after, &mut state, &hours), [expected]);
    }
}

/// PH-17: a monthly trigger from 31 January 2014 moves back to the last day where there is no 31st, and returns.
#[test]
fn ph_17_a_monthly_trigger_returns_to_its_day_after_a_shorter_month() {
    let state = TriggerState::new(moment("2014-01-31T02:34:56Z"));
    let due = next_n(&read("monthly", "31 02:34:56"), &state, state.registered_at, 26).unwrap();
    let shown: Vec<String> = due.iter().map(|due| due.to_string()[..10].to_owned()).collect();
    assert_eq!(
        shown,
        [
            "2014-02-28",
            "2014-03-31",
            "2014-04-30",
            "2014-05-31",
            "2014-06-30",
            "2014-07-31",
            "2014-08-31",
            "2014-09-30",
            "2014-10-31",
            "2014-11-30",
            "2014-12-31",
            "2015-01-31",
            "2015-02-28",
            "2015-03-31",
            "2015-04-30",
            "2015-05-31",
            "2015-06-30",
            "2015-07-31",
            "2015-08-31",
            "2015-09-30",
            "2015-10-31",
            "2015-11-30",
            "2015-12-31",
            "2016-01-31",
            "2016-02-29",
            "2016-03-31"
        ]
    );
}

/// NU-10: an interval is first due one period after registration, then one period after the last due time however late it
/// was fired.
#[test]
fn nu_10_a_rate_counts_from_the_last_due_time() {
    let every = schedule(read("every", "100ms"));
    let mut state = ScheduleState::new(&every, moment("2026-01-01T00:00:00Z"));
    let due = fired(
        &every,
        &mut state,
        &["2026-01-01T00:00:00.099Z", "2026-01-01T00:00:00.150Z", "2026-01-01T00:00:00.220Z"],
    );
    assert_eq!(due, ["2026-01-01T00:00:00.100000Z", "2026-01-01T00:00:00.200000Z"]);
}

/// PH-X14: a trigger edited to the past fires once at once, whatever the misfire policy, and then goes on.
#[test]
fn ph_x14_a_trigger_edited_to_the_past_fires_once_at_once() {
    let before = schedule(read("cron", "0 8 * * *"));
    let after = Schedule::builder("s".parse().unwrap(), "k".parse().unwrap())
        .trigger(read("cron", "0 * * * *"))
        .misfire("skip".parse().unwrap())
        .build()
        .unwrap();
    let mut state = ScheduleState::new(&before, moment("2026-05-01T00:00:00Z"));
    assert_eq!(fired(&before, &mut state, &["2026-05-01T08:00:00Z"]).len(), 1);

    let mut state = state.edited(Some(&before), &after, moment("2026-05-01T12:30:00Z"));
    let due =
        fired(&after, &mut state, &["2026-05-01T12:30:01Z", "2026-05-01T12:30:02Z", "2026-05-01T13:00:00Z"]);
    assert_eq!(due, ["2026-05-01T12:00:00.000000Z", "2026-05-01T13:00:00.000000Z"]);

    let past = schedule(read("at", "2020-01-01T00:00:00Z"));
    let mut state = ScheduleState::new(&past, moment("2026-05-01T00:00:00Z"));
    let due = fired(&past, &mut state, &["2026-05-01T00:00:00Z", "2026-05-01T00:00:01Z"]);
    assert_eq!(due, ["2020-01-01T00:00:00.000000Z"]);
}

/// An edit that leaves a trigger as it is changes nothing for it.
#[test]
fn an_edit_of_something_else_keeps_the_last_firing() {
    let before = schedule(read("every", "1h"));
    let mut state = ScheduleState::new(&before, moment("2026-05-01T00:00:00Z"));
    assert_eq!(fired(&before, &mut state, &["2026-05-01T01:00:00Z"]).len(), 1);
    let after = Schedule::builder("s".parse().unwrap(), "other".parse().unwrap())
        .trigger(read("daily", "08:00"))
        .trigger(read("every", "1h"))
        .build()
        .unwrap();
    let edited = state.clone().edited(Some(&before), &after, moment("2026-05-01T01:30:00Z"));
    let every = "every".parse().unwrap();
    assert_eq!(edited.triggers[&every], state.triggers[&every]);
}

struct StandingStill;

impl TriggerRule for StandingStill {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(Some(state.base()))
    }
}

/// PH-X14: a rule that gives a time which is not later than the last is an error, and no loop.
#[test]
fn ph_x14_a_rule_that_stands_still_is_an_error_and_no_loop() {
    let mut custom = CustomTriggers::default();
    custom.register("still".parse().unwrap(), |_| Ok(Arc::new(StandingStill)));
    let trigger: Trigger = serde_json::from_str(r#"{"type": "custom", "name": "still"}"#).unwrap();
    let schedule = schedule(trigger);
    let registered = moment("2026-05-01T00:00:00Z");
    let state = ScheduleState::new(&schedule, registered);

    let plan = plan(&schedule, &state, moment("2026-05-02T00:00:00Z"), &PlanLimits::new(&custom));
    let due: Vec<Timestamp> = plan.firings.iter().map(|firing| firing.due).collect();
    assert_eq!(due, [registered], "its first time is no repetition");
    assert!(plan.faults[0].error.is_stuck_trigger(), "{}", plan.faults[0].error);
    assert_eq!(plan.next, None);
    assert!(!plan.done, "somebody has to look at it");
}

#[test]
fn a_rule_that_this_program_does_not_have_is_a_fault_of_its_own_kind() {
    let trigger: Trigger =
        serde_json::from_str(r#"{"type": "custom", "name": "elsewhere", "spec": [1]}"#).unwrap();
    let schedule = schedule(trigger);
    let state = ScheduleState::new(&schedule, moment("2026-05-01T00:00:00Z"));
    let custom = CustomTriggers::default();
    let plan = plan(&schedule, &state, moment("2026-05-02T00:00:00Z"), &PlanLimits::new(&custom));
    assert!(plan.faults[0].error.is_unknown());
    assert!(plan.firings.is_empty() && plan.skipped.is_empty());
    assert_eq!(plan.new_state, state);
}

#[test]
fn the_json_form_is_what_it_was() {
    let forms = [
        ("every", "90s", r#"{"type":"every","period":"1m30s"}"#),
        ("cron", " 0 8 * * 1-5 ", r#"{"type":"cron","expression":"0 8 * * 1-5","zone":"Europe/Berlin"}"#),
        (
            "at",
            "2026-12-24T18:00",
            r#"{"type":"at","at":"2026-12-24T17:00:00.000000Z","zone":"Europe/Berlin"}"#,
        ),
        ("after", "1h", r#"{"type":"after","delay":"1h"}"#),
        ("daily", "8:00", r#"{"type":"daily","time":"08:00","zone":"Europe/Berlin"}"#),
        ("monthly", "last 03:00", r#"{"type":"monthly","day":31,"time":"03:00","zone":"Europe/Berlin"}"#),
        (
            "event",
            "order.* where total >= 1.5 and vip missing",
            r#"{"type":"event","topic":"order.*","filter":[{"path":"total","ge":1.5},{"path":"vip","exists":false}]}"#,
        ),
    ];
    for (key, text, json) in forms {
        let trigger = Trigger::read(key, text, Some("Europe/Berlin".parse().unwrap())).unwrap();
        assert_eq!(serde_json::to_string(&trigger).unwrap(), json);
        assert_eq!(serde_json::from_str::<Trigger>(json).unwrap(), trigger);
    }
    for json in [
        r#"{"type":"every","period":"1ms"}"#,
        r#"{"type":"cron","expression":"0 0 30 2 *"}"#,
        r#"{"type":"daily","time":"08:00","zone":"Mars"}"#,
        r#"{"type":"every","period":"1m","cron":"x"}"#,
        r#"{"type":"fortnightly"}"#,
    ] {
        assert!(serde_json::from_str::<Trigger>(json).is_err(), "{json}");
    }
}
