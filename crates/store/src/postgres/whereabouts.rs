//! Finding out, while a call is not answered, that the database is elsewhere by now.
//!
//! A server that is stopped, or whose machine is cut off, keeps its connections and says nothing; a standby may long have
//! taken its place. So when a call is not answered for a while, a new connection is made, to the first host that can be
//! written. If another server answers there, or the same one that has been started again, the call is given up, and with
//! it all that are under way: whoever asks again is connected to the new one. If nothing answers, or the same server, then
//! the call is only slow.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::error::store_error;
use super::reach::{first, login_wait_max};
use super::tls;
use super::url::Settings;
use crate::error::Error;

/// How long a call may take before somebody looks, and between two looks. Hardly any call of ours takes as long.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Which server answers, and on which of its runs. It needs no rights.
pub(super) const WHO: &str = "SELECT concat_ws(' ', inet_server_addr(), inet_server_port(), extract(epoch FROM pg_postmaster_start_time()))";

/// Where the database is, as far as this process knows.
pub(super) struct Whereabouts {
    settings: Settings,
    /// What [`WHO`] gave when somebody looked last. Held while somebody looks.
    known: Mutex<String>,
    moves: watch::Sender<u64>,
}

impl Whereabouts {
    pub(super) fn new(settings: Settings, who: String) -> Self {
        Self { settings, known: Mutex::new(who), moves: watch::Sender::new(0) }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells each time that the database was found to have moved. It does not look for itself: calls that are not
    /// answered do.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.moves.subscribe()
    }

    /// Ready when the database has moved since this was first polled. Until then it looks again and again.
    pub(super) async fn moved(&self) {
        let mut moves = self.moves.subscribe();
        while timeout(LOOK_EVERY, moves.changed()).await.is_err() {
            self.look().await;
        }
    }

    async fn look(&self) {
        // One looks for all.
        let Ok(mut known) = self.known.try_lock() else { return };
        match timeout(login_wait_max(&self.settings.config), self.ask()).await {
            Ok(Ok(who)) if who != *known => {
                tracing::warn!(
                    from = *known,
                    to = who,
                    "the database has moved; what is under way is given up"
                );
                *known = who;
                self.moves.send_modify(|count| *count += 1);
            }
            // The same, or nobody that could be asked instead.
            Ok(_) | Err(_) => {}
        }
    }

    async fn ask(&self) -> Result<String, Error> {
        let connector = tls::connector(&self.settings)?;
        let connecting = first(&self.settings.config, |host| {
            let connector = connector.clone();
            async move { host.connect(connector).await }
        });
        let (client, connection) = connecting.await.map_err(store_error)?;
        let asking = async {
            let messages = client.simple_query(WHO).await.map_err(store_error)?;
            Ok(field(&messages, 0).to_owned())
        };
        tokio::select! {
            who = asking => who,
            // Only ever when it is lost.
            _ = connection => Err(Error::unavailable("the database", "the connection was lost")),
        }
    }
}

/// A field of the first row; empty where there is none.
pub(super) fn field(messages: &[SimpleQueryMessage], n: usize) -> &str {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(n),
        _ => None,
    });
    row.unwrap_or_default()
}
