use std::sync::atomic::{AtomicU64, Ordering};

use taskwright::{Context, MaxAttempts, State, TaskError};

use crate::support::{handles, job, world};

struct Counter(AtomicU64);

#[test]
fn handlers_find_shared_state_by_its_type() {
    world(async |world| {
        let registry = handles(|ctx: Context| async move {
            Ok::<_, TaskError>(ctx.state::<Counter>()?.0.fetch_add(1, Ordering::Relaxed))
        });
        let worker =
            world.start(world.worker(registry.state(Counter(AtomicU64::new(7))).state("another type")));
        let id = world.enqueue(job()).await;
        assert_eq!(world.over(id).await.result.as_deref(), Some("7"));
        let id = world.enqueue(job()).await;
        assert_eq!(world.over(id).await.result.as_deref(), Some("8"));
        worker.stop().await;
    });
}

#[test]
fn state_that_nobody_gave_is_an_error_that_says_so() {
    world(async |world| {
        let worker = world
            .start(world.worker(handles(|ctx: Context| async move { ctx.state::<Counter>().map(|_| ()) })));
        let id = world.enqueue(job().max_attempts(MaxAttempts::limited(1).unwrap())).await;
        let job = world.over(id).await;
        assert_eq!(job.view.state, State::Failed);
        let error = job.view.error.unwrap();
        assert!(error.contains("Counter") && error.contains(".state(..)"), "{error}");
        worker.stop().await;
    });
}
