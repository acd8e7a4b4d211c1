//! Where a listing goes on: a text that only we can read, and that says nothing but a place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The place as a text.
pub(crate) fn write(place: &impl Serialize) -> String {
    // Numbers and texts: nothing in them cannot be written.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

/// The place that a text says.
///
/// # Errors
///
/// When it is none of ours.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
        Problem::invalid(
            "cursor",
            "it is none that this listing gave",
            "pass `next` of the page before, or leave it out",
        )
    })
}
