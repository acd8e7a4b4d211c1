//! The connection for hints: it listens, glances at what others commit, and does nothing else.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::config_with;
use super::error::store_error;
use super::glance::Glance;
use super::reach::{first, login_wait_max};
use super::tls;
use super::url::Settings;
use super::whereabouts::field;
use crate::error::Error;

/// How long the server may take to answer on this connection.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// It runs nothing that takes long, and waits for nobody.
const OPTIONS: &str = "-c statement_timeout=10s -c lock_timeout=5s";

/// A connection that listens.
pub(super) struct Listening {
    client: Client,
    channel: String,
    glance: String,
    heard: Arc<Notify>,
    /// Drives the connection; ends with it.
    driver: JoinSet<()>,
}

impl Listening {
    /// Connects and begins to listen. What is told of `heard_of`, a place, is heard otherwise; what this process tells in the name of
    /// `own`, it knew before.
    pub(super) async fn start(
        settings: &Settings,
        heard_of: Option<&str>,
        own: &Arc<OwnSession>,
    ) -> Result<Self, Error> {
        let (client, mut connection) = connect(settings).await?;
        let heard = Arc::new(Notify::new());
        let (to_hear, own_session) = (heard.clone(), own.clone());
        let heard_of = heard_of.map(str::to_owned);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Notices are of no interest; an error or the end of the connection ends the task, which is seen.
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(told) = message
                    && own_session.name().as_deref() != Some(told.payload())
                    && heard_of.as_deref() != Some(told.payload())
                {
                    to_hear.notify_one();
                }
            }
        });
        let listening = Self {
            client,
            channel: channel(settings),
            glance: Glance::statement(settings.schema()),
            heard,
            driver,
        };
        let own_id = within_wait(listening.client.simple_query("SELECT pg_backend_pid()")).await?;
        own.0.store(field(&own_id, 0).parse().unwrap_or(0), Ordering::Relaxed);
        listening.run(&format!("LISTEN {:?}", listening.channel)).await?;
        Ok(listening)
    }

    /// Ready when somebody has told something, however often; an error when the connection is gone.
    pub(super) async fn heard(&mut self) -> Result<(), Error> {
        tokio::select! {
            () = self.heard.notified() => Ok(()),
            _ = self.driver.join_next() => Err(lost()),
        }
    }

    /// Looks whether somebody has committed anything.
    pub(super) async fn glance(&self) -> Result<Glance, Error> {
        let messages = within_wait(self.client.simple_query(&self.glance)).await?;
        Glance::of(&messages).ok_or_else(lost)
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        within_wait(self.client.batch_execute(sql)).await
    }
}

/// The session in which a process listens, as its server numbers it: 0 while there is none.
#[derive(Default)]
pub(super) struct OwnSession(AtomicI32);

impl OwnSession {
    /// In whose name the process tells.
    pub(super) fn name(&self) -> Option<String> {
        let number = self.0.load(Ordering::Relaxed);
        (number != 0).then(|| format!("session {number}"))
    }

    /// It is over, and its number may become somebody else's.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A connection that nobody drives yet.
pub(super) type Undriven = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Connects, outside of any pool.
pub(super) async fn connect(settings: &Settings) -> Result<(Client, Undriven), Error> {
    let connector = tls::connector(settings)?;
    let config = config_with(settings, OPTIONS);
    let connecting = first(&config, |host| {
        let connector = connector.clone();
        async move { host.connect(connector).await }
    });
    let connecting = tokio::time::timeout(login_wait_max(&config), connecting);
    connecting.await.map_err(|_| lost())?.map_err(store_error)
}

/// The channel of a store. Channels belong to a database, so it has the name of the schema.
pub(super) fn channel(settings: &Settings) -> String {
    format!("{}_hint", settings.schema())
}

/// The statement that tells everybody who listens, but those who have been told: those of a place, or of a session.
pub(super) fn notify(channel: &str, told: Option<&str>) -> String {
    match told {
        Some(place) => format!("NOTIFY {channel:?}, '{}'", place.replace('\'', "''")),
        None => format!("NOTIFY {channel:?}"),
    }
}

/// The answer of the server, which is lost when it takes too long.
pub(super) async fn within_wait<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_WAIT_MAX, answer).await {
        Ok(done) => done.map_err(store_error),
        Err(_) => Err(lost()),
    }
}

pub(super) fn lost() -> Error {
    Error::new(
        crate::error::Area::Busy,
        "hear of new jobs",
        "the connection to the server was lost",
        "check that PostgreSQL is running and can be reached",
    )
}
