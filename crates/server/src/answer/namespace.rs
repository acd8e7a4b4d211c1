//! Namespaces: which there are, and who may cancel jobs there.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::{CancelPolicy, Namespace, Timestamp};
use taskwright_store::{Error, Store};

/// Registrations that are looked at for their namespaces at a time.
const PAGE: usize = 500;

/// A namespace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Namespace")]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: Namespace,
}

impl Listed {
    /// Those that have queues, schedules or generators, by their names; only the one that is wanted, if one is.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub(crate) async fn all(
        store: &dyn Store,
        now: Timestamp,
        wanted: Option<&Namespace>,
    ) -> Result<Vec<Self>, Error> {
        let queues = store.queues(now, wanted.cloned()).await?;
        let mut names: BTreeSet<Namespace> = queues.into_iter().map(|queue| queue.namespace).collect();
        let mut after = None;
        loop {
            let page = store.schedules(wanted.cloned(), after, PAGE).await?;
            names.extend(page.iter().map(|schedule| schedule.namespace.clone()));
            after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = store.generators(wanted.cloned(), after, PAGE).await?;
            names.extend(page.iter().map(|generator| generator.namespace.clone()));
            after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
            if after.is_none() {
                break;
            }
        }
        Ok(names.into_iter().map(|name| Self { name }).collect())
    }
}

/// Who may cancel jobs in a namespace.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NamespaceCancelPolicy")]
pub(crate) struct Policy {
    /// Whoever submitted the job, and admins; admins; or superusers.
    pub(crate) policy: CancelPolicy,
}

/// A namespace, with what was set of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Whole {
    /// Its name.
    pub(crate) name: Namespace,
    /// Who may cancel jobs there.
    pub(crate) cancel: CancelPolicy,
}
