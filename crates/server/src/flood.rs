//! The built-in task `flood`: work that is nothing but load.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::{Context, Task, TaskError};

/// The name of the task.
pub const KIND: &str = "flood";

/// The longest that one job may take: 1 h.
pub const FOR_MAX: Duration = Duration::from_secs(3_600);

/// What a job of the task says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flood {
    /// How long it takes, in milliseconds; at most an hour.
    pub for_ms: u64,
    /// Whether it keeps a processor busy for that time, instead of sleeping.
    pub burn: bool,
    /// What it carries and nobody reads.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub load: String,
}

impl Task for Flood {
    const KIND: &'static str = KIND;
    type Output = ();

    async fn run(self, ctx: Context) -> Result<(), TaskError> {
        let time = Duration::from_millis(self.for_ms).min(FOR_MAX);
        if time.is_zero() {
            return Ok(());
        }
        if !self.burn {
            return ctx.sleep(time).await;
        }
        let asked = ctx.clone();
        ctx.env()
            .blocking(move || {
                let end_us = asked.env().monotonic_us() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                while asked.env().monotonic_us() < end_us && !asked.is_cancelled() {
                    std::hint::spin_loop();
                }
            })
            .await;
        ctx.check()
    }
}
