//! The domain of Taskwright, pure: ids, states and the one transition table, attempts and fences, retry,
//! priority, triggers and schedules, limits, retention, errors.
//!
//! Rules go in as values and decisions come out. Nothing here reads a clock, draws a random number, does I/O,
//! speaks SQL or is `async`; whoever calls brings the time and the dice. That is what lets the same rule serve
//! every store, and lets a test own the day.
//!
//! | module | question it answers |
//! |---|---|
//! | [`id`] | what names a job, a worker |
//! | [`time`] | what a moment is |
//! | [`name`] | which names and texts are accepted |
//! | [`job`] | what a submitter hands in |
//! | [`state`] | which moves a job may make |
//! | [`attempt`] | what one execution leaves behind, and what becomes of the job |
//! | [`retry`] | when it is tried again |
//! | [`priority`] | who goes first |
//! | [`trigger`] | when a schedule fires |
//! | [`cron`], [`zone`] | which moments an expression and a wall clock mean |
//! | [`schedule`] | which jobs a schedule makes now |
//! | [`unique`] | which jobs count as the same |
//! | [`retention`] | how long what is over is kept |
//! | [`statistics`] | what executions took, added up |
//! | [`limit`] | how large anything may be |
#![forbid(unsafe_code)]

pub mod attempt;
pub mod cron;
pub mod error;
pub mod id;
pub mod job;
pub mod limit;
pub mod name;
pub mod priority;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod state;
pub mod statistics;
pub mod time;
pub mod trigger;
pub mod unique;
pub mod zone;

pub use attempt::{AttemptRecord, Decision, Fence, Outcome, Usage, Verdict};
pub use error::Error;
pub use id::{JobId, WorkerId};
pub use job::{Args, Delivery, NewJob};
pub use name::{Actor, Kind, Namespace, Owner, QueueName, RuleName, ScheduleName, Topic, TriggerId};
pub use priority::Priority;
pub use retention::Retention;
pub use retry::{Backoff, MaxAttempts};
pub use schedule::{Schedule, ScheduleState};
pub use state::{Cause, State};
pub use time::Timestamp;
pub use trigger::{Trigger, TriggerState};
pub use unique::{UniqueKey, UniqueScope};
pub use zone::Zone;
