//! Principals: tokens, users, sessions, and who may cancel.

use taskwright_core::token::{Secret, SecretHash};
use taskwright_core::{
    CancelPolicy, Grants, Namespace, Permission, Role, Scopes, TokenId, TokenName, UserName,
};

use super::Harness;
use super::fixture::*;
use crate::{Kept, NewSession, NewToken, NewUser, Rank, StoredToken, StoredUser, UserWrite};

/// The id of token `n`; ids ascend with their numbers.
pub fn token_id(n: u8) -> TokenId {
    TokenId::from_bytes(*id(n.into()).as_bytes())
}

/// The secret of token or session `n`.
pub fn secret(n: u8) -> Secret {
    Secret::from_random([n; 32])
}

fn hash(n: u8) -> SecretHash {
    secret(n).hash()
}

/// Token `n` of a superuser, good for ever.
pub fn token(n: u8) -> NewToken {
    NewToken {
        id: token_id(n),
        hash: hash(n),
        hint: secret(n).hint(),
        name: TokenName::new(&format!("token-{n}")).expect("scenarios name tokens well"),
        rank: Rank::Superuser,
        scopes: Scopes::all(),
        created_by: alice(),
        expires_at: None,
    }
}

pub fn user_name(name: &str) -> UserName {
    UserName::new(name).expect("scenarios name users well")
}

pub fn user(name: &str, grants: Grants) -> NewUser {
    NewUser { name: user_name(name), password: format!("hashed-{name}"), grants, created_by: alice() }
}

async fn add(process: &Process, token: NewToken) -> bool {
    process.store().add_token(at(1), token).await.expect("it is stored")
}

async fn stored(process: &Process, n: u8) -> StoredToken {
    process.store().token(hash(n)).await.expect("it is looked for").expect("the token is stored")
}

async fn add_user(process: &Process, name: &str, grants: Grants) -> bool {
    process.store().add_user(at(1), user(name, grants)).await.expect("it is stored")
}

async fn stored_user(process: &Process, name: &str) -> StoredUser {
    let found = process.store().user(user_name(name)).await;
    found.expect("it is looked for").expect("the user is stored")
}

async fn write(process: &Process, now: u64, name: &str, write: UserWrite) -> Kept {
    process.store().write_user(at(now), user_name(name), write).await.expect("it is answered")
}

async fn open(process: &Process, now: u64, n: u8, user: &str, password: &str, expires: u64) -> bool {
    let new = NewSession {
        hash: hash(n),
        user: user_name(user),
        password: password.to_owned(),
        expires_at: at(expires),
    };
    process.store().open_session(at(now), new).await.expect("it is answered")
}

async fn has_session(process: &Process, n: u8) -> bool {
    process.store().session(hash(n)).await.expect("it is looked for").is_some()
}

async fn revoke(process: &Process, now: u64, n: u8) -> Kept {
    process.store().revoke_token(at(now), token_id(n)).await.expect("it is answered")
}

pub async fn a_token_is_found_by_its_secret_as_it_was_made(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let made = NewToken {
        rank: Rank::In(namespace("a"), Role::Member),
        scopes: Scopes::only([Permission::JobsView, Permission::JobsEnqueue]),
        expires_at: Some(at(100)),
        ..token(1)
    };
    assert!(add(&process, made.clone()).await);
    let found = stored(&process, 1).await;
    assert_eq!((&found.token, found.created_at, found.used_at, found.revoked_at), (&made, at(1), None, None));
    assert_eq!(process.store().token(hash(2)).await.expect("looked for"), None);
    assert_eq!(found.principal().name.as_str(), "token:token-1@a");
    assert_eq!(found.principal().grants, Grants::of(namespace("a"), Role::Member));
    // Narrowed to nothing is not the same as not narrowed.
    assert!(add(&process, NewToken { scopes: Scopes::only([]), ..token(2) }).await);
    assert_eq!(stored(&process, 2).await.token.scopes, Scopes::only([]));
    assert_eq!(stored(&process, 2).await.principal().name.as_str(), "token:token-2");
}

pub async fn a_token_is_good_until_it_expires_or_is_revoked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, token(1)).await;
    add(&process, NewToken { expires_at: Some(at(10)), ..token(2) }).await;
    let good = |stored: StoredToken, now| stored.is_good(at(now));
    assert!(good(stored(&process, 1).await, 1_000_000));
    assert!(good(stored(&process, 2).await, 9) && !good(stored(&process, 2).await, 10));
    add(&process, token(3)).await;
    assert_eq!(revoke(&process, 5, 3).await, Kept::Done);
    assert_eq!(stored(&process, 3).await.revoked_at, Some(at(5)));
    assert!(!good(stored(&process, 3).await, 5));
    assert_eq!(revoke(&process, 6, 3).await, Kept::Already);
    assert_eq!(stored(&process, 3).await.revoked_at, Some(at(5)));
    assert_eq!(revoke(&process, 6, 9).await, Kept::Unknown);
}

pub async fn a_name_is_taken_once_in_its_namespace_until_it_is_revoked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let named = |n, rank: Rank| {
        let name = TokenName::new("ci").expect("a name");
        NewToken { name, rank, ..token(n) }
    };
    let in_a = || Rank::In(namespace("a"), Role::Member);
    assert!(add(&process, named(1, in_a())).await);
    assert!(!add(&process, named(2, in_a())).await, "the name is taken");
    assert!(!add(&process, NewToken { rank: in_a(), ..token(1) }).await, "the id is taken");
    assert!(add(&process, named(3, Rank::In(namespace("b"), Role::Member))).await);
    assert!(add(&process, named(4, Rank::Superuser)).await);
    assert_eq!(process.store().token(hash(2)).await.expect("looked for"), None);
    assert_eq!(revoke(&process, 2, 1).await, Kept::Done);
    assert!(add(&process, named(5, in_a())).await);
}

pub async fn the_token_of_a_name_is_the_one_that_is_not_revoked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let ci = TokenName::new("ci").expect("a name");
    let named = |n, rank: Rank| NewToken { name: ci.clone(), rank, ..token(n) };
    let in_a = || Rank::In(namespace("a"), Role::Member);
    let find = async |namespace: Option<&str>| {
        let namespace = namespace.map(super::fixture::namespace);
        let found = process.store().token_named(namespace, ci.clone()).await.expect("it is looked for");
        found.map(|found| found.token.id)
    };
    add(&process, named(1, in_a())).await;
    add(&process, NewToken { expires_at: Some(at(2)), ..named(2, Rank::Superuser) }).await;
    assert_eq!(find(Some("a")).await, Some(token_id(1)));
    assert_eq!(find(None).await, Some(token_id(2)), "a superuser's is of no namespace, and expired ones are told");
    assert_eq!(find(Some("b")).await, None);

    revoke(&process, 3, 1).await;
    assert_eq!(find(Some("a")).await, None);
    add(&process, named(3, in_a())).await;
    assert_eq!(find(Some("a")).await, Some(token_id(3)), "the one that took its place");
}

pub async fn tokens_are_listed_newest_first_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in 1..=5 {
        add(&process, token(n)).await;
    }
    let page = async |before, limit| {
        let tokens = process.store().tokens(before, limit).await.expect("they are listed");
        tokens.into_iter().map(|stored| stored.token.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, [token_id(5), token_id(4), token_id(3)]);
    assert_eq!(page(Some(token_id(3)), 3).await, [token_id(2), token_id(1)]);
    assert_eq!(page(Some(token_id(1)), 3).await, []);
}

pub async fn a_use_is_noted_and_an_earlier_one_is_not(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add(&process, token(1)).await;
    for (now, expected) in [(10, 10), (9, 10), (20, 20)] {
        process.store().touch_token(at(now), token_id(1)).await.expect("it is noted");
        assert_eq!(stored(&process, 1).await.used_at, Some(at(expected)));
    }
    process.store().touch_token(at(30), token_id(7)).await.expect("nothing is noted");
}

pub async fn the_first_token_is_made_once_by_whoever_comes_first(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    assert!(!processes[0].store().has_principals().await.expect("looked for"));
    let [one, other] = [1, 2].map(|n| processes[usize::from(n) - 1].store().bootstrap(at(1), token(n)));
    let (one, other) = tokio::join!(one, other);
    assert_eq!(usize::from(one.expect("answered")) + usize::from(other.expect("answered")), 1);
    assert!(processes[1].store().has_principals().await.expect("looked for"));
    let all = processes[0].store().tokens(None, 10).await.expect("listed");
    assert_eq!(all.len(), 1);
    assert!(!processes[0].store().bootstrap(at(2), token(3)).await.expect("answered"));
}

pub async fn a_store_with_a_user_needs_no_first_token(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add_user(&process, "alice", Grants::superuser()).await;
    assert!(process.store().has_principals().await.expect("looked for"));
    assert!(!process.store().bootstrap(at(1), token(1)).await.expect("answered"));
    assert_eq!(process.store().tokens(None, 10).await.expect("listed"), []);
}

pub async fn a_user_is_found_as_it_was_added_and_changed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let grants = Grants::of(namespace("a"), Role::Viewer);
    assert!(add_user(&process, "alice", grants.clone()).await);
    assert!(!add_user(&process, "alice", Grants::superuser()).await, "the name is taken");
    let found = stored_user(&process, "alice").await;
    assert_eq!(found.user, user("alice", grants));
    assert_eq!((found.created_at, found.changed_at, found.disabled), (at(1), at(1), false));
    assert_eq!(found.principal().name.as_str(), "alice");

    let more = Grants { roles: [(namespace("a"), Role::Admin), (namespace("b"), Role::Viewer)].into(), ..Grants::default() };
    let change = UserWrite { grants: Some(more.clone()), disabled: Some(true), ..UserWrite::default() };
    assert_eq!(write(&process, 5, "alice", change).await, Kept::Done);
    let found = stored_user(&process, "alice").await;
    assert_eq!((found.user.grants, found.disabled), (more, true));
    assert_eq!((found.created_at, found.changed_at), (at(1), at(5)));
    assert_eq!(found.user.password, "hashed-alice");
    assert_eq!(write(&process, 5, "bob", UserWrite::default()).await, Kept::Unknown);
    let remove = process.store().remove_user(at(6), user_name("alice"));
    assert_eq!(remove.await.expect("answered"), Kept::Done);
    assert_eq!(process.store().user(user_name("alice")).await.expect("looked for"), None);
    let again = process.store().remove_user(at(6), user_name("alice"));
    assert_eq!(again.await.expect("answered"), Kept::Unknown);
}

pub async fn users_are_listed_by_name_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for name in ["b", "a", "c", "B"] {
        add_user(&process, name, Grants::default()).await;
    }
    let page = async |after: Option<&str>, limit| {
        let users = process.store().users(after.map(user_name), limit).await.expect("they are listed");
        users.into_iter().map(|stored| stored.user.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, ["B", "a", "b"]);
    assert_eq!(page(Some("b"), 3).await, ["c"]);
}

pub async fn somebody_is_superuser_at_all_times(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let plain = UserWrite { grants: Some(Grants::default()), ..UserWrite::default() };
    let disable = UserWrite { disabled: Some(true), ..UserWrite::default() };
    add(&process, NewToken { expires_at: Some(at(50)), ..token(1) }).await;
    assert_eq!(revoke(&process, 2, 1).await, Kept::LastSuperuser);
    add_user(&process, "alice", Grants::superuser()).await;
    assert_eq!(write(&process, 3, "alice", plain.clone()).await, Kept::Done, "the token is one");
    assert_eq!(revoke(&process, 4, 1).await, Kept::LastSuperuser);
    let back = UserWrite { grants: Some(Grants::superuser()), ..UserWrite::default() };
    assert_eq!(write(&process, 5, "alice", back).await, Kept::Done);
    // Once the token has expired it counts for nothing.
    for write_one in [plain, disable] {
        assert_eq!(write(&process, 50, "alice", write_one).await, Kept::LastSuperuser);
    }
    let remove = process.store().remove_user(at(50), user_name("alice"));
    assert_eq!(remove.await.expect("answered"), Kept::LastSuperuser);
    let found = stored_user(&process, "alice").await;
    assert!(found.user.grants.superuser && !found.disabled);
    assert_eq!(revoke(&process, 51, 1).await, Kept::Done, "it was good for nothing any more");
    let new_password = UserWrite { password: Some("other".to_owned()), ..UserWrite::default() };
    assert_eq!(write(&process, 52, "alice", new_password).await, Kept::Done);
}

pub async fn of_two_last_superusers_one_stays(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    add(&processes[0], token(1)).await;
    add(&processes[0], token(2)).await;
    let (one, other) = tokio::join!(revoke(&processes[0], 2, 1), revoke(&processes[1], 2, 2));
    let mut answers = [one, other];
    answers.sort_by_key(|answer| *answer != Kept::Done);
    assert_eq!(answers, [Kept::Done, Kept::LastSuperuser]);
}

pub async fn a_session_is_found_with_its_user_as_that_is_now(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add_user(&process, "alice", Grants::of(namespace("a"), Role::Viewer)).await;
    assert!(open(&process, 2, 1, "alice", "hashed-alice", 100).await);
    let found = async || process.store().session(hash(1)).await.expect("looked for").expect("it is there");
    let session = found().await;
    assert_eq!((session.created_at, session.seen_at, session.expires_at), (at(2), at(2), at(100)));
    process.store().touch_session(at(7), hash(1)).await.expect("noted");
    process.store().touch_session(at(6), hash(1)).await.expect("noted");
    assert_eq!(found().await.seen_at, at(7));
    let change = UserWrite { grants: Some(Grants::default()), ..UserWrite::default() };
    write(&process, 8, "alice", change).await;
    assert_eq!(found().await.user.user.grants, Grants::default());
    assert!(open(&process, 9, 2, "alice", "hashed-alice", 200).await);
    let alice = UserName::new("alice").expect("a name");
    let own = process.store().sessions(alice.clone()).await.expect("they are listed");
    let shown: Vec<_> = own.iter().map(|one| (one.hash, one.created_at, one.seen_at, one.expires_at)).collect();
    assert_eq!(shown, [(hash(2), at(9), at(9), at(200)), (hash(1), at(2), at(7), at(100))]);
    let nobody = UserName::new("bob").expect("a name");
    assert!(process.store().sessions(nobody).await.expect("they are listed").is_empty());
    assert!(process.store().end_session(hash(1)).await.expect("answered"));
    assert_eq!(process.store().sessions(alice).await.expect("they are listed").len(), 1);
    assert!(!has_session(&process, 1).await);
    assert!(!process.store().end_session(hash(1)).await.expect("answered"));
}

pub async fn sessions_end_with_the_password_and_with_the_user(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for name in ["alice", "bob"] {
        add_user(&process, name, Grants::default()).await;
    }
    let open_both = async |password: &str| {
        assert!(open(&process, 2, 1, "alice", password, 100).await);
        assert!(open(&process, 2, 2, "alice", password, 100).await);
    };
    open_both("hashed-alice").await;
    assert!(open(&process, 2, 3, "bob", "hashed-bob", 100).await);
    let again = UserWrite {
        rehashed: Some(("hashed-alice".to_owned(), "better".to_owned())),
        ..UserWrite::default()
    };
    write(&process, 3, "alice", again.clone()).await;
    assert_eq!(stored_user(&process, "alice").await.user.password, "better");
    assert!(has_session(&process, 1).await, "the password is the same");
    let other = UserWrite { password: Some("other".to_owned()), ..UserWrite::default() };
    write(&process, 4, "alice", other).await;
    assert!(!has_session(&process, 1).await && !has_session(&process, 2).await);
    assert!(!open(&process, 5, 4, "alice", "better", 100).await, "it was checked against the old one");
    write(&process, 5, "alice", again).await;
    assert_eq!(stored_user(&process, "alice").await.user.password, "other", "it is another one by now");
    open_both("other").await;
    write(&process, 6, "alice", UserWrite { disabled: Some(true), ..UserWrite::default() }).await;
    assert!(!has_session(&process, 1).await);
    assert!(!open(&process, 7, 5, "alice", "other", 100).await, "it is disabled");
    write(&process, 8, "alice", UserWrite { disabled: Some(false), ..UserWrite::default() }).await;
    open_both("other").await;
    process.store().remove_user(at(9), user_name("alice")).await.expect("removed");
    assert!(!has_session(&process, 1).await);
    assert!(!open(&process, 9, 6, "alice", "other", 100).await);
    assert!(has_session(&process, 3).await, "that is somebody else's");
}

pub async fn sessions_that_are_over_are_removed_with_a_new_one(harness: &impl Harness) {
    let process = Process::start(harness).await;
    add_user(&process, "alice", Grants::default()).await;
    open(&process, 2, 1, "alice", "hashed-alice", 10).await;
    open(&process, 2, 2, "alice", "hashed-alice", 11).await;
    open(&process, 10, 3, "alice", "hashed-alice", 100).await;
    assert!(!has_session(&process, 1).await && has_session(&process, 2).await);
}

pub async fn who_may_cancel_is_said_for_each_namespace(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let policy = async |name: &str| process.store().cancel_policy(namespace(name)).await.expect("read");
    let set = async |name: Namespace, policy| {
        process.store().set_cancel_policy(at(1), name, policy).await.expect("written")
    };
    assert_eq!(policy("a").await, CancelPolicy::Owner);
    assert!(!set(namespace("a"), CancelPolicy::Owner).await);
    assert!(set(namespace("a"), CancelPolicy::Superuser).await);
    assert!(!set(namespace("a"), CancelPolicy::Superuser).await);
    assert_eq!((policy("a").await, policy("b").await), (CancelPolicy::Superuser, CancelPolicy::Owner));
    assert!(set(namespace("a"), CancelPolicy::Admin).await);
    assert_eq!(policy("a").await, CancelPolicy::Admin);
}
