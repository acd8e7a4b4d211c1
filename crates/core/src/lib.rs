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
//! | [`generator`] | when a generator is asked, and for how much |
//! | [`webhook`] | which events an endpoint is told of, and when |
//! | [`source`] | which event a look at a file makes |
//! | [`outcome`] | how the end of a job is told as an event |
//! | [`permission`] | who may do what |
//! | [`authority`] | by whose rights something goes on that makes jobs by itself |
//! | [`token`] | what a secret looks like, and what is kept of it |
//! | [`audit`] | how it is kept who did what, so that nothing can be changed in it without a trace |
//! | [`unique`] | which jobs count as the same |
//! | [`retention`] | how long what is over is kept |
//! | [`statistics`] | what executions took, added up |
//! | [`rollup`] | what those of a minute or an hour took, to be kept |
//! | [`limit`] | how large anything may be |
//! | [`resource`] | what an attempt may use of the machine |
//! | [`admission`] | which jobs a worker has room for |
//! | [`service`] | the life of a service, and when it is started again |
//! | [`pattern`] | which names a text with stars means |
//! | [`search`] | which arguments a search finds |
//! | [`patience`] | when somebody who waits looks again, and gives up |
//! | [`size`] | what an amount of bytes looks like |
#![forbid(unsafe_code)]

pub mod admission;
pub mod attachment;
pub mod attempt;
pub mod audit;
pub mod authority;
pub mod bulk;
pub mod cron;
pub mod deadline;
pub mod error;
pub mod generator;
pub mod id;
pub mod job;
pub mod limit;
pub mod name;
pub mod outcome;
pub mod patience;
pub mod pattern;
pub mod permission;
pub mod priority;
pub mod resource;
pub mod retention;
pub mod retry;
pub mod rollup;
pub mod schedule;
#[cfg(feature = "schema")]
mod schema;
pub mod search;
pub mod service;
pub mod sight;
pub mod size;
pub mod source;
pub mod state;
pub mod statistics;
mod text;
pub mod throttle;
pub mod time;
pub mod token;
pub mod trigger;
pub mod unique;
pub mod webhook;
pub mod zone;

pub use admission::{Budget, Weight};
pub use attachment::Attachment;
pub use attempt::{AttemptRecord, Decision, Fence, Outcome, Usage, Verdict};
pub use authority::Authority;
pub use error::Error;
pub use id::{EventId, JobId, ProcessId, TokenId, WorkerId};
pub use job::{Args, Delivery, NewJob, OnShutdown};
pub use name::{
    Actor, AttachmentName, BulkTypeName, GeneratorName, Kind, Namespace, NodeName, Owner, QueueName,
    RuleName, ScheduleName, ServiceName, SourceName, StepName, TokenName, Topic, TriggerId, UserName,
    WebhookName,
};
pub use pattern::Pattern;
pub use permission::{CancelPolicy, Grants, Permission, Principal, PrincipalKind, Right, Role, Scopes};
pub use priority::Priority;
pub use resource::{IoNice, Limits};
pub use retention::{Garbage, Retention};
pub use retry::{Backoff, MaxAttempts};
pub use rollup::{Grain, RollUp};
pub use schedule::{Schedule, ScheduleState};
pub use search::{ArgsMatch, ArgsSearch};
pub use service::{Restart, ServiceState};
pub use source::{FileChange, Fingerprint};
pub use state::{Cause, State};
pub use time::Timestamp;
pub use trigger::{Trigger, TriggerState};
pub use unique::{UniqueKey, UniqueScope};
pub use zone::Zone;
