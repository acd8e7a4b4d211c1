//! `#[tx]`: what a task does in its transaction takes place together with the completion of its job, or not at all.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};
use taskwright::{Backoff, Context, Registry, State, TaskError, task};

use crate::support::Site;

#[task("pay", backoff = Backoff::Fixed { delay: Duration::from_millis(1) })]
async fn pay(
    what: String,
    #[tx] tx: &mut Transaction<'static, Postgres>,
    ctx: &Context,
) -> Result<String, TaskError> {
    sqlx::query("INSERT INTO public.effect (what) VALUES ($1)").bind(&what).execute(&mut **tx).await?;
    if ctx.attempt() == 1 {
        return Err(TaskError::retry("once more"));
    }
    Ok(format!("{what}, once"))
}

#[tokio::test]
async fn what_returns_ok_is_committed_with_the_completion_and_what_fails_is_rolled_back() {
    let site = Site::new().await;
    let duties = taskwright::Duties::start(&site.store, &site.env, &taskwright::DutyConfig::default());
    let pool = PgPool::connect(&site.url()).await.unwrap();
    let worker = site.worker(Registry::new().state(pool).register::<Pay>().unwrap());
    let before = site.effects();
    let job = site.client.enqueue(Pay { what: "paid".to_owned() }).await.unwrap();
    let over = site.over(job.id).await;
    assert_eq!((over.view.state, over.attempts.len()), (State::Completed, 2), "{over:?}");
    assert_eq!(job.output().await.unwrap(), "paid, once");
    assert_eq!(site.effects() - before, 1, "that of the first attempt was rolled back");
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.retried, summary.stale), (1, 1, 0));
    drop(duties);
}

#[tokio::test]
async fn without_the_pool_the_attempt_fails_and_says_what_is_missing() {
    let site = Site::new().await;
    let worker = site.worker(Registry::new().register::<Pay>().unwrap());
    let job = site.client.enqueue(Pay { what: "paid".to_owned() }).await.unwrap();
    let why = loop {
        let job = job.job().await.unwrap();
        if let Some(why) = job.view.error {
            break why;
        }
        site.env.sleep(Duration::from_millis(5)).await;
    };
    assert!(why.contains("PgPool") || why.contains("Pool<"), "{why}");
    assert!(why.contains(".state(..)"), "{why}");
    worker.stop().await;
}
