//! The audit: who did what to what, and whether anybody has changed that since.

use taskwright_core::audit::{Behalf, Broken, Entry, Place, Verifier};
use taskwright_core::{Owner, PrincipalKind};
use taskwright_store::{AuditFilter, AuditPage, SharedStore};

use crate::client::Client;
use crate::error::Error;

/// Entries that are sealed, and links that are verified, at a time.
const BATCH: usize = 1_000;

/// What is asked of the audit. Made by [`Client::audit`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright::core::{Principal, audit::Behalf};
/// use taskwright::store::{AuditFilter, memory::MemoryStore};
/// use taskwright::{Actor, Client, Env, Job};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let client = Client::new(Arc::new(MemoryStore::new()), Env::system());
/// let me = Principal::local(Actor::new("me")?);
/// let behalf = Behalf::of(&me, client.now(), "jobs.enqueue", "report.monthly");
/// client.on_behalf_of(behalf).enqueue(Job::new("report.monthly")).await?;
/// let page = client.audit().page(AuditFilter::default(), None, 10).await?;
/// assert_eq!(page.entries[0].entry.who.as_str(), "me");
/// assert!(client.audit().verify(None).await?.is_ok());
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Audit {
    store: SharedStore,
}

/// A chain that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Behind which link it begins: what came before was removed because it was old enough.
    pub anchor: Place,
    /// Where it ends. Whoever keeps it somewhere else can have later chains held against it.
    pub head: Place,
}

impl Client {
    /// The audit of the store.
    pub fn audit(&self) -> Audit {
        Audit { store: self.store().clone() }
    }

    /// The same client for what is done on behalf of somebody: whatever changes something leaves an entry of the audit with it, and
    /// jobs belong to whoever that is, whatever they say themselves. Only for one that is [local](PrincipalKind::Local) they belong
    /// to whom they say.
    #[must_use]
    pub fn on_behalf_of(&self, behalf: Behalf) -> Self {
        let owner = match behalf.kind {
            PrincipalKind::Local => None,
            PrincipalKind::User | PrincipalKind::Token => Owner::new(behalf.who.as_str()).ok(),
        };
        self.behalf(behalf, owner)
    }
}

impl Audit {
    /// Entries that match, the newest first, before a position; at most `limit`. A page looks at a bounded number of entries, so that
    /// it may be short, even empty, and still go on. What was done until now is among them.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn page(
        &self,
        filter: AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        if before.is_none() {
            self.seal().await?;
        }
        Ok(self.store.audit_page(filter, before, limit).await?)
    }

    /// Puts down what changed nothing, such as a login that was refused.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn note(&self, entry: Entry) -> Result<(), Error> {
        Ok(self.store.note_audit(entry).await?)
    }

    /// Walks the chain, with all that was done until now: where it begins and ends, or where it is broken. With a place that somebody
    /// has kept, it has to lead through that.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn verify(&self, expected: Option<Place>) -> Result<Result<Verified, Broken>, Error> {
        self.seal().await?;
        loop {
            let ends = self.store.audit_ends().await?;
            let walked = self.walk(Verifier::after(ends.anchor, expected), ends.head).await?;
            // What was removed meanwhile because it was old enough is not missing.
            if walked.is_err() && self.store.audit_ends().await?.anchor != ends.anchor {
                continue;
            }
            return Ok(walked.map(|head| Verified { anchor: ends.anchor, head }));
        }
    }

    /// Walks up to the head: what comes behind it has been written since.
    async fn walk(&self, mut verifier: Verifier, head: Place) -> Result<Result<Place, Broken>, Error> {
        loop {
            let links = self.store.audit_links(verifier.place().position, BATCH).await?;
            let is_end = links.len() < BATCH;
            for link in links.iter().take_while(|link| link.position <= head.position) {
                if let Err(broken) = verifier.step(link) {
                    return Ok(Err(broken));
                }
            }
            // A link behind a head that was put back is one too many.
            if is_end || links.last().is_some_and(|last| last.position >= head.position) {
                return Ok(verifier.end(head));
            }
        }
    }

    async fn seal(&self) -> Result<(), Error> {
        while self.store.seal_audit(BATCH).await? >= BATCH {}
        Ok(())
    }
}
