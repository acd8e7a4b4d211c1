//! Tells of what is sent to a `NOTIFY` channel of PostgreSQL.
//!
//! The leader listens, and another node does once it leads. What is sent while nobody listens is lost, and nothing in the
//! database says so: who needs every event emits it, with `SELECT taskwright.emit(..)`.

use std::time::Duration;

use serde_json::{Value, json};
use taskwright_core::limit::EMIT_EVENTS_MAX;
use taskwright_core::{Args, Topic};
use taskwright_store::postgres::Notifications;
use taskwright_store::{Error, NewEvent, Reply, SharedStore, SourceNote, SourcePlace};

use super::{Channel, EventSource};
use crate::duty::lead::{Terms, leads};
use crate::duty::runner::{Duty, Next};
use crate::env::Env;
use crate::event::Event;

/// How often it is looked whether this node still leads, and the server still lives: 1 s and 30 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_PER_CHECK: u32 = 30;
/// The pauses between attempts to store what was heard: the first, and the longest.
const STORE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A source that listens.
pub(crate) struct ChannelSource {
    store: SharedStore,
    source: EventSource,
    channel: Channel,
    terms: Terms,
}

impl ChannelSource {
    pub(crate) fn new(store: SharedStore, source: EventSource, channel: Channel, terms: Terms) -> Self {
        Self { store, source, channel, terms }
    }

    /// Listens for as long as this node leads.
    async fn listen(&self, env: &Env) -> Result<(), Error> {
        let mut heard = Notifications::listen(&self.channel.settings, &self.channel.channel).await?;
        tracing::info!(source = %self.source.name, channel = self.channel.channel, "an event source listens");
        self.note(env, None).await;
        let mut looks = 0;
        loop {
            let payloads = match env.timeout(LOOK_EVERY, heard.next(EMIT_EVENTS_MAX)).await {
                Some(payloads) => payloads?,
                None => Vec::new(),
            };
            // The one who leads now hears it as well.
            if !self.terms.borrow().is_some_and(|term| term.lasts(env)) {
                return Ok(());
            }
            if payloads.is_empty() {
                looks += 1;
                if looks % LOOKS_PER_CHECK == 0 {
                    heard.check().await?;
                    self.note(env, None).await;
                }
            } else {
                let events = payloads.iter().filter_map(|payload| self.event(env, payload)).collect();
                self.emit(env, events).await?;
            }
        }
    }

    /// Stores events. They are nowhere else, so it is tried until it is done.
    async fn emit(&self, env: &Env, events: Vec<NewEvent>) -> Result<(), Error> {
        let mut pause = STORE_PAUSE.0;
        loop {
            match self.store.emit(env.now(), events.clone()).await {
                Err(error) if !error.is_closed() => {
                    tracing::warn!(source = %self.source.name, %error, "events that were heard are not stored yet");
                    env.sleep(pause).await;
                    pause = (pause * 2).min(STORE_PAUSE.1);
                }
                done => return done,
            }
        }
    }

    fn event(&self, env: &Env, payload: &str) -> Option<NewEvent> {
        let fallback = || format!("notify.{}", self.channel.channel);
        let topic = self.source.topic.as_ref().map_or_else(fallback, Topic::to_string);
        let event = Event::new(&topic).namespace(self.source.namespace.as_str()).raw_payload(args(payload));
        match event.into_new(env) {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::warn!(source = %self.source.name, %error, "what was heard makes no event");
                None
            }
        }
    }

    async fn note(&self, env: &Env, error: Option<String>) {
        let EventSource { name, namespace, .. } = &self.source;
        let place = SourcePlace {
            namespace: namespace.clone(),
            name: name.clone(),
            host: String::new(),
            path: self.channel.channel.clone(),
        };
        let note = SourceNote { mode: "listen".to_owned(), scanned_at: None, files: 0, error };
        let noted = async {
            let key = self.store.open_source(env.now(), place).await?;
            self.store.note_source(env.now(), key, note).await
        };
        if let Err(error) = noted.await {
            tracing::debug!(source = %name, %error, "it is not noted how the source is");
        }
    }
}

/// What an event carries: the object that was sent, or the text of anything else.
fn args(payload: &str) -> Args {
    let object = serde_json::from_str::<Value>(payload).ok().filter(Value::is_object);
    let exact = object.and_then(|_| Args::from_json(payload).ok());
    // A notification has less than 8,000 bytes.
    exact.unwrap_or_else(|| Args::of(&json!({ "text": payload })).unwrap_or_default())
}

impl Duty for ChannelSource {
    fn name(&self) -> &'static str {
        "source"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            leads(&self.terms, env).await;
            let ended = self.listen(env).await;
            if let Err(error) = &ended {
                self.note(env, Some(error.to_string())).await;
            }
            ended.map(|()| Next::More)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_carried_as_it_was_sent_and_anything_else_as_text() {
        let carried = |payload| args(payload).parse::<Value>().unwrap();
        assert_eq!(args("{\"order\":  7}").as_bytes(), b"{\"order\":  7}");
        assert_eq!(carried("7"), json!({"text": "7"}));
        assert_eq!(carried(""), json!({"text": ""}));
        assert_eq!(carried("{\"a\": "), json!({"text": "{\"a\": "}));
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(carried(&deep), json!({"text": deep}));
    }
}
