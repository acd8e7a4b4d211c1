//! What is sent to a channel becomes events, each once, also with two nodes and when the server ends the connection.

use std::fs;
use std::time::Duration;

use taskwright::store::SourceView;

use crate::support::Site;

const LIMIT: Duration = Duration::from_secs(30);

const CONFIG: &str = "
[sources.orders]
channel = \"orders\"
";

/// What the events on the channel carry, in their order.
fn told(site: &Site) -> Vec<serde_json::Value> {
    let mut events = site.ask(async |store| store.events(None, None, None, 1_000).await.unwrap());
    events.reverse();
    assert!(events.iter().all(|one| one.event.topic.as_str() == "notify.orders"));
    events.iter().map(|one| one.event.payload.parse().unwrap()).collect()
}

fn listeners(site: &Site) -> String {
    site.postgres()
        .sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"orders\"' AND state = 'idle'")
}

#[test]
fn what_is_sent_becomes_events_each_once() {
    let site = Site::on_postgres();
    fs::write(site.path().join("taskwright.toml"), CONFIG).unwrap();
    let first = site.up(["--workers", "0"]);
    let second = site.up(["--workers", "0"]);
    site.wait_until("a node to listen", LIMIT, || listeners(&site) == "1");
    site.postgres().sql("NOTIFY orders, '{\"order\": 7}'");
    site.postgres().sql("NOTIFY orders, 'seven'");
    site.wait_until("two events", LIMIT, || told(&site).len() >= 2);
    let expected = [serde_json::json!({"order": 7}), serde_json::json!({"text": "seven"})];
    assert_eq!(told(&site), expected);

    site.postgres()
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN \"orders\"'");
    site.wait_until("the node to be gone", LIMIT, || listeners(&site) == "0");
    site.wait_until("a node to listen again", LIMIT, || listeners(&site) == "1");
    site.postgres().sql("NOTIFY orders, '{\"order\": 8}'");
    site.wait_until("three events", LIMIT, || told(&site).len() >= 3);

    first.kill();
    site.wait_until("the other node to listen alone", LIMIT, || {
        let modes = site.ask(async |store| store.sources(None).await.unwrap());
        let listens = |source: &SourceView| source.note.as_ref().is_some_and(|note| note.mode == "listen");
        modes.iter().any(listens) && listeners(&site) == "1" && is_heard(&site)
    });
    assert!(second.stop().success());
}

/// Whether somebody hears what is sent now.
fn is_heard(site: &Site) -> bool {
    let before = told(site).len();
    site.postgres().sql("NOTIFY orders, '{}'");
    site.pause(Duration::from_millis(200));
    told(site).len() > before
}
