//! A worker that keeps a slot for urgent jobs starts one at once, however much of the rest there is.

use taskwright::{Context, Priority, Registry, State, TaskError};

use crate::support::{World, handles, job, seconds, world};

fn slow() -> Registry {
    handles(async |ctx: Context| {
        ctx.env().sleep(seconds(60)).await;
        Ok::<_, TaskError>(())
    })
}

impl World {
    async fn count(&self, state: State) -> usize {
        let page = taskwright::store::Page { after: None, limit: 1_000, oldest_first: true };
        let filter = taskwright::store::Filter { states: vec![state], ..Default::default() };
        self.store().list(filter, page).await.unwrap().jobs.len()
    }
}

#[test]
fn an_urgent_job_starts_at_once_among_bulk_that_fills_all_other_slots() {
    world(async |world| {
        for _ in 0..50 {
            world.enqueue(job().priority(Priority::BULK)).await;
        }
        let _worker = world.start(world.worker(slow()).concurrency(4).reserve(1));
        world.sim.advance(seconds(5)).await;
        assert_eq!(world.count(State::Running).await, 3, "the fourth slot is kept");
        let urgent = world.enqueue(job().priority(Priority::REALTIME)).await;
        let other = world.enqueue(job().priority(Priority::HIGH)).await;
        world.sim.advance(std::time::Duration::from_millis(300)).await;
        let state = async |id| world.client.job(id).await.unwrap().unwrap().view.state;
        assert_eq!((state(urgent).await, state(other).await), (State::Running, State::Available));
        assert_eq!(world.count(State::Running).await, 4);
        world.sim.advance(seconds(1_500)).await;
        assert_eq!(world.count(State::Available).await, 0, "and all the others are run, too");
    });
}

#[test]
fn urgent_jobs_take_the_other_slots_as_well() {
    world(async |world| {
        for _ in 0..4 {
            world.enqueue(job().priority(Priority::REALTIME)).await;
        }
        let _worker = world.start(world.worker(slow()).concurrency(4).reserve(1));
        world.sim.advance(seconds(5)).await;
        assert_eq!(world.count(State::Running).await, 4);
    });
}

#[test]
fn at_least_one_slot_takes_anything() {
    world(async |world| {
        world.enqueue(job().priority(Priority::IDLE)).await;
        let _worker = world.start(world.worker(slow()).concurrency(2).reserve(9));
        world.sim.advance(seconds(5)).await;
        assert_eq!(world.count(State::Running).await, 1);
    });
}

#[test]
fn a_worker_with_kept_slots_that_drains_a_store_ends_when_it_is_empty() {
    world(async |world| {
        for n in 0..20 {
            world.enqueue(job().priority(if n % 5 == 0 { Priority::REALTIME } else { Priority::BULK })).await;
        }
        let worker = world.worker(handles(async |_: Context| Ok::<_, TaskError>(())));
        let summary = world.start(worker.concurrency(3).reserve(2).until_empty()).ended().await;
        assert_eq!(summary.completed, 20);
    });
}
