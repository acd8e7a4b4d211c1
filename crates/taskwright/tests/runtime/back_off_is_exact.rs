use taskwright::{Backoff, Context, Job, MaxAttempts, State, TaskError, Timestamp};

use crate::support::{Notes, World, handles, job, seconds, world};

/// Runs a job whose handler fails until it is over, and gives when it was called and when each next call was due.
async fn calls(world: &World, job: Job, fail: fn() -> TaskError) -> (Vec<Timestamp>, Vec<Timestamp>) {
    let called = Notes::new();
    let due = Notes::new();
    let noted = called.clone();
    let worker = world.start(world.worker(handles(move |ctx: Context| {
        noted.add(ctx.env().now());
        async move { Err::<(), _>(fail()) }
    })));
    let id = world.enqueue(job).await;
    for attempt in 1.. {
        called.reach(attempt).await;
        world.sim.settle().await;
        let job = world.job(id).await;
        if job.view.state.is_terminal() {
            break;
        }
        assert_eq!(job.view.state, State::Retryable);
        due.add(job.view.run_at);
    }
    worker.stop().await;
    (called.all(), due.all())
}

#[test]
fn an_attempt_starts_at_the_moment_that_was_stored_after_the_failure() {
    world(async |world| {
        let (called, due) = calls(&world, job(), || TaskError::retry("no")).await;
        assert_eq!(called.len(), 5);
        assert_eq!(called[1..], due);
    });
}

#[test]
fn the_default_back_off_doubles_from_ten_seconds_within_its_jitter() {
    world(async |world| {
        let (called, _) = calls(&world, job(), || TaskError::retry("no")).await;
        for (pair, expected) in called.windows(2).zip([10.0, 20.0, 40.0, 80.0]) {
            let waited = pair[1].since(pair[0]).as_secs_f64();
            assert!(
                (0.8 * expected..=1.2 * expected).contains(&waited),
                "{waited} s instead of {expected} s"
            );
        }
    });
}

#[test]
fn a_job_may_bring_its_own_back_off() {
    world(async |world| {
        let job = job().backoff(Backoff::Fixed { delay: seconds(100) });
        let (called, _) =
            calls(&world, job.max_attempts(MaxAttempts::limited(2).unwrap()), || TaskError::retry("no"))
                .await;
        let waited = called[1].since(called[0]).as_secs_f64();
        assert!((80.0..=120.0).contains(&waited), "{waited}");
    });
}

#[test]
fn retry_after_beats_the_back_off_and_has_no_jitter() {
    world(async |world| {
        let fail = || TaskError::retry_after("busy", seconds(77));
        let (called, _) = calls(&world, job(), fail).await;
        assert!(called.windows(2).all(|pair| pair[1].since(pair[0]) == seconds(77)), "{called:?}");
    });
}
