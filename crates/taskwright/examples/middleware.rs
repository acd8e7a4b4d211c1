//! Middleware: something around every attempt, a look at every job before it is stored, and something around the storing.
//!
//! `cargo run -p taskwright --example middleware`

use taskwright::core::{Error as Refused, NewJob, Outcome};
use taskwright::store::Enqueued;
use taskwright::{App, Context, EnqueueNext, Next, TaskError, task};

#[task("sum")]
async fn sum(numbers: Vec<u64>) -> Result<u64, TaskError> {
    assert!(!numbers.is_empty(), "there is nothing to sum up");
    Ok(numbers.iter().sum())
}

/// Around each attempt. A panic of the handler is an outcome here.
async fn told(ctx: Context, next: Next) -> Outcome {
    let began = ctx.env().now();
    let outcome = next.run(ctx.clone()).await;
    let how = if matches!(outcome, Outcome::Completed { .. }) { "completed" } else { "did not complete" };
    println!("{} of {} {how} in {:?}", ctx.kind(), owner(ctx.owner()), ctx.env().now().since(began));
    outcome
}

/// Before each job is stored: it may be changed, or refused.
fn owned(job: &mut NewJob) -> Result<(), Refused> {
    if job.args.as_bytes().len() > 1_000 {
        let what = format!("the arguments of {}", job.kind);
        return Err(Refused::too_large(
            what,
            "more than 1,000 bytes are not allowed here",
            "send fewer numbers",
        ));
    }
    job.owner = Some("shop".parse()?);
    Ok(())
}

/// Around each enqueue: it sees what became of the jobs.
async fn counted(jobs: Vec<NewJob>, next: EnqueueNext) -> Result<Vec<Enqueued>, taskwright::Error> {
    let count = jobs.len();
    let stored = next.run(jobs).await?;
    println!(
        "{count} stored, of which {} were there",
        stored.iter().filter(|stored| stored.existing).count()
    );
    Ok(stored)
}

fn owner(owner: Option<&taskwright::Owner>) -> &str {
    owner.map_or("nobody", taskwright::Owner::as_str)
}

#[tokio::main]
async fn main() -> Result<(), taskwright::Error> {
    let app =
        App::new().store("memory:").wrap(told).before_enqueue(owned).around_enqueue(counted).task::<Sum>();
    let client = app.client().await?;
    let good = client.enqueue(Sum { numbers: vec![1, 2, 3] }).await?;
    client.enqueue(Sum { numbers: Vec::new() }).await?;
    let large = client.enqueue(Sum { numbers: vec![1; 1_000] }).await;
    println!("{}", large.expect_err("it is refused"));

    let ran = app.run_until_empty().await?;
    assert_eq!((good.output().await?, ran.completed, ran.retried), (6, 1, 1));
    assert_eq!(owner(good.job().await?.view.owner.as_ref()), "shop");
    Ok(())
}
