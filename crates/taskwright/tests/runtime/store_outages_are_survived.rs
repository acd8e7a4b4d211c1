use taskwright::core::attempt::AttemptEnd;
use taskwright::testing::{Call, When};
use taskwright::{Context, State};

use crate::support::{Notes, handles, job, seconds, world};

// CC-X5
#[test]
fn a_final_status_write_that_meets_a_broken_store_is_retried_and_the_worker_does_not_exit() {
    world(async |world| {
        let calls = Notes::new();
        let noted = calls.clone();
        let worker = world.start(world.worker(handles(move |_| {
            noted.add(());
            async { Ok(()) }
        })));
        world.faulty.fail(Call::Finish, 1..=5, When::Before);
        let id = world.enqueue(job()).await;
        let began = world.elapsed_ms();
        let job = world.over(id).await;
        assert_eq!((job.view.state, calls.all().len()), (State::Completed, 1));
        assert_eq!(world.faulty.count(Call::Finish), 6);
        let waited = world.elapsed_ms() - began;
        assert!((3_100..3_400).contains(&waited), "100, 200, 400, 800, 1600 ms are {waited} ms");
        let next = world.enqueue(crate::support::job()).await;
        assert_eq!(world.over(next).await.view.state, State::Completed);
        assert_eq!(worker.stop().await.completed, 2);
    });
}

#[test]
fn an_end_whose_answer_was_lost_is_written_once() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        world.faulty.fail(Call::Finish, 1..=1, When::After);
        let id = world.enqueue(job()).await;
        world.sim.advance(seconds(1)).await;
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.attempts.len()), (State::Completed, 1));
        assert_eq!(worker.stop().await.stale, 1, "the second write found the first");
    });
}

#[test]
fn ends_that_cannot_be_written_while_the_lease_holds_are_left_to_the_next_attempt() {
    world(async |world| {
        let calls = Notes::new();
        let noted = calls.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            noted.add(ctx.attempt());
            async { Ok(()) }
        })));
        let id = world.enqueue(job()).await;
        world.faulty.fail(Call::Finish, 1..=u64::MAX, When::Before);
        world.faulty.fail(Call::Renew, 1..=u64::MAX, When::Before);
        calls.reach(1).await;
        world.sim.advance(seconds(20)).await;
        world.faulty.heal();
        let job = world.over(id).await;
        assert_eq!(job.view.state, State::Completed);
        let ends: Vec<AttemptEnd> = job.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed], "what may have run is recorded");
        assert!(calls.all().len() >= 2, "at least once means again when nobody knows");
        assert!(worker.stop().await.incarnations_lost >= 1);
    });
}

#[test]
fn an_end_that_is_refused_for_good_costs_those_beside_it_nothing() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            let number: u32 = ctx.args()?;
            // All end at one moment, and are written together.
            ctx.env().sleep(seconds(1)).await;
            Ok(number)
        })));
        world.faulty.refuse_ends(|end| end.decision.result.as_deref() == Some("2"));
        let mut ids = Vec::new();
        for number in 1..=4_u32 {
            ids.push(world.enqueue(job().args(&number).unwrap()).await);
        }
        let mut states = Vec::new();
        for id in &ids {
            states.push(world.over(*id).await.view.state);
        }
        assert_eq!(states, [State::Completed, State::Failed, State::Completed, State::Completed]);
        let refused = world.job(ids[1]).await.view.error.unwrap();
        assert!(refused.contains("refused the end"), "{refused}");
        assert!(world.elapsed_ms() < 5_000, "{} ms", world.elapsed_ms());
        worker.stop().await;
    });
}

#[test]
fn claims_and_duties_that_fail_are_tried_again() {
    world(async |world| {
        world.faulty.fail(Call::Claim, 1..=20, When::Before);
        world.faulty.fail(Call::Promote, 2..=6, When::Before);
        world.faulty.fail(Call::Reclaim, 1..=6, When::Before);
        world.faulty.fail(Call::Register, 1..=3, When::Before);
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        let id = world.enqueue(job().run_in(seconds(1))).await;
        assert_eq!(world.over(id).await.view.state, State::Completed);
        assert!(world.faulty.count(Call::Claim) > 20);
        worker.stop().await;
    });
}

#[test]
fn jobs_of_a_claim_whose_answer_was_lost_are_run_and_not_forgotten() {
    world(async |world| {
        world.faulty.fail(Call::Claim, 2..=2, When::After);
        let worker = world.start(world.worker(handles(|ctx: Context| async move { Ok(ctx.attempt()) })));
        world.sim.settle().await;
        let id = world.enqueue(job()).await;
        let job = world.client.wait(id, Some(seconds(60))).await.unwrap();
        assert_eq!((job.view.state, job.result.as_deref()), (State::Completed, Some("1")));
        assert!(world.elapsed_ms() < 5_000, "{} ms", world.elapsed_ms());
        worker.stop().await;
    });
}
