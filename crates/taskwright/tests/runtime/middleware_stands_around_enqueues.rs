//! Middleware sees every enqueue of a client before and after, and may change and refuse what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright::core::{Error as Refused, NewJob};
use taskwright::store::Enqueued;
use taskwright::testing::{Call, When, simulate};
use taskwright::{App, Client, EnqueueNext, Error, Job, Priority, UniqueKey};

use crate::support::{Notes, job, world};

type Stored = Result<Vec<Enqueued>, Error>;

/// Notes that jobs pass by, and what became of them.
async fn noted(notes: Notes<String>, name: &'static str, jobs: Vec<NewJob>, next: EnqueueNext) -> Stored {
    let kinds: Vec<_> = jobs.iter().map(|job| job.kind.to_string()).collect();
    notes.add(format!("{name} before {}", kinds.join(" ")));
    let stored = next.run(jobs).await;
    notes.add(match &stored {
        Ok(stored) => {
            format!("{name} new {:?}", stored.iter().map(|stored| !stored.existing).collect::<Vec<_>>())
        }
        Err(error) => format!("{name} error {}", error.is_transient()),
    });
    stored
}

fn noting(client: &Client, notes: &Notes<String>, name: &'static str) -> Client {
    let notes = notes.clone();
    client.clone().around_enqueue(move |jobs, next| noted(notes.clone(), name, jobs, next))
}

#[test]
fn what_is_put_first_is_outermost_and_whoever_looks_before_comes_first() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let client = noting(&noting(&world.client, &notes, "outer"), &notes, "inner");
        let looks = notes.clone();
        let client = client.before_enqueue(move |job| {
            looks.add(format!("look at {}", job.kind));
            Ok(())
        });
        let stored = client.enqueue(Job::new("a")).await.unwrap();
        assert!(!stored.existing && stored.job().await.is_ok());
        let way = ["look at a", "outer before a", "inner before a", "inner new [true]", "outer new [true]"];
        assert_eq!(notes.all(), way);
        // The client that they were put around of has none.
        world.client.enqueue(job()).await.unwrap();
        assert_eq!(notes.all().len(), 5);
    });
}

#[test]
fn an_app_puts_them_around_what_its_clients_store() {
    simulate(1, async |sim| {
        let notes: Notes<String> = Notes::new();
        let around = |name| {
            let notes = notes.clone();
            move |jobs, next| noted(notes.clone(), name, jobs, next)
        };
        let app = App::new().store("memory:").env(sim.env());
        let app = app.around_enqueue(around("outer")).around_enqueue(around("inner"));
        app.client().await.unwrap().enqueue(Job::new("a")).await.unwrap();
        let way = ["outer before a", "inner before a", "inner new [true]", "outer new [true]"];
        assert_eq!(notes.all(), way);
    });
}

#[test]
fn it_sees_whether_a_job_is_new_or_has_its_key_already() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let client = noting(&world.client, &notes, "m");
        let keyed = || Job::new("a").unique(UniqueKey::new("one").unwrap());
        let first = client.enqueue(keyed()).await.unwrap();
        let many = client.enqueue_many([Job::new("b"), keyed()]).await.unwrap();
        assert_eq!(many[1], Enqueued { id: first.id, existing: true });
        let way = ["m before a", "m new [true]", "m before b a", "m new [true, false]"];
        assert_eq!(notes.all(), way);
    });
}

#[test]
fn it_is_called_once_for_each_batch() {
    world(async |world| {
        let sizes: Notes<usize> = Notes::new();
        let noted = sizes.clone();
        let client = world.client.clone().batch_jobs(1_000).around_enqueue(
            move |jobs: Vec<NewJob>, next: EnqueueNext| {
                noted.add(jobs.len());
                next.run(jobs)
            },
        );
        let mut told = Vec::new();
        let count = client.enqueue_each((0..2_500).map(|_| job()), |batch| told.push(batch.len())).await;
        assert_eq!((count.unwrap(), told), (2_500, vec![1_000, 1_000, 500]));
        assert_eq!(sizes.all(), [1_000, 1_000, 500]);
        assert_eq!(world.faulty.count(Call::Enqueue), 3);
    });
}

#[test]
fn of_the_batch_that_it_refuses_and_of_those_behind_it_nothing_is_stored() {
    world(async |world| {
        let client = world.client.clone().batch_jobs(2).around_enqueue(
            async |jobs: Vec<NewJob>, next: EnqueueNext| match jobs[0].kind.as_str() {
                "forbidden" => {
                    Err(Refused::invalid("the job", "nobody wants it here", "enqueue another one").into())
                }
                _ => next.run(jobs).await,
            },
        );
        let kinds = ["a", "b", "forbidden", "c", "d"];
        let mut told = 0;
        let error = client.enqueue_each(kinds.map(Job::new), |batch| told += batch.len()).await.unwrap_err();
        assert!(error.is_domain() && error.why() == "nobody wants it here", "{error}");
        assert_eq!((told, world.faulty.count(Call::Enqueue)), (2, 1));
        let error = client.enqueue(Job::new("forbidden")).await.unwrap_err();
        assert_eq!((error.why(), world.faulty.count(Call::Enqueue)), ("nobody wants it here", 1));
    });
}

#[test]
fn it_may_change_jobs_and_add_some_whose_answers_it_keeps() {
    world(async |world| {
        let (env, copies) = (world.sim.env(), Notes::new());
        let noted = copies.clone();
        let client = world.client.clone().around_enqueue(move |mut jobs: Vec<NewJob>, next: EnqueueNext| {
            let (env, noted) = (env.clone(), noted.clone());
            async move {
                let given = jobs.len();
                jobs.iter_mut().for_each(|job| job.priority = Priority::HIGH);
                jobs.push(NewJob { id: env.job_id(), ..jobs[0].clone() });
                let mut stored = next.run(jobs).await?;
                stored.drain(given..).for_each(|copy| noted.add(copy));
                Ok(stored)
            }
        });
        let stored = client.enqueue(job()).await.unwrap();
        assert_eq!(stored.job().await.unwrap().view.priority, Priority::HIGH);
        let copy = copies.all()[0];
        assert!(!copy.existing && copy.id != stored.id && world.client.job(copy.id).await.unwrap().is_some());
    });
}

#[test]
fn it_sees_an_error_after_all_tries() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let client = noting(&world.client, &notes, "m");
        world.faulty.fail(Call::Enqueue, 1..=u64::MAX, When::Before);
        assert!(client.enqueue(Job::new("a")).await.unwrap_err().is_transient());
        assert_eq!(world.faulty.count(Call::Enqueue), 5);
        assert!(client.enqueue_many([Job::new("a"), Job::new("b")]).await.unwrap_err().is_transient());
        assert_eq!(notes.all(), ["m before a", "m error true", "m before a b", "m error true"]);
    });
}

#[test]
fn a_send_whose_answer_was_lost_is_one_enqueue_for_it() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let client = noting(&world.client, &notes, "m");
        world.faulty.fail(Call::Enqueue, 1..=1, When::After);
        assert!(client.enqueue(Job::new("a")).await.unwrap().existing, "the second send found the first");
        assert_eq!(notes.all(), ["m before a", "m new [false]"]);
    });
}

#[test]
fn it_may_wait_and_answer_by_itself() {
    world(async |world| {
        let (known, env) = (world.client.enqueue(job()).await.unwrap().id, world.sim.env());
        let slow = Arc::new(AtomicU64::new(0));
        let calls = Arc::clone(&slow);
        let client = world.client.clone().around_enqueue(move |jobs: Vec<NewJob>, next: EnqueueNext| {
            let (env, calls) = (env.clone(), Arc::clone(&calls));
            async move {
                env.sleep(Duration::from_secs(1)).await;
                match calls.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(vec![Enqueued { id: known, existing: true }]),
                    _ => next.run(jobs).await,
                }
            }
        });
        let began = world.elapsed_ms();
        let stored = client.enqueue(job()).await.unwrap();
        assert_eq!((stored.id, stored.existing), (known, true));
        assert!(!client.enqueue(job()).await.unwrap().existing);
        assert_eq!((world.elapsed_ms() - began, world.faulty.count(Call::Enqueue)), (2_000, 2));
    });
}

#[test]
fn a_limit_around_the_store_is_kept_while_that_works() {
    world(async |world| {
        let env = world.sim.env();
        let client = world.client.clone().around_enqueue(move |jobs: Vec<NewJob>, next: EnqueueNext| {
            let env = env.clone();
            async move {
                let limit = Duration::from_secs(1);
                let late = || Refused::invalid("the enqueue", "it takes too long", "try again later").into();
                env.timeout(limit, next.run(jobs)).await.unwrap_or_else(|| Err(late()))
            }
        });
        // The store is tried again for 5 s.
        world.faulty.fail(Call::Enqueue, 1..=u64::MAX, When::Before);
        let began = world.elapsed_ms();
        assert_eq!(client.enqueue(job()).await.unwrap_err().why(), "it takes too long");
        assert_eq!(world.elapsed_ms() - began, 1_000);
    });
}

#[test]
fn an_answer_that_leaves_a_job_out_is_an_error() {
    world(async |world| {
        let client = world.client.clone().around_enqueue(|jobs: Vec<NewJob>, next: EnqueueNext| async move {
            next.run(jobs).await?;
            Ok(Vec::new())
        });
        let error = client.enqueue(job()).await.unwrap_err();
        assert!(error.why().contains("1 jobs were given, and 0 are answered"), "{error}");
        let error = client.enqueue_many([job(), job()]).await.unwrap_err();
        assert!(error.why().contains("2 jobs were given, and 0 are answered"), "{error}");
    });
}

#[test]
fn none_of_them_is_in_a_transaction() {
    world(async |world| {
        let client = world.client.clone().around_enqueue(|jobs: Vec<NewJob>, next: EnqueueNext| async move {
            assert!(!next.commits_later());
            next.run(jobs).await
        });
        client.enqueue(job()).await.unwrap();
        client.enqueue_many([job()]).await.unwrap();
    });
}
