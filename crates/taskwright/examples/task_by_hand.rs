//! A task without the macro: a type of your own and `impl Task`, of which only what differs from the defaults is said.
//!
//! `cargo run -p taskwright --example task_by_hand`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::{App, Backoff, Context, MaxAttempts, Priority, Task, TaskError};

/// The arguments of one job.
#[derive(Serialize, Deserialize)]
struct Report {
    month: u32,
}

impl Task for Report {
    const KIND: &'static str = "report.monthly";
    const QUEUE: &'static str = "reports";
    const PRIORITY: Priority = Priority::BULK;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(600));
    type Output = String;

    fn max_attempts() -> MaxAttempts {
        MaxAttempts::limited(3).unwrap_or_default()
    }

    fn backoff() -> Backoff {
        Backoff::Fixed { delay: Duration::from_secs(60) }
    }

    async fn run(self, ctx: Context) -> Result<String, TaskError> {
        if !(1..=12).contains(&self.month) {
            return Err(TaskError::permanent(format!("there is no month {}", self.month)));
        }
        Ok(format!(
            "month {}, from the queue {}, at most {} attempts",
            self.month,
            ctx.queue(),
            ctx.max_attempts()
        ))
    }
}

#[tokio::main]
async fn main() -> Result<(), taskwright::Error> {
    let app = App::new().store("memory:").task::<Report>();
    let client = app.client().await?;
    // A reference: the value stays yours.
    let (may, never) =
        (client.enqueue(&Report { month: 5 }).await?, client.enqueue(&Report { month: 13 }).await?);
    app.run_until_empty().await?;

    println!("{}", may.output().await?);
    let refused = never.output().await.expect_err("there are twelve months");
    println!("{refused}");
    assert!(refused.is_not_completed());
    Ok(())
}
