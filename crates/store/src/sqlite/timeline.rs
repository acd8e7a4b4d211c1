//! A job's timeline, from the two places that tell of it: its attempts, and the moves that no attempt tells of.

use std::collections::VecDeque;

use taskwright_core::{Cause, State, state};

use crate::query::TimelineEntry;

/// Merges both by time. Where the times are equal, the move goes first that the job could make from where it was.
pub(super) fn merged(
    created: TimelineEntry,
    of_attempts: Vec<TimelineEntry>,
    others: Vec<TimelineEntry>,
) -> Vec<TimelineEntry> {
    let mut here = created.to;
    let mut timeline = Vec::with_capacity(1 + of_attempts.len() + others.len());
    timeline.push(created);
    let (mut of_attempts, mut others) = (by_time(of_attempts), by_time(others));
    while let (Some(attempt), Some(other)) = (of_attempts.front(), others.front()) {
        let other_first = match other.at.cmp(&attempt.at) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => follows(here, other) || !follows(here, attempt),
            std::cmp::Ordering::Greater => false,
        };
        let next = if other_first { others.pop_front() } else { of_attempts.pop_front() };
        here = next.as_ref().map_or(here, |entry| entry.to);
        timeline.extend(next);
    }
    timeline.extend(of_attempts);
    timeline.extend(others);
    timeline
}

fn by_time(mut entries: Vec<TimelineEntry>) -> VecDeque<TimelineEntry> {
    // Clocks of two machines may differ; the order of what one of them wrote is kept.
    entries.sort_by_key(|entry| entry.at);
    entries.into()
}

/// Whether the move can be the next one from here.
fn follows(here: State, entry: &TimelineEntry) -> bool {
    match entry.cause {
        None => entry.to == here,
        // The claim of an attempt that does not count has left no entry.
        Some(Cause::GiveBack | Cause::Snooze) => here == State::Available,
        Some(cause) => state::check(here, cause, entry.to).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use taskwright_core::{Actor, Timestamp};

    use super::*;

    fn entry(at: i64, cause: Option<Cause>, to: State) -> TimelineEntry {
        TimelineEntry { at: Timestamp::from_micros(at), cause, to, actor: Actor::system(), reason: None }
    }

    #[test]
    fn what_happened_at_one_moment_is_told_in_the_order_in_which_it_can_have_happened() {
        let attempts = vec![
            entry(1, Some(Cause::Claim), State::Running),
            entry(1, Some(Cause::Retry), State::Retryable),
            entry(1, Some(Cause::Claim), State::Running),
            entry(1, Some(Cause::Complete), State::Completed),
        ];
        let moves = vec![
            entry(1, Some(Cause::GiveBack), State::Available),
            entry(1, None, State::Running),
            entry(1, Some(Cause::RunNow), State::Available),
            entry(1, Some(Cause::Redo), State::Available),
        ];
        let told: Vec<_> = merged(entry(1, None, State::Available), attempts, moves)
            .into_iter()
            .map(|entry| entry.cause.map(Cause::as_str))
            .collect();
        let expected = [
            None,
            Some("give_back"),
            Some("claim"),
            None,
            Some("retry"),
            Some("run_now"),
            Some("claim"),
            Some("complete"),
            Some("redo"),
        ];
        assert_eq!(told, expected);
    }
}
