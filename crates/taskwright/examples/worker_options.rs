//! What a worker takes, and how much of it: its queues, nothing less urgent than a priority, how many at once, and when it has run for
//! long enough.
//!
//! `cargo run -p taskwright --example worker_options`

use std::time::Duration;

use taskwright::{App, Job, Priority, QueueName, task};

#[task("say")]
async fn say(what: String) {
    println!("  {what}");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Say>();
    let client = app.client().await?;
    let job = |what: &str| Job::of(&Say { what: what.to_owned() });
    client.enqueue(job("a mail").queue("mail")).await?;
    client.enqueue(job("an urgent page").priority(Priority::HIGH)).await?;
    client.enqueue_many((1..=3).map(|page| job(&format!("page {page}")))).await?;

    println!("a worker for mails");
    let mail: QueueName = "mail".parse()?;
    let mails = app.clone().worker(move |worker| worker.queues([mail.clone()]));
    assert_eq!(mails.run_until_empty().await?.completed, 1);

    println!("a worker for what is urgent, eight at once, with 10 s to end in");
    let urgent = app
        .clone()
        .worker(|worker| worker.priority_max(Priority::HIGH).concurrency(8).grace(Duration::from_secs(10)));
    assert_eq!(urgent.run_until_empty().await?.completed, 1);

    println!("a worker that is worn out after two jobs");
    let worn = app.clone().worker(|worker| worker.concurrency(1).recycle_after_jobs(2));
    let ran = worn.run_until_empty().await?;
    println!("  {:?}", ran.recycled);
    assert!(ran.completed == 2 && ran.recycled.is_some());
    assert_eq!(app.run_until_empty().await?.completed, 1, "the rest");
    Ok(())
}
