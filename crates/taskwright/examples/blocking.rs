//! Work that computes, or that waits without `await`: on a thread of its own, so that other handlers and the heartbeat of the worker go
//! on, here on a runtime that has no more than one thread.
//!
//! `cargo run -p taskwright --example blocking`

use std::sync::atomic::{AtomicBool, Ordering};

use taskwright::{App, Context, TaskError, task};

/// Set once somebody has answered.
struct Answered(AtomicBool);

/// A function that is not `async`. A thread cannot be dropped: it looks itself whether it is to stop.
#[task("search", blocking, timeout = "10s", max_attempts = 1)]
fn search(ctx: &Context, #[state] answered: &Answered) -> Result<u64, TaskError> {
    let mut tries = 0;
    while !answered.0.load(Ordering::Relaxed) {
        ctx.check()?;
        tries += 1;
    }
    Ok(tries)
}

/// Runs meanwhile.
#[task("answer")]
async fn answer(#[state] answered: &Answered) {
    answered.0.store(true, Ordering::Relaxed);
}

/// The same for a part of an `async` handler.
#[task("sum")]
async fn sum(to: u64, ctx: &Context) -> Result<u64, TaskError> {
    let sum = ctx.blocking(move |_| Ok((1..=to).sum())).await?;
    ctx.log(format!("the sum is {sum}"));
    Ok(sum)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), taskwright::Error> {
    let app = App::new()
        .store("memory:")
        .state(Answered(AtomicBool::new(false)))
        .task::<Search>()
        .task::<Answer>()
        .task::<Sum>()
        .worker(|worker| worker.concurrency(3));
    let client = app.client().await?;
    let searched = client.enqueue(Search {}).await?;
    client.enqueue(Answer {}).await?;
    let sum = client.enqueue(Sum { to: 1_000_000 }).await?;
    app.run_until_empty().await?;
    println!("it looked {} times, until another handler had answered", searched.output().await?);
    println!("the sum is {}", sum.output().await?);
    Ok(())
}
