//! Principals: tokens, users, sessions, and who asks. Never a secret, but where one is made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::identity::MadeToken;
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, Namespace, Principal, PrincipalKind, Role, Scopes, Timestamp, TokenId, TokenName, UserName,
};
use taskwright_store::{NewToken, NewUser, Rank, SessionView, StoredToken, StoredUser};

/// How a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "TokenState")]
pub(crate) enum TokenState {
    /// It is good.
    Good,
    /// Its time is up.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl TokenState {
    /// That of a token, now.
    pub(crate) fn of(stored: &StoredToken, now: Timestamp) -> Self {
        match stored.revoked_at {
            Some(_) => Self::Revoked,
            None if stored.is_good(now) => Self::Good,
            None => Self::Expired,
        }
    }

    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct TokenListed {
    /// Its id.
    pub(crate) id: TokenId,
    /// Its name: unique among those of its namespace that are not revoked.
    pub(crate) name: TokenName,
    /// Where it has its role; `null` of a superuser's.
    pub(crate) namespace: Option<Namespace>,
    /// What it is there; `null` of a superuser's.
    pub(crate) role: Option<Role>,
    /// Whether it may do everything everywhere.
    pub(crate) superuser: bool,
    /// The permissions that it is held to; `null` is no narrowing.
    pub(crate) scopes: Option<Vec<String>>,
    /// How it begins.
    pub(crate) hint: String,
    /// How it is.
    pub(crate) state: TokenState,
    /// Who made it.
    pub(crate) created_by: Actor,
    /// When that was.
    pub(crate) created_at: Timestamp,
    /// From when on it is good for nothing; `null` is never.
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was used last, up to a minute earlier.
    pub(crate) used_at: Option<Timestamp>,
    /// When it was revoked.
    pub(crate) revoked_at: Option<Timestamp>,
}

impl TokenListed {
    /// What is told of a token.
    pub(crate) fn of(stored: &StoredToken, now: Timestamp) -> Self {
        let token = &stored.token;
        Self {
            id: token.id,
            name: token.name.clone(),
            namespace: token.rank.namespace().cloned(),
            role: token.rank.role(),
            superuser: token.rank == Rank::Superuser,
            scopes: names(&token.scopes),
            hint: token.hint.clone(),
            state: TokenState::of(stored, now),
            created_by: token.created_by.clone(),
            created_at: stored.created_at,
            expires_at: token.expires_at,
            used_at: stored.used_at,
            revoked_at: stored.revoked_at,
        }
    }

    /// A token as a store has it, but for what its secret is known by.
    pub(crate) fn into_stored(self) -> StoredToken {
        let rank = match (self.namespace, self.role) {
            (Some(namespace), Some(role)) => Rank::In(namespace, role),
            _ => Rank::Superuser,
        };
        StoredToken {
            token: NewToken {
                id: self.id,
                hash: SecretHash::from_bytes([0; 32]),
                hint: self.hint,
                name: self.name,
                rank,
                scopes: Scopes::from_text(self.scopes.map(|names| names.join(" ")).as_deref()),
                created_by: self.created_by,
                expires_at: self.expires_at,
            },
            created_at: self.created_at,
            used_at: self.used_at,
            revoked_at: self.revoked_at,
        }
    }
}

fn names(scopes: &Scopes) -> Option<Vec<String>> {
    scopes.names().map(|names| names.into_iter().map(str::to_owned).collect())
}

/// A new token: the only time that its secret is told.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TokenMade")]
pub(crate) struct TokenMade {
    /// The secret.
    pub(crate) token: String,
    /// The rest.
    #[serde(flatten)]
    pub(crate) listed: TokenListed,
}

impl TokenMade {
    /// What is told of a token that was made.
    pub(crate) fn of(made: MadeToken, now: Timestamp) -> Self {
        let token = made.secret.reveal();
        let stored = StoredToken { token: made.token, created_at: now, used_at: None, revoked_at: None };
        Self { token, listed: TokenListed::of(&stored, now) }
    }
}

/// A user, without its password.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "User")]
pub(crate) struct UserListed {
    /// Its name.
    pub(crate) name: UserName,
    /// Whether it may do everything everywhere.
    pub(crate) superuser: bool,
    /// What it is in which namespace.
    pub(crate) roles: BTreeMap<Namespace, Role>,
    /// Whether it may not log in.
    pub(crate) disabled: bool,
    /// Who added it.
    pub(crate) created_by: Actor,
    /// When that was.
    pub(crate) created_at: Timestamp,
    /// When it was changed last.
    pub(crate) changed_at: Timestamp,
}

impl UserListed {
    /// What is told of a user.
    pub(crate) fn of(stored: &StoredUser) -> Self {
        let user = &stored.user;
        Self {
            name: user.name.clone(),
            superuser: user.grants.superuser,
            roles: user.grants.roles.clone(),
            disabled: stored.disabled,
            created_by: user.created_by.clone(),
            created_at: stored.created_at,
            changed_at: stored.changed_at,
        }
    }

    /// A user as a store has it, but for its password.
    pub(crate) fn into_stored(self) -> StoredUser {
        let grants = taskwright_core::Grants { superuser: self.superuser, roles: self.roles };
        StoredUser {
            user: NewUser { name: self.name, password: String::new(), grants, created_by: self.created_by },
            created_at: self.created_at,
            changed_at: self.changed_at,
            disabled: self.disabled,
        }
    }
}

/// What became of a principal that was to be changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PrincipalChanged")]
pub(crate) struct Changed {
    /// Whether that changed something.
    pub(crate) changed: bool,
}

/// A session, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionListed {
    /// The beginning of the hash that it is known by.
    pub(crate) id: String,
    /// When it began.
    pub(crate) created_at: Timestamp,
    /// When it was used last, up to a minute earlier.
    pub(crate) seen_at: Timestamp,
    /// When it is over however much it is used.
    pub(crate) expires_at: Timestamp,
    /// Whether it is the one that asks.
    pub(crate) current: bool,
}

impl SessionListed {
    /// What is told of a session; `current` is the one that asks.
    pub(crate) fn of(session: &SessionView, current: Option<SecretHash>) -> Self {
        let hash = session.hash.as_bytes();
        let id = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let SessionView { created_at, seen_at, expires_at, .. } = *session;
        Self { id, created_at, seen_at, expires_at, current: current == Some(session.hash) }
    }
}

/// Who asks, and what they may do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WhoAmI")]
pub(crate) struct WhoAmI {
    /// The name, as it stands in timelines and as the owner of jobs.
    pub(crate) name: Actor,
    /// What sort of principal it is.
    pub(crate) kind: PrincipalKind,
    /// Whether it may do everything everywhere.
    pub(crate) superuser: bool,
    /// What it is in which namespace.
    pub(crate) roles: BTreeMap<Namespace, Role>,
    /// The permissions that it is held to; `null` is no narrowing.
    pub(crate) scopes: Option<Vec<String>>,
    /// From when on the token or the session is good for nothing; `null` is never.
    pub(crate) expires_at: Option<Timestamp>,
}

impl WhoAmI {
    /// What is told of a principal.
    pub(crate) fn of(principal: &Principal, expires_at: Option<Timestamp>) -> Self {
        let Principal { name, kind, grants, scopes } = principal.clone();
        let scopes = names(&scopes);
        Self { name, kind, superuser: grants.superuser, roles: grants.roles, scopes, expires_at }
    }
}
