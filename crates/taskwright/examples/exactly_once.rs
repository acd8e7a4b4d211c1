//! An effect that takes place exactly once, though the handler runs more often: what it does in the file of the store and the completion
//! of its job are one transaction. (With PostgreSQL: the example `transaction_sqlx`.)
//!
//! `cargo run -p taskwright --example exactly_once`

use std::path::PathBuf;
use std::time::Duration;

use taskwright::store::sqlite::rusqlite::{self, Connection, TransactionBehavior};
use taskwright::{App, Backoff, Context, TaskError, task};

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };

/// Where the accounts are.
struct Bank(PathBuf);

impl Bank {
    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.0)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    }
}

#[task("account.pay", blocking, backoff = AT_ONCE)]
fn pay(account: i64, cents: i64, #[state] bank: &Bank, ctx: &Context) -> Result<(), TaskError> {
    let mut connection = bank.open()?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("UPDATE account SET cents = cents + ?2 WHERE id = ?1", [account, cents])?;
    println!("attempt {}", ctx.attempt());
    if ctx.attempt() == 1 {
        return Err(TaskError::retry("before the commit: rolled back, and tried again"));
    }
    // The last thing in the transaction: refused if somebody else has the job by now.
    ctx.complete_in(&tx, &"paid")?;
    tx.commit()?;
    Err(TaskError::retry("after the commit: nothing of this counts any more"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("bank.db");
    let bank = Bank(path.clone());
    bank.open()?.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
         INSERT INTO account VALUES (1, 0)",
    )?;
    let app = App::new().store(path.as_path()).state(Bank(path)).task::<Pay>();

    let job = app.client().await?.enqueue(Pay { account: 1, cents: 100 }).await?;
    let result: String = app.run_while(job.result()).await?;
    let cents: i64 = bank.open()?.query_row("SELECT cents FROM account", [], |row| row.get(0))?;
    println!("{result}: {cents} cents");
    assert_eq!(cents, 100);
    Ok(())
}
