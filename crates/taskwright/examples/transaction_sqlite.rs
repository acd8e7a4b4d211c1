//! An order and the job that follows from it in one transaction of rusqlite: the job exists if and only if that commits. The tables of the
//! program and the jobs are in one file.
//!
//! `cargo run -p taskwright --example transaction_sqlite`

use std::path::Path;

use taskwright::store::sqlite::rusqlite::{Connection, TransactionBehavior};
use taskwright::{App, Client, TaskError, task};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[task("email.receipt")]
async fn receipt(order: i64) -> Result<String, TaskError> {
    Ok(format!("the receipt of the order {order}"))
}

/// Stores an order and the job, or neither.
fn order(shop: &mut Connection, client: &Client, item: &str) -> Result<i64, Error> {
    let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO shop_order (item) VALUES (?1)", [item])?;
    let order = tx.last_insert_rowid();
    client.enqueue_in(&tx, Receipt { order })?;
    if item.is_empty() {
        // Dropped, the transaction is rolled back.
        return Err("what is ordered has no name".into());
    }
    tx.commit()?;
    Ok(order)
}

fn open(path: &Path) -> Result<Connection, Error> {
    let shop = Connection::open(path)?;
    shop.busy_timeout(std::time::Duration::from_secs(5))?;
    shop.execute_batch("CREATE TABLE IF NOT EXISTS shop_order (id INTEGER PRIMARY KEY, item TEXT NOT NULL)")?;
    Ok(shop)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("shop.db");
    let app = App::new().store(path.as_path()).task::<Receipt>();
    let client = app.client().await?;
    let mut shop = open(&path)?;

    println!("ordered: {}", order(&mut shop, &client, "a book")?);
    let refused = order(&mut shop, &client, "").expect_err("it is rolled back");
    println!("refused: {refused}");

    let ran = app.run_until_empty().await?;
    let orders: i64 = shop.query_row("SELECT count(*) FROM shop_order", [], |row| row.get(0))?;
    println!("{orders} order, {} job", ran.completed);
    assert_eq!((orders, ran.completed), (1, 1));
    Ok(())
}
