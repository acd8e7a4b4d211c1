//! What somebody had made goes on for as long as they might have it made now, and no longer.

use std::time::Duration;

use taskwright::bulk::Bulk;
use taskwright::core::authority::{Authority, COMMAND_KIND};
use taskwright::core::schedule::{Origin, Overlap, ScheduleBuilder, SkipReason};
use taskwright::core::{Grants, Principal, Role, Scopes, TokenName, UserName};
use taskwright::identity::{MadeToken, TokenRequest};
use taskwright::store::{FiringOutcome, Kept, Rank};
use taskwright::testing::{Call, When};
use taskwright::{Actor, Context, Event, JobId, Namespace, Owner, Schedule, State, TaskError, Trigger};

use crate::bulks::{Numbers, numbers};
use crate::support::{Notes, World, handles, schedule, seconds, world};

fn me() -> Principal {
    Principal::local(Actor::new("me").unwrap())
}

fn alice() -> UserName {
    UserName::new("alice").unwrap()
}

fn grants(role: Role) -> Grants {
    Grants::of(Namespace::default(), role)
}

fn of_alice() -> Authority {
    Authority::User(alice())
}

fn of_ci() -> Authority {
    Authority::Token { name: TokenName::new("ci").unwrap(), namespace: Some(Namespace::default()) }
}

/// Every minute, registered by somebody.
fn every_minute(name: &str, by: Authority) -> ScheduleBuilder {
    schedule(name, "every", "1m").origin(Origin::Principal { by })
}

impl World {
    async fn add_alice(&self, grants: Grants) {
        let added = self.client.identities().add_user(&me(), alice(), "correct horse", grants).await;
        assert!(added.unwrap());
    }

    async fn grant_alice(&self, grants: Grants) {
        let done = self.client.identities().set_grants(&me(), alice(), grants).await.unwrap();
        assert_eq!(done, Kept::Done);
    }

    async fn disable_alice(&self, disabled: bool) {
        let done = self.client.identities().set_disabled(&me(), alice(), disabled).await.unwrap();
        assert_eq!(done, Kept::Done);
    }

    /// An admin's token.
    async fn add_ci(&self, good_for: Option<Duration>) -> MadeToken {
        let rank = Rank::In(Namespace::default(), Role::Admin);
        let request = TokenRequest { good_for, ..TokenRequest::new(TokenName::new("ci").unwrap(), rank) };
        self.client.identities().create_token(&me(), request).await.unwrap().expect("the name is free")
    }

    async fn revoke(&self, made: &MadeToken) {
        assert_eq!(self.client.identities().revoke_token(made.token.id).await.unwrap(), Kept::Done);
    }

    /// How many jobs a schedule has made, and how many it was forbidden; nothing else may have happened.
    async fn made_and_forbidden(&self, name: &str) -> (usize, u64) {
        let (mut made, mut forbidden) = (0, 0);
        for firing in self.history(name).await {
            match firing.outcome {
                FiringOutcome::Fired { .. } => made += 1,
                FiringOutcome::Skipped(run) if run.reason == SkipReason::Forbidden => forbidden += run.count,
                FiringOutcome::Skipped(run) => panic!("{run:?}"),
            }
        }
        (made, forbidden)
    }

    async fn minutes(&self, count: u64) {
        self.sim.advance(seconds(60 * count)).await;
    }
}

#[test]
fn a_schedule_fires_while_whoever_registered_it_may_have_it() {
    world(async |world| {
        world.add_alice(grants(Role::Admin)).await;
        world.put(every_minute("hers", of_alice())).await;
        world.put(schedule("ours", "every", "1m")).await;
        world.minutes(2).await;
        assert_eq!(world.made_and_forbidden("hers").await, (2, 0));
        world.disable_alice(true).await;
        world.minutes(3).await;
        assert_eq!(world.made_and_forbidden("hers").await, (2, 3));
        world.disable_alice(false).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("hers").await, (3, 3), "she is back");
        world.grant_alice(grants(Role::Member)).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("hers").await, (3, 4), "a member may have no schedules");
        world.grant_alice(grants(Role::Admin)).await;
        assert_eq!(world.client.identities().remove_user(alice()).await.unwrap(), Kept::Done);
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("hers").await, (3, 5), "she is gone");
        assert_eq!(
            world.made_and_forbidden("ours").await,
            (8, 0),
            "nobody's rights but our own are asked for"
        );
    });
}

#[test]
fn what_a_token_registered_goes_on_with_the_one_that_replaces_it() {
    world(async |world| {
        let first = world.add_ci(None).await;
        world.put(every_minute("nightly", of_ci())).await;
        world.minutes(1).await;
        world.revoke(&first).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("nightly").await, (1, 1));
        world.add_ci(Some(seconds(90))).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("nightly").await, (2, 1));
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("nightly").await, (2, 2), "that one has expired");
    });
}

#[test]
fn commands_are_run_only_for_whoever_may_run_any() {
    world(async |world| {
        world.add_alice(Grants::superuser()).await;
        let trigger = Trigger::read("every", "1m", None).unwrap();
        let commands = Schedule::builder("cleanup".parse().unwrap(), COMMAND_KIND.parse().unwrap())
            .trigger(trigger)
            .overlap(Overlap::Allow)
            .origin(Origin::Principal { by: of_alice() });
        world.put(commands).await;
        world.minutes(1).await;
        // Another superuser has to be left.
        let root = TokenRequest::new(TokenName::new("root").unwrap(), Rank::Superuser);
        world.client.identities().create_token(&me(), root).await.unwrap().unwrap();
        world.grant_alice(grants(Role::Admin)).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("cleanup").await, (1, 1));
    });
}

#[test]
fn an_event_makes_nothing_of_a_schedule_that_may_not_fire() {
    world(async |world| {
        world.add_alice(grants(Role::Admin)).await;
        let on_order = schedule("on-order", "event", "order.created");
        world.put(on_order.origin(Origin::Principal { by: of_alice() })).await;
        for (disabled, expected) in [(false, (1, 0)), (true, (1, 1))] {
            if disabled {
                world.disable_alice(true).await;
            }
            world.client.emit(Event::new("order.created")).await.unwrap();
            world.sim.advance(seconds(2)).await;
            assert_eq!(world.made_and_forbidden("on-order").await, expected);
        }
    });
}

#[test]
fn a_schedule_that_may_not_fire_stops_no_earlier_job_either() {
    world(async |world| {
        world.add_alice(grants(Role::Admin)).await;
        let (begun, stopped) = (Notes::new(), Notes::new());
        let (begins, stops) = (begun.clone(), stopped.clone());
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let (begins, stops) = (begins.clone(), stops.clone());
            async move {
                begins.add(());
                let cause = ctx.cancelled().await;
                stops.add(());
                Err::<(), TaskError>(cause.into())
            }
        })));
        world.put(every_minute("long", of_alice()).overlap(Overlap::CancelPrevious)).await;
        world.minutes(1).await;
        begun.reach(1).await;
        world.disable_alice(true).await;
        world.minutes(5).await;
        assert_eq!(world.made_and_forbidden("long").await, (1, 5));
        assert!(stopped.all().is_empty());
    });
}

/// A bulk of `size` items that somebody has made, which run at once.
async fn bulk_of(world: &World, kind: &Numbers, size: u64, by: Option<Authority>) -> JobId {
    let owner = by.as_ref().map(|by| Owner::new(by.actor().as_str()).unwrap());
    let bulk: Bulk = numbers(size).window(10).authority(by);
    let bulk = match owner {
        Some(owner) => bulk.author(owner),
        None => bulk,
    };
    world.bulks(kind).create(bulk).await.unwrap()
}

#[test]
fn a_bulk_stops_once_whoever_created_it_may_not_have_it_any_more() {
    world(async |world| {
        world.add_alice(grants(Role::Member)).await;
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let hers = bulk_of(&world, &kind, 1_000_000, Some(of_alice())).await;
        let ours = bulk_of(&world, &kind, 1_000_000, None).await;
        world.sim.advance(seconds(1)).await;
        let made = world.bulk(hers).await.tally.made;
        assert!(made > 10, "{made}");
        world.grant_alice(grants(Role::Viewer)).await;
        world.sim.advance(seconds(3)).await;
        let bulk = world.bulk(hers).await;
        assert_eq!(bulk.parent.state, State::Failed);
        let reason = "alice created it, and may not have this done any more";
        assert_eq!(bulk.parent.error.as_deref(), Some(reason));
        assert!(bulk.tally.made <= made + 20, "what was made when it was asked last: {:?}", bulk.tally);
        assert_eq!(bulk.tally.settled(), bulk.tally.made, "what was made ran");
        let before = world.bulk(ours).await.tally.made;
        world.sim.advance(seconds(1)).await;
        assert!(world.bulk(ours).await.tally.made > before);
    });
}

#[test]
fn a_bulk_makes_nothing_while_nobody_can_tell_whether_it_may() {
    world(async |world| {
        world.add_alice(grants(Role::Member)).await;
        let kind = Numbers::default();
        world.faulty.fail(Call::ReadUser, 1..=3, When::Before);
        let _node = world.bulk_node_on(world.store(), &kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let id = bulk_of(&world, &kind, 30, Some(of_alice())).await;
        world.sim.advance(seconds(1)).await;
        assert_eq!(world.bulk(id).await.tally.made, 0);
        world.sim.advance(seconds(60)).await;
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.parent.state, bulk.tally.completed), (State::Completed, 30));
        assert!(world.faulty.count(Call::ReadUser) > 3);
    });
}

#[test]
fn rights_that_are_held_to_less_count_as_less() {
    world(async |world| {
        // A token of an admin that may only look.
        let rank = Rank::In(Namespace::default(), Role::Admin);
        let scopes = Scopes::parse(["schedules.view"]).unwrap();
        let request = TokenRequest { scopes, ..TokenRequest::new(TokenName::new("ci").unwrap(), rank) };
        world.client.identities().create_token(&me(), request).await.unwrap().unwrap();
        world.put(every_minute("nightly", of_ci())).await;
        world.minutes(1).await;
        assert_eq!(world.made_and_forbidden("nightly").await, (0, 1));
    });
}
