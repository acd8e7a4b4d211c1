use std::time::Duration;

use taskwright::core::limit::LOG_BYTES_MAX;
use taskwright::store::LogStream;
use taskwright::testing::Call;
use taskwright::{Context, TaskError};

use crate::support::{Notes, World, handles, job, seconds, world};

async fn log_of(world: &World, id: taskwright::JobId) -> String {
    let chunks = world.client.logs(id, 0, 10_000).await.unwrap();
    let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.bytes).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn log_lines_are_stored_before_the_end_of_the_attempt_in_their_order() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.log("one");
            ctx.log_bytes(LogStream::Stdout, b"two\n".to_vec());
            ctx.log("three");
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        world.over(id).await;
        assert_eq!(log_of(&world, id).await, "one\ntwo\nthree\n");
        let chunks = world.client.logs(id, 1, 1).await.unwrap();
        assert_eq!((chunks[0].number, chunks[0].stream, chunks[0].attempt), (1, LogStream::Stdout, 1));
        worker.stop().await;
    });
}

#[test]
fn log_lines_and_progress_of_a_running_job_are_seen_within_200_ms() {
    world(async |world| {
        let began = Notes::new();
        let begins = began.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            let begins = begins.clone();
            async move {
                ctx.pause(seconds(1)).await?;
                ctx.log("half way");
                ctx.progress(50, Some(100), Some("packing"));
                begins.add(());
                ctx.pause(seconds(60)).await
            }
        })));
        let id = world.enqueue(job()).await;
        began.reach(1).await;
        world.sim.advance(Duration::from_millis(200)).await;
        assert_eq!(log_of(&world, id).await, "half way\n");
        let progress = world.job(id).await.view.progress.unwrap();
        assert_eq!(
            (progress.done, progress.total, progress.message.as_deref()),
            (50, Some(100), Some("packing"))
        );
        worker.stop().await;
    });
}

#[test]
fn progress_is_stored_at_most_ten_times_a_second_and_the_newest_wins() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            for done in 0..3_000 {
                ctx.progress(done, Some(3_000), None);
                ctx.pause(Duration::from_millis(1)).await?;
            }
            ctx.pause(seconds(60)).await
        })));
        let id = world.enqueue(job()).await;
        world.sim.advance(seconds(4)).await;
        assert_eq!(world.job(id).await.view.progress.unwrap().done, 2_999);
        let stored = world.faulty.count(Call::Report);
        assert!((20..=31).contains(&stored), "{stored} reports in 3 s");
        worker.stop().await;
    });
}

#[test]
fn a_log_is_cut_at_its_limit_with_one_marker() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            for _ in 0..100 {
                ctx.log_bytes(LogStream::Stdout, vec![b'x'; 30_000]);
            }
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        world.over(id).await;
        let log = log_of(&world, id).await;
        assert_eq!(log.matches('x').count(), LOG_BYTES_MAX);
        assert_eq!(log.matches("[log cut here").count(), 1);
        worker.stop().await;
    });
}

#[test]
fn each_attempt_may_fill_a_log_of_its_own() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.log(format!("attempt {}", ctx.attempt()));
            if ctx.attempt() < 3 { Err(TaskError::retry("again")) } else { Ok(()) }
        })));
        let id = world.enqueue(job()).await;
        world.over(id).await;
        assert_eq!(log_of(&world, id).await, "attempt 1\nattempt 2\nattempt 3\n");
        worker.stop().await;
    });
}
