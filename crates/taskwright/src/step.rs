//! Steps: parts of a handler's work that are done once, however often it is called.
//!
//! What a step gives is kept in the store as soon as it is done, by the attempt that did it, and the next attempt gets it from there
//! instead of doing the step again (docs/design/0037-steps.md).

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskwright_core::limit::{STEP_BYTES_MAX, STEPS_MAX};
use taskwright_core::{StepName, Timestamp, Verdict};
use taskwright_store::{Error as StoreError, NewStep};

use crate::attempt::lock;
use crate::cancel::StopCause;
use crate::context::Context;
use crate::task::TaskError;

/// The first and the longest time after which the store is asked again that was out of order.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LONGEST: Duration = Duration::from_secs(5);

/// What is left of a durable sleep is slept through when it is not longer than this: leaving and coming back costs more.
const STAY_MAX: Duration = Duration::from_secs(1);

/// The steps of a job, as far as this attempt knows them.
#[derive(Default)]
pub(crate) struct Steps {
    known: HashMap<StepName, Known>,
    /// How many sleeps without a name are over in this attempt.
    slept: usize,
    /// How many steps this attempt is in the middle of.
    under_way: usize,
}

/// A step.
enum Known {
    /// An earlier attempt did it.
    Kept(String),
    /// This attempt did it, and its handler let go of it before it was known to be kept.
    Done(String),
    /// This attempt does it, did it, or took what an earlier one had done.
    Taken,
}

/// What a handler finds where it begins a step.
enum Found {
    Kept(String),
    Done(String),
    Nothing,
}

/// A step that this attempt does. Its handler may let go of it at any await, as [`Env::timeout`](crate::Env::timeout) does, and begin
/// it again: then it is where it was, and what was done is not done again.
struct Doing<'a> {
    ctx: &'a Context,
    name: StepName,
    /// What it gave, as JSON.
    result: Option<String>,
    is_kept: bool,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        let Some(steps) = self.ctx.attempt_steps().get() else { return };
        let mut steps = lock(steps);
        steps.under_way -= 1;
        if !self.is_kept {
            steps.let_go(&self.name, self.result.take());
        }
    }
}

/// A sleep that is not over, which may be let go of as a [step](Doing) may.
struct Sleeping<'a> {
    ctx: &'a Context,
    name: StepName,
    until: Timestamp,
    is_over: bool,
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        if let Some(steps) = self.ctx.attempt_steps().get().filter(|_| !self.is_over) {
            let until = self.until.as_micros().to_string();
            lock(steps).known.insert(self.name.clone(), Known::Kept(until));
        }
    }
}

impl Steps {
    fn take(&mut self, name: &StepName) -> Result<Found, TaskError> {
        match self.known.insert(name.clone(), Known::Taken) {
            Some(Known::Kept(result)) => Ok(Found::Kept(result)),
            Some(Known::Done(result)) => Ok(Found::Done(result)),
            Some(Known::Taken) => Err(TaskError::permanent(format!(
                "the step {name} is there twice: give each a name of its own, also in a loop, such as {name}/1"
            ))),
            None if self.known.len() > STEPS_MAX => {
                self.known.remove(name);
                Err(TaskError::permanent(format!(
                    "the step {name} is one too many: a job has at most {STEPS_MAX}; make jobs of some of them"
                )))
            }
            None => Ok(Found::Nothing),
        }
    }

    /// The number of the next sleep without a name.
    fn next_sleep(&self) -> Result<usize, TaskError> {
        // Once the step is kept it is passed over, and so would its sleeps be, but not by those who count them.
        if self.under_way > 0 {
            return Err(TaskError::permanent(
                "it sleeps without a name while a step is under way: sleep outside of the step, or give it a name (sleep_named)",
            ));
        }
        Ok(self.slept + 1)
    }

    /// It is not kept: it may be begun again, and done again if it gave nothing.
    fn let_go(&mut self, name: &StepName, result: Option<String>) {
        match result {
            Some(result) => drop(self.known.insert(name.clone(), Known::Done(result))),
            None => drop(self.known.remove(name)),
        }
    }
}

impl Context {
    /// Does a part of the work once. When the job runs again, after a failure, a crash or a snooze, this gives what `work` gave then, and
    /// `work` is not called.
    ///
    /// The name says which part it is: at most 128 bytes, and each only once in an attempt. A job has at most 1,000 steps, each of which
    /// gives at most 1 MiB of JSON. An attempt that kept a step does not count among the lost workers in a row that quarantine a job.
    ///
    /// A step that is dropped before it is done, by a time limit around it, may be begun again in the same attempt.
    ///
    /// When this gives something, it is kept. A worker that dies between the effect of `work` and that does the step again: make such an effect
    /// idempotent, for instance by a key that has the job's id and the step's name in it.
    ///
    /// # Errors
    ///
    /// Those of `work`, which has failed then and is called again in the next attempt. When the handler is asked to stop before what it gave
    /// is kept; when the name is none, or is there twice; and when what was kept does not have the form of the type.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::{Context, TaskError};
    ///
    /// # async fn charge(card: String) -> Result<u64, TaskError> { Ok(1) }
    /// # async fn ship(payment: u64) -> Result<String, TaskError> { Ok("p".to_owned()) }
    /// async fn order(ctx: Context) -> Result<String, TaskError> {
    ///     let card: String = ctx.args()?;
    ///     let payment = ctx.step("charge", || charge(card)).await?;
    ///     ctx.sleep(std::time::Duration::from_secs(24 * 3_600)).await?;
    ///     ctx.step("ship", || async { ship(payment).await }).await
    /// }
    /// ```
    pub async fn step<T, F, R>(&self, name: &str, work: F) -> Result<T, TaskError>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> R,
        R: Future<Output = Result<T, TaskError>>,
    {
        self.check()?;
        let name = named(name)?;
        let found = self.begin(&name).await?;
        if let Found::Kept(result) = found {
            return read(&name, &result);
        }
        if let Some(steps) = self.attempt_steps().get() {
            lock(steps).under_way += 1;
        }
        let mut doing = Doing { ctx: self, name, result: None, is_kept: false };
        let (given, result) = match found {
            Found::Done(result) => (read(&doing.name, &result)?, result),
            Found::Kept(_) | Found::Nothing => {
                let given = work().await?;
                let result = written(&doing.name, &given)?;
                (given, result)
            }
        };
        self.keep(&doing.name, doing.result.insert(result)).await?;
        doing.is_kept = true;
        Ok(given)
    }

    /// Sleeps, however long, and whatever becomes of the worker: the time is kept as a step, the attempt ends as a
    /// [snooze](TaskError::snooze) does (so it does not count), and when the job is called again after that time this gives `Ok` at once.
    ///
    /// What comes before in the handler runs again then; make steps of what must not. Up to 1 s is slept through without leaving.
    ///
    /// Sleeps are told apart by their order: the first one of the handler is the step `sleep/1`, the second one `sleep/2`. One that an attempt
    /// comes to and the next one does not (behind an `if`, or in the next version of the program) shifts those after it: give such ones
    /// names ([`sleep_named`](Self::sleep_named)). To wait for a moment, also again and again, [`pause`](Self::pause) stores nothing.
    ///
    /// A sleep is one of the job's steps, of which it has at most 1,000, and one of more than a second is one of its
    /// [snoozes](TaskError::snooze).
    ///
    /// # Errors
    ///
    /// When it is not time yet: the handler returns the error as it is. When a step is under way. And as for [`step`](Self::step).
    pub async fn sleep(&self, duration: Duration) -> Result<(), TaskError> {
        self.check()?;
        let number = lock(self.steps().await?).next_sleep()?;
        self.sleep_named(&format!("sleep/{number}"), duration).await?;
        lock(self.steps().await?).slept += 1;
        Ok(())
    }

    /// Sleeps as [`sleep`](Self::sleep) does, by a name, which is the [step's](Self::step).
    ///
    /// # Errors
    ///
    /// As for [`sleep`](Self::sleep).
    pub async fn sleep_named(&self, name: &str, duration: Duration) -> Result<(), TaskError> {
        let now = || async { Ok(self.env().now().plus(duration).as_micros()) };
        let until = Timestamp::from_micros(self.step(name, now).await?);
        let left = until.since(self.env().now());
        if left.is_zero() {
            return Ok(());
        }
        let mut sleeping = Sleeping { ctx: self, name: named(name)?, until, is_over: false };
        if left > STAY_MAX {
            return Err(TaskError::snooze(left));
        }
        self.pause(left).await?;
        sleeping.is_over = true;
        Ok(())
    }

    async fn begin(&self, name: &StepName) -> Result<Found, TaskError> {
        lock(self.steps().await?).take(name)
    }

    /// The steps of this attempt, with those of the attempts before it.
    async fn steps(&self) -> Result<&std::sync::Mutex<Steps>, TaskError> {
        let steps = self.attempt_steps().get_or_try_init(|| async {
            let done = self.again(|| self.step_store().steps(self.job_id())).await?;
            let known = done.into_iter().map(|step| (step.name, Known::Kept(step.result)));
            Ok::<_, TaskError>(std::sync::Mutex::new(Steps {
                known: known.collect(),
                slept: 0,
                under_way: 0,
            }))
        });
        steps.await
    }

    async fn keep(&self, name: &StepName, result: &str) -> Result<(), TaskError> {
        let (name, result) = (name.clone(), result.to_owned());
        let step = NewStep { key: self.key(), attempt: self.attempt(), at: self.env().now(), name, result };
        let verdicts =
            self.again(|| self.step_store().keep_steps(self.worker_id(), vec![step.clone()])).await?;
        match verdicts.as_slice() {
            [Verdict::Accepted] => Ok(()),
            // The job is somebody else's by now.
            _ => Err(StopCause::Lost.into()),
        }
    }

    /// Asks the store, again while it is out of order, until the handler is asked to stop.
    async fn again<'a, T>(
        &'a self,
        ask: impl Fn() -> taskwright_store::Reply<'a, T>,
    ) -> Result<T, TaskError> {
        let mut delay = AGAIN_FIRST;
        loop {
            match ask().await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(job = %self.job_id(), %error, ?delay, "a step waits for the store");
                    self.pause(self.env().spread(delay, 0.2)).await?;
                    delay = (delay * 2).min(AGAIN_LONGEST);
                }
                answer => return answer.map_err(|error: StoreError| TaskError::from(error)),
            }
        }
    }
}

fn named(name: &str) -> Result<StepName, TaskError> {
    StepName::new(name).map_err(|error| TaskError::permanent(error.to_string()))
}

/// What a step gave, as it is kept.
fn written<T: Serialize>(name: &StepName, given: &T) -> Result<String, TaskError> {
    let result = serde_json::to_string(given)
        .map_err(|error| TaskError::permanent(format!("what the step {name} gave is no JSON: {error}")))?;
    if result.len() > STEP_BYTES_MAX {
        return Err(TaskError::permanent(format!(
            "what the step {name} gave has {} bytes, {STEP_BYTES_MAX} are allowed: keep it elsewhere, and give a reference to it",
            result.len()
        )));
    }
    Ok(result)
}

fn read<T: DeserializeOwned>(name: &StepName, result: &str) -> Result<T, TaskError> {
    serde_json::from_str(result).map_err(|error| {
        TaskError::permanent(format!(
            "what the step {name} gave in an earlier attempt is no {}: {error}; a step that gives something else needs another name",
            std::any::type_name::<T>()
        ))
    })
}
