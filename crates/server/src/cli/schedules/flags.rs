//! Flags that say when a schedule fires.

use clap::Args;
use taskwright_core::schedule::Triggers;
use taskwright_core::trigger::read_moment;
use taskwright_core::{Timestamp, Trigger, Zone};

use crate::error::Error;

/// When a schedule fires; each flag may be given several times.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "When it fires: one or more of")]
pub(super) struct TriggerFlags {
    /// At a rate, like 5m
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    every: Vec<String>,
    /// By an expression, like '0 8 * * 1-5' or @hourly
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    cron: Vec<String>,
    /// Once, like 2026-12-24T18:00
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: Vec<String>,
    /// Once, this long after registration
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    after: Vec<String>,
    /// Every day, like 08:00
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    daily: Vec<String>,
    /// Every month, like '31 08:00' or 'last 08:00'
    #[arg(long, value_name = "DAY TIME", allow_hyphen_values = true)]
    monthly: Vec<String>,
    /// When an event arrives: 'order.* where total > 9'
    #[arg(long, value_name = "TOPIC", allow_hyphen_values = true)]
    event: Vec<String>,
    /// Whose wall clock the times are on [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<Zone>,
}

impl TriggerFlags {
    fn each(&self) -> [(&'static str, &[String]); 7] {
        [
            ("every", &self.every),
            ("cron", &self.cron),
            ("at", &self.at),
            ("after", &self.after),
            ("daily", &self.daily),
            ("monthly", &self.monthly),
            ("event", &self.event),
        ]
    }

    /// The triggers, checked together.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or there are none or too many.
    pub(super) fn read(&self) -> Result<Vec<Trigger>, Error> {
        let mut triggers = Vec::new();
        for (key, texts) in self.each() {
            for text in texts {
                let read = Trigger::read(key, text, self.timezone.clone());
                triggers.push(read.map_err(|error| Error::from(error).about(&format!("--{key}")))?);
            }
        }
        // Only the names that they get are lost.
        Triggers::new(triggers.iter().map(|trigger| (None, trigger.clone())))?;
        Ok(triggers)
    }

    /// A moment that another flag names, on the same wall clock.
    pub(super) fn moment(&self, flag: &str, text: &str) -> Result<Timestamp, Error> {
        read_moment(text, self.timezone.as_ref()).map_err(|error| Error::from(error).about(flag))
    }
}
