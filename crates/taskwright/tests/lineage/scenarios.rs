//! Scenarios of the lineage that are to hold on stores of each kind: on a clock that the test owns, with the duties done by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskwright::core::webhook::{Answer, Endpoint};
use taskwright::generator::{GeneratorSet, Table, TableOrder};
use taskwright::store::{Filter, NewEvent, Page, Pattern, SharedStore};
use taskwright::testing::VirtualClock;
use taskwright::webhook::{Courier, Message, WebhookFamily};
use taskwright::{Args, Client, Context, DutyConfig, Env, Job, Namespace, Registry, TaskError, Worker, duty};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A store, and a clock that stands still between looks.
pub(crate) struct Hand {
    clock: VirtualClock,
    env: Env,
    pub(crate) store: SharedStore,
}

impl Hand {
    pub(crate) fn new(store: SharedStore) -> Self {
        let clock = VirtualClock::new();
        let env = clock.env(1);
        Self { clock, env, store }
    }

    /// Lets time pass, and does the duties.
    pub(crate) async fn look_after(&self, time: Duration, generators: &GeneratorSet) {
        self.clock.set_forwards(time);
        let config = DutyConfig { generators: generators.clone(), ..DutyConfig::default() };
        duty::run_once(&self.store, &self.env, &config, |_| ()).await.unwrap();
    }

    /// What the items of the generator `feed` are called, in the order of their numbers.
    pub(crate) async fn items(&self) -> Vec<u64> {
        let filter = Filter { queues: vec![Pattern::new("generator:feed")], ..Filter::default() };
        let page = Page { after: None, limit: 1_000, oldest_first: true };
        let jobs = self.store.list(filter, page).await.unwrap().jobs;
        let mut keys: Vec<u64> =
            jobs.iter().map(|job| job.item_key.as_ref().unwrap().parse().unwrap()).collect();
        keys.sort_unstable();
        keys
    }

    /// The generator `feed` over the table `mail`.
    pub(crate) fn feed(&self, order: TableOrder) -> GeneratorSet {
        let feed = Table::new("mail", order).items("feed", "test", &self.store);
        GeneratorSet::new().with(feed).unwrap()
    }

    async fn happens(&self, count: u64) {
        let event = |n: u64| NewEvent {
            id: self.env.event_id(),
            namespace: Namespace::default(),
            topic: "order.paid".parse().unwrap(),
            key: None,
            payload: Args::of(&n).unwrap(),
        };
        self.store.emit(self.env.now(), (0..count).map(event).collect()).await.unwrap();
    }
}

/// PH-X12: given two updates within one second with the cursor between them, neither is skipped. `sql` executes a statement.
pub(crate) async fn ph_x12(hand: &Hand, sql: impl Fn(&str)) {
    sql("CREATE TABLE mail (id bigint, changed_us bigint)");
    let feed = hand.feed(TableOrder::Modified { at: "changed_us".to_owned(), id: "id".to_owned() });
    let begin = hand.env.now();
    let changes = |after_ms: u64, id: u64| {
        let at = begin.plus(Duration::from_millis(after_ms)).as_micros();
        sql(&format!("INSERT INTO mail VALUES ({id}, {at})"));
    };
    changes(10_000, 2);
    hand.look_after(Duration::from_secs(12), &feed).await;
    // Within the same second, and of one that began before it: both are seen later.
    changes(10_000, 1);
    changes(9_999, 3);
    hand.look_after(Duration::from_millis(12_800), &feed).await;
    assert_eq!(hand.items().await, [0; 0], "not before the lag of 15 s is over");
    hand.look_after(Duration::from_secs(1), &feed).await;
    assert_eq!(hand.items().await, [1, 2, 3]);
    hand.look_after(Duration::from_secs(600), &feed).await;
    assert_eq!(hand.items().await.len(), 3, "each of them once");
}

/// Nobody takes what is sent.
struct Dead(Arc<AtomicUsize>);

impl Courier for Dead {
    async fn send(&self, _: Message) -> Answer {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answer { status: Some(500), error: Some("it answered 500".to_owned()), ..Answer::default() }
    }
}

/// PH-X11: given ten failures within 5 min, the eleventh delivery is not attempted until the window has passed.
pub(crate) async fn ph_x11(hand: &Hand) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = || requests.load(Ordering::Relaxed);
    let family = WebhookFamily::new(hand.store.clone(), hand.env.clone(), Dead(Arc::clone(&requests)));
    let generators = GeneratorSet::new().with_family(family).unwrap();
    let webhooks = Client::new(hand.store.clone(), hand.env.clone()).webhooks();
    let endpoint = Endpoint::new("https://dead.example.org/hook".to_owned(), webhooks.secret().unwrap());
    assert!(webhooks.add(&Namespace::default(), &"dead".parse().unwrap(), &endpoint).await.unwrap());
    hand.happens(200).await;
    for _ in 0..20 {
        hand.look_after(Duration::from_secs(1), &generators).await;
    }
    assert_eq!(count(), 10, "the eleventh is not tried");
    for _ in 0..20 {
        hand.happens(1).await;
        hand.look_after(Duration::from_secs(13), &generators).await;
    }
    assert_eq!(count(), 10);
    for _ in 0..3 {
        hand.look_after(Duration::from_secs(20), &generators).await;
    }
    assert_eq!(count(), 11, "one event every 5 min");
}

/// PH-X15, adapted (its other test, in `worn_out_workers_are_recycled`, says how): given room for four and a backlog, four run at
/// once from the start and never more, and when nothing is left none does.
pub(crate) async fn ph_x15(store: &SharedStore) {
    let env = Env::system();
    let client = Client::new(store.clone(), env.clone());
    for _ in 0..20 {
        client.enqueue(Job::new("slow")).await.unwrap();
    }
    let (starts, mut started) = mpsc::unbounded_channel();
    let (running, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, held) = (Arc::clone(&running), Arc::clone(&gate));
    let slow = move |_: Context| {
        let (starts, running, gate) = (starts.clone(), Arc::clone(&count), Arc::clone(&held));
        async move {
            starts.send(running.fetch_add(1, Ordering::Relaxed) + 1).unwrap();
            gate.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, TaskError>(())
        }
    };
    let registry = Registry::new().handler("slow", slow).unwrap();
    let worker = Worker::builder(store.clone(), registry, env.clone()).concurrency(4).build();
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = env.spawn("worker", async move { worker.run(async { drop(stopped.await) }).await.unwrap() });
    for _ in 0..4 {
        started.recv().await.unwrap();
    }
    for _ in 4..20 {
        assert_eq!(
            (running.load(Ordering::Relaxed), started.is_empty()),
            (4, true),
            "all places, and no more"
        );
        gate.add_permits(1);
        assert!(started.recv().await.unwrap() <= 4);
    }
    gate.add_permits(4);
    stop.send(()).unwrap();
    assert_eq!(worker.await.unwrap().completed, 20);
    assert_eq!(running.load(Ordering::Relaxed), 0);
}
