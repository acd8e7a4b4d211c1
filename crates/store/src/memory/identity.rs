//! Principals.

use std::collections::BTreeMap;

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::token::SecretHash;
use taskwright_core::{CancelPolicy, Namespace, Timestamp, TokenId, TokenName, UserName};

use super::MemoryStore;
use crate::Reply;
use crate::identity::{
    IdentityStore, Kept, NewSession, NewToken, NewUser, Rank, SessionView, StoredSession, StoredToken,
    StoredUser, UserWrite, gives_up,
};
use crate::subject::Subject;

/// All principals.
#[derive(Debug, Default)]
pub(super) struct Identities {
    tokens: BTreeMap<TokenId, StoredToken>,
    users: BTreeMap<UserName, StoredUser>,
    sessions: BTreeMap<SecretHash, Session>,
    policies: BTreeMap<Namespace, CancelPolicy>,
}

#[derive(Debug)]
struct Session {
    user: UserName,
    created_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
}

impl IdentityStore for MemoryStore {
    fn has_principals(&self) -> Reply<'_, bool> {
        self.ask(|world| Ok(world.identities.are_some()))
    }

    fn bootstrap(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        let about = self.about(|| Subject::Token(token.id));
        self.act_about(about, |world| {
            Ok(!world.identities.are_some() && world.identities.add_token(now, token))
        })
    }

    fn add_token(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        let about = self.about(|| Subject::Token(token.id));
        self.act_about(about, |world| Ok(world.identities.add_token(now, token)))
    }

    fn token(&self, hash: SecretHash) -> Reply<'_, Option<StoredToken>> {
        self.ask(|world| {
            Ok(world.identities.tokens.values().find(|stored| stored.token.hash == hash).cloned())
        })
    }

    fn token_named(&self, namespace: Option<Namespace>, name: TokenName) -> Reply<'_, Option<StoredToken>> {
        self.ask(move |world| {
            let has_name = |stored: &&StoredToken| {
                let token = &stored.token;
                stored.revoked_at.is_none()
                    && token.name == name
                    && token.rank.namespace() == namespace.as_ref()
            };
            Ok(world.identities.tokens.values().find(has_name).cloned())
        })
    }

    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>> {
        self.ask(|world| {
            let newest = world.identities.tokens.values().rev();
            let rest = newest.filter(|stored| before.is_none_or(|before| stored.token.id < before));
            Ok(rest.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn revoke_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, Kept> {
        let about = self.about(|| Subject::Token(token));
        self.act_about(about, |world| Ok(world.identities.revoke_token(now, token)))
    }

    fn touch_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, ()> {
        self.without_behalf().act(|world| {
            if let Some(stored) = world.identities.tokens.get_mut(&token) {
                stored.used_at = stored.used_at.max(Some(now));
            }
            Ok(())
        })
    }

    fn add_user(&self, now: Timestamp, user: NewUser) -> Reply<'_, bool> {
        let about = self.about(|| Subject::User(user.name.clone()));
        self.act_about(about, |world| {
            let users = &mut world.identities.users;
            if users.contains_key(&user.name) {
                return Ok(false);
            }
            let name = user.name.clone();
            users.insert(name, StoredUser { user, created_at: now, changed_at: now, disabled: false });
            Ok(true)
        })
    }

    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>> {
        self.ask(|world| Ok(world.identities.user(&name).cloned()))
    }

    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>> {
        self.ask(|world| {
            let users = world.identities.users.values();
            let rest = users.filter(|stored| after.as_ref().is_none_or(|after| stored.user.name > *after));
            Ok(rest.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn write_user(&self, now: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept> {
        let about = self.about(|| Subject::User(name.clone()));
        self.act_about(about, |world| Ok(world.identities.write_user(now, &name, write)))
    }

    fn remove_user(&self, now: Timestamp, name: UserName) -> Reply<'_, Kept> {
        let about = self.about(|| Subject::User(name.clone()));
        self.act_about(about, |world| Ok(world.identities.remove_user(now, &name)))
    }

    fn open_session(&self, now: Timestamp, session: NewSession) -> Reply<'_, bool> {
        self.act(|world| {
            let Identities { users, sessions, .. } = &mut world.identities;
            let is_same = |stored: &StoredUser| !stored.disabled && stored.user.password == session.password;
            if !users.get(&session.user).is_some_and(is_same) {
                return Ok(false);
            }
            sessions.retain(|_, session| session.expires_at > now);
            let NewSession { hash, user, expires_at, .. } = session;
            sessions.insert(hash, Session { user, created_at: now, seen_at: now, expires_at });
            Ok(true)
        })
    }

    fn session(&self, hash: SecretHash) -> Reply<'_, Option<StoredSession>> {
        self.ask(|world| {
            let Some(session) = world.identities.sessions.get(&hash) else { return Ok(None) };
            let user = world.identities.users.get(&session.user).cloned();
            let Session { created_at, seen_at, expires_at, .. } = *session;
            Ok(user.map(|user| StoredSession { user, created_at, seen_at, expires_at }))
        })
    }

    fn sessions(&self, user: UserName) -> Reply<'_, Vec<SessionView>> {
        self.ask(|world| {
            let sessions = world.identities.sessions.iter().filter(|(_, session)| session.user == user);
            let mut views: Vec<SessionView> = sessions
                .map(|(hash, session)| SessionView {
                    hash: *hash,
                    created_at: session.created_at,
                    seen_at: session.seen_at,
                    expires_at: session.expires_at,
                })
                .collect();
            views.sort_by_key(|view| (std::cmp::Reverse(view.created_at), *view.hash.as_bytes()));
            Ok(views)
        })
    }

    fn touch_session(&self, now: Timestamp, hash: SecretHash) -> Reply<'_, ()> {
        self.without_behalf().act(|world| {
            if let Some(session) = world.identities.sessions.get_mut(&hash) {
                session.seen_at = session.seen_at.max(now);
            }
            Ok(())
        })
    }

    fn end_session(&self, hash: SecretHash) -> Reply<'_, bool> {
        self.act(|world| Ok(world.identities.sessions.remove(&hash).is_some()))
    }

    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy> {
        self.ask(|world| Ok(world.identities.policy(&namespace)))
    }

    fn set_cancel_policy(&self, _: Timestamp, namespace: Namespace, policy: CancelPolicy) -> Reply<'_, bool> {
        let about = self.about(|| Subject::Policy(namespace.clone()));
        self.act_about(about, |world| {
            let before = world.identities.policies.insert(namespace, policy).unwrap_or_default();
            Ok(before != policy)
        })
    }
}

impl Identities {
    pub(super) fn token(&self, id: TokenId) -> Option<&StoredToken> {
        self.tokens.get(&id)
    }

    pub(super) fn user(&self, name: &UserName) -> Option<&StoredUser> {
        self.users.get(name)
    }

    pub(super) fn policy(&self, namespace: &Namespace) -> CancelPolicy {
        self.policies.get(namespace).copied().unwrap_or_default()
    }

    fn are_some(&self) -> bool {
        !self.tokens.is_empty() || !self.users.is_empty()
    }

    fn add_token(&mut self, now: Timestamp, token: NewToken) -> bool {
        let is_taken = |stored: &StoredToken| {
            stored.revoked_at.is_none()
                && stored.token.name == token.name
                && stored.token.rank.namespace() == token.rank.namespace()
        };
        if self.tokens.contains_key(&token.id) || self.tokens.values().any(is_taken) {
            return false;
        }
        let stored = StoredToken { token, created_at: now, used_at: None, revoked_at: None };
        self.tokens.insert(stored.token.id, stored);
        true
    }

    /// Active superusers.
    fn superusers(&self, now: Timestamp) -> usize {
        let tokens = self.tokens.values();
        let tokens = tokens.filter(|stored| stored.token.rank == Rank::Superuser && stored.is_good(now));
        let users = self.users.values().filter(|stored| stored.user.grants.superuser && !stored.disabled);
        tokens.count() + users.count()
    }

    fn revoke_token(&mut self, now: Timestamp, token: TokenId) -> Kept {
        let superusers = self.superusers(now);
        let Some(stored) = self.tokens.get_mut(&token) else { return Kept::Unknown };
        if stored.revoked_at.is_some() {
            return Kept::Already;
        }
        if stored.token.rank == Rank::Superuser && stored.is_good(now) && superusers == 1 {
            return Kept::LastSuperuser;
        }
        stored.revoked_at = Some(now);
        Kept::Done
    }

    fn write_user(&mut self, now: Timestamp, name: &UserName, write: UserWrite) -> Kept {
        let superusers = self.superusers(now);
        let Some(stored) = self.users.get_mut(name) else { return Kept::Unknown };
        if superusers == 1 && gives_up(stored, &write) {
            return Kept::LastSuperuser;
        }
        if write.ends_sessions() {
            self.sessions.retain(|_, session| session.user != *name);
        }
        write.apply(stored, now);
        Kept::Done
    }

    fn remove_user(&mut self, now: Timestamp, name: &UserName) -> Kept {
        let superusers = self.superusers(now);
        let Some(stored) = self.users.get(name) else { return Kept::Unknown };
        let disable = UserWrite { disabled: Some(true), ..UserWrite::default() };
        if superusers == 1 && gives_up(stored, &disable) {
            return Kept::LastSuperuser;
        }
        self.users.remove(name);
        self.sessions.retain(|_, session| session.user != *name);
        Kept::Done
    }
}
