//! The one table of operations: what there is to ask for over HTTP, who may, and what comes back.
//!
//! From it come the routes, the OpenAPI document and the table in the guide, so that none of them can say something else
//! than the others. A handler is a function from a [`Call`] to a [`Reply`]; the types of both are the types of what is
//! documented. An operation cannot be made without saying who may ask for it, and a route cannot be made in any other way.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::{Actor, Permission};

use super::body::bytes_of_body;
use super::call::{Call, Nothing};
use super::caller::Caller;
use super::openapi::Schemas;
use super::problem::{Problem, Sort};
use super::reply::Reply;
use super::state::Api;

/// Bytes of a body, unless an operation says otherwise: the largest arguments, and something around them.
pub(crate) const BODY_BYTES_MAX: usize = ARGS_BYTES_MAX + (64 << 10);

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
    pub(crate) body_bytes_max: usize,
    pub(crate) takes_namespaces: bool,
    pub(crate) takes_bytes: bool,
    pub(crate) is_stream: bool,
    pub(crate) operation: &'static str,
    pub(crate) caller: Caller,
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
                let takes_turns = !asked.is_stream;
                let call = Call::<P, Q, B>::of(asked, access).await?;
                // Once all that they say is there: who sends slowly holds up nobody.
                let _turn = if takes_turns { Some(call.turn().await) } else { None };
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
        if let Err(problem) = &answer {
            let at_least = problem.takes_at_least(&api.limits());
            if !at_least.is_zero() {
                api.env.sleep_until_us(began_us.saturating_add(crate::answer::micros(at_least))).await;
            }
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
            is_stream: self.is_stream,
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

/// Whether there is a body of this type.
pub(crate) fn takes<B: 'static>() -> bool {
    TypeId::of::<B>() != TypeId::of::<Nothing>()
}
