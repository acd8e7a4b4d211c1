//! Whoever waits for jobs is told as they end; gives up when what runs shows no sign of progress, but not for a long queue; bears a
//! store that fails now and then; and has never to be told twice. (Merged table, *Await*; CC 2.1 *Client wait*)

use std::time::Duration;

use taskwright::core::patience::Patience;
use taskwright::testing::{Call, When};
use taskwright::waiting::Waited;
use taskwright::{Context, JobId, State};

use crate::support::{World, handles, job, seconds, world};

async fn next(world: &World, ids: &[JobId], patience: Patience) -> Waited {
    world.client.wait_for(ids.to_vec(), patience).next().await.unwrap()
}

#[test]
fn jobs_are_told_as_they_end_and_unknown_ones_once() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.env().sleep(seconds(ctx.args()?)).await;
            Ok(())
        })));
        let mut ids = Vec::new();
        for takes_s in [5, 1, 3] {
            ids.push(world.enqueue(job().args(&takes_s).unwrap()).await);
        }
        let nobody = world.sim.env().job_id();
        let mut waiting =
            world.client.wait_for(vec![ids[0], ids[1], nobody, ids[2], ids[0]], Patience::default());
        assert!(matches!(waiting.next().await.unwrap(), Waited::Unknown(unknown) if unknown == [nobody]));
        for (id, at_s) in [(ids[1], 1), (ids[2], 3), (ids[0], 5)] {
            let Waited::Ended(jobs) = waiting.next().await.unwrap() else { panic!("{id}") };
            assert_eq!((jobs.len(), jobs[0].id, jobs[0].state), (1, id, State::Completed));
            let late_ms = world.elapsed_ms() - at_s * 1_000;
            assert!(late_ms <= 600, "{late_ms} ms");
        }
        assert!(matches!(waiting.next().await.unwrap(), Waited::Over));
        worker.stop().await;
    });
}

#[test]
fn what_runs_and_is_silent_for_an_hour_has_stalled_and_what_waits_has_not() {
    world(async |world| {
        let id = world.enqueue(job()).await;
        let patience = Patience { timeout: Some(seconds(30 * 3_600)), ..Patience::default() };
        assert!(matches!(next(&world, &[id], patience).await, Waited::TimeUp { open: 1 }));
        assert!(world.elapsed_ms() >= 30 * 3_600_000);

        let started_ms = world.elapsed_ms();
        let worker = world.start(world.worker(handles(|_| std::future::pending::<Result<(), _>>())));
        let Waited::Stalled { still, open } = next(&world, &[id], Patience::default()).await else {
            panic!()
        };
        assert_eq!((still.as_secs() / 60, open), (60, 1));
        let after_s = (world.elapsed_ms() - started_ms) / 1_000;
        assert!((3_600..3_620).contains(&after_s), "{after_s} s");
        worker.stop().await;
    });
}

#[test]
fn progress_and_lines_of_the_log_are_signs_of_life() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            for step in 0..6_u64 {
                ctx.env().sleep(seconds(3_000)).await;
                match step % 2 {
                    0 => ctx.progress(step, None, None),
                    _ => ctx.log("I am alive"),
                }
            }
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        let waited = next(&world, &[id], Patience::default()).await;
        assert!(matches!(&waited, Waited::Ended(jobs) if jobs[0].state == State::Completed), "{waited:?}");
        // And where an hour is too long for the one who waits.
        let id = world.enqueue(job()).await;
        let patience = Patience { stall: Some(seconds(2_000)), ..Patience::default() };
        assert!(matches!(next(&world, &[id], patience).await, Waited::Stalled { .. }));
        worker.stop().await;
    });
}

#[test]
fn ten_failures_in_a_row_are_borne_and_the_eleventh_is_told() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.env().sleep(seconds(10)).await;
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        world.faulty.fail(Call::List, 2..=11, When::Before);
        assert!(matches!(next(&world, &[id], Patience::default()).await, Waited::Ended(_)));
        let before = world.faulty.count(Call::List);
        assert!(before > 11, "{before}");

        let id = world.enqueue(job()).await;
        world.faulty.fail(Call::List, before + 1..=before + 1_000, When::Before);
        let began_ms = world.elapsed_ms();
        let waited = next(&world, &[id], Patience::default()).await;
        assert!(matches!(waited, Waited::Unreachable { failures: 11, .. }), "{waited:?}");
        assert_eq!(world.faulty.count(Call::List) - before, 11);
        // At the pace of one who is not told: 6 s, 7 s and so on.
        let took = Duration::from_millis(world.elapsed_ms() - began_ms);
        assert!(took >= seconds(60) && took < seconds(200), "{took:?}");
        worker.stop().await;
    });
}
