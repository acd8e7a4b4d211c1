//! Reads what a request brings, in bounded room and time.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::operation::takes;
use super::problem::{Problem, Sort};
use super::state::Api;

/// How many bytes a body may turn out to have.
pub(crate) fn bytes_of_body(body: &Body, bytes_max: usize) -> u64 {
    let bytes_max = bytes_max as u64;
    body.size_hint().upper().unwrap_or(bytes_max).min(bytes_max)
}

fn content_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media types of bodies.
const JSON: &str = "application/json";
pub(crate) const BYTES: &str = "application/octet-stream";

/// A body as it is.
///
/// # Errors
///
/// When it is too large, is said to be something else, breaks off, or comes too slowly.
pub(crate) async fn read_bytes(
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

/// What a body says.
///
/// # Errors
///
/// As for [`read_bytes`], and when it is no JSON or says something else than is asked for.
pub(crate) async fn read_body<B: DeserializeOwned + 'static>(
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
///
/// # Errors
///
/// When one is needed.
pub(crate) fn no_body<B: DeserializeOwned>() -> Result<B, Problem> {
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
