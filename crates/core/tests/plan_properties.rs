//! What holds for every schedule on every clock.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use taskwright_core::schedule::{Misfire, PlanLimits, Schedule, ScheduleState, plan};
use taskwright_core::trigger::{CustomTriggers, Trigger, TriggerState, next_n};
use taskwright_core::{Timestamp, Zone};

fn zone() -> impl Strategy<Value = Zone> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Pacific/Apia",
    ])
    .prop_map(|name| Zone::new(name).unwrap())
}

fn field(low: u8, high: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => (low..=high).prop_map(|number| number.to_string()),
        1 => (2..=high).prop_map(|step| format!("*/{step}")),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn cron() -> impl Strategy<Value = Trigger> {
    let time = (prop_oneof![4 => Just("0".to_owned()), 1 => field(0, 59)], field(0, 59), field(0, 23));
    (time, field(1, 28), field(1, 12), field(0, 7), zone()).prop_map(
        |((second, minute, hour), day, month, weekday, zone)| {
            Trigger::read("cron", &format!("{second} {minute} {hour} {day} {month} {weekday}"), Some(zone))
                .unwrap()
        },
    )
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let time = || (0..24_u8, 0..60_u8).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
    prop_oneof![
        4 => cron(),
        2 => (1..100_000_u64).prop_map(|seconds| Trigger::read("every", &format!("{seconds}s"), None).unwrap()),
        1 => (time(), zone()).prop_map(|(time, zone)| Trigger::read("daily", &time, Some(zone)).unwrap()),
        1 => (1..=31_u8, time(), zone())
            .prop_map(|(day, time, zone)| Trigger::read("monthly", &format!("{day} {time}"), Some(zone)).unwrap()),
        1 => (0..1_000_000_u64).prop_map(|seconds| Trigger::read("after", &format!("{seconds}s"), None).unwrap()),
    ]
}

/// Moments around 2011 to 2027, so that every zone's jumps are among them.
fn moment() -> impl Strategy<Value = Timestamp> {
    (1_293_840_000_i64..1_830_000_000).prop_map(|second| Timestamp::from_micros(second * 1_000_000))
}

fn misfire() -> impl Strategy<Value = Misfire> {
    prop_oneof![
        Just(Misfire::Skip),
        Just(Misfire::Once),
        (1..50_u32).prop_map(|at_most| Misfire::all(at_most).unwrap()),
        Just(Misfire::all(10_000).unwrap()),
    ]
}

fn schedule(triggers: Vec<Trigger>, misfire: Misfire) -> Schedule {
    let builder = Schedule::builder("s".parse().unwrap(), "k".parse().unwrap()).misfire(misfire);
    triggers.into_iter().fold(builder, |builder, trigger| builder.trigger(trigger)).build().unwrap()
}

/// Steps of a clock in seconds, mostly ahead, sometimes far, sometimes back.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step =
        prop_oneof![4 => 0..120_i64, 2 => 0..100_000_i64, 1 => -100_000..0_i64, 1 => 0..20_000_000_i64];
    prop::collection::vec(step, 1..12)
}

fn moved(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros() + seconds * 1_000_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn due_times_strictly_increase(trigger in trigger(), start in moment()) {
        let due = next_n(&trigger, &TriggerState::new(start), start, 50).unwrap();
        prop_assert!(due.iter().all(|due| *due > start || matches!(trigger, Trigger::After(_))));
        prop_assert!(due.windows(2).all(|pair| pair[0] < pair[1]), "{due:?}");
    }

    /// Where a calendar is asked from does not matter: no due time is found from one moment and missed from another.
    #[test]
    fn the_next_of_a_cron_is_the_same_from_anywhere_before_it(trigger in cron(), start in moment(), back in 0..200_000_i64) {
        let Trigger::Cron(cron) = trigger else { unreachable!() };
        let due = cron.next_after(start).unwrap();
        prop_assert_eq!(cron.next_after(Timestamp::from_micros(due.as_micros() - 1)), Some(due));
        let mut at = moved(start, -back);
        while let Some(next) = cron.next_after(at).filter(|next| *next <= start) {
            at = next;
        }
        prop_assert_eq!(cron.next_after(at), Some(due));
    }

    #[test]
    fn nothing_fires_twice_on_any_clock(
        triggers in prop::collection::vec(trigger(), 1..4),
        misfire in misfire(),
        start in moment(),
        steps in steps(),
    ) {
        let schedule = schedule(triggers, misfire);
        let custom = CustomTriggers::default();
        let limits = PlanLimits::new(&custom);
        let mut state = ScheduleState::new(&schedule, start);
        let mut fired = BTreeSet::new();
        let mut now = start;
        for step in steps {
            now = moved(now, step);
            let plan = plan(&schedule, &state, now, &limits);
            prop_assert!(plan.firings.len() <= limits.firings_max);
            for firing in &plan.firings {
                prop_assert!(firing.due <= now && firing.previous_due < Some(firing.due));
                prop_assert!(fired.insert(firing.due), "{} twice", firing.due);
            }
            state = plan.new_state;
        }
    }

    #[test]
    fn a_plan_is_done_once_it_is_carried_out(
        triggers in prop::collection::vec(trigger(), 1..4),
        misfire in misfire(),
        start in moment(),
        step in 0..3_000_000_i64,
    ) {
        let schedule = schedule(triggers, misfire);
        let custom = CustomTriggers::default();
        let limits = PlanLimits { firings_max: usize::MAX, ..PlanLimits::new(&custom) };
        let now = moved(start, step);
        let first = plan(&schedule, &ScheduleState::new(&schedule, start), now, &limits);
        let second = plan(&schedule, &first.new_state, now, &limits);
        prop_assert!(first.next.is_none_or(|next| next > now));
        prop_assert!(second.firings.is_empty() && second.skipped.is_empty());
        prop_assert_eq!((second.next, second.new_state), (first.next, first.new_state));
    }

    /// Cut into plans of any size, a backlog gives the same firings.
    #[test]
    fn small_plans_do_what_a_large_one_does(
        triggers in prop::collection::vec(trigger(), 1..4),
        start in moment(),
        step in 0..3_000_000_i64,
        size in 1..7_usize,
    ) {
        let schedule = schedule(triggers, Misfire::all(20).unwrap());
        let custom = CustomTriggers::default();
        let now = moved(start, step);
        let begin = ScheduleState::new(&schedule, start);
        let large = plan(&schedule, &begin, now, &PlanLimits { firings_max: usize::MAX, ..PlanLimits::new(&custom) });
        let (mut state, mut firings) = (begin, Vec::new());
        loop {
            let small = plan(&schedule, &state, now, &PlanLimits { firings_max: size, ..PlanLimits::new(&custom) });
            firings.extend(small.firings.into_iter().map(|firing| (firing.due, firing.previous_due)));
            state = small.new_state;
            if small.next.is_none_or(|next| next > now) {
                break;
            }
        }
        let expected: Vec<_> = large.firings.iter().map(|firing| (firing.due, firing.previous_due)).collect();
        prop_assert_eq!(firings, expected);
        prop_assert_eq!(state, large.new_state);
    }

    #[test]
    fn what_fires_and_what_is_skipped_is_what_was_due(
        trigger in trigger(),
        misfire in misfire(),
        start in moment(),
        steps in prop::collection::vec(0..300_000_i64, 1..8),
    ) {
        let schedule = schedule(vec![trigger.clone()], misfire);
        let custom = CustomTriggers::default();
        let limits = PlanLimits { firings_max: usize::MAX, late_after: Duration::from_secs(60), custom: &custom };
        let mut state = ScheduleState::new(&schedule, start);
        let (mut now, mut handled, mut exact) = (start, 0_u64, true);
        for step in steps {
            now = moved(now, step);
            let plan = plan(&schedule, &state, now, &limits);
            handled += plan.firings.len() as u64 + plan.skipped.iter().map(|skipped| skipped.count).sum::<u64>();
            exact &= plan.skipped.iter().all(|skipped| skipped.exact);
            state = plan.new_state;
        }
        let due = due_between(&trigger, start, now);
        prop_assert!(if exact { handled == due } else { handled <= due }, "{handled} of {due}");
    }
}

/// Counts due times one by one.
fn due_between(trigger: &Trigger, start: Timestamp, end: Timestamp) -> u64 {
    use taskwright_core::trigger::next_due;
    let mut state = TriggerState::new(start);
    let mut count = 0;
    while let Some(due) = next_due(trigger, &state, end).unwrap().filter(|due| *due <= end) {
        state = TriggerState { last_due: Some(due), spent: true, ..state };
        count += 1;
    }
    count
}
