//! What was found when somebody looked for what is wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Check")]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// Whether that is all right.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) found: String,
    /// What mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Check {
    /// That something is all right.
    pub(crate) fn fine(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: true, found: found.into(), fix: None }
    }

    /// That something is not.
    pub(crate) fn wrong(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: false, found: found.into(), fix: Some(fix.into()) }
    }
}
