//! A deadline is a rule about jobs that run, or wait, for too long: it ends or hurries these, and no others.

use std::time::Duration;

use taskwright::core::deadline::{Action, Deadline, Watched};
use taskwright::generator::DeadlineGenerator;
use taskwright::{Context, JobId, Priority, State, TaskError};

use crate::support::{World, handles, job, seconds, world};

fn rule(watched: Watched, after: u64, action: Action) -> Deadline {
    Deadline { watched, after: Duration::from_secs(after), action }
}

impl World {
    fn keeping(&self, rule: Deadline) -> taskwright::Duties {
        self.generating(DeadlineGenerator::new("feed", rule, &self.store()).unwrap())
    }

    async fn state_of(&self, id: JobId) -> State {
        self.client.job(id).await.unwrap().unwrap().view.state
    }
}

/// A handler that goes on until it is told to stop.
async fn until_told(ctx: Context) -> Result<(), TaskError> {
    ctx.cancelled().await;
    Err(TaskError::retry("it was told to stop"))
}

#[test]
fn what_runs_for_too_long_fails_whatever_attempts_are_left_and_its_timeline_names_the_rule() {
    world(async |world| {
        let _node = world.keeping(rule(Watched::Running, 60, Action::Fail));
        let _worker = world.start(world.worker(handles(until_told)).concurrency(2));
        let late = world.enqueue(job()).await;
        world.sim.advance(seconds(30)).await;
        let young = world.enqueue(job()).await;
        world.sim.advance(seconds(45)).await;
        assert_eq!(
            (world.state_of(late).await, world.state_of(young).await),
            (State::Failed, State::Running)
        );
        let told = world.client.job(late).await.unwrap().unwrap();
        let by = told.timeline.iter().filter(|entry| entry.actor.as_str() == "deadline:feed");
        let reasons: Vec<_> = by.filter_map(|entry| entry.reason.clone()).collect();
        assert_eq!(reasons, ["failure requested: it ran for more than 60s"]);
        assert_eq!(told.attempts.len(), 1);
        world.sim.advance(seconds(30)).await;
        assert_eq!(world.state_of(young).await, State::Failed);
    });
}

#[test]
fn a_handler_that_completes_before_it_stops_has_completed() {
    world(async |world| {
        let _node = world.keeping(rule(Watched::Running, 10, Action::Fail));
        let _worker = world.start(world.worker(handles(async |ctx: Context| {
            ctx.cancelled().await;
            Ok::<_, TaskError>(())
        })));
        let id = world.enqueue(job()).await;
        world.sim.advance(seconds(20)).await;
        assert_eq!(world.state_of(id).await, State::Completed);
    });
}

#[test]
fn what_waits_for_too_long_is_dropped_but_not_what_waits_for_its_time() {
    world(async |world| {
        let _node = world.keeping(rule(Watched::Waiting, 60, Action::Drop));
        let id = world.enqueue(job()).await;
        let later = world.enqueue(job().run_in(seconds(100))).await;
        world.sim.advance(seconds(59)).await;
        assert_eq!(world.state_of(id).await, State::Available);
        world.sim.advance(seconds(5)).await;
        assert_eq!(
            (world.state_of(id).await, world.state_of(later).await),
            (State::Dropped, State::Scheduled)
        );
        world.sim.advance(seconds(80)).await;
        assert_eq!(world.state_of(later).await, State::Available, "its time counts from when it could run");
        world.sim.advance(seconds(30)).await;
        assert_eq!(world.state_of(later).await, State::Dropped);
    });
}

#[test]
fn what_waits_for_too_long_gets_a_better_priority_once() {
    world(async |world| {
        let _node = world.keeping(rule(Watched::Waiting, 60, Action::Escalate(Priority::HIGH)));
        let (low, high) =
            (world.enqueue(job()).await, world.enqueue(job().priority(Priority::REALTIME)).await);
        world.sim.advance(seconds(600)).await;
        let low = world.client.job(low).await.unwrap().unwrap();
        assert_eq!((low.view.state, low.view.priority), (State::Available, Priority::HIGH));
        assert_eq!(low.timeline.iter().filter(|entry| entry.actor.as_str() == "deadline:feed").count(), 1);
        assert_eq!(world.client.job(high).await.unwrap().unwrap().view.priority, Priority::REALTIME);
    });
}

#[test]
fn only_those_that_are_selected_are_held_to_it() {
    world(async |world| {
        let deadline =
            DeadlineGenerator::new("feed", rule(Watched::Waiting, 10, Action::Cancel), &world.store());
        let _node = world.generating(deadline.unwrap().queues(&["mail"]).unwrap());
        let mail = world.enqueue(job().queue("mail")).await;
        let other = world.enqueue(job()).await;
        world.sim.advance(seconds(30)).await;
        assert_eq!(
            (world.state_of(mail).await, world.state_of(other).await),
            (State::Cancelled, State::Available)
        );
    });
}

/// An empty list of patterns is any to a store.
#[test]
fn an_empty_selection_is_refused_and_does_not_widen_to_all_jobs() {
    world(async |world| {
        let rule = rule(Watched::Running, 10, Action::Cancel);
        let deadline = || DeadlineGenerator::new("feed", rule, &world.store()).unwrap();
        for refused in [deadline().kinds(&[]).err(), deadline().queues(&[]).err()] {
            let error = refused.unwrap();
            assert!(error.is_invalid() && error.why().contains("the list is empty"), "{error}");
        }
    });
}

/// The rule is the only place where the time stands: nothing is kept with any job that would have to be changed.
#[test]
fn a_changed_rule_holds_for_all_jobs_at_once() {
    world(async |world| {
        let node = world.keeping(rule(Watched::Waiting, 3_600, Action::Cancel));
        let mut ids = Vec::new();
        for _ in 0..50 {
            ids.push(world.enqueue(job()).await);
        }
        world.sim.advance(seconds(100)).await;
        drop(node);
        let _node = world.keeping(rule(Watched::Waiting, 90, Action::Cancel));
        world.sim.advance(seconds(10)).await;
        for id in ids {
            assert_eq!(world.state_of(id).await, State::Cancelled);
        }
    });
}

#[test]
fn more_jobs_than_one_look_takes_are_all_dealt_with() {
    world(async |world| {
        let _node = world.keeping(rule(Watched::Waiting, 60, Action::Cancel));
        for _ in 0..6 {
            world.client.enqueue_each((0..1_000).map(|_| job()), |_| ()).await.unwrap();
        }
        world.sim.advance(seconds(90)).await;
        assert_eq!(world.feed().await.state["late"], 6_000);
    });
}
