//! `/api/v1/tokens`: make tokens, list and revoke them. A secret is told once, by the answer to whoever had it made.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::identity::TokenRequest;
use taskwright_core::permission::may_grant;
use taskwright_core::time::parse_duration;
use taskwright_core::{Namespace, Permission as P, Role, Scopes, TokenId, TokenName};
use taskwright_store::{Kept, Rank, StoredToken};

use super::page_size;
use crate::answer::principal::{Changed, TokenListed, TokenMade};
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Items, Json};

/// Tokens that are read from the store at once.
const PAGE: usize = 500;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let manage = Access::Needs(P::TokensManage);
    vec![
        Operation::new(
            "tokens.list",
            Method::GET,
            "/api/v1/tokens",
            manage,
            "List tokens, the newest first, without their secrets",
            list,
        ),
        Operation::new(
            "tokens.create",
            Method::POST,
            "/api/v1/tokens",
            manage,
            "Make a token with no more rights than one has, and give its secret this once",
            create,
        ),
        Operation::new(
            "tokens.revoke",
            Method::DELETE,
            "/api/v1/tokens/{id}",
            manage,
            "Make a token good for nothing, for ever",
            revoke,
        ),
    ]
}

/// Which tokens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// Also those that were revoked or have expired.
    all: bool,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

async fn list(call: Call<Nothing, Which>) -> Result<Json<Items<TokenListed>>, Problem> {
    let mut before = call.query.cursor.as_deref().map(cursor::read::<TokenId>).transpose()?;
    let (limit, now) = (page_size(call.query.limit)?, call.now());
    let is_wanted =
        |stored: &StoredToken| (call.query.all || stored.is_good(now)) && is_ours(stored, call.namespace());
    let mut found = Vec::with_capacity(limit.min(PAGE));
    loop {
        let page = call.api.identities().tokens(before, PAGE).await?;
        before = page.last().map(|stored| stored.token.id);
        let is_end = page.len() < PAGE;
        // One more than wanted tells whether there are more, without a word about those of others.
        found.extend(page.into_iter().filter(is_wanted).take(limit + 1 - found.len()));
        if is_end || found.len() > limit {
            break;
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| cursor::write(&last.token.id));
    Ok(Json(Items { items: found.iter().map(|stored| TokenListed::of(stored, now)).collect(), next }))
}

/// Whether a token is of the namespace that is looked at; those of superusers are of none.
fn is_ours(stored: &StoredToken, namespace: Option<&Namespace>) -> bool {
    namespace.is_none_or(|ours| stored.token.rank.namespace() == Some(ours))
}

/// A token that is to be made.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewToken")]
pub(crate) struct NewToken {
    /// Its name: unique in its namespace among those that are not revoked.
    pub(crate) name: TokenName,
    /// What it is in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// Everything everywhere, instead of a role.
    #[serde(default)]
    pub(crate) superuser: bool,
    /// Only for these permissions, like `jobs.view`, or all of a noun, like `queues.*`; all unless it is said.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// For how long it is good, like `90d`; for ever unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
}

async fn create(call: Call<Nothing, Nothing, NewToken>) -> Result<Created<TokenMade>, Problem> {
    let (call, new) = call.split();
    let rank = match (new.role, new.superuser) {
        (Some(role), false) => Rank::In(call.namespace_or_default(), role),
        (None, true) => Rank::Superuser,
        _ => {
            let why = "it has to be one of both: a role in the namespace, or superuser";
            return Err(Problem::invalid(
                "the token",
                why,
                "write \"role\": \"member\", or \"superuser\": true",
            ));
        }
    };
    let scopes = Scopes::parse(new.scopes.iter().map(String::as_str))?;
    let by = call.caller.principal().clone();
    if !may_grant(&by, &rank.grants(), &scopes) {
        return Err(Problem::new(
            Sort::Forbidden,
            "the token",
            "it would have more rights than you",
            "ask for a role and scopes that you have yourself, or have somebody make it who has them",
        ));
    }
    let good_for = new.expires.as_deref().map(parse_duration).transpose()?;
    outlives_nobody(&call, "the token", good_for)?;
    let acting = call.acting(rank.namespace(), &new.name);
    let request = TokenRequest { scopes, good_for, ..TokenRequest::new(new.name.clone(), rank) };
    match acting.identities().create_token(&by, request).await? {
        Some(made) => Ok(Created(TokenMade::of(made, call.now()))),
        None => Err(Problem::new(
            Sort::Conflict,
            format!("the token {}", new.name),
            "there is one of this name already",
            "choose another name, or revoke that one",
        )),
    }
}

/// Refuses what would be good for longer than the token with which it is made: who has that one for a time could keep a way in.
pub(super) fn outlives_nobody<R, Q, B>(
    call: &Call<R, Q, B>,
    what: &str,
    good_for: Option<Duration>,
) -> Result<(), Problem> {
    let Some(until) = call.caller.expires_at().filter(|_| call.caller.token().is_some()) else {
        return Ok(());
    };
    if good_for.is_some_and(|span| call.now().plus(span) <= until) {
        return Ok(());
    }
    Err(Problem::new(
        Sort::Forbidden,
        what,
        format!("it would be good for longer than your token, which expires at {until}"),
        "have somebody do it whose token does not expire; of a token say for how long, like \"expires\": \"1h\"",
    ))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The token.
    id: TokenId,
}

async fn revoke(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let stored = find(&call).await?.ok_or_else(|| call.unknown("token"))?;
    let (namespace, name) = (stored.token.rank.namespace(), &stored.token.name);
    let kept = call.acting(namespace, name).identities().revoke_token(call.path.id).await?;
    changed(kept, || call.unknown("token"))
}

/// The token, if the caller may manage it: of superusers only superusers may.
async fn find(call: &Call<Named>) -> Result<Option<StoredToken>, Problem> {
    let mut before = None;
    loop {
        let page = call.api.identities().tokens(before, PAGE).await?;
        before = page.last().map(|stored| stored.token.id);
        let is_end = page.len() < PAGE;
        let mut these = page.into_iter();
        if let Some(found) = these.find(|stored| stored.token.id == call.path.id) {
            return Ok(Some(found).filter(|stored| is_ours(stored, call.namespace())));
        }
        if is_end {
            return Ok(None);
        }
    }
}

/// What is told of a change of a principal.
pub(super) fn changed(kept: Kept, unknown: impl FnOnce() -> Problem) -> Result<Json<Changed>, Problem> {
    match kept {
        Kept::Done => Ok(Json(Changed { changed: true })),
        Kept::Already => Ok(Json(Changed { changed: false })),
        Kept::Unknown => Err(unknown()),
        Kept::LastSuperuser => Err(Problem::new(
            Sort::Conflict,
            "the request",
            "nobody would be superuser any more",
            "make another superuser first; on the host: taskwright tokens create NAME --superuser",
        )),
    }
}
