//! One turn of the generator of an endpoint: what is due of its retry set, and what is next in the log, for about a second.
//!
//! Everything that a turn has begun to send is over when it ends, so that the cursor stands behind all of it. What came of it is
//! written with the commit of the generator: a turn that does not get that far is done again.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use taskwright_core::limit::POLL_MAX;
use taskwright_core::webhook::{
    Answer, Backlog, DeliveryEnd, Disabled, Endpoint, Gate, Order, Progress, Verdict, next_attempt, verdict,
};
use taskwright_core::{Actor, Namespace, Timestamp};
use taskwright_store::{
    Effect, EventKey, NewDelivery, ReadLog, RetrySet, RetryWrite, SeenRetry, Shape, StoredEvent, StoredRetry,
    WebhookTurn,
};

use super::family::Shared;
use super::message::{Courier, Message};
use crate::env::Env;
use crate::generator::{Next, PollError, Polled};

/// How long a turn begins new requests: 1 s. Then what came of it is written, so that little is sent again after a crash.
const TURN: Duration = Duration::from_secs(1);
/// Requests of one turn.
const REQUESTS_MAX: usize = 1_000;
/// Time that is left for the commit when the last request has taken as long as it may.
const MARGIN: Duration = Duration::from_secs(2);
/// Events that are read at once. Each may carry a megabyte.
const PAGE: usize = 100;
/// Positions of the log that one read looks at.
const SCAN_MAX: usize = 1_000;
/// Events of the retry set that one turn looks at.
const DUE_MAX: usize = 100;
/// When the endpoint has been told of everything, it is looked again after this time, should nobody come to wake it: 60 s.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is said about an event that was not kept until it could be delivered.
const NOT_KEPT: &str = "it is not kept any more ([retention] events)";

/// One turn.
pub(super) struct Turn<'a, C> {
    shared: &'a Shared<C>,
    namespace: Namespace,
    endpoint: Endpoint,
    progress: Progress,
    began_us: u64,
    begun: usize,
    log: Log,
    /// Events in the retry set, with what this turn makes of it.
    waiting: usize,
    due: VecDeque<StoredRetry>,
    /// When the first of the retry set is due that is not taken in this turn.
    next_retry: Option<Timestamp>,
    /// Keys that events behind have to wait for, and those that are under way.
    held: HashSet<String>,
    under_way: HashSet<String>,
    done: WebhookTurn,
}

/// The part of the log that was read.
#[derive(Default)]
struct Log {
    events: VecDeque<(i64, StoredEvent)>,
    scanned: i64,
    is_end: bool,
}

/// An event that is sent.
struct Errand {
    event: StoredEvent,
    position: i64,
    key: Option<String>,
    attempt: u32,
    /// What was read of it in the retry set; `None` when it comes from the log.
    seen: Option<SeenRetry>,
    at: Timestamp,
}

/// A request that is under way.
type Sending<'a> = Pin<Box<dyn Future<Output = (Errand, Answer)> + Send + 'a>>;

impl<'a, C: Courier> Turn<'a, C> {
    pub(super) fn new(
        shared: &'a Shared<C>,
        namespace: Namespace,
        set: RetrySet,
        endpoint: Endpoint,
        progress: Progress,
    ) -> Self {
        let log = Log { scanned: progress.cursor, ..Log::default() };
        let done =
            WebhookTurn { set, deliveries: Vec::new(), retries: Vec::new(), listen: None, shape: None };
        Self {
            shared,
            namespace,
            endpoint,
            progress,
            began_us: shared.env.monotonic_us(),
            begun: 0,
            log,
            waiting: 0,
            due: VecDeque::new(),
            next_retry: None,
            held: HashSet::new(),
            under_way: HashSet::new(),
            done,
        }
    }

    /// Does it.
    pub(super) async fn run(mut self) -> Result<Polled, PollError> {
        let is_probe = match self.progress.breaker.gate(self.env().now()) {
            Gate::Open(until) => return self.end(Next::At(until)),
            Gate::Probe => true,
            Gate::Closed => false,
        };
        // A probe takes what was tried before, if there is anything, so that nothing piles up.
        self.progress.retries_first |= is_probe;
        self.look_at_retries(is_probe).await?;
        self.send_all(if is_probe { 1 } else { REQUESTS_MAX }).await?;
        self.progress.full = self.is_full();
        self.progress.retries_first = !self.progress.retries_first;
        let next = self.next(is_probe);
        self.end(next)
    }

    fn env(&self) -> &'a Env {
        &self.shared.env
    }

    /// Reads what is due of the retry set; for a probe, what would be next, so that no other event has to stand in line for it.
    async fn look_at_retries(&mut self, is_probe: bool) -> Result<(), PollError> {
        let limit = if is_probe { 1 } else { DUE_MAX };
        let now = self.env().now();
        let (store, set) = (&self.shared.store, self.done.set);
        let retries = store.retries(set, limit).await?;
        if !retries.is_empty() {
            // With those that wait for these.
            self.waiting = store.retry_count(set, self.shared.retries_max).await?;
        }
        for retry in retries {
            if is_probe || retry.next_at <= now {
                self.due.push_back(retry);
            } else {
                self.retry_at(retry.next_at);
                break;
            }
        }
        if self.due.len() == DUE_MAX {
            self.retry_at(now);
        }
        Ok(())
    }

    fn retry_at(&mut self, at: Timestamp) {
        self.next_retry = Some(self.next_retry.map_or(at, |next| next.min(at)));
    }

    /// Sends, as many at a time as the endpoint takes, until the turn is over or there is nothing more.
    async fn send_all(&mut self, requests_max: usize) -> Result<(), PollError> {
        let mut sending: Vec<Sending<'a>> = Vec::new();
        loop {
            while sending.len() < self.endpoint.in_flight as usize && self.may_begin(requests_max) {
                match self.next_errand().await? {
                    Some(errand) => sending.push(self.send(errand)),
                    None => break,
                }
            }
            if sending.is_empty() {
                return Ok(());
            }
            let (errand, answer) = first(&mut sending).await;
            self.settle(errand, &answer);
        }
    }

    /// Whether another request may begin: it must be over before the lease is.
    fn may_begin(&self, requests_max: usize) -> bool {
        let spent = Duration::from_micros(self.env().monotonic_us().saturating_sub(self.began_us));
        let in_time = self.begun == 0 || (spent < TURN && spent + self.endpoint.timeout + MARGIN < POLL_MAX);
        // Whoever fails so often, or asks to be left alone, is.
        let may_try = self.begun == 0 || self.progress.breaker.gate(self.env().now()) == Gate::Closed;
        in_time && may_try && self.begun < requests_max && self.endpoint.disabled.is_none()
    }

    /// The next event to send: one of the retry set and one of the log by turns.
    async fn next_errand(&mut self) -> Result<Option<Errand>, PollError> {
        let is_retrys_turn = self.begun.is_multiple_of(2) == self.progress.retries_first;
        if is_retrys_turn && let Some(errand) = self.next_retry() {
            return Ok(Some(errand));
        }
        match self.next_of_log().await? {
            Some(errand) => Ok(Some(errand)),
            None => Ok(self.next_retry()),
        }
    }

    fn next_retry(&mut self) -> Option<Errand> {
        while let Some(retry) = self.due.pop_front() {
            let seen = retry.seen();
            match retry.event {
                Some(event) => {
                    let StoredRetry { position, key, attempts, .. } = retry;
                    return Some(self.errand(event, position, key, attempts + 1, Some(seen)));
                }
                None => self.give_up(retry, seen),
            }
        }
        None
    }

    /// Is done with an event that is not kept any more, and says so.
    fn give_up(&mut self, retry: StoredRetry, seen: SeenRetry) {
        let StoredRetry { number, id, topic, key, attempts, .. } = retry;
        let at = self.env().now();
        self.progress.miss(at, 1);
        self.done.deliveries.push(NewDelivery {
            at,
            event: id,
            topic,
            attempt: attempts + 1,
            end: DeliveryEnd::GaveUp,
            status: None,
            took_ms: 0,
            error: Some(NOT_KEPT.to_owned()),
            answer: None,
        });
        self.done_with(number, key, seen);
    }

    /// Whether the retry set has as many events as it may have. Then the cursor stands still: whatever is read of the log may have to
    /// go there.
    fn is_full(&self) -> bool {
        self.waiting >= self.shared.retries_max
    }

    /// The next event of the log that need not wait for another; those that need to go to the retry set.
    async fn next_of_log(&mut self) -> Result<Option<Errand>, PollError> {
        loop {
            if self.is_full() {
                return Ok(None);
            }
            if self.log.events.is_empty() {
                self.progress.cursor = self.log.scanned;
                if self.log.is_end || !self.is_in_time() {
                    return Ok(None);
                }
                self.read_on().await?;
                continue;
            }
            let key = self.log.events.front().and_then(|(_, event)| self.key_of(event));
            if key.as_ref().is_some_and(|key| self.under_way.contains(key)) {
                return Ok(None);
            }
            let Some((position, event)) = self.log.events.pop_front() else { return Ok(None) };
            self.progress.cursor = position;
            match key {
                Some(key) if self.held.contains(&key) => self.put_off(&event, position, Some(key), 0, None),
                key => return Ok(Some(self.errand(event, position, key, 1, None))),
            }
        }
    }

    /// Puts an event of the log into the retry set.
    fn put_off(
        &mut self,
        event: &StoredEvent,
        position: i64,
        key: Option<String>,
        attempts: u32,
        next_at: Option<Timestamp>,
    ) {
        self.waiting += 1;
        let (id, topic, event) = (event.event.id, event.event.topic.clone(), event.number);
        self.done.retries.push(RetryWrite::Later { event, id, topic, position, key, attempts, next_at });
    }

    fn is_in_time(&self) -> bool {
        Duration::from_micros(self.env().monotonic_us().saturating_sub(self.began_us)) < TURN
    }

    /// What an event waits behind, where the endpoint wants that.
    fn key_of(&self, event: &StoredEvent) -> Option<String> {
        event.event.key.clone().filter(|_| self.endpoint.order == Order::Key)
    }

    fn errand(
        &mut self,
        event: StoredEvent,
        position: i64,
        key: Option<String>,
        attempt: u32,
        seen: Option<SeenRetry>,
    ) -> Errand {
        self.begun += 1;
        self.under_way.extend(key.clone());
        Errand { event, position, key, attempt, seen, at: self.env().now() }
    }

    async fn read_on(&mut self) -> Result<(), PollError> {
        let page = self.shared.store.read_log(self.reading(PAGE)).await?;
        if page.gone > 0 {
            // Passed over for good, so that they are counted once.
            self.progress.miss(self.env().now(), page.gone);
            self.progress.cursor = self.progress.cursor.saturating_add_unsigned(page.gone);
            let (generator, gone) = (self.done.set.generator.0, page.gone);
            tracing::warn!(generator, gone, "events were not kept until a webhook could be told of them");
        }
        let keys: HashSet<String> = page.events.iter().filter_map(|(_, event)| self.key_of(event)).collect();
        if !keys.is_empty() {
            let keys = keys.into_iter().collect();
            self.held.extend(self.shared.store.waiting_keys(self.done.set, keys).await?);
        }
        self.log = Log { events: page.events.into(), scanned: page.scanned, is_end: page.is_end };
        Ok(())
    }

    /// What is to be read of the log from the cursor on.
    fn reading(&self, limit: usize) -> ReadLog {
        let (namespace, topics) = (self.namespace.clone(), self.endpoint.topics.clone());
        ReadLog { namespace, topics, after: self.progress.cursor, limit, scan_max: SCAN_MAX }
    }

    fn send(&self, errand: Errand) -> Sending<'a> {
        let Errand { event, at, .. } = &errand;
        let message = Message::of(&self.endpoint, &event.event, event.at, *at);
        let courier = &self.shared.courier;
        let env = self.env();
        Box::pin(async move {
            let began_us = env.monotonic_us();
            let mut answer = courier.send(message).await;
            answer.took = Duration::from_micros(env.monotonic_us().saturating_sub(began_us));
            (errand, answer)
        })
    }

    /// Notes what came of a request.
    fn settle(&mut self, errand: Errand, answer: &Answer) {
        let Errand { event, position, key, attempt, seen, at } = errand;
        let now = self.env().now();
        let verdict = verdict(answer);
        match verdict {
            Verdict::Delivered => self.progress.breaker.delivered(),
            Verdict::Busy(after) => self.progress.breaker.rest(now.plus(after)),
            Verdict::Failed => self.progress.breaker.failed(now),
            Verdict::Gone => self.disable(now),
        }
        if let Some(key) = &key {
            self.under_way.remove(key);
        }
        let next_at = next_attempt(attempt, now, verdict, self.env().dice());
        let end = match (verdict, next_at) {
            (Verdict::Delivered, _) => DeliveryEnd::Delivered,
            (_, Some(_)) => DeliveryEnd::Failed,
            (_, None) => DeliveryEnd::GaveUp,
        };
        self.note(&event, attempt, at, end, answer);
        match (next_at.filter(|_| end == DeliveryEnd::Failed), seen) {
            (Some(next_at), seen) => {
                self.held.extend(key.clone());
                self.retry_at(next_at);
                match seen {
                    Some(seen) => {
                        let (event, attempts) = (event.number, attempt);
                        self.done.retries.push(RetryWrite::Again { event, seen, attempts, next_at });
                    }
                    None => self.put_off(&event, position, key, attempt, Some(next_at)),
                }
            }
            (None, Some(seen)) => self.done_with(event.number, key, seen),
            (None, None) => {}
        }
    }

    fn done_with(&mut self, event: EventKey, key: Option<String>, seen: SeenRetry) {
        if key.is_some() {
            // Who waits for it has its turn at once.
            self.retry_at(self.env().now());
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.done.retries.push(RetryWrite::Done { event, key, seen });
    }

    fn note(&mut self, event: &StoredEvent, attempt: u32, at: Timestamp, end: DeliveryEnd, answer: &Answer) {
        self.done.deliveries.push(NewDelivery {
            at,
            event: event.event.id,
            topic: event.event.topic.clone(),
            attempt,
            end,
            status: answer.status,
            took_ms: u32::try_from(answer.took.as_millis()).unwrap_or(u32::MAX),
            error: answer.error.clone(),
            answer: answer.body.clone(),
        });
    }

    /// The receiver wants to hear of us no more.
    fn disable(&mut self, now: Timestamp) {
        let reason = Some("the receiver answered 410 Gone".to_owned());
        let (by, backlog) = (Actor::system(), Backlog::Park);
        let disabled = Disabled { at: now, by, reason, backlog, left_config: false };
        self.endpoint.disabled = Some(disabled);
        self.done.shape = Some(Shape::of(&self.endpoint));
    }

    /// When the next turn is.
    fn next(&mut self, is_probe: bool) -> Next {
        let now = self.env().now();
        if self.endpoint.disabled.is_some() {
            return Next::Notified;
        }
        if let Gate::Open(until) = self.progress.breaker.gate(now) {
            return Next::At(until);
        }
        let look = now.plus(self.env().spread(LOOK_EVERY, 0.1));
        let look = self.next_retry.map_or(look, |retry| retry.min(look));
        let all_read = self.log.is_end && self.log.events.is_empty();
        // A probe that had nothing to send has read the log to its end.
        if (is_probe && self.begun > 0) || !self.due.is_empty() {
            return Next::Now;
        }
        if self.is_full() {
            return Next::At(look);
        }
        if !all_read {
            return Next::Now;
        }
        self.done.listen = Some(self.reading(1));
        Next::At(look)
    }

    fn end(mut self, next: Next) -> Result<Polled, PollError> {
        // What waits for an event is written before that is done with, so that it is there to be released. Those of one sort stand
        // together: they are written at once.
        self.done.retries.sort_by_key(|write| match write {
            RetryWrite::Later { .. } => 0,
            RetryWrite::Again { .. } => 1,
            RetryWrite::Done { .. } => 2,
        });
        let effects = vec![Effect::Webhook(Box::new(self.done))];
        let state = serde_json::to_value(&self.progress)?;
        Ok(Polled { effects, ..Polled::new(Vec::new(), state, next) })
    }
}

/// What the first gives that is ready; it is taken out.
async fn first(sending: &mut Vec<Sending<'_>>) -> (Errand, Answer) {
    poll_fn(|cx| {
        for at in 0..sending.len() {
            if let Poll::Ready(over) = sending[at].as_mut().poll(cx) {
                drop(sending.swap_remove(at));
                return Poll::Ready(over);
            }
        }
        Poll::Pending
    })
    .await
}
