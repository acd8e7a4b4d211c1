//! The drivers, behind one function: begin, do something, commit or roll back.

use diesel_async::{AnsiTransactionManager, AsyncConnection, AsyncPgConnection, TransactionManager};
use sqlx::Connection;
use taskwright::Env;
use taskwright::transaction::{BoxFuture, PostgresTransaction};
use tokio_postgres::NoTls;

pub(crate) type Tx<'t> = dyn PostgresTransaction + 't;

/// What is done in a transaction: whether it succeeded decides nothing, the caller does.
pub(crate) type Work<T> = Box<dyn for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, T> + Send>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Driver {
    TokioPostgres,
    Deadpool,
    Sqlx,
    SqlxConnection,
    DieselAsync,
}

pub(crate) const ALL: [Driver; 5] =
    [Driver::TokioPostgres, Driver::Deadpool, Driver::Sqlx, Driver::SqlxConnection, Driver::DieselAsync];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Commit,
    RollBack,
}

impl Driver {
    /// Does it in a transaction on this database, and commits or rolls back.
    pub(crate) async fn transact<T: Send + 'static>(self, url: &str, work: Work<T>, then: Then) -> T {
        match self {
            Self::TokioPostgres => {
                let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                let _driver = Env::system().spawn("connection", connection);
                let mut tx = client.transaction().await.unwrap();
                let done = work(&mut tx).await;
                let ended = if then == Then::Commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
                done
            }
            Self::Deadpool => {
                let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
                let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
                let mut client = pool.get().await.unwrap();
                let mut tx = client.transaction().await.unwrap();
                let done = work(&mut tx).await;
                let ended = if then == Then::Commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
                done
            }
            Self::Sqlx => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                let done = work(&mut tx).await;
                let ended = if then == Then::Commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
                done
            }
            Self::SqlxConnection => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                let done = work(&mut *tx).await;
                let ended = if then == Then::Commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
                done
            }
            Self::DieselAsync => {
                let mut connection = AsyncPgConnection::establish(url).await.unwrap();
                AnsiTransactionManager::begin_transaction(&mut connection).await.unwrap();
                let done = work(&mut connection).await;
                let ended = match then {
                    Then::Commit => AnsiTransactionManager::commit_transaction(&mut connection).await,
                    Then::RollBack => AnsiTransactionManager::rollback_transaction(&mut connection).await,
                };
                ended.unwrap();
                done
            }
        }
    }
}

/// Adds a row to the table `effect`, which each test has: what a handler does in its transaction.
pub(crate) async fn take_effect(tx: &mut Tx<'_>, text: &str) {
    tx.rows("INSERT INTO effect (what) VALUES ($1) RETURNING what AS id, true AS existing", text)
        .await
        .unwrap();
}
