//! What `enqueue` gives: the job, and what can be done with it.

use std::time::Duration;

use taskwright::{Actor, Context, Job, MaxAttempts, Registry, State, TaskError, task};

use crate::support::{handles, job, seconds, world};

#[task("count", timeout = "1h")]
async fn count(to: u64, ctx: &Context) -> Result<Vec<u64>, TaskError> {
    for step in 1..=to {
        ctx.progress(step, Some(to), Some("counting"));
        ctx.pause(Duration::from_secs(1)).await?;
    }
    Ok((1..=to).collect())
}

#[test]
fn a_handle_waits_for_what_its_task_gives_back() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Count>().unwrap()));
        let job = world.client.enqueue(&Count { to: 3 }).await.unwrap();
        let output: Vec<u64> = job.output().await.unwrap();
        assert_eq!(output, [1, 2, 3]);
        assert_eq!(job.result::<(u8, u8, u8)>().await.unwrap(), (1, 2, 3), "as any type that fits");

        let error = job.result::<String>().await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("the result of the job {}: invalid type", job.id)),
            "{error}"
        );
        let again = world.client.handle(job.id).typed::<Vec<u64>>();
        assert_eq!(again.output().await.unwrap(), [1, 2, 3]);
        worker.stop().await;
    });
}

#[test]
fn a_job_that_did_not_complete_is_an_error_that_says_how_it_ended() {
    world(async |world| {
        let registry = handles(|_| async { Err::<(), _>(TaskError::permanent("no such page")) });
        let worker = world.start(world.worker(registry));
        let failed =
            world.client.enqueue(job().max_attempts(MaxAttempts::limited(1).unwrap())).await.unwrap();
        let error = failed.result::<()>().await.unwrap_err();
        assert!(error.is_not_completed() && error.job_state() == Some(State::Failed));
        assert_eq!(error.to_string(), format!("the job {}: it is failed: no such page", failed.id));

        let gone = world.client.handle(world.sim.env().job_id());
        assert!(gone.wait().await.unwrap_err().is_not_found());
        assert!(gone.progress().next().await.unwrap_err().is_not_found());
        worker.stop().await;
    });
}

#[test]
fn progress_is_told_as_it_comes_until_the_job_is_over() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Count>().unwrap()));
        let job = world.client.enqueue(Count { to: 4 }).await.unwrap();
        let mut progress = job.progress();
        let mut told = Vec::new();
        while let Some(progress) = progress.next().await.unwrap() {
            told.push((progress.done, progress.total));
        }
        assert_eq!(told, [(1, Some(4)), (2, Some(4)), (3, Some(4)), (4, Some(4))]);
        assert!(progress.next().await.unwrap().is_none(), "and nothing after that");
        assert_eq!(job.job().await.unwrap().view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn a_handle_cancels_its_job_once() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Count>().unwrap()));
        let job = world.client.enqueue(Count { to: 1_000 }).await.unwrap();
        world.sim.advance(seconds(5)).await;
        let actor = Actor::new("ada").unwrap();
        assert!(job.cancel(actor.clone(), Some("enough".to_owned())).await.unwrap());
        assert!(!job.cancel(actor, None).await.unwrap());
        let error = job.output().await.unwrap_err();
        assert_eq!(error.job_state(), Some(State::Cancelled), "{error}");
        assert!(error.to_string().contains("ada: enough"), "{error}");
        worker.stop().await;
    });
}

#[test]
fn whoever_waits_for_so_long_only_gets_the_job_as_it_is() {
    world(async |world| {
        let waiting = world.client.enqueue(Job::new("nobody.runs.this")).await.unwrap();
        let before_ms = world.elapsed_ms();
        let job = waiting.wait_for(seconds(3)).await.unwrap();
        assert_eq!(job.view.state, State::Available);
        assert_eq!(world.elapsed_ms() - before_ms, 3_000);
    });
}
