//! The audit as a store keeps it: a chain of entries, and the place where it begins.
//!
//! What is written on [behalf](crate::Store::on_behalf_of) of somebody leaves an entry in the same transaction, if it changed
//! anything. Where one transaction at a time writes, the entry becomes a link of the chain at once. Where many do, it would have
//! them all wait for each other; there it is put down in no order, and [sealed](AuditStore::seal_audit) into the chain a moment later
//! (docs/design/0025-audit.md).

use std::any::Any;
use std::sync::Arc;

use taskwright_core::audit::{Behalf, Entry, Link, Place};
use taskwright_core::{Namespace, Timestamp};

use crate::attachment::Attached;
use crate::change::Changed;
use crate::claim::Claimed;
use crate::collect::Collected;
use crate::error::Error;
use crate::identity::Kept;
use crate::schedule::Written;
use crate::submitter::Requested;
use crate::{Enqueued, Reply};
use taskwright_core::Pattern;

/// What a store does for the audit. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait AuditStore: Send + Sync + 'static {
    /// Puts down an entry by itself: for what changed nothing, such as a login that was refused.
    fn note_audit(&self, entry: Entry) -> Reply<'_, ()>;

    /// Duty: makes up to `limit` entries links of the chain that are none yet; how many.
    fn seal_audit(&self, limit: usize) -> Reply<'_, usize>;

    /// Where the chain begins and ends.
    fn audit_ends(&self) -> Reply<'_, AuditEnds>;

    /// The links behind a position, in their order, at most `limit`.
    fn audit_links(&self, after: u64, limit: usize) -> Reply<'_, Vec<Link>>;

    /// Entries of the chain that match, the newest first, before a position; at most `limit`. A page looks at a bounded number of
    /// entries, so that it may be short, even empty, and still go on.
    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage>;
}

/// Where a chain begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditEnds {
    /// The last link that was removed because it was old enough; the beginning when none was.
    pub anchor: Place,
    /// The last link.
    pub head: Place,
}

/// Which entries: AND between the fields, OR within one. An empty list means any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditFilter {
    /// Of this namespace; `None` is all, and what belongs to none.
    pub namespace: Option<Namespace>,
    /// By these.
    pub who: Vec<Pattern>,
    /// These actions.
    pub actions: Vec<Pattern>,
    /// On these objects.
    pub objects: Vec<Pattern>,
    /// At this moment or later.
    pub from: Option<Timestamp>,
    /// At this moment or earlier.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether an entry is one of these.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| entry.namespace.as_ref() == Some(namespace))
            && Pattern::any(&self.who, entry.who.as_str())
            && Pattern::any(&self.actions, &entry.action)
            && Pattern::any(&self.objects, &entry.object)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at <= to)
    }
}

/// A part of the audit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditView>,
    /// Before which position to go on; `None` at the end.
    pub next: Option<u64>,
}

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditView {
    /// Its position in the chain, from 1.
    pub position: u64,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Links that one page looks at.
pub(crate) const SCAN_MAX: usize = 10_000;

/// Fills a page from links that are read in descending order, at most [`SCAN_MAX`] of them; `None` at the end.
pub(crate) struct Filling {
    filter: AuditFilter,
    limit: usize,
    page: AuditPage,
    looked_at: usize,
}

impl Filling {
    pub(crate) fn new(filter: AuditFilter, limit: usize) -> Self {
        let limit = limit.clamp(1, taskwright_core::limit::PAGE_ROWS_MAX);
        Self { filter, limit, page: AuditPage::default(), looked_at: 0 }
    }

    /// Takes a link; `false` once the page is full. One that cannot be read is shown to nobody: verifying names it.
    pub(crate) fn take(&mut self, position: u64, body: &str) -> bool {
        self.looked_at += 1;
        self.page.next = Some(position);
        if let Ok(entry) = Entry::read(body)
            && self.filter.matches(&entry)
        {
            self.page.entries.push(AuditView { position, entry });
        }
        self.page.entries.len() < self.limit && self.looked_at < SCAN_MAX
    }

    /// The page; `is_end` says that there were no more links.
    pub(crate) fn end(self, is_end: bool) -> AuditPage {
        AuditPage { next: self.page.next.filter(|_| !is_end), ..self.page }
    }
}

/// How many of the oldest links were written before a moment: those that may go. The first that was written later ends it.
pub(crate) fn old(links: &[Link], before: Timestamp) -> usize {
    // A link that cannot be read is never old: it stays, and is told of by whoever verifies.
    links.iter().take_while(|link| Entry::read(&link.body).is_ok_and(|entry| entry.at < before)).count()
}

/// The entries for jobs that were stored together, each on behalf of whoever asked for it. One that was there already leaves none.
pub(crate) fn entries(stored: &[Enqueued], behalves: &[Arc<Behalf>]) -> Vec<Entry> {
    let told = stored.iter().zip(behalves).filter_map(|(one, behalf)| {
        let outcome = stored_jobs(std::slice::from_ref(one))?;
        Some(behalf.entry(outcome))
    });
    told.collect()
}

/// How a call went, to be told in its entry; `None` when it changed nothing. Calls that nobody makes on behalf of somebody answer
/// with other types, and leave no entry.
pub(crate) fn outcome(answer: &dyn Any) -> Option<String> {
    let done = |many: usize| (many > 0).then(|| format!("{many} done"));
    if let Some(stored) = answer.downcast_ref::<Vec<Enqueued>>() {
        return stored_jobs(stored);
    }
    if let Some(stored) = answer.downcast_ref::<Option<Vec<Enqueued>>>() {
        return stored.as_deref().and_then(stored_jobs);
    }
    if let Some(requested) = answer.downcast_ref::<Requested>() {
        return match requested {
            Requested::Stored(stored) => stored_jobs(stored),
            Requested::Again(_) | Requested::Other => None,
        };
    }
    if let Some((stored, _)) = answer.downcast_ref::<(Enqueued, Claimed)>() {
        return stored_jobs(std::slice::from_ref(stored));
    }
    if let Some(stored) = answer.downcast_ref::<Enqueued>() {
        return stored_jobs(std::slice::from_ref(stored));
    }
    if let Some(changes) = answer.downcast_ref::<Vec<Changed>>() {
        return changed_jobs(changes);
    }
    if let Some(is_done) = answer.downcast_ref::<bool>() {
        return is_done.then(|| "done".to_owned());
    }
    if let Some(each) = answer.downcast_ref::<Vec<bool>>() {
        return done(each.iter().filter(|is_done| **is_done).count());
    }
    if let Some(many) = answer.downcast_ref::<usize>() {
        return done(*many);
    }
    if let Some(attached) = answer.downcast_ref::<Attached>() {
        return (*attached == Attached::Done).then(|| "done".to_owned());
    }
    if let Some(kept) = answer.downcast_ref::<Kept>() {
        return (*kept == Kept::Done).then(|| "done".to_owned());
    }
    if let Some(collected) = answer.downcast_ref::<Collected>() {
        return (collected.rows > 0).then(|| format!("{} removed", collected.rows));
    }
    if let Some(written) = answer.downcast_ref::<Vec<Written>>() {
        return done(written.iter().filter(|written| !matches!(written, Written::Stale)).count());
    }
    answer.downcast_ref::<()>().map(|()| "done".to_owned())
}

fn stored_jobs(stored: &[Enqueued]) -> Option<String> {
    let mut new = stored.iter().filter(|one| !one.existing);
    let first = new.next()?;
    match new.count() {
        0 => Some(format!("stored {}", first.id)),
        more => Some(format!("stored {} and {more} more", first.id)),
    }
}

fn changed_jobs(changes: &[Changed]) -> Option<String> {
    let count = |such: fn(&Changed) -> bool| changes.iter().filter(|one| such(one)).count();
    let parts = [
        (count(|one| *one == Changed::Done), "done"),
        (count(|one| *one == Changed::Requested), "requested"),
        (count(|one| matches!(one, Changed::Skipped(_) | Changed::Unknown)), "skipped"),
    ];
    if parts[0].0 + parts[1].0 == 0 {
        return None;
    }
    let told: Vec<String> =
        parts.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
    Some(told.join(", "))
}

/// Refuses what cannot be kept as an entry: never, but for a text that is far too long.
pub(crate) fn body(entry: &Entry) -> Result<String, Error> {
    let body = entry.body();
    if body.is_empty() {
        return Err(Error::unavailable("the audit", "an entry cannot be written as JSON"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::fixture::id;

    #[test]
    fn what_changed_nothing_leaves_no_entry() {
        let existing = Enqueued { id: id(1), existing: true };
        let nothing: [&dyn Any; 10] = [
            &vec![existing],
            &existing,
            &vec![Changed::Unknown, Changed::Skipped("it is running".to_owned())],
            &false,
            &vec![false],
            &0_usize,
            &Kept::Unknown,
            &Collected::default(),
            &Requested::Again(vec![existing]),
            &Requested::Other,
        ];
        for answer in nothing {
            assert_eq!(outcome(answer), None);
        }
    }

    #[test]
    fn what_changed_something_is_told() {
        let new = |n| Enqueued { id: id(n), existing: false };
        let told: [(&dyn Any, String); 9] = [
            (&vec![new(1)], format!("stored {}", id(1))),
            (&Requested::Stored(vec![new(1)]), format!("stored {}", id(1))),
            (&Some(vec![new(1), new(2)]), format!("stored {} and 1 more", id(1))),
            (&vec![Changed::Done, Changed::Done, Changed::Unknown], "2 done, 1 skipped".to_owned()),
            (&vec![Changed::Requested], "1 requested".to_owned()),
            (&true, "done".to_owned()),
            (&vec![true, false], "1 done".to_owned()),
            (&Kept::Done, "done".to_owned()),
            (&(), "done".to_owned()),
        ];
        for (answer, expected) in told {
            assert_eq!(outcome(answer), Some(expected));
        }
    }
}
