//! A generator: each row of a table becomes one job, when there is room for it. What is not made yet is no row but a cursor, which is
//! stored together with the jobs. The table is beside the jobs, in the file of the store.
//!
//! `cargo run -p taskwright --example generator`

use std::path::Path;

use taskwright::generator::{Table, TableOrder};
use taskwright::store::sqlite::rusqlite::{self, Connection};
use taskwright::{App, Client, Namespace, task};
use tokio::sync::mpsc;

/// The columns of a row are the arguments.
#[task("customer.greet")]
async fn greet(id: u64, name: String, #[state] greeted: &mpsc::UnboundedSender<u64>) {
    println!("hello {name}");
    // Nobody listens any more when the program ends.
    let _ = greeted.send(id);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("shop.db");
    let (greeted, ids) = mpsc::unbounded_channel();
    let app = App::new()
        .store(path.as_path())
        .state(greeted)
        .task::<Greet>()
        // Rows by a number that only grows; by the time of the last change, each row is taken again when it has changed.
        .generators(|set, store, _env| {
            let customers = Table::new("customer", TableOrder::Key("id".to_owned()));
            set.with(customers.items("customers", "customer.greet", store))
        });
    let client = app.client().await?;
    insert(&path, &["Ada", "Grace", "Edsger"])?;

    app.run_while(show(&path, &client, ids)).await
}

async fn show(
    path: &Path,
    client: &Client,
    mut ids: mpsc::UnboundedReceiver<u64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(ids.recv().await);
    }
    insert(path, &["Barbara"])?;
    // After a change of the program's own there is no need to wait for the next look.
    client.generators().notify(&Namespace::default(), &"customers".parse()?).await?;
    seen.extend(ids.recv().await);
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
    Ok(())
}

fn insert(path: &Path, names: &[&str]) -> rusqlite::Result<()> {
    let shop = Connection::open(path)?;
    shop.busy_timeout(std::time::Duration::from_secs(5))?;
    shop.execute_batch("CREATE TABLE IF NOT EXISTS customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")?;
    names
        .iter()
        .try_for_each(|name| shop.execute("INSERT INTO customer (name) VALUES (?1)", [name]).map(drop))
}
