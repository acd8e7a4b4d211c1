//! The first job: a function becomes a task, a job of it is stored and run, and what it gave back is used.
//!
//! `cargo run -p taskwright --example first_job`

use taskwright::{App, TaskError, task};

/// Beside the function stands the type `Welcome`, with its arguments as fields. A value of it is one job.
#[task("email.welcome")]
async fn welcome(user: u64) -> Result<String, TaskError> {
    Ok(format!("Welcome, user {user}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In a program of yours: `.store("sqlite:jobs.db")`, or `.store("postgres://..")`.
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Welcome>();

    // When this has returned, the job is on the disk.
    let job = app.client().await?.enqueue(Welcome { user: 7 }).await?;
    println!("stored: {}", job.id);

    // A service: `app.run_until(taskwright::stop_signal())`.
    let welcome = app.run_while(job.output()).await?;
    println!("{welcome}");
    Ok(())
}
