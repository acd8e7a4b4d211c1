use taskwright::{Actor, Job, Namespace, Priority, QueueName, State};

use crate::support::{handles, job, seconds, world};

#[test]
fn a_job_of_an_unknown_kind_stays_where_it_is() {
    world(async |world| {
        let unknown = world.enqueue(Job::new("nobody.knows")).await;
        let known = world.enqueue(job()).await;
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        assert_eq!(world.over(known).await.view.state, State::Completed);
        world.sim.advance(seconds(60)).await;
        let job = world.job(unknown).await;
        assert_eq!((job.view.state, job.view.attempt, job.timeline.len()), (State::Available, 0, 1));
        worker.stop().await;
    });
}

#[test]
fn a_worker_of_one_queue_leaves_the_others_alone() {
    world(async |world| {
        let mine = world.enqueue(job().queue("mail")).await;
        let other = world.enqueue(job()).await;
        let worker = world.worker(handles(|_| async { Ok(()) })).queues([QueueName::new("mail").unwrap()]);
        let worker = world.start(worker);
        assert_eq!(world.over(mine).await.view.state, State::Completed);
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.job(other).await.view.state, State::Available);
        worker.stop().await;
    });
}

#[test]
fn a_worker_for_urgent_jobs_is_not_filled_with_others_however_long_they_wait() {
    world(async |world| {
        let bulk = world.enqueue(job().priority(Priority::BULK)).await;
        let worker = world.worker(handles(|_| async { Ok(()) })).priority_max(Priority::REALTIME);
        let worker = world.start(worker);
        world.sim.advance(seconds(3_600)).await;
        assert_eq!(world.job(bulk).await.view.state, State::Available);
        let urgent = world.enqueue(job().priority(Priority::REALTIME)).await;
        assert_eq!(world.over(urgent).await.view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn a_queue_that_is_paused_waits_until_somebody_resumes_it() {
    world(async |world| {
        let (namespace, mail) = (Namespace::default(), QueueName::new("mail").unwrap());
        let pause = || world.client.pause_queue(&namespace, &mail, Actor::system());
        assert_eq!((pause().await.unwrap(), pause().await.unwrap()), (true, false));
        let paused = world.enqueue(job().queue("mail")).await;
        let other = world.enqueue(job()).await;
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        assert_eq!(world.over(other).await.view.state, State::Completed);
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.job(paused).await.view.state, State::Available);
        let resume = || world.client.resume_queue(&namespace, &mail, Actor::system());
        assert_eq!((resume().await.unwrap(), resume().await.unwrap()), (true, false));
        assert_eq!(world.over(paused).await.view.state, State::Completed);
        worker.stop().await;
    });
}
