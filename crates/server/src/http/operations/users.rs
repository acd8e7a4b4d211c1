//! `/api/v1/users`: people who log in with a password; and who may cancel jobs in a namespace. For superusers.

use std::collections::BTreeMap;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::identity::Identities;
use taskwright_core::{Grants, Namespace, Permission as P, Role, UserName};

use super::page_size;
use super::tokens::changed;
use crate::answer::namespace::Policy;
use crate::answer::principal::{Changed, UserListed};
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let manage = Access::Needs(P::UsersManage);
    vec![
        Operation::new("users.list", M::GET, "/api/v1/users", manage, "List users, by their names", list),
        Operation::new("users.create", M::POST, "/api/v1/users", manage, "Add a user", create),
        Operation::new("users.show", M::GET, "/api/v1/users/{name}", manage, "Show a user", show),
        Operation::new(
            "users.grant",
            M::PUT,
            "/api/v1/users/{name}/grants",
            manage,
            "Give a user these rights instead of those that it has; they hold at once",
            grant,
        ),
        Operation::new(
            "users.password",
            M::POST,
            "/api/v1/users/{name}/password",
            manage,
            "Give a user another password, and end its sessions",
            password,
        ),
        Operation::new(
            "users.disable",
            M::POST,
            "/api/v1/users/{name}/disable",
            manage,
            "Let a user log in no more, and end its sessions",
            disable,
        ),
        Operation::new(
            "users.enable",
            M::POST,
            "/api/v1/users/{name}/enable",
            manage,
            "Let a user log in again",
            enable,
        ),
        Operation::new(
            "users.remove",
            M::DELETE,
            "/api/v1/users/{name}",
            manage,
            "Remove a user with its sessions; its jobs stay",
            remove,
        ),
        Operation::new(
            "namespaces.cancel-policy",
            M::GET,
            "/api/v1/namespaces/{namespace}/cancel-policy",
            Access::Needs(P::NamespacesView),
            "Tell who may cancel jobs in a namespace",
            policy,
        ),
        Operation::new(
            "namespaces.set-cancel-policy",
            M::PUT,
            "/api/v1/namespaces/{namespace}/cancel-policy",
            Access::Needs(P::NamespacesChange),
            "Say who may cancel jobs in a namespace",
            set_policy,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The user.
    name: UserName,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Part {
    /// How many at most: 1 to 1,000, 100 unless it is said.
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

async fn list(call: Call<Nothing, Part>) -> Result<Json<Items<UserListed>>, Problem> {
    let after = call.query.cursor.as_deref().map(cursor::read::<UserName>).transpose()?;
    let limit = page_size(call.query.limit)?;
    let page = call.api.identities().users(after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|last| cursor::write(&last.user.name));
    Ok(Json(Items { items: page.iter().map(UserListed::of).collect(), next }))
}

async fn show(call: Call<Named>) -> Result<Json<UserListed>, Problem> {
    let found = call.api.identities().user(call.path.name.clone()).await?;
    found.map(|stored| Json(UserListed::of(&stored))).ok_or_else(|| call.unknown("user"))
}

/// A user that is to be added.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewUser")]
pub(crate) struct NewUser {
    /// Its name.
    pub(crate) name: UserName,
    /// Its password: at least 10 characters.
    pub(crate) password: String,
    /// Everything everywhere.
    #[serde(default)]
    pub(crate) superuser: bool,
    /// What it is in which namespace.
    #[serde(default)]
    pub(crate) roles: BTreeMap<Namespace, Role>,
}

async fn create(call: Call<Nothing, Nothing, NewUser>) -> Result<Created<UserListed>, Problem> {
    super::tokens::outlives_nobody(&call, "the user", None)?;
    let (call, NewUser { name, password, superuser, roles }) = call.split();
    let grants = Grants { superuser, roles };
    let by = call.caller.principal().clone();
    let identities = call.acting(None, &name).identities();
    if !identities.add_user(&by, name.clone(), &password, grants).await? {
        return Err(Problem::new(
            Sort::Conflict,
            format!("the user {name}"),
            "there is one of this name already",
            "choose another name, or change that one",
        ));
    }
    let stored = identities.user(name).await?.ok_or_else(|| call.unknown("user"))?;
    Ok(Created(UserListed::of(&stored)))
}

/// The principals, to change the one that is named.
fn changing<Q, B>(call: &Call<Named, Q, B>) -> Identities {
    call.acting(None, &call.path.name).identities()
}

/// What a user may do.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserGrants")]
pub(crate) struct NewGrants {
    /// Everything everywhere.
    #[serde(default)]
    pub(crate) superuser: bool,
    /// What it is in which namespace.
    #[serde(default)]
    pub(crate) roles: BTreeMap<Namespace, Role>,
}

async fn grant(call: Call<Named, Nothing, NewGrants>) -> Result<Json<Changed>, Problem> {
    super::tokens::outlives_nobody(&call, "the user", None)?;
    let (call, NewGrants { superuser, roles }) = call.split();
    let kept = changing(&call)
        .set_grants(call.caller.principal(), call.path.name.clone(), Grants { superuser, roles })
        .await?;
    changed(kept, || call.unknown("user"))
}

/// A password.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewPassword")]
pub(crate) struct NewPassword {
    /// At least 10 characters.
    pub(crate) password: String,
}

async fn password(call: Call<Named, Nothing, NewPassword>) -> Result<Json<Changed>, Problem> {
    super::tokens::outlives_nobody(&call, "the user", None)?;
    let (call, NewPassword { password }) = call.split();
    let kept =
        changing(&call).set_password(call.caller.principal(), call.path.name.clone(), &password).await?;
    changed(kept, || call.unknown("user"))
}

async fn disable(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let kept = changing(&call).set_disabled(call.caller.principal(), call.path.name.clone(), true).await?;
    changed(kept, || call.unknown("user"))
}

async fn enable(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    super::tokens::outlives_nobody(&call, "the user", None)?;
    let kept = changing(&call).set_disabled(call.caller.principal(), call.path.name.clone(), false).await?;
    changed(kept, || call.unknown("user"))
}

async fn remove(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let kept = changing(&call).remove_user(call.path.name.clone()).await?;
    changed(kept, || call.unknown("user"))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Place {
    /// The namespace.
    namespace: Namespace,
}

async fn policy(call: Call<Place>) -> Result<Json<Policy>, Problem> {
    if call.caller.principal().grants.role(&call.path.namespace).is_none() {
        return Err(Problem::forbidden(P::NamespacesView.as_str()));
    }
    Ok(Json(Policy { policy: call.store().cancel_policy(call.path.namespace.clone()).await? }))
}

async fn set_policy(call: Call<Place, Nothing, Policy>) -> Result<Json<Changed>, Problem> {
    let (namespace, policy) = (call.path.namespace.clone(), call.body.policy);
    let identities = call.acting(Some(&namespace), policy).identities();
    Ok(Json(Changed { changed: identities.set_cancel_policy(namespace, policy).await? }))
}
