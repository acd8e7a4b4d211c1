//! A job of a transaction exists if and only if that commits, with every driver.

use std::sync::{Arc, Mutex};

use taskwright::core::{Error as DomainError, NewJob};
use taskwright::store::Enqueued;
use taskwright::{
    Args, Client, Context, EnqueueNext, Env, Error, Job, Registry, State, TaskError, UniqueKey, UniqueScope,
};
use tokio::sync::oneshot;

use crate::drivers::{ALL, Driver, Then, Work};
use crate::support::Site;

/// Enqueues the jobs in one transaction.
async fn enqueue(driver: Driver, site: &Site, jobs: Vec<Job>, then: Then) -> Result<Vec<Enqueued>, Error> {
    driver.transact(&site.url(), enqueueing(site.client.clone(), jobs), then).await
}

fn enqueueing(client: Client, jobs: Vec<Job>) -> Work<Result<Vec<Enqueued>, Error>> {
    Box::new(|tx| Box::pin(async move { client.enqueue_many_in(tx, jobs).await }))
}

/// CR-X5; how soon it runs is in `latency.rs`.
#[tokio::test]
async fn a_committed_one_runs_and_one_that_was_rolled_back_never_was() {
    let site = Site::new().await;
    let registry = Registry::new()
        .handler("order", |ctx: Context| async move { Ok::<_, TaskError>(ctx.job_id().to_string()) });
    let worker = site.worker(registry.unwrap());
    for driver in ALL {
        let job = || vec![Job::new("order").queue("shop").owner("Zoë").args(&driver_name(driver)).unwrap()];
        let gone = enqueue(driver, &site, job(), Then::RollBack).await.unwrap()[0].id;
        let kept = enqueue(driver, &site, job(), Then::Commit).await.unwrap()[0];
        assert!(!kept.existing);
        let ran = site.over(kept.id).await;
        assert_eq!(ran.view.state, State::Completed, "{driver:?}");
        assert_eq!(ran.result, Some(format!("\"{}\"", kept.id)));
        assert_eq!(ran.args, Args::of(&driver_name(driver)).unwrap());
        assert_eq!(site.client.job(gone).await.unwrap(), None, "{driver:?}");
    }
    assert_eq!(worker.stop().await.completed, ALL.len() as u64);
}

fn driver_name(driver: Driver) -> String {
    format!("{driver:?}, \\u0000, \"quoted\"")
}

#[tokio::test]
async fn a_unique_key_is_kept_by_whoever_has_it() {
    let site = Site::new().await;
    for (number, driver) in ALL.into_iter().enumerate() {
        let key = UniqueKey::new(&format!("order:{number}")).unwrap().with_scope(UniqueScope::Active);
        let job = || vec![Job::new("order").unique(key.clone())];
        let gone = enqueue(driver, &site, job(), Then::RollBack).await.unwrap()[0];
        let first = enqueue(driver, &site, job(), Then::Commit).await.unwrap()[0];
        assert!(!first.existing && first.id != gone.id, "{driver:?}");
        let second = enqueue(driver, &site, job(), Then::Commit).await.unwrap()[0];
        assert_eq!(second, Enqueued { id: first.id, existing: true }, "{driver:?}");
        // The ordinary way sees the same.
        let third = site.client.enqueue(job().remove(0)).await.unwrap();
        assert_eq!(third, second, "{driver:?}");
    }
}

/// Enqueues one job, says so, and keeps the transaction open until it is told.
fn kept_open(client: Client, job: Job) -> (Work<Enqueued>, oneshot::Receiver<Enqueued>, oneshot::Sender<()>) {
    let (stored, told) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let work: Work<Enqueued> = Box::new(|tx| {
        Box::pin(async move {
            let enqueued = client.enqueue_in(tx, job).await.unwrap();
            stored.send(enqueued).unwrap();
            let _ = ended.await;
            enqueued
        })
    });
    (work, told, end)
}

/// CR-X3: a look before storing is not enough, since neither sees what the other has not committed.
#[tokio::test]
async fn cr_x3_of_two_open_transactions_that_store_the_same_the_second_waits_for_the_first() {
    let site = Site::new().await;
    for (number, driver) in ALL.into_iter().enumerate() {
        for then in [Then::Commit, Then::RollBack] {
            let key = UniqueKey::new(&format!("{number} {then:?}")).unwrap().with_scope(UniqueScope::Active);
            let job = || Job::new("order").unique(key.clone());
            let (first, told, end) = kept_open(site.client.clone(), job());
            let url = site.url();
            let first = site.env.spawn("first", async move { driver.transact(&url, first, then).await });
            let of_first = told.await.unwrap();
            let second = enqueueing(site.client.clone(), vec![job()]);
            let url = site.url();
            let second =
                site.env.spawn("second", async move { driver.transact(&url, second, Then::Commit).await });
            site.until_one_waits_for_a_lock().await;
            drop(end);
            first.await.unwrap();
            let of_second = second.await.unwrap().unwrap()[0];
            let is_first = then == Then::Commit;
            assert_eq!((of_second.existing, of_second.id == of_first.id), (is_first, is_first), "{driver:?}");
            let rows = site.client.enqueue(job()).await.unwrap();
            assert_eq!(rows, Enqueued { id: of_second.id, existing: true }, "{driver:?}: one job");
        }
    }
}

/// CR-X4: whoever finds that a job is there keeps nobody from running it.
#[tokio::test]
async fn cr_x4_a_job_that_an_open_transaction_has_met_runs() {
    let site = Site::new().await;
    for (number, driver) in ALL.into_iter().enumerate() {
        let key = UniqueKey::new(&number.to_string()).unwrap().with_scope(UniqueScope::Active);
        let job = Job::new("order").unique(key);
        let there = site.client.enqueue(job.clone()).await.unwrap();
        let (work, told, end) = kept_open(site.client.clone(), job);
        let url = site.url();
        let open = site.env.spawn("open", async move { driver.transact(&url, work, Then::Commit).await });
        assert_eq!(told.await.unwrap(), Enqueued { id: there.id, existing: true }, "{driver:?}");
        let worker = site.worker(Registry::new().handler("order", |_| async { Ok(()) }).unwrap());
        assert_eq!(site.over(there.id).await.view.state, State::Completed, "{driver:?}");
        worker.stop().await;
        drop(end);
        open.await.unwrap();
    }
}

#[tokio::test]
async fn many_are_answered_and_run_in_their_order() {
    let site = Site::new().await;
    let ran = Arc::new(Mutex::new(Vec::new()));
    let seen = ran.clone();
    let registry = Registry::new().handler("order", move |ctx: Context| {
        seen.lock().unwrap().push(ctx.job_id());
        async { Ok::<_, TaskError>(()) }
    });
    let worker = site.worker(registry.unwrap());
    let mut expected = Vec::new();
    for driver in ALL {
        let ids: Vec<_> = (0..3).map(|_| Env::system().job_id()).collect();
        let jobs = ids.iter().map(|id| Job::new("order").id(*id)).collect();
        let stored = enqueue(driver, &site, jobs, Then::Commit).await.unwrap();
        assert!(stored.iter().map(|stored| stored.id).eq(ids.iter().copied()), "{driver:?}");
        site.over(ids[2]).await;
        expected.extend(ids);
        assert_eq!(*ran.lock().unwrap(), expected, "{driver:?}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn diesel_may_keep_the_transaction_to_itself() {
    use diesel_async::{AsyncConnection, AsyncPgConnection};

    let site = Site::new().await;
    let mut connection = AsyncPgConnection::establish(&site.url()).await.unwrap();
    let client = site.client.clone();
    let stored = connection
        .transaction::<Enqueued, Box<dyn std::error::Error + Send + Sync>, _>(async |connection| {
            Ok(client.enqueue_in(&mut *connection, Job::new("order")).await?)
        })
        .await
        .unwrap();
    assert_eq!(site.client.job(stored.id).await.unwrap().unwrap().view.state, State::Available);
}

#[tokio::test]
async fn everything_about_a_job_arrives() {
    let site = Site::new().await;
    let driver = Driver::TokioPostgres;
    let job = Job::new("order")
        .namespace("shop")
        .queue("slow")
        .owner("ada")
        .priority(taskwright::Priority(-7))
        .run_in(std::time::Duration::from_secs(3_600))
        .max_attempts(taskwright::MaxAttempts::limited(3).unwrap())
        .backoff(taskwright::Backoff::Fixed { delay: std::time::Duration::from_secs(7) })
        .timeout(std::time::Duration::from_millis(1_500))
        .delivery(taskwright::Delivery::AtMostOnce);
    let by_transaction = enqueue(driver, &site, vec![job.clone()], Then::Commit).await.unwrap()[0].id;
    let by_client = site.client.enqueue(job).await.unwrap().id;
    let [ours, theirs] = [by_transaction, by_client].map(|id| site.client.job(id));
    let (ours, mut theirs) = (ours.await.unwrap().unwrap(), theirs.await.unwrap().unwrap());
    let apart = theirs.view.run_at.since(ours.view.run_at);
    assert!(apart < std::time::Duration::from_secs(30), "{apart:?}");
    // What differs by nature.
    theirs.view.id = ours.view.id;
    (theirs.view.created_at, theirs.view.run_at) = (ours.view.created_at, ours.view.run_at);
    theirs.timeline[0].at = ours.timeline[0].at;
    assert_eq!(ours, theirs);

    let held = enqueue(driver, &site, vec![Job::new("order").hold()], Then::Commit).await.unwrap()[0].id;
    assert_eq!(site.client.job(held).await.unwrap().unwrap().view.state, State::Held);
}

#[tokio::test]
async fn a_schema_of_another_name_is_found() {
    let site = Site::with("?schema=jobs_2").await;
    let job = || vec![Job::new("order")];
    let id = enqueue(Driver::Sqlx, &site, job(), Then::Commit).await.unwrap()[0].id;
    assert_eq!(site.client.job(id).await.unwrap().unwrap().view.state, State::Available);
    assert_eq!(site.database.sql("SELECT count(*) FROM taskwright.job"), "0");
}

#[tokio::test]
async fn a_transaction_on_another_database_is_told_so() {
    let (site, other) = (Site::new().await, crate::cluster::Cluster::shared().database());
    for driver in ALL {
        let work = enqueueing(site.client.clone(), vec![Job::new("order")]);
        let error = driver.transact(&other.url(), work, Then::RollBack).await.unwrap_err();
        assert!(error.to_string().contains("no such function"), "{driver:?}: {error}");
        assert!(error.fix().contains("taskwright migrate"), "{driver:?}: {}", error.fix());
    }
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_to_run() {
    let site = Site::new().await;
    let role = site.database.role("program", "");
    for driver in ALL {
        let work = enqueueing(site.client.clone(), vec![Job::new("order")]);
        let error = driver.transact(&site.database.url_of(&role), work, Then::RollBack).await.unwrap_err();
        assert!(error.fix().contains("--grant"), "{driver:?}: {error}. {}", error.fix());
    }
}

#[tokio::test]
async fn what_stands_around_enqueues_stands_around_the_statement() {
    let site = Site::new().await;
    for driver in ALL {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (noted, env) = (Arc::clone(&notes), site.env.clone());
        let client = site.client.clone().around_enqueue(move |mut jobs: Vec<NewJob>, next: EnqueueNext| {
            let (notes, env) = (Arc::clone(&noted), env.clone());
            async move {
                // Here something may wait.
                env.sleep(std::time::Duration::from_millis(1)).await;
                if jobs[0].kind.as_str() == "forbidden" {
                    return Err(DomainError::invalid("the job", "not here", "elsewhere").into());
                }
                jobs.iter_mut().for_each(|job| job.priority = taskwright::Priority::HIGH);
                let commits_later = next.commits_later();
                let stored = next.run(jobs).await;
                let told =
                    stored.as_ref().map(|stored| stored.iter().map(|one| one.existing).collect::<Vec<_>>());
                notes.lock().unwrap().push((commits_later, told.map_err(|error| error.why().to_owned())));
                stored
            }
        });
        let key = UniqueKey::new(&format!("{driver:?}")).unwrap();
        let jobs = || vec![Job::new("order"), Job::new("order").unique(key.clone())];
        let work = |jobs| enqueueing(client.clone(), jobs);
        let kept = driver.transact(&site.url(), work(jobs()), Then::Commit).await.unwrap();
        assert_eq!(
            site.client.job(kept[0].id).await.unwrap().unwrap().view.priority,
            taskwright::Priority::HIGH
        );
        let again = driver.transact(&site.url(), work(jobs()), Then::RollBack).await.unwrap();
        assert_eq!(again[1].id, kept[1].id);
        let refused = driver.transact(&site.url(), work(vec![Job::new("forbidden")]), Then::Commit).await;
        assert_eq!(refused.unwrap_err().why(), "not here", "{driver:?}");
        let seen = vec![(true, Ok(vec![false, false])), (true, Ok::<_, String>(vec![false, true]))];
        assert_eq!(*notes.lock().unwrap(), seen, "{driver:?}");
    }
}
