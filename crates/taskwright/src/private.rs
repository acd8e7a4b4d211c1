//! What `#[task]` writes calls to. Not for people: it changes without notice.

use std::time::Duration;

pub use serde;
use serde::Serialize;
pub use serde_json::Value;
use taskwright_core::limit::{ATTEMPTS_MAX, KEY_BYTES_MAX};
use taskwright_core::resource::NICE_MAX;
use taskwright_core::schedule::ScheduleBuilder;
use taskwright_core::{Error, MaxAttempts, Schedule, Trigger, UniqueKey, UniqueScope, name, size, time};

use crate::task::{Task, TaskError};

/// Lets the compiler refuse what is no name.
///
/// ```compile_fail
/// #[taskwright::task("two words")]
/// async fn greet() {}
/// ```
///
/// ```compile_fail
/// #[taskwright::task("greet", queue = "")]
/// async fn greet() {}
/// ```
pub const fn check_name(text: &str) {
    assert!(
        name::is_name(text),
        "a name starts with a letter or digit, goes on with letters, digits and . _ : / -, and has at most 128 bytes"
    );
}

/// Lets the compiler refuse what is no time limit.
///
/// ```compile_fail
/// #[taskwright::task("greet", timeout = "30 seconds")]
/// async fn greet() {}
/// ```
pub const fn duration(text: &str) -> Duration {
    match time::duration_us(text) {
        Ok(0) => {
            panic!("nothing can end within no time at all: write a longer one, or leave it out for no limit")
        }
        Ok(us) => Duration::from_micros(us),
        Err(_) => panic!("a duration is written like 250ms, 30s, 5m, 2h, 7d or 1h30m"),
    }
}

/// Lets the compiler refuse what is no amount of memory.
///
/// ```compile_fail
/// #[taskwright::task("greet", process, max_rss = "1.5GiB")]
/// async fn greet() {}
/// ```
pub const fn size(text: &str) -> u64 {
    match size::size_bytes(text) {
        Ok(bytes) => bytes,
        Err(_) => panic!("an amount of memory is written like 64KiB, 512MiB or 4GiB"),
    }
}

/// Lets the compiler refuse what is no niceness.
///
/// ```compile_fail
/// #[taskwright::task("greet", process, nice = 20)]
/// async fn greet() {}
/// ```
///
/// What is right passes:
///
/// ```
/// #[taskwright::task("greet", process, max_rss = "1GiB", max_cpu_time = "1m", nice = 19)]
/// async fn greet() {}
/// ```
pub const fn nice(nice: u8) -> u8 {
    assert!(nice <= NICE_MAX, "a niceness is a number from 0 to 19");
    nice
}

/// Lets the compiler refuse what is no number of attempts.
///
/// ```compile_fail
/// #[taskwright::task("greet", max_attempts = 0)]
/// async fn greet() {}
/// ```
///
/// What is right passes:
///
/// ```
/// #[taskwright::task("greet", queue = "q", timeout = "30s", max_attempts = 1)]
/// async fn greet() {}
/// ```
pub const fn max_attempts(n: u32) -> MaxAttempts {
    match std::num::NonZeroU32::new(n) {
        Some(n) if n.get() <= ATTEMPTS_MAX => MaxAttempts::Limited(n),
        _ => panic!("a job gets between 1 and 1000000 executions, or `none` for as many as it takes"),
    }
}

/// The key that these values make: their JSON, or what stands for it when that is long.
///
/// # Errors
///
/// When they cannot be written as JSON.
pub fn unique(values: &impl Serialize, scope: UniqueScope) -> Result<Option<UniqueKey>, Error> {
    let key = serde_json::to_string(values).map_err(|error| {
        Error::invalid(
            "the unique key",
            format!("its arguments cannot be written as JSON: {error}"),
            "use arguments whose map keys are text and whose numbers are finite",
        )
    })?;
    let key =
        if key.len() > KEY_BYTES_MAX { format!("blake3:{}", blake3::hash(key.as_bytes())) } else { key };
    // JSON writes a NUL as `\u0000`.
    Ok(Some(UniqueKey::new(&key)?.with_scope(scope)))
}

/// A schedule of a task, whose jobs are as its tasks.
///
/// # Errors
///
/// When it makes no sense.
pub fn schedule<T: Task>(
    name: Option<&str>,
    (form, says): (&str, &str),
    timezone: Option<&str>,
    args: Option<&str>,
) -> Result<Schedule, Error> {
    let zone = timezone.map(str::parse).transpose()?;
    let trigger = Trigger::read(form, says, zone)?;
    let builder = of_task::<T>(name.unwrap_or(T::KIND))?.trigger(trigger);
    match args {
        Some(args) => builder.args_json(args),
        None => builder,
    }
    .build()
}

/// A schedule whose jobs are as the task says.
fn of_task<T: Task>(name: &str) -> Result<ScheduleBuilder, Error> {
    Ok(Schedule::builder(name.parse()?, T::KIND.parse()?)
        .queue(T::QUEUE.parse()?)
        .priority(T::PRIORITY)
        .delivery(T::DELIVERY)
        .max_attempts(T::max_attempts()))
}

/// What a function with `#[task]` may return: a `Result`, or nothing.
pub trait Returned {
    /// The value.
    type Output: Serialize;

    /// The value, or why there is none.
    ///
    /// # Errors
    ///
    /// When the function returned an error.
    fn into_result(self) -> Result<Self::Output, TaskError>;
}

impl Returned for () {
    type Output = ();

    fn into_result(self) -> Result<(), TaskError> {
        Ok(())
    }
}

impl<O: Serialize, E: Into<TaskError>> Returned for Result<O, E> {
    type Output = O;

    fn into_result(self) -> Result<O, TaskError> {
        self.map_err(Into::into)
    }
}
