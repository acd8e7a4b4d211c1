//! Attachments: input that is too large for arguments. The job is held until all of it is there, and released then; the files live as
//! long as it does.
//!
//! `cargo run -p taskwright --example attachments`

use taskwright::store::Change;
use taskwright::{Actor, App, Attachment, Context, Job, State, TaskError, task};

#[task("rows.import")]
async fn import(file: String, ctx: &Context) -> Result<usize, TaskError> {
    let rows = ctx.attachment(&file).await?;
    let rows = rows.ok_or_else(|| TaskError::permanent(format!("{file} is not attached")))?;
    Ok(String::from_utf8(rows)?.lines().count())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Import>();
    let client = app.client().await?;

    let job = client.enqueue(Job::of(&Import { file: "rows.csv".to_owned() }).hold()).await?.typed::<usize>();
    let rows: String = (0..100_000).map(|row| format!("{row},a row\n")).collect();
    println!("{} bytes are attached", rows.len());
    client.attach(job.id, Attachment::new("rows.csv".parse()?, rows.into_bytes())?).await?;
    app.run_until_empty().await?;
    assert_eq!(job.job().await?.view.state, State::Held, "nothing runs before it is released");

    client.change(vec![job.id], Change::Release, Actor::system(), None).await?;
    app.run_until_empty().await?;
    let rows = job.output().await?;
    println!("{rows} rows are imported");
    assert_eq!(rows, 100_000);
    Ok(())
}
