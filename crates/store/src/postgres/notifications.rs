//! Listening to a channel of somebody else's: for event sources.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client};

use super::listen::{connect, lost, within_wait};
use super::url::Settings;
use crate::error::Error;

/// Notifications that wait here: 1,000. When there are more the server holds them back.
const WAITING_MAX: usize = 1_000;

/// A connection that listens to one channel, of any database.
pub struct Notifications {
    client: Client,
    heard: mpsc::Receiver<String>,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

impl Notifications {
    /// Connects and begins to listen: what is sent from now on is heard, for as long as the connection holds.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or does not let this role in.
    pub async fn listen(settings: &Settings, channel: &str) -> Result<Self, Error> {
        let (client, mut connection) = connect(settings).await?;
        let (hear, heard) = mpsc::channel(WAITING_MAX);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // An error or the end of the connection ends the task, and with it `hear`, which is seen.
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(told) = message
                    && hear.send(told.payload().to_owned()).await.is_err()
                {
                    return;
                }
            }
        });
        let listen = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
        within_wait(client.batch_execute(&listen)).await?;
        Ok(Self { client, heard, _driver: driver })
    }

    /// The payloads that have come, at most `limit`; waits for the first. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<String>, Error> {
        let mut payloads = Vec::new();
        match self.heard.recv_many(&mut payloads, limit.max(1)).await {
            0 => Err(lost()),
            _ => Ok(payloads),
        }
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    ///
    /// When there is none within 10 s.
    pub async fn check(&self) -> Result<(), Error> {
        within_wait(self.client.batch_execute("")).await
    }
}
