//! The built-in task `flood`: work that is nothing but load.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::{Context, Task, TaskError};

/// The name of the task.
pub const KIND: &str = taskwright_core::authority::FLOOD_KIND;

/// The longest that one job may take: 1 h.
pub const FOR_MAX: Duration = Duration::from_secs(3_600);

/// What a job of the task says; without arguments it does nothing, and takes no time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Given>")]
pub struct Flood {
    /// How long it takes, in milliseconds; at most an hour.
    pub for_ms: u64,
    /// Whether it keeps a processor busy for that time, instead of sleeping.
    pub burn: bool,
    /// What it carries and nobody reads.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub load: String,
}

/// The arguments, if there are any.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    for_ms: u64,
    burn: bool,
    load: String,
}

impl From<Option<Given>> for Flood {
    fn from(given: Option<Given>) -> Self {
        let Given { for_ms, burn, load } = given.unwrap_or_default();
        Self { for_ms, burn, load }
    }
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
            return ctx.pause(time).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_arguments_takes_no_time_and_one_with_others_is_refused() {
        let read = serde_json::from_str::<Flood>;
        assert_eq!(read("null").unwrap(), Flood::default());
        assert_eq!(read(r#"{"for_ms": 5, "burn": true}"#).unwrap().for_ms, 5);
        assert!(read(r#"{"for": 5}"#).is_err());
        let whole = Flood { for_ms: 7, burn: true, load: "xx".to_owned() };
        assert_eq!(read(&serde_json::to_string(&whole).unwrap()).unwrap(), whole);
    }
}
