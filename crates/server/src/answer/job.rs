//! Jobs: everything about one, a piece of its log, what became of a change.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{AttemptRecord, Delivery, JobId, Timestamp, Usage, WorkerId};
use taskwright_store::{
    Changed, Comment, Enqueued, JobDetail, JobOrigin, JobView, LogChunk, LogStream, TimelineEntry,
};

use super::micros;
use crate::error::Error;

/// A job with everything about it but its log: the fields of a listing, and the rest.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(crate) struct Whole {
    #[serde(flatten)]
    view: JobView,
    /// What its handler is given.
    #[schemars(with = "serde_json::Value")]
    args: Box<RawValue>,
    /// What its handler returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    result: Option<Box<RawValue>>,
    /// How long it waits after a failure, if it does not leave that to the task.
    backoff: Option<String>,
    /// How long one attempt may take, in microseconds, if it does not leave that to the task.
    timeout_us: Option<u64>,
    /// What happens when its worker is lost.
    delivery: Delivery,
    /// The schedule that made it.
    made_by: Option<JobOrigin>,
    /// Its unique key, while it holds it.
    unique: Option<String>,
    /// Its attempts that have ended, the oldest first.
    attempts: Vec<Attempt>,
    /// Its moves, the oldest first.
    timeline: Vec<TimelineEntry>,
    /// What people said about it, the oldest first.
    comments: Vec<Comment>,
}

/// An attempt that has ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Attempt {
    /// Its number, from 1.
    attempt: u32,
    /// Who ran it.
    worker: WorkerId,
    /// When it was claimed.
    claimed_at: Timestamp,
    /// When its handler was called.
    started_at: Option<Timestamp>,
    /// When it ended.
    ended_at: Timestamp,
    /// How.
    end: AttemptEnd,
    /// What went wrong.
    error: Option<String>,
    /// What it used of the machine.
    usage: Option<Used>,
}

/// What was used of the machine, with `null` for a peak that was not measured.
#[derive(Serialize, serde::Deserialize, JsonSchema)]
pub(crate) struct Used {
    /// CPU time in user mode, microseconds.
    cpu_user_us: u64,
    /// CPU time in the kernel, microseconds.
    cpu_system_us: u64,
    /// The largest resident set of any one process, bytes.
    rss_peak_bytes: Option<u64>,
    /// Bytes that were fetched from storage.
    read_bytes: u64,
    /// Bytes that were sent to storage.
    written_bytes: u64,
}

impl Whole {
    /// What is told of a job.
    ///
    /// # Errors
    ///
    /// When what the store keeps of it is not JSON.
    pub(crate) fn of(job: JobDetail, made_by: Option<JobOrigin>) -> Result<Self, Error> {
        let id = job.view.id;
        let raw = |json: &str| RawValue::from_string(json.to_owned()).map_err(|error| damaged(id, &error));
        Ok(Self {
            args: raw(job.args.as_str())?,
            result: job.result.as_deref().map(raw).transpose()?,
            view: job.view,
            backoff: job.backoff.map(|backoff| backoff.to_string()),
            timeout_us: job.timeout.map(micros),
            delivery: job.delivery,
            made_by,
            unique: job.unique,
            attempts: job.attempts.into_iter().map(Attempt::from).collect(),
            timeline: job.timeline,
            comments: job.comments,
        })
    }
}

fn damaged(id: JobId, error: &serde_json::Error) -> Error {
    Error::operational(
        format!("the job {id}"),
        format!("what the store keeps of it is not JSON: {error}"),
        "the store may be damaged: restore it from a backup",
    )
}

impl From<AttemptRecord> for Attempt {
    fn from(record: AttemptRecord) -> Self {
        Self {
            attempt: record.attempt,
            worker: record.worker,
            claimed_at: record.claimed_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            end: record.end,
            error: record.error,
            usage: record.usage.map(Used::from),
        }
    }
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        let Usage { cpu_user_us, cpu_system_us, rss_peak_bytes, read_bytes, written_bytes } = usage;
        let rss_peak_bytes = Some(rss_peak_bytes).filter(|bytes| *bytes > 0);
        Self { cpu_user_us, cpu_system_us, rss_peak_bytes, read_bytes, written_bytes }
    }
}

impl From<Used> for Usage {
    fn from(used: Used) -> Self {
        let Used { cpu_user_us, cpu_system_us, rss_peak_bytes, read_bytes, written_bytes } = used;
        let rss_peak_bytes = rss_peak_bytes.unwrap_or(0);
        Self { cpu_user_us, cpu_system_us, rss_peak_bytes, read_bytes, written_bytes }
    }
}

/// The job that stands for what was enqueued.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize, JsonSchema)]
#[schemars(rename = "Enqueued")]
pub(crate) struct Stored {
    /// Whether nothing was stored, because the id or the unique key was there already.
    pub(crate) existing: bool,
    /// Its id.
    pub(crate) id: JobId,
}

impl From<Enqueued> for Stored {
    fn from(Enqueued { id, existing }: Enqueued) -> Self {
        Self { existing, id }
    }
}

/// What became of a job that was to be changed.
#[derive(Clone, Debug, Serialize, serde::Deserialize, JsonSchema)]
#[schemars(rename = "Changed")]
pub(crate) struct Became {
    /// The job.
    pub(crate) id: JobId,
    /// Why nothing was changed, or what is still to come.
    pub(crate) reason: Option<String>,
    /// What became of it.
    pub(crate) result: Outcome,
}

/// In a word, what became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ChangeResult")]
pub(crate) enum Outcome {
    /// Done, by this call.
    Done,
    /// A running job was asked to stop, by this call.
    Requested,
    /// Nothing was changed.
    Skipped,
    /// There is no such job.
    Unknown,
}

impl Outcome {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Requested => "requested",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }
}

impl Became {
    /// What is told of a change.
    pub(crate) fn of(id: JobId, changed: Changed) -> Self {
        let (result, reason) = match changed {
            Changed::Done => (Outcome::Done, None),
            Changed::Requested => (Outcome::Requested, Some("it ends when its handler does".to_owned())),
            Changed::Skipped(why) => (Outcome::Skipped, Some(why)),
            Changed::Unknown => (Outcome::Unknown, Some("there is no such job".to_owned())),
        };
        Self { id, reason, result }
    }
}

/// That a comment was put on a job.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize, JsonSchema)]
pub(crate) struct Commented {
    /// `true`.
    pub(crate) commented: bool,
    /// The job.
    pub(crate) id: JobId,
}

/// A piece of the log of a job.
#[derive(Clone, Debug, Serialize, serde::Deserialize, JsonSchema)]
#[schemars(rename = "LogPiece")]
pub(crate) struct Piece {
    /// Its number within the job, from 0.
    pub(crate) number: u64,
    /// The attempt that wrote it.
    pub(crate) attempt: u32,
    /// When.
    pub(crate) at: Timestamp,
    /// Where it came from.
    pub(crate) stream: LogStream,
    /// What was written; bytes that are not UTF-8 are replaced.
    pub(crate) text: String,
    /// The bytes, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<Vec<u8>>,
}

impl From<LogChunk> for Piece {
    fn from(chunk: LogChunk) -> Self {
        let LogChunk { number, attempt, at, stream, bytes } = chunk;
        let (text, bytes) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(error.into_bytes())),
        };
        Self { number, attempt, at, stream, text, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_that_was_not_measured_is_null() {
        let shown = |usage| serde_json::to_value(Used::from(usage)).unwrap();
        let mut usage = Usage { cpu_user_us: 7, ..Usage::default() };
        assert_eq!(shown(usage)["rss_peak_bytes"], serde_json::Value::Null);
        assert_eq!(shown(usage)["cpu_user_us"], 7);
        usage.rss_peak_bytes = 4096;
        // The same fields as the usage has everywhere else.
        assert_eq!(shown(usage), serde_json::to_value(usage).unwrap());
    }
}
