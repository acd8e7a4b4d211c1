use taskwright::core::attempt::AttemptEnd;
use taskwright::{Context, MaxAttempts, State, TaskError};

use crate::support::{handles, job, world};

fn once() -> taskwright::Job {
    job().max_attempts(MaxAttempts::limited(1).unwrap())
}

#[test]
fn a_panic_keeps_its_message_and_its_place_and_the_worker_goes_on() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            let number: i32 = ctx.args()?;
            tokio::task::yield_now().await;
            assert!(number != 13, "unlucky number {number}");
            Ok::<_, TaskError>(())
        })));
        let bad = world.enqueue(once().args(&13).unwrap()).await;
        let good = world.enqueue(once().args(&14).unwrap()).await;
        let job = world.over(bad).await;
        assert_eq!((job.view.state, job.attempts[0].end), (State::Failed, AttemptEnd::Panicked));
        let error = job.view.error.unwrap();
        assert!(
            error.starts_with("panicked at ") && error.contains("panics_stay_in_their_attempt.rs:"),
            "{error}"
        );
        assert!(error.ends_with("unlucky number 13"), "{error}");
        assert_eq!(world.over(good).await.view.state, State::Completed);
        let summary = worker.stop().await;
        assert_eq!((summary.completed, summary.failed), (1, 1));
    });
}

#[test]
fn a_panic_before_the_first_await_is_caught_too() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| {
            let _: () = ctx.args::<String>().map(drop).expect("text was promised");
            async { Ok(()) }
        })));
        let id = world.enqueue(once().args(&1).unwrap()).await;
        let job = world.over(id).await;
        assert!(job.view.error.unwrap().contains("text was promised"));
        worker.stop().await;
    });
}

#[test]
fn a_panic_while_a_handler_is_dropped_is_caught_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the clean-up failed");
        }
    }
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async {
            let _bomb = Bomb;
            std::future::pending::<Result<(), TaskError>>().await
        })));
        let id = world.enqueue(once().timeout(std::time::Duration::from_secs(1))).await;
        let other = world.enqueue(once().timeout(std::time::Duration::from_secs(1))).await;
        assert_eq!(world.over(id).await.view.state, State::Failed);
        assert_eq!(world.over(other).await.view.state, State::Failed);
        worker.stop().await;
    });
}

#[test]
fn a_panic_is_tried_again_as_any_failure() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            assert!(ctx.attempt() == 2, "not yet");
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!(job.view.state, State::Completed);
        let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Panicked, AttemptEnd::Completed]);
        worker.stop().await;
    });
}
