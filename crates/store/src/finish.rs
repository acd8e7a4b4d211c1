//! What an attempt writes: its end, its log, its progress. All of it is fenced by (worker, attempt).

use taskwright_core::{Decision, NewJob, State, Timestamp, Usage};

use crate::claim::JobKey;

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The job.
    pub key: JobKey,
    /// The attempt that ended.
    pub attempt: u32,
    /// When its handler was called.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What is to become of the job; it comes from [`taskwright_core::attempt::decide`].
    pub decision: Decision,
    /// What the attempt used, if that could be measured.
    pub usage: Option<Usage>,
    /// Jobs that are stored together with a completion, and not at all with any other end.
    pub follow_ups: Vec<NewJob>,
    /// How often the job may be snoozed: once more than that, and it fails.
    pub snoozes_max: u32,
}

impl Finish {
    /// The jobs that are to be stored with it; mostly none.
    pub(crate) fn follow_ups(&self) -> &[NewJob] {
        if self.decision.to == State::Completed { &self.follow_ups } else { &[] }
    }
}

/// The attempts among these ends that do not count, as (number, attempt): their numbers are used again.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn uncounted(ends: &[Finish]) -> std::collections::HashSet<(i64, u32)> {
    ends.iter().filter(|end| end.decision.end.is_none()).map(|end| (end.key.0, end.attempt)).collect()
}

/// How far an attempt is.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is in all, if that is known.
    pub total: Option<u64>,
    /// What is being done, at most 1,024 bytes.
    pub message: Option<String>,
}

/// Progress of one running attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgressReport {
    /// The job.
    pub key: JobKey,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// How far.
    pub progress: Progress,
}

/// Where a piece of a log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output of a command.
    Stdout,
    /// Standard error of a command.
    Stderr,
    /// What a handler or Taskwright wrote.
    Log,
}

impl LogStream {
    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The value of a [`code`](Self::code); anything unknown is a plain log.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Stdout,
            1 => Self::Stderr,
            _ => Self::Log,
        }
    }
}

/// A piece of the log of a running attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// The job.
    pub key: JobKey,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: LogStream,
    /// The bytes as they came: not necessarily UTF-8, not necessarily whole lines.
    pub bytes: Vec<u8>,
}
