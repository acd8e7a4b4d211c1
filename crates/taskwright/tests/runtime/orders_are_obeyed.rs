use taskwright::store::Order;
use taskwright::{Context, State};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn a_quiet_worker_finishes_what_it_runs_and_claims_nothing_more() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(ctx.worker_id());
            async move { ctx.pause(seconds(10)).await }
        })));
        let first = world.enqueue(job()).await;
        let id = started.reach(1).await[0];
        assert_eq!(world.store().order(vec![id], Order::Quiet).await.unwrap(), [true]);
        world.sim.advance(seconds(1)).await;
        let second = world.enqueue(job()).await;
        assert_eq!(world.over(first).await.view.state, State::Completed);
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.job(second).await.view.state, State::Available);
        worker.stop().await;
    });
}

#[test]
fn a_worker_that_is_told_to_stop_shuts_down_in_good_order_and_ends() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(ctx.worker_id());
            async move { ctx.pause(seconds(3_600)).await }
        })));
        let id = world.enqueue(job()).await;
        let worker_id = started.reach(1).await[0];
        world.store().order(vec![worker_id], Order::Stop).await.unwrap();
        let summary = worker.ended().await;
        assert_eq!((summary.given_back, summary.incarnations_lost), (1, 0));
        assert_eq!(world.job(id).await.view.state, State::Available);
    });
}

#[test]
fn an_idle_worker_obeys_at_once() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        world.sim.advance(seconds(1)).await;
        let id = world.store().workers().await.unwrap()[0].id;
        world.store().order(vec![id], Order::Stop).await.unwrap();
        let before = world.elapsed_ms();
        worker.ended().await;
        assert!(world.elapsed_ms() - before <= 50);
    });
}
