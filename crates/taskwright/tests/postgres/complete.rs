//! A handler's effects and the completion of its job take place together, or not at all, with every driver.

use std::time::Duration;

use taskwright::{Actor, Backoff, Context, Error, Job, JobId, Registry, State, TaskError};

use crate::drivers::{ALL, Driver, Then, Work, take_effect};
use crate::support::{SOON, Site, held_open};

/// An effect, and the completion.
fn completing(ctx: Context) -> Work<Result<(), Error>> {
    Box::new(|tx| {
        Box::pin(async move {
            take_effect(tx, "paid").await;
            ctx.complete_in(tx, &"in the transaction").await
        })
    })
}

async fn enqueue(site: &Site) -> JobId {
    let again_at_once = Backoff::Fixed { delay: Duration::from_millis(1) };
    site.client.enqueue(Job::new("pay").backoff(again_at_once)).await.unwrap().id
}

#[tokio::test]
async fn a_commit_does_both_and_a_rollback_neither() {
    let site = Site::new().await;
    let duties = taskwright::Duties::start(&site.store, &site.env, &taskwright::DutyConfig::default());
    for driver in ALL {
        let (url, before) = (site.url(), site.effects());
        // The first attempt is claimed out of a stream, and the second as a job that has a row of its own.
        let pay = move |ctx: Context| {
            let url = url.clone();
            async move {
                let then = if ctx.attempt() == 1 { Then::RollBack } else { Then::Commit };
                driver.transact(&url, completing(ctx.clone()), then).await?;
                if then == Then::RollBack { Err(TaskError::retry("rolled back")) } else { Ok("ignored") }
            }
        };
        let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
        let job = site.over(enqueue(&site).await).await;
        assert_eq!(job.view.state, State::Completed, "{driver:?}");
        assert_eq!(job.result.as_deref(), Some("\"in the transaction\""));
        assert_eq!(job.attempts.len(), 2, "{driver:?}");
        assert_eq!(site.effects() - before, 1, "{driver:?}");
        let summary = worker.stop().await;
        assert_eq!((summary.completed, summary.retried, summary.stale), (1, 1, 0), "{driver:?}");
    }
    drop(duties);
}

/// PH-X5, with a transaction of the handler's.
#[tokio::test]
async fn ph_x5_follow_ups_are_stored_by_the_commit_and_not_by_a_rollback() {
    let site = Site::new().await;
    let duties = taskwright::Duties::start(&site.store, &site.env, &taskwright::DutyConfig::default());
    for driver in ALL {
        let url = site.url();
        let pay = move |ctx: Context| {
            let url = url.clone();
            async move {
                let then = if ctx.attempt() == 1 { Then::RollBack } else { Then::Commit };
                ctx.then(Job::new("receipt").queue(&format!("attempt-{}", ctx.attempt())))?;
                driver.transact(&url, completing(ctx.clone()), then).await?;
                if then == Then::RollBack { Err(TaskError::retry("rolled back")) } else { Ok(()) }
            }
        };
        let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
        assert_eq!(site.over(enqueue(&site).await).await.view.state, State::Completed, "{driver:?}");
        worker.stop().await;
        let kinds = vec![taskwright::store::Pattern::new("receipt")];
        let filter = taskwright::store::Filter { kinds, ..Default::default() };
        let page = taskwright::store::Page { after: None, limit: 100, oldest_first: true };
        let made = site.store.list(filter, page).await.unwrap().jobs;
        let queues: Vec<_> = made.iter().map(|job| job.queue.as_str()).collect();
        assert_eq!(queues, ["attempt-2"], "{driver:?}");
        let ids = made.iter().map(|job| job.id).collect::<Vec<_>>();
        for change in [taskwright::store::Change::Cancel, taskwright::store::Change::Delete] {
            site.client.change(ids.clone(), change, Actor::system(), None).await.unwrap();
        }
    }
    drop(duties);
}

#[tokio::test]
async fn a_first_attempt_that_commits_leaves_nothing_behind() {
    let site = Site::new().await;
    let url = site.url();
    let pay = move |ctx: Context| {
        let url = url.clone();
        async move {
            ctx.log("before the transaction");
            ctx.progress(1, Some(1), None);
            Driver::Sqlx.transact(&url, completing(ctx), Then::Commit).await?;
            Ok(())
        }
    };
    let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
    let ids: Vec<_> = site.client.enqueue_many(vec![Job::new("pay"); 5]).await.unwrap();
    for stored in &ids {
        assert_eq!(site.over(stored.id).await.view.state, State::Completed);
        // What was said before is kept.
        assert_eq!(site.client.logs(stored.id, 0, 10).await.unwrap().len(), 1);
    }
    // One more, by which the worker hears that blocks are empty.
    let (worker, summary) =
        (site.worker(Registry::new().handler("other", |_| async { Ok(()) }).unwrap()), worker.stop().await);
    assert_eq!((summary.completed, summary.stale), (5, 0));
    site.over(site.client.enqueue(Job::new("other")).await.unwrap().id).await;
    worker.stop().await;
    assert_eq!(site.effects(), 5);
    assert_eq!(site.database.sql("SELECT count(*) FROM taskwright.block"), "0");
    assert_eq!(site.database.sql("SELECT count(*) FROM taskwright.running"), "0");
}

#[tokio::test]
async fn a_transaction_that_stays_open_holds_up_no_other_job_of_its_claim() {
    let site = Site::new().await;
    // Both are there before the worker is, so that one claim takes them.
    let ids: Vec<_> = site.client.enqueue_many(vec![Job::new("pay"); 2]).await.unwrap();
    let (registry, mut taken) = held_open("pay");
    let worker = site.worker_of(2, registry);
    let (first, end_first) = tokio::time::timeout(SOON, taken.recv()).await.unwrap().unwrap();
    let (second, end_second) = tokio::time::timeout(SOON, taken.recv()).await.unwrap().unwrap();
    let (url, client) = (site.url(), site.client.clone());
    let work: Work<Result<(), Error>> = Box::new(move |tx| {
        Box::pin(async move {
            first.complete_in(tx, &"in the transaction").await?;
            end_second.send(()).unwrap();
            // Within less than the time that a lock is waited for.
            let other = client.wait(second.job_id(), Some(Duration::from_secs(4))).await?;
            assert_eq!(other.view.state, State::Completed);
            Ok(())
        })
    });
    Driver::TokioPostgres.transact(&url, work, Then::Commit).await.unwrap();
    end_first.send(()).unwrap();
    for stored in ids {
        assert_eq!(site.over(stored.id).await.view.state, State::Completed);
    }
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.stale), (2, 0));
}

#[tokio::test]
async fn a_transaction_with_a_snapshot_of_its_own_completes_what_was_prepared() {
    let site = Site::new().await;
    let url = site.url();
    let pay = move |ctx: Context| {
        let url = url.clone();
        async move {
            ctx.log("before the transaction");
            ctx.prepare_completion().await?;
            let (mut client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
            let _driver = ctx.env().spawn("connection", connection);
            let isolation = tokio_postgres::IsolationLevel::RepeatableRead;
            let mut tx = client.build_transaction().isolation_level(isolation).start().await?;
            tx.execute("INSERT INTO effect (what) VALUES ('paid')", &[]).await?;
            ctx.complete_in(&mut tx, &"in the transaction").await?;
            tx.commit().await?;
            Ok(())
        }
    };
    let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
    let id = enqueue(&site).await;
    let job = site.over(id).await;
    assert_eq!(job.result.as_deref(), Some("\"in the transaction\""));
    assert_eq!((job.attempts.len(), site.effects()), (1, 1));
    assert_eq!(worker.stop().await.completed, 1);
}

#[tokio::test]
async fn a_rollback_before_an_ordinary_end_leaves_the_ordinary_end() {
    let site = Site::new().await;
    let url = site.url();
    let pay = move |ctx: Context| {
        let url = url.clone();
        async move {
            Driver::DieselAsync.transact(&url, completing(ctx), Then::RollBack).await?;
            Ok("the ordinary end")
        }
    };
    let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
    let job = site.over(enqueue(&site).await).await;
    assert_eq!(job.result.as_deref(), Some("\"the ordinary end\""));
    assert_eq!(site.effects(), 0);
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.stale), (1, 0));
}

#[tokio::test]
async fn an_error_after_the_commit_changes_nothing() {
    let site = Site::new().await;
    let url = site.url();
    let pay = move |ctx: Context| {
        let url = url.clone();
        async move {
            Driver::Deadpool.transact(&url, completing(ctx), Then::Commit).await?;
            Err::<(), _>(TaskError::retry("too late"))
        }
    };
    let worker = site.worker(Registry::new().handler("pay", pay).unwrap());
    let id = enqueue(&site).await;
    site.over(id).await;
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.retried, summary.stale), (1, 0, 0));
    let job = site.client.job(id).await.unwrap().unwrap();
    assert_eq!((job.view.state, job.attempts.len()), (State::Completed, 1));
}

/// The context of the one job that runs.
macro_rules! running {
    ($site:ident, $worker:ident, $taken:ident) => {{
        let id = enqueue(&$site).await;
        let (ctx, end) = tokio::time::timeout(SOON, $taken.recv()).await.unwrap().unwrap();
        assert_eq!(ctx.job_id(), id);
        (id, ctx, end)
    }};
}

#[tokio::test]
async fn a_worker_that_was_declared_lost_cannot_complete() {
    let site = Site::new().await;
    for driver in ALL {
        let (registry, mut taken) = held_open("pay");
        let worker = site.worker(registry);
        let (id, ctx, _end) = running!(site, worker, taken);
        // Another process lets it go, and the job runs again elsewhere: here, under the worker's next incarnation.
        site.another().await.unregister(site.env.now(), ctx.worker_id()).await.unwrap();
        let error = driver.transact(&site.url(), completing(ctx), Then::RollBack).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("has ended"), "{driver:?}: {error}");
        let (again, end) = tokio::time::timeout(SOON, taken.recv()).await.unwrap().unwrap();
        assert_eq!((again.job_id(), again.attempt()), (id, 2));
        end.send(()).unwrap();
        assert_eq!(site.over(id).await.result.as_deref(), Some("\"the ordinary end\""));
        worker.stop().await;
        assert_eq!(site.effects(), 0, "{driver:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_to_be_cancelled_cannot_be_completed() {
    let site = Site::new().await;
    for driver in ALL {
        let (registry, mut taken) = held_open("pay");
        let worker = site.worker(registry);
        let (id, ctx, end) = running!(site, worker, taken);
        assert!(site.client.cancel(id, Actor::system(), None).await.unwrap());
        let error = driver.transact(&site.url(), completing(ctx), Then::RollBack).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("cancelled"), "{driver:?}: {error}");
        assert_eq!(site.effects(), 0, "{driver:?}");
        end.send(()).unwrap();
        site.over(id).await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn an_attempt_is_completed_once() {
    let site = Site::new().await;
    let (registry, mut taken) = held_open("pay");
    let worker = site.worker(registry);
    let (id, ctx, end) = running!(site, worker, taken);
    Driver::Sqlx.transact(&site.url(), completing(ctx.clone()), Then::Commit).await.unwrap();
    let error = Driver::Sqlx.transact(&site.url(), completing(ctx), Then::RollBack).await.unwrap_err();
    assert!(error.is_refused(), "{error}");
    end.send(()).unwrap();
    assert_eq!(site.over(id).await.result.as_deref(), Some("\"in the transaction\""));
    assert_eq!(site.effects(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_result_that_cannot_be_kept_is_refused_before_anything_is_sent() {
    let site = Site::new().await;
    let (registry, mut taken) = held_open("pay");
    let worker = site.worker(registry);
    let (id, ctx, end) = running!(site, worker, taken);
    let work: Work<Result<(), Error>> =
        Box::new(|tx| Box::pin(async move { ctx.complete_in(tx, &"x".repeat(1 << 20)).await }));
    let error = Driver::Sqlx.transact(&site.url(), work, Then::Commit).await.unwrap_err();
    assert!(error.is_domain() && error.to_string().contains("1048576"), "{error}");
    end.send(()).unwrap();
    assert_eq!(site.over(id).await.result.as_deref(), Some("\"the ordinary end\""));
    worker.stop().await;
}
