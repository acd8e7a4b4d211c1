//! When a generator is asked, and for how much.

use std::time::Duration;

use proptest::prelude::*;
use taskwright_core::generator::{Definition, ItemEnd, Next, Polled, Record};
use taskwright_core::{Actor, Timestamp};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus(Duration::from_millis(ms))
}

fn definition(window: u32) -> Definition {
    Definition { window, ..Definition::new("feed".parse().unwrap()) }
}

fn gave(items: usize, next: Next) -> Polled {
    Polled { items, moved: items > 0, next }
}

/// Without a spread.
const EVEN: f64 = 0.5;

#[test]
fn a_new_generator_is_asked_at_once_for_as_much_as_its_window() {
    let record = Record::new(at(0));
    assert_eq!(record.next_look(&definition(7), at(0)), Some(at(0)));
    assert_eq!(record.room(&definition(7), at(0), 0), 7);
    assert_eq!(record.room(&definition(10_000), at(0), 0), 1_000, "a batch at a time");
}

#[test]
fn who_had_something_is_asked_again_at_once_while_there_is_room() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    record.polled(&definition, at(5), 0, gave(4, Next::Now), EVEN);
    assert_eq!(record.next_look(&definition, at(5)), Some(at(5)));
    assert_eq!(record.room(&definition, at(5), 0), 6);
    record.polled(&definition, at(6), 0, gave(6, Next::Now), EVEN);
    assert_eq!(record.room(&definition, at(7), 0), 0, "the window is full");
    assert_eq!(record.next_look(&definition, at(6)), Some(at(106)), "to see what has ended");
    record.settle(at(106), [ItemEnd::Completed, ItemEnd::Failed]);
    assert_eq!((record.room(&definition, at(106), 0), record.counts.outstanding()), (2, 8));
}

#[test]
fn who_has_nothing_is_asked_half_as_often_each_time_and_at_least_every_five_minutes() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..11 {
        record.polled(&definition, now, 0, gave(0, Next::Idle), EVEN);
        let next = record.next_look(&definition, now).unwrap();
        waits.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    record.polled(&definition, now, 0, gave(1, Next::Idle), EVEN);
    record.settle(now, [ItemEnd::Completed]);
    assert_eq!(record.next_look(&definition, now).unwrap().since(now), Duration::from_secs(1));
}

#[test]
fn nobody_is_asked_without_end_for_saying_that_there_is_more() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    for next in [Next::Now, Next::At(at(0))] {
        record.polled(&definition, at(1), 0, gave(0, next), EVEN);
        assert!(record.next_look(&definition, at(1)).unwrap() > at(900), "{next:?}");
    }
    record.polled(&definition, at(1), 0, Polled { items: 0, moved: true, next: Next::Now }, EVEN);
    assert_eq!(record.next_look(&definition, at(1)), Some(at(1)), "it got on all the same");
}

#[test]
fn a_generator_is_asked_when_it_said_or_when_it_is_notified() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    record.polled(&definition, at(1), 0, gave(0, Next::At(at(50))), EVEN);
    assert_eq!(record.next_look(&definition, at(1)), Some(at(50)));
    assert_eq!((record.room(&definition, at(49), 0), record.room(&definition, at(50), 0)), (0, 10));
    record.polled(&definition, at(50), 0, gave(0, Next::Notified), EVEN);
    assert_eq!((record.next_look(&definition, at(50)), record.room(&definition, at(9_999), 0)), (None, 0));
    assert_eq!(record.room(&definition, at(60), 1), 10, "a notice came");
    record.polled(&definition, at(60), 1, gave(0, Next::Notified), EVEN);
    assert_eq!(record.room(&definition, at(60), 1), 0, "it has been followed");
}

#[test]
fn a_notice_waits_until_there_is_room() {
    let (definition, mut record) = (definition(1), Record::new(at(0)));
    record.polled(&definition, at(0), 0, gave(1, Next::Notified), EVEN);
    assert_eq!(record.room(&definition, at(1), 1), 0);
    record.settle(at(2), [ItemEnd::Cancelled]);
    assert_eq!(record.room(&definition, at(2), 1), 1);
}

#[test]
fn ten_errors_in_a_row_pause_a_generator_and_a_resume_forgives_them() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    let mut waits = Vec::new();
    for n in 1..=10 {
        record.failed(&definition, at(0), 0, &format!("boom {n}"), EVEN);
        waits.extend(record.next_look(&definition, at(0)).map(|next| next.since(at(0)).as_secs()));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    let paused = record.paused.clone().unwrap();
    assert_eq!(
        (paused.by, paused.reason.as_deref()),
        (Actor::system(), Some("10 errors in a row, the last: boom 10"))
    );
    assert_eq!(record.room(&definition, at(999_999_999), 5), 0);
    assert!(record.resume(at(7)) && !record.resume(at(8)));
    assert_eq!((record.room(&definition, at(7), 0), record.failures), (10, 0));
    assert_eq!(record.last_error.as_deref(), Some("boom 10"), "until a poll goes well");
    record.polled(&definition, at(7), 0, gave(0, Next::Idle), EVEN);
    assert_eq!(record.last_error, None);
}

#[test]
fn a_poll_that_goes_well_breaks_a_row_of_errors() {
    let (definition, mut record) = (definition(10), Record::new(at(0)));
    for n in 0..30 {
        record.failed(&definition, at(0), 0, "boom", EVEN);
        if n % 9 == 8 {
            record.polled(&definition, at(0), 0, gave(0, Next::Idle), EVEN);
        }
    }
    assert_eq!(record.paused, None);
}

#[test]
fn looking_for_ends_costs_a_tenth_of_the_time_that_items_take() {
    let (definition, mut record) = (definition(1), Record::new(at(0)));
    record.polled(&definition, at(0), 0, gave(1, Next::Now), EVEN);
    let wait = |ms: u64| record.next_look(&definition, at(ms)).unwrap().since(at(ms)).as_millis();
    assert_eq!(
        [wait(0), wait(1_000), wait(5_000), wait(60_000), wait(9_999_999)],
        [100, 100, 500, 6_000, 30_000]
    );
}

#[test]
fn a_record_of_an_older_program_is_read() {
    let record: Record = serde_json::from_str(r#"{"counts": {"made": 3, "completed": 1}}"#).unwrap();
    assert_eq!((record.counts.outstanding(), record.poll_at), (2, None));
    let written = serde_json::to_string(&Record { failures: 2, ..record.clone() }).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), Record { failures: 2, ..record });
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Poll(usize, u8),
    Fail,
    Settle(usize, u8),
    Notify,
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..400_000_u64).prop_map(Step::Wait),
        4 => (0..2_000_usize, 0..4_u8).prop_map(|(items, next)| Step::Poll(items, next)),
        1 => Just(Step::Fail),
        3 => (0..500_usize, 0..5_u8).prop_map(|(items, end)| Step::Settle(items, end)),
        1 => Just(Step::Notify),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ]
}

const ENDS: [ItemEnd; 5] =
    [ItemEnd::Completed, ItemEnd::Failed, ItemEnd::Cancelled, ItemEnd::Dropped, ItemEnd::Removed];

proptest! {
    #[test]
    fn no_more_than_the_window_is_ever_outstanding_and_nobody_who_could_work_is_forgotten(
        window in 1..3_000_u32,
        steps in prop::collection::vec(step(), 1..60),
        dice in 0.0..1.0_f64,
    ) {
        let definition = definition(window);
        let (mut now, mut notices, mut record) = (0, 0, Record::new(at(0)));
        for step in steps {
            let room = record.room(&definition, at(now), notices);
            match step {
                Step::Wait(ms) => now += ms,
                Step::Poll(items, next) if room > 0 => {
                    let next = [Next::Now, Next::Idle, Next::At(at(now + 70_000)), Next::Notified][usize::from(next)];
                    record.polled(&definition, at(now), notices, gave(items.min(room), next), dice);
                }
                Step::Poll(..) => {}
                Step::Fail if room > 0 => record.failed(&definition, at(now), notices, "boom", dice),
                Step::Fail => {}
                Step::Settle(items, end) => {
                    let outstanding = usize::try_from(record.counts.outstanding()).unwrap();
                    record.settle(at(now), vec![ENDS[usize::from(end)]; items.min(outstanding)]);
                }
                Step::Notify => notices += 1,
                Step::Pause => drop(record.pause(at(now), Actor::system(), None)),
                Step::Resume => drop(record.resume(at(now))),
            }
            let counts = record.counts;
            prop_assert!(counts.outstanding() <= u64::from(window));
            prop_assert_eq!(counts.made, counts.settled() + counts.outstanding());
            let next = record.next_look(&definition, at(now));
            prop_assert_eq!(record.paused.is_some() && next.is_some(), false, "who rests is left alone");
            if record.paused.is_none() && (counts.outstanding() > 0 || record.poll_at.is_some()) {
                let next = next.unwrap();
                prop_assert!(counts.outstanding() == 0 || next <= at(now + 30_000));
                prop_assert!(next <= at(now + 330_000) || record.poll_at == Some(next));
            }
            prop_assert!(record.failures < definition.errors_max || record.paused.is_some());
        }
    }
}
