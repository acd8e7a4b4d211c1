//! Tokens and sessions are good for as long as they should be, and for no longer.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::audit::Behalf;
use taskwright::core::{Grants, Principal, Role, Scopes, TokenName, UserName};
use taskwright::identity::{Identities, MadeToken, SESSION_AGE_MAX, SESSION_IDLE_MAX, TokenRequest};
use taskwright::store::memory::MemoryStore;
use taskwright::store::{AuditFilter, Kept, Rank};
use taskwright::testing::{Call, simulate};
use taskwright::{Actor, Client, Job, Namespace, Owner};

use crate::support::{seconds, world};

const PASSWORD: &str = "correct horse";

fn me() -> Principal {
    Principal::local(Actor::new("me").unwrap())
}

fn alice() -> UserName {
    UserName::new("alice").unwrap()
}

async fn token(identities: &Identities, name: &str, good_for: Option<Duration>) -> MadeToken {
    let name = TokenName::new(name).unwrap();
    let rank = Rank::In(Namespace::default(), Role::Member);
    let request = TokenRequest { good_for, ..TokenRequest::new(name, rank) };
    identities.create_token(&me(), request).await.unwrap().unwrap()
}

async fn is_good(identities: &Identities, made: &MadeToken) -> bool {
    identities.authenticate(&made.secret.reveal()).await.unwrap().is_some()
}

async fn with_alice(client: &Client) -> Identities {
    let identities = client.identities();
    let grants = Grants::of(Namespace::default(), Role::Viewer);
    assert!(identities.add_user(&me(), alice(), PASSWORD, grants).await.unwrap());
    identities
}

/// S13.
#[test]
fn a_token_is_good_until_it_expires_and_another_until_it_is_revoked() {
    world(async |world| {
        let identities = world.client.identities();
        let (short, long) =
            (token(&identities, "short", Some(seconds(60))).await, token(&identities, "long", None).await);
        world.sim.advance(seconds(59)).await;
        assert!(is_good(&identities, &short).await && is_good(&identities, &long).await);
        world.sim.advance(seconds(1)).await;
        assert!(!is_good(&identities, &short).await && is_good(&identities, &long).await);
        assert_eq!(identities.revoke_token(long.token.id).await.unwrap(), Kept::Done);
        assert!(!is_good(&identities, &long).await);
        for wrong in ["", "tw_", &short.secret.reveal()[..74], "Bearer x"] {
            assert_eq!(identities.authenticate(wrong).await.unwrap(), None, "{wrong}");
        }
    });
}

/// S13.
#[test]
fn a_use_is_written_down_once_a_minute() {
    world(async |world| {
        let identities = world.client.identities();
        let made = token(&identities, "busy", None).await;
        for _ in 0..1_000 {
            assert!(is_good(&identities, &made).await);
            world.sim.advance(seconds(1)).await;
        }
        assert_eq!(world.faulty.count(Call::TouchToken), 17);
        let stored = identities.tokens(None, 1).await.unwrap().remove(0);
        assert!(world.sim.env().now().since(stored.used_at.unwrap()) < seconds(61));
    });
}

/// S5.
#[test]
fn a_token_may_do_no_more_than_whoever_makes_it() {
    world(async |world| {
        let identities = world.client.identities();
        let made = token(&identities, "member", None).await;
        let member = identities.authenticate(&made.secret.reveal()).await.unwrap().unwrap().principal;
        let request = TokenRequest::new(TokenName::new("more").unwrap(), Rank::Superuser);
        let error = identities.create_token(&member, request).await.unwrap_err();
        assert!(error.is_domain() && error.why().contains("more rights"), "{error}");
        assert_eq!(identities.tokens(None, 10).await.unwrap().len(), 1);
    });
}

/// S17.
#[test]
fn the_first_token_is_a_superusers_and_is_made_once() {
    world(async |world| {
        let identities = world.client.identities();
        let first = identities.bootstrap().await.unwrap().unwrap();
        let caller = identities.authenticate(&first.secret.reveal()).await.unwrap().unwrap();
        assert!(caller.principal.grants.superuser);
        assert!(identities.bootstrap().await.unwrap().is_none());
        assert_eq!(identities.revoke_token(first.token.id).await.unwrap(), Kept::LastSuperuser);
    });
}

/// S14.
#[test]
fn a_password_opens_a_session_and_a_wrong_one_does_not() {
    world(async |world| {
        let identities = with_alice(&world.client).await;
        for (name, password) in [("alice", "correct  horse"), ("bob", PASSWORD), ("a b", PASSWORD), ("", "")]
        {
            assert!(identities.log_in(name, password).await.unwrap().is_none(), "{name}");
        }
        let opened = identities.log_in("alice", PASSWORD).await.unwrap().unwrap();
        let secret = opened.secret.reveal();
        let caller = identities.session(&secret).await.unwrap().unwrap();
        assert_eq!((caller.principal.name.as_str(), caller.token), ("alice", None));
        // A session is no token, nor the other way round.
        assert!(identities.authenticate(&secret).await.unwrap().is_none());
        let again = identities.log_in("alice", PASSWORD).await.unwrap().unwrap();
        assert_ne!(again.secret.reveal(), secret);
        assert!(identities.log_out(&secret).await.unwrap());
        assert!(identities.session(&secret).await.unwrap().is_none());
        assert!(identities.session(&again.secret.reveal()).await.unwrap().is_some());
        assert!(!identities.log_out(&secret).await.unwrap());
        let short = identities.set_password(&me(), alice(), "hunter2").await.unwrap_err();
        assert!(short.is_domain() && !short.to_string().contains("hunter2"), "{short}");
    });
}

/// S16.
#[test]
fn a_session_is_over_when_it_is_not_used_and_in_any_case_after_a_week() {
    // Without duties, which would have much to do in a week.
    simulate(1, async |sim| {
        let client = Client::new(Arc::new(MemoryStore::new()), sim.env());
        let identities = with_alice(&client).await;
        let idle = identities.log_in("alice", PASSWORD).await.unwrap().unwrap().secret.reveal();
        let used = identities.log_in("alice", PASSWORD).await.unwrap().unwrap().secret.reveal();
        let half = SESSION_IDLE_MAX / 2;
        sim.advance(half).await;
        assert!(identities.session(&used).await.unwrap().is_some());
        sim.advance(half).await;
        assert!(identities.session(&idle).await.unwrap().is_none());
        let mut passed = half * 2;
        while passed + half < SESSION_AGE_MAX {
            assert!(identities.session(&used).await.unwrap().is_some(), "after {passed:?}");
            sim.advance(half).await;
            passed += half;
        }
        assert!(identities.session(&used).await.unwrap().is_some());
        sim.advance(SESSION_AGE_MAX - passed).await;
        assert!(identities.session(&used).await.unwrap().is_none());
    });
}

/// S5.
#[test]
fn what_is_changed_about_a_user_holds_at_once() {
    world(async |world| {
        let identities = with_alice(&world.client).await;
        let secret = identities.log_in("alice", PASSWORD).await.unwrap().unwrap().secret.reveal();
        identities.set_grants(&me(), alice(), Grants::of(Namespace::default(), Role::Admin)).await.unwrap();
        let caller = identities.session(&secret).await.unwrap().unwrap();
        assert_eq!(caller.principal.grants.role(&Namespace::default()), Some(Role::Admin));
        assert_eq!(caller.principal.scopes, Scopes::all());
        identities.set_password(&me(), alice(), "battery staple").await.unwrap();
        assert!(identities.session(&secret).await.unwrap().is_none());
        assert!(identities.log_in("alice", PASSWORD).await.unwrap().is_none());
        let secret = identities.log_in("alice", "battery staple").await.unwrap().unwrap().secret.reveal();
        identities.set_disabled(&me(), alice(), true).await.unwrap();
        assert!(identities.session(&secret).await.unwrap().is_none());
        assert!(identities.log_in("alice", "battery staple").await.unwrap().is_none());
    });
}

/// S27.
#[test]
fn jobs_belong_to_whoever_they_are_stored_on_behalf_of_and_leave_an_entry() {
    world(async |world| {
        let identities = world.client.identities();
        let made = token(&identities, "ci", None).await;
        let caller = identities.authenticate(&made.secret.reveal()).await.unwrap().unwrap().principal;
        let behalf = |who: &Principal| {
            Behalf::of(who, world.sim.env().now(), "jobs.enqueue", "report").from("10.0.0.1")
        };
        let client = world.client.on_behalf_of(behalf(&caller));
        let id = client.enqueue(Job::new("report").owner("somebody else")).await.unwrap().id;
        let many = client.enqueue_many((0..3).map(|_| Job::new("report"))).await.unwrap();
        let owner = async |id| world.client.job(id).await.unwrap().unwrap().view.owner;
        for id in [id, many[2].id] {
            assert_eq!(owner(id).await, Some(caller.owner()));
        }
        let local = world.client.on_behalf_of(behalf(&me()));
        let id = local.enqueue(Job::new("report").owner("somebody else")).await.unwrap().id;
        assert_eq!(owner(id).await, Some(Owner::new("somebody else").unwrap()));
        let page = world.client.audit().page(AuditFilter::default(), None, 10).await.unwrap();
        let told: Vec<_> = page.entries.iter().map(|view| view.entry.who.as_str()).collect();
        assert_eq!(told, ["me", "token:ci@default", "token:ci@default"]);
        let whole = world.client.audit().verify(None).await.unwrap().unwrap();
        assert_eq!(whole.head.position, 3);
    });
}

#[test]
fn the_end_of_a_job_is_consumed_by_its_owner_alone() {
    world(async |world| {
        let client = world.client;
        let id = client.enqueue(Job::new("report").owner("alice")).await.unwrap().id;
        let [ours, theirs] = ["alice", "bob"].map(|name| Owner::new(name).unwrap());
        let read = async |reader: &Owner| {
            let job = client.job(id).await.unwrap().unwrap();
            client.consumed(job, reader).await.unwrap().view.consumed_at
        };
        assert_eq!(read(&ours).await, None, "it is not over");
        client.cancel(id, Actor::new("x").unwrap(), None).await.unwrap();
        assert_eq!(read(&theirs).await, None);
        let at = read(&ours).await;
        assert_eq!(at, Some(world.sim.env().now()));
        world.sim.advance(seconds(60)).await;
        assert_eq!(read(&ours).await, at, "the first time counts");
    });
}
