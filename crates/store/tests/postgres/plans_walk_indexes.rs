//! Plans that sessions made while the tables were empty are right when these are full, whatever the statistics say of them.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::generator::ItemEnd;
use taskwright_core::limit::SERVICES_LISTED_MAX;
use taskwright_core::{
    ArgsSearch, EventId, Fingerprint, Garbage, Grain, Outcome, Pattern, ProcessId, ServiceState, State,
    Timestamp, Topic,
};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::schedule::{definition, fires, registration, rewrite, stored};
use taskwright_store::conformance::{bulk, generator};
use taskwright_store::postgres::tokio_postgres::{self, Client, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{
    Change, Collect, Effect, EventKey, FileMark, FileWrite, Filter, GeneratorCommit, ItemsEnded, NewEvent,
    NewFiring, Page, ProcessPlace, RollUpFilter, ScheduleWrite, ServiceRecord, SettledItem, Sighting,
    SourceKey, SourcePlace, StoredSchedule,
};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database, Flavour};

const JOBS: u32 = 100_000;
const SCHEDULES: usize = 20_000;
const EVENTS: u32 = 50_000;
/// Rows of a table that a call may look at, per job that it is about.
const ROWS_PER_JOB_MAX: u64 = 10;

/// What the planner knows of the tables once they are full.
#[derive(Clone, Copy)]
enum Statistics {
    /// Nothing: nobody has analysed them.
    None,
    /// That they are next to empty: they were analysed before the fill was committed, as autovacuum does in a long one.
    Stale,
    /// All.
    Fresh,
}

/// A session of somebody else, which ends with the value.
async fn session(database: &Database<'_>, sessions: &mut JoinSet<()>) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    sessions.spawn(async move { drop(connection.await) });
    client
}

/// Fills the tables, and forgets what was read so far.
async fn fill(database: &Database<'_>, statistics: Statistics, rows: &str) {
    let mut sessions = JoinSet::new();
    let client = session(database, &mut sessions).await;
    client.batch_execute(&format!("BEGIN; {rows}")).await.unwrap();
    if let Statistics::Stale = statistics {
        database.sql("ANALYZE");
    }
    client.batch_execute("COMMIT").await.unwrap();
    if let Statistics::Fresh = statistics {
        client.batch_execute("ANALYZE").await.unwrap();
    }
    drop(client);
    sessions.join_all().await;
    database.sql("SELECT pg_stat_reset()");
}

macro_rules! whatever_is_known {
    ($($name:ident)*) => {$(
        mod $name {
            use super::Statistics;

            #[tokio::test]
            async fn before_anybody_analyses() {
                super::$name(Statistics::None).await;
            }

            #[tokio::test]
            async fn analysed_while_they_were_filled() {
                super::$name(Statistics::Stale).await;
            }

            #[tokio::test]
            async fn analysed() {
                super::$name(Statistics::Fresh).await;
            }
        }
    )*};
}

whatever_is_known! {
    a_claim_and_its_ends_read_what_they_are_about_and_no_more
    schedules_and_events_are_found_by_what_they_are_asked_for
    what_a_source_has_seen_is_found_by_path
    generators_and_their_items_are_found_by_what_they_are_asked_for
    roll_ups_and_garbage_are_found_by_what_they_are_asked_for
    jobs_are_found_by_a_bounded_number_of_them
    moves_are_found_by_their_numbers
    services_are_found_by_their_process_and_by_when_they_were_heard_of
}

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&format!("{}?pool=1", database.url())).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    Process::of(Arc::new(store))
}

async fn a_claim_and_its_ends_read_what_they_are_about_and_no_more(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    process.enqueue(0, jobs(1..=3)).await;
    let worker = process.worker(1).await;
    for job in worker.claim_all(1).await {
        worker.end(1, &job, completed()).await;
    }
    assert_eq!(process.list(Filter::default()).await.len(), 3);
    let rows = format!(
        "INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT lane FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});"
    );
    // The head passes a transaction that has not ended, so that every claim looks for what it may have left behind.
    let mut sessions = JoinSet::new();
    let late = session(&database, &mut sessions).await;
    late.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    fill(&database, statistics, &rows).await;

    let mut done = 0;
    for round in 0..20 {
        if round == 1 {
            late.batch_execute("COMMIT").await.unwrap();
        }
        let claimed = worker.claim(worker.ask(2, 500)).await;
        done += claimed.len() as u64;
        let (fails, ends) = claimed.split_at(5);
        worker.finish(2, ends.iter().map(|job| ending(2, job, completed())).collect()).await;
        worker.finish(2, fails.iter().map(|job| ending(2, job, failed("boom"))).collect()).await;
    }
    assert_eq!(done, 10_000);
    let page = Page { after: None, limit: 100, oldest_first: false };
    assert_eq!(process.store().list(Filter::default(), page).await.unwrap().jobs.len(), 100);
    process.store().close().await.unwrap();
    drop(worker);
    drop(process);
    drop(late);
    sessions.join_all().await;

    for (table, scanned, walked) in crate::reads::reads(&database).await {
        // The tables of names, heads and workers have a handful of rows, whatever there is to do.
        let small =
            ["lane", "queue", "worker", "store", "migration", "tether", "leader"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= done * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {done} jobs");
    }
}

fn event(n: u32, of: &str, about: &str) -> NewEvent {
    NewEvent {
        id: EventId::from_bytes(*id(n).as_bytes()),
        namespace: namespace(of),
        topic: Topic::new(about).unwrap(),
        key: None,
        payload: taskwright_core::Args::default(),
    }
}

/// Every call about schedules and events, each about a few of them. How many rows they are about.
async fn use_schedules(process: &Process, now: u64, first: u32) -> u64 {
    let store = process.store();
    let name = |n: u32| format!("own-{}", first + n);
    let listening = ScheduleWrite { definition: Some(definition("1", true)), ..registration(&name(0), now) };
    let news = vec![listening, registration(&name(1), now), registration(&name(2), now)];
    store.write_schedules(at(now), news).await.unwrap();

    let due = store.due_schedules(at(now), 100).await.unwrap().schedules;
    let fired = |(n, stored): (u32, &StoredSchedule)| {
        rewrite(stored, now + 1_000_000, vec![fires(now, job(first + 100 + n))])
    };
    let writes: Vec<ScheduleWrite> = (0..).zip(&due).map(fired).collect();
    store.write_schedules(at(now), writes).await.unwrap();
    store.states((0..100).map(|n| id(first + 100 + n)).collect()).await.unwrap();
    let own = stored(process, &name(0)).await;
    assert_eq!(store.firings(own.key, None, 10).await.unwrap().len(), 1);
    store.schedules(None, Some(own.key), 10).await.unwrap();
    store.schedules(Some(namespace("default")), None, 10).await.unwrap();
    store.schedules(Some(namespace("other")), None, 10).await.unwrap();

    let emitted = vec![event(first, "default", "order.created"), event(first + 1, "other", "order.paid")];
    store.emit(at(now), emitted).await.unwrap();
    let events = store.undelivered(10).await.unwrap();
    let keys: Vec<EventKey> = events.iter().map(|event| event.number).collect();
    let by_event = |listener: &StoredSchedule| {
        let fired = NewFiring { event: Some(events[0].event.id), ..fires(now, job(first + 300)) };
        rewrite(listener, now + 1_000_000, vec![fired])
    };
    let listeners = store.listeners().await.unwrap();
    let writes = listeners.iter().map(by_event).collect();
    assert!(store.deliver(at(now), keys, writes).await.unwrap());
    for (of, about) in
        [(None, None), (Some("other"), None), (None, Some("order.paid")), (Some("other"), Some("order.paid"))]
    {
        let (of, about) = (of.map(namespace), about.map(|about| Topic::new(about).unwrap()));
        store.events(of, about, None, 2).await.unwrap();
    }
    for garbage in [Garbage::Firings, Garbage::Events] {
        assert_eq!(process.collect(garbage, at(0), 10).await, 0);
    }
    store.remove_schedule(own.key).await.unwrap();
    due.len() as u64 + 100
}

async fn schedules_and_events_are_found_by_what_they_are_asked_for(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    use_schedules(&process, 1, 1).await;
    let rows = format!(
        "INSERT INTO taskwright.schedule (namespace, name, version, next, created_at, changed_at, listens, definition, state)
         SELECT 'many', 's' || n, 1, 4000000000000000 + n, 0, 0, false, '{{}}', '{{}}' FROM generate_series(1, {SCHEDULES}) n;
         INSERT INTO taskwright.schedule_due SELECT next, schedule FROM taskwright.schedule WHERE namespace = 'many';
         INSERT INTO taskwright.firing (schedule, decided_at, due, job, coalesced, trigger_id, kind)
         SELECT schedule, 4000000000000000, n, gen_random_uuid(), false, 'every', 'on_time'
         FROM taskwright.schedule, generate_series(1, 3) n WHERE namespace = 'many';
         INSERT INTO taskwright.event (at, id, namespace, topic, payload)
         SELECT 4000000000000000, gen_random_uuid(), 'many', 'nothing', 'null' FROM generate_series(1, {EVENTS});
         INSERT INTO taskwright.file (generator, path, size, modified_ns, open)
         SELECT g, 'many/' || n, 1, 1, false FROM generate_series(1, 2) g, generate_series(1, {EVENTS}) n;
         INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT min(lane) FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});"
    );
    fill(&database, statistics, &rows).await;

    let mut about = 0;
    for n in 1..=10 {
        about += use_schedules(&process, 10 * u64::from(n), 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(process);

    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["schedule", "schedule_due", "event", "event_due", "job"].iter().all(|table| fetched(table) > 0));
    for (table, scanned, walked) in reads {
        let small = ["lane", "queue", "store", "migration"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}

/// Every call about what a source has seen, each about a few files. How many rows they are about.
async fn use_source(process: &Process, source: SourceKey, first: u32) -> u64 {
    let store = process.store();
    let path = |n: u32| format!("own/{}", first + n);
    let print = |size| Some(Fingerprint { size, modified_ns: 0, inode: 1, born_ns: None });
    let sighting = |n: u32, before, after, told: bool| Sighting {
        path: path(n),
        before,
        after,
        event: told.then(|| event(first + n + 500, "default", "file.created")),
    };
    let new = (0..100).map(|n| sighting(n, None, print(1), true)).collect();
    assert_eq!(store.see(at(1), source, new).await.unwrap(), [true; 100]);
    let changed = (0..50).map(|n| sighting(n, print(1), print(2), false)).collect();
    assert_eq!(store.see(at(1), source, changed).await.unwrap(), [true; 50]);
    let gone = (50..100).map(|n| sighting(n, print(1), None, false)).collect();
    assert_eq!(store.see(at(1), source, gone).await.unwrap(), [true; 50]);
    let seen = store.seen_of(source, (0..100).map(path).collect()).await.unwrap();
    assert_eq!(seen.iter().filter(|print| print.is_some()).count(), 50);
    assert!(!store.seen(source, Some("many/7".to_owned()), 100).await.unwrap().is_empty());
    assert_eq!(process.collect(Garbage::Sources, at(0), 10).await, 0);
    500
}

async fn what_a_source_has_seen_is_found_by_path(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let place = SourcePlace {
        namespace: namespace("default"),
        name: "inbox".parse().unwrap(),
        host: "here".to_owned(),
        path: "/srv/inbox".to_owned(),
    };
    let source = process.store().open_source(at(1), place).await.unwrap();
    // Everything is planned here, by its only session, on tables that are next to empty.
    use_source(&process, source, 1).await;
    let rows = format!(
        "INSERT INTO taskwright.seen (source, path, print)
         SELECT s, 'many/' || n, decode(repeat('00', 33), 'hex')
         FROM generate_series({0}, {0} + 1) s, generate_series(1, {EVENTS}) n;",
        source.0
    );
    fill(&database, statistics, &rows).await;
    let mut about = 0;
    for n in 1..=10 {
        about += use_source(&process, source, 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(process);
    for (table, scanned, walked) in crate::reads::reads(&database).await {
        let small = ["source", "store", "migration"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}

/// Every call about generators, each about one that makes, and settles, a hundred items. How many rows they are about.
async fn use_generators(process: &Process, now: u64, first: u32) -> u64 {
    let store = process.store();
    store.put_generators(at(now), vec![generator::generator("feed", now)]).await.unwrap();
    store.notify_generator(at(now), namespace("default"), "feed".parse().unwrap()).await.unwrap();
    let taken = generator::take(process, now).await;
    let items = (0..100).map(|n| generator::item(first + n)).collect();
    let paths: Vec<String> = (0..100).map(|n| format!("f{}", first + n)).collect();
    let marks = paths.iter().map(|path| (path.clone(), FileMark { size: 1, modified_ns: 1 })).collect();
    let writes = [FileWrite::Remember(marks), FileWrite::Close(paths.clone())];
    let effects = writes.into_iter().map(|write| Effect::Files(taken.key, write)).collect();
    let made = GeneratorCommit { items, effects, ..generator::commit_of(&taken, now) };
    assert!(generator::commit(process, now, made).await);
    assert!(store.files_of(taken.key, paths.clone()).await.unwrap().iter().all(Option::is_some));
    store.files(taken.key, Some("f".to_owned()), 100).await.unwrap();
    let ended = ItemsEnded { namespace: namespace("default"), name: "feed".parse().unwrap(), count: 1 };
    store.items_ended(at(now), vec![ended]).await.unwrap();
    let ids: Vec<_> = (0..100).map(|n| id(first + n)).collect();
    store.change(at(now), ids, Change::Cancel, alice(), None).await.unwrap();
    let taken = generator::take(process, now).await;
    let ended = store.ended_items(taken.key, 1_000).await.unwrap();
    assert_eq!(ended.len(), 100);
    let settled = ended.iter().map(|one| SettledItem { job: one.job, end: ItemEnd::Cancelled }).collect();
    let effects = vec![Effect::Files(taken.key, FileWrite::Forget(paths))];
    let settled = GeneratorCommit { settled, effects, ..generator::commit_of(&taken, now + 1_000) };
    assert!(generator::commit(process, now, settled).await);
    store.generators(None, Some(taken.key), 10).await.unwrap();
    store.generators(Some(namespace("default")), None, 10).await.unwrap();
    let parent = first + 500;
    let name = format!("bulk{parent}");
    store.create_bulk(at(now), bulk::new_bulk(parent, &name)).await.unwrap();
    assert_eq!(store.bulk(id(parent)).await.unwrap().unwrap().generator.as_str(), name);
    assert_eq!(store.bulks(None, None, 1).await.unwrap()[0].parent, id(parent));
    store.change(at(now), vec![id(parent)], Change::Cancel, alice(), None).await.unwrap();
    store.change(at(now), vec![id(parent)], Change::Redo { repeat: false }, alice(), None).await.unwrap();
    620
}

async fn generators_and_their_items_are_found_by_what_they_are_asked_for(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    let mut about = use_generators(&process, 1, 1).await;
    let rows = format!(
        "INSERT INTO taskwright.generator (namespace, name, version, fence, notices, paused, next, created_at, changed_at,
                                           definition, record, state, best, listens)
         SELECT 'many', 'g' || n, 1, 0, 0, false, 4000000000000000 + n, 0, 0, '{{}}', '{{}}', 'null', 2000, false
         FROM generate_series(1, {SCHEDULES}) n;
         INSERT INTO taskwright.item (generator, job)
         SELECT generator, gen_random_uuid() FROM taskwright.generator, generate_series(1, 3) WHERE namespace = 'many';
         INSERT INTO taskwright.bulk (seq, generator, namespace, name, definition, tally, progress)
         SELECT -n, -n, 'many', 'b', '{{}}', '{{}}', '{{}}' FROM generate_series(1, {SCHEDULES}) n;
         INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT min(lane) FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});"
    );
    fill(&database, statistics, &rows).await;
    for n in 1..=10 {
        about += use_generators(&process, 2_000 * u64::from(n), 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(process);
    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["generator", "item", "job", "file"].iter().all(|table| fetched(table) > 0));
    for (table, scanned, walked) in reads {
        let small = ["lane", "queue", "store", "migration"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}

#[tokio::test]
async fn a_firing_touches_no_index_of_the_schedules() {
    // A server of its own: a transaction of anybody, in whatever database, keeps old versions in their places.
    let cluster = Cluster::start(Flavour { purpose: "counts updates", ..Flavour::FAST });
    let database = cluster.database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let registrations = (0..1_000).map(|n| registration(&format!("s{n}"), 60)).collect();
    process.store().write_schedules(at(0), registrations).await.unwrap();
    for round in 1..=5 {
        let due = process.store().due_schedules(at(60 * round), 1_000).await.unwrap().schedules;
        let writes = due.iter().map(|stored| rewrite(stored, 60 * (round + 1), Vec::new()));
        let written = process.store().write_schedules(at(60 * round), writes.collect()).await.unwrap();
        assert_eq!(written.len(), 1_000);
    }
    process.store().close().await.unwrap();
    drop(process);
    crate::reads::others_ended(&database).await;
    let updates = database.sql(
        "SELECT n_tup_upd = 5000, n_tup_hot_upd > 4500 FROM pg_stat_user_tables
         WHERE schemaname = 'taskwright' AND relname = 'schedule'",
    );
    assert_eq!(updates, "t|t");
}

/// Rolls up a hundred ends of either sort, reads the roll-ups, and removes some of each sort. How many rows that is about.
async fn roll_up_and_collect(process: &Process, worker: &Worker<'_>, now: u64, first: u32) -> u64 {
    process.enqueue(now, jobs(first..=first + 99)).await;
    let claimed = worker.claim(worker.ask(now, 100)).await;
    let (fails, ends) = claimed.split_at(20);
    worker.finish(now, ends.iter().map(|job| ending(now, job, completed())).collect()).await;
    let failure = |job| ending(now, job, Outcome::Fail { error: "no".to_owned() });
    worker.finish(now, fails.iter().map(failure).collect()).await;
    process.change(now, number(ends[0].id), Change::Delete).await;
    assert_eq!(process.roll_up().await, 100);
    let filter = RollUpFilter {
        grain: Grain::Minute,
        from: at(now).minus(Duration::from_secs(60)),
        to: at(now + 1),
        namespace: None,
        kinds: Vec::new(),
        queues: Vec::new(),
    };
    assert!(!process.store().roll_ups(filter, None, 10).await.unwrap().roll_ups.is_empty());
    for garbage in Garbage::ALL {
        for dry_run in [true, false] {
            let before = at(0).minus(Duration::from_secs(3_600));
            let collect = Collect { garbage, before, after: None, limit: 10, dry_run };
            assert_eq!(process.store().collect(collect).await.unwrap().rows, 0, "{garbage}");
        }
    }
    500
}

async fn roll_ups_and_garbage_are_found_by_what_they_are_asked_for(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let worker = process.worker(1).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    let mut about = roll_up_and_collect(&process, &worker, 1, 1).await;
    let rows = format!(
        "INSERT INTO taskwright.rollup (grain, at, namespace, queue, kind, body)
         SELECT n % 2, 4000000000000000 + n, 'many', 'q', 'k', '{{}}' FROM generate_series(1, {EVENTS}) n;
         INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT min(lane) FROM taskwright.lane), 4000000000000000, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});
         INSERT INTO taskwright.over (seq, ended_at, state)
         SELECT seq, 4000000000000000, 7 + seq % 3 FROM taskwright.job WHERE created_at = 4000000000000000;
         UPDATE taskwright.job SET is_streamed = false WHERE created_at = 4000000000000000;"
    );
    fill(&database, statistics, &rows).await;
    for n in 1..=10 {
        about += roll_up_and_collect(&process, &worker, 10 * u64::from(n), 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(worker);
    drop(process);
    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["slip", "rollup", "completion", "over", "job"].iter().all(|table| fetched(table) > 0));
    for (table, scanned, walked) in reads {
        let small = ["lane", "queue", "store", "migration", "rolled", "worker", "tether", "source"];
        assert!(small.contains(&table.as_str()) || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}

/// Listings that find nothing of the many, each about so many of them as one page looks at.
async fn find_jobs(process: &Process) -> u64 {
    let list = async |filter: Filter, after, oldest_first| {
        let page = Page { after, limit: 10, oldest_first };
        process.store().list(filter, page).await.unwrap()
    };
    let search = |filter: Filter| {
        let conditions = vec!["customer.id=42".parse().unwrap()];
        Filter { args: ArgsSearch::new(conditions).unwrap(), ..filter }
    };
    let asked = |requested| Filter { cancel_requested: Some(requested), ..Filter::default() };
    let cancelled = Filter { states: vec![State::Cancelled], ..Filter::default() };
    let of_kind = Filter { kinds: vec![Pattern::new("mail")], ..Filter::default() };
    let mut about = 0;
    for oldest_first in [true, false] {
        assert_eq!(list(asked(true), None, oldest_first).await.jobs.len(), 10);
        // On behind a job that is not there.
        let gone = Some(id(999_999));
        list(asked(true), gone, oldest_first).await;
        about += 20;
        for filter in [Filter::default(), cancelled.clone(), of_kind.clone()] {
            let paged = list(search(filter), None, oldest_first).await;
            assert_eq!(paged.jobs.len(), 0);
            about += 2_000;
        }
    }
    about
}

async fn jobs_are_found_by_a_bounded_number_of_them(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=30)).await;
    for job in worker.claim(worker.ask(1, 15)).await {
        process.change(2, number(job.id), Change::Cancel).await;
        worker.end(3, &job, completed()).await;
    }
    // Everything is planned here, by its only session, on tables that are next to empty.
    for _ in 0..6 {
        find_jobs(&process).await;
    }
    let rows = format!(
        "INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT min(lane) FROM taskwright.lane), 4000000000000000, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});
         INSERT INTO taskwright.over (seq, ended_at, state)
         SELECT seq, 4000000000000000, 8 FROM taskwright.job WHERE created_at = 4000000000000000;
         INSERT INTO taskwright.cancel_asked (seq)
         SELECT seq FROM taskwright.job WHERE created_at = 4000000000000000;
         UPDATE taskwright.job SET is_streamed = false WHERE created_at = 4000000000000000;"
    );
    fill(&database, statistics, &rows).await;
    let mut about = 0;
    for _ in 0..3 {
        about += find_jobs(&process).await;
    }
    process.store().close().await.unwrap();
    drop(worker);
    drop(process);
    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["over", "job", "cancel_asked"].iter().all(|table| fetched(table) > 0), "{reads:?}");
    for (table, scanned, walked) in reads {
        let small =
            ["lane", "queue", "store", "migration", "worker", "tether", "source", "seal", "running", "ready"];
        assert!(small.contains(&table.as_str()) || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}

/// A hundred jobs that are stored, run and end, and what is told of it. How many rows that is about.
async fn move_some(process: &Process, worker: &Worker<'_>, now: u64, first: u32) -> u64 {
    let lease = Duration::from_secs(600);
    let mut place = process.store().listen(lease).await.unwrap();
    process.enqueue(now, jobs(first..=first + 99)).await;
    let claimed = worker.claim(worker.ask(now, 100)).await;
    process.change(now, number(claimed[0].id), Change::Cancel).await;
    let (fails, ends) = claimed.split_at(20);
    worker.finish(now, fails.iter().map(|job| ending(now, job, failed("no"))).collect()).await;
    worker.finish(now, ends.iter().map(|job| ending(now, job, completed())).collect()).await;
    let mut told = 0;
    loop {
        let moves = process.store().moves(place, 50).await.unwrap();
        assert!(!moves.missed);
        told += moves.jobs.len();
        place = moves.place;
        if moves.is_end {
            break;
        }
    }
    assert!((100..=400).contains(&told), "{told}");
    // What is read once when somebody begins to listen, so as to find numbers that are missing.
    3_000
}

async fn moves_are_found_by_their_numbers(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let worker = process.worker(1).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    let mut about = move_some(&process, &worker, 1, 1).await;
    let rows = format!(
        "INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT min(lane) FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});
         INSERT INTO taskwright.over (seq, ended_at, state)
         SELECT seq, 4000000000000000, 7 + seq % 3 FROM taskwright.job WHERE created_at = 0;
         UPDATE taskwright.job SET is_streamed = false WHERE created_at = 0;
         INSERT INTO taskwright.move (seq, at, attempts, state, actor)
         SELECT seq, 0, 0, 7, 'x' FROM taskwright.job WHERE created_at = 0;
         INSERT INTO taskwright.moved (seqs)
         SELECT int8multirange(int8range(seq, seq + 1)) FROM taskwright.job WHERE created_at = 0;"
    );
    fill(&database, statistics, &rows).await;
    for n in 1..=5 {
        about += move_some(&process, &worker, 10 * u64::from(n), 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(worker);
    drop(process);
    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["job", "move", "completion", "moved"].iter().all(|table| fetched(table) > 0));
    for (table, scanned, walked) in reads {
        let small =
            ["lane", "queue", "store", "migration", "rolled", "worker", "tether", "listening", "source"];
        assert!(small.contains(&table.as_str()) || scanned == 0, "{table}: {scanned} rows were scanned");
        // Notes that are old enough to go are looked for among the first.
        let forget = if table == "moved" { 60_000 } else { 0 };
        assert!(walked <= about * ROWS_PER_JOB_MAX + forget, "{table}: {walked} rows were read for {about}");
    }
}

/// A process that tells of its services, is listed among others, and goes. How many rows that is about.
async fn use_services(process: &Process, now: u64, n: u32) -> u64 {
    let store = process.store();
    let place =
        ProcessPlace { id: ProcessId::from_bytes(*id(n).as_bytes()), host: "here".to_owned(), pid: n };
    let service = |name: &str| ServiceRecord {
        name: name.parse().unwrap(),
        state: ServiceState::Running,
        since: at(now),
        restarts: 0,
        restart_at: None,
        error: None,
        error_at: None,
    };
    for services in [vec![service("a"), service("b")], vec![service("b"), service("c")]] {
        store.tell_services(at(now), place.clone(), services).await.unwrap();
    }
    let listed = store.services(at(now)).await.unwrap();
    assert!([2, SERVICES_LISTED_MAX].contains(&listed.len()), "{}", listed.len());
    store.forget_services(place.id).await.unwrap();
    // A page, and twice what is forgotten of others.
    1_000 + 2 * 100
}

async fn services_are_found_by_their_process_and_by_when_they_were_heard_of(statistics: Statistics) {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    let now = 1_000;
    let now_us = at(now).as_micros();
    // Everything is planned here, by its only session, on tables that are next to empty.
    for n in 1..=6 {
        use_services(&process, now, n).await;
    }
    let rows = format!(
        "INSERT INTO taskwright.service (process, name, host, pid, state, since, restarts, seen_at)
         SELECT gen_random_uuid(), 'sampler', 'there', n, 2, 0, 0, CASE n % 2 WHEN 0 THEN n ELSE {now_us} - n END
         FROM generate_series(1, {JOBS}) n;"
    );
    fill(&database, statistics, &rows).await;
    let mut about = 0;
    for n in 7..=12 {
        about += use_services(&process, now, n).await;
    }
    process.store().close().await.unwrap();
    drop(process);
    let reads = crate::reads::reads(&database).await;
    assert!(reads.iter().any(|(table, _, walked)| table == "service" && *walked > 0), "{reads:?}");
    for (table, scanned, walked) in reads {
        let small = ["store", "migration"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {about}");
    }
}
