//! A program that is no part of Taskwright's workspace, as yours: it enqueues in its own transactions, once by sqlx and once by
//! diesel-async, on the PostgreSQL of `DATABASE_URL`; and it has SQLite by sqlx beside Taskwright's own.
//!
//! `DATABASE_URL=postgres://... cargo run` in this directory. It makes a table `shop_order` there, and Taskwright's schema.

use std::sync::{Arc, Mutex, PoisonError};

use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use sqlx::{Connection, PgConnection, SqliteConnection};
use taskwright::{App, Client, task};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The orders for which a receipt was sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<i64>>>);

impl Sent {
    fn note(&self, order: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }

    fn take(&self) -> Vec<i64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[task("email.receipt")]
async fn receipt(order: i64, #[state] sent: &Sent) {
    sent.note(order);
}

#[tokio::main]
async fn main() -> Result {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: say which database")?;
    by_sqlx(&url).await?;
    by_diesel(&url).await?;
    beside_sqlite().await
}

async fn by_sqlx(url: &str) -> Result {
    let (app, sent) = app(url);
    let client = app.client().await?;
    let mut shop = PgConnection::connect(url).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS shop_order (id bigint PRIMARY KEY)").execute(&mut shop).await?;
    for (order, is_paid) in [(1, true), (2, false)] {
        let mut tx = shop.begin().await?;
        sqlx::query("INSERT INTO shop_order VALUES ($1)").bind(order).execute(&mut *tx).await?;
        client.enqueue_in(&mut tx, Receipt { order }).await?;
        if is_paid { tx.commit().await? } else { tx.rollback().await? }
    }
    app.run_until_empty().await?;
    expect("sqlx", &sent, &[1])
}

async fn by_diesel(url: &str) -> Result {
    let (app, sent) = app(url);
    let client = app.client().await?;
    let mut shop = AsyncPgConnection::establish(url).await?;
    order(&mut shop, &client, 3, true).await?;
    match order(&mut shop, &client, 4, false).await {
        Err(diesel::result::Error::RollbackTransaction) => {}
        other => return Err(format!("it was to be rolled back: {other:?}").into()),
    }
    app.run_until_empty().await?;
    expect("diesel-async", &sent, &[3])
}

async fn order(
    shop: &mut AsyncPgConnection,
    client: &Client,
    order: i64,
    is_paid: bool,
) -> Result<(), diesel::result::Error> {
    shop.transaction(async |tx| {
        let insert = diesel::sql_query("INSERT INTO shop_order VALUES ($1)").bind::<BigInt, _>(order);
        insert.execute(tx).await?;
        let enqueued = client.enqueue_in(&mut *tx, Receipt { order }).await;
        enqueued.map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?;
        if is_paid { Ok(()) } else { Err(diesel::result::Error::RollbackTransaction) }
    })
    .await
}

/// One library of SQLite in the program, and two users of it.
async fn beside_sqlite() -> Result {
    let directory = tempfile::tempdir()?;
    let (app, sent) = app(&format!("sqlite:{}", directory.path().join("jobs.db").display()));
    app.client().await?.enqueue(Receipt { order: 5 }).await?;
    let mut shop = SqliteConnection::connect("sqlite::memory:").await?;
    let (version,): (String,) = sqlx::query_as("SELECT sqlite_version()").fetch_one(&mut shop).await?;
    app.run_until_empty().await?;
    expect(&format!("SQLite {version} of sqlx beside Taskwright's"), &sent, &[5])
}

fn app(url: &str) -> (App, Sent) {
    let sent = Sent::default();
    (App::new().store(url).state(sent.clone()).task::<Receipt>(), sent)
}

fn expect(what: &str, sent: &Sent, orders: &[i64]) -> Result {
    let were = sent.take();
    if were != orders {
        return Err(format!("{what}: receipts were sent for {were:?}, and not for {orders:?}").into());
    }
    println!("{what}: a receipt for {orders:?}");
    Ok(())
}
