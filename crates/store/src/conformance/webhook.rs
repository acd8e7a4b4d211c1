//! Webhooks: endpoints, the log that they are told from, and what could not be delivered yet.

use taskwright_core::webhook::{Backlog, DeliveryEnd, Disabled, Endpoint, Secret, Topics};
use taskwright_core::retention::Garbage;
use taskwright_core::{Args, EventId, GeneratorName, MaxAttempts, NewJob, Topic};

use super::Harness;
use super::fixture::*;
use super::generator::{commit, commit_of, generator};
use crate::{
    Collect, DeliveryView, Effect, EventKey, GeneratorCommit, GeneratorWrite, LogPage, NewDelivery, NewEvent, NewWebhook,
    ReadLog, RetryWrite, SeenRetry, Shape, StoredGenerator, StoredRetry, StoredWebhook, TakeGenerators, WebhookTurn, WebhookWrite,
};

fn event_id(n: u32) -> EventId {
    EventId::from_bytes(*id(n).as_bytes())
}

pub fn topics(patterns: &[&str]) -> Topics {
    Topics(patterns.iter().map(|pattern| pattern.parse().expect("scenarios name topics well")).collect())
}

/// Event `n`, about an order of a customer.
pub fn event(n: u32) -> NewEvent {
    NewEvent {
        id: event_id(n),
        namespace: namespace("default"),
        topic: Topic::new("order.paid").expect("a topic"),
        key: Some(format!("customer {}", n % 3)),
        payload: Args::from_json(format!("{{\"order\": {n}}}")).expect("it is JSON"),
    }
}

pub fn endpoint(patterns: &[&str]) -> Endpoint {
    let secret = Secret::from_bytes(&[7; 32]).expect("it is long enough");
    Endpoint { topics: topics(patterns), ..Endpoint::new("https://example.org/hook", secret) }
}

fn called(name: &str) -> GeneratorName {
    GeneratorName::new(name).expect("scenarios name generators well")
}

pub async fn add(process: &Process, name: &str, endpoint: &Endpoint) -> bool {
    let new = NewWebhook { generator: generator(name, 0), shape: Shape::of(endpoint) };
    process.store().add_webhook(at(0), new).await.expect("it is added")
}

pub async fn stored(process: &Process, name: &str) -> StoredWebhook {
    let found = process.store().webhook(namespace("default"), called(name)).await;
    found.expect("it is looked for").expect("the endpoint is stored")
}

/// Emits events and delivers them to the schedules, which puts them into the log.
pub async fn happen(process: &Process, now: u64, events: Vec<NewEvent>) {
    process.store().emit(at(now), events).await.expect("the events are stored");
    loop {
        let waiting = process.store().undelivered(500).await.expect("events are found");
        if waiting.is_empty() {
            return;
        }
        let keys = waiting.iter().map(|stored| stored.number).collect();
        assert!(process.store().deliver(at(now), keys, Vec::new()).await.expect("they are delivered"));
    }
}

pub fn reading(patterns: &[&str], after: i64) -> ReadLog {
    ReadLog { namespace: namespace("default"), topics: topics(patterns), after, limit: 100, scan_max: 1_000 }
}

pub async fn read(process: &Process, read: ReadLog) -> LogPage {
    process.store().read_log(read).await.expect("the log is read")
}

fn ids(page: &LogPage) -> Vec<EventId> {
    page.events.iter().map(|(_, stored)| stored.event.id).collect()
}

/// Takes the generator of an endpoint.
async fn take(process: &Process, now: u64, name: &str) -> StoredGenerator {
    let names = vec![(namespace("default"), called(name))];
    let lease = std::time::Duration::from_secs(30);
    let take = TakeGenerators { names, ..TakeGenerators::at(at(now), lease, 1) };
    let taken = process.store().take_generators(take).await.expect("it is answered").generators.pop();
    taken.expect("the generator is due and free")
}

pub fn nothing(webhook: &StoredWebhook) -> WebhookTurn {
    let set = webhook.retry_set();
    WebhookTurn { set, deliveries: Vec::new(), retries: Vec::new(), listen: None, shape: None }
}

/// Has the generator of the endpoint do this in a turn, and want to be looked at again at second 1,000.
pub async fn turn(process: &Process, now: u64, name: &str, turn: WebhookTurn) {
    let taken = take(process, now, name).await;
    let effects = vec![Effect::Webhook(Box::new(turn))];
    assert!(commit(process, now, GeneratorCommit { effects, ..commit_of(&taken, 1_000) }).await);
    // For the next turn.
    process.store().notify_generator(at(now), namespace("default"), called(name)).await.expect("it is notified");
}

/// An event that could not be delivered.
pub fn later(event: EventKey, key: Option<&str>, attempts: u32, next_at: Option<u64>) -> RetryWrite {
    let (position, key) = (event.0, key.map(str::to_owned));
    let id = event_id(u32::try_from(event.0).expect("scenarios have few events"));
    let topic = Topic::new("order.paid").expect("a topic");
    RetryWrite::Later { event, id, topic, position, key, attempts, next_at: next_at.map(at) }
}

/// An event that is done with, and was read as one that had so many attempts and was to be tried then.
pub fn done(event: EventKey, key: Option<&str>, attempts: u32, next_at: u64) -> RetryWrite {
    let seen = SeenRetry { attempts, next_at: at(next_at) };
    RetryWrite::Done { event, key: key.map(str::to_owned), seen }
}

/// The keys of the events of the log.
pub async fn numbers_of(process: &Process) -> Vec<EventKey> {
    let page = read(process, reading(&["**"], 0)).await;
    page.events.iter().map(|(_, stored)| stored.number).collect()
}

async fn retries(process: &Process, name: &str) -> Vec<StoredRetry> {
    let set = stored(process, name).await.retry_set();
    process.store().retries(set, 100).await.expect("the retry set is read")
}

pub async fn an_endpoint_is_found_as_it_was_added(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let wanted = endpoint(&["order.*"]);
    assert!(add(&process, "webhook:a", &wanted).await);
    assert!(!add(&process, "webhook:a", &endpoint(&["**"])).await, "the name is taken");
    assert!(add(&process, "webhook:b", &wanted).await);
    let another_process = Process::start(harness).await;
    let found = stored(&another_process, "webhook:a").await;
    assert_eq!(serde_json::from_str::<Endpoint>(&found.definition).expect("it is JSON"), wanted);
    assert_eq!((found.epoch, found.listens, found.generator.next), (1, false, Some(at(0))));
    let all = process.store().webhooks(None, None, 10).await.expect("they are listed");
    assert_eq!(all.iter().map(|one| one.generator.name.as_str()).collect::<Vec<_>>(), ["webhook:a", "webhook:b"]);
    let rest = process.store().webhooks(Some(namespace("default")), Some(found.generator.key), 10).await;
    assert_eq!(rest.expect("they are listed"), all[1..]);
    assert_eq!(process.store().webhooks(Some(namespace("other")), None, 10).await.expect("they are listed"), []);
}

pub async fn the_log_is_read_in_order_and_in_parts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let head = process.store().log_head().await.expect("there is a head");
    happen(&process, 1, (1..=10).map(event).collect()).await;
    let all: Vec<EventId> = (1..=10).map(event_id).collect();
    let page = read(&process, reading(&["**"], head)).await;
    assert_eq!((ids(&page), page.is_end), (all.clone(), true));
    assert_eq!(page.scanned, process.store().log_head().await.expect("there is a head"));
    assert!(page.events.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let (mut after, mut parts) = (head, Vec::new());
    loop {
        let page = read(&process, ReadLog { limit: 3, ..reading(&["**"], after) }).await;
        assert!(page.events.len() <= 3 && page.scanned >= after);
        parts.extend(ids(&page));
        after = page.scanned;
        if page.is_end {
            break;
        }
    }
    assert_eq!(parts, all);
}

pub async fn an_event_of_another_tenant_or_topic_is_passed_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["user.*.gone"])).await;
    let head = process.store().log_head().await.expect("there is a head");
    let about = |n: u32, topic: &str| NewEvent { topic: Topic::new(topic).expect("a topic"), ..event(n) };
    let elsewhere = NewEvent { namespace: namespace("other"), ..about(3, "user.7.gone") };
    let mut events = vec![about(1, "user.7.gone"), about(2, "user.7.here"), elsewhere, about(4, "user.gone")];
    events.extend((5..=30).map(event));
    events.push(about(31, "user.8.gone"));
    happen(&process, 1, events).await;
    let (mut after, mut found, mut reads) = (head, Vec::new(), 0);
    loop {
        let page = read(&process, ReadLog { scan_max: 10, ..reading(&["user.*.gone"], after) }).await;
        found.extend(ids(&page));
        (after, reads) = (page.scanned, reads + 1);
        if page.is_end {
            break;
        }
    }
    assert_eq!(found, [event_id(1), event_id(31)]);
    assert!((3..=5).contains(&reads), "a read looks at ten positions, and there were {reads}");
}

pub async fn who_listens_is_woken_and_who_does_not_is_left_alone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for name in ["webhook:a", "webhook:b"] {
        add(&process, name, &endpoint(&["order.*"])).await;
    }
    let head = process.store().log_head().await.expect("there is a head");
    let (a, b) = (stored(&process, "webhook:a").await, stored(&process, "webhook:b").await);
    for (webhook, listen) in [(&a, Some(reading(&["order.*"], head))), (&b, None)] {
        let taken = take(&process, 0, webhook.generator.name.as_str()).await;
        let effects = vec![Effect::Webhook(Box::new(WebhookTurn { listen, ..nothing(webhook) }))];
        assert!(commit(&process, 0, GeneratorCommit { effects, ..commit_of(&taken, 500) }).await);
    }
    let listening = process.store().listening_webhooks().await.expect("they are found");
    assert_eq!(listening.len(), 1);
    assert_eq!((listening[0].generator, listening[0].namespace.as_str()), (a.generator.key, "default"));
    assert_eq!(serde_json::from_str::<Topics>(&listening[0].topics).expect("it is JSON"), topics(&["order.*"]));
    process.store().wake_webhooks(at(5), vec![a.generator.key]).await.expect("it is woken");
    assert_eq!(process.store().listening_webhooks().await.expect("they are found"), []);
    let next = async |name| stored(&process, name).await.generator.next;
    assert_eq!((next("webhook:a").await, next("webhook:b").await), (Some(at(5)), Some(at(500))));
}

pub async fn a_turn_that_is_about_to_listen_hears_of_what_came_meanwhile(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["order.*"])).await;
    let webhook = stored(&process, "webhook:a").await;
    let head = process.store().log_head().await.expect("there is a head");
    let taken = take(&process, 0, "webhook:a").await;
    // Nobody listens yet, so that nobody is woken of it.
    happen(&process, 1, vec![event(1)]).await;
    let listen = Some(reading(&["order.*"], head));
    let effects = vec![Effect::Webhook(Box::new(WebhookTurn { listen, ..nothing(&webhook) }))];
    assert!(commit(&process, 2, GeneratorCommit { effects, ..commit_of(&taken, 500) }).await);
    let after = stored(&process, "webhook:a").await;
    assert_eq!((after.listens, after.generator.next), (false, Some(at(2))));
    assert_eq!(process.store().listening_webhooks().await.expect("they are found"), []);
    // What is of no interest is no reason.
    let head = process.store().log_head().await.expect("there is a head");
    let taken = take(&process, 2, "webhook:a").await;
    happen(&process, 3, vec![NewEvent { topic: Topic::new("user.new").expect("a topic"), ..event(2) }]).await;
    let listen = Some(reading(&["order.*"], head));
    let effects = vec![Effect::Webhook(Box::new(WebhookTurn { listen, ..nothing(&webhook) }))];
    assert!(commit(&process, 4, GeneratorCommit { effects, ..commit_of(&taken, 500) }).await);
    let after = stored(&process, "webhook:a").await;
    assert_eq!((after.listens, after.generator.next), (true, Some(at(500))));
}

pub fn delivery(n: u32, now: u64, end: DeliveryEnd) -> NewDelivery {
    let failed = end != DeliveryEnd::Delivered;
    NewDelivery {
        at: at(now),
        event: event_id(n),
        topic: Topic::new("order.paid").expect("a topic"),
        attempt: 1 + u32::from(failed),
        end,
        status: failed.then_some(503),
        took_ms: n,
        error: failed.then(|| "it answered 503".to_owned()),
        answer: (!failed).then(|| "thanks".to_owned()),
    }
}

pub async fn what_was_tried_is_found_newest_first_and_forgotten_in_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for name in ["webhook:a", "webhook:b"] {
        add(&process, name, &endpoint(&["**"])).await;
    }
    let (a, b) = (stored(&process, "webhook:a").await, stored(&process, "webhook:b").await);
    let tried = [
        delivery(1, 10, DeliveryEnd::Delivered),
        delivery(2, 20, DeliveryEnd::Failed),
        delivery(3, 30, DeliveryEnd::GaveUp),
    ];
    turn(&process, 30, "webhook:a", WebhookTurn { deliveries: tried.to_vec(), ..nothing(&a) }).await;
    let other = vec![delivery(4, 40, DeliveryEnd::Delivered)];
    turn(&process, 40, "webhook:b", WebhookTurn { deliveries: other, ..nothing(&b) }).await;
    let list = async |before, limit| -> Vec<DeliveryView> {
        process.store().deliveries(a.generator.key, before, limit).await.expect("history is read")
    };
    let found = list(None, 2).await;
    let rest = list(Some(found[1].number), 10).await;
    let all: Vec<NewDelivery> = found.into_iter().chain(rest).map(|view| view.delivery).collect();
    assert_eq!(all, [tried[2].clone(), tried[1].clone(), tried[0].clone()]);
    assert_eq!(process.collect(Garbage::Deliveries, at(30), 10).await, 2);
    assert_eq!(list(None, 10).await.len(), 1);
    assert_eq!(process.collect(Garbage::Deliveries, at(30), 10).await, 0);
}

pub async fn the_retry_set_gives_what_is_next(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let webhook = stored(&process, "webhook:a").await;
    happen(&process, 1, (1..=4).map(event).collect()).await;
    let n = numbers_of(&process).await;
    let writes = vec![later(n[0], None, 1, Some(70)), later(n[1], None, 1, Some(50)), later(n[2], None, 1, Some(60))];
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    let found = retries(&process, "webhook:a").await;
    let brief = |found: &[StoredRetry]| found.iter().map(|one| (one.number, one.attempts, one.next_at)).collect::<Vec<_>>();
    assert_eq!(brief(&found), [(n[1], 1, at(50)), (n[2], 1, at(60)), (n[0], 1, at(70))]);
    assert_eq!(found[0].event.as_ref().map(|stored| stored.event.clone()), Some(event(2)));
    assert_eq!((found[0].id, found[0].topic.as_str()), (event_id(2), "order.paid"));
    let count = async |limit| process.store().retry_count(webhook.retry_set(), limit).await.expect("they are counted");
    assert_eq!((count(2).await, count(10).await), (2, 3));
    let again = RetryWrite::Again { event: n[1], seen: found[0].seen(), attempts: 2, next_at: at(90) };
    let writes = vec![again, done(n[2], None, 1, 60)];
    turn(&process, 2, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    assert_eq!(brief(&retries(&process, "webhook:a").await), [(n[0], 1, at(70)), (n[1], 2, at(90))]);
    let first = process.store().retries(webhook.retry_set(), 1).await.expect("the retry set is read");
    assert_eq!(brief(&first), [(n[0], 1, at(70))]);
    assert_eq!(count(10).await, 2);
}

pub async fn events_of_one_key_wait_for_each_other(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let webhook = stored(&process, "webhook:a").await;
    happen(&process, 1, (1..=5).map(event).collect()).await;
    let n = numbers_of(&process).await;
    let writes = vec![
        later(n[0], Some("k"), 1, Some(50)),
        later(n[3], Some("k"), 0, None),
        later(n[1], Some("k"), 0, None),
        later(n[2], Some("other"), 1, Some(60)),
    ];
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    let due = async || retries(&process, "webhook:a").await.iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(due().await, [n[0], n[2]], "the others wait");
    let keys = ["k", "none", "other"].map(str::to_owned).to_vec();
    let held = process.store().waiting_keys(webhook.retry_set(), keys.clone()).await.expect("it is answered");
    assert_eq!(held, ["k", "other"]);
    let count = async || process.store().retry_count(webhook.retry_set(), 10).await.expect("they are counted");
    assert_eq!(count().await, 4, "those that wait count, too");
    for (event, attempts, now, then) in [(n[0], 1, 50, n[1]), (n[1], 0, 51, n[3])] {
        let seen_at = if attempts == 1 { 50 } else { now - 1 };
        let writes = vec![done(event, Some("k"), attempts, seen_at)];
        turn(&process, now, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
        let found = retries(&process, "webhook:a").await;
        assert_eq!((found[0].number, found[0].next_at, found.len()), (then, at(now), 2), "the next one has its turn");
    }
    let writes = vec![done(n[3], Some("k"), 0, 51)];
    turn(&process, 52, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    let held = process.store().waiting_keys(webhook.retry_set(), keys).await.expect("it is answered");
    assert_eq!(held, ["other"]);
}

pub async fn a_retry_whose_event_is_not_kept_says_so(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let webhook = stored(&process, "webhook:a").await;
    happen(&process, 1, vec![event(1)]).await;
    let n = numbers_of(&process).await;
    let writes = vec![later(n[0], None, 1, Some(50))];
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    assert!(process.collect(Garbage::Events, at(10), 100).await > 0);
    let found = retries(&process, "webhook:a").await;
    assert_eq!((found.len(), found[0].number, &found[0].event), (1, n[0], &None));
    assert_eq!((found[0].id, found[0].topic.as_str()), (event_id(1), "order.paid"), "it can be told of");
    assert_eq!(ids(&read(&process, reading(&["**"], 0)).await), []);
}

/// What was removed before somebody read it is counted, whoever it was for, and passed over once.
pub async fn events_that_are_not_kept_any_more_are_counted(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["order.*"])).await;
    let begin = process.store().log_head().await.expect("there is a head");
    let elsewhere = NewEvent { namespace: namespace("other"), ..event(4) };
    happen(&process, 1, vec![event(1), event(2), event(3), elsewhere, event(5), event(6)]).await;
    let end = process.store().log_head().await.expect("there is a head");
    let all = read(&process, reading(&["order.*"], begin)).await;
    assert_eq!((all.gone, all.events.len()), (0, 5));
    let positions: Vec<i64> = all.events.iter().map(|(position, _)| *position).collect();
    // Four of them, in one call.
    let few = Collect { garbage: Garbage::Events, before: at(10), after: None, limit: 4, dry_run: false };
    assert_eq!(process.store().collect(few).await.expect("they are removed").rows, 4);
    let rest = read(&process, reading(&["order.*"], begin)).await;
    assert_eq!((rest.gone, ids(&rest), rest.scanned), (4, vec![event_id(5), event_id(6)], end));
    let one = read(&process, ReadLog { limit: 1, ..reading(&["order.*"], begin) }).await;
    assert_eq!((one.gone, ids(&one), one.is_end), (4, vec![event_id(5)], false));
    let from_the_second = read(&process, reading(&["order.*"], positions[1])).await;
    assert_eq!(from_the_second.gone, 2, "the third, and the one of somebody else");
    let behind = read(&process, reading(&["order.*"], positions[3])).await;
    assert_eq!((behind.gone, ids(&behind)), (0, vec![event_id(6)]));
    // All of them.
    process.collect(Garbage::Events, at(10), 100).await;
    let none = read(&process, reading(&["order.*"], begin)).await;
    assert_eq!((none.gone, ids(&none), none.scanned, none.is_end), (6, Vec::new(), end, true));
    assert_eq!(process.store().log_head().await.expect("there is a head"), end, "the head stays");
    assert_eq!(read(&process, reading(&["order.*"], end)).await.gone, 0);
    happen(&process, 20, vec![event(7)]).await;
    let after = read(&process, reading(&["order.*"], positions[4])).await;
    assert_eq!((after.gone, ids(&after)), (0, vec![event_id(7)]));
}

/// An event that is emitted once more is not stored again, and nobody has missed one for it.
pub async fn an_event_that_was_never_stored_is_not_missed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    happen(&process, 1, vec![event(1)]).await;
    let end = process.store().log_head().await.expect("there is a head");
    for _ in 0..3 {
        happen(&process, 2, vec![event(1)]).await;
    }
    happen(&process, 3, vec![event(2)]).await;
    let page = read(&process, reading(&["**"], end)).await;
    assert_eq!((page.gone, ids(&page)), (0, vec![event_id(2)]));
    process.collect(Garbage::Events, at(3), 100).await;
    assert_eq!(read(&process, reading(&["**"], end)).await.gone, 0);
}

/// What somebody writes about an endpoint.
pub fn write_of(webhook: &StoredWebhook, endpoint: &Endpoint, drop_retries: bool) -> WebhookWrite {
    let generator = GeneratorWrite {
        state: None,
        generator: webhook.generator.key,
        version: webhook.generator.version,
        record: "{}".to_owned(),
        paused: false,
        next: None,
    };
    WebhookWrite { generator, state: Some("\"moved\"".to_owned()), shape: Shape::of(endpoint), drop_retries }
}

fn disabled(endpoint: &Endpoint, backlog: Backlog) -> Endpoint {
    let disabled = Disabled { at: at(9), by: alice(), reason: None, backlog, left_config: false };
    Endpoint { disabled: Some(disabled), ..endpoint.clone() }
}

/// PH-X10: a backlog of ten thousand is gone at once, and nothing of it is ever tried.
pub async fn ph_x10_dropping_a_backlog_costs_the_same_however_large_it_is(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let wanted = endpoint(&["**"]);
    add(&process, "webhook:a", &wanted).await;
    let webhook = stored(&process, "webhook:a").await;
    let writes = (1..=10_000).map(|n| later(EventKey(n), None, 1, Some(50))).collect();
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    let webhook = stored(&process, "webhook:a").await;
    let write = write_of(&webhook, &disabled(&wanted, Backlog::Drop), true);
    let before = process.store().counters().statements;
    assert!(process.store().write_webhook(at(9), write).await.expect("it is answered"));
    let statements = process.store().counters().statements - before;
    assert!(statements <= 12, "{statements} statements");
    let after = stored(&process, "webhook:a").await;
    assert_eq!((after.epoch, after.generator.state.as_str(), after.generator.next), (2, "\"moved\"", None));
    assert_eq!(retries(&process, "webhook:a").await, []);
    // The rest is swept little by little.
    let mut swept = 0;
    for part in [4_000, 4_000, 2_000, 0] {
        let collect =
            Collect { garbage: Garbage::Deliveries, before: at(0), after: None, limit: 4_000, dry_run: false };
        let dry_run = Collect { dry_run: true, ..collect };
        for collect in [dry_run, collect] {
            assert_eq!(process.store().collect(collect).await.expect("it is collected").rows, part);
        }
        swept += part;
    }
    assert_eq!(swept, 10_000);
}

pub async fn a_change_of_an_endpoint_fences_the_turn_under_way(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let wanted = endpoint(&["**"]);
    add(&process, "webhook:a", &wanted).await;
    happen(&process, 1, vec![event(1)]).await;
    let n = numbers_of(&process).await;
    let webhook = stored(&process, "webhook:a").await;
    let taken = take(&process, 1, "webhook:a").await;
    let other = Endpoint { in_flight: 3, ..wanted.clone() };
    assert!(process.store().write_webhook(at(2), write_of(&webhook, &other, false)).await.expect("it is answered"));
    let stale = write_of(&webhook, &wanted, false);
    assert!(!process.store().write_webhook(at(2), stale).await.expect("it is answered"), "the version is another");
    let turn = WebhookTurn { retries: vec![later(n[0], None, 1, Some(50))], ..nothing(&webhook) };
    let effects = vec![Effect::Webhook(Box::new(turn))];
    let late = GeneratorCommit { effects, state: Some("1".to_owned()), ..commit_of(&taken, 500) };
    assert!(!commit(&process, 3, late).await);
    assert_eq!(retries(&process, "webhook:a").await, []);
    let after = stored(&process, "webhook:a").await;
    assert_eq!(after.generator.state, "\"moved\"");
    assert_eq!(serde_json::from_str::<Endpoint>(&after.definition).expect("it is JSON"), other);
}

pub async fn events_are_redelivered_whatever_became_of_them(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let elsewhere = NewEvent { namespace: namespace("other"), ..event(3) };
    happen(&process, 1, vec![event(1), event(2), elsewhere]).await;
    let n = numbers_of(&process).await;
    let webhook = stored(&process, "webhook:a").await;
    let writes = vec![later(n[1], Some("k"), 7, Some(900))];
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    let ask = [1, 2, 3, 4, 2].map(event_id).to_vec();
    let done = process.store().redeliver(at(20), webhook.retry_set(), ask).await.expect("it is answered");
    assert_eq!(done, [true, true, false, false, true]);
    let found = retries(&process, "webhook:a").await;
    let brief: Vec<_> = found.iter().map(|one| (one.number, one.attempts, one.next_at)).collect();
    assert_eq!(brief, [(n[0], 0, at(20)), (n[1], 0, at(20))]);
    assert!(stored(&process, "webhook:a").await.generator.next <= Some(at(20)));
    let many = (0..=1_000).map(event_id).collect();
    assert!(process.store().redeliver(at(20), webhook.retry_set(), many).await.is_err_and(|error| error.is_domain()));
}

/// A turn that began before an event was redelivered does not undo that, whatever came of the event in it.
pub async fn a_redelivery_outlives_the_turn_that_is_under_way(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    happen(&process, 1, (1..=6).map(event).collect()).await;
    let n = numbers_of(&process).await;
    let webhook = stored(&process, "webhook:a").await;
    let before = [0, 1, 4, 5].map(|at| later(n[at], (at >= 4).then_some("k"), 2, Some(10))).to_vec();
    turn(&process, 1, "webhook:a", WebhookTurn { retries: before, ..nothing(&webhook) }).await;

    let taken = take(&process, 10, "webhook:a").await;
    let seen = SeenRetry { attempts: 2, next_at: at(10) };
    let again = [0, 1, 2, 3, 4].map(|n| event_id(n + 1)).to_vec();
    let found = process.store().redeliver(at(20), webhook.retry_set(), again).await.expect("it is answered");
    assert_eq!(found, [true; 5]);
    let retries_of_turn = vec![
        // The third and fourth come from the log.
        later(n[2], None, 1, Some(900)),
        later(n[3], Some("k"), 0, None),
        RetryWrite::Again { event: n[1], seen, attempts: 3, next_at: at(900) },
        done(n[0], None, 2, 10),
        done(n[4], Some("k"), 2, 10),
        done(n[5], Some("k"), 2, 10),
    ];
    let turn_of = WebhookTurn { retries: retries_of_turn, ..nothing(&webhook) };
    let effects = vec![Effect::Webhook(Box::new(turn_of))];
    assert!(commit(&process, 30, GeneratorCommit { effects, ..commit_of(&taken, 1_000) }).await);
    let found = retries(&process, "webhook:a").await;
    let brief: Vec<_> = found.iter().map(|one| (one.number, one.attempts, one.next_at)).collect();
    assert_eq!(brief, n[..5].iter().map(|event| (*event, 0, at(20))).collect::<Vec<_>>(), "the last one is done with");
    assert_eq!(found[3].key.as_deref(), Some("k"), "others wait for the one from the log now");
    assert_eq!(stored(&process, "webhook:a").await.generator.next, Some(at(30)), "it is asked at once");
    // Delivered as it was redelivered.
    let ended = [0, 1, 2].map(|at| done(n[at], None, 0, 20)).to_vec();
    turn(&process, 30, "webhook:a", WebhookTurn { retries: ended, ..nothing(&webhook) }).await;
    assert_eq!(retries(&process, "webhook:a").await.len(), 2);
}

pub async fn a_removed_endpoint_is_gone_with_its_generator(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let webhook = stored(&process, "webhook:a").await;
    let writes = vec![later(EventKey(1), None, 1, Some(50))];
    turn(&process, 1, "webhook:a", WebhookTurn { retries: writes, ..nothing(&webhook) }).await;
    assert!(process.store().remove_webhook(at(2), webhook.generator.key).await.expect("it is removed"));
    assert!(!process.store().remove_webhook(at(2), webhook.generator.key).await.expect("it is answered"));
    let (default, name) = (namespace("default"), called("webhook:a"));
    assert_eq!(process.store().webhook(default.clone(), name.clone()).await.expect("it is answered"), None);
    assert_eq!(process.store().generator(default, name).await.expect("it is answered"), None);
    assert_eq!(process.collect(Garbage::Deliveries, at(0), 10).await, 1);
    assert!(add(&process, "webhook:a", &endpoint(&["**"])).await, "the name is free");
    assert_eq!(retries(&process, "webhook:a").await, []);
}

pub async fn ends_of_jobs_are_told_for_endpoints_that_name_them(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let wanted = endpoint(&["job.failed"]);
    add(&process, "webhook:a", &wanted).await;
    add(&process, "webhook:all", &endpoint(&["**"])).await;
    let worker = process.worker(1).await;
    let once = |n| NewJob { max_attempts: MaxAttempts::limited(1).expect("one"), ..job(n) };
    let fail = async |n: u32| {
        process.enqueue(0, [once(n), job(n + 100)]).await;
        for held in worker.claim_all(1).await {
            let end = if number(held.id) == n { failed("for good") } else { completed() };
            worker.end(2, &held, end).await;
        }
    };
    let told = async || {
        let waiting = process.store().undelivered(100).await.expect("events are found");
        waiting.iter().map(|stored| stored.event.topic.to_string()).collect::<Vec<_>>()
    };
    fail(1).await;
    assert_eq!(told().await, ["job.failed"]);
    let webhook = stored(&process, "webhook:a").await;
    let off = write_of(&webhook, &disabled(&wanted, Backlog::Drop), true);
    assert!(process.store().write_webhook(at(3), off).await.expect("it is answered"));
    fail(2).await;
    assert_eq!(told().await, ["job.failed"], "nobody waits for more");
}
