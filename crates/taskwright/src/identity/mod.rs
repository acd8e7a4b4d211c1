//! Principals: tokens and users, how they prove who they are, and what they are given.
//!
//! Made by [`Client::identities`]. What somebody *may* do is said by [`taskwright_core::permission`]; here is who it is. Nothing here
//! says why somebody was not let in: an unknown token, one that has expired and one that was revoked are answered the same.

mod authority;
mod password;

use std::time::Duration;

use taskwright_core::permission::may_grant;
use taskwright_core::token::{SECRET_BYTES, Secret};
use taskwright_core::{
    Actor, CancelPolicy, Grants, Namespace, Principal, Scopes, Timestamp, TokenId, TokenName, UserName,
};
use taskwright_store::{
    Kept, NewSession, NewToken, NewUser, Rank, SessionView, SharedStore, StoredToken, StoredUser, UserWrite,
};

use crate::client::Client;
use crate::env::Env;
use crate::error::Error;

pub(crate) use self::authority::Authorities;
pub use self::password::HASHES_AT_ONCE_MAX;

/// A session that is not used for so long is over: 12 h.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// A session is over so long after it began, however much it is used: 7 days.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A use of a token or a session is noted at most so often: once a minute.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// What the first token is called.
const FIRST_TOKEN: &str = "bootstrap";

/// What is done with principals. Made by [`Client::identities`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright::core::{Permission, Principal, Role, Scopes};
/// use taskwright::identity::TokenRequest;
/// use taskwright::store::{Rank, memory::MemoryStore};
/// use taskwright::{Actor, Client, Env, Namespace};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let client = Client::new(Arc::new(MemoryStore::new()), Env::system());
/// let me = Principal::local(Actor::new("me")?);
/// let request = TokenRequest::new("ci".parse()?, Rank::In(Namespace::default(), Role::Member));
/// let made = client.identities().create_token(&me, request).await?.expect("the name is free");
/// let caller = client.identities().authenticate(&made.secret.reveal()).await?.expect("it is good");
/// assert_eq!(caller.principal.name.as_str(), "token:ci@default");
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Identities {
    store: SharedStore,
    env: Env,
}

impl Client {
    /// The principals of the store.
    pub fn identities(&self) -> Identities {
        Identities { store: self.store().clone(), env: self.env().clone() }
    }
}

/// A token that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Its name, unique among those of its namespace that are not revoked.
    pub name: TokenName,
    /// What it is to be.
    pub rank: Rank,
    /// To what it is to be held; all by default.
    pub scopes: Scopes,
    /// For how long it is good; for ever by default.
    pub good_for: Option<Duration>,
}

impl TokenRequest {
    /// A token that is good for ever, and for all that its rank allows.
    pub fn new(name: TokenName, rank: Rank) -> Self {
        Self { name, rank, scopes: Scopes::all(), good_for: None }
    }
}

/// A token that was made.
#[derive(Clone, Debug)]
pub struct MadeToken {
    /// Its secret, which is nowhere else.
    pub secret: Secret,
    /// The token, without its secret.
    pub token: NewToken,
}

/// Somebody who has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// With which token; `None` with a session.
    pub token: Option<TokenId>,
    /// From when on that is good for nothing.
    pub expires_at: Option<Timestamp>,
}

/// A session that has begun.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// Its secret, which is nowhere else: what the browser keeps.
    pub secret: Secret,
    /// Whose it is.
    pub principal: Principal,
    /// When it is over however much it is used.
    pub expires_at: Timestamp,
}

impl Identities {
    /// Whether there has ever been a principal. While there is none, whoever reaches a server on loopback is superuser.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn are_some(&self) -> Result<bool, Error> {
        Ok(self.store.has_principals().await?)
    }

    /// Makes the first token, a superuser's, if there is no principal. Of several nodes that do so at once one does it.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn bootstrap(&self) -> Result<Option<MadeToken>, Error> {
        if self.are_some().await? {
            return Ok(None);
        }
        let name = TokenName::new(FIRST_TOKEN)?;
        let made = self.make(TokenRequest::new(name, Rank::Superuser), Actor::system());
        let is_first = self.store.bootstrap(self.env.now(), made.token.clone()).await?;
        Ok(is_first.then_some(made))
    }

    /// Makes a token; `None` when its name is taken in its namespace.
    ///
    /// # Errors
    ///
    /// When it would have more rights than whoever makes it, or the store is out of order.
    pub async fn create_token(
        &self,
        by: &Principal,
        request: TokenRequest,
    ) -> Result<Option<MadeToken>, Error> {
        if !may_grant(by, &request.rank.grants(), &request.scopes) {
            return Err(too_much(format!("the token {}", request.name)));
        }
        let made = self.make(request, by.name.clone());
        let is_new = self.store.add_token(self.env.now(), made.token.clone()).await?;
        Ok(is_new.then_some(made))
    }

    fn make(&self, request: TokenRequest, by: Actor) -> MadeToken {
        let TokenRequest { name, rank, scopes, good_for } = request;
        let secret = self.secret();
        let token = NewToken {
            id: self.env.token_id(),
            hash: secret.hash(),
            hint: secret.hint(),
            name,
            rank,
            scopes,
            created_by: by,
            expires_at: good_for.map(|span| self.env.now().plus(span)),
        };
        MadeToken { secret, token }
    }

    fn secret(&self) -> Secret {
        let mut bytes = [0; SECRET_BYTES];
        self.env.fill(&mut bytes);
        Secret::from_random(bytes)
    }

    /// Tokens, the newest first, before one of them, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn tokens(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>, Error> {
        Ok(self.store.tokens(before, limit).await?)
    }

    /// Revokes a token for ever.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn revoke_token(&self, token: TokenId) -> Result<Kept, Error> {
        Ok(self.store.revoke_token(self.env.now(), token).await?)
    }

    /// Who has this token; `None` when nobody does, or it is good for nothing any more.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Caller>, Error> {
        let Ok(secret) = secret.parse::<Secret>() else { return Ok(None) };
        let now = self.env.now();
        let Some(stored) = self.store.token(secret.hash()).await?.filter(|stored| stored.is_good(now)) else {
            return Ok(None);
        };
        if is_news(stored.used_at, now) {
            self.store.touch_token(now, stored.token.id).await?;
        }
        let (token, expires_at) = (Some(stored.token.id), stored.token.expires_at);
        Ok(Some(Caller { principal: stored.principal(), token, expires_at }))
    }

    /// Adds a user; `false` when there is one of that name.
    ///
    /// # Errors
    ///
    /// When `by` is held to some permissions, when the password is too short or too long, or when the store is out of order.
    pub async fn add_user(
        &self,
        by: &Principal,
        name: UserName,
        password: &str,
        grants: Grants,
    ) -> Result<bool, Error> {
        unheld(by, &name)?;
        taskwright_core::limit::check_password(password)?;
        let password = password::hash(&self.env, password).await?;
        let user = NewUser { name, password, grants, created_by: by.name.clone() };
        Ok(self.store.add_user(self.env.now(), user).await?)
    }

    /// A user.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn user(&self, name: UserName) -> Result<Option<StoredUser>, Error> {
        Ok(self.store.user(name).await?)
    }

    /// Users in the order of their names, after one of them, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn users(&self, after: Option<UserName>, limit: usize) -> Result<Vec<StoredUser>, Error> {
        Ok(self.store.users(after, limit).await?)
    }

    /// Gives a user another password, and ends all its sessions.
    ///
    /// # Errors
    ///
    /// When `by` is held to some permissions, when the password is too short or too long, or when the store is out of order.
    pub async fn set_password(&self, by: &Principal, name: UserName, password: &str) -> Result<Kept, Error> {
        unheld(by, &name)?;
        taskwright_core::limit::check_password(password)?;
        let password = Some(password::hash(&self.env, password).await?);
        self.write_user(name, UserWrite { password, ..UserWrite::default() }).await
    }

    /// Gives a user these rights instead of those that it has. Its sessions go on with them.
    ///
    /// # Errors
    ///
    /// When `by` is held to some permissions, or the store is out of order.
    pub async fn set_grants(&self, by: &Principal, name: UserName, grants: Grants) -> Result<Kept, Error> {
        unheld(by, &name)?;
        self.write_user(name, UserWrite { grants: Some(grants), ..UserWrite::default() }).await
    }

    /// Says whether a user may log in. Once it may not, its sessions are over.
    ///
    /// # Errors
    ///
    /// When `by` is held to some permissions, or the store is out of order.
    pub async fn set_disabled(&self, by: &Principal, name: UserName, disabled: bool) -> Result<Kept, Error> {
        unheld(by, &name)?;
        self.write_user(name, UserWrite { disabled: Some(disabled), ..UserWrite::default() }).await
    }

    async fn write_user(&self, name: UserName, write: UserWrite) -> Result<Kept, Error> {
        Ok(self.store.write_user(self.env.now(), name, write).await?)
    }

    /// Removes a user with its sessions. Its jobs stay.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn remove_user(&self, name: UserName) -> Result<Kept, Error> {
        Ok(self.store.remove_user(self.env.now(), name).await?)
    }

    /// Checks a password, and begins a session; `None` when there is no such user, when the password is another, or when the user may
    /// not log in: one takes as long as the other. Whoever calls sees to it that nobody tries too often.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn log_in(&self, name: &str, password: &str) -> Result<Option<OpenedSession>, Error> {
        let stored = match UserName::new(name) {
            Ok(name) => self.store.user(name).await?,
            Err(_) => None,
        };
        let hash = stored.as_ref().map(|stored| stored.user.password.clone());
        let is_right = password::verify(&self.env, password, hash).await?;
        let Some(stored) = stored.filter(|stored| is_right && !stored.disabled) else { return Ok(None) };
        let stored = self.harden(stored, password).await?;
        let (secret, now) = (self.secret(), self.env.now());
        let expires_at = now.plus(SESSION_AGE_MAX);
        let session = NewSession {
            hash: secret.hash(),
            user: stored.user.name.clone(),
            password: stored.user.password.clone(),
            expires_at,
        };
        let is_open = self.store.open_session(now, session).await?;
        Ok(is_open.then(|| OpenedSession { secret, principal: stored.principal(), expires_at }))
    }

    /// Hashes the password of a user anew, if that was done with less effort than is asked for now.
    async fn harden(&self, mut stored: StoredUser, password: &str) -> Result<StoredUser, Error> {
        let before = &stored.user.password;
        if !password::is_weak(before) {
            return Ok(stored);
        }
        let after = password::hash(&self.env, password).await?;
        let write = UserWrite { rehashed: Some((before.clone(), after.clone())), ..UserWrite::default() };
        if self.store.write_user(self.env.now(), stored.user.name.clone(), write).await? == Kept::Done {
            stored.user.password = after;
        }
        Ok(stored)
    }

    /// Whose session it is, with the rights that it has now; `None` when it is over.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn session(&self, secret: &str) -> Result<Option<Caller>, Error> {
        let Ok(secret) = secret.parse::<Secret>() else { return Ok(None) };
        let now = self.env.now();
        let Some(session) = self.store.session(secret.hash()).await? else { return Ok(None) };
        let over_at = session.expires_at.min(session.seen_at.plus(SESSION_IDLE_MAX));
        if now >= over_at || session.user.disabled {
            return Ok(None);
        }
        if is_news(Some(session.seen_at), now) {
            self.store.touch_session(now, secret.hash()).await?;
        }
        let expires_at = Some(session.expires_at);
        Ok(Some(Caller { principal: session.user.principal(), token: None, expires_at }))
    }

    /// The sessions of a user that are not over, the one that began last first.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn sessions(&self, user: UserName) -> Result<Vec<SessionView>, Error> {
        let now = self.env.now();
        let mut sessions = self.store.sessions(user).await?;
        sessions.retain(|session| now < session.expires_at.min(session.seen_at.plus(SESSION_IDLE_MAX)));
        Ok(sessions)
    }

    /// Ends a session; `false` when it was over.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn log_out(&self, secret: &str) -> Result<bool, Error> {
        let Ok(secret) = secret.parse::<Secret>() else { return Ok(false) };
        Ok(self.store.end_session(secret.hash()).await?)
    }

    /// Who may cancel jobs in a namespace.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn cancel_policy(&self, namespace: Namespace) -> Result<CancelPolicy, Error> {
        Ok(self.store.cancel_policy(namespace).await?)
    }

    /// Says who may cancel jobs in a namespace; `false` when that was so before.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn set_cancel_policy(&self, namespace: Namespace, policy: CancelPolicy) -> Result<bool, Error> {
        Ok(self.store.set_cancel_policy(self.env.now(), namespace, policy).await?)
    }
}

/// Whether a use is to be noted, after one that was.
fn is_news(noted: Option<Timestamp>, now: Timestamp) -> bool {
    noted.is_none_or(|noted| now >= noted.plus(NOTE_EVERY))
}

/// A user has no scopes: whoever makes one, or may log in as one, could do more than a token that is held to some permissions.
fn unheld(by: &Principal, name: &UserName) -> Result<(), Error> {
    if by.scopes.cover(&Scopes::all()) { Ok(()) } else { Err(too_much(format!("the user {name}"))) }
}

fn too_much(what: String) -> Error {
    let refused = taskwright_core::Error::invalid(
        what,
        "it would have more rights than whoever makes it",
        "ask for a role and scopes that you have yourself, or have an admin or a superuser make it",
    );
    refused.into()
}
