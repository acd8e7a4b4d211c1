//! A worker process that dies in the middle of a job: others find it out in a moment, the attempt is noted as lost, and the job runs
//! again. The program starts itself as that worker.
//!
//! `cargo run -p taskwright --example killed_worker`

use std::process::Command;

use taskwright::core::attempt::AttemptEnd;
use taskwright::{App, Context, TaskError, stop_signal, task};

/// Says that this process is the one that dies, on the store that it names.
const VICTIM: &str = "EXAMPLE_VICTIM_STORE";

#[task("fragile")]
async fn fragile(ctx: &Context) -> Result<u32, TaskError> {
    println!("attempt {} in process {}", ctx.attempt(), std::process::id());
    if std::env::var_os(VICTIM).is_some() {
        // No goodbye to anybody: nothing is dropped, nothing is written down.
        std::process::exit(9);
    }
    Ok(std::process::id())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(store) = std::env::var(VICTIM) {
        App::new().store(store).task::<Fragile>().run_until(stop_signal()).await?;
        return Err("it should have died".into());
    }
    let directory = tempfile::tempdir()?;
    let store = format!("sqlite:{}", directory.path().join("jobs.db").display());
    let app = App::new().store(store.as_str()).task::<Fragile>();
    let job = app.client().await?.enqueue(Fragile {}).await?;

    let died = Command::new(std::env::current_exe()?).env(VICTIM, &store).status()?;
    println!("the worker ended by {died}");
    let over = app.run_while(job.wait()).await?;

    let ends: Vec<AttemptEnd> = over.attempts.iter().map(|attempt| attempt.end).collect();
    println!("{ends:?}");
    assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
    assert_eq!(job.output().await?, std::process::id());
    Ok(())
}
