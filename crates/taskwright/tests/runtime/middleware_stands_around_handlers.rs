//! Middleware sees every attempt before and after, and clients let others look at jobs before they store them.

use taskwright::core::Error as Refused;
use taskwright::core::attempt::AttemptEnd;
use taskwright::core::{NewJob, Outcome};
use taskwright::testing::simulate;
use taskwright::{
    App, Client, Context, Job, Kind, MaxAttempts, Next, Priority, Registry, State, TaskError, UniqueKey,
};

use crate::support::{Notes, handles, job, world};

/// Notes that an attempt passes by, in and out.
async fn noted(name: &'static str, ctx: Context, next: Next) -> Outcome {
    let notes = ctx.state::<Notes<String>>().unwrap().clone();
    notes.add(format!("{name} before"));
    let outcome = next.run(ctx).await;
    let said = match &outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Retry { end: AttemptEnd::Panicked, .. } => "panicked",
        _ => "failed",
    };
    notes.add(format!("{name} {said}"));
    outcome
}

#[test]
fn what_is_put_first_is_outermost_whenever_handlers_are_added() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let registry = Registry::new()
            .state(notes.clone())
            .handler("early", |_| async { Ok(()) })
            .unwrap()
            .wrap(|ctx, next| noted("outer", ctx, next))
            .wrap(|ctx, next| noted("inner", ctx, next))
            .handler("late", |_| async { Ok(()) })
            .unwrap();
        let worker = world.start(world.worker(registry));
        for kind in ["early", "late"] {
            world.over(world.enqueue(Job::new(kind)).await).await;
        }
        let way = ["outer before", "inner before", "inner completed", "outer completed"];
        assert_eq!(notes.all(), [way, way].concat());
        worker.stop().await;
    });
}

#[test]
fn middleware_sees_panics_as_outcomes_and_may_answer_itself() {
    world(async |world| {
        let notes: Notes<String> = Notes::new();
        let registry = handles(|ctx: Context| async move {
            assert!(ctx.attempt() > 1, "the first one");
            Err::<(), _>(TaskError::retry("again"))
        });
        let tired = |ctx: Context, next: Next| async move {
            match ctx.attempt() {
                3 => Outcome::Fail { error: "enough of that".to_owned() },
                _ => next.run(ctx).await,
            }
        };
        let registry = registry.state(notes.clone()).wrap(|ctx, next| noted("m", ctx, next)).wrap(tired);
        let worker = world.start(world.worker(registry));
        let over = world.over(world.enqueue(job()).await).await;
        assert_eq!((over.view.state, over.view.attempt), (State::Failed, 3));
        assert_eq!(over.view.error.as_deref(), Some("enough of that"));
        assert_eq!(notes.all(), ["m before", "m panicked", "m before", "m failed", "m before", "m failed"]);
        assert!(over.attempts.iter().any(|one| one.end == AttemptEnd::Panicked), "{:?}", over.attempts);
        worker.stop().await;
    });
}

#[test]
fn who_looks_at_jobs_before_they_are_stored_may_change_and_refuse_them() {
    simulate(1, async |sim| {
        let hurry = |job: &mut NewJob| {
            job.priority = Priority::HIGH;
            Ok(())
        };
        let refuse = |job: &mut NewJob| match job.kind.as_str() {
            "forbidden" => Err(Refused::invalid("the job", "nobody wants it here", "enqueue another one")),
            _ => Ok(()),
        };
        let app = App::new().store("memory:").env(sim.env()).before_enqueue(hurry).before_enqueue(refuse);
        let client: Client = app.client().await.unwrap();
        let stored = client.enqueue(Job::new("wanted")).await.unwrap().job().await.unwrap();
        assert_eq!(stored.view.priority, Priority::HIGH);
        let error = client.enqueue(Job::new("forbidden")).await.unwrap_err();
        assert!(error.is_domain() && error.why() == "nobody wants it here", "{error}");

        let many = client.enqueue_many([Job::new("wanted"), Job::new("forbidden")]).await;
        assert!(many.is_err() && client.enqueue(Job::new("wanted")).await.is_ok());
        // What it makes of a job is stored as it is.
        let keyed = client.clone().before_enqueue(|job| {
            job.unique = Some(UniqueKey::new("only one")?);
            job.max_attempts = MaxAttempts::Unlimited;
            job.kind = Kind::new("other")?;
            Ok(())
        });
        let first = keyed.enqueue(Job::new("a")).await.unwrap();
        assert_eq!(keyed.enqueue(Job::new("b")).await.unwrap().id, first.id);
    });
}
