//! One program, used four ways: as a library, as a worker, as a command line, and in a test.
//!
//! ```text
//! cargo run -p taskwright-server --example four_ways -- VERB
//!
//! once                                         library: enqueue a job, run it, and use what it gave
//! up                                           daemon and workers; `worker` is one of them alone
//! enqueue invoice.total --args '{"lines": []}' command line, with all other verbs
//! ```
//!
//! The fourth way is `tests/programs_bring_their_tasks.rs`: [`app`] on a virtual clock.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use taskwright::{App, Context, TaskError, task};

/// What a customer bought.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) item: String,
    pub(crate) cents: u64,
}

/// What every task of the program can use.
pub(crate) struct Tax {
    percent: u64,
}

#[task("invoice.total", queue = "invoices", max_attempts = 3, timeout = "30s")]
pub(crate) async fn total(lines: Vec<Line>, #[state] tax: &Tax, ctx: &Context) -> Result<u64, TaskError> {
    for line in &lines {
        ctx.log(format!("{}: {}", line.item, line.cents));
    }
    let net: u64 = lines.iter().map(|line| line.cents).sum();
    Ok(net + net * tax.percent / 100)
}

/// Whatever a library for this does to its process, it does to no other. Gives the number of that process.
#[task("invoice.pdf", process, timeout = "1m")]
async fn pdf(invoice: u64) -> Result<u32, TaskError> {
    println!("rendering the invoice {invoice}");
    Ok(std::process::id())
}

#[task("invoice.remind", schedule(every = "1h"))]
async fn remind() {}

pub(crate) fn app() -> App {
    App::new().state(Tax { percent: 19 }).task::<Total>().task::<Pdf>().task::<Remind>()
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("once") => match once() {
            Ok(total) => {
                println!("{total}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => taskwright_server::main(app()),
    }
}

/// As a library: whatever else the program is, this is a part of it.
#[tokio::main]
async fn once() -> Result<u64, taskwright::Error> {
    let app = app();
    let book = Line { item: "a book".to_owned(), cents: 2_000 };
    let job = app.client().await?.enqueue(Total { lines: vec![book] }).await?;
    app.run_while(job.output()).await
}
