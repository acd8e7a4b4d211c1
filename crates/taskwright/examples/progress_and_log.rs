//! Progress and log of a running job, as whoever waits for it sees them.
//!
//! `cargo run -p taskwright --example progress_and_log`

use std::time::Duration;

use taskwright::{App, Client, Context, JobHandle, TaskError, task};

#[task("import")]
async fn import(rows: u64, ctx: &Context) -> Result<u64, TaskError> {
    for row in 1..=rows {
        ctx.pause(Duration::from_millis(20)).await?;
        // Stored at most ten times a second, the newest, and while the job runs.
        ctx.progress(row, Some(rows), Some("reading"));
        if row % 10 == 0 {
            ctx.log(format!("{row} rows are read"));
        }
    }
    Ok(rows)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Import>();
    let client = app.client().await?;
    let job = client.enqueue(Import { rows: 50 }).await?;

    // Whoever follows may be another program, on another machine.
    let (reports, lines) = app.run_while(follow(&client, &job)).await?;
    println!("{reports} reports, {lines} lines");
    assert!(reports > 1 && lines == 5);
    Ok(())
}

async fn follow(client: &Client, job: &JobHandle<u64>) -> Result<(usize, usize), taskwright::Error> {
    let (mut progress, mut reports, mut lines, mut from) = (job.progress(), 0, 0, 0);
    loop {
        let report = progress.next().await?;
        for piece in client.logs(job.id, from, 100).await? {
            from = piece.number + 1;
            for line in String::from_utf8_lossy(&piece.bytes).lines() {
                println!("  {line}");
                lines += 1;
            }
        }
        let Some(report) = report else { return Ok((reports, lines)) };
        println!("{} of {}", report.done, report.total.unwrap_or_default());
        reports += 1;
    }
}
