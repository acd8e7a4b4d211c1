//! `#[tx]`: what a task does in its transaction takes place together with the completion of its job, or not at all, by every driver;
//! and no transaction stays open, however an attempt ends.

use std::time::Duration;

use diesel_async::{AsyncConnection, AsyncPgConnection};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Transaction};
use taskwright::store::SharedStore;
use taskwright::transaction::{
    Connect, DeadpoolTransaction, DieselTransaction, PostgresTransaction, TokioPostgresTransaction,
};
use taskwright::{
    Actor, Backoff, Client, Context, Duties, DutyConfig, Env, Job, Registry, State, TaskError, task,
};
use tokio_postgres::NoTls;

use crate::support::{SOON, Site};

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };
const INSERT: &str = "INSERT INTO public.effect (what) VALUES ($1)";

/// How the first attempt ends, after what it did in its transaction; later ones return `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum First {
    Returns,
    Fails,
    Panics,
    /// It is dropped when its time is over.
    Hangs,
    /// Does not stop when it is asked to, so it is dropped.
    IsAborted,
    /// Returns `Ok`, but another process has the job by then.
    IsLost,
    /// Returns `Ok`, but somebody has asked for a cancel by then.
    IsCancelled,
}

/// What an attempt is done to with.
struct Others {
    store: SharedStore,
    client: Client,
}

async fn go_on(first: First, ctx: &Context) -> Result<String, TaskError> {
    let others: &Others = ctx.state()?;
    match first {
        _ if ctx.attempt() > 1 => {}
        First::Returns => {}
        First::Fails => return Err(TaskError::retry("once more")),
        First::Panics => panic!("in the middle of a transaction"),
        First::Hangs => std::future::pending().await,
        First::IsLost => others.store.unregister(ctx.env().now(), ctx.worker_id()).await?,
        First::IsCancelled => {
            others.client.cancel(ctx.job_id(), Actor::system(), None).await?;
        }
        First::IsAborted => {
            others.client.cancel(ctx.job_id(), Actor::system(), None).await?;
            std::future::pending::<()>().await;
        }
    }
    Ok("once".to_owned())
}

fn what(ctx: &Context) -> String {
    format!("attempt {}", ctx.attempt())
}

#[task("pay.sqlx", backoff = AT_ONCE, max_attempts = 20, cancel_grace = "1ms")]
async fn pay_by_sqlx(
    first: First,
    #[tx] tx: &mut Transaction<'static, Postgres>,
    ctx: &Context,
) -> Result<String, TaskError> {
    sqlx::query(INSERT).bind(what(ctx)).execute(&mut **tx).await?;
    go_on(first, ctx).await
}

#[task("pay.tokio-postgres", backoff = AT_ONCE, max_attempts = 20, cancel_grace = "1ms")]
async fn pay_by_tokio_postgres(
    first: First,
    #[tx] tx: &mut TokioPostgresTransaction,
    ctx: &Context,
) -> Result<String, TaskError> {
    tx.execute(INSERT, &[&what(ctx)]).await?;
    go_on(first, ctx).await
}

#[task("pay.deadpool", backoff = AT_ONCE, max_attempts = 20, cancel_grace = "1ms")]
async fn pay_by_deadpool(
    first: First,
    #[tx] tx: &mut DeadpoolTransaction,
    ctx: &Context,
) -> Result<String, TaskError> {
    tx.execute(&tx.prepare_cached(INSERT).await?, &[&what(ctx)]).await?;
    go_on(first, ctx).await
}

#[task("pay.diesel", backoff = AT_ONCE, max_attempts = 20, cancel_grace = "1ms")]
async fn pay_by_diesel(
    first: First,
    #[tx] tx: &mut DieselTransaction,
    ctx: &Context,
) -> Result<String, TaskError> {
    // Everything would have its `execute`.
    use diesel_async::RunQueryDsl;
    let insert = diesel::sql_query(INSERT).bind::<diesel::sql_types::Text, _>(what(ctx));
    insert.execute(&mut **tx).await?;
    go_on(first, ctx).await
}

const KINDS: [&str; 4] = ["pay.sqlx", "pay.tokio-postgres", "pay.deadpool", "pay.diesel"];

/// The name by which the server knows the connections of these tasks.
const NAME: &str = "tasks_with_transactions";

async fn client(url: String) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    #[allow(clippy::disallowed_methods, reason = "as a program does it that has no `Env`")]
    tokio::spawn(connection);
    Ok(client)
}

struct Bank {
    site: Site,
    /// Of one connection.
    pool: deadpool_postgres::Pool,
    _duties: Duties,
}

impl Bank {
    async fn new() -> Self {
        let site = Site::new().await;
        let manager = deadpool_postgres::Manager::new(url(&site).parse().unwrap(), NoTls);
        let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
        let duties = Duties::start(&site.store, &site.env, &DutyConfig::default());
        Self { site, pool, _duties: duties }
    }

    async fn registry(&self) -> Registry {
        let (of_client, of_diesel) = (url(&self.site), url(&self.site));
        let sqlx = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        let others = Others { store: self.site.another().await, client: self.site.client.clone() };
        Registry::new()
            .state(others)
            .state(sqlx.connect(&url(&self.site)).await.unwrap())
            .state(self.pool.clone())
            .state(Connect::by(move || client(of_client.clone())))
            .state(Connect::by(move || {
                let url = of_diesel.clone();
                async move { AsyncPgConnection::establish(&url).await }
            }))
            .register::<PayBySqlx>()
            .and_then(Registry::register::<PayByTokioPostgres>)
            .and_then(Registry::register::<PayByDeadpool>)
            .and_then(Registry::register::<PayByDiesel>)
            .unwrap()
    }

    /// The states of the connections of the tasks.
    fn states(&self) -> String {
        let sql = format!(
            "SELECT state FROM pg_stat_activity WHERE application_name = '{NAME}' AND datname = current_database()"
        );
        self.site.database.sql(&sql)
    }

    /// Waits until none of them is in a transaction.
    async fn until_no_transaction_is_open(&self, case: &str) {
        let closed = async {
            while self.states().lines().any(|state| state != "idle") {
                self.site.env.sleep(Duration::from_millis(5)).await;
            }
        };
        let is_over = self.site.env.timeout(SOON, closed).await.is_some();
        assert!(is_over, "{case}: a transaction stays open: {}", self.states());
    }

    fn effects(&self) -> Vec<String> {
        let rows = self.site.database.sql("SELECT what FROM public.effect");
        rows.lines().map(str::to_owned).collect()
    }
}

fn url(site: &Site) -> String {
    let url = site.url();
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}application_name={NAME}")
}

/// Has a job of each driver end in this way at first, and says how it was over: its state, its attempts and what it did.
async fn end_by(first: First) -> Vec<(&'static str, State, usize, Vec<String>)> {
    let bank = Bank::new().await;
    let worker = bank.site.worker(bank.registry().await);
    let mut ends = Vec::new();
    for kind in KINDS {
        let case = format!("{kind} {first:?}");
        let job = Job::new(kind).args(&serde_json::json!({ "first": first })).unwrap();
        // An attempt of a busy machine may need longer, and is then repeated, too.
        let job = if first == First::Hangs { job.timeout(Duration::from_secs(2)) } else { job };
        let job = bank.site.over(bank.site.client.enqueue(job).await.unwrap().id).await;
        ends.push((kind, job.view.state, job.attempts.len(), bank.effects()));
        if job.view.state == State::Completed {
            assert_eq!(job.result.as_deref(), Some("\"once\""), "{case}");
        }
        bank.until_no_transaction_is_open(&case).await;
        // The one connection of the pool, or the one in its place, is as a new one is.
        let next = bank.site.env.timeout(SOON, bank.pool.get()).await.expect("the pool is empty").unwrap();
        let open: Option<String> =
            next.query_one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await.unwrap().get(0);
        assert_eq!(open, None, "{case}: the next user is in the transaction of the last one");
        bank.site.database.sql("TRUNCATE public.effect");
    }
    worker.stop().await;
    ends
}

fn each(state: State, attempts: usize, effects: &[&str]) -> Vec<(&'static str, State, usize, Vec<String>)> {
    let effects: Vec<String> = effects.iter().copied().map(str::to_owned).collect();
    KINDS.into_iter().map(|kind| (kind, state, attempts, effects.clone())).collect()
}

#[tokio::test]
async fn what_returns_ok_is_committed_with_the_completion() {
    assert_eq!(end_by(First::Returns).await, each(State::Completed, 1, &["attempt 1"]));
}

#[tokio::test]
async fn what_fails_is_rolled_back() {
    assert_eq!(end_by(First::Fails).await, each(State::Completed, 2, &["attempt 2"]));
}

#[tokio::test]
async fn what_panics_is_rolled_back() {
    assert_eq!(end_by(First::Panics).await, each(State::Completed, 2, &["attempt 2"]));
}

#[tokio::test]
async fn what_is_dropped_when_its_time_is_over_is_rolled_back() {
    for (kind, state, attempts, effects) in end_by(First::Hangs).await {
        assert_eq!(state, State::Completed, "{kind}");
        assert!(attempts > 1, "{kind}");
        assert_eq!(effects, [format!("attempt {attempts}")], "{kind}");
    }
}

#[tokio::test]
async fn what_is_aborted_is_rolled_back() {
    assert_eq!(end_by(First::IsAborted).await, each(State::Cancelled, 1, &[]));
}

#[tokio::test]
async fn what_another_has_by_then_is_rolled_back() {
    assert_eq!(end_by(First::IsLost).await, each(State::Completed, 2, &["attempt 2"]));
}

#[tokio::test]
async fn what_is_to_be_cancelled_is_rolled_back() {
    assert_eq!(end_by(First::IsCancelled).await, each(State::Cancelled, 1, &[]));
}

/// Stores a job and fails at first.
#[task("order", backoff = AT_ONCE)]
async fn order(
    #[tx] tx: &mut DeadpoolTransaction,
    #[state] others: &Others,
    ctx: &Context,
) -> Result<(), TaskError> {
    let receipt = Job::new("receipt").queue(if ctx.attempt() == 1 { "first" } else { "second" });
    others.client.enqueue_in(&mut *tx, receipt).await?;
    if ctx.attempt() == 1 { Err(TaskError::retry("once more")) } else { Ok(()) }
}

#[tokio::test]
async fn jobs_are_stored_by_the_commit_of_their_task() {
    let bank = Bank::new().await;
    let worker = bank.site.worker(bank.registry().await.register::<Order>().unwrap());
    bank.site.over(bank.site.client.enqueue(Order).await.unwrap().id).await;
    worker.stop().await;
    let kinds = vec![taskwright::store::Pattern::new("receipt")];
    let filter = taskwright::store::Filter { kinds, ..Default::default() };
    let page = taskwright::store::Page { after: None, limit: 100, oldest_first: true };
    let made = bank.site.store.list(filter, page).await.unwrap().jobs;
    assert_eq!(made.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>(), ["second"]);
}

/// Is in the middle of a transaction within its own when its time for that is over.
#[task("leave", max_attempts = 1)]
async fn leave(ctx: &Context, #[tx] tx: &mut DieselTransaction) -> Result<(), TaskError> {
    use diesel_async::TransactionManager;
    let half = async {
        diesel_async::AnsiTransactionManager::begin_transaction(&mut **tx).await?;
        tx.rows("INSERT INTO effect (what) VALUES ($1) RETURNING what AS id, true AS existing", "half")
            .await
            .unwrap();
        std::future::pending::<Result<(), TaskError>>().await
    };
    let is_over = ctx.env().timeout(Duration::from_secs(2), half).await;
    assert!(is_over.is_none());
    Ok(())
}

#[tokio::test]
async fn half_of_what_diesel_was_to_do_within_a_transaction_is_never_committed() {
    let bank = Bank::new().await;
    let worker = bank.site.worker(bank.registry().await.register::<Leave>().unwrap());
    let job = bank.site.over(bank.site.client.enqueue(Leave).await.unwrap().id).await;
    worker.stop().await;
    assert!(job.view.error.unwrap().contains("may be half of something"));
    assert_eq!(bank.effects(), [""; 0]);
}

#[tokio::test]
async fn without_the_state_the_attempt_fails_and_says_what_is_missing() {
    let site = Site::new().await;
    let others = Others { store: site.store.clone(), client: Client::new(site.store.clone(), Env::system()) };
    let registry = Registry::new()
        .state(others)
        .register::<PayBySqlx>()
        .and_then(Registry::register::<PayByTokioPostgres>)
        .and_then(Registry::register::<PayByDeadpool>)
        .and_then(Registry::register::<PayByDiesel>);
    let worker = site.worker(registry.unwrap());
    for (kind, missing) in KINDS.into_iter().zip(["Pool<", "Connect<", "Pool<", "Connect<"]) {
        let job = Job::new(kind).args(&serde_json::json!({ "first": First::Returns })).unwrap();
        let job = site.client.enqueue(job).await.unwrap();
        let why = loop {
            let job = job.job().await.unwrap();
            if let Some(why) = job.view.error {
                break why;
            }
            site.env.sleep(Duration::from_millis(5)).await;
        };
        assert!(why.contains(missing) && why.contains(".state(..)"), "{kind}: {why}");
    }
    worker.stop().await;
}
