//! Commands as jobs: the built-in task `exec` runs any program, with its arguments as they are, no shell, and its output as the log of
//! the job. They are stored by the library, and run by the verb `worker`, here within this program.
//!
//! `cargo run -p taskwright-server --example commands`

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::{App, Env, Job, JobId, MaxAttempts};
use taskwright_server::Io;
use taskwright_server::exec::{self, ExecArgs};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn submit(store: &Path) -> Result<[JobId; 2], Error> {
    let client = App::new().store(store).client().await?;
    let sort = ExecArgs {
        command: ["sort", "-r"].map(str::to_owned).to_vec(),
        stdin: Some("one\ntwo\nthree\n".to_owned()),
        ..ExecArgs::default()
    };
    let never = ExecArgs { command: vec!["false".to_owned()], ..ExecArgs::default() };
    let once = Job::new(exec::KIND).args(&never)?.max_attempts(MaxAttempts::limited(1)?);
    Ok([client.enqueue(Job::new(exec::KIND).args(&sort)?).await?.id, client.enqueue(once).await?.id])
}

#[tokio::main]
async fn show(store: &Path, jobs: [JobId; 2]) -> Result<String, Error> {
    let client = App::new().store(store).client().await?;
    let mut log = String::new();
    for id in jobs {
        let job = client.handle(id).job().await?;
        println!("{}: {} {}", job.args.as_str(), job.view.state, job.view.error.unwrap_or_default());
        for piece in client.logs(id, 0, 100).await? {
            log.push_str(&String::from_utf8_lossy(&piece.bytes));
        }
    }
    Ok(log)
}

fn main() -> Result<ExitCode, Error> {
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("jobs.db");
    let jobs = submit(&store)?;

    // What `taskwright worker --until-empty` does. A program calls `taskwright_server::main`, which takes what was typed.
    let open = Arc::new(SqliteStore::open(&store, Options { now: Env::system().now() })?);
    let exit = taskwright_server::run_on(
        open,
        App::new(),
        ["commands", "worker", "--until-empty"],
        Io::of_process(),
    );
    let log = show(&store, jobs)?;
    print!("{log}");
    assert_eq!(log, "two\nthree\none\n");
    Ok(ExitCode::from(exit.code()))
}
