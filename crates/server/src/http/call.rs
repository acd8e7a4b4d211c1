//! A request that has been read and checked, as its handler is given it: who asks, of what it may be, and what it says.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use bytes::Bytes;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use taskwright::Client;
use taskwright_core::audit::Behalf;
use taskwright_core::permission::{self, Sight};
use taskwright_core::{Actor, CancelPolicy, JobId, Namespace, Owner, Permission, Right, Timestamp};
use taskwright_store::{Filter, JobDetail, JobView, Page, Store, Whose};

use super::body::{BYTES, no_body, read_body, read_bytes};
use super::caller::{Caller, Reach, admit_several};
use super::guard::{Peer, RequestId};
use super::operation::{Access, Asked};
use super::problem::Problem;
use super::state::Api;
use super::turns::Turn;

/// The query parameter that every operation has.
pub(crate) const NAMESPACE: &str = "namespace";

/// Nothing: for operations without path parameters, query or body.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What a handler is given: everything has been read and checked, and the caller may do this in some namespace.
pub(crate) struct Call<P = Nothing, Q = Nothing, B = Nothing> {
    pub(crate) api: Arc<Api>,
    pub(crate) caller: Caller,
    /// What the path says.
    pub(crate) path: P,
    /// What the query says.
    pub(crate) query: Q,
    /// What the body says.
    pub(crate) body: B,
    /// The body, where it is any bytes.
    pub(crate) bytes: Bytes,
    pub(crate) headers: HeaderMap,
    operation: &'static str,
    permission: Option<Permission>,
    reach: Reach,
    from: Option<IpAddr>,
    request: String,
}

impl<P, Q, B> Call<P, Q, B>
where
    P: DeserializeOwned + Send,
    Q: DeserializeOwned,
    B: DeserializeOwned + 'static,
{
    /// Finds out whether who asks may, and what they say; in that order, so that nobody learns from a message what they may not
    /// know.
    pub(crate) async fn of(asked: Asked, access: Access) -> Result<Self, Problem> {
        let Asked {
            api,
            mut parts,
            body,
            body_bytes_max,
            takes_bytes,
            is_stream: _,
            takes_namespaces,
            operation,
            caller,
        } = asked;
        let (namespaces, query) = split_query(parts.uri.query().unwrap_or_default())?;
        if namespaces.len() > 1 && !takes_namespaces {
            let fix = "name one; this is about one namespace, or about all that you may see";
            return Err(Problem::invalid("the query", "it names more than one namespace", fix));
        }
        let reach = admit_several(&caller, access, namespaces)?;
        let permission = access.permission();
        let from = Peer::of(&parts);
        let request = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let Path(path) = Path::<P>::from_request_parts(&mut parts, &()).await.map_err(|error| {
            let why = in_the_path(&error.body_text()).to_owned();
            Problem::invalid("the path", why, "look the path up in the OpenAPI document")
        })?;
        let query = serde_html_form::from_str(&query).map_err(|error| {
            let fix = "look the parameters up in the OpenAPI document";
            Problem::invalid("the query", error.to_string(), fix)
        })?;
        let (body, bytes) = match takes_bytes {
            true => (no_body()?, read_bytes(&api, &parts, body, body_bytes_max, BYTES).await?),
            false => (read_body(&api, &parts, body, body_bytes_max).await?, Bytes::new()),
        };
        let headers = parts.headers;
        Ok(Self {
            api,
            caller,
            path,
            query,
            body,
            bytes,
            headers,
            operation,
            permission,
            reach,
            from,
            request,
        })
    }
}

impl<P, Q, B> Call<P, Q, B> {
    /// Waits until those who ask beside the caller have had their turns.
    pub(crate) fn turn(&self) -> impl Future<Output = Turn> + Send + use<P, Q, B> {
        self.api.turns.of(&self.caller, &self.api.limits(), self.api.env.monotonic_us())
    }
}

/// What is wrong with a path, without the words that all such messages begin with: what was typed may be no URL at all.
fn in_the_path(text: &str) -> &str {
    text.strip_prefix("Invalid URL: ").unwrap_or(text)
}

/// Takes the namespaces out of the query, each once.
fn split_query(query: &str) -> Result<(Vec<Namespace>, String), Problem> {
    let is_ours = |part: &&str| part.split('=').next() == Some(NAMESPACE);
    let (ours, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(is_ours);
    #[derive(Deserialize)]
    struct Named {
        namespace: Namespace,
    }
    let mut namespaces = Vec::new();
    for part in ours {
        let Named { namespace } = serde_html_form::from_str(part).map_err(|error| {
            Problem::invalid("the namespace", error.to_string(), "name one as `taskwright` prints them")
        })?;
        if !namespaces.contains(&namespace) {
            namespaces.push(namespace);
        }
    }
    Ok((namespaces, rest.join("&")))
}

impl<P, Q, B> Call<P, Q, B> {
    /// The call, and apart from it what the body says.
    pub(crate) fn split(self) -> (Call<P, Q, ()>, B) {
        let Self {
            api,
            caller,
            path,
            query,
            body,
            bytes,
            headers,
            operation,
            permission,
            reach,
            from,
            request,
        } = self;
        let call = Call {
            api,
            caller,
            path,
            query,
            body: (),
            bytes,
            headers,
            operation,
            permission,
            reach,
            from,
            request,
        };
        (call, body)
    }

    /// The store, to look at. What changes something goes through [`acting`](Self::acting).
    pub(crate) fn store(&self) -> &dyn Store {
        &**self.api.client.store()
    }

    /// A client of the store, to look at. What changes something goes through [`acting`](Self::acting).
    pub(crate) fn client(&self) -> &Client {
        &self.api.client
    }

    /// A client that does something on behalf of who asks: whatever it changes leaves an entry of the audit with it. `object` is what
    /// it is done to, in words, and `namespace` where that is.
    pub(crate) fn acting(&self, namespace: Option<&Namespace>, object: impl std::fmt::Display) -> Client {
        self.api.client.on_behalf_of(self.behalf(namespace, object))
    }

    /// Who does what to that: all that an entry of the audit says but how it went.
    pub(crate) fn behalf(&self, namespace: Option<&Namespace>, object: impl std::fmt::Display) -> Behalf {
        let principal = self.caller.principal();
        let behalf = Behalf::of(principal, self.now(), self.operation, &object.to_string());
        let mut behalf = behalf.with_token(self.caller.token()).by_request(&self.request);
        behalf.namespace = namespace.cloned();
        match self.from {
            Some(from) => behalf.from(&from.to_string()),
            None => behalf,
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.api.env.now()
    }

    /// The operation that is asked for.
    pub(crate) fn operation(&self) -> &'static str {
        self.operation
    }

    /// From where it is asked; `None` when it came over no network.
    pub(crate) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// Of what the request may be.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The namespace that is looked at; `None` is all, and the caller may see all. For operations that need the permission on all of
    /// a namespace.
    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        match &self.reach {
            Reach::In(namespace) => Some(namespace),
            Reach::Everywhere | Reach::Among(_) | Reach::Seen(_) => None,
        }
    }

    /// The namespace of what is stored or changed by name.
    pub(crate) fn namespace_or_default(&self) -> Namespace {
        self.namespace().cloned().unwrap_or_default()
    }

    /// Who acts.
    pub(crate) fn actor(&self) -> Actor {
        self.caller.actor().clone()
    }

    /// Whether the caller may do this in every namespace: for what reaches beyond the one that it is asked in.
    pub(crate) fn may_everywhere(&self) -> bool {
        self.permission.is_none_or(|permission| self.caller.may_everywhere(permission))
    }

    /// That there is no such thing, or that the caller may not see it: nobody can tell which, not by the time that it takes either.
    pub(crate) fn unknown(&self, noun: &str) -> Problem {
        let problem = Problem::not_found(noun);
        if self.caller.is_superuser() { problem } else { problem.uniform() }
    }

    /// Whether something of this namespace and owner is to be seen by this call: by what it needs, or by the permission to look.
    pub(crate) fn sees(&self, look: Permission, namespace: &Namespace, owner: Option<&Owner>) -> bool {
        let may = |permission| self.caller.may(permission, namespace, owner);
        self.reach.includes(namespace) && (may(look) || self.permission.is_none_or(may))
    }

    /// Whether the caller may do what is asked for to an object that they see, as the namespace has it. Who may cancel is asked of
    /// the store once for each namespace, and remembered in `policies`.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub(crate) async fn may(
        &self,
        namespace: &Namespace,
        owner: Option<&Owner>,
        policies: &mut std::collections::HashMap<Namespace, CancelPolicy>,
    ) -> Result<bool, Problem> {
        let Some(permission) = self.permission else { return Ok(true) };
        self.may_do(permission, namespace, owner, policies).await
    }

    /// That they may do what another permission is for, which this does as well: emptying a queue cancels jobs.
    ///
    /// # Errors
    ///
    /// When they may not; when the store is out of order.
    pub(crate) async fn check(
        &self,
        permission: Permission,
        namespace: &Namespace,
        owner: Option<&Owner>,
    ) -> Result<(), Problem> {
        let mut policies = std::collections::HashMap::new();
        match self.may_do(permission, namespace, owner, &mut policies).await? {
            true => Ok(()),
            false => Err(refused(permission, policies.get(namespace))),
        }
    }

    async fn may_do(
        &self,
        permission: Permission,
        namespace: &Namespace,
        owner: Option<&Owner>,
        policies: &mut std::collections::HashMap<Namespace, CancelPolicy>,
    ) -> Result<bool, Problem> {
        let policy = match (permission, policies.get(namespace)) {
            (Permission::JobsCancel, None) if !self.caller.is_superuser() => {
                let policy = self.store().cancel_policy(namespace.clone()).await?;
                policies.insert(namespace.clone(), policy);
                policy
            }
            (_, known) => known.copied().unwrap_or_default(),
        };
        Ok(permission::may(self.caller.principal(), permission, Some(namespace), owner, policy))
    }

    /// A job that the caller may do this with; one that there is not, and one that they may not see, look the same.
    ///
    /// # Errors
    ///
    /// When there is none; when the caller sees it, but may not do that to it; when the store is out of order.
    pub(crate) async fn job(&self, id: JobId) -> Result<JobDetail, Problem> {
        let is_seen = |view: &JobView| self.sees(Permission::JobsView, &view.namespace, view.owner.as_ref());
        if !self.caller.is_superuser() {
            // All of somebody else's job is never read, however large it is.
            let whose = self.store().whose(id).await?;
            let is_theirs =
                |whose: &Whose| self.sees(Permission::JobsView, &whose.namespace, whose.owner.as_ref());
            if !whose.as_ref().is_some_and(is_theirs) {
                return Err(self.unknown("job"));
            }
        }
        let job = self.store().job(id).await?;
        let job = job.filter(|job| is_seen(&job.view)).ok_or_else(|| self.unknown("job"))?;
        let (namespace, owner) = (&job.view.namespace, job.view.owner.as_ref());
        let mut policies = std::collections::HashMap::new();
        if self.may(namespace, owner, &mut policies).await? {
            return Ok(job);
        }
        Err(self.permission.map_or_else(|| self.unknown("job"), |one| refused(one, policies.get(namespace))))
    }

    /// The same for whoever reads how it ended: when its owner does, that is noted. Listing is not reading in this sense.
    ///
    /// # Errors
    ///
    /// As for [`job`](Self::job).
    pub(crate) async fn job_to_read(&self, id: JobId) -> Result<JobDetail, Problem> {
        let job = self.job(id).await?;
        self.read(job).await
    }

    /// Notes that a job was read, if it is its owner who reads it and it is over.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub(crate) async fn read(&self, job: JobDetail) -> Result<JobDetail, Problem> {
        match self.caller.owner() {
            Some(reader) => Ok(self.client().consumed(job, &reader).await?),
            None => Ok(job),
        }
    }

    /// That each namespace of which jobs are asked for is the caller's: by a role, or by a job of their own that is there. A name that nothing
    /// has is refused as one that others have.
    ///
    /// # Errors
    ///
    /// When one is not; when the store is out of order.
    pub(crate) async fn names_their_own(&self) -> Result<(), Problem> {
        let named = match &self.reach {
            Reach::In(namespace) => std::slice::from_ref(namespace),
            Reach::Among(namespaces) => namespaces,
            Reach::Everywhere | Reach::Seen(_) => &[],
        };
        let Some(permission) = self.permission else { return Ok(()) };
        for namespace in named.iter().filter(|name| self.caller.principal().grants.role(name).is_none()) {
            let own = Sight { namespaces: Vec::new(), own: Some(self.caller.principal().owner()) };
            let filter =
                Filter { namespaces: namespace.clone().into(), sight: Some(own), ..Filter::default() };
            let page = self.store().list(filter, Page { after: None, limit: 1, oldest_first: false }).await?;
            // A page may be empty and go on, when whoever asks has very many jobs elsewhere: then they get what there is.
            if page.jobs.is_empty() && page.next.is_none() {
                return Err(Problem::forbidden(permission.as_str()));
            }
        }
        Ok(())
    }

    /// What of all jobs the caller may do this with, where a listing would hold others, too; `None` when it does not.
    pub(crate) fn sight(&self) -> Option<Sight> {
        let permission = self.permission?;
        match &self.reach {
            Reach::Everywhere => None,
            Reach::In(namespace) if self.caller.right(permission, Some(namespace)) == Right::All => None,
            Reach::In(_) => {
                Some(Sight { namespaces: Vec::new(), own: Some(self.caller.principal().owner()) })
            }
            Reach::Among(named) => {
                let all = |name: &&Namespace| self.caller.right(permission, Some(name)) == Right::All;
                let namespaces: Vec<Namespace> = named.iter().filter(all).cloned().collect();
                let own = Some(self.caller.principal().owner());
                (namespaces.len() < named.len()).then_some(Sight { namespaces, own })
            }
            Reach::Seen(sight) => Some(sight.clone()),
        }
    }
}

/// That they may not do this to an object that they see: for want of the permission, or by what the namespace says of who may cancel.
fn refused(permission: Permission, policy: Option<&CancelPolicy>) -> Problem {
    match policy {
        Some(policy) if permission == Permission::JobsCancel => Problem::held_back(*policy),
        _ => Problem::forbidden(permission.as_str()),
    }
}
