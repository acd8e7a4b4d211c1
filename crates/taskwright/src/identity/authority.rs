//! What those by whose rights something goes on are by now.

use std::collections::{BTreeSet, HashMap};

use taskwright_core::authority::{Authority, Making, may_go_on};
use taskwright_core::{Principal, Timestamp};
use taskwright_store::{Error as StoreError, SharedStore};

/// Some authorities, each as it was when they were read: a principal, or nobody any more.
#[derive(Debug, Default)]
pub(crate) struct Authorities(HashMap<Authority, Option<Principal>>);

impl Authorities {
    /// Reads these, each once.
    pub(crate) async fn read(
        store: &SharedStore,
        now: Timestamp,
        authorities: impl IntoIterator<Item = Authority>,
    ) -> Result<Self, StoreError> {
        let mut read = HashMap::new();
        for authority in authorities.into_iter().collect::<BTreeSet<_>>() {
            let principal = principal(store, now, authority.clone()).await?;
            read.insert(authority, principal);
        }
        Ok(Self(read))
    }

    /// Whether what one of them made may make jobs; what has no authority may.
    pub(crate) fn allow(&self, authority: Option<&Authority>, making: Making<'_>) -> bool {
        authority.is_none_or(|authority| may_go_on(self.0.get(authority).and_then(Option::as_ref), making))
    }
}

/// Who that is at this moment; `None` when it is gone, revoked, expired or disabled.
async fn principal(
    store: &SharedStore,
    now: Timestamp,
    authority: Authority,
) -> Result<Option<Principal>, StoreError> {
    Ok(match authority {
        Authority::User(name) => {
            store.user(name).await?.filter(|user| !user.disabled).map(|user| user.principal())
        }
        Authority::Token { name, namespace } => {
            let stored = store.token_named(namespace, name).await?;
            stored.filter(|token| token.is_good(now)).map(|token| token.principal())
        }
    })
}
