//! Handlers in a process of their own: what they do to it is told as the end of one attempt, and the worker goes on.
//!
//! `cargo run -p taskwright --example in_child -- jobs.db` runs one job of each way to end, prints how it ended, and what its log says.

use std::time::Duration;

use taskwright::report::{Report, Reporter};
use taskwright::{App, Client, Context, Job, JobHandle, State, Task, TaskError, task};

/// Adds up in a process of its own, which says what it does.
#[task("add", process)]
async fn add(numbers: Vec<u64>, #[state] unit: &Unit, ctx: &Context) -> Result<String, TaskError> {
    ctx.log(format!("process {} adds", std::process::id()));
    ctx.progress(1, Some(2), Some("adding"));
    println!("to standard output");
    ctx.then(Job::new("follow.up"))?;
    Ok(format!("{} {}", numbers.iter().sum::<u64>(), unit.0))
}

/// Takes its process with it.
#[task("crash", process, max_attempts = 1)]
fn crash(how: String) -> Result<(), TaskError> {
    eprintln!("the last words");
    match how.as_str() {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "panic" => panic!("too hot"),
        _ => Err(TaskError::permanent("not at all")),
    }
}

/// Goes on until it is asked to stop, or for ever.
#[task("linger", process, cancel_grace = "1s", max_attempts = 1)]
async fn linger(politely: bool, ctx: &Context) -> Result<(), TaskError> {
    ctx.progress(1, None, Some("lingering"));
    match politely {
        true => ctx.pause(Duration::from_secs(3_600)).await,
        false => std::future::pending().await,
    }
}

/// Prints the panics that jobs failed with, wherever they were.
struct Panics;

impl Reporter for Panics {
    async fn failed(&self, report: &Report) {
        if let Some(panic) = &report.panic {
            println!("reported: {} at {}", panic.message, panic.place.as_deref().unwrap_or("?"));
        }
    }
}

/// What the state is, also there.
struct Unit(&'static str);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "jobs.db".to_owned());
    let app = App::new()
        .store(format!("sqlite:{path}"))
        .state_from(async || Ok::<_, std::io::Error>(Unit("apples")))
        .task::<Add>()
        .task::<Crash>()
        .task::<Linger>()
        .report_to(Panics)
        .worker(|worker| worker.concurrency(4));
    // A child goes no further.
    app.serve_attempt().await?;
    let client = app.client().await?;
    Ok(app.run_while(show(&client)).await?)
}

async fn show(client: &Client) -> Result<(), taskwright::Error> {
    println!("worker {}", std::process::id());
    let added = tell("add", client.enqueue(Add { numbers: vec![1, 2] }).await?, client).await?;
    assert_eq!(added, State::Completed);
    for how in ["abort", "exit", "panic", "error"] {
        let crashed = tell(how, client.enqueue(Crash { how: how.to_owned() }).await?, client).await?;
        assert_eq!(crashed, State::Failed, "and the worker goes on");
    }
    for politely in [true, false] {
        let job = client.enqueue(Linger { politely }).await?;
        job.progress().next().await?;
        job.cancel(taskwright::Actor::system(), None).await?;
        let ended = tell(if politely { "polite" } else { "rude" }, job, client).await?;
        assert_eq!(ended, State::Cancelled);
    }
    let slow = Job::of(&Linger { politely: false }).timeout(Duration::from_millis(500));
    assert_eq!(tell("slow", client.enqueue(slow).await?, client).await?, State::Failed);
    Ok(())
}

async fn tell<O>(name: &str, job: JobHandle<O>, client: &Client) -> Result<State, taskwright::Error> {
    let over = job.wait().await?;
    let state = over.view.state;
    let how = over.result.or(over.view.error).unwrap_or_default();
    println!("{name}: {state} {how:?}");
    for piece in client.logs(job.id, 0, 100).await? {
        String::from_utf8_lossy(&piece.bytes).lines().for_each(|line| println!("  {line}"));
    }
    Ok(state)
}

// The macro is sugar: this is the same, said by hand.
const _: () = assert!(Add::IN_CHILD);
