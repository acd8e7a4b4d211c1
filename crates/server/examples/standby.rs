//! A program whose service only one process at a time has: of several that are started, the others stand by, and run jobs meanwhile.
//!
//! ```text
//! cargo run -p taskwright-server --example standby -- VERB
//!
//! once      runs a job, as whoever does it
//! up        runs jobs, and does it once nobody else does; `services list` says `starting` until then
//! ```

use std::fs::{File, TryLockError};
use std::process::ExitCode;
use std::time::Duration;

use taskwright::service::{Service, ServiceContext, ServiceError, ServiceOptions, Start};
use taskwright::{App, Env, TaskError, task};

/// Whoever has this file locked does it; the lock goes with its process, whatever becomes of that.
const LOCK: &str = "taskwright-standby.lock";
/// How often whoever stands by looks.
const LOOK: Duration = Duration::from_millis(200);

/// What only one process may do.
struct Alone {
    env: Env,
    lock: File,
}

impl Service for Alone {
    async fn start(&self) -> Result<Start, ServiceError> {
        loop {
            match self.lock.try_lock() {
                Ok(()) => return Ok(Start::Go),
                Err(TryLockError::WouldBlock) => self.env.sleep(LOOK).await,
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        eprintln!("nobody else does it now");
        ctx.stopped().await;
        Ok(self.lock.unlock()?)
    }
}

#[task("greet")]
async fn greet(name: String) -> Result<String, TaskError> {
    Ok(format!("Hello, {name}"))
}

fn app() -> std::io::Result<App> {
    let lock = File::options().create(true).append(true).open(LOCK)?;
    // It may stand by for ever.
    let options = ServiceOptions::new().start_within(Duration::MAX);
    Ok(App::new().task::<Greet>().service_on_store("alone", options, move |_, env| Alone {
        env: env.clone(),
        lock: lock.try_clone().expect("a file that is open can be opened once more"),
    }))
}

fn main() -> ExitCode {
    let app = match app() {
        Ok(app) => app,
        Err(error) => {
            eprintln!("{LOCK} cannot be opened: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::env::args().nth(1).as_deref() {
        Some("once") => match once(&app) {
            Ok(greeting) => {
                println!("{greeting}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => taskwright_server::main(app),
    }
}

#[tokio::main]
async fn once(app: &App) -> Result<String, taskwright::Error> {
    let job = app.client().await?.enqueue(Greet { name: "Ada".to_owned() }).await?;
    app.run_while(job.output()).await
}
