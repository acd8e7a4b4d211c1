use taskwright::core::attempt::AttemptEnd;
use taskwright::{Context, MaxAttempts, State, TaskError};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn five_attempts_are_five_executions_and_the_job_ends_as_failed() {
    world(async |world| {
        let calls = Notes::new();
        let noted = calls.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            noted.add((ctx.attempt(), ctx.is_last_attempt()));
            async move { Err::<(), _>(TaskError::retry(format!("failure {}", ctx.attempt()))) }
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!(calls.all(), [(1, false), (2, false), (3, false), (4, false), (5, true)]);
        assert_eq!((job.view.state, job.view.error.as_deref()), (State::Failed, Some("failure 5")));
        let errors: Vec<_> = job.attempts.iter().map(|attempt| attempt.error.clone().unwrap()).collect();
        assert_eq!(errors, ["failure 1", "failure 2", "failure 3", "failure 4", "failure 5"]);
        let summary = worker.stop().await;
        assert_eq!((summary.retried, summary.failed), (4, 1));
    });
}

#[test]
fn a_permanent_failure_ends_the_job_with_attempts_left() {
    world(async |world| {
        let worker = world.start(
            world.worker(handles(|_| async { Err::<(), _>(TaskError::permanent("no such account")) })),
        );
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.attempts.len()), (State::Failed, 1));
        assert_eq!(job.view.error.as_deref(), Some("no such account"));
        worker.stop().await;
    });
}

#[test]
fn a_snooze_does_not_count_as_an_attempt() {
    world(async |world| {
        let calls = Notes::new();
        let noted = calls.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            noted.add((ctx.attempt(), ctx.env().now()));
            let snoozes = noted.all().len() < 4;
            async move { if snoozes { Err(TaskError::snooze(seconds(30))) } else { Ok(()) } }
        })));
        let id = world.enqueue(job().max_attempts(MaxAttempts::limited(1).unwrap())).await;
        let job = world.over(id).await;
        let calls = calls.all();
        assert!(calls.iter().all(|(attempt, _)| *attempt == 1), "{calls:?}");
        assert!(calls.windows(2).all(|pair| pair[1].1.since(pair[0].1) == seconds(30)), "{calls:?}");
        assert_eq!((job.view.state, job.attempts.len()), (State::Completed, 1));
        assert_eq!(worker.stop().await.snoozed, 3);
    });
}

#[test]
fn a_handler_may_cancel_its_job() {
    world(async |world| {
        let worker = world.start(
            world.worker(handles(|_| async { Err::<(), _>(TaskError::cancelled("the user is gone")) })),
        );
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.attempts[0].end), (State::Cancelled, AttemptEnd::Cancelled));
        assert_eq!(job.view.error.as_deref(), Some("the user is gone"));
        worker.stop().await;
    });
}
