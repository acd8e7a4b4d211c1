//! What goes from a worker to the child of an attempt, and back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{
    Args, Backoff, Delivery, Error, JobId, Kind, MaxAttempts, Namespace, NewJob, Outcome, Owner, Priority,
    QueueName, Timestamp, UniqueKey, UniqueScope, WorkerId,
};
use taskwright_store::{ClaimedJob, JobKey};

use crate::context::Context;
use crate::env::micros;
use crate::worker::panic::Panic;

/// The job of the attempt.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) worker: WorkerId,
    id: JobId,
    attempt: u32,
    namespace: Namespace,
    owner: Option<Owner>,
    kind: Kind,
    queue: QueueName,
    priority: i16,
    args: String,
    created_at: Timestamp,
    claimed_at: Timestamp,
    max_attempts: u32,
    /// By how much the clock of the store is ahead of the machine's.
    pub(super) ahead_us: i64,
}

impl Order {
    pub(super) fn of(ctx: &Context) -> Self {
        let job = ctx.claimed();
        Self {
            worker: ctx.worker_id(),
            ahead_us: ctx.env().ahead_us(),
            id: job.id,
            attempt: job.attempt,
            namespace: job.namespace.clone(),
            owner: job.owner.clone(),
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            priority: job.priority.0,
            args: job.args.as_str().to_owned(),
            created_at: job.created_at,
            claimed_at: job.claimed_at,
            max_attempts: job.max_attempts.code(),
        }
    }

    pub(super) fn job(self) -> Result<ClaimedJob, Error> {
        Ok(ClaimedJob {
            // Nothing is stored there.
            key: JobKey(0),
            id: self.id,
            attempt: self.attempt,
            namespace: self.namespace,
            owner: self.owner,
            kind: self.kind,
            queue: self.queue,
            priority: Priority(self.priority),
            args: Args::from_json(self.args)?,
            created_at: self.created_at,
            claimed_at: self.claimed_at,
            max_attempts: MaxAttempts::from_code(self.max_attempts),
            // The worker knows.
            backoff: None,
            timeout: None,
            delivery: Delivery::default(),
        })
    }
}

/// How the attempt ended.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    ended: Ended,
    follow_ups: Vec<FollowUp>,
    /// The panic that it ended with, if it did. A backtrace is no value that could be passed on.
    #[serde(default)]
    panic: Option<Panicked>,
}

/// The outcome with its follow-up jobs, and the panic of the handler.
pub(super) type Answered = (Outcome, Vec<NewJob>, Option<Box<Panic>>);

/// A panic of the handler.
#[derive(Serialize, Deserialize)]
struct Panicked {
    message: String,
    place: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Ended {
    Completed { result: Option<String> },
    Retry { error: String, after_us: Option<u64>, end: AttemptEnd },
    Fail { error: String },
    Snooze { delay_us: u64 },
    Cancelled { reason: String },
    GiveBack { reason: String },
}

#[derive(Serialize, Deserialize)]
struct FollowUp {
    id: JobId,
    namespace: Namespace,
    owner: Option<Owner>,
    kind: Kind,
    queue: QueueName,
    priority: i16,
    args: String,
    run_at: Option<Timestamp>,
    held: bool,
    max_attempts: u32,
    backoff: Option<Backoff>,
    timeout_us: Option<u64>,
    delivery: Delivery,
    unique: Option<(String, UniqueScope)>,
}

impl Answer {
    pub(super) fn of(outcome: Outcome, follow_ups: Vec<NewJob>, panic: Option<Box<Panic>>) -> Self {
        let panic = panic.map(|panic| Panicked { message: panic.message, place: panic.place });
        let ended = match outcome {
            Outcome::Completed { result } => Ended::Completed { result },
            Outcome::Retry { error, after, end } => Ended::Retry { error, after_us: after.map(micros), end },
            Outcome::Fail { error } => Ended::Fail { error },
            Outcome::Snooze { delay } => Ended::Snooze { delay_us: micros(delay) },
            Outcome::Cancelled { reason } => Ended::Cancelled { reason },
            Outcome::GiveBack { reason } => Ended::GiveBack { reason },
        };
        Self { ended, follow_ups: follow_ups.into_iter().map(FollowUp::of).collect(), panic }
    }

    pub(super) fn outcome(self) -> Result<Answered, Error> {
        let outcome = match self.ended {
            Ended::Completed { result } => Outcome::Completed { result },
            Ended::Retry { error, after_us, end } => {
                Outcome::Retry { error, after: after_us.map(Duration::from_micros), end }
            }
            Ended::Fail { error } => Outcome::Fail { error },
            Ended::Snooze { delay_us } => Outcome::Snooze { delay: Duration::from_micros(delay_us) },
            Ended::Cancelled { reason } => Outcome::Cancelled { reason },
            Ended::GiveBack { reason } => Outcome::GiveBack { reason },
        };
        let panic = self.panic.map(|Panicked { message, place }| Panic { message, place, backtrace: None });
        let follow_ups = self.follow_ups.into_iter().map(FollowUp::job).collect::<Result<_, _>>()?;
        Ok((outcome, follow_ups, panic.map(Box::new)))
    }
}

impl FollowUp {
    fn of(job: NewJob) -> Self {
        Self {
            id: job.id,
            namespace: job.namespace,
            owner: job.owner,
            kind: job.kind,
            queue: job.queue,
            priority: job.priority.0,
            args: job.args.as_str().to_owned(),
            run_at: job.run_at,
            held: job.held,
            max_attempts: job.max_attempts.code(),
            backoff: job.backoff,
            timeout_us: job.timeout.map(micros),
            delivery: job.delivery,
            unique: job.unique.map(|unique| (unique.as_str().to_owned(), unique.scope)),
        }
    }

    fn job(self) -> Result<NewJob, Error> {
        let unique =
            |(key, scope): (String, UniqueScope)| Ok::<_, Error>(UniqueKey::new(&key)?.with_scope(scope));
        let mut job = NewJob::new(self.id, self.kind, Args::from_json(self.args)?);
        job.namespace = self.namespace;
        job.owner = self.owner;
        job.queue = self.queue;
        job.priority = Priority(self.priority);
        job.run_at = self.run_at;
        job.held = self.held;
        job.max_attempts = MaxAttempts::from_code(self.max_attempts);
        job.backoff = self.backoff;
        job.timeout = self.timeout_us.map(Duration::from_micros);
        job.delivery = self.delivery;
        job.unique = self.unique.map(unique).transpose()?;
        Ok(job)
    }
}
