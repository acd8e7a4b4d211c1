//! However many schedules a call writes, and whatever they fire, it is as many statements as for a few.

use taskwright_core::limit::SCHEDULE_WRITES_MAX;
use taskwright_core::schedule::SkipReason;
use taskwright_core::{EventId, NewJob, Timestamp, Topic};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::schedule::{fires, registration, rewrite};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{
    EventStore, Fires, NewEvent, NewFiring, ScheduleStore, ScheduleWrite, SkippedRun, Store, StoredSchedule,
};

use crate::cluster::Cluster;

/// New ones, stored ones, what fired before, the jobs, the history (or, with a definition, whose ends they wait for); and once
/// what it takes for a lane that is new.
const STATEMENTS_MAX: u64 = 5;
const STATEMENTS_OF_A_LANE: u64 = 6;

/// What each fires: a job that is available, one that is due later, and occurrences that are skipped.
fn firings(n: u32) -> Vec<NewFiring> {
    let run = SkippedRun { to: at(50), count: 5, exact: true, reason: SkipReason::Misfire };
    let later = NewJob { run_at: Some(at(90)), ..job(2 * n + 1) };
    vec![NewFiring { what: Fires::Skip(run), ..fires(10, job(0)) }, fires(60, job(2 * n)), fires(61, later)]
}

fn writes(stored: &[StoredSchedule]) -> Vec<ScheduleWrite> {
    (0..).zip(stored).map(|(n, stored)| rewrite(stored, 120, firings(n))).collect()
}

fn event(n: u32) -> NewEvent {
    NewEvent {
        id: EventId::from_bytes(*id(n).as_bytes()),
        namespace: namespace("default"),
        topic: Topic::new("order.created").unwrap(),
        key: None,
        payload: taskwright_core::Args::default(),
    }
}

#[tokio::test]
async fn a_call_is_as_many_statements_for_a_thousand() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let statements = || store.counters().statements;

    let many = (0..SCHEDULE_WRITES_MAX).map(|n| registration(&format!("s{n}"), 60)).collect();
    store.write_schedules(at(0), many).await.unwrap();
    let registered = statements();
    assert!(registered <= STATEMENTS_MAX, "registering: {registered}");

    let due = store.due_schedules(at(60), SCHEDULE_WRITES_MAX).await.unwrap().schedules;
    assert_eq!(due.len(), SCHEDULE_WRITES_MAX);
    store.write_schedules(at(60), writes(&due)).await.unwrap();
    let after = statements();
    assert!(after - registered <= STATEMENTS_MAX + STATEMENTS_OF_A_LANE, "firing: {}", after - registered);

    store.emit(at(61), (0..1_000).map(event).collect()).await.unwrap();
    assert_eq!(statements() - after, 1, "emitting");
    let after = statements();
    let events = store.undelivered(1_000).await.unwrap().iter().map(|event| event.number).collect();
    let stored = store.schedules(None, None, SCHEDULE_WRITES_MAX).await.unwrap();
    let by_event = |(n, stored): (u32, _)| {
        let fired = NewFiring { event: Some(event(n).id), ..fires(61, job(10_000 + n)) };
        rewrite(stored, 120, vec![fired])
    };
    let writes = (0..).zip(&stored).map(by_event).collect();
    assert!(store.deliver(at(62), events, writes).await.unwrap());
    assert!(statements() - after <= 1 + STATEMENTS_MAX, "delivering: {}", statements() - after);
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.firing"), "4000");
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.job"), "3000");
}
