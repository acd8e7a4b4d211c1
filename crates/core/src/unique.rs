//! Which jobs count as the same, and for how long.

use std::sync::Arc;

use crate::error::Error;
use crate::limit::KEY_BYTES_MAX;

/// A key that at most one job of a kind may hold at a time, within its namespace.
///
/// Enqueueing a second job with a key that is held stores nothing and answers with the holder's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UniqueKey {
    key: Arc<str>,
    /// How long the job holds the key.
    pub scope: UniqueScope,
}

/// How long a job holds its unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UniqueScope {
    /// Until it is claimed for the first time: work that is already running may be asked for again. The default.
    #[default]
    Waiting,
    /// Until it is over.
    Active,
}

impl UniqueKey {
    /// Parses a key with the default scope.
    ///
    /// # Errors
    ///
    /// When the key is empty, has more than 512 bytes, or holds a NUL character.
    pub fn new(key: &str) -> Result<Self, Error> {
        let why = if key.is_empty() {
            "it is empty".to_owned()
        } else if key.len() > KEY_BYTES_MAX {
            format!("it has {} bytes, {KEY_BYTES_MAX} are allowed", key.len())
        } else if key.contains('\0') {
            "it holds a NUL character".to_owned()
        } else {
            return Ok(Self { key: key.into(), scope: UniqueScope::default() });
        };
        Err(Error::invalid(
            format!("the unique key {:?}", crate::name::shown(key)),
            why,
            "use a short text that names the work, for instance invoice:4711",
        ))
    }

    /// The same key, held as long as `scope` says.
    #[must_use]
    pub fn with_scope(self, scope: UniqueScope) -> Self {
        Self { scope, ..self }
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.key
    }
}
