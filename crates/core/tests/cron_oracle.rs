//! Our own reading of cron expressions against one that somebody else wrote.

use std::cmp::Ordering;
use std::str::FromStr;

use croner::errors::CronError;
use croner::{CivilDateTime, CronDateTime, Resolution};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use taskwright_core::cron::Cron;
use taskwright_core::{Timestamp, Zone};

/// Expressions on whose meaning there is no dispute. Where traditions differ (a star with a step in a day field beside a
/// restriction in the other), ours is tested elsewhere.
const EXPRESSIONS: [&str; 36] = [
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 4 * * *",
    "0 8 * * 1-5",
    "0 8,12,18 * * *",
    "0 9-17 * * MON-FRI",
    "15,45 */3 * * *",
    "5-59/10 2 * * *",
    "10-40/15 6-8 * * *",
    "0 0 1 * *",
    "0 0 31 * *",
    "0 0 29 2 *",
    "0 0 1 1 *",
    "0 0 L * *",
    "0 0 L 2 *",
    "0 0 15W * *",
    "0 0 1W * *",
    "0 0 LW * *",
    "0 0 * * 0",
    "0 0 * * 7",
    "0 0 * * SUN,WED",
    "0 0 * * 5L",
    "0 0 * * 5#2",
    "0 0 * * MON#1",
    "0 0 * * FRI#5",
    "0 0 13 * 5",
    "0 12 1,15 * 1",
    "0 0 1 JAN,JUL *",
    "0 0 1 */3 *",
    "59 23 28-31 * *",
    "*/15 * * * * *",
    "30 */20 * * * *",
    "0 0 6 * 6-8 2",
    "0,59 59 23 31 12 *",
];

#[test]
fn each_expression_gives_the_times_that_croner_gives() {
    let start: Timestamp = "2023-12-30T22:58:31Z".parse().unwrap();
    for expression in EXPRESSIONS {
        let ours = Cron::new(expression, Zone::utc()).unwrap();
        let theirs = croner::Cron::from_str(expression).unwrap();
        let mut at = start;
        for _ in 0..300 {
            let expected = theirs.find_next_occurrence(&OnTheWall::of(at), false).unwrap().moment();
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

/// A wall clock in UTC, as croner asks for it.
#[derive(Clone)]
struct OnTheWall(DateTime);

impl OnTheWall {
    fn of(at: Timestamp) -> Self {
        Self(Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(at.as_micros()).unwrap()))
    }

    fn moment(&self) -> Timestamp {
        Timestamp::from_micros(Offset::UTC.to_timestamp(self.0).unwrap().as_microsecond())
    }
}

impl CronDateTime for OnTheWall {
    fn to_civil(&self) -> CivilDateTime {
        let [month, day, hour, minute, second] =
            [self.0.month(), self.0.day(), self.0.hour(), self.0.minute(), self.0.second()]
                .map(|part| part as u32);
        CivilDateTime::from_ymd_hms(self.0.year().into(), month, day, hour, minute, second).unwrap()
    }

    fn civil_weekday(&self) -> croner::Weekday {
        use croner::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let days = [Sunday, Monday, Tuesday, Wednesday, Thursday, Friday, Saturday];
        days[self.0.weekday().to_sunday_zero_offset() as usize]
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let [month, day, hour, minute, second] =
            [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(|part| part as i8);
        let shown = DateTime::new(civil.year() as i16, month, day, hour, minute, second, 0).unwrap();
        Ok(Resolution::Single(Self(shown)))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(jiff::Span::new().try_seconds(seconds).ok()?).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
