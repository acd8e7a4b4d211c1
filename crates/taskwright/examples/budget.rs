//! Weights and a budget: what runs at once in a worker never weighs more than it may, while what weighs little goes on beside.
//!
//! `cargo run -p taskwright --example budget`

use std::sync::Mutex;
use std::time::Duration;

use taskwright::{App, Budget, Context, TaskError, Weight, task};

const HALF_A_CPU_AND_MORE: Weight = Weight { cpu_milli: 600, memory_bytes: 256 << 20 };

/// Heavy jobs that run now, and the most that did.
#[derive(Default)]
struct Running(Mutex<(u32, u32)>);

impl Running {
    fn change(&self, by: i32) -> u32 {
        let mut running = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.0 = running.0.saturating_add_signed(by);
        running.1 = running.1.max(running.0);
        running.1
    }
}

#[task("video.encode", weight = HALF_A_CPU_AND_MORE)]
async fn encode(#[state] running: &Running, ctx: &Context) -> Result<u32, TaskError> {
    running.change(1);
    ctx.pause(Duration::from_millis(20)).await?;
    let most = running.change(0);
    running.change(-1);
    Ok(most)
}

#[task("mail.send")]
async fn send_mail(ctx: &Context) -> Result<(), TaskError> {
    ctx.pause(Duration::from_millis(20)).await
}

#[tokio::main]
async fn main() -> Result<(), taskwright::Error> {
    let app =
        App::new().store("memory:").state(Running::default()).task::<Encode>().task::<SendMail>().worker(
            |worker| {
                worker.concurrency(4).budget(Budget { cpu_milli: Some(1_000), memory_bytes: Some(1 << 30) })
            },
        );
    let client = app.client().await?;
    client.enqueue_many((0..20).map(|_| taskwright::Job::of(&SendMail {}))).await?;
    let mut encoded = Vec::new();
    for _ in 0..5 {
        encoded.push(client.enqueue(Encode {}).await?);
    }
    let ran = app.run_until_empty().await?;

    for job in encoded {
        assert_eq!(job.output().await?, 1, "two of them would weigh 1.2 CPUs");
    }
    println!("{} jobs, four at a time, and never two that are heavy", ran.completed);
    Ok(())
}
