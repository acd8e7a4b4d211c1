//! An event of a transaction happened if and only if that commits, with every driver and from SQL, and is offered to the
//! schedules then, however late that is.

use taskwright::core::limit::{check_event_key, check_event_payload};
use taskwright::core::outcome::check_emitted;
use taskwright::core::{EventId, Topic};
use taskwright::store::StoredEvent;
use taskwright::{Args, Error, Event, Namespace};
use tokio_postgres::NoTls;

use crate::drivers::{ALL, Driver, Then, Work};
use crate::sql::{agree, connected, refused};
use crate::support::Site;

async fn emit(driver: Driver, site: &Site, event: Event, then: Then) -> Result<EventId, Error> {
    let client = site.client.clone();
    let work: Work<_> = Box::new(|tx| Box::pin(async move { client.emit_in(tx, event).await }));
    driver.transact(&site.url(), work, then).await
}

async fn undelivered(site: &Site) -> Vec<StoredEvent> {
    site.store.undelivered(100).await.unwrap()
}

#[tokio::test]
async fn a_committed_one_happened_and_one_that_was_rolled_back_did_not() {
    let site = Site::new().await;
    for (number, driver) in ALL.into_iter().enumerate() {
        let payload = Args::from_json(format!("{{\"driver\":  \"{driver:?}, \\\\u0000\"}}")).unwrap();
        let event = || {
            let event = Event::new("order.paid").namespace("shop").key("customer 7");
            event.raw_payload(payload.clone())
        };
        emit(driver, &site, event(), Then::RollBack).await.unwrap();
        let id = emit(driver, &site, event(), Then::Commit).await.unwrap();
        // What was said twice is one event.
        assert_eq!(emit(driver, &site, event().id(id), Then::Commit).await.unwrap(), id);
        let found = undelivered(&site).await;
        assert_eq!(found.len(), number + 1, "{driver:?}");
        let stored = &found[number].event;
        assert_eq!((stored.id, stored.topic.as_str(), stored.namespace.as_str()), (id, "order.paid", "shop"));
        assert_eq!((stored.key.as_deref(), &stored.payload), (Some("customer 7"), &payload), "{driver:?}");
    }
}

#[tokio::test]
async fn one_that_commits_late_is_delivered_all_the_same() {
    let site = Site::new().await;
    let (mut slow, _driver) = connected(&site).await;
    let late = slow.transaction().await.unwrap();
    late.execute("SELECT taskwright.emit('order.created', '{\"order\": 1}')", &[]).await.unwrap();
    site.database.sql("SELECT taskwright.emit('order.created', '{\"order\": 2}')");
    let deliver = async |events: &[StoredEvent]| {
        let keys = events.iter().map(|event| event.number).collect();
        site.store.deliver(site.env.now(), keys, Vec::new()).await.unwrap()
    };
    let orders = |events: &[StoredEvent]| {
        events.iter().map(|event| event.event.payload.as_str().to_owned()).collect::<Vec<_>>()
    };
    let found = undelivered(&site).await;
    assert_eq!(orders(&found), [r#"{"order": 2}"#]);
    assert!(deliver(&found).await);
    late.commit().await.unwrap();
    let found = undelivered(&site).await;
    assert_eq!(orders(&found), [r#"{"order": 1}"#]);
    assert!(deliver(&found).await);
    let all = site.store.events(None, None, None, 9).await.unwrap();
    assert_eq!(orders(&all), [r#"{"order": 2}"#, r#"{"order": 1}"#]);
}

#[tokio::test]
async fn a_trigger_tells_of_each_row() {
    let site = Site::new().await;
    let ids = site.database.sql(
        "CREATE TABLE shop_order (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL);
         CREATE FUNCTION order_was_made() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM taskwright.emit('order.created', to_jsonb(NEW), key => NEW.item);
             RETURN NEW;
         END $$;
         CREATE TRIGGER told AFTER INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION order_was_made();
         INSERT INTO shop_order (item) VALUES ('a book'), ('a pen');
         BEGIN; INSERT INTO shop_order (item) VALUES ('nothing'); ROLLBACK;
         SELECT taskwright.emit('order.counted')",
    );
    let found = undelivered(&site).await;
    let told = found.iter().map(|event| (event.event.payload.as_str(), event.event.key.as_deref()));
    let expected = [
        (r#"{"id": 1, "item": "a book"}"#, Some("a book")),
        (r#"{"id": 2, "item": "a pen"}"#, Some("a pen")),
        ("{}", None),
    ];
    assert!(told.eq(expected), "{found:?}");
    assert_eq!(ids.trim(), found[2].event.id.to_string());
    assert!(found.iter().all(|event| event.at <= site.env.now() && event.event.namespace.as_str() != "shop"));
}

#[tokio::test]
async fn what_is_refused_says_why_and_what_to_do() {
    let site = Site::new().await;
    let (client, _driver) = connected(&site).await;
    for (call, message, hint) in [
        ("'no spaces'", "the topic \"no spaces\" is not accepted", "letters, digits"),
        ("NULL", "the topic", "letters, digits"),
        ("'a', namespace => NULL", "the namespace", "letters, digits"),
        ("'a', key => ''", "the key \"\"", "1 to 1,024 bytes"),
        ("'a', to_jsonb(repeat('x', 1048575))", "the payload", "1 MiB"),
    ] {
        refused(&client, &format!("SELECT taskwright.emit({call})"), message, hint).await;
    }
    site.database.sql("SELECT taskwright.emit('a', NULL, NULL)");
    let found = undelivered(&site).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].event.payload.as_str(), found[0].event.key.as_deref()), ("null", None));
}

#[tokio::test]
async fn the_function_and_the_library_accept_the_same_events() {
    let site = Site::new().await;
    let (client, _driver) = connected(&site).await;
    let long = |bytes: usize| "x".repeat(bytes);
    let names: Vec<String> =
        ["", "a", "order.created", "a b", "a\n", "\na", "naïve", "_a", "a:/-_.9", "job.failed", "job.posted"]
            .into_iter()
            .map(str::to_owned)
            .chain([long(128), long(129)])
            .collect();
    agree(&client, "emit($1)", &names, |text| {
        Topic::new(text).is_ok_and(|topic| check_emitted(&topic).is_ok())
    })
    .await;
    agree(&client, "emit('a', namespace => $1)", &names, |text| Namespace::new(text).is_ok()).await;
    let keys: Vec<String> =
        ["", "customer 7", "a\nb", "\u{1}", "\u{7f}", "\u{9f}", "\u{a0}", "\u{202e}", "🦀"]
            .into_iter()
            .map(str::to_owned)
            .chain([long(1_024), long(1_025), "é".repeat(512), "é".repeat(513)])
            .collect();
    agree(&client, "emit('a', key => $1)", &keys, |text| check_event_key(text).is_ok()).await;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let payloads =
        ["null", "{", r#"{"a": 1}"#, r#"{"a": [1e400]}"#, "-1e400", "1e-400", "1.7e308", r#""1e400""#]
            .into_iter()
            .map(str::to_owned)
            .chain([nested(127), nested(128)])
            .collect::<Vec<_>>();
    let taken = |json: &String| {
        Args::from_json(json.as_bytes()).is_ok_and(|payload| check_event_payload(&payload).is_ok())
    };
    agree(&client, "emit('a', $1::text::jsonb)", &payloads, taken).await;
}

#[tokio::test]
async fn it_is_safe_from_what_the_session_has_on_its_path() {
    let site = Site::new().await;
    site.database.sql(
        "CREATE SCHEMA trap; CREATE TABLE trap.event (event bigint, id uuid, at bigint, namespace text, topic text, key text,
            payload bytea); CREATE FUNCTION trap.new_id() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
    );
    let (client, _driver) = connected(&site).await;
    client.batch_execute("SET search_path = trap; SELECT taskwright.emit('a')").await.unwrap();
    assert_eq!(site.database.sql("SELECT count(*) FROM trap.event"), "0");
    assert_eq!(undelivered(&site).await.len(), 1);
}

#[tokio::test]
async fn a_transaction_on_another_database_is_told_so() {
    let (site, other) = (Site::new().await, crate::cluster::Cluster::shared().database());
    let (mut client, connection) = tokio_postgres::connect(&other.url(), NoTls).await.unwrap();
    let _driver = site.env.spawn("connection", connection);
    let mut tx = client.transaction().await.unwrap();
    let error = site.client.emit_in(&mut tx, Event::new("a")).await.unwrap_err();
    assert!(error.to_string().contains("no such function"), "{error}");
    assert!(error.fix().contains("taskwright migrate"), "{}", error.fix());
}
