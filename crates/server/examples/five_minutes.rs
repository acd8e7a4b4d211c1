//! A task of one's own, in a program that is daemon, worker and command line at once: that of `docs/guide/start.md`.
//!
//! ```text
//! cargo run -p taskwright-server --example five_minutes -- up
//! cargo run -p taskwright-server --example five_minutes -- enqueue greet --args '{"name": "world"}'
//! ```

use std::process::ExitCode;
use std::time::Duration;

use taskwright::{App, Context, TaskError, task};

#[task("greet")]
async fn greet(name: String, ctx: Context) -> Result<String, TaskError> {
    ctx.log(format!("attempt {} begins", ctx.attempt()));
    let greeting = ctx.step("write", || async { Ok(format!("Hello, {name}!")) }).await?;
    ctx.pause(Duration::from_secs(5)).await?;
    Ok(greeting)
}

fn main() -> ExitCode {
    taskwright_server::main(App::new().task::<Greet>())
}
