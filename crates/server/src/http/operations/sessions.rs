//! `/api/v1/sessions`: log in with a password, for a browser; and who it is that asks.
//!
//! The secret of a session goes into a cookie that no script can read, and into nothing else.

use http::{HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::identity::SESSION_AGE_MAX;
use taskwright_core::audit::Behalf;
use taskwright_core::token::Secret;
use taskwright_core::{Actor, Principal, PrincipalKind, UserName};

use super::tokens::changed;
use super::users::NewPassword;
use crate::answer::principal::{Changed, SessionListed, WhoAmI};
use crate::http::authenticate::{Credential, SESSION_COOKIE};
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Items, Json, WithCookie};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "sessions.login",
            Method::POST,
            "/api/v1/sessions",
            Access::Anyone,
            "Log in with a password: the answer sets the cookie of a new session",
            log_in,
        )
        .body_bytes_max(LOGIN_BYTES_MAX),
        Operation::new(
            "sessions.list",
            Method::GET,
            "/api/v1/sessions",
            Access::Known,
            "List one's own sessions, the newest first",
            list,
        ),
        Operation::new(
            "sessions.logout",
            Method::DELETE,
            "/api/v1/sessions",
            Access::Known,
            "Log out: end the session that asks",
            log_out,
        ),
        Operation::new(
            "whoami",
            Method::GET,
            "/api/v1/whoami",
            Access::Known,
            "Tell who one is, and what one may do",
            who_am_i,
        ),
        Operation::new(
            "whoami.password",
            Method::POST,
            "/api/v1/whoami/password",
            Access::Known,
            "Give oneself another password, which ends all one's sessions",
            change_password,
        ),
    ]
}

/// Who logs in.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Login")]
struct Login {
    /// The name.
    name: String,
    /// The password.
    password: String,
}

/// Bytes of a body that logs in: whoever sends it is nobody yet.
const LOGIN_BYTES_MAX: usize = 8 << 10;
/// Bytes of a name that is looked at: more than a name can have.
const NAME_BYTES_MAX: usize = 256;

async fn log_in(call: Call<Nothing, Nothing, Login>) -> Result<WithCookie<WhoAmI>, Problem> {
    let (call, Login { mut name, password }) = call.split();
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    let attempt = call.api.paces.begin(call.from(), &name, call.api.env.monotonic_us())?;
    let opened = call.api.identities().log_in(&name, &password).await?;
    let Some(opened) = opened else {
        note(&call, &name, "refused").await?;
        let fix = "check both; whoever has lost a password asks an operator for `taskwright users password`";
        return Err(Problem::new(
            Sort::Unauthenticated,
            "the login",
            "there is no user with this name and password who may log in",
            fix,
        ));
    };
    attempt.forgive();
    note(&call, &name, "logged in").await?;
    let who = WhoAmI::of(&opened.principal, Some(opened.expires_at));
    Ok(WithCookie { body: who, cookie: cookie(&opened.secret.reveal(), SESSION_AGE_MAX.as_secs()) })
}

/// The cookie of a session, for so many seconds: for this host alone, over TLS or from this machine, unread by scripts, and sent by
/// no other site.
fn cookie(secret: &str, seconds: u64) -> HeaderValue {
    let text =
        format!("{SESSION_COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict");
    // Hexadecimal digits in ASCII.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Puts a login down in the audit, which changes nothing that a store would tell of by itself.
async fn note<P, Q, B>(call: &Call<P, Q, B>, name: &str, outcome: &str) -> Result<(), Problem> {
    let who = Actor::new(name).unwrap_or_else(|_| Actor::system());
    let behalf = call.behalf(None, name);
    let entry = Behalf { who, kind: PrincipalKind::User, ..behalf }.entry(outcome);
    Ok(call.client().audit().note(entry).await?)
}

/// The secret of the session that asks.
fn session<P, Q, B>(call: &Call<P, Q, B>) -> Option<&str> {
    match Credential::of(&call.headers) {
        Credential::Session(secret) => Some(secret),
        _ => None,
    }
}

/// The user that asks; tokens and the local user have no sessions and no password.
fn user<P, Q, B>(call: &Call<P, Q, B>) -> Result<UserName, Problem> {
    let Principal { kind, name, .. } = call.caller.principal();
    match kind {
        PrincipalKind::User => Ok(UserName::new(name.as_str())?),
        PrincipalKind::Token | PrincipalKind::Local => Err(Problem::new(
            Sort::Conflict,
            "the request",
            "it is about a user that has logged in, and you are none",
            "log in with POST /api/v1/sessions",
        )),
    }
}

async fn list(call: Call) -> Result<Json<Items<SessionListed>>, Problem> {
    if call.caller.principal().kind != PrincipalKind::User {
        return Ok(Items::all(Vec::new()));
    }
    let current = session(&call).and_then(|secret| secret.parse::<Secret>().ok()).map(|secret| secret.hash());
    let sessions = call.api.identities().sessions(user(&call)?).await?;
    Ok(Items::all(sessions.iter().map(|session| SessionListed::of(session, current)).collect()))
}

async fn log_out(call: Call) -> Result<WithCookie<Changed>, Problem> {
    let changed = match session(&call) {
        Some(secret) => call.acting(None, "session").identities().log_out(secret).await?,
        None => false,
    };
    Ok(WithCookie { body: Changed { changed }, cookie: cookie("", 0) })
}

async fn who_am_i(call: Call) -> Result<Json<WhoAmI>, Problem> {
    Ok(Json(WhoAmI::of(call.caller.principal(), call.caller.expires_at())))
}

/// The password that one has, and the one that one wants.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PasswordChange")]
struct OtherPassword {
    /// The one that one has: whoever finds a browser open does not know it.
    current: String,
    /// The new one.
    #[serde(flatten)]
    new: NewPassword,
}

async fn change_password(call: Call<Nothing, Nothing, OtherPassword>) -> Result<Json<Changed>, Problem> {
    let (call, OtherPassword { current, new }) = call.split();
    let name = user(&call)?;
    let attempt = call.api.paces.begin(call.from(), name.as_str(), call.api.env.monotonic_us())?;
    let identities = call.acting(None, &name).identities();
    if call.api.identities().log_in(name.as_str(), &current).await?.is_none() {
        let fix = "write the password that you logged in with";
        return Err(Problem::invalid("the current password", "it is another one", fix));
    }
    attempt.forgive();
    let kept = identities.set_password(call.caller.principal(), name, &new.password).await?;
    changed(kept, || call.unknown("user"))
}
