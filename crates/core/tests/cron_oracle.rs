//! Our own reading of cron expressions against one that somebody else wrote.

#[path = "../../../tests/support/oracle.rs"]
mod oracle;

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use taskwright_core::cron::Cron;
use taskwright_core::{Timestamp, Zone};

use crate::oracle::{EXPRESSIONS, OnTheWall, occurrences};

#[test]
fn each_expression_gives_the_times_that_croner_gives() {
    let start: Timestamp = "2023-12-30T22:58:31Z".parse().unwrap();
    for expression in EXPRESSIONS {
        let ours = Cron::new(expression, Zone::utc()).unwrap();
        let mut at = start;
        for expected in occurrences(expression, start).take(300) {
            let found = ours.next_after(at).unwrap();
            assert_eq!(found.to_string(), expected.to_string(), "{expression} after {at}");
            at = found;
        }
    }
}

/// Around each jump of a wall clock, minute by minute: what the rule for skipped and repeated times says, applied to what
/// croner says about the wall clock alone.
#[test]
fn each_minute_around_a_jump_of_the_clock_is_as_the_rule_says() {
    let jumps = [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
        ("Asia/Beirut", "2026-03-28T22:00:00Z"),
        ("Asia/Beirut", "2026-10-24T21:00:00Z"),
    ];
    let expressions = [
        "* * * * *",
        "*/7 * * * *",
        "30 * * * *",
        "45 1 * * *",
        "15 2 * * *",
        "0 0 * * *",
        "30 23 * * *",
        "*/20 2 * * *",
        "* 1-2 * * *",
        "10,40 */2 * * *",
        "0 */3 * * *",
        "0,30 0-3 * * *",
        "5 0-23 * * *",
        "20 2 * * SUN",
        "0 8 30 * *",
        "50 23 L * *",
    ];
    for (zone, jump) in jumps {
        let jump: jiff::Timestamp = jump.parse().unwrap();
        for expression in expressions {
            let ours = Cron::new(expression, Zone::new(zone).unwrap()).unwrap();
            let expected = around_jump(expression, &jiff::tz::TimeZone::get(zone).unwrap(), jump);
            let begin = jump.as_microsecond() - 2 * DAY_US - 1;
            let mut found = Vec::new();
            let mut at = Timestamp::from_micros(begin);
            while let Some(next) =
                ours.next_after(at).filter(|next| next.as_micros() <= jump.as_microsecond() + 2 * DAY_US)
            {
                found.push(next.to_string());
                at = next;
            }
            assert_eq!(found, expected, "{expression} in {zone}");
        }
    }
}

const DAY_US: i64 = 86_400_000_000;
const MINUTE_US: i64 = 60_000_000;

/// The moments of two days before and after a jump, by definition.
fn around_jump(expression: &str, zone: &jiff::tz::TimeZone, jump: jiff::Timestamp) -> Vec<String> {
    let theirs = croner::Cron::from_str(expression).unwrap();
    let fields: Vec<&str> = expression.split(' ').collect();
    let every_hour = ["*", "0-23"].contains(&fields[1]);
    let is_wildcard = every_hour || fields[0].contains('*') || fields[1].contains('*');
    let matches = |shown: DateTime| theirs.is_time_matching(&OnTheWall(shown)).unwrap();
    let moment = |us| jiff::Timestamp::from_microsecond(us).unwrap();
    let shown = |us| zone.to_datetime(moment(us));
    let jump_us = jump.as_microsecond();
    // The wall clock just before the jump, had it gone on: everything up to what it shows after is skipped.
    let gone_on = Offset::to_datetime(zone.to_offset(moment(jump_us - 1)), jump);
    let skipped =
        (0..2 * 1_440).map(|minute| gone_on.checked_add(jiff::Span::new().minutes(minute)).unwrap());
    let is_skipped_time_due = !every_hour && skipped.take_while(|wall| *wall < shown(jump_us)).any(matches);
    (-2 * 1_440..=2 * 1_440)
        .map(|minute| jump_us + minute * MINUTE_US)
        .filter(|us| {
            let is_second_time = *us >= jump_us && shown(*us) < gone_on;
            let is_due = matches(shown(*us)) && (is_wildcard || !is_second_time);
            is_due || (*us == jump_us && is_skipped_time_due)
        })
        .map(|us| Timestamp::from_micros(us).to_string())
        .collect()
}
