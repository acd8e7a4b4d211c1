//! What a schedule does now: after downtime, on a jumping clock, paused, limited, overlapping.

use std::num::NonZeroU64;
use std::time::Duration;

use taskwright_core::schedule::{
    FiringKind, OPEN_JOBS_MAX, OpenJobs, Overlap, Plan, PlanLimits, Schedule, ScheduleBuilder, ScheduleState,
    SkipReason, fire_by_hand, fire_for_event, plan, upcoming,
};
use taskwright_core::trigger::{CustomTriggers, Trigger};
use taskwright_core::{JobId, Timestamp};

const HOUR: Duration = Duration::from_secs(3_600);

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn builder(key: &str, text: &str) -> ScheduleBuilder {
    let trigger = Trigger::read(key, text, None).unwrap();
    Schedule::builder("s".parse().unwrap(), "k".parse().unwrap()).trigger(trigger)
}

/// A schedule with its state and a clock, planned as a duty would.
struct Bench {
    schedule: Schedule,
    state: ScheduleState,
    now: Timestamp,
}

impl Bench {
    fn new(builder: ScheduleBuilder, registered: &str) -> Self {
        let schedule = builder.build().unwrap();
        let now = moment(registered);
        Self { state: ScheduleState::new(&schedule, now), schedule, now }
    }

    fn plan(&mut self) -> Plan {
        let custom = CustomTriggers::default();
        let plan = plan(&self.schedule, &self.state, self.now, &PlanLimits::new(&custom));
        self.state = plan.new_state.clone();
        plan
    }

    fn plan_at(&mut self, now: &str) -> Plan {
        self.now = moment(now);
        self.plan()
    }

    fn plan_after(&mut self, pause: Duration) -> Plan {
        self.now = self.now.plus(pause);
        self.plan()
    }
}

fn due(plan: &Plan) -> Vec<String> {
    plan.firings.iter().map(|firing| firing.due.to_string()[..16].to_owned()).collect()
}

/// Issue 4, 4: down for 3 days with a minutely schedule. In each second of the minute, since a daemon starts when it does.
#[test]
fn three_days_of_a_minutely_schedule_are_made_up_for_by_the_policy() {
    for trigger in [("every", "1m"), ("cron", "* * * * *")] {
        for second in [0, 1, 30, 59] {
            for (policy, expected) in [("skip", 0), ("once", 1), ("all up to 10", 10)] {
                let builder = builder(trigger.0, trigger.1).misfire(policy.parse().unwrap());
                let mut bench = Bench::new(builder, "2026-05-01T00:00:00Z");
                assert_eq!(bench.plan_at("2026-05-01T00:01:00Z").firings.len(), 1);
                let plan = bench.plan_at(&format!("2026-05-04T00:01:{second:02}Z"));
                assert_eq!(plan.firings.len(), expected, "{trigger:?} {policy} at second {second}");
                let skipped: u64 = plan.skipped.iter().map(|skipped| skipped.count).sum();
                assert_eq!(skipped + expected as u64, 3 * 24 * 60, "{policy}");
                assert_eq!(plan.next, Some(moment("2026-05-04T00:02:00Z")));
                let newest: Vec<String> = (0..expected)
                    .map(|n| bench.now.minus(Duration::from_secs(60 * n as u64)).to_string()[..16].to_owned())
                    .rev()
                    .collect();
                assert_eq!(due(&plan), newest, "the newest, oldest first, each with its due time");
                assert!(plan.firings.iter().all(|firing| firing.kind == FiringKind::Misfired));
                assert!(bench.plan().firings.is_empty(), "nothing is left");
            }
        }
    }
}

#[test]
fn each_job_knows_the_due_time_before_its_own() {
    let mut bench = Bench::new(builder("every", "1h"), "2026-05-01T00:00:00Z");
    assert_eq!(bench.plan_at("2026-05-01T01:00:00Z").firings[0].previous_due, None);
    let plan = bench.plan_at("2026-05-02T00:30:00Z");
    assert_eq!(due(&plan), ["2026-05-02T00:00"]);
    assert_eq!(
        plan.firings[0].previous_due,
        Some(moment("2026-05-01T01:00:00Z")),
        "it stands for all between"
    );
}

#[test]
fn what_is_a_little_late_is_on_time_under_every_policy() {
    for policy in ["skip", "once", "all"] {
        let mut bench =
            Bench::new(builder("every", "1h").misfire(policy.parse().unwrap()), "2026-05-01T00:00:00Z");
        let plan = bench.plan_at("2026-05-01T01:01:00Z");
        assert_eq!(
            (due(&plan), plan.firings[0].kind),
            (vec!["2026-05-01T01:00".to_owned()], FiringKind::OnTime)
        );
        let plan = bench.plan_at("2026-05-01T02:01:01Z");
        assert_eq!(plan.firings.len(), usize::from(policy != "skip"), "{policy}");
    }
}

#[test]
fn a_fast_schedule_fires_each_occurrence_of_a_short_delay_and_not_of_a_long_one() {
    let mut bench = Bench::new(builder("every", "1s"), "2026-05-01T00:00:00Z");
    assert_eq!(bench.plan_after(Duration::from_secs(10)).firings.len(), 10);
    let plan = bench.plan_after(Duration::from_secs(11));
    assert_eq!((plan.firings.len(), plan.skipped[0].count), (1, 10));
}

/// NU-X9: the clock jumps ahead by an hour or a day, or the machine sleeps for 8 hours: no burst; it goes back: no double.
#[test]
fn nu_x9_a_clock_that_jumps_makes_no_burst_and_no_double() {
    for jump in [HOUR, 8 * HOUR, 24 * HOUR] {
        for trigger in [("every", "1m"), ("cron", "* * * * *"), ("daily", "00:30")] {
            let mut bench = Bench::new(builder(trigger.0, trigger.1), "2026-05-01T00:00:00Z");
            bench.plan_after(Duration::from_secs(60));
            let ahead = bench.plan_after(jump);
            assert!(ahead.firings.len() <= 1, "{trigger:?} {jump:?}");

            let reached = bench.state.triggers.values().next().unwrap().last_due;
            bench.now = bench.now.minus(jump);
            for _ in 0..120 {
                let plan = bench.plan_after(Duration::from_secs(30));
                assert!(plan.firings.iter().all(|firing| Some(firing.due) > reached), "{trigger:?} {jump:?}");
                assert!(plan.skipped.is_empty());
                assert!(plan.next > reached);
            }
            // Once the clock has passed what was reached, it goes on as if nothing had been.
            bench.now = bench.now.plus(jump);
            bench.plan();
            assert!(bench.plan_after(24 * HOUR).firings.len() == 1);
        }
    }
}

/// NU-X4: a schedule that is off does not fire when due, and goes on at the next due time, without catching up.
#[test]
fn nu_x4_a_paused_schedule_goes_on_at_the_next_due_time() {
    for policy in ["skip", "once", "all"] {
        let mut bench =
            Bench::new(builder("every", "1h").misfire(policy.parse().unwrap()), "2026-05-01T00:00:00Z");
        bench.state = bench.state.pause(moment("2026-05-01T00:30:00Z"));
        let plan = bench.plan_at("2026-05-01T03:10:00Z");
        assert!(plan.firings.is_empty() && plan.skipped.is_empty() && plan.next.is_none() && !plan.done);

        bench.state = bench.state.resume(&bench.schedule, moment("2026-05-01T03:20:00Z"));
        let plan = bench.plan_at("2026-05-01T03:20:01Z");
        assert!(plan.firings.is_empty());
        assert_eq!((plan.skipped[0].count, plan.skipped[0].reason), (3, SkipReason::Off));
        assert_eq!(plan.next, Some(moment("2026-05-01T04:00:00Z")));
        assert_eq!(due(&bench.plan_at("2026-05-01T04:00:00Z")), ["2026-05-01T04:00"]);
    }
}

/// NU-X4: the same for a definition that is not enabled; a pause outlives enabling.
#[test]
fn nu_x4_a_schedule_that_is_not_enabled_is_off_until_it_is_and_is_not_paused() {
    let disabled = builder("every", "1h").enabled(false).build().unwrap();
    let mut bench = Bench::new(builder("every", "1h").enabled(false), "2026-05-01T00:00:00Z");
    assert!(bench.plan_at("2026-05-01T02:00:00Z").firings.is_empty());
    bench.state = bench.state.pause(bench.now);
    bench.schedule = builder("every", "1h").build().unwrap();
    bench.state = bench.state.edited(Some(&disabled), &bench.schedule, moment("2026-05-01T03:30:00Z"));
    assert!(bench.state.is_off());
    bench.state = bench.state.resume(&bench.schedule, moment("2026-05-01T04:30:00Z"));
    assert!(bench.plan_at("2026-05-01T04:30:00Z").firings.is_empty());
    assert_eq!(due(&bench.plan_at("2026-05-01T05:00:00Z")), ["2026-05-01T05:00"]);
}

/// NU-X8: a one-time schedule is done after it has fired.
#[test]
fn nu_x8_a_schedule_is_done_when_nothing_can_come() {
    let mut once = Bench::new(builder("after", "1h"), "2026-05-01T00:00:00Z");
    assert!(!once.plan().done);
    let plan = once.plan_at("2026-05-01T01:00:00Z");
    assert_eq!((plan.firings.len(), plan.next, plan.done), (1, None, true));

    let mut ended =
        Bench::new(builder("every", "1h").ends_at(moment("2026-05-01T02:00:00Z")), "2026-05-01T00:00:00Z");
    let plan = ended.plan_at("2026-05-01T01:00:00Z");
    assert_eq!((plan.firings.len(), plan.next, plan.done), (1, None, true), "02:00 is outside already");

    let mut waiting = Bench::new(builder("event", "order.created"), "2026-05-01T00:00:00Z");
    assert_eq!((waiting.plan().next, waiting.plan().done), (None, false));
}

#[test]
fn a_schedule_has_its_firings_and_no_more() {
    let three = NonZeroU64::new(3).unwrap();
    let mut bench = Bench::new(
        builder("every", "1h").max_firings(three).misfire("all".parse().unwrap()),
        "2026-05-01T00:00:00Z",
    );
    assert_eq!(due(&bench.plan_at("2026-05-01T01:00:00Z")), ["2026-05-01T01:00"]);
    let plan = bench.plan_at("2026-05-01T09:30:00Z");
    assert_eq!(due(&plan), ["2026-05-01T02:00", "2026-05-01T03:00"]);
    assert!(plan.done && plan.next.is_none());
    assert!(bench.plan_at("2026-05-02T09:30:00Z").firings.is_empty());
}

#[test]
fn nothing_is_due_before_the_window_begins() {
    for (key, text, first) in [
        ("every", "7m", "2026-05-08T00:00"),
        ("every", "11m", "2026-05-08T00:07"),
        ("cron", "*/7 * * * *", "2026-05-08T00:00"),
        ("daily", "09:00", "2026-05-08T09:00"),
        ("monthly", "1 09:00", "2026-06-01T09:00"),
    ] {
        let builder = builder(key, text).starts_at(moment("2026-05-08T00:00:00Z"));
        let mut bench = Bench::new(builder, "2026-05-01T00:00:00Z");
        let plan = bench.plan_at("2026-05-07T23:59:59Z");
        assert!(plan.firings.is_empty() && plan.skipped.is_empty(), "{key}");
        assert_eq!(plan.next.unwrap().to_string()[..16], *first, "{key}");
        bench.now = plan.next.unwrap();
        assert_eq!(due(&bench.plan()), [first]);
    }
}

#[test]
fn two_triggers_that_share_a_due_time_make_one_job() {
    let builder = builder("cron", "0 8 * * *").trigger(Trigger::read("cron", "0 8 1 * *", None).unwrap());
    let mut bench = Bench::new(builder, "2026-04-30T12:00:00Z");
    let plan = bench.plan_at("2026-05-01T08:00:00Z");
    assert_eq!(due(&plan), ["2026-05-01T08:00"]);
    assert_eq!((plan.skipped[0].trigger.as_str(), plan.skipped[0].reason), ("cron-2", SkipReason::SameDue));
}

#[test]
fn jitter_is_the_same_for_one_due_time_and_within_its_bound() {
    let minute = Duration::from_secs(60);
    let mut bench = Bench::new(builder("every", "1h").jitter(minute), "2026-05-01T00:00:00Z");
    let mut delays = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let firing = bench.plan_after(HOUR).firings.remove(0);
        let delay = firing.run_at.since(firing.due);
        assert!(delay <= minute && delay == bench.schedule.jitter_of(firing.due));
        delays.insert(delay);
    }
    assert!(delays.len() > 40, "it spreads");
    // Stored rows depend on it: the hash must not change with a version.
    assert_eq!(bench.schedule.jitter_of(moment("2026-05-01T01:00:00Z")).as_micros(), 23_388_587);
}

#[test]
fn a_plan_holds_no_more_than_its_limit_and_the_next_goes_on() {
    let builder = builder("every", "1m").misfire("all up to 2500".parse().unwrap());
    let mut bench = Bench::new(builder, "2026-05-01T00:00:00Z");
    bench.now = moment("2026-05-04T00:00:00Z");
    let sizes: Vec<usize> = std::iter::from_fn(|| Some(bench.plan()).filter(|plan| !plan.firings.is_empty()))
        .map(|plan| {
            assert_eq!(plan.next <= Some(moment("2026-05-04T00:00:00Z")), plan.firings.len() == 1_000);
            plan.firings.len()
        })
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
}

/// Work of one plan is bounded, whatever has piled up; the newest are found without counting all.
#[test]
fn a_year_of_a_secondly_cron_is_planned_at_once() {
    let builder = builder("cron", "* * * * * *").misfire("all up to 3".parse().unwrap());
    let mut bench = Bench::new(builder, "2025-05-01T00:00:00Z");
    let plan = bench.plan_at("2026-05-01T00:00:00Z");
    let seconds: Vec<String> =
        plan.firings.iter().map(|firing| firing.due.to_string()[..19].to_owned()).collect();
    assert_eq!(seconds, ["2026-04-30T23:59:58", "2026-04-30T23:59:59", "2026-05-01T00:00:00"]);
    assert!(!plan.skipped[0].exact && plan.skipped[0].count >= 10_000);
    assert_eq!(plan.skipped[0].to, moment("2026-04-30T23:59:57Z"));
    assert_eq!(plan.next, Some(moment("2026-05-01T00:00:01Z")));
}

/// Whole days of every second, and years of nothing between them: neither is walked through.
#[test]
fn the_newest_of_dense_days_are_found_across_empty_years() {
    for (now, last) in
        [("2026-05-01T00:00:00Z", "2026-01-03T23:59:59"), ("2026-01-02T12:00:00Z", "2026-01-02T12:00:00")]
    {
        let builder = builder("cron", "* * * 1-3 1 *").misfire("all up to 100".parse().unwrap());
        let mut bench = Bench::new(builder, "2011-12-30T00:00:00Z");
        let plan = bench.plan_at(now);
        assert_eq!(plan.firings.len(), 100);
        assert_eq!(plan.firings[99].due.to_string()[..19], *last);
        assert!(plan.firings.windows(2).all(|pair| pair[0].due.plus(Duration::from_secs(1)) == pair[1].due));
        assert!(plan.next > Some(bench.now));
    }
}

/// NU-X2: a schedule slower than its period keeps to its overlap policy.
#[test]
fn nu_x2_an_overlap_is_skipped_and_does_not_count_as_fired() {
    let mut bench = Bench::new(builder("every", "1h"), "2026-05-01T00:00:00Z");
    bench.plan_at("2026-05-01T01:00:00Z");
    let running = OpenJobs { unfinished: 1, has_queued: false };
    let plan = bench.plan_at("2026-05-01T02:00:00Z").with_overlap(&bench.schedule, running);
    assert!(plan.firings.is_empty());
    assert_eq!(plan.skipped[0].reason, SkipReason::Overlap);
    assert_eq!((plan.new_state.fired, plan.new_state.last_due), (1, Some(moment("2026-05-01T01:00:00Z"))));
    bench.state = plan.new_state;
    let plan = bench.plan_at("2026-05-01T03:00:00Z").with_overlap(&bench.schedule, OpenJobs::default());
    assert_eq!(
        plan.firings[0].previous_due,
        Some(moment("2026-05-01T01:00:00Z")),
        "that of the last job that was made"
    );
}

#[test]
fn firings_of_one_plan_overlap_each_other_unless_they_are_made_up_for() {
    let mut bench = Bench::new(builder("every", "1s"), "2026-05-01T00:00:00Z");
    let plan = bench.plan_after(Duration::from_secs(5)).with_overlap(&bench.schedule, OpenJobs::default());
    assert_eq!((plan.firings.len(), plan.skipped.len()), (1, 4));

    let mut bench =
        Bench::new(builder("every", "1m").misfire("all up to 10".parse().unwrap()), "2026-05-01T00:00:00Z");
    let plan = bench.plan_after(72 * HOUR).with_overlap(&bench.schedule, OpenJobs::default());
    assert_eq!(plan.firings.len(), 10);

    let cancel = builder("every", "1m").overlap(Overlap::CancelPrevious);
    let mut bench = Bench::new(cancel, "2026-05-01T00:00:00Z");
    let plan = bench.plan_after(Duration::from_secs(60));
    let plan = plan.with_overlap(&bench.schedule, OpenJobs { unfinished: 2, has_queued: false });
    assert!(plan.firings[0].cancel_previous);
}

#[test]
fn an_occurrence_that_waits_fires_once_the_jobs_before_it_are_over() {
    let running = OpenJobs { unfinished: 1, has_queued: false };
    let mut bench = Bench::new(builder("every", "1h").overlap(Overlap::QueueOne), "2026-05-01T00:00:00Z");
    for (at, skipped) in [("2026-05-01T01:00:00Z", 0), ("2026-05-01T02:00:00Z", 1)] {
        let plan = bench.plan_at(at).with_overlap(&bench.schedule, running);
        assert_eq!((plan.firings.len(), plan.skipped.len()), (0, skipped));
        assert_eq!(plan.new_state.queued.as_ref().unwrap().due, moment("2026-05-01T01:00:00Z"));
        bench.state = plan.new_state;
    }
    let plan = bench.plan_at("2026-05-01T02:30:00Z").with_overlap(&bench.schedule, OpenJobs::default());
    assert_eq!(due(&plan), ["2026-05-01T01:00"]);
    assert_eq!(plan.new_state.queued, None);
}

#[test]
fn a_firing_that_overlap_gave_back_is_left_for_later() {
    let once = NonZeroU64::new(1).unwrap();
    let mut bench = Bench::new(builder("every", "1h").max_firings(once), "2026-05-01T00:00:00Z");
    let plan = bench.plan_at("2026-05-01T01:00:00Z");
    assert!(plan.done);
    let plan = plan.with_overlap(&bench.schedule, OpenJobs { unfinished: 1, has_queued: false });
    assert!(!plan.done && plan.next.is_some());
    bench.state = plan.new_state;
    assert_eq!(bench.plan().next, Some(moment("2026-05-01T02:00:00Z")));
    assert_eq!(due(&bench.plan_at("2026-05-01T02:00:00Z")), ["2026-05-01T02:00"]);
}

#[test]
fn a_firing_by_hand_takes_the_time_it_is_given_and_moves_nothing() {
    let mut bench = Bench::new(builder("every", "1h"), "2026-05-01T00:00:00Z");
    bench.plan_at("2026-05-01T01:00:00Z");
    let now = moment("2026-05-01T01:30:00Z");
    let firing = fire_by_hand(&bench.state, Some(moment("2026-06-01T00:00:00Z")), now);
    assert_eq!(
        (firing.due, firing.run_at, firing.kind),
        (moment("2026-06-01T00:00:00Z"), now, FiringKind::ByHand)
    );
    assert_eq!(firing.previous_due, Some(moment("2026-05-01T01:00:00Z")));
    assert_eq!(fire_by_hand(&bench.state, None, now).due, now);
}

#[test]
fn an_event_fires_a_schedule_that_is_on_and_inside_its_window() {
    let both = builder("event", "order.*").trigger(Trigger::read("every", "1h", None).unwrap());
    let both = both.ends_at(moment("2026-05-02T00:00:00Z"));
    let bench = Bench::new(both, "2026-05-01T00:00:00Z");
    let custom = CustomTriggers::default();
    let limits = PlanLimits::new(&custom);
    let id = "event".parse().unwrap();
    let at = moment("2026-05-01T00:10:00Z");
    let fire =
        |state: &ScheduleState, at| fire_for_event(&bench.schedule, state, &id, at, at, &limits).unwrap();

    let plan = fire(&bench.state, at);
    assert_eq!((plan.firings[0].due, plan.firings[0].kind), (at, FiringKind::Event));
    assert_eq!(plan.next, Some(moment("2026-05-01T01:00:00Z")), "the other trigger goes on");
    assert_eq!(fire(&plan.new_state, moment("2026-05-01T00:11:00Z")).firings[0].previous_due, Some(at));

    let off = bench.state.clone().pause(at);
    assert_eq!(fire(&off, at).skipped[0].reason, SkipReason::Off);
    assert_eq!(fire(&bench.state, moment("2026-05-02T00:00:00Z")).skipped[0].reason, SkipReason::Ended);
    let every = "every".parse().unwrap();
    assert!(fire_for_event(&bench.schedule, &bench.state, &every, at, at, &limits).is_none());
}

#[test]
fn what_is_coming_is_told_from_all_triggers_in_order() {
    let builder = builder("daily", "08:00").trigger(Trigger::read("every", "6h", None).unwrap());
    let bench = Bench::new(builder, "2026-05-01T00:00:00Z");
    let custom = CustomTriggers::default();
    let coming = upcoming(&bench.schedule, &bench.state, moment("2027-01-01T05:00:00Z"), 4, &custom);
    let coming: Vec<String> =
        coming.iter().map(|(due, id)| format!("{} {id}", &due.to_string()[..16])).collect();
    assert_eq!(
        coming,
        [
            "2027-01-01T06:00 every",
            "2027-01-01T08:00 daily",
            "2027-01-01T12:00 every",
            "2027-01-01T18:00 every"
        ]
    );
}

#[test]
fn a_definition_survives_its_json() {
    let schedule = builder("daily", "08:00")
        .named_trigger("extra".parse().unwrap(), Trigger::read("event", "order.* where n > 1", None).unwrap())
        .args(serde_json::json!({"due": "{due}", "order": "{event.payload.id}"}))
        .misfire("all up to 7".parse().unwrap())
        .overlap(Overlap::QueueOne)
        .max_attempts("none".parse().unwrap())
        .backoff("fixed:30s".parse().unwrap())
        .timeout(HOUR)
        .jitter(Duration::from_secs(90))
        .starts_at(moment("2026-05-01T00:00:00Z"))
        .build()
        .unwrap();
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    let state =
        ScheduleState::new(&schedule, moment("2026-05-01T00:00:00Z")).pause(moment("2026-05-01T01:00:00Z"));
    let json = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ScheduleState>(&json).unwrap(), state);
    // Stores keep these forms, and a new program has to read the rows of an old one.
    insta::assert_snapshot!(serde_json::to_string_pretty(&(&schedule, &state)).unwrap());
    for json in [
        r#"{"name": "s", "kind": "k", "triggers": []}"#,
        r#"{"name": "s", "kind": "k"}"#,
        r#"{"name": "s", "kind": "k", "triggers": [{"id": "a", "trigger": {"type": "after", "delay": "1h"}}], "args": "{duo}"}"#,
        r#"{"name": "s", "kind": "k", "triggers": [{"id": "a", "trigger": {"type": "after", "delay": "1h"}}], "color": 1}"#,
        r#"{"name": "s", "kind": "k", "triggers": [{"id": "a", "trigger": {"type": "after", "delay": "1h"}}], "jitter": "4000d"}"#,
    ] {
        assert!(serde_json::from_str::<Schedule>(json).is_err(), "{json}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let early = moment("2026-05-01T00:00:00Z");
    let base = || builder("daily", "08:00");
    assert!(base().starts_at(early).ends_at(early).build().unwrap_err().is_invalid());
    assert!(base().args(serde_json::json!("{event.topic}")).build().unwrap_err().is_invalid());
    assert!(
        base()
            .named_trigger("daily".parse().unwrap(), Trigger::read("after", "1h", None).unwrap())
            .build()
            .is_err()
    );
    assert!(base().timeout(Duration::ZERO).build().is_err());
    let many =
        (0..16).fold(base(), |builder, _| builder.trigger(Trigger::read("every", "1h", None).unwrap()));
    assert!(many.build().unwrap_err().is_invalid());
    assert!(Schedule::builder("s".parse().unwrap(), "k".parse().unwrap()).build().is_err());
}

/// The state is written at each firing, so that it must not grow where nobody reads it.
#[test]
fn a_schedule_remembers_only_the_open_jobs_that_matter_to_it() {
    let remembered = |schedule: ScheduleBuilder| {
        let schedule = schedule.build().unwrap();
        let mut state = ScheduleState::new(&schedule, moment("2026-05-01T00:00:00Z"));
        let job = |n: u16| JobId::from_parts(n.into(), [0; 10]);
        (0..1_000).for_each(|n| state.opened(&schedule, job(n)));
        assert_eq!(state.open.last(), Some(&job(999)));
        state.open.len()
    };
    let (timed, fired) = (|| builder("every", "1s"), || builder("event", "order.created"));
    assert_eq!(remembered(timed().overlap(Overlap::Skip)), OPEN_JOBS_MAX);
    assert_eq!(remembered(timed().overlap(Overlap::Allow)), 1);
    assert_eq!(remembered(fired().overlap(Overlap::Skip)), 1);
    assert_eq!(remembered(fired().overlap(Overlap::CancelPrevious)), OPEN_JOBS_MAX);
}
