//! A glance at what others have committed, without looking at any of it.

use tokio_postgres::SimpleQueryMessage;

use super::whereabouts::field;

/// Which transactions with writes the server knew at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    /// The number that comes after those of all that are over.
    next: u64,
    /// Those before it that are not over.
    under_way: Vec<u64>,
    /// The one that has renewed the lead last.
    renewed_by: Option<u32>,
}

impl Glance {
    /// The statement for a schema: which transactions are under way, in all databases of the server, and the newest one of the
    /// leader. It writes nothing, and reads one row.
    pub(super) fn statement(schema: &str) -> String {
        format!("SELECT pg_current_snapshot(), (SELECT xmin FROM {schema:?}.leader)")
    }

    /// What the statement gave.
    pub(super) fn of(messages: &[SimpleQueryMessage]) -> Option<Self> {
        Self::read(field(messages, 0), field(messages, 1))
    }

    /// From `lowest:next:under way,...` and the number of a transaction, or nothing.
    pub(super) fn read(snapshot: &str, renewed_by: &str) -> Option<Self> {
        let mut parts = snapshot.split(':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let under_way = parts.next()?.split(',').filter(|number| !number.is_empty());
        let under_way = under_way.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { next, under_way, renewed_by: renewed_by.parse().ok() })
    }

    /// Whether any transaction has ended since that other glance, but the leader's. That one has begun is no news.
    pub(super) fn is_news_after(&self, before: &Self) -> bool {
        let begun = before.next..self.next;
        let mut ended =
            before.under_way.iter().copied().chain(begun).filter(|number| !self.under_way.contains(number));
        // Numbers do not go back, but those of another server may be lower.
        self.next < before.next || ended.any(|number| !self.is_the_leaders(number))
    }

    fn is_the_leaders(&self, number: u64) -> bool {
        // Rows keep the lower half.
        self.renewed_by.is_some_and(|renewed_by| u64::from(renewed_by) == number & u64::from(u32::MAX))
    }
}
