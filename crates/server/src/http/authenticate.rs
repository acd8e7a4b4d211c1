//! Who asks, by what a request brings: a token, a session, or nothing.
//!
//! Whatever is brought has to be good: nobody becomes somebody else, or the local user, by a token that is not. Without anything the
//! answer is the same, byte for byte, as with a token that is unknown, has expired or was revoked. As long as there has never been a
//! principal, and only on an address of this machine, whoever brings nothing is the local user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use taskwright::identity::{self, Identities};
use taskwright_core::Actor;

use super::caller::Caller;
use super::looks::Looks;
use super::problem::{Problem, Sort};

/// The cookie that holds a session. A browser takes a name that begins so only over TLS or from this machine, for the whole site
/// and from nobody else.
pub(crate) const SESSION_COOKIE: &str = "__Host-taskwright";
/// How old what is known of somebody whose stream is open may be: who lost a right is cut off within this time and its sweep.
const KNOWN_FOR: Duration = Duration::from_millis(500);
/// Credentials whose holders have streams that are remembered at a time.
const KNOWN_MAX: usize = 10_000;
/// What a proxy adds: somebody else than this machine asks then, whatever the connection looks like.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Says who asks.
pub(crate) trait Authenticate: Send + Sync {
    /// Who asks, by the head of a request.
    ///
    /// # Errors
    ///
    /// When nobody is known by what it says, or the store is out of order.
    fn who<'a>(&'a self, parts: &'a Parts) -> BoxFuture<'a, Result<Caller, Problem>>;
}

/// What a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Credential<'a> {
    /// Nothing.
    Nothing,
    /// A token.
    Token(&'a str),
    /// What the cookie of a session holds.
    Session(&'a str),
    /// Something that is neither, or more than one.
    Nonsense,
}

impl<'a> Credential<'a> {
    /// That of a request. A token goes before a session, so that a program never acts as the person whose browser it is.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut tokens = headers.get_all(AUTHORIZATION).iter();
        match (tokens.next(), tokens.next()) {
            (None, _) => {}
            (Some(one), None) => {
                return one.to_str().ok().and_then(bearer).map_or(Self::Nonsense, Self::Token);
            }
            (Some(_), Some(_)) => return Self::Nonsense,
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut sessions = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == SESSION_COOKIE).then_some(value)
        });
        match (sessions.next(), sessions.next()) {
            (None, _) => Self::Nothing,
            (Some(one), None) => Self::Session(one),
            (Some(_), Some(_)) => Self::Nonsense,
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme in either case (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Nobody is known by what the request says. The same for everybody.
pub(crate) fn unknown() -> Problem {
    Problem::new(
        Sort::Unauthenticated,
        "the request",
        "it brings no token or session that is good",
        "send Authorization: Bearer TOKEN; `taskwright tokens create` makes one where the store is",
    )
    .uniform()
}

/// The principals of a store.
pub(crate) struct Principals {
    identities: Identities,
    /// Who asks without a credential as long as there is no principal; `None` where that is for nobody.
    local: Option<Actor>,
    /// Whether there has been a principal: then there always has.
    are_some: AtomicBool,
    tokens: Looks<Option<identity::Caller>, Problem>,
    sessions: Looks<Option<identity::Caller>, Problem>,
}

impl Principals {
    /// Those that a store has. `local` is for a server that only this machine reaches.
    pub(crate) fn new(identities: Identities, local: Option<Actor>) -> Self {
        let (tokens, sessions) = (Looks::default(), Looks::default());
        Self { identities, local, are_some: AtomicBool::new(false), tokens, sessions }
    }

    async fn find(&self, parts: &Parts) -> Result<Caller, Problem> {
        let found = match Credential::of(&parts.headers) {
            Credential::Nothing => return self.nobody(parts).await,
            Credential::Token(token) => {
                self.tokens.at(token, async || Ok(self.identities.authenticate(token).await?)).await?
            }
            Credential::Session(session) => {
                self.sessions.at(session, async || Ok(self.identities.session(session).await?)).await?
            }
            Credential::Nonsense => None,
        };
        found.map(Caller::from).ok_or_else(unknown)
    }

    async fn nobody(&self, parts: &Parts) -> Result<Caller, Problem> {
        let is_passed_on = || FORWARDED.iter().any(|name| parts.headers.contains_key(*name));
        match &self.local {
            Some(local) if !is_passed_on() && !self.are_some().await? => Ok(Caller::local(local.clone())),
            _ => Err(unknown()),
        }
    }

    /// Asked each time until there is one: whoever makes the first token wants it to hold at once.
    async fn are_some(&self) -> Result<bool, Problem> {
        if self.are_some.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let are_some = self.identities.are_some().await?;
        self.are_some.store(are_some, Ordering::Relaxed);
        Ok(are_some)
    }
}

impl Authenticate for Principals {
    fn who<'a>(&'a self, parts: &'a Parts) -> BoxFuture<'a, Result<Caller, Problem>> {
        Box::pin(self.find(parts))
    }
}

/// The local user, whatever is brought: for a store that one program has to itself.
#[cfg(test)]
pub(crate) struct Local(pub(crate) Actor);

#[cfg(test)]
impl Authenticate for Local {
    fn who<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Result<Caller, Problem>> {
        Box::pin(std::future::ready(Ok(Caller::local(self.0.clone()))))
    }
}

/// What is known of those whose streams are open: a thousand streams of one token are one question now and then.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<[u8; 32], Look>>);

struct Look {
    at_us: u64,
    caller: Option<Caller>,
}

impl Known {
    /// Whether who asked is still the same, with the same rights. A store that is out of order cuts nobody off.
    pub(crate) async fn is_still(
        &self,
        authenticate: &dyn Authenticate,
        parts: &Parts,
        caller: &Caller,
        now_us: u64,
    ) -> bool {
        let key = match Credential::of(&parts.headers) {
            Credential::Token(secret) | Credential::Session(secret) => {
                *blake3::hash(secret.as_bytes()).as_bytes()
            }
            Credential::Nothing | Credential::Nonsense => [0; 32],
        };
        let known_for_us = crate::answer::micros(KNOWN_FOR);
        let recent = {
            let known = self.lock();
            let look = known.get(&key).filter(|look| now_us.saturating_sub(look.at_us) < known_for_us);
            look.map(|look| look.caller.as_ref() == Some(caller))
        };
        if let Some(is_still) = recent {
            return is_still;
        }
        let found = match authenticate.who(parts).await {
            Ok(found) => Some(found),
            Err(problem) if problem.sort() == Sort::Unauthenticated => None,
            Err(_) => return true,
        };
        let is_still = found.as_ref() == Some(caller);
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, look| now_us.saturating_sub(look.at_us) < known_for_us);
        }
        known.insert(key, Look { at_us: now_us, caller: found });
        is_still
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> HeaderMap {
        let parsed = headers.iter().map(|(name, value)| {
            let name: http::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        parsed.fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    #[test]
    fn a_credential_is_read_in_one_way_only() {
        let cookie = ("cookie", "a=b; __Host-taskwright=s; c=d");
        let cases: [(&[(&str, &str)], Credential<'_>); 11] = [
            (&[], Credential::Nothing),
            (&[("authorization", "Bearer t")], Credential::Token("t")),
            (&[("authorization", "bEARER t")], Credential::Token("t")),
            (&[("authorization", "Bearer ")], Credential::Nonsense),
            (&[("authorization", "Basic t")], Credential::Nonsense),
            (&[("authorization", "t")], Credential::Nonsense),
            (&[("authorization", "Bearer t"), ("authorization", "Bearer u")], Credential::Nonsense),
            (&[cookie], Credential::Session("s")),
            (&[cookie, ("authorization", "Bearer t")], Credential::Token("t")),
            // Somebody else's site may have set one beside ours.
            (&[cookie, ("cookie", "__Host-taskwright=u")], Credential::Nonsense),
            (&[("cookie", "taskwright=s; x__Host-taskwright=s")], Credential::Nothing),
        ];
        for (headers, expected) in cases {
            assert_eq!(Credential::of(&of(headers)), expected, "{headers:?}");
        }
    }
}
