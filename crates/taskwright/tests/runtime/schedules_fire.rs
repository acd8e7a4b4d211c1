//! A schedule makes jobs when it is due, and these are jobs like any other.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use taskwright::core::schedule::{FiringKind, Overlap, ScheduleBuilder};
use taskwright::core::trigger::{Custom, CustomTriggers, TriggerRule, TriggerState};
use taskwright::schedule::Put;
use taskwright::store::{Filter, FiringOutcome, Page};
use taskwright::{
    Context, Duties, DutyConfig, MaxAttempts, Namespace, Priority, Schedule, State, TaskError, Timestamp,
    Trigger,
};

use crate::support::{Notes, handles, schedule, seconds, since_begin_ms, world};

/// NU-10: not at once, but one period later, and so on at a fixed rate.
#[test]
fn nu_10_every_period_makes_one_job_counted_from_the_registration() {
    world(async |world| {
        assert_eq!(world.put(schedule("tick", "every", "5m")).await, Put::Registered);
        world.sim.advance(seconds(299)).await;
        assert_eq!(world.fired_ms("tick").await, [0; 0]);
        world.sim.advance(seconds(901)).await;
        assert_eq!(world.fired_ms("tick").await, [300_000, 600_000, 900_000, 1_200_000]);
        assert_eq!(world.view("tick").await.next.map(since_begin_ms), Some(1_500_000));
    });
}

/// NU-4, NU-14, NU-X8: a one-time schedule fires after its delay, once, and is seen to be done.
#[test]
fn nu_4_nu_14_nu_x8_a_one_time_schedule_fires_once_and_is_done() {
    world(async |world| {
        let ran = Notes::new();
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |_| {
            notes.add(());
            async { Ok::<_, TaskError>(()) }
        })));
        world.put(schedule("once", "after", "5ms")).await;
        ran.reach(1).await;
        world.sim.advance(seconds(86_400)).await;
        assert_eq!(world.fired_ms("once").await, [5]);
        let view = world.view("once").await;
        assert_eq!((view.next, view.state.fired), (None, 1));
        assert!(view.upcoming(world.sim.env().now(), 1, &Default::default()).is_empty());
    });
}

/// NU-5: priority decides among what is ready, and what is due later comes later however urgent.
#[test]
fn nu_5_what_is_due_later_comes_later_whatever_its_priority() {
    world(async |world| {
        for (name, priority, after) in [("a", 10, "10ms"), ("b", 20, "10ms"), ("c", 1, "40ms")] {
            let one = schedule(name, "after", after).priority(Priority(priority));
            world.put(one.args(serde_json::json!(name))).await;
        }
        let ran = Notes::new();
        let notes = ran.clone();
        let worker = world.worker(handles(move |ctx: Context| {
            notes.add(ctx.args::<String>().unwrap());
            async { Ok::<_, TaskError>(()) }
        }));
        let _worker = world.start(worker.concurrency(2));
        let mut all = ran.reach(3).await;
        assert_eq!(all.pop().unwrap(), "c");
        all.sort();
        assert_eq!(all, ["a", "b"]);
    });
}

/// NU-6, NU-X1: never more at once than there are slots, and all of them in the end.
#[test]
fn nu_6_nu_x1_more_schedules_than_slots_all_run_and_never_too_many_at_once() {
    world(async |world| {
        for n in 0..5 {
            world.put(schedule(&format!("s{n}"), "after", "1s")).await;
        }
        let (running, most) = (Arc::new(std::sync::atomic::AtomicU32::new(0)), Notes::new());
        let (notes, now) = (most.clone(), running.clone());
        let worker = world.worker(handles(move |ctx: Context| {
            let (notes, now) = (notes.clone(), now.clone());
            async move {
                let count = now.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                ctx.pause(seconds(10)).await?;
                now.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                notes.add(count);
                Ok::<_, TaskError>(())
            }
        }));
        let _worker = world.start(worker.concurrency(2));
        let counts = most.reach(5).await;
        assert_eq!(counts.iter().max(), Some(&2));
    });
}

/// NU-7: each attempt is in the history, with its error.
#[test]
fn nu_7_a_scheduled_job_is_tried_again_and_each_attempt_is_told() {
    world(async |world| {
        let tries = MaxAttempts::limited(3).unwrap();
        world.put(schedule("flaky", "after", "1s").max_attempts(tries)).await;
        let worker = world.worker(handles(|ctx: Context| async move {
            match ctx.attempt() {
                3 => Ok(()),
                n => Err(TaskError::retry(format!("try {n}"))),
            }
        }));
        let _worker = world.start(worker);
        world.sim.advance(seconds(2)).await;
        let FiringOutcome::Fired { job, .. } = world.history("flaky").await[0].outcome else {
            panic!("it fired")
        };
        let job = world.over(job).await;
        assert_eq!(job.view.state, State::Completed);
        let errors: Vec<_> = job.attempts.iter().map(|attempt| attempt.error.is_some()).collect();
        assert_eq!(errors, [true, true, false]);
    });
}

/// NU-8: what was stopped before it was due never runs.
#[test]
fn nu_8_what_is_due_after_the_end_of_everything_does_not_fire() {
    world(async |mut world| {
        world.put(schedule("late", "after", "100ms")).await;
        world.sim.advance(std::time::Duration::from_millis(20)).await;
        world.duties.take().unwrap().stop().await;
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.fired_ms("late").await, [0; 0]);
    });
}

#[test]
fn a_job_is_what_its_schedule_says() {
    world(async |world| {
        let rich = schedule("rich", "every", "1m")
            .args(serde_json::json!({"due": "{due}", "before": "{previous_due}", "of": "{schedule}/{trigger}", "n": 7}))
            .queue("reports".parse().unwrap())
            .owner("alice".parse().unwrap())
            .priority(Priority::HIGH)
            .timeout(seconds(9));
        world.put(rich).await;
        world.sim.advance(seconds(121)).await;
        let page = Page { after: None, limit: 10, oldest_first: true };
        let jobs = world.store().list(Filter::default(), page).await.unwrap().jobs;
        assert_eq!(jobs.len(), 2);
        let job = world.job(jobs[1].id).await;
        let args: serde_json::Value = job.args.parse().unwrap();
        assert_eq!(
            args,
            serde_json::json!({
                "due": "2026-01-01T00:02:00.000000Z", "before": "2026-01-01T00:01:00.000000Z",
                "of": "rich/every", "n": 7
            })
        );
        assert_eq!((job.view.queue.as_str(), job.view.priority), ("reports", Priority::HIGH));
        assert_eq!((job.view.owner.unwrap().as_str(), job.timeout), ("alice", Some(seconds(9))));
    });
}

#[test]
fn a_schedule_ends_after_its_last_firing() {
    world(async |world| {
        world.put(schedule("thrice", "every", "1m").max_firings(NonZeroU64::new(3).unwrap())).await;
        world.sim.advance(seconds(3_600)).await;
        assert_eq!(world.fired_ms("thrice").await.len(), 3);
        assert_eq!(world.view("thrice").await.next, None);
    });
}

#[test]
fn what_is_fired_by_hand_pretends_its_time_and_moves_nothing() {
    world(async |world| {
        world.put(schedule("tick", "every", "1h").args(serde_json::json!("{due}"))).await;
        let (namespace, name) = (Namespace::default(), "tick".parse().unwrap());
        let pretended = "2030-05-05T05:05:05Z".parse().unwrap();
        let schedules = world.client.schedules();
        let job = schedules.fire(&namespace, &name, Some(pretended)).await.unwrap();
        let stored = world.job(job).await;
        assert_eq!(
            (stored.args.as_str(), stored.view.state),
            ("\"2030-05-05T05:05:05.000000Z\"", State::Available)
        );
        let [firing] = &world.history("tick").await[..] else { panic!("one firing") };
        assert_eq!(firing.outcome, FiringOutcome::Fired { kind: FiringKind::ByHand, job, coalesced: false });
        assert_eq!((firing.due, &firing.trigger), (pretended, &None));
        assert_eq!(world.view("tick").await.next.map(since_begin_ms), Some(3_600_000));
        let unknown = schedules.fire(&namespace, &"nobody".parse().unwrap(), None).await.unwrap_err();
        assert!(unknown.is_not_found(), "{unknown}");
    });
}

#[test]
fn a_removed_schedule_fires_no_more() {
    world(async |world| {
        world.put(schedule("tick", "every", "1m")).await;
        world.sim.advance(seconds(61)).await;
        let (namespace, name) = (Namespace::default(), "tick".parse().unwrap());
        assert!(world.client.schedules().remove(&namespace, &name).await.unwrap());
        assert!(!world.client.schedules().remove(&namespace, &name).await.unwrap());
        world.sim.advance(seconds(600)).await;
        let page = Page { after: None, limit: 10, oldest_first: true };
        assert_eq!(world.store().list(Filter::default(), page).await.unwrap().jobs.len(), 1);
    });
}

/// NU-1: as many at once as the worker was made for.
#[test]
fn nu_1_a_worker_that_was_made_for_two_is_shown_with_two_slots() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|_| async { Ok::<_, TaskError>(()) })).concurrency(2));
        world.sim.settle().await;
        let workers = world.store().workers().await.unwrap();
        assert_eq!(workers.iter().map(|worker| worker.concurrency).collect::<Vec<_>>(), [2]);
    });
}

/// NU-2, NU-3: what was registered is found by its name, and what was removed is not.
#[test]
fn nu_2_nu_3_a_schedule_is_found_until_it_is_removed() {
    world(async |world| {
        world.put(schedule("tick", "every", "1m")).await;
        let (namespace, name) = (Namespace::default(), "tick".parse().unwrap());
        let schedules = world.client.schedules();
        let found = schedules.get(&namespace, &name).await.unwrap().unwrap();
        assert_eq!((found.schedule.name.as_str(), found.schedule.kind.as_str()), ("tick", "test"));
        schedules.remove(&namespace, &name).await.unwrap();
        assert_eq!(schedules.get(&namespace, &name).await.unwrap(), None);
        assert_eq!(schedules.list(None).await.unwrap(), []);
        let gone = schedules.pause(&namespace, &name).await.unwrap_err();
        assert!(gone.is_not_found(), "{gone}");
    });
}

/// NU-9: a task that returns no error leaves none.
#[test]
fn nu_9_a_task_without_an_error_leaves_none() {
    world(async |world| {
        world.put(schedule("once", "after", "1s")).await;
        let _worker = world.start(world.worker(handles(|_| async { Ok::<_, TaskError>(()) })));
        world.sim.advance(seconds(2)).await;
        let FiringOutcome::Fired { job, .. } = world.history("once").await[0].outcome else {
            panic!("it fired")
        };
        let job = world.over(job).await;
        assert_eq!(
            (job.view.state, job.view.error, job.attempts[0].error.clone()),
            (State::Completed, None, None)
        );
    });
}

/// NU-11: `@every` is one period after the last due time, however late that was.
#[test]
fn nu_11_a_cron_expression_of_every_second_keeps_its_base() {
    world(async |world| {
        world.put(schedule("tick", "cron", "@every 1s")).await;
        world.sim.settle().await;
        assert_eq!(world.fired_ms("tick").await, [0; 0]);
        world.sim.advance(Duration::from_millis(1_100)).await;
        assert_eq!(world.fired_ms("tick").await, [1_000]);
        world.sim.advance(Duration::from_millis(1_000)).await;
        assert_eq!(world.fired_ms("tick").await, [1_000, 2_000]);
    });
}

/// NU-12: not before it is due, at most the jitter later, and always by the same for one due time.
#[test]
fn nu_12_jitter_puts_the_start_off_by_what_is_always_the_same() {
    let run = || {
        let mut starts = Vec::new();
        world(async |world| {
            world.put(schedule("tick", "every", "100s").jitter(seconds(50))).await;
            world.sim.advance(seconds(1_101)).await;
            for firing in world.history("tick").await {
                let FiringOutcome::Fired { job, .. } = firing.outcome else { panic!("it fired") };
                let late = world.job(job).await.view.run_at.since(firing.due);
                assert!(late <= seconds(50), "{late:?}");
                starts.push(late);
            }
        });
        starts
    };
    let starts = run();
    assert_eq!(starts.len(), 11);
    assert!(starts.iter().collect::<std::collections::BTreeSet<_>>().len() > 5, "{starts:?}");
    assert_eq!(run(), starts);
}

/// A rule of the program's own: twice as long after each firing.
struct Doubling;

impl TriggerRule for Doubling {
    fn next(&self, state: &TriggerState, _: Timestamp) -> Result<Option<Timestamp>, taskwright::core::Error> {
        Ok(Some(state.base().plus(seconds(60 << state.fired))))
    }
}

/// A schedule that only who brings the rule can fire.
fn doubling(name: &str) -> ScheduleBuilder {
    let custom = Custom { name: "doubling".parse().unwrap(), spec: serde_json::Value::Null };
    Schedule::builder(name.parse().unwrap(), "test".parse().unwrap()).trigger(Trigger::Custom(custom))
}

/// The duties of a program that brings it.
fn knows_doubling() -> DutyConfig {
    let mut triggers = CustomTriggers::default();
    triggers.register("doubling".parse().unwrap(), |_| Ok(Arc::new(Doubling)));
    DutyConfig { triggers: Arc::new(triggers), ..DutyConfig::default() }
}

#[test]
fn a_program_brings_a_trigger_of_its_own_and_others_leave_it_alone() {
    world(async |mut world| {
        world.put(doubling("backing-off").overlap(Overlap::Allow)).await;
        // The duties of this process do not know the rule.
        world.sim.advance(seconds(30)).await;
        assert_eq!(world.fired_ms("backing-off").await, [0; 0]);
        world.duties.take().unwrap().stop().await;

        let config = knows_doubling();
        world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &config));
        world.sim.advance(seconds(900)).await;
        assert_eq!(world.fired_ms("backing-off").await, [60_000, 180_000, 420_000, 900_000]);
    });
}

#[test]
fn a_leader_without_the_rule_leaves_the_schedule_to_a_node_that_has_it() {
    world(async |world| {
        // The duties of the world lead, and do not know the rule.
        world.sim.advance(seconds(2)).await;
        world.put(doubling("backing-off").overlap(Overlap::Allow)).await;
        world.put(schedule("tick", "every", "1m")).await;
        let config = knows_doubling();
        let store: taskwright::store::SharedStore = Arc::new(world.memory.handle());
        let _follower = Duties::start(&store, &world.sim.env(), &config);
        world.sim.advance(seconds(430)).await;
        assert_eq!(world.fired_ms("backing-off").await, [62_000, 182_000, 422_000]);
        assert_eq!(world.fired_ms("tick").await.len(), 7, "nor is it in the way of others");
    });
}

#[test]
fn very_many_schedules_that_nobody_here_knows_hold_up_no_other() {
    world(async |mut world| {
        for n in 0..1_200 {
            let custom = Custom { name: "doubling".parse().unwrap(), spec: serde_json::Value::Null };
            let doubling =
                Schedule::builder(format!("foreign-{n}").parse().unwrap(), "test".parse().unwrap())
                    .trigger(Trigger::Custom(custom));
            world.put(doubling).await;
        }
        world.put(schedule("tick", "every", "1m")).await;
        world.sim.advance(seconds(305)).await;
        assert_eq!(world.fired_ms("tick").await.len(), 5);
        assert_eq!(world.fired_ms("foreign-0").await, [0; 0]);

        // Whoever knows them fires them all, more than one call may write.
        world.duties.take().unwrap().stop().await;
        let config = knows_doubling();
        world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &config));
        world.sim.advance(seconds(5)).await;
        for n in [0, 499, 500, 1_199] {
            assert!(!world.fired_ms(&format!("foreign-{n}")).await.is_empty(), "{n}");
        }
    });
}
