//! What an operation answers when all went well.

use axum::body::Body;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::BoxStream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::body::BYTES;
use super::problem::{Problem, Sort};

/// The media type of JSON.
const JSON: &str = "application/json";

/// A good answer.
pub(crate) trait Reply: Send {
    /// Its status, its media type, and its schema if it is JSON.
    fn describe(schemas: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>);

    /// The answer as it is sent.
    fn into_response(self) -> Response;
}

/// JSON, with the status 200.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize + JsonSchema + Send> Reply for Json<T> {
    fn describe(schemas: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, JSON, Some(schemas.subschema_for::<T>()))
    }

    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

/// JSON about what was made, with the status 201.
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize + JsonSchema + Send> Reply for Created<T> {
    fn describe(schemas: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::CREATED, JSON, Some(schemas.subschema_for::<T>()))
    }

    fn into_response(self) -> Response {
        json(StatusCode::CREATED, &self.0)
    }
}

/// JSON, with a cookie, and the status 200.
pub(crate) struct WithCookie<T> {
    /// The JSON.
    pub(crate) body: T,
    /// The cookie that is set.
    pub(crate) cookie: HeaderValue,
}

impl<T: Serialize + JsonSchema + Send> Reply for WithCookie<T> {
    fn describe(schemas: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        Json::<T>::describe(schemas)
    }

    fn into_response(self) -> Response {
        let mut response = json(StatusCode::OK, &self.body);
        response.headers_mut().insert(SET_COOKIE, self.cookie);
        response
    }
}

/// A part of a listing.
#[derive(Serialize, serde::Deserialize, JsonSchema)]
pub(crate) struct Items<T> {
    /// What there is.
    pub(crate) items: Vec<T>,
    /// Where to go on: pass it as `cursor`; `null` at the end. A part may be short, even empty, and still go on.
    pub(crate) next: Option<String>,
}

impl<T> Items<T> {
    /// All there is.
    pub(crate) fn all(items: Vec<T>) -> Json<Self> {
        Json(Self { items, next: None })
    }
}

/// Text, with the status 200.
pub(crate) struct Text(pub(crate) String);

impl Reply for Text {
    fn describe(_: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, "text/plain", None)
    }

    fn into_response(self) -> Response {
        text("text/plain; charset=utf-8", self.0)
    }
}

/// What is measured, in the text form of OpenMetrics.
pub(crate) struct Measured(pub(crate) String);

impl Reply for Measured {
    fn describe(_: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, "application/openmetrics-text", None)
    }

    fn into_response(self) -> Response {
        text("application/openmetrics-text; version=1.0.0; charset=utf-8", self.0)
    }
}

fn text(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// JSON that is a document of its own, whatever is in it.
pub(crate) struct Document(pub(crate) bytes::Bytes);

impl Reply for Document {
    fn describe(_: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, JSON, Some(schemars::json_schema!({ "type": "object" })))
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }
}

/// Bytes as they come from the store, so many as is said.
pub(crate) struct Download {
    /// What a browser calls the file: a name without anything that would have to be quoted.
    pub(crate) name: String,
    /// How many there are.
    pub(crate) length: u64,
    /// What tells them from others.
    pub(crate) tag: String,
    pub(crate) bytes: BoxStream<'static, Result<Vec<u8>, taskwright_store::Error>>,
}

impl Reply for Download {
    fn describe(_: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, BYTES, None)
    }

    fn into_response(self) -> Response {
        let Self { name, length, tag, bytes } = self;
        let mut response = Response::new(Body::from_stream(bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
        headers.insert(CONTENT_LENGTH, length.into());
        let told =
            [(ETAG, format!("\"{tag}\"")), (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))];
        for (header, text) in told {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(header, value);
            }
        }
        response
    }
}

/// Events as they come (server-sent events).
pub(crate) struct Events(pub(crate) BoxStream<'static, Event>);

impl Reply for Events {
    fn describe(_: &mut SchemaGenerator) -> (StatusCode, &'static str, Option<Schema>) {
        (StatusCode::OK, "text/event-stream", None)
    }

    fn into_response(self) -> Response {
        use futures_util::StreamExt as _;
        let events = self.0.map(Ok::<_, std::convert::Infallible>);
        axum::response::IntoResponse::into_response(Sse::new(events).keep_alive(KeepAlive::default()))
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let fix = "please report it";
            let problem = Problem::new(Sort::Internal, "the answer", "it could not be written", fix);
            axum::response::IntoResponse::into_response(problem)
        }
    }
}
