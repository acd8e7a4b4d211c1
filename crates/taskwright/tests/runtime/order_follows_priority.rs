use taskwright::{Context, Priority};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn the_most_urgent_job_runs_first_and_the_older_one_among_equals() {
    world(async |world| {
        let ran = Notes::new();
        let runs = ran.clone();
        let bands = [
            Priority::BULK,
            Priority::DEFAULT,
            Priority::REALTIME,
            Priority::IDLE,
            Priority::HIGH,
            Priority::DEFAULT,
            Priority(-5),
        ];
        let jobs =
            bands.iter().enumerate().map(|(number, band)| job().priority(*band).args(&number).unwrap());
        world.client.enqueue_many(jobs).await.unwrap();
        let worker = world.worker(handles(move |ctx: Context| {
            runs.add(ctx.args::<usize>().unwrap());
            async { Ok(()) }
        }));
        world.start(worker.concurrency(1).until_empty()).ended().await;
        assert_eq!(ran.all(), [6, 2, 4, 1, 5, 0, 3]);
    });
}

#[test]
fn an_urgent_job_overtakes_what_is_claimed_and_not_started() {
    world(async |world| {
        let ran = Notes::new();
        let runs = ran.clone();
        let worker = world.worker(handles(move |ctx: Context| {
            runs.add(ctx.queue().to_string());
            async move {
                ctx.env().sleep(std::time::Duration::from_millis(1)).await;
                Ok(())
            }
        }));
        let worker = world.start(worker.concurrency(1));
        world.client.enqueue_many((0..500).map(|_| job())).await.unwrap();
        ran.reach(200).await;
        world.enqueue(job().priority(Priority::REALTIME).queue("urgent")).await;
        let ran = ran.reach(500).await;
        let at = ran.iter().position(|queue| queue == "urgent").unwrap();
        assert!(at <= 230, "it ran as number {at}: at most one claim of 20 ms ahead of it");
        worker.stop().await;
    });
}

#[test]
fn ageing_brings_a_job_of_the_last_band_to_its_turn() {
    world(async |world| {
        let ran = Notes::new();
        let runs = ran.clone();
        world.enqueue(job().priority(Priority::IDLE).queue("idle")).await;
        world.sim.advance(seconds(6 * 3_600)).await;
        world.client.enqueue_many((0..50).map(|_| job().priority(Priority::REALTIME))).await.unwrap();
        let worker = world.worker(handles(move |ctx: Context| {
            runs.add(ctx.queue().to_string());
            async { Ok(()) }
        }));
        world.start(worker.concurrency(1).until_empty()).ended().await;
        assert_eq!(ran.all()[0], "idle");
    });
}
