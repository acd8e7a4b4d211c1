//! A reporter is told of each failure when it happens, with job, attempt and panic; and of the last one apart, which is the place for a
//! pager. It works on a thread of its own and holds nobody up. (`CommandReporter` runs a command instead.)
//!
//! `cargo run -p taskwright --example error_reporter`

use std::time::Duration;

use taskwright::report::{Report, Reporter, Who};
use taskwright::{App, Backoff, Context, TaskError, task};
use tokio::sync::mpsc;

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };

#[task("import", max_attempts = 2, backoff = AT_ONCE)]
async fn import(ctx: &Context) -> Result<(), TaskError> {
    assert!(ctx.attempt() == 1, "the file is broken");
    Err(TaskError::retry("the file is not there yet"))
}

struct Pager(mpsc::UnboundedSender<String>);

impl Reporter for Pager {
    async fn failed(&self, report: &Report) {
        println!("failed: {report}");
        if let Some(place) = report.panic.as_ref().and_then(|panic| panic.place.as_ref()) {
            println!("  a panic at {place}");
        }
    }

    async fn gave_up(&self, report: &Report) {
        let Who::Attempt(attempt) = &report.who else { return };
        // Nobody listens any more when the program ends.
        let _ = self.0.send(format!("wake up: {} has failed for good", attempt.kind));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (pager, mut pages) = mpsc::unbounded_channel();
    let app = App::new().store("memory:").report_to(Pager(pager)).task::<Import>();
    app.client().await?.enqueue(Import {}).await?;

    let page = app.run_while(async { Ok::<_, taskwright::Error>(pages.recv().await) }).await?;
    let page = page.ok_or("nobody was woken")?;
    println!("{page}");
    assert!(page.contains("import"));
    Ok(())
}
