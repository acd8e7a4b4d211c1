//! Live updates by server-sent events: one job, all jobs that match, and the events of a namespace.
//!
//! A stream never queues for a slow reader: of a job it sends the newest there is to know, moves are taken from a ring that goes on
//! without them, and events are read from their log as the reader takes them. Whoever leaves what was sent unread for too long is told so and cut off; they may go on from where
//! they were, by `Last-Event-ID`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::trigger::TopicPattern;
use taskwright_core::webhook::Topics;
use taskwright_core::{JobId, Namespace, Owner};
use taskwright_store::{JobView, MovePlace, ReadLog, StoredEvent};
use tokio::sync::watch;

use super::jobs::Filter;
use crate::answer::event::Listed;
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::Events;
use crate::http::state::Api;
use crate::http::tail::{Follower, Move, written};
use crate::http::watcher::Look;

/// The header by which a reader says where it was.
const LAST_EVENT_ID: &str = "last-event-id";
const RESUMES: &[(&str, &str)] =
    &[("Last-Event-ID", "The id of the last event that was read: the stream goes on behind it.")];

/// Events that are read from the log at once.
const PAGE: usize = 100;
/// Positions of the log that are looked at in one question.
const SCAN_MAX: usize = 5_000;
/// Moves that are taken, or read from the store, at once.
const MOVES: usize = 200;
/// Moves that are read from the store for somebody who comes back: whoever has missed more reads the listing.
const CATCH_UP_MAX: usize = 10_000;
/// After so long without anything to send, the place is told that has been reached.
const PLACE_TOLD_AFTER: Duration = Duration::from_secs(15);

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "jobs.events",
            Method::GET,
            "/api/v1/jobs/{id}/events",
            Access::NeedsOwn(P::JobsView),
            "Follow one job: an event `job` with the job each time it changes, and `end` after its end",
            job,
        )
        .stream()
        .headers(RESUMES),
        Operation::new(
            "jobs.stream",
            Method::GET,
            "/api/v1/jobs/stream",
            Access::NeedsOwn(P::JobsView),
            "Follow all jobs that match: an event `job` with a job each time it moves, from now on or behind Last-Event-ID",
            jobs,
        )
        .stream()
        .headers(RESUMES),
        Operation::new(
            "events.stream",
            Method::GET,
            "/api/v1/events/stream",
            Access::Needs(P::EventsView),
            "Follow the events of a namespace as they are emitted, from now on or behind Last-Event-ID",
            events,
        )
        .stream()
        .headers(RESUMES),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The job.
    id: JobId,
}

/// What a stream ends with, and why.
#[derive(Serialize)]
struct Why {
    reason: &'static str,
}

fn last(event: &str, reason: &'static str) -> Event {
    // A text: it can be written.
    Event::default().event(event).data(serde_json::to_string(&Why { reason }).unwrap_or_default())
}

/// What the streams begin with that go on from now: the place behind which nothing is missed.
fn started(place: impl AsRef<str>) -> Event {
    Event::default().event("start").id(place).data("{}")
}

fn shutting_down() -> Event {
    last("end", "the server is being stopped; connect again, to go on behind the last id")
}

fn cut_off() -> Event {
    last("cut-off", "what was sent was left unread for too long; connect again, to go on behind the last id")
}

/// Since when the reader has had something to read.
struct Pace {
    api: Arc<Api>,
    sent_us: Option<u64>,
}

impl Pace {
    fn new(api: Arc<Api>) -> Self {
        Self { api, sent_us: None }
    }

    fn sent(&mut self) {
        self.sent_us = Some(self.api.env.monotonic_us());
    }

    /// Whether it took too long to come back for more.
    fn is_too_slow(&mut self) -> bool {
        let limit_us = crate::answer::micros(self.api.limits().unread_time);
        let now_us = self.api.env.monotonic_us();
        self.sent_us.take().is_some_and(|sent_us| now_us.saturating_sub(sent_us) > limit_us)
    }
}

// -- one job

struct OneJob {
    pace: Pace,
    watched: watch::Receiver<Look>,
    /// Who reads it, if it may be its owner.
    reader: Option<Owner>,
    /// What the reader has.
    tag: Option<String>,
    /// What comes after what was sent last.
    then: Then,
}

enum Then {
    Look,
    End(Option<Event>),
}

async fn job(call: Call<Named>) -> Result<Events, Problem> {
    // Interest is registered before the first look.
    let watched = call.api.watcher.job(call.path.id);
    call.job(call.path.id).await?;
    let tag = call.headers.get(LAST_EVENT_ID).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let (pace, reader) = (Pace::new(Arc::clone(&call.api)), call.caller.owner());
    let state = OneJob { pace, watched, reader, tag, then: Then::Look };
    Ok(Events(stream::unfold(state, next_of_job).boxed()))
}

async fn next_of_job(mut state: OneJob) -> Option<(Event, OneJob)> {
    if let Then::End(event) = &mut state.then {
        let event = event.take()?;
        return Some((event, state));
    }
    if state.pace.is_too_slow() {
        state.then = Then::End(None);
        return Some((cut_off(), state));
    }
    loop {
        let look = state.watched.borrow_and_update().clone();
        match look {
            Look::Gone => {
                state.then = Then::End(None);
                return Some((last("end", "the job is gone"), state));
            }
            Look::At(view) => {
                note_read(&state, &view).await;
                if let Some(event) = news(&mut state, &view) {
                    state.pace.sent();
                    return Some((event, state));
                }
                if view.state.is_terminal() {
                    state.then = Then::End(None);
                    return Some((last("end", "the job is over"), state));
                }
            }
            Look::NotYet => {}
        }
        let stopped = state.pace.api.stopped();
        tokio::select! {
            changed = state.watched.changed() => changed.ok()?,
            () = stopped => {
                state.then = Then::End(None);
                return Some((shutting_down(), state));
            }
        }
    }
}

/// Notes that the owner of a job is told how it ended, once it has. A store that is out of order keeps nobody from being told.
async fn note_read(state: &OneJob, view: &JobView) {
    let is_due = view.state.is_terminal() && view.consumed_at.is_none();
    let Some(reader) = state.reader.as_ref().filter(|_| is_due) else { return };
    if view.owner.as_ref() == Some(reader) {
        let (api, ids) = (&state.pace.api, vec![view.id]);
        if let Err(error) = api.client.store().consume(api.env.now(), ids, reader.clone()).await {
            tracing::debug!(job = %view.id, %error, "it is not noted that a job was read");
        }
    }
}

/// The job as an event, if the reader does not know it like that.
fn news(state: &mut OneJob, view: &JobView) -> Option<Event> {
    // Names, numbers and texts: it can be written.
    let json = serde_json::to_string(view).unwrap_or_default();
    let tag = blake3::hash(json.as_bytes()).to_hex()[..16].to_owned();
    if state.tag.as_ref() == Some(&tag) {
        return None;
    }
    if view.state.is_terminal() {
        state.then = Then::End(Some(last("end", "the job is over")));
    }
    state.tag = Some(tag.clone());
    Some(Event::default().event("job").id(tag).data(json))
}

// -- all jobs that match

struct Jobs {
    pace: Pace,
    follower: Follower,
    filter: taskwright_store::Filter,
    /// Where to go on, for somebody who comes back; they are told what the store knows from there on, and then go along with the others.
    behind: Option<MovePlace>,
    caught_up: usize,
    /// What is sent first.
    start: Option<Event>,
    /// What was taken and not sent yet.
    taken: VecDeque<Move>,
    /// The place that was reached, and the one that was told last.
    reached: Arc<str>,
    told: Arc<str>,
    is_over: bool,
}

async fn jobs(call: Call<Nothing, Filter>) -> Result<Events, Problem> {
    let Filter { oldest_first, limit, cursor, .. } = &call.query;
    if *oldest_first || limit.is_some() || cursor.is_some() {
        let fix = "leave them out; `/api/v1/jobs` has pages";
        return Err(Problem::invalid("oldest_first, limit and cursor", "a stream has no pages", fix));
    }
    let mut filter = call.query.of(call.reach())?;
    filter.sight = call.sight();
    if !filter.args.is_empty() {
        let why = "what moves is told without its arguments";
        return Err(Problem::invalid(
            "args",
            why,
            "leave it out, and look at the arguments of the jobs that come",
        ));
    }
    let behind = last_id(&call.headers, |id| id.parse::<MovePlace>().ok())?;
    call.names_their_own().await?;
    let mut follower = call.api.tail.follow();
    // From the answer on nothing is missed.
    let reached = tokio::select! {
        reached = follower.begin() => reached,
        // The stream says so.
        () = call.api.stopped() => Some("".into()),
        () = call.api.env.sleep(call.api.limits().request_time) => None,
    };
    let reached = reached.ok_or_else(|| {
        let why = "the store does not say what moves";
        Problem::new(Sort::Unavailable, "the stream", why, "try again in a while; the server's log says more")
    })?;
    // Of one that ends before it has begun there is no place.
    let start = (behind.is_none() && !reached.is_empty()).then(|| started(&*reached));
    let state = Jobs {
        pace: Pace::new(Arc::clone(&call.api)),
        follower,
        filter,
        behind,
        caught_up: 0,
        start,
        taken: VecDeque::new(),
        told: Arc::clone(&reached),
        reached,
        is_over: false,
    };
    Ok(Events(stream::unfold(state, next_of_jobs).boxed()))
}

async fn next_of_jobs(mut state: Jobs) -> Option<(Event, Jobs)> {
    if state.is_over {
        return None;
    }
    if state.pace.is_too_slow() {
        state.is_over = true;
        return Some((cut_off(), state));
    }
    let api = Arc::clone(&state.pace.api);
    loop {
        // Whoever is sent away is to know where from.
        if let Some(event) = state.start.take() {
            return Some((event, state));
        }
        if api.is_ending() {
            state.is_over = true;
            return Some((shutting_down(), state));
        }
        if let Some(event) = state.matching() {
            state.pace.sent();
            return Some((event, state));
        }
        if let Some(place) = state.behind.take() {
            if let Err(error) = state.catch_up(place).await {
                tracing::warn!(%error, "reading what moved for somebody who comes back");
                state.is_over = true;
                return Some((last("end", "the store is out of order; connect again"), state));
            }
            continue;
        }
        let (moves, place) = state.follower.take(MOVES);
        let is_news = !moves.is_empty();
        state.taken.extend(moves);
        state.reached = place.unwrap_or_else(|| Arc::clone(&state.reached));
        if is_news {
            continue;
        }
        tokio::select! {
            is_there = state.follower.changed() => is_there.then_some(())?,
            () = api.stopped() => {}
            () = api.env.sleep(PLACE_TOLD_AFTER), if state.told != state.reached => {
                // Without data it is no event to the reader, but the place to go on from.
                state.told = Arc::clone(&state.reached);
                return Some((Event::default().id(&*state.told).comment("so far"), state));
            }
        }
    }
}

impl Jobs {
    /// The next of what was taken that this reader is to have.
    fn matching(&mut self) -> Option<Event> {
        while let Some(one) = self.taken.pop_front() {
            match one {
                Move::Job(moved) if self.filter.matches(&moved.job) => {
                    self.told = Arc::clone(&moved.id);
                    return Some(Event::default().event("job").id(&*moved.id).data(&moved.json));
                }
                Move::Job(_) => {}
                Move::Missed => {
                    self.told = Arc::clone(&self.reached);
                    return Some(
                        missed("some jobs moved that were not told; read the listing, the stream goes on")
                            .id(&*self.told),
                    );
                }
            }
        }
        None
    }

    /// Takes a part of what moved behind a place, from the store.
    async fn catch_up(&mut self, place: MovePlace) -> Result<(), taskwright_store::Error> {
        let api = Arc::clone(&self.pace.api);
        let _turn = api.tail.turn().await;
        let moves = api.client.store().moves(place.clone(), MOVES).await?;
        self.caught_up += moves.jobs.len();
        if moves.missed || self.caught_up > CATCH_UP_MAX {
            self.taken.push_back(Move::Missed);
            return Ok(());
        }
        self.taken.extend(written(moves.jobs, &place, &moves.place));
        self.behind = Some(moves.place).filter(|_| !moves.is_end);
        Ok(())
    }
}

fn missed(reason: &'static str) -> Event {
    last("missed", reason)
}

// -- events

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// Of these topics, like `order.*`; all, if none is named, but the ends of jobs, which have to be named: `job.*`.
    topic: Vec<TopicPattern>,
}

struct Log {
    pace: Pace,
    /// What is sent first.
    start: Option<Event>,
    head: watch::Receiver<i64>,
    namespace: Namespace,
    topics: Topics,
    /// Up to where the log was looked at.
    position: i64,
    /// Events that were read and not sent yet; at most a page.
    read: VecDeque<(i64, StoredEvent)>,
    /// What the reader is to be told that they missed.
    missed: Option<&'static str>,
    is_over: bool,
}

async fn events(call: Call<Nothing, Which>) -> Result<Events, Problem> {
    let head = call.api.watcher.head();
    let newest = call.store().log_head().await?;
    let asked = last_id(&call.headers, |id| id.parse::<i64>().ok().filter(|position| *position >= 0))?;
    // Of another store, or of this one before it was restored: what would come behind it is not what was asked for.
    let is_beyond = asked.is_some_and(|position| position > newest);
    let position = asked.filter(|_| !is_beyond).unwrap_or(newest);
    let topics = match &call.query.topic[..] {
        [] => vec!["**".parse()?],
        topics => topics.to_vec(),
    };
    let state = Log {
        pace: Pace::new(Arc::clone(&call.api)),
        start: asked.is_none().then(|| started(position.to_string())),
        head,
        namespace: call.namespace_or_default(),
        topics: Topics(topics),
        position,
        read: VecDeque::new(),
        missed: is_beyond.then_some(BEYOND),
        is_over: false,
    };
    Ok(Events(stream::unfold(state, next_of_log).boxed()))
}

const BEYOND: &str = "there is no event yet with the last id; the stream goes on from the newest";
const AGED_OUT: &str =
    "events behind the last id are not kept any more; the stream goes on with those that are";

/// The id of the last event that a reader has, as it stands for a place.
fn last_id<T>(headers: &HeaderMap, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let fix = "pass the id of the last event that was read, or leave it out";
    id.to_str()
        .ok()
        .and_then(read)
        .map(Some)
        .ok_or_else(|| Problem::invalid("Last-Event-ID", "it is none that this stream gave", fix))
}

async fn next_of_log(mut state: Log) -> Option<(Event, Log)> {
    if state.is_over {
        return None;
    }
    if state.pace.is_too_slow() {
        state.is_over = true;
        return Some((cut_off(), state));
    }
    if let Some(event) = state.start.take() {
        return Some((event, state));
    }
    let api = Arc::clone(&state.pace.api);
    loop {
        if let Some(reason) = state.missed.take() {
            // Of what was read since nothing has been told: who connects again is to have it.
            let event = match state.read.is_empty() {
                true => missed(reason).id(state.position.to_string()),
                false => missed(reason),
            };
            return Some((event, state));
        }
        if let Some((position, stored)) = state.read.pop_front() {
            let Ok(listed) = Listed::of(&stored) else { continue };
            // What was read from JSON can be written as such.
            let json = serde_json::to_string(&listed).unwrap_or_default();
            state.pace.sent();
            return Some((Event::default().event("event").id(position.to_string()).data(json), state));
        }
        if api.is_ending() {
            state.is_over = true;
            // Of what was looked at and is not theirs the reader has no id.
            return Some((shutting_down().id(state.position.to_string()), state));
        }
        state.head.borrow_and_update();
        let read = ReadLog {
            namespace: state.namespace.clone(),
            topics: state.topics.clone(),
            after: state.position,
            limit: PAGE,
            scan_max: SCAN_MAX,
        };
        match api.client.store().read_log(read).await {
            Ok(page) => {
                state.position = page.scanned.max(state.position);
                state.read = page.events.into();
                state.missed = (page.gone > 0).then_some(AGED_OUT);
                if !state.read.is_empty() || !page.is_end || state.missed.is_some() {
                    continue;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "reading the log of events for a stream");
                state.is_over = true;
                return Some((last("end", "the store is out of order; connect again"), state));
            }
        }
        let stopped = api.stopped();
        tokio::select! {
            changed = state.head.changed() => changed.ok()?,
            () = stopped => {}
        }
    }
}
