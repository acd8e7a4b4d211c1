//! Who does the duties of a store: one node at a time, by a lease.

/// Counts the leaders of a store: each node that becomes the leader gets a greater one than all before it that may still
/// live.
///
/// The duties themselves need none. Each is a transaction that is right whoever does it, and however many at once; so a
/// leader that has been deposed without knowing does the work twice and nothing wrong. What writes outside the store, or
/// does something that must not be done twice, has to carry the fence and refuse a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);
