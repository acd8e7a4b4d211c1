//! Must show 2 of generators: many events for three endpoints, one dead, one slow, one fine. The fine one gets all in order at its
//! own speed, also when `up` is killed in the middle; the dead one costs nothing but its breaker; disabling it frees its backlog at
//! once; and the table of jobs stays empty.
//!
//! `TASKWRIGHT_TEST_FULL=1` takes 1,000,000 events and prints how fast they went: see CONTRIBUTING.md.

use std::time::Duration;

use taskwright::core::webhook::Backlog;
use taskwright::store::NewEvent;
use taskwright::{Actor, Args, Client, Namespace};

use crate::receiver::{Receiver, nobody};
use crate::support::{Site, now};

/// How soon disabling must have freed a backlog: 100 ms.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long the slow receiver takes.
const SLOW: Duration = Duration::from_secs(1);
/// Events that are emitted at once.
const BATCH: u64 = 1_000;

#[test]
fn webhooks_are_a_firehose() {
    firehose(&Site::new(), 3_000);
}

#[cfg(feature = "postgres")]
#[test]
fn webhooks_are_a_firehose_on_postgresql() {
    firehose(&Site::on_postgres(), 3_000);
}

fn firehose(site: &Site, events: u64) {
    let is_full = std::env::var_os("TASKWRIGHT_TEST_FULL").is_some();
    let events = if is_full { 1_000_000 } else { events };
    let fine = Receiver::start(|_| ("200 OK", String::new()));
    let slow = Receiver::start(|_| {
        #[allow(clippy::disallowed_methods, reason = "the slowness of a receiver is what it is about")]
        std::thread::sleep(SLOW);
        ("200 OK", String::new())
    });
    for (name, url) in [("fine", fine.url()), ("slow", slow.url()), ("dead", nobody())] {
        site.run(["webhooks", "add", name, url.as_str(), "--allow-private"]);
    }
    let mut up = Some(site.up(["--workers", "0"]));
    let began = now();
    emit(site, events);
    let emitted = began.elapsed();

    let mut seen = Seen::default();
    let limit = Duration::from_secs(60) + Duration::from_millis(4 * events);
    let half = events / 2;
    site.wait_until("the fine endpoint to be told of half", limit, || seen.look(&fine) >= half);
    let until_half = began.elapsed();
    up.take().unwrap().kill_all();
    let again = site.up(["--workers", "0"]);
    site.wait_until("the fine endpoint to be told of all", limit, || seen.look(&fine) >= events);
    let took = began.elapsed();
    seen.check(events);
    let rate = half as f64 / until_half.as_secs_f64();
    println!(
        "{events} events were emitted in {:.1} s; the first {half} were with the fine endpoint after {:.1} s: {rate:.0} a second; all, with a \
         kill in the middle, after {:.1} s; {} came twice",
        emitted.as_secs_f64(),
        until_half.as_secs_f64(),
        took.as_secs_f64(),
        seen.twice
    );
    if is_full {
        assert!(rate >= 500.0, "{rate:.0} a second");
    }

    let (client, namespace) = (Client::new(site.shared(), site.env.clone()), Namespace::default());
    let webhooks = client.webhooks();
    let view = site.ask(async |_| webhooks.get(&namespace, &"dead".parse().unwrap()).await.unwrap().unwrap());
    assert!(view.progress.breaker.opened_at().is_some(), "the breaker is open");
    let tried = site.ask(async |_| {
        webhooks.deliveries(&namespace, &"dead".parse().unwrap(), None, 1_000).await.unwrap().len()
    });
    let probes = 2 + took.as_secs() / 300;
    assert!((10..=10 + probes as usize).contains(&tried), "{tried} were tried of the dead one");
    for (name, backlog) in [("dead", Backlog::Drop), ("slow", Backlog::Park)] {
        let (name, by) = (name.parse().unwrap(), Actor::system());
        let began = now();
        site.ask(async |_| {
            assert!(webhooks.disable(&namespace, &name, &by, None, backlog).await.unwrap());
        });
        let freed = began.elapsed();
        println!("disabling {name} took {:.1} ms", freed.as_secs_f64() * 1e3);
        // The small number of the suite says nothing about time, on a machine that does much besides.
        assert!(!is_full || freed < AT_ONCE, "{freed:?}");
    }
    let counted = slow.count() as u64;
    assert!(counted > 0 && counted <= took.as_secs() + 5, "the slow one was told of {counted}");
    assert!(site.jobs(&taskwright::State::ALL).is_empty(), "nothing of it was a job");
    assert!(again.stop().success());
    site.check_integrity();
}

fn emit(site: &Site, events: u64) {
    let namespace = Namespace::default();
    for first in (0..events).step_by(BATCH as usize) {
        let event = |n: u64| NewEvent {
            id: site.env.event_id(),
            namespace: namespace.clone(),
            topic: "order.paid".parse().unwrap(),
            key: None,
            payload: Args::of(&n).unwrap(),
        };
        let batch: Vec<NewEvent> = (first..events.min(first + BATCH)).map(event).collect();
        site.ask(async |store| store.emit(site.env.now(), batch).await.unwrap());
    }
}

/// What the fine endpoint was told.
#[derive(Default)]
struct Seen {
    /// The next number that it has not had.
    next: u64,
    twice: u64,
}

impl Seen {
    /// Looks at what came, which must be in order; how many it has had.
    fn look(&mut self, receiver: &Receiver) -> u64 {
        for request in receiver.take() {
            let number = request.data().as_u64().unwrap();
            assert!(number <= self.next, "{number} came, and {} was not there yet", self.next);
            if number == self.next {
                self.next += 1;
            } else {
                self.twice += 1;
            }
        }
        self.next
    }

    fn check(&self, events: u64) {
        assert_eq!(self.next, events, "it was told of all");
        // One turn, of at most a thousand.
        assert!(self.twice <= 1_000, "{} came twice", self.twice);
    }
}
