//! The one table of operations: what there is to ask for over HTTP, who may, and what comes back.
//!
//! From it come the routes, the OpenAPI document and the table in the guide, so that none of them can say something else
//! than the others. A handler is a function from a [`Call`] to a [`Reply`]; the types of both are the types of what is
//! documented. An operation cannot be made without saying who may ask for it, and a route cannot be made in any other way.

use std::any::TypeId;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, Path};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use taskwright::Client;
use taskwright_core::audit::Behalf;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::permission::{self, Sight};
use taskwright_core::{Actor, CancelPolicy, JobId, Namespace, Owner, Permission, Right, Timestamp};
use taskwright_store::{Filter, JobDetail, JobView, Page, Store};

use super::caller::{Caller, Reach, admit_several};
use super::guard::{Peer, RequestId};
use super::openapi::Schemas;
use super::problem::{Problem, Sort};
use super::reply::Reply;
use super::state::Api;

/// Bytes of a body, unless an operation says otherwise: the largest arguments, and something around them.
pub(crate) const BODY_BYTES_MAX: usize = ARGS_BYTES_MAX + (64 << 10);

/// The query parameter that every operation has.
pub(crate) const NAMESPACE: &str = "namespace";

/// Who may ask for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, without saying who they are: only whether the server lives.
    Anyone,
    /// Whoever is known.
    Known,
    /// Whoever has this permission on all objects of the namespace that is named, or where the thing is that is asked about.
    Needs(Permission),
    /// Whoever has it on what they have submitted themselves at least: the operation holds it against each object.
    NeedsOwn(Permission),
}

impl Access {
    /// The permission that is needed.
    pub(crate) const fn permission(self) -> Option<Permission> {
        match self {
            Self::Anyone | Self::Known => None,
            Self::Needs(permission) | Self::NeedsOwn(permission) => Some(permission),
        }
    }

    /// Whether it is enough to have it on what is one's own.
    pub(crate) const fn is_of_own(self) -> bool {
        matches!(self, Self::NeedsOwn(_))
    }
}

/// Something that can be asked for.
pub(crate) struct Operation {
    /// Its name: `jobs.cancel`.
    pub(crate) id: &'static str,
    /// The method.
    pub(crate) method: Method,
    /// The path, with `{name}` for what is filled in.
    pub(crate) path: &'static str,
    /// Who may.
    pub(crate) access: Access,
    /// What it does, in one sentence.
    pub(crate) about: &'static str,
    /// Whether it may take long by its nature: it has no time limit, and counts as a stream.
    pub(crate) is_stream: bool,
    /// Whether it takes several namespaces.
    pub(crate) takes_namespaces: bool,
    /// Bytes of its body.
    pub(crate) body_bytes_max: usize,
    /// Whether its body is any bytes, and not JSON.
    pub(crate) takes_bytes: bool,
    /// Headers that it reads, with what they are for.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    describe: fn(&mut Schemas) -> Described,
    run: Run,
}

type Run =
    Box<dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>> + Send + Sync>;

/// What an operation takes and gives, as schemas.
pub(crate) struct Described {
    /// Of the path.
    pub(crate) path: schemars::Schema,
    /// Of the query.
    pub(crate) query: schemars::Schema,
    /// Of the body, if there is one, and whether it may be left out.
    pub(crate) body: Option<(schemars::Schema, bool)>,
    /// The status of the good answer, its media type and schema.
    pub(crate) answer: (StatusCode, &'static str, Option<schemars::Schema>),
}

/// A request that has come as far as its operation.
pub(crate) struct Asked {
    pub(crate) api: Arc<Api>,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    body_bytes_max: usize,
    takes_namespaces: bool,
    takes_bytes: bool,
    operation: &'static str,
    caller: Caller,
}

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

/// The request took longer than it may.
fn slow(limit: Duration) -> Problem {
    Problem::new(
        Sort::Slow,
        "the request",
        format!("it was not done within {} s", limit.as_secs()),
        "ask for less at a time, or later; what was asked may have taken place",
    )
}

impl Operation {
    /// An operation that this handler does.
    pub(crate) fn new<H, F, P, Q, B, R>(
        id: &'static str,
        method: Method,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Fn(Call<P, Q, B>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Problem>> + Send + 'static,
        P: DeserializeOwned + JsonSchema + Send + 'static,
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        B: DeserializeOwned + JsonSchema + Send + 'static,
        R: Reply + 'static,
    {
        let handler = Arc::new(handler);
        let run: Run = Box::new(move |asked: Asked| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let call = Call::<P, Q, B>::of(asked, access).await?;
                handler(call).await.map(Reply::into_response)
            })
        });
        Self {
            id,
            method,
            path,
            access,
            about,
            is_stream: false,
            takes_namespaces: false,
            body_bytes_max: BODY_BYTES_MAX,
            takes_bytes: false,
            headers: &[],
            describe: describe::<P, Q, B, R>,
            run,
        }
    }

    /// The same for one that may take long by its nature.
    pub(crate) fn stream(self) -> Self {
        Self { is_stream: true, ..self }
    }

    /// The same for one that takes several namespaces.
    pub(crate) fn several_namespaces(self) -> Self {
        Self { takes_namespaces: true, ..self }
    }

    /// The same with another limit for its body.
    pub(crate) fn body_bytes_max(self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self }
    }

    /// The same with a body of any bytes, at most so many; as [`Call::bytes`].
    pub(crate) fn takes_bytes(self, bytes_max: usize) -> Self {
        Self { takes_bytes: true, body_bytes_max: bytes_max, ..self }
    }

    /// The same with headers that it reads.
    pub(crate) fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    /// Whether it changes anything.
    pub(crate) fn is_mutation(&self) -> bool {
        !self.method.is_safe()
    }

    /// What it takes and gives.
    pub(crate) fn describe(&self, schemas: &mut Schemas) -> Described {
        (self.describe)(schemas)
    }

    /// Does it.
    pub(crate) async fn run(&self, api: Arc<Api>, parts: Parts, body: Body) -> Result<Response, Problem> {
        let began_us = api.env.monotonic_us();
        let answer = self.answer(&api, parts, body).await;
        if answer.as_ref().is_err_and(Problem::is_uniform) {
            let unknown_us = crate::answer::micros(api.limits().unknown_time);
            api.env.sleep_until_us(began_us.saturating_add(unknown_us)).await;
        }
        answer
    }

    async fn answer(&self, api: &Arc<Api>, parts: Parts, body: Body) -> Result<Response, Problem> {
        let limit = api.limits().request_time;
        let caller = match self.access {
            Access::Anyone => Caller::local(Actor::system()),
            _ => {
                api.env.timeout(limit, api.authenticate(&parts)).await.unwrap_or_else(|| Err(slow(limit)))?
            }
        };
        // Until the answer is there: what a body says is in memory as long.
        let _room = api.paces.body(&caller, &api.limits(), bytes_of_body(&body, self.body_bytes_max))?;
        let head = parts.clone();
        let asked = Asked {
            api: Arc::clone(api),
            parts,
            body,
            body_bytes_max: self.body_bytes_max,
            takes_bytes: self.takes_bytes,
            takes_namespaces: self.takes_namespaces,
            operation: self.id,
            caller: caller.clone(),
        };
        if self.is_stream {
            return self.follow(api, head, caller, asked).await;
        }
        api.env.timeout(limit, (self.run)(asked)).await.unwrap_or_else(|| Err(slow(limit)))
    }

    /// Does what may take long, for as long as who asks may ask for it.
    async fn follow(
        &self,
        api: &Arc<Api>,
        head: Parts,
        caller: Caller,
        asked: Asked,
    ) -> Result<Response, Problem> {
        let permit = api.stream_permit()?;
        let held = api.paces.stream(&caller, &api.limits())?;
        let response = tokio::select! {
            response = (self.run)(asked) => response?,
            () = api.until_unknown(&head, &caller) => return Err(super::authenticate::unknown()),
        };
        let ends = {
            let api = Arc::clone(api);
            async move { api.until_unknown(&head, &caller).await }
        };
        // Both are held for as long as the answer is written.
        let frames = |body: Body| {
            Body::from_stream(body.into_data_stream().take_until(Box::pin(ends)).map(move |frame| {
                let _held = (&permit, &held);
                frame
            }))
        };
        Ok(response.map(frames))
    }
}

fn describe<P: JsonSchema, Q: JsonSchema, B: JsonSchema + DeserializeOwned + 'static, R: Reply>(
    schemas: &mut Schemas,
) -> Described {
    let is_optional = serde_json::from_str::<B>("{}").is_ok();
    Described {
        path: P::json_schema(&mut schemas.requests),
        query: Q::json_schema(&mut schemas.requests),
        body: takes::<B>().then(|| (schemas.requests.subschema_for::<B>(), is_optional)),
        answer: R::describe(&mut schemas.answers),
    }
}

fn takes<B: 'static>() -> bool {
    TypeId::of::<B>() != TypeId::of::<Nothing>()
}

impl<P, Q, B> Call<P, Q, B>
where
    P: DeserializeOwned + Send,
    Q: DeserializeOwned,
    B: DeserializeOwned + 'static,
{
    /// Finds out whether who asks may, and what they say; in that order, so that nobody learns from a message what they may not
    /// know.
    async fn of(asked: Asked, access: Access) -> Result<Self, Problem> {
        let Asked { api, mut parts, body, body_bytes_max, takes_bytes, takes_namespaces, operation, caller } =
            asked;
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

/// How many bytes a body may turn out to have.
fn bytes_of_body(body: &Body, bytes_max: usize) -> u64 {
    let bytes_max = bytes_max as u64;
    body.size_hint().upper().unwrap_or(bytes_max).min(bytes_max)
}

fn content_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media types of bodies.
const JSON: &str = "application/json";
pub(crate) const BYTES: &str = "application/octet-stream";

async fn read_bytes(
    api: &Api,
    parts: &Parts,
    body: Body,
    bytes_max: usize,
    media: &'static str,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Sort::TooLarge,
            "the body",
            format!("it has more than {bytes_max} bytes, which is the limit here"),
            "send less at a time; store what is large elsewhere and pass a reference to it",
        )
    };
    if content_length(parts).is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let kind = parts.headers.get(CONTENT_TYPE);
    if !parts.method.is_safe() && kind.is_some_and(|kind| !is_of(kind.as_bytes(), media)) {
        let fix = match media {
            JSON => "send JSON, and say so: Content-Type: application/json".to_owned(),
            media => format!("send the bytes as they are, and say so: Content-Type: {media}"),
        };
        let why = format!("its Content-Type is another than {media}");
        return Err(Problem::new(Sort::NotJson, "the body", why, fix));
    }
    let read = axum::body::to_bytes(body, bytes_max);
    let time = body_time(api.limits().body_time, content_length(parts));
    match api.env.timeout(time, read).await {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) if is_over_limit(&error) => Err(too_large()),
        Some(Err(_)) => {
            Err(Problem::new(Sort::Malformed, "the body", "it broke off", "send the request again"))
        }
        None => Err(Problem::new(
            Sort::SlowRequest,
            "the body",
            format!("it did not come within {} s", time.as_secs()),
            "send it faster, or less at a time",
        )),
    }
}

/// How long a body may take that is said to have so many bytes: the least for any, and what these take on a slow line, so that an upload
/// is not held to the time of a small request.
fn body_time(least: Duration, bytes: Option<u64>) -> Duration {
    /// Bytes a second of a line that is slow and still of use.
    const SLOWEST: u64 = 64 << 10;
    least.saturating_add(Duration::from_secs(bytes.unwrap_or(0) / SLOWEST))
}

async fn read_body<B: DeserializeOwned + 'static>(
    api: &Api,
    parts: &Parts,
    body: Body,
    bytes_max: usize,
) -> Result<B, Problem> {
    let bytes = read_bytes(api, parts, body, bytes_max, JSON).await?;
    let kind = parts.headers.get(CONTENT_TYPE);
    if bytes.is_empty() {
        return no_body();
    }
    if !takes::<B>() {
        let why = "there is one, and the operation takes none";
        return Err(Problem::new(Sort::Malformed, "the body", why, "leave the body out"));
    }
    if kind.is_none() {
        return Err(Problem::new(
            Sort::NotJson,
            "the body",
            "the request does not say what it is",
            "say so: Content-Type: application/json",
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let fix = "look the body up in the OpenAPI document";
        match error.is_data() {
            true => Problem::invalid("the body", error.to_string(), fix),
            false => Problem::new(Sort::Malformed, "the body", format!("it is not JSON: {error}"), fix),
        }
    })
}

/// What a body says that is not there.
fn no_body<B: DeserializeOwned>() -> Result<B, Problem> {
    serde_json::from_str("{}").map_err(|error| {
        let why = format!("there is none, and it would have to say something: {error}");
        Problem::invalid("the body", why, "look the body up in the OpenAPI document")
    })
}

fn is_of(kind: &[u8], media: &str) -> bool {
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media.as_bytes())
}

fn is_over_limit(error: &axum::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .any(|error| error.is::<http_body_util::LengthLimitError>())
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
            // One row tells whose it is: all of somebody else's job is never read, however large it is.
            let filter = Filter { ids: vec![id], ..Filter::default() };
            let page = Page { after: None, limit: 1, oldest_first: true };
            if !self.store().list(filter, page).await?.jobs.iter().any(is_seen) {
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
