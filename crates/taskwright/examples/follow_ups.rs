//! Follow-ups: jobs that are stored together with the completion of the one that makes them, and not at all if it ends otherwise.
//!
//! `cargo run -p taskwright --example follow_ups`

use std::time::Duration;

use taskwright::{App, Backoff, Context, JobId, TaskError, task};

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };

/// Gives the ids of the jobs that it leaves behind.
#[task("feed.fetch", backoff = AT_ONCE)]
async fn fetch(pages: u32, ctx: &Context) -> Result<Vec<JobId>, TaskError> {
    let jobs = (1..=pages).map(|page| ctx.then(&Index { page })).collect::<Result<_, _>>()?;
    if ctx.attempt() == 1 {
        // What it was about to leave behind is gone with the attempt.
        return Err(TaskError::retry("no connection"));
    }
    Ok(jobs)
}

#[task("page.index")]
async fn index(page: u32) -> Result<String, TaskError> {
    Ok(format!("page {page} is indexed"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Fetch>().task::<Index>();
    let client = app.client().await?;
    let job = client.enqueue(Fetch { pages: 3 }).await?;
    let left = app.run_while(job.output()).await?;
    let ran = app.run_until_empty().await?;
    println!("{} were left to do", ran.completed);

    for id in &left {
        println!("{}", client.handle(*id).result::<String>().await?);
    }
    assert_eq!(left.len(), 3, "three, and not six");
    Ok(())
}
