//! What went wrong, for whoever asked over HTTP: problem details (RFC 9457), made in one place.
//!
//! The answer says what, why and what to do, and nothing of the inside: no path, no SQL, no trace. What only the operator may
//! know goes to the log, under the id that the answer names. What does not exist and what the caller may not see answer the
//! same bytes.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::CancelPolicy;

use super::state::Limits;

/// What a type URI begins with.
const TYPE_PREFIX: &str = "urn:taskwright:problem:";

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! sorts {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:ident, $title:literal;)*) => {
        /// What sort of problem it is: its type, status and title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Sort {
            $($(#[$doc])* $name,)*
        }

        impl Sort {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The end of the type URI.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The status of the answer.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What all problems of the sort have in common, in words.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

sorts! {
    /// The request cannot be read.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    /// Nobody is known by what the request says.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "It is not known who asks";
    /// The caller may not do that anywhere, or not in the namespace that was named.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// A page of another site asks.
    CrossSite = "cross-site", FORBIDDEN, "Another site may not ask";
    /// There is no such thing, or the caller may not see it.
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    /// The path has no such method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path has no such method";
    /// The body did not come in time.
    SlowRequest = "slow-request", REQUEST_TIMEOUT, "The request did not come in time";
    /// It is not as it would have to be.
    Conflict = "conflict", CONFLICT, "Things are not as they would have to be";
    /// The body is too large.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is no JSON.
    NotJson = "not-json", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON";
    /// The request is for another host.
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "The request is for another host";
    /// An Idempotency-Key stands for another request.
    OtherRequest = "other-request", UNPROCESSABLE_ENTITY, "The Idempotency-Key stands for another request";
    /// A value breaks a rule.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "A value is not accepted";
    /// The caller has as much of something as they may.
    TooMany = "too-many", TOO_MANY_REQUESTS, "Too much at a time";
    /// A mistake of ours, or something that only the operator can mend.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server could not do that";
    /// The store does not answer as it should, and may do so later.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The store is out of order";
    /// The server is being stopped.
    ShuttingDown = "shutting-down", SERVICE_UNAVAILABLE, "The server is being stopped";
    /// It took too long.
    Slow = "slow", GATEWAY_TIMEOUT, "It took too long";
}

impl Sort {
    /// The type URI.
    pub(crate) fn type_uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.word())
    }
}

/// What went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    sort: Sort,
    what: String,
    why: String,
    fix: String,
    instance: Option<String>,
    retry_after_s: Option<u32>,
    /// Whether it takes as long whatever the reason is.
    is_uniform: bool,
    /// What the operator is told, and the caller is not.
    inside: Option<String>,
    error_id: Option<String>,
}

/// A problem as it is sent (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Details {
    /// Which sort of problem it is; see the guide.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The sort in words.
    pub(crate) title: String,
    /// The status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub(crate) status: u16,
    /// What, why, and what to do, in one text.
    pub(crate) detail: String,
    /// The path that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// What could not be done, or to what.
    pub(crate) what: String,
    /// Why not.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) fix: String,
    /// Names the lines of the server's log that say more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_id: Option<String>,
}

impl Problem {
    /// A problem of this sort.
    pub(crate) fn new(
        sort: Sort,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            sort,
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
            instance: None,
            retry_after_s: None,
            is_uniform: false,
            inside: None,
            error_id: None,
        }))
    }

    /// A value breaks a rule.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Sort::Invalid, what, why, fix)
    }

    /// There is no such thing, or the caller may not see it: nobody can tell which.
    pub(crate) fn not_found(noun: &str) -> Self {
        Self::new(
            Sort::NotFound,
            format!("the {noun}"),
            "it does not exist, or you may not see it",
            format!(
                "check its name and the namespace, or list what there is; what is over is removed in time, the {noun} may be gone"
            ),
        )
    }

    /// The caller may not do that.
    pub(crate) fn forbidden(permission: &str) -> Self {
        Self::new(
            Sort::Forbidden,
            "the request",
            format!("it needs the permission {permission}, which you do not have there"),
            "ask an administrator of the namespace, or name a namespace in which you have it",
        )
    }

    /// The caller may not cancel that, by what the namespace says of who may.
    pub(crate) fn held_back(policy: CancelPolicy) -> Self {
        let who = match policy {
            CancelPolicy::Owner => "whoever submitted a job, while they are a member, and admins",
            CancelPolicy::Admin => "admins",
            CancelPolicy::Superuser => "superusers",
        };
        let why = format!("only {who} cancel jobs of that namespace (its cancel policy is `{policy}`)");
        Self::new(Sort::Forbidden, "the request", why, "ask one of them")
    }

    /// The server is being stopped.
    pub(crate) fn shutting_down() -> Self {
        const AGAIN_S: u32 = 5;
        Self::new(
            Sort::ShuttingDown,
            "the request",
            "this server is being stopped and takes nothing in any more",
            "send it again in a few seconds, to another server or when this one is back",
        )
        .retry_after(AGAIN_S)
    }

    /// What sort of problem it is.
    pub(crate) fn sort(&self) -> Sort {
        self.0.sort
    }

    /// The same, told after a while that is always as long: nobody is to learn from the time what the text keeps to itself.
    pub(crate) fn uniform(mut self) -> Self {
        self.0.is_uniform = true;
        self
    }

    /// How long it takes at least to tell it.
    pub(crate) fn takes_at_least(&self, limits: &Limits) -> Duration {
        match self.sort() {
            Sort::TooMany => limits.refused_time,
            _ if self.0.is_uniform => limits.unknown_time,
            _ => Duration::ZERO,
        }
    }

    /// The same, with how many seconds to wait before asking again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// The same about this path.
    pub(crate) fn at(mut self, path: &str) -> Self {
        self.0.instance.get_or_insert_with(|| path.to_owned());
        self
    }

    /// What the operator is to be told under an id, and has not been.
    pub(crate) fn for_the_log(&mut self, id: impl FnOnce() -> String) -> Option<(String, String)> {
        let inside = self.0.inside.take()?;
        let id = id();
        self.0.error_id = Some(id.clone());
        Some((id, inside))
    }

    /// What is sent.
    pub(crate) fn details(&self) -> Details {
        let Inner { sort, what, why, fix, instance, error_id, .. } = &*self.0;
        Details {
            kind: sort.type_uri(),
            title: sort.title().to_owned(),
            status: sort.status().as_u16(),
            detail: format!("{what}: {why}. What to do: {fix}"),
            instance: instance.clone(),
            what: what.clone(),
            why: why.clone(),
            fix: fix.clone(),
            error_id: error_id.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Texts and a number: nothing in them cannot be written.
        let body = serde_json::to_vec(&self.details()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.sort.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.0.sort == Sort::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A rule of the domain that the request did not keep.
impl From<taskwright_core::Error> for Problem {
    fn from(error: taskwright_core::Error) -> Self {
        let sort = match () {
            () if error.is_too_large() => Sort::TooLarge,
            () if error.is_illegal_transition() => Sort::Conflict,
            () => Sort::Invalid,
        };
        Self::new(sort, error.what(), error.why(), error.fix())
    }
}

/// Something the store could not do.
impl From<taskwright_store::Error> for Problem {
    fn from(error: taskwright_store::Error) -> Self {
        if error.is_domain() {
            return Self::invalid(error.what(), error.why(), error.fix());
        }
        let inside = in_full(&error);
        let (sort, why) = match () {
            () if error.is_busy() => (Sort::Unavailable, "somebody else holds the store for too long"),
            () if error.is_full() => (Sort::Unavailable, "no space is left for the store"),
            () if error.is_read_only() => (Sort::Unavailable, "the store takes no writes at the moment"),
            () if error.is_unreachable() => (Sort::Unavailable, "the store cannot be reached"),
            () if error.is_closed() => (Sort::Unavailable, "the store has been closed"),
            () if error.is_transient() => (Sort::Unavailable, "the store failed"),
            () => (Sort::Internal, "the store could not do it"),
        };
        const AGAIN_S: u32 = 2;
        let fix = "send it again; if that does not help, the operator finds the reason in the server's log";
        let mut problem = Self::new(sort, "the request", why, fix);
        if sort == Sort::Unavailable {
            problem = problem.retry_after(AGAIN_S);
        }
        problem.0.inside = Some(inside);
        problem
    }
}

fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Something the runtime could not do.
impl From<taskwright::Error> for Problem {
    fn from(error: taskwright::Error) -> Self {
        if error.is_not_found() {
            return Self::not_found(error.noun());
        }
        if error.is_domain() {
            return Self::invalid(error.what(), error.why(), error.fix());
        }
        match error.into_store() {
            Ok(error) => error.into(),
            Err(error) => {
                let mut problem = Self::new(
                    Sort::Internal,
                    "the request",
                    "the server could not do it",
                    "the operator finds the reason in the server's log",
                );
                problem.0.inside = Some(in_full(&error));
                problem
            }
        }
    }
}

/// Something that a verb would have told.
impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        let report = &error.reports()[0];
        match error.exit() {
            crate::Exit::Usage => Self::invalid(&report.what, &report.why, &report.fix),
            _ => {
                let mut problem = Self::new(
                    Sort::Internal,
                    "the request",
                    "the server could not do it",
                    "the operator finds the reason in the server's log",
                );
                problem.0.inside = Some(format!("{}: {}", report.what, report.why));
                problem
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_has_a_type_of_its_own_and_a_status_of_an_error() {
        let mut words: Vec<_> = Sort::ALL.iter().map(|sort| sort.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Sort::ALL.len());
        for sort in Sort::ALL {
            assert!(sort.status().is_client_error() || sort.status().is_server_error(), "{sort:?}");
        }
    }

    #[test]
    fn what_is_inside_goes_to_the_log_under_an_id_and_not_to_the_caller() {
        let error = taskwright_store::Error::unavailable("the file /secret/path", "disk on fire");
        let mut problem = Problem::from(error);
        let logged = problem.for_the_log(|| "7".to_owned()).unwrap();
        assert_eq!(logged, ("7".to_owned(), "the file /secret/path: disk on fire".to_owned()));
        let told = serde_json::to_string(&problem.details()).unwrap();
        assert!(!told.contains("secret") && !told.contains("fire"), "{told}");
        assert_eq!(problem.details().error_id.as_deref(), Some("7"));
        assert_eq!(problem.details().status, 503);
    }
}
