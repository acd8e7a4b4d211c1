//! An order and the job that follows from it in one transaction of tokio-postgres: the job exists if and only if that commits. Jobs and
//! tables are in the database that `DATABASE_URL` names; `shop_order` is made there.
//!
//! `cargo run -p taskwright --features tokio-postgres-0_7 --example transaction_tokio_postgres`

use taskwright::{App, Client, Env, TaskError, task};
use tokio_postgres::NoTls;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[task("email.receipt")]
async fn receipt(order: i64) -> Result<String, TaskError> {
    Ok(format!("the receipt of the order {order}"))
}

/// Stores an order and the job, or neither.
async fn order(shop: &mut tokio_postgres::Client, client: &Client, item: &str) -> Result<i64, Error> {
    let mut tx = shop.transaction().await?;
    let row = tx.query_one("INSERT INTO shop_order (item) VALUES ($1) RETURNING id", &[&item]).await?;
    let order = row.try_get(0)?;
    client.enqueue_in(&mut tx, Receipt { order }).await?;
    if item.is_empty() {
        // Dropped, the transaction is rolled back.
        return Err("what is ordered has no name".into());
    }
    tx.commit().await?;
    Ok(order)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is to name a database of PostgreSQL")?;
    let app = App::new().store(url.as_str()).task::<Receipt>();
    let client = app.client().await?;
    let (mut shop, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let _connection = Env::system().spawn("connection", connection);
    let table =
        "CREATE TABLE IF NOT EXISTS shop_order (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL)";
    shop.batch_execute(table).await?;

    println!("ordered: {}", order(&mut shop, &client, "a book").await?);
    let refused = order(&mut shop, &client, "").await.expect_err("it is rolled back");
    println!("refused: {refused}");

    let ran = app.run_until_empty().await?;
    println!("{} job", ran.completed);
    assert_eq!(ran.completed, 1);
    Ok(())
}
