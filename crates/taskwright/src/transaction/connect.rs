//! How a task's own transaction gets its connection, with drivers that have no pool.

use std::fmt;
use std::future::Future;

use super::postgres::BoxFuture;
use crate::task::TaskError;

/// Opens a connection for each attempt of a task that takes a transaction as `#[tx]`, with a driver that has no pool of its own. It
/// goes to the [state](crate::Registry::state); the connection is closed when the attempt ends.
///
/// # Example
///
/// With tokio-postgres (feature `tokio-postgres-0_7`):
///
/// ```
/// # #[cfg(feature = "tokio-postgres-0_7")]
/// # mod example {
/// use taskwright::transaction::Connect;
/// use taskwright::{App, TaskError};
/// use tokio_postgres::{Client, NoTls};
///
/// async fn connect(url: String) -> Result<Client, tokio_postgres::Error> {
///     let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
///     // It ends when the client is dropped.
///     tokio::spawn(connection);
///     Ok(client)
/// }
///
/// fn app(url: &'static str) -> App {
///     App::new().store(url).state(Connect::by(move || connect(url.to_owned())))
/// }
/// # }
/// ```
pub struct Connect<C>(Box<dyn Fn() -> BoxFuture<'static, Result<C, TaskError>> + Send + Sync>);

impl<C> Connect<C> {
    /// Opens them by this function. It is called at each attempt, and its error is that of the attempt.
    pub fn by<R, E>(open: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<TaskError>,
    {
        Self(Box::new(move || {
            let opened = open();
            Box::pin(async move { opened.await.map_err(Into::into) })
        }))
    }

    pub(super) async fn open(&self) -> Result<C, TaskError> {
        (self.0)().await
    }
}

impl<C> fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").finish_non_exhaustive()
    }
}
