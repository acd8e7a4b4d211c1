use taskwright::store::{Filter, Page, Store};
use taskwright::testing::{Call, When};
use taskwright::{Job, UniqueKey};

use crate::support::{World, job, world};

async fn stored_jobs(world: &World) -> usize {
    let mut page = Page { after: None, limit: 1_000, oldest_first: true };
    let mut count = 0;
    loop {
        let paged = world.memory.list(Filter::default(), page).await.unwrap();
        count += paged.jobs.len();
        page.after = paged.next;
        if page.after.is_none() {
            return count;
        }
    }
}

#[test]
fn many_jobs_are_stored_in_batches_as_they_come() {
    world(async |world| {
        let mut made = 0;
        let mut made_when_stored = Vec::new();
        let made_cell = std::cell::Cell::new(0);
        let jobs = (0..2_500).map(|_| {
            made_cell.set(made_cell.get() + 1);
            job()
        });
        let count = world
            .client
            .enqueue_each(jobs, |batch| {
                made += batch.len();
                made_when_stored.push((made, made_cell.get()));
            })
            .await
            .unwrap();
        assert_eq!(count, 2_500);
        // The next ones are made while one is stored.
        for (stored, made) in made_when_stored {
            assert!(made <= stored + 3_000, "{made} made when {stored} were stored: no more is collected");
        }
        assert_eq!(world.faulty.count(Call::Enqueue), 3);
        assert_eq!(stored_jobs(&world).await, 2_500);
    });
}

#[test]
fn large_arguments_make_small_batches() {
    world(async |world| {
        let large = "x".repeat(1_000_000);
        let jobs = (0..40).map(|_| job().args(&large).unwrap());
        let stored = world.client.enqueue_many(jobs).await.unwrap();
        assert_eq!((stored.len(), stored_jobs(&world).await), (40, 40));
        assert_eq!(world.faulty.count(Call::Enqueue), 3, "17 MB, 17 MB, and the rest");
    });
}

#[test]
fn an_enqueue_whose_answer_was_lost_is_repeated_and_stores_one_job() {
    world(async |world| {
        world.faulty.fail(Call::Enqueue, 1..=1, When::After);
        let stored = world.client.enqueue(job()).await.unwrap();
        assert!(stored.existing, "the second send found the first");
        assert_eq!(stored_jobs(&world).await, 1);
        world.faulty.fail(Call::Enqueue, 4..=4, When::After);
        let stored = world.client.enqueue_many((0..3_000).map(|_| job())).await.unwrap();
        assert_eq!((stored.len(), stored_jobs(&world).await), (3_000, 3_001));
    });
}

#[test]
fn a_store_that_stays_broken_is_reported_after_five_tries_within_about_five_seconds() {
    world(async |world| {
        world.faulty.fail(Call::Enqueue, 1..=u64::MAX, When::Before);
        let began = world.elapsed_ms();
        let error = world.client.enqueue(job()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(world.faulty.count(Call::Enqueue), 5);
        let took = world.elapsed_ms() - began;
        assert!((4_000..=6_000).contains(&took), "{took} ms");
    });
}

#[test]
fn bad_input_is_refused_before_anything_is_sent() {
    world(async |world| {
        let error = world.client.enqueue(Job::new("no good")).await.unwrap_err();
        assert!(error.is_domain() && !error.fix().is_empty(), "{error}");
        assert_eq!(world.faulty.count(Call::Enqueue), 0);
    });
}

#[test]
fn a_unique_key_that_is_held_answers_with_its_holder() {
    world(async |world| {
        let unique = || job().unique(UniqueKey::new("invoice:1").unwrap());
        let first = world.client.enqueue(unique()).await.unwrap();
        let second = world.client.enqueue(unique()).await.unwrap();
        assert_eq!((second.id, first.existing, second.existing), (first.id, false, true));
    });
}

#[test]
fn waiting_for_a_job_that_is_not_there_is_an_error_and_a_wait_ends_at_its_limit() {
    world(async |world| {
        let id = world.sim.env().job_id();
        assert!(world.client.wait(id, None).await.unwrap_err().is_not_found());
        let id = world.enqueue(job()).await;
        let before = world.elapsed_ms();
        let job = world.client.wait(id, Some(std::time::Duration::from_secs(3))).await.unwrap();
        assert!(!job.view.state.is_terminal());
        assert_eq!(world.elapsed_ms() - before, 3_000);
    });
}
