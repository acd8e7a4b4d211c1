//! Principals as a store keeps them: tokens, users, the sessions of users, and who may cancel in which namespace.
//!
//! Of a secret only its hash is here, of a password only what argon2id made of it. What somebody may do is no question for a store:
//! [`taskwright_core::permission`] answers it.

use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, Authority, CancelPolicy, Grants, Namespace, Principal, PrincipalKind, Role, Scopes, Timestamp,
    TokenId, TokenName, UserName,
};

use crate::Reply;

/// What a store does for principals. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait IdentityStore: Send + Sync + 'static {
    /// Whether there has ever been a principal.
    fn has_principals(&self) -> Reply<'_, bool>;

    /// Stores the first token; `false`, and nothing is done, when there is a principal already. Of several who do so at once one
    /// does it.
    fn bootstrap(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool>;

    /// Stores a token; `false`, and nothing is done, when one of that name that is not revoked is in the same namespace, or one
    /// with that id is there.
    fn add_token(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool>;

    /// The token with that secret, whatever became of it: one lookup by index.
    fn token(&self, hash: SecretHash) -> Reply<'_, Option<StoredToken>>;

    /// The token that has this name now: the one that is not revoked. One that has expired may still have it.
    fn token_named(&self, namespace: Option<Namespace>, name: TokenName) -> Reply<'_, Option<StoredToken>>;

    /// Tokens, the newest first, before one of them, at most `limit`.
    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>>;

    /// Revokes a token for ever. The last superuser is left alone.
    fn revoke_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, Kept>;

    /// Notes that a token was used.
    fn touch_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, ()>;

    /// Stores a user; `false`, and nothing is done, when there is one of that name.
    fn add_user(&self, now: Timestamp, user: NewUser) -> Reply<'_, bool>;

    /// A user.
    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>>;

    /// Users in the order of their names, after one of them, at most `limit`.
    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>>;

    /// Changes a user. With a new password, and when it is disabled, all its sessions end. The last superuser stays one.
    fn write_user(&self, now: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept>;

    /// Removes a user with its sessions. The last superuser is left alone.
    fn remove_user(&self, now: Timestamp, name: UserName) -> Reply<'_, Kept>;

    /// Begins a session of a user; `false`, and nothing is done, when there is no such user, when it is disabled, or when its password
    /// is another by now than the one that was checked. Sessions that are over are removed with it.
    fn open_session(&self, now: Timestamp, session: NewSession) -> Reply<'_, bool>;

    /// A session with its user: one lookup by index. What is over may still be there.
    fn session(&self, hash: SecretHash) -> Reply<'_, Option<StoredSession>>;

    /// The sessions of a user, the one that began last first. What is over may still be there.
    fn sessions(&self, user: UserName) -> Reply<'_, Vec<SessionView>>;

    /// Notes that a session was used.
    fn touch_session(&self, now: Timestamp, hash: SecretHash) -> Reply<'_, ()>;

    /// Ends a session; `false` when there is none.
    fn end_session(&self, hash: SecretHash) -> Reply<'_, bool>;

    /// Who may cancel jobs in a namespace.
    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy>;

    /// Says who may cancel jobs in a namespace; `false` when that was so before.
    fn set_cancel_policy(
        &self,
        now: Timestamp,
        namespace: Namespace,
        policy: CancelPolicy,
    ) -> Reply<'_, bool>;
}

/// What became of a change of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was made.
    Done,
    /// It was so already.
    Already,
    /// There is no such principal.
    Unknown,
    /// Nobody would be superuser any more; nothing was changed.
    LastSuperuser,
}

/// A token that is about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// What its secret is known by.
    pub hash: SecretHash,
    /// The beginning of its secret, to recognise it by.
    pub hint: String,
    /// Its name: unique among those of its namespace that are not revoked.
    pub name: TokenName,
    /// What it is.
    pub rank: Rank,
    /// To what it is held.
    pub scopes: Scopes,
    /// Who made it.
    pub created_by: Actor,
    /// From when on it is good for nothing; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// What a token is: superuser, or something in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Everything everywhere.
    Superuser,
    /// A role in a namespace.
    In(Namespace, Role),
}

impl Rank {
    /// As grants.
    pub fn grants(&self) -> Grants {
        match self {
            Self::Superuser => Grants::superuser(),
            Self::In(namespace, role) => Grants::of(namespace.clone(), *role),
        }
    }

    /// The namespace, if it is one.
    pub fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Superuser => None,
            Self::In(namespace, _) => Some(namespace),
        }
    }

    /// The role, if it is one.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Superuser => None,
            Self::In(_, role) => Some(*role),
        }
    }
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// What it was made with.
    pub token: NewToken,
    /// When that was.
    pub created_at: Timestamp,
    /// When it was used last, up to a minute earlier.
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl StoredToken {
    /// Whether it is good for anything at that moment.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.token.expires_at.is_none_or(|expires| now < expires)
    }

    /// Who acts with it.
    pub fn principal(&self) -> Principal {
        let NewToken { name, rank, scopes, .. } = &self.token;
        let (name, namespace) = (name.clone(), rank.namespace().cloned());
        Principal {
            name: Authority::Token { name, namespace }.actor(),
            kind: PrincipalKind::Token,
            grants: rank.grants(),
            scopes: scopes.clone(),
        }
    }
}

/// A user that is about to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Its name.
    pub name: UserName,
    /// What argon2id made of its password, with all that is needed to check one.
    pub password: String,
    /// What it was given.
    pub grants: Grants,
    /// Who made it.
    pub created_by: Actor,
}

/// A hash of a password does not belong into a log.
impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, grants, created_by, .. } = self;
        write!(f, "NewUser({name}, {grants:?}, by {created_by})")
    }
}

/// A user as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// What it is now.
    pub user: NewUser,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// Whether it may not log in.
    pub disabled: bool,
}

impl StoredUser {
    /// Who acts.
    pub fn principal(&self) -> Principal {
        Principal {
            name: Authority::User(self.user.name.clone()).actor(),
            kind: PrincipalKind::User,
            grants: self.user.grants.clone(),
            scopes: Scopes::all(),
        }
    }
}

/// What is changed about a user; `None` leaves it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserWrite {
    /// What argon2id made of the new password. Sessions end.
    pub password: Option<String>,
    /// The same password, hashed anew: written only if it is this one still. Sessions go on.
    pub rehashed: Option<(String, String)>,
    /// What it is given instead.
    pub grants: Option<Grants>,
    /// Whether it may not log in.
    pub disabled: Option<bool>,
}

impl UserWrite {
    /// Whether sessions end with it.
    pub(crate) fn ends_sessions(&self) -> bool {
        self.password.is_some() || self.disabled == Some(true)
    }

    /// The user as it is then.
    pub(crate) fn apply(self, user: &mut StoredUser, now: Timestamp) {
        if let Some(password) = self.password {
            user.user.password = password;
        }
        if let Some((before, after)) = self.rehashed
            && user.user.password == before
        {
            user.user.password = after;
        }
        if let Some(grants) = self.grants {
            user.user.grants = grants;
        }
        if let Some(disabled) = self.disabled {
            user.disabled = disabled;
        }
        user.changed_at = now;
    }
}

/// A session that is about to begin.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSession {
    /// What its secret is known by.
    pub hash: SecretHash,
    /// Whose it is.
    pub user: UserName,
    /// What the password was checked against.
    pub password: String,
    /// When it is over however much it is used.
    pub expires_at: Timestamp,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Whose it is.
    pub user: StoredUser,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last, up to a minute earlier.
    pub seen_at: Timestamp,
    /// When it is over however much it is used.
    pub expires_at: Timestamp,
}

/// A session as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// What its secret is known by.
    pub hash: SecretHash,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last, up to a minute earlier.
    pub seen_at: Timestamp,
    /// When it is over however much it is used.
    pub expires_at: Timestamp,
}

/// Whether an active superuser is one no more.
pub(crate) fn gives_up(user: &StoredUser, write: &UserWrite) -> bool {
    let is_now = user.user.grants.superuser && !user.disabled;
    let stays = write.grants.as_ref().map_or(user.user.grants.superuser, |grants| grants.superuser)
        && !write.disabled.unwrap_or(user.disabled);
    is_now && !stays
}
