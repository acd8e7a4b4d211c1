//! A program that only puts jobs in: it knows their names and arguments, claims none, and needs none of their code. Another one on the
//! same store runs them; here both are in one process.
//!
//! `cargo run -p taskwright --example producer`

use std::path::Path;

use serde_json::json;
use taskwright::{App, Job, JobId, Priority, TaskError, task};

/// The web server, for instance.
async fn produce(store: &Path) -> Result<JobId, Box<dyn std::error::Error>> {
    let client = App::new().store(store).client().await?;
    let urgent = Job::new("thumbnail").args(&json!({"image": 0}))?.priority(Priority::HIGH).owner("ann");
    let urgent = client.enqueue(urgent).await?;
    // Many: committed 1,000 at a time, in their order.
    let jobs: Result<Vec<Job>, _> =
        (1..=2_500).map(|image| Job::new("thumbnail").args(&json!({"image": image}))).collect();
    let stored = client.enqueue_many(jobs?).await?;
    println!("{} jobs and one urgent one are stored", stored.len());
    Ok(urgent.id)
}

#[task("thumbnail")]
async fn thumbnail(image: u32) -> Result<String, TaskError> {
    Ok(format!("{image}.png"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("jobs.db");
    let urgent = produce(&store).await?;

    let consumer = App::new().store(store).task::<Thumbnail>();
    let ran = consumer.run_until_empty().await?;
    let file: String = consumer.client().await?.handle(urgent).result().await?;
    println!("{} are done, {file} among them", ran.completed);
    assert_eq!(ran.completed, 2_501);
    Ok(())
}
