//! What follows a failure: the back-off of the task, a delay that the handler names, no further attempt at all, or a snooze, which is no
//! failure and costs none. Hours of it, on a virtual clock.
//!
//! `cargo run -p taskwright --example retries`

use std::time::Duration;

use taskwright::testing::{Kit, Mode, simulate};
use taskwright::{App, Backoff, Context, JobHandle, State, TaskError, Timestamp, task};

const MINUTE: Duration = Duration::from_secs(60);
const DOUBLING: Backoff = Backoff::Exponential { base: MINUTE, cap: Duration::from_secs(600) };

#[task("card.charge", max_attempts = 5, backoff = DOUBLING)]
async fn charge(ctx: &Context) -> Result<&'static str, TaskError> {
    match ctx.attempt() {
        // Any error through `?` is tried again.
        1 | 2 => Err(std::io::Error::other("no connection"))?,
        3 => Err(TaskError::retry_after("they ask for half an hour", 30 * MINUTE)),
        _ => Ok("charged"),
    }
}

#[task("card.refund")]
async fn refund(payment: u64) -> Result<(), TaskError> {
    Err(TaskError::permanent(format!("there is no payment {payment}")))
}

#[task("parcel.ship")]
async fn ship(packed_at: Timestamp, ctx: &Context) -> Result<&'static str, TaskError> {
    if ctx.env().now() < packed_at {
        return Err(TaskError::snooze(10 * MINUTE));
    }
    Ok("shipped")
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        let app = App::new().task::<Charge>().task::<Refund>().task::<Ship>();
        let kit = Kit::of(app).mode(Mode::Drain).start(&sim).await?;
        let (client, begin) = (kit.client(), sim.env().now());
        let charged = client.enqueue(Charge {}).await?;
        let refunded = client.enqueue(Refund { payment: 7 }).await?;
        let shipped = client.enqueue(Ship { packed_at: begin.plus(25 * MINUTE) }).await?;

        assert_eq!(tell(charged, begin).await?, (State::Completed, 4));
        assert_eq!(tell(refunded, begin).await?, (State::Failed, 1));
        assert_eq!(tell(shipped, begin).await?, (State::Completed, 1), "snoozes do not count");
        Ok(())
    })
}

async fn tell<O>(job: JobHandle<O>, begin: Timestamp) -> Result<(State, u32), taskwright::Error> {
    let job = job.wait().await?;
    println!("{}: {}", job.view.kind, job.view.state);
    for attempt in &job.attempts {
        let seconds = attempt.ended_at.since(begin).as_secs();
        let how = attempt.error.as_deref().unwrap_or("completed");
        println!("  after {seconds} s, attempt {}: {how}", attempt.attempt);
    }
    Ok((job.view.state, job.view.attempt))
}
