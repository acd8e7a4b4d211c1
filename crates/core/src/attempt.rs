//! One execution: the fence it writes under, what it leaves behind, and what becomes of the job.
//!
//! [`decide`] and [`decide_loss`] are the only places that turn the end of an attempt into the next state of a job.

use std::time::Duration;

use crate::error::Error;
use crate::id::WorkerId;
use crate::job::{Delivery, OnShutdown};
use crate::limit::{ERROR_BYTES_MAX, LOST_IN_A_ROW_MAX, RESULT_BYTES_MAX, SNOOZE_MIN};
use crate::name::clipped;
use crate::retry::{Backoff, MaxAttempts};
use crate::state::{Cause, State};
use crate::time::Timestamp;

/// What every write of an attempt must carry: once the job was given to somebody else, the pair is stale and the
/// write changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The incarnation that claimed the job.
    pub worker: WorkerId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

/// What the store says to a write under a [`Fence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt still held the job; the write took place.
    Accepted,
    /// The job was no longer this attempt's; nothing was changed. Whoever is told so stops.
    Stale,
}

/// How a handler ended, in the words of its author.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done; with a JSON result, if it has one.
    Completed {
        /// One JSON value.
        result: Option<String>,
    },
    /// Failed; worth another try.
    Retry {
        /// What went wrong.
        error: String,
        /// Not before this much time has passed, instead of the back-off.
        after: Option<Duration>,
        /// What kind of failure it was.
        end: AttemptEnd,
    },
    /// Failed, and will fail again: no more attempts.
    Fail {
        /// What went wrong.
        error: String,
    },
    /// Not now: call again after this much time. The attempt does not count.
    Snooze {
        /// How long; at least a millisecond.
        delay: Duration,
    },
    /// The handler stopped because it was asked to, or ends the job by its own wish.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The worker stops and hands the job back. The attempt does not count.
    GiveBack {
        /// Why.
        reason: String,
    },
}

/// How one attempt ended; a row of it stays for as long as the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// The handler returned a result.
    Completed,
    /// The handler returned an error.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The handler took longer than it may.
    TimedOut,
    /// The handler stopped on request.
    Cancelled,
    /// The worker was lost.
    Lost,
}

impl AttemptEnd {
    /// All of them, by code.
    pub const ALL: [Self; 6] =
        [Self::Completed, Self::Failed, Self::Panicked, Self::TimedOut, Self::Cancelled, Self::Lost];

    /// The word for it, in every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The value of a [`code`](Self::code).
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.code() == code)
    }
}

/// What one attempt used of the machine. Only child processes can be measured one by one; what the kernel does not tell
/// is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// CPU time in user mode, microseconds, of the child and every descendant that was waited for.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// The largest resident set of any *one* process, bytes.
    pub rss_peak_bytes: u64,
    /// Bytes that had to be fetched from storage.
    pub read_bytes: u64,
    /// Bytes written towards storage.
    pub written_bytes: u64,
}

impl Usage {
    /// Adds what another process of the same attempt used.
    pub fn absorb(&mut self, other: &Self) {
        self.cpu_user_us += other.cpu_user_us;
        self.cpu_system_us += other.cpu_system_us;
        self.rss_peak_bytes = self.rss_peak_bytes.max(other.rss_peak_bytes);
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
    }
}

/// The row that an attempt leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub attempt: u32,
    /// Who ran it.
    pub worker: WorkerId,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When its handler was called; `None` when that is not known (the worker was lost).
    pub started_at: Option<Timestamp>,
    /// When it ended, or was found lost.
    pub ended_at: Timestamp,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// What it used, if it could be measured.
    pub usage: Option<Usage>,
}

/// What is to become of a running job: the output of the rules, the input of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Why the job moves.
    pub cause: Cause,
    /// Where it moves to.
    pub to: State,
    /// When it may run again, for a job that is scheduled or retryable. A job that becomes available again keeps the
    /// place it had in its queue.
    pub run_at: Option<Timestamp>,
    /// How the attempt ended; `None` when it does not count and leaves no row.
    pub end: Option<AttemptEnd>,
    /// What went wrong, or why it moves, for the attempt's row and the job's timeline.
    pub reason: Option<String>,
    /// The job's result.
    pub result: Option<String>,
}

/// What [`decide`] must know besides the outcome.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The number of the attempt that ended.
    pub attempt: u32,
    /// How many executions the job gets.
    pub max_attempts: MaxAttempts,
    /// How long it waits after a failure.
    pub backoff: Backoff,
    /// What the task promises.
    pub delivery: Delivery,
    /// What becomes of it when the worker stops before it has ended.
    pub on_shutdown: OnShutdown,
    /// Whether somebody asked for the job to be cancelled.
    pub cancel_requested: bool,
    /// Now.
    pub now: Timestamp,
    /// A random number from [0, 1).
    pub dice: f64,
}

/// Turns the end of an attempt into what becomes of the job.
///
/// - A result completes the job, also when somebody asked for a cancel meanwhile: the work is done.
/// - After a cancel request anything else ends it as cancelled.
/// - A failure is retried as long as an attempt is left, after the handler's own delay or else the back-off.
/// - A snooze and a give-back do not count as an attempt; but a started job that must not run twice is dropped instead of
///   given back, and so is one whose [policy](OnShutdown) says so.
pub fn decide(outcome: Outcome, facts: &Facts) -> Decision {
    let ended = |cause, to, end, reason: Option<String>| Decision {
        cause,
        to,
        run_at: None,
        end: Some(end),
        reason: reason.map(|reason| clipped(&reason, ERROR_BYTES_MAX)),
        result: None,
    };
    let again = |cause, to, run_at, end, reason: String| Decision {
        cause,
        to,
        run_at: Some(run_at),
        end,
        reason: Some(clipped(&reason, ERROR_BYTES_MAX)),
        result: None,
    };
    match outcome {
        Outcome::Completed { result } => {
            Decision { result, ..ended(Cause::Complete, State::Completed, AttemptEnd::Completed, None) }
        }
        Outcome::Cancelled { reason } => {
            ended(Cause::Cancel, State::Cancelled, AttemptEnd::Cancelled, Some(reason))
        }
        Outcome::Retry { error, .. } | Outcome::Fail { error } if facts.cancel_requested => {
            ended(Cause::Cancel, State::Cancelled, AttemptEnd::Cancelled, Some(error))
        }
        Outcome::Snooze { .. } | Outcome::GiveBack { .. } if facts.cancel_requested => {
            let reason = "stopped after a cancel request".to_owned();
            ended(Cause::Cancel, State::Cancelled, AttemptEnd::Cancelled, Some(reason))
        }
        Outcome::Fail { error } => ended(Cause::Fail, State::Failed, AttemptEnd::Failed, Some(error)),
        Outcome::Retry { error, end, .. } if !facts.max_attempts.allows_after(facts.attempt) => {
            ended(Cause::Fail, State::Failed, end, Some(error))
        }
        Outcome::Retry { error, after, end } => {
            let delay = after.unwrap_or_else(|| facts.backoff.jittered(facts.attempt, facts.dice));
            again(Cause::Retry, State::Retryable, facts.now.plus(delay), Some(end), error)
        }
        Outcome::Snooze { delay } => {
            let run_at = facts.now.plus(delay.max(SNOOZE_MIN));
            again(Cause::Snooze, State::Scheduled, run_at, None, "snoozed by its handler".to_owned())
        }
        Outcome::GiveBack { reason } if facts.delivery == Delivery::AtMostOnce => {
            let reason = format!("{reason}; it was started, and must not run twice");
            ended(Cause::Drop, State::Dropped, AttemptEnd::Cancelled, Some(reason))
        }
        Outcome::GiveBack { reason } if facts.on_shutdown == OnShutdown::Drop => {
            let reason = format!("{reason}; it was started, and on_shutdown is drop");
            ended(Cause::Drop, State::Dropped, AttemptEnd::Cancelled, Some(reason))
        }
        Outcome::GiveBack { reason } => give_back(reason),
    }
}

/// The job goes back to where it was, and the attempt does not count.
pub fn give_back(reason: String) -> Decision {
    Decision {
        cause: Cause::GiveBack,
        to: State::Available,
        run_at: None,
        end: None,
        reason: Some(clipped(&reason, ERROR_BYTES_MAX)),
        result: None,
    }
}

impl Decision {
    /// The same decision for a job that somebody asked to cancel before it could be written down: nothing may start
    /// after a cancel was acknowledged, so what would wait for another attempt ends here.
    #[must_use]
    pub fn under_cancel(self) -> Self {
        if self.to.is_terminal() {
            return self;
        }
        let end = self.end.or(Some(AttemptEnd::Cancelled));
        // An attempt that was lost was lost all the same.
        let cause = if end == Some(AttemptEnd::Lost) { Cause::Lose } else { Cause::Cancel };
        Self { cause, to: State::Cancelled, run_at: None, end, ..self }
    }

    /// The same decision for a job that was snoozed so often `before`, since it was last run again on request: once that is
    /// as often as it may, it fails instead. Everything but a snooze stays what it is.
    #[must_use]
    pub fn under_snoozes(self, before: u32, max: u32) -> Self {
        if self.cause != Cause::Snooze || before < max {
            return self;
        }
        let reason = format!("it was snoozed {before} times already, and {max} are allowed");
        let (cause, to, end) = (Cause::Fail, State::Failed, Some(AttemptEnd::Failed));
        Self { cause, to, run_at: None, end, reason: Some(reason), result: None }
    }
}

impl Decision {
    /// The same decision for a job that was to fail before it could be written down, since it took too long: what would wait for
    /// another attempt, or count as cancelled, has failed.
    #[must_use]
    pub fn under_deadline(self) -> Self {
        if matches!(self.to, State::Completed | State::Failed | State::Dropped) {
            return self;
        }
        let (cause, end) = match self.cause {
            // Its attempt was lost all the same.
            Cause::Lose => (Cause::Lose, self.end),
            _ => (Cause::Fail, Some(AttemptEnd::TimedOut)),
        };
        Self { cause, to: State::Failed, run_at: None, end, ..self }
    }
}

/// Checks that a handler's result is JSON and not over the limit.
///
/// # Errors
///
/// When it has more than [`RESULT_BYTES_MAX`] bytes, or is not JSON.
pub fn check_result(result: &str) -> Result<(), Error> {
    if result.len() > RESULT_BYTES_MAX {
        return Err(Error::too_large(
            "the result",
            format!("it has {} bytes, {RESULT_BYTES_MAX} are allowed", result.len()),
            "store the large part elsewhere and return a reference to it",
        ));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(result).map(drop).map_err(|error| {
        Error::invalid("the result", format!("it is not JSON: {error}"), "return one JSON value")
    })
}

/// What [`decide_loss`] must know about a job whose worker is gone.
#[derive(Clone, Copy, Debug)]
pub struct LossFacts {
    /// The number of the attempt that was lost.
    pub attempt: u32,
    /// How many executions the job gets.
    pub max_attempts: MaxAttempts,
    /// How many attempts right before this one were lost as well. One that kept a step ends the row.
    pub lost_before: u32,
    /// Whether this attempt kept a step, so that the next one has less to do.
    pub kept_a_step: bool,
    /// Whether the handler may have been called. `false` only when that is certain.
    pub started: bool,
    /// What the task promises.
    pub delivery: Delivery,
    /// Whether somebody asked for the job to be cancelled.
    pub cancel_requested: bool,
}

/// Takes a job from the attempt that runs it, on somebody's behalf: it is available at once, whatever attempts are left, and what
/// the attempt writes from then on is stale.
///
/// The attempt counts as lost. A job that was to be cancelled is cancelled instead.
pub fn free(reason: String) -> Decision {
    Decision {
        cause: Cause::Lose,
        to: State::Available,
        run_at: None,
        end: Some(AttemptEnd::Lost),
        reason: Some(clipped(&reason, ERROR_BYTES_MAX)),
        result: None,
    }
}

/// Whether an attempt of this number can be a job's [last chance](is_last_chance) at all; who sees many jobs need not look at
/// the others.
pub const fn may_be_last_chance(attempt: u32) -> bool {
    attempt >= LOST_IN_A_ROW_MAX
}

/// Whether one more lost worker quarantines a job, after so many in a row.
///
/// Whoever runs such a job lets no other one of the kind run beside it: of those that run when a worker dies nobody knows which
/// killed it, and an innocent one that always runs beside the guilty one would be quarantined with it.
pub const fn is_last_chance(lost_before: u32) -> bool {
    lost_before + 1 >= LOST_IN_A_ROW_MAX
}

/// Turns the loss of a worker into what becomes of one job that it held.
///
/// - A job that certainly was not started goes back and keeps its attempt.
/// - A job that was to be cancelled is cancelled.
/// - A job that must not run twice is dropped.
/// - The third lost worker in a row quarantines the job, whatever attempts are left; an attempt that kept a step is in no such row, as
///   the job has come further than where it would kill its worker each time.
/// - Anything else is available at once: the loss is the worker's fault until it has happened often.
pub fn decide_loss(facts: &LossFacts) -> Decision {
    let lost = |to, reason: String| Decision {
        cause: Cause::Lose,
        to,
        run_at: None,
        end: Some(AttemptEnd::Lost),
        reason: Some(reason),
        result: None,
    };
    let lost_in_a_row = if facts.kept_a_step { 0 } else { facts.lost_before + 1 };
    if facts.cancel_requested {
        lost(State::Cancelled, "worker lost after a cancel request".to_owned())
    } else if !facts.started {
        give_back("worker lost before the job was started".to_owned())
    } else if facts.delivery == Delivery::AtMostOnce {
        lost(State::Dropped, "worker lost, and the job must not run twice".to_owned())
    } else if lost_in_a_row >= LOST_IN_A_ROW_MAX {
        lost(State::Failed, format!("worker lost {lost_in_a_row} times"))
    } else if !facts.max_attempts.allows_after(facts.attempt) {
        lost(State::Failed, format!("worker lost in attempt {}, the last one", facts.attempt))
    } else {
        lost(State::Available, "worker lost".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(attempt: u32) -> Facts {
        Facts {
            attempt,
            max_attempts: MaxAttempts::default(),
            backoff: Backoff::default(),
            delivery: Delivery::AtLeastOnce,
            on_shutdown: OnShutdown::default(),
            cancel_requested: false,
            now: Timestamp::from_micros(0),
            dice: 0.5,
        }
    }

    fn failure() -> Outcome {
        Outcome::Retry { error: "boom".to_owned(), after: None, end: AttemptEnd::Failed }
    }

    #[test]
    fn five_attempts_are_five_executions() {
        let states: Vec<State> = (1..=5).map(|attempt| decide(failure(), &facts(attempt)).to).collect();
        assert_eq!(states[..4], [State::Retryable; 4]);
        assert_eq!(states[4], State::Failed);
    }

    #[test]
    fn the_back_off_follows_the_attempt_and_retry_after_beats_it() {
        let run_at =
            |outcome, attempt| decide(outcome, &facts(attempt)).run_at.unwrap().as_micros() / 1_000_000;
        assert_eq!((run_at(failure(), 1), run_at(failure(), 3)), (10, 40));
        let after = Some(Duration::from_secs(3));
        let asked = Outcome::Retry { error: String::new(), after, end: AttemptEnd::Failed };
        assert_eq!(run_at(asked, 3), 3);
    }

    #[test]
    fn snooze_and_give_back_do_not_count_as_an_attempt() {
        let snooze = decide(Outcome::Snooze { delay: Duration::ZERO }, &facts(5));
        assert_eq!((snooze.to, snooze.end), (State::Scheduled, None));
        assert_eq!(snooze.run_at, Some(Timestamp::from_micros(1_000)));
        let back = decide(Outcome::GiveBack { reason: "shutdown".to_owned() }, &facts(5));
        assert_eq!((back.to, back.end), (State::Available, None));
    }

    #[test]
    fn a_started_job_that_must_not_run_twice_is_dropped_instead_of_given_back() {
        let facts = Facts { delivery: Delivery::AtMostOnce, ..facts(1) };
        let dropped = decide(Outcome::GiveBack { reason: "shutdown".to_owned() }, &facts);
        assert_eq!((dropped.to, dropped.end), (State::Dropped, Some(AttemptEnd::Cancelled)));
        crate::state::check(State::Running, dropped.cause, dropped.to).unwrap();
    }

    #[test]
    fn what_a_shutdown_finds_running_is_dropped_where_the_policy_says_so_and_a_failure_is_still_one() {
        let facts = Facts { on_shutdown: OnShutdown::Drop, ..facts(1) };
        let dropped = decide(Outcome::GiveBack { reason: "shutdown".to_owned() }, &facts);
        assert_eq!((dropped.to, dropped.end), (State::Dropped, Some(AttemptEnd::Cancelled)));
        assert!(dropped.reason.unwrap().contains("on_shutdown is drop"));
        assert_eq!(decide(failure(), &facts).to, State::Retryable);
        for policy in [OnShutdown::GiveBack, OnShutdown::Drop] {
            assert_eq!(policy.to_string().parse::<OnShutdown>().unwrap(), policy);
        }
        assert!("keep".parse::<OnShutdown>().unwrap_err().to_string().contains("give-back"));
    }

    #[test]
    fn after_a_cancel_request_only_a_result_still_counts() {
        let facts = Facts { cancel_requested: true, ..facts(1) };
        assert_eq!(decide(Outcome::Completed { result: None }, &facts).to, State::Completed);
        for outcome in [
            failure(),
            Outcome::Fail { error: String::new() },
            Outcome::Snooze { delay: Duration::ZERO },
            Outcome::GiveBack { reason: String::new() },
            Outcome::Cancelled { reason: String::new() },
        ] {
            assert_eq!(decide(outcome, &facts).to, State::Cancelled);
        }
    }

    #[test]
    fn every_decision_is_a_move_of_the_table() {
        for cancel_requested in [false, true] {
            for attempt in [1, 5] {
                for outcome in [
                    Outcome::Completed { result: None },
                    failure(),
                    Outcome::Fail { error: String::new() },
                    Outcome::Snooze { delay: Duration::ZERO },
                    Outcome::Cancelled { reason: String::new() },
                    Outcome::GiveBack { reason: String::new() },
                ] {
                    let decision = decide(outcome, &Facts { cancel_requested, ..facts(attempt) });
                    crate::state::check(State::Running, decision.cause, decision.to).unwrap();
                    let later = matches!(decision.to, State::Scheduled | State::Retryable);
                    assert_eq!(decision.run_at.is_some(), later);
                    let cancelled = decision.under_cancel();
                    assert!(cancelled.to.is_terminal() && cancelled.end.is_some());
                    crate::state::check(State::Running, cancelled.cause, cancelled.to).unwrap();
                }
            }
        }
    }

    fn loss() -> LossFacts {
        LossFacts {
            attempt: 1,
            max_attempts: MaxAttempts::default(),
            lost_before: 0,
            kept_a_step: false,
            started: true,
            delivery: Delivery::AtLeastOnce,
            cancel_requested: false,
        }
    }

    #[test]
    fn a_loss_stays_a_loss_whatever_was_asked_of_the_job() {
        let asked = decide_loss(&LossFacts { cancel_requested: true, ..loss() });
        let freed = || free("by hand".to_owned());
        for (decision, to) in [
            (asked.clone(), State::Cancelled),
            (freed().under_cancel(), State::Cancelled),
            (asked.under_deadline(), State::Failed),
            (freed().under_deadline(), State::Failed),
        ] {
            assert_eq!(
                (decision.cause, decision.to, decision.end),
                (Cause::Lose, to, Some(AttemptEnd::Lost))
            );
            crate::state::check(State::Running, decision.cause, decision.to).unwrap();
        }
    }

    #[test]
    fn a_lost_job_runs_again_until_three_workers_in_a_row_were_lost() {
        let to = |lost_before| decide_loss(&LossFacts { lost_before, ..loss() });
        assert_eq!((to(0).to, to(1).to), (State::Available, State::Available));
        assert_eq!(to(2).to, State::Failed);
        assert_eq!(to(2).reason.unwrap(), "worker lost 3 times");
    }

    #[test]
    fn an_attempt_that_kept_a_step_is_not_counted_among_those_that_were_lost_in_a_row() {
        let kept = LossFacts { kept_a_step: true, lost_before: 2, ..loss() };
        assert_eq!(decide_loss(&kept).to, State::Available);
        assert_eq!(decide_loss(&LossFacts { attempt: 5, ..kept }).to, State::Failed, "there is no other one");
    }

    #[test]
    fn a_lost_job_that_was_not_started_keeps_its_attempt() {
        let back = decide_loss(&LossFacts { started: false, lost_before: 2, attempt: 5, ..loss() });
        assert_eq!((back.cause, back.to, back.end), (Cause::GiveBack, State::Available, None));
    }

    #[test]
    fn a_lost_job_without_attempts_left_fails_and_one_that_must_not_run_twice_is_dropped() {
        assert_eq!(decide_loss(&LossFacts { attempt: 5, ..loss() }).to, State::Failed);
        assert_eq!(decide_loss(&LossFacts { delivery: Delivery::AtMostOnce, ..loss() }).to, State::Dropped);
        assert_eq!(decide_loss(&LossFacts { cancel_requested: true, ..loss() }).to, State::Cancelled);
    }

    #[test]
    fn every_loss_is_a_move_of_the_table() {
        for started in [false, true] {
            for cancel_requested in [false, true] {
                for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
                    for lost_before in 0..4 {
                        let facts = LossFacts { started, cancel_requested, delivery, lost_before, ..loss() };
                        let decision = decide_loss(&facts);
                        crate::state::check(State::Running, decision.cause, decision.to).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn a_result_must_be_json_within_the_limit() {
        assert!(check_result("{\"a\": 1}").is_ok());
        assert!(check_result("{").unwrap_err().is_invalid());
        let long = format!("\"{}\"", "x".repeat(RESULT_BYTES_MAX));
        assert!(check_result(&long).unwrap_err().is_too_large());
    }
}
