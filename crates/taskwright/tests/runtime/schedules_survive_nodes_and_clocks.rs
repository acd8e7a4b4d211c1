//! Nothing fires twice and nothing is missed: with several nodes, lost answers, and clocks that jump.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::schedule::{Misfire, SkipReason};
use taskwright::store::{FiringOutcome, SharedStore};
use taskwright::testing::{Call, When};
use taskwright::{Context, Duties, DutyConfig, State, TaskError};

use crate::support::{World, handles, schedule, seconds, world};

const HOUR: u64 = 3_600;

fn node(world: &World) -> Duties {
    let store: SharedStore = Arc::new(world.memory.handle());
    Duties::start(&store, &world.sim.env(), &DutyConfig::default())
}

#[test]
fn three_nodes_of_which_one_after_the_other_dies_fire_each_second_once() {
    world(async |mut world| {
        let all = |name: &str| schedule(name, "every", "1s").misfire(Misfire::all(1_000).unwrap());
        for n in 0..20 {
            world.put(all(&format!("s{n}"))).await;
        }
        drop(world.duties.take());
        let mut nodes: Vec<Duties> = (0..3).map(|_| node(&world)).collect();
        for round in 0..30 {
            world.sim.advance(Duration::from_millis(1_730 + 370 * (round % 3))).await;
            // Without a word: its lease still stands.
            drop(nodes.remove(0));
            nodes.push(node(&world));
        }
        let until = i64::try_from(world.elapsed_ms()).unwrap() / 1_000;
        world.sim.advance(seconds(1)).await;
        for n in 0..20 {
            let mut fired = world.fired_ms(&format!("s{n}")).await;
            fired.retain(|due| *due <= until * 1_000);
            let each: Vec<i64> = (1..=until).map(|second| second * 1_000).collect();
            assert_eq!(fired, each);
        }
    });
}

#[test]
fn nobody_is_late_when_the_leader_dies() {
    world(async |mut world| {
        world.put(schedule("tick", "every", "1s")).await;
        let _follower = node(&world);
        world.sim.advance(Duration::from_millis(5_500)).await;
        drop(world.duties.take());
        world.sim.advance(seconds(10)).await;
        let history = world.history("tick").await;
        assert_eq!(history.len(), 15);
        for firing in history {
            let late = firing.at.since(firing.due);
            assert!(late <= Duration::from_millis(200), "{late:?}");
        }
    });
}

#[test]
fn a_lost_answer_does_not_fire_twice() {
    world(async |world| {
        world.put(schedule("tick", "every", "1m")).await;
        world.faulty.fail(Call::WriteSchedules, 2..=4, When::After);
        world.sim.advance(seconds(185)).await;
        assert_eq!(world.fired_ms("tick").await, [60_000, 120_000, 180_000]);
    });
}

#[test]
fn a_store_that_is_away_for_a_while_is_made_up_for() {
    world(async |world| {
        world.put(schedule("tick", "every", "1m").misfire(Misfire::all(100).unwrap())).await;
        world.faulty.fail(Call::DueSchedules, 1..=u64::MAX, When::Before);
        world.sim.advance(seconds(600)).await;
        world.faulty.heal();
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.fired_ms("tick").await.len(), 11);
    });
}

/// NU-X9: an hour forwards is an hour in which nobody was up.
#[test]
fn nu_x9_a_clock_set_forwards_is_a_misfire_and_no_burst() {
    for (jump, missed) in [(HOUR, 60), (24 * HOUR, 1_440), (8 * HOUR, 480)] {
        world(async |world| {
            world.put(schedule("tick", "every", "1m")).await;
            world.sim.advance(seconds(90)).await;
            world.sim.clock().set_forwards(seconds(jump));
            world.sim.advance(seconds(2)).await;
            let fired = world.fired_ms("tick").await;
            assert_eq!(fired.len(), 2, "the one before, and one for all that was missed");
            let skipped = world.history("tick").await.iter().find_map(|firing| match firing.outcome {
                FiringOutcome::Skipped(run) => Some((run.count, run.reason)),
                FiringOutcome::Fired { .. } => None,
            });
            assert_eq!(skipped, Some((missed - 1, SkipReason::Misfire)));
        });
    }
}

/// NU-X9: what has fired does not fire again, and it goes on when the clock has passed its last due time.
#[test]
fn nu_x9_a_clock_set_backwards_fires_nothing_twice() {
    for jump in [HOUR, 24 * HOUR] {
        world(async |world| {
            world.put(schedule("tick", "every", "1m")).await;
            world.sim.advance(seconds(2 * 60 + 1)).await;
            world.sim.clock().set_backwards(seconds(jump));
            world.sim.advance(seconds(jump)).await;
            assert_eq!(
                world.fired_ms("tick").await,
                [60_000, 120_000],
                "nothing until the clock is there again"
            );
            world.sim.advance(seconds(60)).await;
            assert_eq!(world.fired_ms("tick").await, [60_000, 120_000, 180_000]);
        });
    }
}

/// NU-X6: a panic is an attempt that failed, and the schedule goes on.
#[test]
fn nu_x6_a_task_that_panics_fails_its_job_and_the_schedule_goes_on() {
    world(async |world| {
        let once = taskwright::MaxAttempts::limited(1).unwrap();
        world.put(schedule("bad", "every", "1m").max_attempts(once)).await;
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            assert!(ctx.attempt() > 1, "nothing is there");
            Ok::<_, TaskError>(())
        })));
        world.sim.advance(seconds(125)).await;
        let history = world.history("bad").await;
        assert_eq!(history.len(), 2);
        for firing in history {
            let FiringOutcome::Fired { job, .. } = firing.outcome else { panic!("it fired") };
            let job = world.job(job).await;
            assert_eq!(job.view.state, State::Failed);
            assert!(job.view.error.unwrap().contains("nothing is there"));
        }
    });
}

/// NU-X7: it stops at once though a retry waits, twice is harmless, and it goes on after a new start.
#[test]
fn nu_x7_a_stop_during_a_back_off_is_prompt_and_a_start_after_it_works() {
    world(async |mut world| {
        world.put(schedule("flaky", "after", "1s").backoff("fixed:1h".parse().unwrap())).await;
        let fails = || {
            handles(|ctx: Context| async move {
                match ctx.attempt() {
                    1 => Err(TaskError::retry("not yet")),
                    _ => Ok(()),
                }
            })
        };
        let worker = world.start(world.worker(fails()));
        world.sim.advance(seconds(5)).await;
        let before = world.elapsed_ms();
        worker.stop().await;
        world.duties.take().unwrap().stop().await;
        assert!(world.elapsed_ms() - before < 1_000);
        let stopped = node(&world);
        stopped.stop().await;
        world.duties = Some(node(&world));
        let _worker = world.start(world.worker(fails()));
        let FiringOutcome::Fired { job, .. } = world.history("flaky").await[0].outcome else {
            panic!("it fired")
        };
        assert_eq!(world.over(job).await.view.state, State::Completed);
    });
}
