//! A bulk: one wish with many items, which are made as there is room for them, and counted as they end. It is one job, whoever dies.
//!
//! `cargo run -p taskwright --example bulk`

use taskwright::bulk::{Bulk, Tally};
use taskwright::{App, TaskError, task};

#[task("page.render")]
async fn render(page: u64) -> Result<(), TaskError> {
    match page {
        13 => Err(TaskError::permanent("nobody prints this page")),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Render>();

    // The type `count` makes items with the numbers from 0 on; a type of your own is a `BulkType`.
    let params = serde_json::json!({"kind": "page.render", "size": 500, "args": {"page": "{index}"}});
    let bulk = Bulk::new("count").params(&params)?.window(100).on_failure("1%".parse()?);
    let bulks = app.bulk_jobs().await?;
    let id = bulks.create(bulk).await?;

    let job = app.client().await?.handle(id);
    let tally: Tally = app.run_while(job.result()).await?;
    println!("{} of {} pages are rendered, {} failed", tally.completed, tally.made, tally.failed);
    assert_eq!((tally.made, tally.completed, tally.failed), (500, 499, 1));
    Ok(())
}
