//! What verifying the audit found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::audit;
use taskwright_core::audit::Broken;

/// Whether the chain of the audit is whole, and where it ends or is broken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuditVerified")]
pub(crate) enum Verified {
    /// It is whole.
    Whole {
        /// `true`.
        whole: bool,
        /// How many entries are in it.
        entries: u64,
        /// How many were removed from its beginning because they were old enough.
        removed: u64,
        /// The place where it ends, to be kept somewhere else.
        head: String,
    },
    /// It is broken.
    Broken {
        /// `false`.
        whole: bool,
        /// At this entry.
        position: u64,
        /// Why.
        why: String,
    },
}

impl Verified {
    /// What is told of a walk.
    pub(crate) fn of(walked: Result<audit::Verified, Broken>) -> Self {
        match walked {
            Ok(audit::Verified { anchor, head }) => Self::Whole {
                whole: true,
                entries: head.position - anchor.position,
                removed: anchor.position,
                head: head.to_string(),
            },
            Err(Broken { position, why }) => Self::Broken { whole: false, position, why },
        }
    }
}
