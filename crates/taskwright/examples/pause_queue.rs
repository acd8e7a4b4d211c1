//! A queue that is paused: jobs are taken in and wait, on every machine, until somebody resumes it. `taskwright queues pause mail` does
//! the same from a shell.
//!
//! `cargo run -p taskwright --example pause_queue`

use taskwright::{Actor, App, Namespace, task};

#[task("email.welcome", queue = "mail")]
async fn welcome(user: u64) {
    println!("welcome, user {user}");
}

#[task("report")]
async fn report() {
    println!("the report is made");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Welcome>().task::<Report>();
    let client = app.client().await?;
    let (namespace, mail, ann) = (Namespace::default(), "mail".parse()?, Actor::new("ann")?);

    assert!(client.pause_queue(&namespace, &mail, ann.clone()).await?);
    client.enqueue(Welcome { user: 7 }).await?;
    client.enqueue(Report {}).await?;
    let ran = app.run_until_empty().await?;
    println!("while it is paused: {}", ran.completed);
    assert_eq!(ran.completed, 1);

    assert!(client.resume_queue(&namespace, &mail, ann).await?);
    let ran = app.run_until_empty().await?;
    println!("after that: {}", ran.completed);
    assert_eq!(ran.completed, 1);
    Ok(())
}
