//! Misfire, overlap, pause and edit: what a schedule does that could not, or should not, go on as it was.

use taskwright::core::schedule::{Misfire, Overlap, SkipReason};
use taskwright::schedule::Put;
use taskwright::store::{FiringOutcome, FiringView};
use taskwright::{Context, Duties, DutyConfig, Namespace, State, TaskError};

use crate::support::{World, handles, schedule, seconds, since_begin_ms, world};

const DAYS_3: u64 = 3 * 86_400;

/// Nobody was up for three days, and then somebody is.
async fn down_for_3_days(mut world: World, misfire: Misfire) -> World {
    world.put(schedule("minutely", "cron", "* * * * *").misfire(misfire)).await;
    world.duties.take().unwrap().stop().await;
    world.sim.advance(seconds(DAYS_3 + 1)).await;
    world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &DutyConfig::default()));
    world.sim.advance(seconds(2)).await;
    world
}

fn skipped(firing: &FiringView) -> Option<(u64, SkipReason)> {
    match firing.outcome {
        FiringOutcome::Skipped(run) => Some((run.count, run.reason)),
        FiringOutcome::Fired { .. } => None,
    }
}

#[test]
fn after_three_days_once_makes_one_job_for_all() {
    world(async |world| {
        let world = down_for_3_days(world, Misfire::Once).await;
        assert_eq!(world.fired_ms("minutely").await, [259_200_000], "the newest");
        let history = world.history("minutely").await;
        assert_eq!(history.iter().find_map(skipped), Some((4_319, SkipReason::Misfire)));
        assert_eq!(world.view("minutely").await.next.map(since_begin_ms), Some(259_260_000));
    });
}

#[test]
fn after_three_days_skip_makes_none() {
    world(async |world| {
        let world = down_for_3_days(world, Misfire::Skip).await;
        assert_eq!(world.fired_ms("minutely").await, [0; 0]);
        assert_eq!(
            world.history("minutely").await.iter().find_map(skipped),
            Some((4_320, SkipReason::Misfire))
        );
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.fired_ms("minutely").await, [259_260_000], "and goes on");
    });
}

#[test]
fn after_three_days_all_up_to_ten_makes_the_newest_ten_each_with_its_due_time() {
    world(async |world| {
        let world = down_for_3_days(world, Misfire::all(10).unwrap()).await;
        let newest: Vec<i64> = (0..10).map(|n| 259_200_000 - (9 - n) * 60_000).collect();
        assert_eq!(world.fired_ms("minutely").await, newest);
        let previous = world.history("minutely").await.last().unwrap().previous_due;
        assert_eq!(previous.map(since_begin_ms), Some(259_140_000));
    });
}

/// A job of 150 s every minute, for ten minutes: how often it was made, and the most that ran at once.
async fn slow(world: &World, overlap: Overlap) -> usize {
    world.put(schedule("slow", "every", "1m").overlap(overlap)).await;
    let worker = world.worker(handles(|ctx: Context| async move {
        ctx.pause(seconds(150)).await?;
        Ok::<_, TaskError>(())
    }));
    let worker = world.start(worker.concurrency(20));
    world.sim.advance(seconds(630)).await;
    let made = world.fired_ms("slow").await.len();
    drop(worker);
    made
}

/// NU-X2: made at 60, 240, 420 and 600 s, since the one before ends 150 s after its start.
#[test]
fn nu_x2_overlap_skip_makes_no_job_while_one_is_not_over() {
    world(async |world| {
        assert_eq!(slow(&world, Overlap::Skip).await, 4);
        assert_eq!(world.fired_ms("slow").await, [60_000, 240_000, 420_000, 600_000]);
        let history = world.history("slow").await;
        assert_eq!(
            history.iter().filter_map(skipped).filter(|(_, why)| *why == SkipReason::Overlap).count(),
            6
        );
    });
}

/// NU-X2: one occurrence waits, and its job is made within a second of the end of the one before.
#[test]
fn nu_x2_overlap_queue_one_lets_one_occurrence_wait() {
    world(async |world| {
        slow(&world, Overlap::QueueOne).await;
        assert_eq!(world.fired_ms("slow").await, [60_000, 120_000, 240_000, 360_000]);
        let mut ends = Vec::new();
        for firing in world.history("slow").await {
            if let FiringOutcome::Fired { job, .. } = firing.outcome {
                let job = world.job(job).await.view;
                ends.push((since_begin_ms(job.created_at), job.ended_at.map(since_begin_ms)));
            }
        }
        for pair in ends.windows(2) {
            let (ended, next) = (pair[0].1.unwrap(), pair[1].0);
            assert!((ended..=ended + 1_200).contains(&next), "{ends:?}");
        }
    });
}

/// NU-X2.
#[test]
fn nu_x2_overlap_allow_makes_each_job() {
    world(async |world| assert_eq!(slow(&world, Overlap::Allow).await, 10));
}

/// NU-X2.
#[test]
fn nu_x2_overlap_cancel_previous_stops_the_one_before() {
    world(async |world| {
        assert_eq!(slow(&world, Overlap::CancelPrevious).await, 10);
        let mut states = Vec::new();
        for firing in world.history("slow").await {
            if let FiringOutcome::Fired { job, .. } = firing.outcome {
                states.push(world.job(job).await.view.state);
            }
        }
        let (last, before) = states.split_last().unwrap();
        assert_eq!(*last, State::Running);
        assert!(before.iter().all(|state| *state == State::Cancelled), "{states:?}");
    });
}

/// NU-X4: what is due meanwhile is skipped, and it goes on with the next due time, also after a restart.
#[test]
fn nu_x4_a_paused_schedule_rests_through_restarts_until_it_is_resumed() {
    world(async |mut world| {
        let (namespace, name) = (Namespace::default(), "tick".parse().unwrap());
        world.put(schedule("tick", "every", "1m")).await;
        world.sim.advance(seconds(61)).await;
        let schedules = world.client.schedules();
        assert!(schedules.pause(&namespace, &name).await.unwrap());
        assert!(!schedules.pause(&namespace, &name).await.unwrap());
        world.duties.take().unwrap().stop().await;
        world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &DutyConfig::default()));
        assert_eq!(
            world.put(schedule("tick", "every", "1m").owner("me".parse().unwrap())).await,
            Put::Changed
        );
        world.sim.advance(seconds(300)).await;
        assert_eq!(world.fired_ms("tick").await, [60_000]);
        assert!(schedules.resume(&namespace, &name).await.unwrap());
        assert!(!schedules.resume(&namespace, &name).await.unwrap());
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.fired_ms("tick").await, [60_000, 420_000]);
        let skips: Vec<_> = world.history("tick").await.iter().filter_map(skipped).collect();
        assert_eq!(skips, [(5, SkipReason::Off)]);
    });
}

/// NU-X4.
#[test]
fn nu_x4_a_disabled_schedule_does_not_fire_and_goes_on_when_it_is_enabled() {
    world(async |world| {
        world.put(schedule("tick", "every", "1m").enabled(false)).await;
        world.sim.advance(seconds(150)).await;
        world.put(schedule("tick", "every", "1m")).await;
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.fired_ms("tick").await, [180_000]);
    });
}

/// PH-X14: edited to the past, it fires once at once.
#[test]
fn ph_x14_a_trigger_that_is_edited_to_the_past_fires_once_at_once() {
    world(async |world| {
        world.put(schedule("report", "cron", "0 12 * * *")).await;
        world.sim.advance(seconds(10 * 3_600)).await;
        world.put(schedule("report", "cron", "0 3 * * *")).await;
        world.sim.advance(seconds(1)).await;
        assert_eq!(world.fired_ms("report").await, [3 * 3_600_000]);
        world.sim.advance(seconds(16 * 3_600)).await;
        assert_eq!(world.fired_ms("report").await, [3 * 3_600_000]);
        world.sim.advance(seconds(3_600)).await;
        assert_eq!(world.fired_ms("report").await, [3 * 3_600_000, 27 * 3_600_000]);
    });
}

/// PH: an edit keeps the last firing; a one-time trigger never fires twice.
#[test]
fn a_one_time_trigger_does_not_fire_again_after_an_edit() {
    world(async |world| {
        world.put(schedule("once", "at", "2026-01-01T00:01:00Z")).await;
        world.sim.advance(seconds(61)).await;
        for when in ["2026-01-01T00:01:00Z", "2026-01-01T00:00:30Z", "2026-01-01T00:05:00Z"] {
            world.put(schedule("once", "at", when).owner(when.parse().unwrap())).await;
            world.sim.advance(seconds(600)).await;
        }
        assert_eq!(world.fired_ms("once").await, [60_000]);
    });
}

/// NU: each trigger makes its own job.
#[test]
fn several_triggers_each_make_their_jobs() {
    world(async |world| {
        let both = schedule("both", "every", "7m")
            .trigger(taskwright::Trigger::read("cron", "*/5 * * * *", None).unwrap());
        world.put(both.overlap(Overlap::Allow)).await;
        world.sim.advance(seconds(15 * 60 + 1)).await;
        assert_eq!(world.fired_ms("both").await, [300_000, 420_000, 600_000, 840_000, 900_000]);
    });
}
