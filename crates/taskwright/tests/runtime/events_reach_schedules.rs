//! An event reaches each schedule that waits for it, once, whatever is busy or dies.

use std::sync::Arc;

use taskwright::core::Schedule;
use taskwright::core::schedule::Overlap;
use taskwright::core::trigger::OnEvent;
use taskwright::store::{FiringOutcome, SharedStore};
use taskwright::testing::{Call, When};
use taskwright::{Context, Duties, DutyConfig, Event, Job, State, TaskError, Trigger};

use crate::support::{Notes, World, handles, schedule, seconds, world};

fn order(total: u32) -> Event {
    Event::new("order.created").payload(&serde_json::json!({"total": total})).unwrap()
}

async fn emit(world: &World, event: Event) {
    world.client.emit(event).await.unwrap();
}

/// What each job of a schedule was given, in the order in which they were made.
async fn given(world: &World, name: &str) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    for firing in world.history(name).await {
        if let FiringOutcome::Fired { job, coalesced: false, .. } = firing.outcome {
            all.push(world.job(job).await.args.parse().unwrap());
        }
    }
    all
}

/// NU-13: nothing while there is none, once for each.
#[test]
fn nu_13_each_matching_event_makes_one_job_with_what_it_carries() {
    world(async |world| {
        let large = schedule("large", "event", "order.* where total > 100");
        world
            .put(large.args(serde_json::json!({"topic": "{event.topic}", "total": "{event.payload.total}"})))
            .await;
        world.sim.advance(seconds(5)).await;
        assert!(given(&world, "large").await.is_empty());
        for total in [50, 150, 100, 250] {
            emit(&world, order(total)).await;
        }
        emit(&world, Event::new("invoice.created").payload(&serde_json::json!({"total": 999})).unwrap())
            .await;
        emit(&world, order(300).namespace("elsewhere")).await;
        world.sim.advance(seconds(2)).await;
        let of = |total| serde_json::json!({"topic": "order.created", "total": total});
        assert_eq!(given(&world, "large").await, [of(150), of(250)]);
        world.sim.advance(seconds(60)).await;
        assert_eq!(given(&world, "large").await.len(), 2);
    });
}

/// NU-X3: an event that comes while all slots are busy runs later, exactly once.
#[test]
fn nu_x3_an_event_that_finds_all_slots_busy_is_not_lost() {
    world(async |world| {
        world.put(schedule("on-order", "event", "order.created")).await;
        let ran = Notes::new();
        let notes = ran.clone();
        let worker = world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                ctx.pause(seconds(60)).await?;
                notes.add(());
                Ok::<_, TaskError>(())
            }
        }));
        let _worker = world.start(worker.concurrency(1));
        for total in 0..5 {
            emit(&world, order(total)).await;
        }
        ran.reach(5).await;
        world.sim.advance(seconds(600)).await;
        assert_eq!(ran.all().len(), 5);
    });
}

#[test]
fn what_was_emitted_while_nobody_was_up_is_delivered_later() {
    world(async |mut world| {
        world.put(schedule("on-order", "event", "order.created")).await;
        world.duties.take().unwrap().stop().await;
        emit(&world, order(1)).await;
        world.sim.advance(seconds(86_400)).await;
        world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &DutyConfig::default()));
        world.sim.advance(seconds(2)).await;
        assert_eq!(world.fired_ms("on-order").await, [0], "it is due when it was emitted");
    });
}

#[test]
fn three_nodes_deliver_each_event_once() {
    world(async |world| {
        world
            .put(
                schedule("on-order", "event", "order.created")
                    .args(serde_json::json!("{event.payload.total}")),
            )
            .await;
        let nodes: Vec<Duties> = (0..3)
            .map(|_| {
                let store: SharedStore = Arc::new(world.memory.handle());
                Duties::start(&store, &world.sim.env(), &DutyConfig::default())
            })
            .collect();
        for total in 0..500 {
            emit(&world, order(total)).await;
        }
        world.sim.advance(seconds(5)).await;
        drop(nodes);
        let all: Vec<_> = (0..500).map(serde_json::Value::from).collect();
        assert_eq!(given(&world, "on-order").await, all);
    });
}

#[test]
fn a_lost_answer_delivers_nothing_twice() {
    world(async |world| {
        world.put(schedule("on-order", "event", "order.created")).await;
        world.faulty.fail(Call::Emit, 1..=2, When::After);
        world.faulty.fail(Call::Deliver, 1..=2, When::After);
        emit(&world, order(1)).await;
        emit(&world, order(2)).await;
        world.sim.advance(seconds(10)).await;
        assert_eq!(world.history("on-order").await.len(), 2);
    });
}

#[test]
fn events_of_one_key_wait_as_one_job() {
    world(async |world| {
        let coalesced = |topic: &str| {
            let on = OnEvent { topic: topic.parse().unwrap(), filter: Default::default(), coalesce: true };
            Schedule::builder("sync".parse().unwrap(), "test".parse().unwrap()).trigger(Trigger::Event(on))
        };
        world.put(coalesced("customer.changed")).await;
        let changed = |key: &str| Event::new("customer.changed").key(key);
        for key in ["7", "8", "7", "7"] {
            emit(&world, changed(key)).await;
        }
        world.sim.advance(seconds(2)).await;
        let history = world.history("sync").await;
        let merged = |firing: &taskwright::store::FiringView| {
            matches!(firing.outcome, FiringOutcome::Fired { coalesced: true, .. })
        };
        assert_eq!(history.iter().map(merged).collect::<Vec<_>>(), [false, false, true, true]);
        // Once it runs, the next one makes a job of its own.
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.pause(seconds(60)).await?;
            Ok::<_, TaskError>(())
        })));
        world.sim.advance(seconds(5)).await;
        emit(&world, changed("7")).await;
        world.sim.advance(seconds(2)).await;
        assert!(!merged(world.history("sync").await.last().unwrap()));
    });
}

#[test]
fn an_event_queues_behind_its_predecessor_when_the_schedule_says_so() {
    world(async |world| {
        world.put(schedule("one", "event", "order.created").overlap(Overlap::QueueOne)).await;
        let ran = Notes::new();
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                ctx.pause(seconds(30)).await?;
                notes.add(());
                Ok::<_, TaskError>(())
            }
        })));
        for total in 0..4 {
            emit(&world, order(total)).await;
        }
        world.sim.advance(seconds(120)).await;
        assert_eq!(ran.all().len(), 2, "one runs, one waits, two are skipped");
    });
}

#[test]
fn of_events_that_come_together_cancel_previous_makes_the_job_of_the_newest() {
    world(async |world| {
        world.put(schedule("newest", "event", "order.created").overlap(Overlap::CancelPrevious)).await;
        for total in 0..3 {
            emit(&world, order(total)).await;
        }
        world.sim.advance(seconds(2)).await;
        let history = world.history("newest").await;
        let fired = |one: &taskwright::store::FiringView| matches!(one.outcome, FiringOutcome::Fired { .. });
        assert_eq!(history.iter().filter(|one| fired(one)).count(), 1, "{history:?}");
    });
}

#[test]
fn one_event_reaches_more_schedules_than_one_call_may_write() {
    world(async |world| {
        let all: Vec<_> = (0..1_005)
            .map(|n| schedule(&format!("s{n}"), "event", "order.created").build().unwrap())
            .collect();
        world.client.schedules().put_all(&all).await.unwrap();
        emit(&world, order(1)).await;
        world.sim.advance(seconds(2)).await;
        for name in ["s0", "s1004"] {
            assert_eq!(world.history(name).await.len(), 1);
        }
    });
}

#[test]
fn an_event_that_is_stamped_ahead_of_the_clock_holds_up_nothing() {
    world(async |mut world| {
        world.put(schedule("on-order", "event", "order.created")).await;
        world.duties.take().unwrap().stop().await;
        emit(&world, order(1)).await;
        world.sim.clock().set_backwards(seconds(3_600));
        emit(&world, order(2)).await;
        world.duties = Some(Duties::start(&world.store(), &world.sim.env(), &DutyConfig::default()));
        world.sim.advance(seconds(3)).await;
        assert_eq!(world.history("on-order").await.len(), 2);
    });
}

/// The jobs of a schedule fail as well, and fire nothing by that; those of others of the same task do.
#[test]
fn a_schedule_hears_of_all_jobs_of_its_task_but_of_those_that_it_made() {
    world(async |world| {
        world
            .put(schedule("alarm", "event", "job.failed").args(serde_json::json!("{event.payload.job}")))
            .await;
        let _worker = world.start(
            world.worker(handles(|_: Context| async { Err::<(), _>(TaskError::permanent("out of paper")) })),
        );
        let failed = world.client.enqueue(Job::new("test")).await.unwrap().id;
        world.sim.advance(seconds(30)).await;
        assert_eq!(given(&world, "alarm").await, [serde_json::json!(failed)]);
        let FiringOutcome::Fired { job, .. } = world.history("alarm").await[0].outcome else {
            panic!("it was skipped")
        };
        assert_eq!(world.over(job).await.view.state, State::Failed);
    });
}

#[test]
fn a_payload_that_no_filter_could_read_is_refused() {
    world(async |world| {
        let huge = taskwright::core::Args::from_json("[1e400]").unwrap();
        let error = world.client.emit(Event::new("a").raw_payload(huge)).await.unwrap_err();
        assert!(error.to_string().contains("payload"), "{error}");
    });
}
