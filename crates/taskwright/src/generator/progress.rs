//! How far a cursor generator has come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::generator::ItemEnd;
use taskwright_core::name::clipped;
use taskwright_core::{Backoff, JobId, Timestamp};

use super::{PollError, Settled};

/// Items that wait to be run again, at most; beyond, an item that fails is a dead letter and no more: 500.
const RETRIES_MAX: usize = 500;
/// What each part of the state may have of the 256 KiB that all of it may: 16 KiB for a cursor, of which there are two; 64 KiB for rows
/// that were made items ahead; 32 KiB for groups; 112 KiB for items that wait to be run again.
pub(super) const CURSOR_BYTES_MAX: usize = 16 << 10;
const AHEAD_BYTES_MAX: usize = 64 << 10;
const GROUPS_BYTES_MAX: usize = 32 << 10;
const RETRIES_BYTES_MAX: usize = 112 << 10;
/// Rows that are made items behind one that waits for its group, at most: 1,000.
const AHEAD_MAX: usize = 1_000;
/// What is told of a row that was passed over, at most.
const TROUBLE_BYTES_MAX: usize = 500;
/// Stands between the group of an item and its key.
const GROUP_END: char = '|';

/// Where a row stands among others, and how far a [`CursorGenerator`](super::CursorGenerator) has come.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursor {
    /// By a key that only grows: a row that appears later has a greater one. Numbers of a sequence are no such key where several
    /// transactions insert at once, since one that began first may commit last; use [`Modified`](Self::Modified) there, or a
    /// [`Table`](super::Table), which waits for those.
    Key(Value),
    /// By the time of the last change, and among those of one time by an id. Rows are taken only a safety lag after their time, so
    /// that what is committed late, or within the same moment, is not skipped.
    Modified {
        /// When the row was changed last.
        at: Timestamp,
        /// What tells it from others of the same time.
        id: Value,
    },
}

impl Cursor {
    /// A cursor by a key that only grows.
    pub fn key(key: impl Into<Value>) -> Self {
        Self::Key(key.into())
    }

    /// The key, or the id.
    pub(super) fn place(&self) -> &Value {
        match self {
            Self::Key(key) => key,
            Self::Modified { id, .. } => id,
        }
    }

    /// A cursor by time and id.
    pub fn modified(at: Timestamp, id: impl Into<Value>) -> Self {
        Self::Modified { at, id: id.into() }
    }
}

/// How much a cursor generator has before it: the distance from its cursor to the head, which counts no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// By a key that is a number: so many keys, of which some may be no rows.
    Keys(u64),
    /// By time: so much of it.
    Time(Duration),
}

/// The state of a cursor generator. One that has nothing but a cursor is kept as that.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Progress {
    /// Every row up to this one was made an item or passed over, or is to be run again.
    pub(super) after: Option<Cursor>,
    /// Rows behind that which were made items, too: one before them waits for its group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ahead: Vec<Cursor>,
    /// How many items of each group are outstanding.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, u32>,
    /// Items that failed, and are run again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retries: Vec<Retry>,
    /// The newest row, when it was last looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<Cursor>,
    /// Rows that could not become items.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
}

/// Rows that were passed over because they could not become items.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Trouble {
    /// How many since the generator was registered.
    skipped: u64,
    /// What was wrong with the newest.
    last: String,
}

/// An item that failed, and is run again.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Retry {
    pub(super) job: JobId,
    pub(super) key: Option<String>,
    /// How often it has failed.
    tries: u32,
    /// When it is run again; `None` while it runs.
    at: Option<Timestamp>,
}

impl Progress {
    /// Reads a state.
    pub(super) fn read(state: &Value) -> Result<Self, PollError> {
        let is_cursor =
            |fields: &serde_json::Map<_, _>| fields.contains_key("key") || fields.contains_key("modified");
        match state {
            Value::Null => Ok(Self::default()),
            Value::Object(fields) if is_cursor(fields) => {
                Ok(Self { after: Some(serde_json::from_value(state.clone())?), ..Self::default() })
            }
            _ => Ok(serde_json::from_value(state.clone())?),
        }
    }

    /// The state as it is kept.
    pub(super) fn write(self) -> Result<Value, PollError> {
        let plain = Self { after: self.after.clone(), ..Self::default() };
        Ok(if self == plain { serde_json::to_value(self.after)? } else { serde_json::to_value(self)? })
    }

    /// How much is before it, if it knows its head.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        match (self.head.as_ref()?, &self.after) {
            (Cursor::Key(head), after) => {
                let after = match after {
                    Some(Cursor::Key(after)) => after.as_i64()?,
                    _ => 0,
                };
                Some(Backlog::Keys(u64::try_from(head.as_i64()?.saturating_sub(after)).unwrap_or(0)))
            }
            (Cursor::Modified { at, .. }, Some(Cursor::Modified { at: after, .. })) => {
                Some(Backlog::Time(at.since(*after)))
            }
            (Cursor::Modified { .. }, _) => None,
        }
    }

    /// How many items of a group are outstanding.
    pub(super) fn outstanding(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }

    /// Counts an item that is made.
    pub(super) fn begin(&mut self, group: &str) {
        *self.groups.entry(group.to_owned()).or_default() += 1;
    }

    /// Whether an item of a group can be noted, if it is one that has none outstanding.
    pub(super) fn has_room_for(&self, group: &str) -> bool {
        self.groups.contains_key(group)
            || self.groups.keys().map(|group| GROUP_BYTES + bytes_of(group)).sum::<usize>() + bytes_of(group)
                < GROUPS_BYTES_MAX
    }

    /// Whether no more rows may be made items behind one that waits; `bytes` is what those take that are.
    pub(super) fn is_far_ahead(&self, bytes: usize) -> bool {
        self.ahead.len() >= AHEAD_MAX || bytes >= AHEAD_BYTES_MAX - CURSOR_BYTES_MAX
    }

    /// Notes a trouble that will be met again, and is told of and counted when it is another one than the last.
    pub(super) fn note_trouble_once(&mut self, what: &str) {
        if self.trouble.as_ref().is_none_or(|trouble| trouble.last != what) {
            self.note_trouble(what);
        }
    }

    /// Notes that a row was passed over which could not become an item.
    pub(super) fn note_trouble(&mut self, what: &str) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.skipped += 1;
        trouble.last = clipped(what, TROUBLE_BYTES_MAX);
    }

    /// Takes items that have ended into account.
    pub(super) fn settle_all(&mut self, items: &[Settled], grouped: bool, retries: Option<(Backoff, u32)>) {
        let mut bytes: usize = self.retries.iter().map(bytes_of).sum();
        for item in items {
            self.settle(item, grouped, retries, &mut bytes);
        }
    }

    /// Takes an item that has ended into account. `bytes` is what the items take that are to run again.
    fn settle(&mut self, item: &Settled, grouped: bool, retries: Option<(Backoff, u32)>, bytes: &mut usize) {
        if let (true, Some(group)) = (grouped, item.key.as_deref().and_then(group_of))
            && let Some(count) = self.groups.get_mut(group)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.groups.remove(group);
            }
        }
        let known = self.retries.iter().position(|retry| retry.job == item.job);
        let known = known.map(|known| self.retries.remove(known));
        *bytes -= known.as_ref().map_or(0, bytes_of);
        let tries = known.map_or(0, |known| known.tries) + 1;
        let Some((backoff, most)) = retries.filter(|_| item.end == ItemEnd::Failed) else { return };
        let at = Some(item.at.plus(backoff.delay(tries)));
        let retry = Retry { job: item.job, key: item.key.clone(), tries, at };
        let more = bytes_of(&retry);
        if tries <= most && self.retries.len() < RETRIES_MAX && *bytes + more <= RETRIES_BYTES_MAX {
            *bytes += more;
            self.retries.push(retry);
        }
    }

    /// The jobs of items that are to run again by now, at most so many.
    pub(super) fn due(&self, now: Timestamp, most: usize) -> Vec<JobId> {
        let due = self.retries.iter().filter(|retry| retry.at.is_some_and(|at| at <= now));
        due.take(most).map(|retry| retry.job).collect()
    }

    /// Notes that an item runs again; what the generator calls it.
    pub(super) fn run_again(&mut self, job: JobId) -> Option<String> {
        let retry = self.retries.iter_mut().find(|retry| retry.job == job)?;
        retry.at = None;
        retry.key.clone()
    }

    /// Has an item run again not before that time.
    pub(super) fn put_off(&mut self, job: JobId, until: Timestamp) {
        if let Some(retry) = self.retries.iter_mut().find(|retry| retry.job == job) {
            retry.at = Some(until);
        }
    }

    /// Forgets an item that somebody else has run again or removed.
    pub(super) fn forget(&mut self, job: JobId) {
        self.retries.retain(|retry| retry.job != job);
    }

    /// What the generator calls an item that is to run again.
    pub(super) fn key_of(&self, job: JobId) -> Option<&str> {
        self.retries.iter().find(|retry| retry.job == job)?.key.as_deref()
    }

    /// When the next item is to be run again.
    pub(super) fn next_retry(&self) -> Option<Timestamp> {
        self.retries.iter().filter_map(|retry| retry.at).min()
    }
}

/// What the count of a group takes beside its name.
const GROUP_BYTES: usize = 12;

/// The bytes of something as JSON, and of what stands between it and the next.
fn bytes_of(value: &(impl serde::Serialize + ?Sized)) -> usize {
    // What cannot be written takes more than there is.
    serde_json::to_string(value).map_or(usize::MAX / 4, |text| text.len() + 1)
}

impl Cursor {
    /// Its bytes in the state.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(self)
    }

    /// Whether it can be kept.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes() > CURSOR_BYTES_MAX
    }
}

/// The key of an item of a group.
pub(super) fn key_in(group: &str, key: Option<&str>) -> String {
    format!("{group}{GROUP_END}{}", key.unwrap_or_default())
}

/// The group in the key of an item.
pub(super) fn group_of(key: &str) -> Option<&str> {
    key.split_once(GROUP_END).map(|(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_that_is_a_cursor_alone_is_kept_as_one_and_any_other_is_read_as_it_was_written() {
        let plain = Progress { after: Some(Cursor::key(7)), ..Progress::default() };
        assert_eq!(plain.clone().write().unwrap(), json!({"key": 7}));
        assert_eq!(Progress::read(&json!({"key": 7})).unwrap(), plain);
        assert_eq!(Progress::read(&Value::Null).unwrap(), Progress::default());
        let mut rich = Progress { head: Some(Cursor::key(9)), ahead: vec![Cursor::key(8)], ..plain };
        rich.begin("eu");
        assert_eq!(Progress::read(&rich.clone().write().unwrap()).unwrap(), rich);
        Progress::read(&json!({"strange": 1})).unwrap_err();
    }

    #[test]
    fn the_backlog_is_the_distance_to_the_head() {
        let of = |after, head| Progress { after, head, ..Progress::default() }.backlog();
        assert_eq!(of(Some(Cursor::key(7)), Some(Cursor::key(1_000_007))), Some(Backlog::Keys(1_000_000)));
        assert_eq!(of(None, Some(Cursor::key(5))), Some(Backlog::Keys(5)));
        let at = |s: i64| Cursor::modified(Timestamp::from_micros(s * 1_000_000), 1);
        assert_eq!(of(Some(at(5)), Some(at(65))), Some(Backlog::Time(Duration::from_secs(60))));
        assert_eq!((of(None, None), of(Some(Cursor::key("a")), Some(Cursor::key("b")))), (None, None));
    }
}
