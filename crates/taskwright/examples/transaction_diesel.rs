//! An order and the job that follows from it in one transaction of diesel-async: the job exists if and only if that commits. Jobs and
//! tables are in the database that `DATABASE_URL` names; `shop_order` is made there.
//!
//! `cargo run -p taskwright --features diesel-async-0_9 --example transaction_diesel`

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use taskwright::{App, Client, TaskError, task};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[task("email.receipt")]
async fn receipt(order: i64) -> Result<String, TaskError> {
    Ok(format!("the receipt of the order {order}"))
}

#[derive(QueryableByName)]
struct Order {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Stores an order and the job, or neither: an error rolls the transaction back.
async fn order(shop: &mut AsyncPgConnection, client: &Client, item: &str) -> Result<i64, Error> {
    shop.transaction::<i64, Error, _>(async |tx| {
        let insert = diesel::sql_query("INSERT INTO shop_order (item) VALUES ($1) RETURNING id");
        let order: Order = insert.bind::<Text, _>(item).get_result(tx).await?;
        client.enqueue_in(&mut *tx, Receipt { order: order.id }).await?;
        if item.is_empty() {
            return Err("what is ordered has no name".into());
        }
        Ok(order.id)
    })
    .await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is to name a database of PostgreSQL")?;
    let app = App::new().store(url.as_str()).task::<Receipt>();
    let client = app.client().await?;
    let mut shop = AsyncPgConnection::establish(&url).await?;
    let table =
        "CREATE TABLE IF NOT EXISTS shop_order (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL)";
    diesel::sql_query(table).execute(&mut shop).await?;

    println!("ordered: {}", order(&mut shop, &client, "a book").await?);
    let refused = order(&mut shop, &client, "").await.expect_err("it is rolled back");
    println!("refused: {refused}");

    let ran = app.run_until_empty().await?;
    println!("{} job", ran.completed);
    assert_eq!(ran.completed, 1);
    Ok(())
}
