//! sqlx: an order and its job in one transaction, and a task whose own transaction is committed together with the completion of its job,
//! so that what it does there takes place exactly once. Jobs and tables are in the database that `DATABASE_URL` names; `shop_order` is
//! made there.
//!
//! `cargo run -p taskwright --features sqlx-0_9 --example transaction_sqlx`

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};
use taskwright::{App, Backoff, Client, Context, JobHandle, TaskError, task};

type Error = Box<dyn std::error::Error + Send + Sync>;

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };

/// The transaction is begun on the pool of the state; an error rolls it back.
#[task("order.pay", backoff = AT_ONCE)]
async fn pay(
    order: i64,
    #[tx] tx: &mut Transaction<'static, Postgres>,
    ctx: &Context,
) -> Result<u32, TaskError> {
    sqlx::query("UPDATE shop_order SET paid = paid + 1 WHERE id = $1").bind(order).execute(&mut **tx).await?;
    match ctx.attempt() {
        1 => Err(TaskError::retry("the first time, something goes wrong after that")),
        attempt => Ok(attempt),
    }
}

/// Stores an order and the job, or neither.
async fn order(shop: &PgPool, client: &Client, item: &str) -> Result<(i64, JobHandle), Error> {
    let mut tx = shop.begin().await?;
    let insert = "INSERT INTO shop_order (item) VALUES ($1) RETURNING id";
    let order = sqlx::query_scalar(insert).bind(item).fetch_one(&mut *tx).await?;
    let job = client.enqueue_in(&mut tx, Pay { order }).await?;
    tx.commit().await?;
    Ok((order, client.handle(job.id)))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is to name a database of PostgreSQL")?;
    let shop = PgPool::connect(&url).await?;
    let table = "CREATE TABLE IF NOT EXISTS shop_order
         (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL, paid integer NOT NULL DEFAULT 0)";
    sqlx::query(table).execute(&shop).await?;
    let app = App::new().store(url.as_str()).state(shop.clone()).task::<Pay>();
    let client = app.client().await?;

    let (order, job) = order(&shop, &client, "a book").await?;
    let attempts: u32 = app.run_while(job.result()).await?;
    let paid: i32 =
        sqlx::query_scalar("SELECT paid FROM shop_order WHERE id = $1").bind(order).fetch_one(&shop).await?;
    println!("the order {order}: {attempts} attempts, paid {paid} time");
    assert_eq!((attempts, paid), (2, 1));
    Ok(())
}
