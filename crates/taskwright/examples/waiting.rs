//! Waiting for jobs: for what a task gives back, with its type; for one that fails; with a limit; and for many at once.
//!
//! `cargo run -p taskwright --example waiting`

use std::time::Duration;

use taskwright::core::patience::Patience;
use taskwright::waiting::Waited;
use taskwright::{App, Client, Job, State, TaskError, task};

#[task("square")]
async fn square(number: u64) -> Result<u64, TaskError> {
    number.checked_mul(number).ok_or_else(|| TaskError::permanent(format!("{number} is too large")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Square>();
    let client = app.client().await?;
    Ok(app.run_while(wait(&client)).await?)
}

async fn wait(client: &Client) -> Result<(), taskwright::Error> {
    let squared = client.enqueue(Square { number: 12 }).await?.output().await?;
    println!("12 x 12 = {squared}");
    assert_eq!(squared, 144);

    let error = client.enqueue(Square { number: u64::MAX }).await?.output().await;
    let error = error.expect_err("its square is no u64");
    println!("{error}");
    assert!(error.is_not_completed());

    // With a limit, it is given as it is then: here nobody runs it.
    let other = client.enqueue(Job::new("of.another.program")).await?;
    let as_it_is = other.wait_for(Duration::from_millis(50)).await?;
    println!("another one is {}", as_it_is.view.state);
    assert_eq!(as_it_is.view.state, State::Available);

    // Many: with one question for all of them, and told of each as it ends.
    let jobs = client.enqueue_many((1..=100).map(|number| Job::of(&Square { number }))).await?;
    let mut waiting = client.wait_for(jobs.iter().map(|job| job.id).collect(), Patience::default());
    let mut ended = 0;
    while let Waited::Ended(some) = waiting.next().await? {
        ended += some.len();
    }
    println!("{ended} are over");
    assert_eq!(ended, 100);
    // Any job can be taken in the hand by its id.
    assert_eq!(client.handle(jobs[9].id).result::<u64>().await?, 100);
    Ok(())
}
