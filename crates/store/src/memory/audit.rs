//! The audit: each entry is a link of the chain at once, as one call at a time changes the world.

use taskwright_core::Timestamp;
use taskwright_core::audit::{Entry, Link, Place};
use taskwright_core::limit::PAGE_ROWS_MAX;

use super::MemoryStore;
use crate::Reply;
use crate::audit::{AuditEnds, AuditFilter, AuditPage, AuditStore, Filling, body, old};

/// The chain.
#[derive(Debug, Default)]
pub(super) struct Audit {
    anchor: Place,
    links: Vec<Link>,
}

impl AuditStore for MemoryStore {
    fn note_audit(&self, entry: Entry) -> Reply<'_, ()> {
        self.without_behalf().act(|world| {
            world.audit.append(body(&entry)?);
            Ok(())
        })
    }

    fn seal_audit(&self, _: usize) -> Reply<'_, usize> {
        self.ask(|_| Ok(0))
    }

    fn audit_ends(&self) -> Reply<'_, AuditEnds> {
        self.ask(|world| Ok(AuditEnds { anchor: world.audit.anchor, head: world.audit.head() }))
    }

    fn audit_links(&self, after: u64, limit: usize) -> Reply<'_, Vec<Link>> {
        self.ask(|world| {
            let behind = world.audit.links.iter().filter(|link| link.position > after);
            Ok(behind.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage> {
        self.ask(|world| {
            let mut page = Filling::new(filter, limit);
            let older =
                world.audit.links.iter().rev().filter(|link| before.is_none_or(|at| link.position < at));
            for link in older {
                if !page.take(link.position, &link.body) {
                    return Ok(page.end(false));
                }
            }
            Ok(page.end(true))
        })
    }
}

impl Audit {
    fn head(&self) -> Place {
        self.links.last().map_or(self.anchor, Link::place)
    }

    pub(super) fn append(&mut self, body: String) {
        self.links.push(self.head().link(body));
    }

    /// Removes the oldest entries, if they are of before that moment.
    pub(super) fn collect(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let oldest = &self.links[..self.links.len().min(limit)];
        let many = old(oldest, before);
        if !dry_run && let Some(last) = oldest[..many].last() {
            self.anchor = last.place();
            self.links.drain(..many);
        }
        many
    }
}
